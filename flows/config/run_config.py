"""`CONFIG.yaml` as checked values, and from there to the frozen specs that tasks take. Only `flows` sees YAML."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, InstanceOf, field_validator

from affstore import FeatureStore
from affstore.flows import field_checks
from affstore.flows.config.defaults import DEFAULT_EXTRACTORS, DEFAULT_STORE
from affstore.flows.config.experiments import experiments_in, extractors_of
from affstore.flows.engines import EngineRequest, chosen_device, detector_of, with_engine
from affstore.flows.field_checks import Place
from affstore.flows.inputs import LabelFolder
from affstore.flows.runners.base import RunnerSpec
from affstore.flows.yaml_files import read_yaml
from affstore.models.extractor_specs import ExtractorSpec
from affstore.models.extractors.registry import entry_of, spec_of
from affstore.models.extractors.untrained import resolve_weights
from affstore.models.faces.specs import TrackingSpec, check_kind
from affstore.models.weights.folder import OR_UNTRAINED, WeightsFolder
from affstore.store.contract.errors import DuplicateNameError, SpecError, WeightsMissingError
from affstore.store.contract.labels import LabelSpace, spaces_of, task_of, task_space
from affstore.store.contract.names import tag_fault
from affstore.store.contract.printable import excerpt
from affstore.store.engine.places import check_outside
from affstore.tasks.experiments import Experiment, Protocol
from affstore.tasks.retries import MOST_RETRIES
from affstore.tasks.specs import Profile, most_subjects_of

People = Literal["auto", "two", "all"]


class _Strict(BaseModel):
    """Unknown fields are mistakes."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PublishConfig(_Strict):
    """Where predictions are published.

    Attributes:
        folder: gets the challenge files and Parquet. Without one, only the files of experiments on the test set are
            written, beside the report, and no snapshot is tagged.
        samples: task to the official sample list that its file must follow; every frame of every video without one.
        tag: name of the snapshot; made from what is published if empty.
    """

    folder: Path | None = None
    samples: dict[str, Path] = {}
    tag: str = ""

    @field_validator("tag")
    @classmethod
    def _a_folder_s_name(cls, value: str) -> str:
        fault = tag_fault(value) if value else None
        if fault:
            raise SpecError(f"A publication cannot be tagged {excerpt(value)}: {fault}.")
        return value

    @field_validator("samples")
    @classmethod
    def _of_tasks(cls, value: dict[str, Path]) -> dict[str, Path]:
        for task in value:
            task_space(task)
        return value


def _runner(value: Any) -> RunnerSpec:
    """A runner from `{kind: NAME, …options}`."""
    if isinstance(value, RunnerSpec):
        return value
    if not isinstance(value, dict):
        raise SpecError(f"'runner' takes a kind with its options, as {{kind: dask}}; found {excerpt(value)}.")
    kind = value.get("kind", "threads")
    if not isinstance(kind, str):
        raise SpecError(f"The `kind` of a runner is its name, as dask; found {excerpt(kind)}.")
    return RunnerSpec.of(kind, **{str(k): v for k, v in value.items() if k != "kind"})


class LabelFolderConfig(_Strict):
    """A folder of label files, or a table of many videos.

    Attributes:
        folder: where they are, each called as its video; or one table with a column `video`.
        format: `timed_table`, or any other of `affstore list labels`.
        space: what they are of: one of the configuration's label spaces, or `expr`, `au` or `va`.
        split: what their frames are for; without it, their folders say (`train`, `validation`), or they are for
            training.
    """

    folder: str
    format: str
    space: str
    split: Literal["train", "validation"] | None = None


