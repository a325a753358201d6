"""LightAutoML's side of the head, run as a process of its own: `python -m affstore.models.heads.automl.search FOLDER`.

LightAutoML, and what it uses, set threads, logging, warnings and standard output for the whole process, order columns
by the process's hash seed, and cannot be stopped from inside. Here all that ends with the process.
"""

from __future__ import annotations

import json
import logging
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affstore.models.heads.automl.plans import Plan, plans_of
from affstore.models.heads.automl.spec import AutoMlSpec
from affstore.models.heads.examples import Examples
from affstore.store.contract.labels import space_from_fields, task_space
from affstore.store.contract.usable import usable_cores

_COMPARED_ROWS = 256
"""How many rows the stored model is compared on with the one in memory."""


def main(folder: Path) -> None:
    """Fit what the folder describes, and leave model and report in it."""
    spec = read_spec(folder / "spec.json")
    train = _read(folder / "train.npz")
    validation = _read(folder / "validation.npz") if spec.uses_validation else None
    plans, constants, lone = plans_of(spec, train, validation)
    from affstore.models.heads.automl.model_bytes import from_bytes, to_bytes

    found = [_search(spec, plan) for plan in plans]
    searches = [search for search, _ in found]
    predictions = [_predicted(search, plan) for search, plan in zip(searches, plans, strict=True)]
    model = to_bytes(searches)
    for one, search, plan in zip(predictions, from_bytes(model, f"head '{spec.name}'"), plans, strict=True):
        if not np.allclose(one, _predicted(search, plan), rtol=1e-5, atol=1e-6):
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
    fields = json.loads(path.read_text(encoding="utf-8"))
    task = space_from_fields(fields["task"]) if isinstance(fields["task"], dict) else fields["task"]
    return AutoMlSpec(**fields | {"task": task, "algorithms": tuple(fields["algorithms"])})


def _read(path: Path) -> Examples:
    with np.load(path) as arrays:
        return Examples(arrays["x"], arrays["y"])


def _predicted(search: Any, plan: Plan) -> NDArray[np.float32]:
    from affstore.models.heads.automl.model_bytes import frame_of

    return search.predict(frame_of(plan.train.x[:_COMPARED_ROWS]))


def _search(spec: AutoMlSpec, plan: Plan) -> tuple[Any, dict[str, Any]]:
    """Run one search; return it with its report."""
    from affstore.models.heads.automl.model_bytes import Search

    failures, automl = _Failures(), _preset(spec, plan)
    begun = time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, spec.timeout_s * spec.patience)  # ends the process, whatever it does
    targets = [f"y{i}" for i in range(plan.train.y.shape[1])]
    tried = automl.fit_predict(
        _frame(plan.train),
        roles={"target": targets if len(targets) > 1 else targets[0]},
        valid_data=None if plan.validation is None else _frame(plan.validation),
    )
    signal.setitimer(signal.ITIMER_REAL, 0)
    models = _models(automl, tried)
    folds = 1 if plan.validation is not None else automl.reader.cv
    missing = len(spec.tried) - len(models)
    late = automl.timer.child_out_of_time or automl.timer.time_left < 0
    report = {
        "task": plan.task,
        "frames": len(plan.train),
        "validation_frames": 0 if plan.validation is None else len(plan.validation),
        "folds": folds,
        "metric": automl.task.metric_name,
        "tried": models,
        "not_finished": missing,
        "failures": failures.messages,
        "pipeline": automl.create_model_str_desc().replace("\t", "  "),
        "seconds": round(time.monotonic() - begun, 1),
        "cut_by_time": bool(late or (missing and not failures.messages)),
    }
    # One level: what it gives is blended at once.
    return Search(plan.columns, automl.reader, automl.levels[-1], automl.blender), report


def _frame(examples: Examples) -> Any:
    from affstore.models.heads.automl.model_bytes import frame_of

    return frame_of(examples.x).assign(**{f"y{i}": examples.y[:, i] for i in range(examples.y.shape[1])})


def _preset(spec: AutoMlSpec, plan: Plan) -> Any:
    from lightautoml.automl.presets.tabular_presets import TabularAutoML
    from lightautoml.tasks import Task

    threads = min(spec.cpus, usable_cores())
    return TabularAutoML(
        # Its own metric, AUC, would leave probabilities that .5 does not divide.
        Task(plan.task, metric="logloss" if plan.task == "binary" else None),
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
    names = [algorithm.name for pipe in automl.levels[-1] for algorithm in pipe.ml_algos]
    weights = dict(zip(names, np.asarray(automl.blender.wts, float), strict=True))
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
        self.messages: list[str] = []
        logging.getLogger("lightautoml.ml_algo.utils").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what says that a model failed."""
        if " failed during " in record.getMessage():
            self.messages.append(" ".join(record.getMessage().split())[:500])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
