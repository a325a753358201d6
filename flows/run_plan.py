"""The plan of a configuration: what a run of it would do, before there is a request."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from affstore import FeatureStore
from affstore.flows.config.run_config import RunConfig, profile_of
from affstore.flows.inputs import Inputs, check_kinds, gather
from affstore.flows.limits import Share
from affstore.flows.memory_needs import due_work
from affstore.flows.planned import Planned
from affstore.flows.request import heads_asked
from affstore.flows.runnable import runnable
from affstore.models.weights.folder import default_folder
from affstore.store.contract.errors import NotFoundError, WeightsMissingError
from affstore.store.contract.names import subject_called
from affstore.store.contract.records import Provenance
from affstore.store.engine.reading import video_names
from affstore.tasks.extract.memory_estimate import MemoryNeed, memory_need
from affstore.tasks.ingest.incoming_files import IncomingFile, IngestOptions, incoming_files
from affstore.tasks.plan_rows import PlanRow
from affstore.tasks.planning.head_runs import plan_with
from affstore.tasks.planning.incoming_files import (
    arrival_rows,
    extraction_rows,
    named_videos,
    unmatched_crop_rows,
    withdrawn_rows,
)
from affstore.tasks.planning.plan import bytes_of
from affstore.tasks.planning.prices import priced
from affstore.tasks.training.folds import cross_validated_name


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What a run of a configuration would do, looked up where its weights or its store may be lacking yet.

    Attributes:
        rows: for what it takes in, extracts, trains and predicts.
        need: its memory.
        inputs: what the configuration's paths hold.
        weights: by network, where its parameters are from.
        lacking: which weights the run needs first.
        adds_bytes: how much it adds to the store, unpacked; None where nothing is known.
        not_counted: what it makes and no row stands for.
        is_empty: whether the store holds nothing.
        later_labels: label files of videos that the run takes in first, for which there is no row.
        lost_labels: label files of videos that nobody has.
    """

    rows: list[PlanRow]
    need: MemoryNeed
    inputs: Inputs
    weights: Mapping[str, Provenance]
    lacking: str
    adds_bytes: int | None
    not_counted: str
    is_empty: bool
    later_labels: Sequence[str]
    lost_labels: Sequence[str]


def plan_of_run(
    config: RunConfig,
    at: str | None,
    named_only: bool = False,
    share: Share | None = None,
    options: IngestOptions | None = None,
) -> RunPlan:
    """Plan a run of a configuration, and begin nothing.

    Args:
        config: what the run would do.
        at: the state of the store that is compared; the newest without it.
        named_only: plan for the videos that the configuration's paths name, not for all of the store.
        share: plan for one share of the files alone.
        options: what is tried although the store knows better.

    Raises:
        AffstoreError: such a run could not begin.
    """
    store, options = _store_or_empty(config, at), options or IngestOptions()
    config = config.without_training() if share is not None else config
    config = config.model_copy(update={"experiments": runnable(config, store).experiments})
    device, folder, lacking = config.device_in_use, default_folder(), ""
    try:
        profile = profile_of(config, folder, store, measured=False)
    except WeightsMissingError as error:
        if not named_only:
            raise
        profile, lacking = profile_of(config, None, store), str(error)
    heads = [replace(head, extractors=profile.extractors) for head in heads_asked(store, config)]
    check_kinds(profile, config.crops, store)
    inputs = gather(config.sources, config.crops, config.names, config.label_folders())
    inputs = share.of(inputs) if share is not None else inputs
    planned = Planned.on(store, profile, inputs.crops, device)
    # Without weights, whether stored embeddings were made by the networks that are meant cannot be known.
    known = [row for row in planned.rows if not lacking or row.status != "stale"]
    rows = plan_with(store, known, heads)
    arriving = incoming_files(store, inputs.digests(options.rehash)[0], options)
    if named_only:
        named = named_videos(arriving, planned.crops)
        rows = [row for row in rows if row.address.video in named]
    due, videos = due_work(profile, planned.records, rows, inputs)
    extracted = extraction_rows(profile, arriving, {video.video: video for video in videos})
    every = [
        *arrival_rows(store, arriving, inputs.annotations, told_of_refused=not named_only),
        *(() if inputs.is_part else withdrawn_rows(store, inputs.annotations, inputs.test_labels)),
        *unmatched_crop_rows(planned.crops, arriving),
        *priced(extracted, planned.records, profile, device),
        *rows,
    ]
    return RunPlan(
        every,
        memory_need(due, folder.root, videos, config.runner.parallelism(device)),
        inputs,
        {} if lacking else profile.provenance,
        lacking,
        bytes_of(store, planned.records, every, profile),
        _not_counted(config, {head.name for head in heads}),
        not planned.records,
        *_labels_without_row(store, inputs, arriving),
    )


def _store_or_empty(config: RunConfig, at: str | None) -> FeatureStore:
    """The store of a configuration, at a state; before its first run, an empty one."""
    try:
        return FeatureStore(config.store, at)
    except NotFoundError:
        if at is not None or not config.sources:
            raise
        return FeatureStore.create("memory:before the first run")


def _labels_without_row(
    store: FeatureStore, inputs: Inputs, arriving: Iterable[IncomingFile]
) -> tuple[list[str], list[str]]:
    """The label files of videos that the run takes in first, and of those that nobody has."""
    coming = {incoming.name for incoming in arriving if incoming.verdict in ("new", "alias", "moved")}
    known = video_names(store)
    there = {*known, *coming}
    videos: dict[str, set[str]] = {}  # a table may be of several
    for one in inputs.annotations:
        if not one.fault:
            videos.setdefault(str(one.path), set()).add(subject_called(one.name, there)[0])
    later = [path for path, of in videos.items() if of & (coming - known.keys())]
    return later, [path for path, of in videos.items() if not of & there]


def _not_counted(config: RunConfig, heads: Collection[str]) -> str:
    """What a run makes beside the rows of its plan, as it can be told only while the run goes on."""
    if not config.experiments:
        return ""
    own = "the experiments' own predictions and results"
    names = {head.name for experiment in config.experiments for head in experiment.heads}
    folded = {name for name in names if any(head.startswith(f"{name}-fold") for head in heads)}
    if any(cross_validated_name(name) in heads for name in names - folded):
        return f"the heads of folds with their predictions, which depend on labels that are not in the store yet; {own}"
    return own