class RunConfig(_Strict):
    """A whole run.

    Attributes:
        store: a folder, `s3://bucket/prefix` or `memory:name`.
        sources: videos, folders, or Aff-Wild2's own root with its videos and annotations.
        names: `file` calls a video as its file, `folder` by its folders too: `s1/00001.mp4` becomes `s1_00001`.
        crops: kind of crop folder, as in `emotieffnet_b0@cropped`, to the folders that hold one for each video.
        label_spaces: a user's own by name, as `{kind: classes, names: [calm, tense]}`: see
            `affstore.store.contract.labels.space_of`.
        labels: folders of label files whose place does not say what they are of.
        extractors: names of face and sound networks.
        weights: `official`, or `untrained` seeded parameters, which every record and report then says.
        engine: what runs the networks: `torch`, `openvino`, or `auto` for the fastest that is faithful.
        precision: of every network's forward pass.
        device: `cpu`, `cuda`, or `auto`.
        stored: the type of embeddings in the store; `auto` is that of what the store has, or float32.
        people: who of a video is a subject: the `two` foremost, or `all` who are there for long enough; `auto` is what
            the video has in the store, and of a new video what all others have, or two.
        experiments: what is trained, applied and scored.
        protocol: `papers`: everything is chosen as published. `honest`: by cross-validation over training videos too.
        folds: of the protocol `honest`; `groups` holds each group out once.
        groups: table with the columns `video` and `group` (or `participant`, or another as FILE:COLUMN): videos of one
            group are in one fold.
        brief: whether slow trainings are cut short, only to see that everything runs.
        publish: where to; nothing is published without it.
        runner: kind of runner and its options, as `{kind: dask, workers: 4}`.
        retries: how often a video is tried again in a run after a fault that may pass, as of a network's file system; 0
            for not at all.
    """

    store: str = DEFAULT_STORE
    sources: tuple[str, ...] = ()
    names: Literal["file", "folder"] = "file"
    crops: dict[str, tuple[str, ...]] = {}
    label_spaces: Annotated[dict[str, InstanceOf[LabelSpace]], BeforeValidator(spaces_of)] = {}
    labels: tuple[LabelFolderConfig, ...] = ()
    extractors: tuple[str, ...] = DEFAULT_EXTRACTORS
    weights: Literal["official", "untrained"] = "official"
    engine: Literal["auto", "torch", "openvino"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    device: Literal["cpu", "cuda", "auto"] = "cpu"
    stored: Literal["auto", "float32", "float16"] = "auto"
    people: People = "auto"
    experiments: tuple[InstanceOf[Experiment], ...] = ()
    protocol: Protocol = "papers"
    folds: Annotated[int, Field(ge=2, le=1000)] | Literal["groups"] = 5
    groups: Path | None = None
    brief: bool = False
    publish: PublishConfig | None = None
    runner: Annotated[InstanceOf[RunnerSpec], BeforeValidator(_runner)] = Field(default_factory=RunnerSpec.of)
    retries: int = Field(default=2, ge=0, le=MOST_RETRIES)

    @field_validator("crops")
    @classmethod
    def _kinds(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for kind in value:
            check_kind(kind)
        return value

    def label_folders(self) -> tuple[LabelFolder, ...]:
        """The folders of label files, each with what they are of.

        Raises:
            UnknownNameError: there is no such label space.
        """
        return tuple(
            LabelFolder(one.folder, one.format, task_of(one.space, self.label_spaces), one.split) for one in self.labels
        )

    @field_validator("extractors")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise DuplicateNameError("An extractor is named twice. Name each once.")
        for name in value:
            spec_of(name)
        return value

    @property
    def device_in_use(self) -> str:
        """The device that networks run on; what workers on other machines have, only they can say."""
        return "cuda" if self.device == "cuda" and self.runner.elsewhere else chosen_device(self.device)

    @property
    def engine_request(self) -> EngineRequest:
        """What is asked of the engines of its networks."""
        return EngineRequest(self.engine, self.precision, self.device_in_use, self.stored)

    @property
    def all_extractors(self) -> tuple[str, ...]:
        """The networks that are named, and those that experiments need; sorted."""
        return tuple(sorted({*self.extractors, *extractors_of(self.experiments)}))

    def without_training(self) -> RunConfig:
        """The same networks, and no experiments: what each share of a run does."""
        changes = {"extractors": self.all_extractors, "experiments": (), "publish": None, "protocol": "papers"}
        return self.model_copy(update=changes)


def read_config(path: Path) -> RunConfig:
    """Read and check a configuration; relative paths in it are relative to its folder.

    Raises:
        SpecError: it cannot be read, or says something wrong; the message names the field.
    """
    document = read_yaml(path, "a configuration")
    if not isinstance(document, dict):
        raise SpecError(f"'{path}' holds no configuration: it should name `sources`, `extractors`, `experiments` …")
    folder = path.resolve().parent
    return rooted(checked(document, str(path), folder), folder)


def checked(document: Mapping[str, Any], where: str, folder: Path = Path()) -> RunConfig:
    """A configuration from plain values.

    Args:
        document: the values.
        where: the file they are from, for messages.
        folder: which files of experiments are relative to.

    Raises:
        SpecError: something in it is wrong; the message names the field.
    """
    place = Place(where)
    with place.at("label_spaces").named():
        spaces = spaces_of(document.get("label_spaces", {}))
    experiments = experiments_in(document.get("experiments", ()), place.at("experiments"), folder, spaces)
    return field_checks.checked(RunConfig, {**document, "experiments": experiments}, place, "configuration")


def profile_of(
    config: RunConfig, weights: WeightsFolder | None, store: FeatureStore | None = None, measured: bool = True
) -> Profile:
    """What the run wants of every video, with all weights resolved and engines chosen.

    Args:
        config: what was asked.
        weights: the parameters on this machine; None for the networks as they are named, for a plan on a machine that
            does not have their weights yet.
        store: whose embeddings keep their engines, or None.
        measured: measure which engine is fastest where that is not known yet.

    Raises:
        WeightsMissingError: weights are not on this machine; the message says what to type.
        SpecError: an engine that was asked for cannot run.
    """
    engine, extractors = config.engine_request, [spec_of(name) for name in config.all_extractors]
    if weights is not None:
        resolved = _with_weights(extractors, weights, config.weights == "untrained")
        extractors = [with_engine(spec, engine, weights, store, measured) for spec in resolved]
    detector = detector_of(engine, store)
    keeps = config.people == "auto"
    everyone = all_people_kept(store, detector.name) if keeps else config.people == "all"
    tracking = TrackingSpec(most_subjects="all") if everyone else TrackingSpec()
    return Profile(detector, tracking, tuple(extractors), _required_faces(config), keeps)


def all_people_kept(store: FeatureStore | None, detector: str) -> bool:
    """Whether all people were kept of every video whose faces the store has, so that a new video is like them."""
    if store is None:
        return False
    found = [address for address in store.addresses("face") if address.producer == detector]
    return bool(found) and all(most_subjects_of(face) == "all" for face in store.find_all(found))


def _with_weights(specs: Sequence[ExtractorSpec], weights: WeightsFolder, untrained: bool) -> list[ExtractorSpec]:
    """Fill in the parameters that are on this machine; the message names all that are not: one pull is enough."""
    found: list[ExtractorSpec] = []
    missing: dict[str, WeightsMissingError] = {}
    for spec in specs:
        try:
            found.append(replace(spec, weights=resolve_weights(weights, spec.weights, untrained=untrained)))
        except WeightsMissingError as error:
            missing[spec.weights.name] = error
    if len(missing) == 1:
        raise next(iter(missing.values()))
    if missing:
        public = " ".join(name for name in missing if entry_of(name).public)
        advice = [f"Type `affstore weights pull {public}`."] if public else []
        advice += [entry_of(name).advice for name in missing if not entry_of(name).public]
        raise WeightsMissingError(
            f"The weights {', '.join(map(repr, missing))} are not in {weights.root}. {' '.join(advice)} {OR_UNTRAINED}"
        )
    return found


def _required_faces(config: RunConfig) -> tuple[str, ...]:
    """Where the faces come from that experiments on sound alone require."""
    return tuple(sorted({experiment.requires for experiment in config.experiments} - {""}))


def rooted(config: RunConfig, folder: Path) -> RunConfig:
    """A configuration whose relative paths are made absolute from a folder, and `~` is the user's own."""

    def placed(path: str | Path) -> Path:
        return folder / os.path.expanduser(path)

    sources = tuple(str(placed(source)) for source in config.sources)
    labels = tuple(one.model_copy(update={"folder": str(placed(one.folder))}) for one in config.labels)
    crops = {kind: tuple(str(placed(root)) for root in roots) for kind, roots in config.crops.items()}
    local = config.store and "://" not in config.store and not config.store.startswith("memory:")
    store = str(placed(config.store)) if local else config.store
    publish = config.publish
    if publish is not None:
        samples = {task: placed(sample) for task, sample in publish.samples.items()}
        to = publish.folder if publish.folder is None else placed(publish.folder)
        if to is not None:
            check_outside(store, to)
        publish = publish.model_copy(update={"folder": to, "samples": samples})
    groups = config.groups if config.groups is None else placed(config.groups)
    changes = {
        "sources": sources,
        "labels": labels,
        "crops": crops,
        "store": store,
        "publish": publish,
        "groups": groups,
    }
    return config.model_copy(update=changes)
