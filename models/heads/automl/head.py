"""The papers' LightAutoML head: fitted by a process of its own, held as bytes."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import OrderedDict
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from affstore.models.heads.automl.plans import plans_of
from affstore.models.heads.automl.spec import AutoMlSpec
from affstore.models.heads.examples import Examples, check
from affstore.models.heads.frame_dataset import check_varied
from affstore.store.contract.errors import HeadNotFittedError, SpecError
from affstore.store.contract.extras import require_extra
from affstore.store.contract.labels import task_space
from affstore.store.contract.usable import usable_cores

if TYPE_CHECKING:
    from affstore.models.heads.automl.model_bytes import Search

_LOG = logging.getLogger(__name__)
_ROWS = 65536
_PACKAGES = ("lightautoml", "lightgbm", "catboost", "scikit-learn", "torch", "numpy")
_MODELS_IN_MEMORY = 2
"""Models kept in memory, so that a head reads its bytes once for all videos."""
_LOCK = threading.Lock()
_READ: OrderedDict[str, list[Search]] = OrderedDict()


@dataclass(frozen=True, slots=True, eq=False)
class FittedAutoMl:
    """An ensemble that LightAutoML found.

    Attributes:
        spec: what it was searched by.
        model: `(bytes,)` of the models, which only `predict_automl` reads; docs/adr/0008 says how.
        report: plain values: `packages` (versions), `seconds`, `threads`, `cut_by_time` (models or folds are missing
            for want of time), `depends_on_speed` (another machine may find another ensemble), `constant` (outputs that
            were not searched, with their value), `frames_left_out`, and for each of `searches` what was tried, with
            scores and weights, and LightAutoML's own text of the final pipeline.
        curve: `score`, `(searches,)`: of each ensemble's best single model, by LightAutoML's metric, on frames that
            the model did not see; more is better.
    """

    spec: AutoMlSpec
    model: NDArray[np.uint8]
    report: dict[str, Any]
    curve: dict[str, NDArray[np.float32]] = field(default_factory=dict)


def fit_automl(spec: AutoMlSpec, train: Examples, validation: Examples | None = None) -> FittedAutoMl:
    """Let LightAutoML search an ensemble.

    Nothing of this process changes: the search has one of its own, and ends with it. The same spec and examples give
    the same predictions on one machine as long as time was enough; `report` says whether it was.

    Args:
        spec: what is searched, and for how long.
        train: at least two different labels. A class that is absent gets the probability 0, an action unit with too
            few frames on one side is given the other side's value; both are in the report.
        validation: needed if the spec uses them, and ignored otherwise.

    Raises:
        SpecError: LightAutoML is not installed, validation frames are missing, shapes do not fit, or a feature is not
            finite.
        AnnotationError: there is no example, a label is outside the task's space, or nothing can be learnt.
        HeadNotFittedError: there was no model when the time was over, or all failed.
    """
    check(spec.task, train, "training")
    check_varied(spec.task, train)
    validation = _validation(spec, train, validation)
    plans_of(spec, train, validation)
    require_extra("automl", f"Head '{spec.name}'")
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="affstore-automl-") as name:
        folder = Path(name)
        _write(folder, spec, train, validation)
        _run(spec, folder)
        model = np.fromfile(folder / "model", np.uint8)
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    report |= _summary(spec, report["searches"]) | {"seconds": round(time.monotonic() - begun, 1), "bytes": len(model)}
    scores = [max(one["score"] for one in search["tried"]) for search in report["searches"]]
    for warning in _warnings(spec, report):
        _LOG.warning(warning)
    return FittedAutoMl(spec, model, report, {"score": np.array(scores, np.float32)})


def predict_automl(head: FittedAutoMl, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The ensemble's outputs for each row.

    Args:
        head: fitted.
        x: `(rows, width)`.

    Returns:
        `(rows, outputs)` float32: probabilities that sum to 1 (expr), a probability each (au), or valence and arousal
        as they are, which may leave [-1, 1] by a little, as in the papers. A row that is not finite is NaN, as with
        the other heads; LightAutoML itself would guess.

    Raises:
        SpecError: the width is not the one it was fitted on, or LightAutoML is not installed.
        UnsafePickleError: the bytes ask for something that no model holds.
        ArchitectureError: the bytes are damaged, or of other versions.
    """
    width = head.report["width"]
    if x.ndim != 2 or x.shape[1] != width:
        raise SpecError(f"Head '{head.spec.name}' takes features (rows, {width}); found {x.shape}.")
    searches = _searches(head)
    values = np.zeros((len(x), head.spec.outputs), np.float32)
    names = task_space(head.spec.task).names
    for name, value in head.report["constant"].items():
        values[:, names.index(name)] = value
    from affstore.models.heads.automl.model_bytes import frame_of

    finite = np.isfinite(x).all(axis=1)
    rows = np.flatnonzero(finite)
    for begin in range(0, len(rows), _ROWS):
        block = rows[begin : begin + _ROWS]
        for search in searches:
            values[block[:, None], search.columns] = search.predict(frame_of(x[block]))
    values[~finite] = np.nan
    return values


