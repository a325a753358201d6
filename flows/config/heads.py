"""The heads that an experiment describes, under names made of their content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from affstore.flows.field_checks import Place, changed
from affstore.models.extractor_specs import InputSpec
from affstore.models.extractors.registry import input_spec_of
from affstore.models.heads.contract import HeadInput, HeadKind
from affstore.models.heads.kinds import head_kind
from affstore.models.heads.splits import SPLITS, SplitSpec
from affstore.store.contract.errors import SpecError, UnknownNameError
from affstore.store.contract.keys import key_of
from affstore.store.contract.labels import Task
from affstore.store.contract.names import name_fault
from affstore.tasks.specs import HeadRun, Input

ALL_LABELLED = SplitSpec(SPLITS, ())
"""Training and validation videos together: nothing is left to choose an epoch on."""


class HeadConfig(BaseModel):
    """A head on features.

    Attributes:
        head: the name of its kind; see `affstore list heads`.
        inputs: `extractor` or `extractor.array`, side by side, or as streams of a `sequence`.
        task: `expr`, `au` or `va`; the experiment's if empty, and never another.
        train: `train+validation` fits it on all labelled videos, for exactly `epochs` epochs.
        epochs: passes over the training data.
        preset: a named change of the kind's default, as `ctyunai` of a `sequence`.
        changes: fields of the head's spec to values, of specs within it by mappings: `{window: {length: 100}}`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    head: str
    inputs: tuple[str, ...] = Field(min_length=1)
    task: str = ""
    train: Literal["train", "train+validation"] = "train"
    epochs: int | None = Field(default=None, ge=1)
    preset: str = ""
    changes: dict[str, Any] = {}


def head_run_of(config: HeadConfig, task: Task, place: Place) -> HeadRun:
    """The head that a file describes, with its inputs.

    Its name is made of everything that decides it, so that equal heads of different experiments are one.

    Args:
        config: the head, as the file describes it.
        task: the experiment's.
        place: where the file describes it.

    Raises:
        SpecError: it is for another task than the experiment, an input does not exist, or something does not fit the
            kind.
        PluginError: the plugin that brings the kind does not work.
    """
    if config.task not in ("", str(task)):
        raise place.at("task").wrong(f"the experiment's task is '{task}', and this part of it says '{config.task}'.")
    with place.at("head").named():
        kind = head_kind(config.head)
    with place.at("inputs").named():
        inputs = tuple(Input.parse(text) for text in config.inputs)
        if len(set(inputs)) < len(inputs):
            raise SpecError(f"An input is there twice in {', '.join(config.inputs)}. Name each once.")
        extractors = [input_spec_of(part.extractor) for part in inputs]
        for part, extractor in zip(inputs, extractors, strict=True):
            _check_array(part, extractor)
    with place.named():
        spec = _spec(config, kind, task, place)
    with place.at("inputs").named():
        kind.check(spec, [HeadInput(each, part.array) for part, each in zip(inputs, extractors, strict=True)])
    division = ALL_LABELLED if config.train == "train+validation" else SplitSpec()
    return named(HeadRun("", inputs, spec, division=division))


def named(head_run: HeadRun) -> HeadRun:
    """A head under the name that everything that decides it gives: inputs, spec, division and finish.

    Names that it and its spec had are no part of that, nor are resolved networks.

    Raises:
        SpecError: its inputs' names are too long.
    """
    spec: Any = head_run.head
    decides = {
        "head": replace(spec, name=""),
        "inputs": head_run.inputs,
        "division": head_run.division,
        "finish": head_run.finish,
    }
    scope = "-all" if set(head_run.division.train) == set(SPLITS) else ""
    name = f"{spec.task}-{spec.KIND}-{_inputs_in_name(head_run.inputs)}{scope}-{key_of(decides)[:8]}"
    fault = name_fault(name)
    if fault:
        raise SpecError(f"No head can be called {name!r}: {fault}.")
    return replace(head_run, name=name, head=replace(spec, name=name))


def _spec(config: HeadConfig, kind: HeadKind[Any, Any, Any], task: Task, place: Place) -> Any:
    """The head's spec, still under no name of its own."""
    spec = kind.default(task)
    everything = config.train == "train+validation"
    if config.preset:
        if config.preset not in kind.presets:
            with place.at("preset").named():
                raise UnknownNameError.of(f"preset of the head '{kind.name}'", config.preset, kind.presets)
        spec = kind.presets[config.preset](spec)
    if everything and kind.takes == "nothing":
        raise place.at("train").wrong(f"a head of the kind '{kind.name}' learns nothing, so it is trained on nothing.")
    if config.epochs is not None and not hasattr(spec, "epochs"):
        raise place.at("epochs").wrong(f"a head of the kind '{kind.name}' has none.")
    if config.epochs is not None:
        spec = replace(spec, epochs=config.epochs)
    elif everything and hasattr(spec, "epochs"):
        raise place.at("epochs").wrong("say how many: with the validation videos trained on, nothing chooses it.")
    if everything:
        spec = kind.without_validation(spec)
    spec = changed(spec, config.changes, place.at("changes"))
    if everything and kind.without_validation(spec) != spec:
        raise SpecError(
            "Trained on the validation videos too, a head has no others to choose anything on: it keeps its last epoch."
        )
    return spec


def _check_array(part: Input, extractor: InputSpec) -> None:
    """See that what an input comes from gives that array."""
    if part.array not in extractor.arrays:
        raise SpecError(f"'{part.extractor}' gives {', '.join(extractor.arrays)}, and no {part.array}.")


def _inputs_in_name(inputs: Sequence[Input]) -> str:
    """The first network of the inputs with what is taken of it, and how many there are beside it."""
    first = inputs[0].extractor
    arrays = [part.array for part in inputs if part.extractor == first and part.array != "embedding"]
    others = len({part.extractor for part in inputs}) - 1
    text = ".".join([first.translate(str.maketrans("@+/", "...")), *arrays])
    return f"{text}-and-{others}" if others else text
