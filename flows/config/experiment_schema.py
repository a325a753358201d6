"""What an experiment may say in a file, checked, and as the frozen spec that tasks take. Only `flows` sees YAML."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from affstore.flows.config.ensembles import Heads, Strict, alone, ensemble_of
from affstore.flows.config.experiment_files import METHOD_FIELDS
from affstore.flows.field_checks import Place, checked
from affstore.models.ensembles.spec import ConfidenceGate, Ensemble, SearchedValue
from affstore.models.evaluation.evaluate import EvaluationSpec, SmoothOver
from affstore.models.evaluation.metrics import HEADLINES
from affstore.models.faces.specs import DetectorSpec, check_kind
from affstore.models.postprocess import AfterLast
from affstore.store.contract.errors import SpecError, UnknownNameError
from affstore.store.contract.labels import LabelSpace, SpaceKind, task_of, task_space
from affstore.store.contract.printable import excerpt
from affstore.tasks.experiments import Experiment, Sweep

MEASURES: dict[str, tuple[str, ...]] = {
    "expr": ("macro F1", "accuracy", "test macro F1"),
    "au": ("mean F1", "test mean F1"),
    "va": ("CCC valence", "CCC arousal", "mean CCC", "test mean CCC"),
}
"""What a paper may report of a task; `test` is what the challenge's server reported on its test set."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*(/[a-z0-9][a-z0-9_-]*)*")

Frames = Annotated[int, Field(ge=0)]


class _Kernel(Strict):
    """Half a window of the box filter: the papers' choice, and what else is tried where it is searched."""

    value: Frames | None = None
    grid: tuple[Frames, ...] = Field(min_length=1)


class _SweepConfig(Strict):
    """See `affstore.tasks.experiments.Sweep`."""

    of: Literal["smooth_frames", "threshold"]
    values: tuple[float, ...] = Field(min_length=2)
    measure: str = ""


class ExperimentConfig(Strict):
    """Heads, how their outputs become one, post-processing and how it is scored.

    The fields of `method` may also stand beside the others.

    Attributes:
        name: of a user's own; a file without one is called as the file is, and affstore's are named by place.
        task: the name of what it predicts: `expr`, `au`, `va`, or a label space of yours.
        method: a head, or exactly one of `blend`, `threshold_blend` and `other_step` of methods.
        smooth_frames: a number, or `{value, grid}`; so are weights and thresholds of methods.
        requires: `face` for a detected face, `face@cropped` for one of a crop folder.
    """

    # What has no line above is as in `affstore.tasks.experiments.Experiment`.
    name: str = ""
    title: str = ""
    source: str = ""
    task: str
    method: dict[str, Any]
    smooth_frames: Annotated[_Kernel, BeforeValidator(alone)] = _Kernel(value=0, grid=(0,))
    thresholds: Literal["half", "tuned"] | tuple[float, ...] = "half"
    smooth_over: SmoothOver = "own"
    after_last_face: AfterLast = "repeat"
    requires: str = ""
    without: tuple[str, ...] = ()
    cell: str = ""
    paper: dict[str, float] = Field(default_factory=dict)
    paper_curve: dict[float, float] = Field(default_factory=dict)
    sweep: _SweepConfig | None = None
    files: bool = False
    status: Literal["published", "notebook"] = "published"
    note: str = ""

    @field_validator("thresholds", mode="before")
    @classmethod
    def _some_thresholds(cls, value: Any) -> Any:
        numbers = isinstance(value, tuple) and all(isinstance(one, float) and 0 < one < 1 for one in value)
        if value not in ("half", "tuned") and not numbers:
            raise SpecError(f"It should be half, tuned, or numbers between 0 and 1; found {excerpt(value)}.")
        return value


