"""The heads that a row's file describes, under names made of their content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from affstore.flows.config.checks import Place, changed
from affstore.models.extractor_specs import ExtractorSpec, FaceExtractorSpec, SoundExtractorSpec
from affstore.models.extractors.registry import spec_of
from affstore.models.heads.automl.spec import AutoMlSpec
from affstore.models.heads.finetuned.spec import FineTuneSpec
from affstore.models.heads.kinds import HeadSpec
from affstore.models.heads.mlp.spec import PAPER_HEADS
from affstore.models.heads.pretrained import PretrainedSpec
from affstore.models.heads.sequence.spec import PAPER_SEQUENCES, as_ctyunai, without_encoder
from affstore.models.heads.splits import SPLITS, SplitSpec
from affstore.store.contract.errors import SpecError
from affstore.store.contract.keys import key_of
from affstore.store.contract.names import name_fault
from affstore.tasks.specs import HeadRun, Input

ALL_LABELLED = SplitSpec(SPLITS, ())
"""Training and validation videos together: nothing is left to choose an epoch on."""


class HeadConfig(BaseModel):
    """A head on features.

    Attributes:
        head: its kind; the papers' head of the row's task.
        inputs: `extractor` or `extractor.array`, side by side, or as streams of a `sequence`.
        task: `expr`, `au` or `va`; the row's if empty, and never another.
        train: `train+validation` fits it on all labelled videos, for exactly `epochs` epochs.
        epochs: passes over the training frames.
        encoder: of a `sequence`; `none` is TCN + MLP.
        recipe: of a `sequence`: trained as in ABAW6, or as in CtyunAI's ABAW5 system.
        changes: fields of the head's spec to values, of specs within it by mappings: `{window: {length: 100}}`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    head: Literal["mlp", "lightautoml", "sequence", "finetuned", "pretrained"]
    inputs: tuple[str, ...] = Field(min_length=1)
    task: str = ""
    train: Literal["train", "train+validation"] = "train"
    epochs: int | None = Field(default=None, ge=1)
    encoder: Literal["transformer", "none"] | None = None
    recipe: Literal["abaw6", "ctyunai"] | None = None
    changes: dict[str, Any] = {}


def head_run_of(config: HeadConfig, task: str, place: Place) -> HeadRun:
    """The experiment that fits a head.

    Its name is made of everything that decides it, so that equal heads of different rows are one.

    Args:
        config: the head, as the file describes it.
        task: the row's.
        place: where the file describes it.

    Raises:
        SpecError: it is for another task than the row, an input does not exist, or something does not fit the kind.
    """
    if config.task not in ("", task):
        raise place.at("task").wrong(f"the row's task is '{task}', and this part of it says '{config.task}'.")
    _check_fit(config, place)
    with place.at("inputs").named():
        inputs = tuple(Input.parse(text) for text in config.inputs)
        if len(set(inputs)) < len(inputs):
            raise SpecError(f"An input is there twice in {', '.join(config.inputs)}. Name each once.")
        extractors = tuple(spec_of(part.extractor) for part in inputs)
        for part, extractor in zip(inputs, extractors, strict=True):
            _check_array(part, extractor)
        _check_inputs(config.head, task, inputs, extractors)
    with place.named():
        spec = _spec(config, task, place)
    division = ALL_LABELLED if config.train == "train+validation" else SplitSpec()
    return named(HeadRun("", inputs, spec, division=division))


def named(experiment: HeadRun) -> HeadRun:
    """An experiment under the name that everything that decides it gives: inputs, head, division and finish.

    Names that it and its head had are no part of that, nor are resolved networks.

    Raises:
        SpecError: its inputs' names are too long.
    """
    spec, division = experiment.head, experiment.division
    decides = {
        "head": replace(spec, name=""),
        "inputs": experiment.inputs,
        "division": division,
        "finish": experiment.finish,
    }
    scope = "-all" if set(division.train) == set(SPLITS) else ""
    name = f"{spec.task}-{spec.KIND}-{_said(experiment.inputs)}{scope}-{key_of(decides)[:8]}"
    fault = name_fault(name)
    if fault:
        raise SpecError(f"No head can be called {name!r}: {fault}.")
    return replace(experiment, name=name, head=replace(spec, name=name))