def _validation(spec: AutoMlSpec, train: Examples, validation: Examples | None) -> Examples | None:
    if not spec.uses_validation:
        return None
    if validation is None:
        raise SpecError(
            f"Head '{spec.name}' validates on validation frames, and there are none. Give some, or let it "
            "cross-validate with uses_validation=False."
        )
    check(spec.task, validation, "validation")
    if validation.x.shape[1] != train.x.shape[1]:
        widths = f"{train.x.shape[1]} and {validation.x.shape[1]}"
        raise SpecError(f"Training and validation features must be of one width; found {widths}.")
    return validation


def _write(folder: Path, spec: AutoMlSpec, train: Examples, validation: Examples | None) -> None:
    for name, examples in (("train", train), ("validation", validation)):
        if examples is not None:
            np.savez(folder / f"{name}.npz", x=examples.x, y=examples.y)
    (folder / "spec.json").write_text(json.dumps(asdict(spec)), encoding="utf-8")


def _run(spec: AutoMlSpec, folder: Path) -> None:
    """Search, in a process of its own, and say why if nothing was found."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path),
        "PYTHONHASHSEED": "0",  # LightAutoML orders columns by it
        "OMP_NUM_THREADS": str(min(spec.cpus, usable_cores())),
        "HF_HUB_OFFLINE": "1",
    }
    command = [sys.executable, "-W", "ignore", "-m", "affstore.models.heads.automl.search", str(folder)]
    with (folder / "errors").open("w+", encoding="utf-8", errors="replace") as errors:
        done = subprocess.run(
            command, env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, check=False
        )
        errors.seek(0)
        lines = [line.strip() for line in errors if line.strip()]
    if done.returncode == -signal.SIGALRM:
        raise HeadNotFittedError(
            f"Head '{spec.name}': LightAutoML had no model of the task '{spec.task}' after {spec.timeout_s} s, nor "
            f"after {spec.timeout_s * spec.patience:g} s, when its search was ended. Give it more time (timeout_s, "
            f"patience), or fewer or faster algorithms than {', '.join(spec.tried)}."
        )
    if done.returncode:
        reason = (
            lines[-1] if done.returncode > 0 and lines else f"killed by signal {-done.returncode}: too little memory?"
        )
        raise HeadNotFittedError(
            f"Head '{spec.name}': LightAutoML found no model of the task '{spec.task}' ({reason})."
        )


def _summary(spec: AutoMlSpec, searches: list[dict[str, Any]]) -> dict[str, Any]:
    """What holds of all searches together."""
    cut = any(one["cut_by_time"] for one in searches)
    tuned = any(name.endswith("_tuned") for name in spec.tried)  # tuned for as long as there is time
    return {
        "packages": {name: version(name) for name in _PACKAGES},
        "threads": min(spec.cpus, usable_cores()),
        "not_for_this_search": [name for name in spec.algorithms if name not in spec.tried],
        "cut_by_time": cut,
        "depends_on_speed": cut or tuned,
    }


def _warnings(spec: AutoMlSpec, report: dict[str, Any]) -> list[str]:
    found = []
    if report["cut_by_time"]:
        found.append(f"Head '{spec.name}': time was over before all models and folds were fitted; see its report.")
    if any(one["failures"] for one in report["searches"]):
        found.append(f"Head '{spec.name}': some models failed, and LightAutoML went on without them; see its report.")
    if report["frames_left_out"]:
        found.append(f"Head '{spec.name}': a single frame is too few for {', '.join(report['frames_left_out'])}.")
    return found


def _searches(head: FittedAutoMl) -> list[Search]:
    """The models, read once for as long as few heads are in use."""
    model = np.ascontiguousarray(head.model)
    digest = hashlib.sha256(model.data).hexdigest()
    with _LOCK:
        if digest not in _READ:
            _import(head.spec.name)
            from affstore.models.heads.automl.model_bytes import from_bytes

            _READ[digest] = from_bytes(model.data, f"head '{head.spec.name}'")
            while len(_READ) > _MODELS_IN_MEMORY:
                _READ.popitem(last=False)
        _READ.move_to_end(digest)
        return _READ[digest]


def _import(name: str) -> None:
    """Import LightAutoML, without what it prints of packages and losses that it can do without."""
    require_extra("automl", f"Head '{name}'")
    for noisy in ("lightautoml.utils.installation", "lightautoml.tasks.base"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import affstore.models.heads.automl.model_bytes  # noqa: F401