def experiment_of(
    fields: Mapping[str, Any], place: Place, name: str = "", spaces: Mapping[str, LabelSpace] | None = None
) -> Experiment:
    """An experiment as the spec that tasks take.

    Args:
        fields: as written, in the short form or with a `method`.
        place: where they are written.
        name: of the experiment, unless `fields` give it one.
        spaces: a user's label spaces by name.

    Raises:
        SpecError: something in it is wrong; the message names file, line and field.
    """
    short = {field: value for field, value in fields.items() if field in METHOD_FIELDS}
    if short and "method" in fields:
        raise place.at(next(iter(short))).wrong("it stands beside `method`; write it within.")
    whole = {field: value for field, value in fields.items() if field not in short} | (
        {"method": short} if short else {}
    )
    config = checked(ExperimentConfig, whole, place, "experiment", METHOD_FIELDS)
    with place.at("task").named():
        task = task_of(config.task, spaces or {})
    _check_fields(config, task_space(task), place)
    heads: Heads = {}
    method = ensemble_of(config.method, task, place if short else place.at("method"), heads)
    _check_curve(config, method, place)
    kernel, requires = config.smooth_frames, _faces(config.requires, place)
    if not _NAME.fullmatch(config.name or name):
        raise place.at("name").wrong(
            f"'{config.name or name}' is no experiment's name; small letters, digits, - _ and / make one."
        )
    with place.named():
        return Experiment(
            name=config.name or name,
            title=config.title or config.name or name,
            source=config.source,
            heads=tuple(heads.values()),
            evaluation=EvaluationSpec(
                task,
                method,
                SearchedValue(kernel.value, kernel.grid),
                config.thresholds,
                config.without,
                config.smooth_over,
                config.after_last_face,
            ),
            requires=requires,
            cell=config.cell,
            paper=config.paper,
            paper_curve=config.paper_curve,
            sweep=None if config.sweep is None else Sweep(config.sweep.of, config.sweep.values, config.sweep.measure),
            files=config.files,
            status=config.status,
            note=" ".join(config.note.split()),
        )


def _faces(requires: str, place: Place) -> str:
    """Where the faces come from that an experiment requires."""
    face, at, kind = requires.partition("@")
    if not requires:
        return ""
    if face != "face":
        raise place.at("requires").wrong(f"it is face, face@KIND as in face@cropped, or nothing; found '{requires}'.")
    with place.at("requires").named():
        return check_kind(kind) if at else DetectorSpec().name


def _check_fields(config: ExperimentConfig, space: LabelSpace, place: Place) -> None:
    """See that the fields of an experiment fit its task and each other."""
    headline, each = HEADLINES[space.kind]
    known = MEASURES.get(config.task, (headline, *(f"{each} {name}" for name in space.names)))
    if config.sweep is not None and config.sweep.measure not in ("", *known):
        raise place.at("sweep.measure").wrong(f"the task '{config.task}' has {', '.join(known)}.")
    for measure in config.paper:
        if measure not in known:
            with place.at("paper").named():
                raise UnknownNameError.of(f"measure of '{config.task}'", measure, known)
    for name in config.without:
        if space.kind is not SpaceKind.CLASSES or name not in space.names:
            with place.at("without").named():
                raise UnknownNameError.of(f"class of '{config.task}'", name, space.names)
    if space.kind is not SpaceKind.UNITS and config.thresholds != "half":
        raise place.at("thresholds").wrong(f"only units have some, and the experiment's task is '{config.task}'.")
    if isinstance(config.thresholds, tuple) and len(config.thresholds) != len(space):
        found = len(config.thresholds)
        raise place.at("thresholds").wrong(f"'{config.task}' has {len(space)} of them; found {found}.")


def _check_curve(config: ExperimentConfig, method: Ensemble, place: Place) -> None:
    """See that what a figure varies can be varied, and that the papers' curve lies on it."""
    if config.sweep is None:
        if config.paper_curve:
            raise place.at("paper_curve").wrong("only an experiment with a `sweep` has a curve.")
        return
    sweep, values = config.sweep, config.sweep.values
    at = place.at("sweep", "values")
    if sweep.of == "smooth_frames" and not all(value >= 0 and value.is_integer() for value in values):
        raise at.wrong(f"frames are whole numbers from 0 on; found {', '.join(f'{value:g}' for value in values)}.")
    if sweep.of == "threshold" and not all(0 <= value <= 1 for value in values):
        raise at.wrong(f"thresholds are from 0 to 1; found {', '.join(f'{value:g}' for value in values)}.")
    if sweep.of == "threshold" and not isinstance(method, ConfidenceGate):
        raise place.at("sweep", "of").wrong(
            "only an experiment whose method is a threshold_blend has a threshold to vary."
        )
    lacking = [x for x in config.paper_curve if x not in values]
    if lacking:
        raise place.at("paper_curve").wrong(f"it has {lacking[0]:g}, which is not among the values of the sweep.")