def _spec(config: HeadConfig, task: str, place: Place) -> HeadSpec:
    """The head's spec, still under no name of its own."""
    spec: Any = _papers(config.head, task)
    if config.recipe == "ctyunai":
        spec = as_ctyunai(spec)
    if config.encoder == "none":
        spec = without_encoder(spec)
    if config.epochs is not None:
        spec = replace(spec, epochs=config.epochs)
    everything = config.train == "train+validation"
    if everything and hasattr(spec, "selection"):
        spec = replace(spec, selection="last_epoch")
    spec = changed(spec, config.changes, place.at("changes"))
    if everything and getattr(spec, "selection", "last_epoch") != "last_epoch":
        raise SpecError("Trained on the validation videos too, a head can only keep its last epoch.")
    if everything and getattr(spec, "uses_validation", False):
        raise SpecError("Trained on the validation videos too, a head has no others to look at.")
    found: HeadSpec = spec
    return found


def _papers(kind: str, task: str) -> HeadSpec:
    """The papers' head of that kind and task."""
    if kind == "mlp":
        return PAPER_HEADS[task]
    if kind == "sequence":
        return PAPER_SEQUENCES[task]
    if kind == "lightautoml":
        return AutoMlSpec("", task)
    return FineTuneSpec("", task) if kind == "finetuned" else PretrainedSpec("", task)


def _check_fit(config: HeadConfig, place: Place) -> None:
    """See that the file says nothing that the kind of head cannot follow."""
    trained = config.head in ("mlp", "sequence", "finetuned")
    if config.epochs is not None and not trained:
        raise place.at("epochs").wrong(f"a head of the kind '{config.head}' has none.")
    if config.head != "sequence":
        for name in ("encoder", "recipe"):
            if getattr(config, name) is not None:
                raise place.at(name).wrong(f"a head of the kind '{config.head}' has none; 'sequence' has one.")
    if config.train == "train+validation":
        if config.head == "pretrained":
            raise place.at("train").wrong("a pre-trained head learns nothing, so it is not trained on anything.")
        if trained and config.epochs is None:
            raise place.at("epochs").wrong("say how many: with the validation videos trained on, nothing chooses it.")


def _check_array(part: Input, extractor: ExtractorSpec) -> None:
    """See that the network of an input gives that array."""
    sound = isinstance(extractor, SoundExtractorSpec)
    given = {
        "embedding": True,
        "logits": extractor.logits is not None,
        "valence_arousal": isinstance(extractor, FaceExtractorSpec) and extractor.valence_arousal,
        "affect": isinstance(extractor, SoundExtractorSpec) and extractor.affect,
    }
    if not given[part.array]:
        has = ", ".join(name for name, there in given.items() if there)
        kind = "sound" if sound else "face"
        raise SpecError(f"The {kind} network '{part.extractor}' gives {has}, and no {part.array}.")


def _check_inputs(head: str, task: str, inputs: tuple[Input, ...], extractors: tuple[ExtractorSpec, ...]) -> None:
    """See that a head that is no learner of any features has the one input it is about."""
    if head == "pretrained":
        wanted = "valence_arousal" if task == "va" else "logits"
        if len(inputs) != 1 or inputs[0].array != wanted:
            raise SpecError(f"A pre-trained head of the task '{task}' has one input, a network's {wanted}.")
    if head == "finetuned":
        face = isinstance(extractors[0], FaceExtractorSpec)
        if len(inputs) != 1 or inputs[0].array != "embedding" or not face:
            raise SpecError("A fine-tuned head has one input, the embedding of the face network that is fine-tuned.")


def _said(inputs: Sequence[Input]) -> str:
    """The first network of the inputs with what is taken of it, and how many there are beside it."""
    first = inputs[0].extractor
    arrays = [part.array for part in inputs if part.extractor == first and part.array != "embedding"]
    others = len({part.extractor for part in inputs}) - 1
    said = ".".join([first.replace("@", ".").replace("+", "."), *arrays])
    return f"{said}-and-{others}" if others else said
