"""LightAutoML's side of the head, run as a process of its own: `python -m models.heads.automl_search FOLDER`.

LightAutoML, and what it uses, set threads, logging, warnings and standard output for the whole process, order columns by
the process's hash seed, and cannot be stopped from inside. Here all that ends with the process.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.heads.automl_specs import AutoMlSpec
from models.heads.examples import Examples
from store.contract.errors import AnnotationError
from store.contract.labels import task_space

_SEEN_ROWS = 256
"""How many rows the stored model is compared on with the one in memory."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """One search.

    Attributes:
        task: LightAutoML's name of it.
        columns: of the head's outputs.
        train: features, and targets `(rows, targets)`; a class's target is its place in `columns`.
        validation: takes the place of cross-validation, if there is any.
    """

    task: str
    columns: tuple[int, ...]
    train: Examples
    validation: Examples | None


def plans_of(
    spec: AutoMlSpec, train: Examples, validation: Examples | None
) -> tuple[list[Plan], dict[int, float], dict[int, int]]:
    """What is searched.

    Returns:
        The searches; the value of each output that has but one value in training, or nearly, and is not searched; how
        many training frames of each class are left out, as one is too few to validate on another.

    Raises:
        AnnotationError: nothing is left to search, or no validation frame has a class that is searched.
    """
    if task_space(spec.task).kind == "one_of":
        return _classes(spec, train, validation)
    constants = {i: value for i in range(train.y.shape[1]) if (value := _only(spec, train.y[:, i])) is not None}
    searched = [i for i in range(train.y.shape[1]) if i not in constants]
    if not searched:
        raise AnnotationError(
            f"Head '{spec.name}': of {len(train)} training frames, no output of the task '{spec.task}' has {spec.folds} "
            "with each of two values, one for each fold. Add videos with other labels, or take fewer folds."
        )
    joint = spec.columns == "joint" and len(searched) > 1
    several, one = ("multilabel", "binary") if task_space(spec.task).kind == "any_of" else ("multi:reg", "reg")
    groups = [tuple(searched)] if joint else [(i,) for i in searched]
    plans = [
        Plan(several if joint else one, group, _targets(train, group), validation and _targets(validation, group))
        for group in groups
    ]
    return plans, constants, {}


def _classes(
    spec: AutoMlSpec, train: Examples, validation: Examples | None
) -> tuple[list[Plan], dict[int, float], dict[int, int]]:
    counts = np.bincount(train.y[:, 0].astype(np.int64), minlength=spec.outputs)
    columns = tuple(int(i) for i in np.flatnonzero(counts > 1))
    lone = {int(i): 1 for i in np.flatnonzero(counts == 1)}
    if len(columns) < 2:
        raise AnnotationError(
            f"Head '{spec.name}': less than two classes have two training frames or more, so nothing can be learnt. "
            "Add videos with other labels."
        )
    plan = Plan("multiclass", columns, _coded(spec, train, columns), validation and _coded(spec, validation, columns))
    if plan.validation is not None and not len(plan.validation):
        raise AnnotationError(f"Head '{spec.name}': no validation frame has a class that is in the training frames.")
    return [plan], {}, lone


def _coded(spec: AutoMlSpec, examples: Examples, columns: tuple[int, ...]) -> Examples:
    """The frames of those classes, which are numbered on end: LightAutoML numbers others anew, by their frequency."""
    codes = np.full(spec.outputs, -1)
    codes[list(columns)] = np.arange(len(columns))
    y = codes[examples.y[:, 0].astype(np.int64)]
    return Examples(examples.x[y >= 0], y[y >= 0, None])


def _targets(examples: Examples, columns: tuple[int, ...]) -> Examples:
    y = examples.y[:, list(columns)]
    return Examples(examples.x, y if y.dtype == np.float32 else y.astype(np.int64))


def _only(spec: AutoMlSpec, values: NDArray[Any]) -> float | None:
    """The value that an output always has, or that an action unit has in all but too few frames for the folds."""
    if task_space(spec.task).kind == "scale":
        return float(values[0]) if (values == values[0]).all() else None
    ones = int(np.count_nonzero(values))
    rarer = min(ones, len(values) - ones)
    return float(2 * ones > len(values)) if rarer < spec.folds else None


def main(folder: Path) -> None:
    """Fit what the folder describes, and leave model and report in it."""
    spec = read_spec(folder / "spec.json")
    with np.load(folder / "examples.npz") as held:
        train = Examples(held["train_x"], held["train_y"])
        validation = Examples(held["validation_x"], held["validation_y"]) if "validation_x" in held else None
    plans, constants, lone = plans_of(spec, train, validation)
    from models.heads.automl_bytes import from_bytes, to_bytes

    found = [_search(spec, plan) for plan in plans]
    searches = [search for search, _ in found]
    said = [_said(search, plan) for search, plan in zip(searches, plans, strict=True)]
    model = to_bytes(searches)
    for one, search, plan in zip(said, from_bytes(model, f"head '{spec.name}'"), plans, strict=True):
        if not np.allclose(one, _said(search, plan), rtol=1e-5, atol=1e-6):
            raise AssertionError("The stored model does not say what the fitted one says.")
    labels = task_space(spec.task).names
    report = {
        "constant": {labels[i]: value for i, value in constants.items()},
        "frames_left_out": {labels[i]: frames for i, frames in lone.items()},
        "width": train.x.shape[1],
        "searches": [
            {"outputs": [labels[i] for i in plan.columns]} | one for plan, (_, one) in zip(plans, found, strict=True)
        ],
    }
    (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")
    (folder / "model").write_bytes(model)


def read_spec(path: Path) -> AutoMlSpec:
    """A spec as `dataclasses.asdict` gives it."""
    held = json.loads(path.read_text(encoding="utf-8"))
    return AutoMlSpec(**held | {"algorithms": tuple(held["algorithms"])})


def _said(search: Any, plan: Plan) -> NDArray[np.float32]:
    from models.heads.automl_bytes import frame_of

    return search.predict(frame_of(plan.train.x[:_SEEN_ROWS]))


def _search(spec: AutoMlSpec, plan: Plan) -> tuple[Any, dict[str, Any]]:
    """One search, and what it says of itself."""
    from models.heads.automl_bytes import Search

    failures = _Failures()
    begun = time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, spec.timeout_s * spec.patience)  # ends the process, whatever it does
    automl = _preset(spec, plan)
    targets = [f"y{i}" for i in range(plan.train.y.shape[1])]
    tried = automl.fit_predict(
        _frame(plan.train),
        roles={"target": targets if len(targets) > 1 else targets[0]},
        valid_data=None if plan.validation is None else _frame(plan.validation),
    )
    signal.setitimer(signal.ITIMER_REAL, 0)
    models = _models(automl, tried)
    folds = 1 if plan.validation is not None else automl.reader.cv
    asked = len(spec.tried)
    cut = automl.timer.child_out_of_time or automl.timer.time_left < 0
    report = {
        "task": plan.task,
        "frames": len(plan.train),
        "validation_frames": 0 if plan.validation is None else len(plan.validation),
        "folds": folds,
        "metric": automl.task.metric_name,
        "tried": models,
        "not_finished": asked - len(models),
        "failures": failures.said,
        "pipeline": automl.create_model_str_desc().replace("\t", "  "),
        "seconds": round(time.monotonic() - begun, 1),
        "cut_by_time": bool(cut),
    }
    # One level: what it gives is blended at once.
    return Search(plan.columns, automl.reader, automl.levels[-1], automl.blender), report


def _frame(examples: Examples) -> Any:
    from models.heads.automl_bytes import frame_of

    return frame_of(examples.x).assign(**{f"y{i}": examples.y[:, i] for i in range(examples.y.shape[1])})


def _preset(spec: AutoMlSpec, plan: Plan) -> Any:
    from lightautoml.automl.presets.tabular_presets import TabularAutoML
    from lightautoml.tasks import Task

    threads = min(spec.cpus, os.cpu_count() or 1)
    return TabularAutoML(
        Task(plan.task),
        timeout=spec.timeout_s,
        memory_limit=spec.memory_gb,
        cpu_limit=threads,
        gpu_ids=None,  # CatBoost alone would use one, with other numbers
        general_params={"use_algos": [list(spec.tried)], "return_all_predictions": True},
        reader_params={"cv": spec.folds, "random_state": spec.seed, "n_jobs": 1},
        lgb_params={"default_params": {"random_state": spec.seed, "deterministic": True, "force_row_wise": True}},
        cb_params={"default_params": {"random_seed": spec.seed}},
        rf_params={"default_params": {"random_state": spec.seed, "n_jobs": threads, "verbose": 0}},
    )


def _models(automl: Any, tried: Any) -> list[dict[str, Any]]:
    """Each model that was finished: its score on frames it did not see, the share of them it has seen, its weight."""
    kept = [algorithm.name for pipe in automl.levels[-1] for algorithm in pipe.ml_algos]
    weights = dict(zip(kept, np.asarray(automl.blender.wts, float), strict=True))
    by_model: dict[str, list[str]] = {}
    for feature in tried.features:
        by_model.setdefault(re.sub(r"_prediction(_\d+)?$", "", feature), []).append(feature)
    metric = automl.task.get_dataset_metric()
    return [
        {
            "model": name,
            "score": float(metric(tried[:, features], dropna=True)),
            "covered": float(np.isfinite(tried[:, features].data[:, 0]).mean()),
            "weight": float(weights.get(name, 0.0)),
        }
        for name, features in by_model.items()
    ]


class _Failures(logging.Handler):
    """Keeps what LightAutoML says of models that failed; it goes on without them, and says so only here."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.said: list[str] = []
        logging.getLogger("lightautoml.ml_algo.utils").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if " failed during " in record.getMessage():
            self.said.append(" ".join(record.getMessage().split())[:500])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
