"""`affstore plan`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from affstore.flows.commands import COMMANDS, Command
from affstore.flows.commands.options import (
    DEFAULT_ENGINE,
    DEFAULT_EXTRACTORS,
    DEFAULT_STORE,
    At,
    Crops,
    EngineOptions,
    Extractors,
    Flag,
    Json,
    Store,
    Weights,
    crops_by_kind,
    print_json,
    print_table,
)
from affstore.flows.provenance import warnings
from affstore.flows.watch import Screen, Watcher, to_terminal
from affstore.store.contract.printable import counted, some

if TYPE_CHECKING:
    from affstore import FeatureStore
    from affstore.flows.config.run_config import RunConfig
    from affstore.flows.inputs import Inputs
    from affstore.flows.limits import Share
    from affstore.store.contract.records import Provenance
    from affstore.tasks.extract.memory_estimate import MemoryNeed, VideoSize
    from affstore.tasks.ingest.incoming_files import IncomingFile, IngestOptions
    from affstore.tasks.plan_rows import PlanRow
    from affstore.tasks.planning.prices import Price
    from affstore.tasks.specs import Profile

WORK_TO_DO = 10
"""Exit code when something is missing or stale."""


def plan(
    config: Path | None = None,
    /,
    *,
    store: Store = DEFAULT_STORE,
    at: At = None,
    extractors: Extractors = DEFAULT_EXTRACTORS,
    crops: Crops = (),
    weights: Weights | None = None,
    engine: EngineOptions = DEFAULT_ENGINE,
    everything: Flag = False,
    json: Json = False,
) -> int:
    """Say of each artifact whether it is fresh, missing, stale and why, or quarantined, and what a run would cost.

    The cost is in time of one process on a CPU and on a GPU, from how long the same took on such a device and this
    store, in bytes of arrays before they are packed, and in memory.

    The exit code is 0 when nothing is to be done and 10 when something is, for schedulers; 2 when the configuration or
    a name in it is wrong, 4 when the store has no such state, 5 when weights are not here.

    Example: affstore plan affstore-demo/demo.yaml || affstore run affstore-demo/demo.yaml

    Parameters
    ----------
    config
        A configuration; without it, what `affstore add` would extract.
    crops
        KIND=FOLDER of face pictures, as for `affstore add`.
    weights
        `official`, or `untrained` for seeded, untrained parameters; without it, as the store's embeddings were made.
    everything
        List what is fresh too.
    """
    watcher = Watcher() if json else Screen()
    watcher.step("comparing the store with what is asked")
    from affstore.flows.config.run_config import checked, read_config

    if config is not None:
        found = read_config(config)
    else:
        document = {
            "store": store,
            "crops": crops_by_kind(crops),
            "extractors": extractors,
            "weights": weights or _weights_of(store, at, extractors),
            **asdict(engine),
        }
        found = checked(document, "plan")
    rows = show_plan(found, json, everything, at=at)
    return WORK_TO_DO if any(row.due and row.requested for row in rows) else 0


def _weights_of(url: str, at: str | None, extractors: tuple[str, ...]) -> Weights:
    """Which parameters the store's embeddings by these networks were made with: `untrained` if all were."""
    from affstore import FeatureStore
    from affstore.store.contract.errors import NotFoundError

    try:
        records = FeatureStore(url, at).records("visual", "audio")
    except NotFoundError:
        if at is not None:
            raise
        return "official"
    found = {record.provenance for record in records if record.address.producer in extractors}
    return "untrained" if found == {"untrained"} else "official"


def show_plan(
    config: RunConfig,
    as_json: bool,
    everything: bool = False,
    named_only: bool = False,
    share: Share | None = None,
    options: IngestOptions | None = None,
    at: str | None = None,
) -> list[PlanRow]:
    """Print the plan of a configuration, and give it back.

    Args:
        config: what a run would do.
        as_json: print one document.
        everything: list what is fresh too.
        named_only: plan for the videos that the configuration's paths name, not for all of the store.
        share: plan for one share of the files alone.
        options: what is tried although the store knows better.
        at: the state of the store that is compared; the newest without it.
    """
    from affstore.tasks.planning.prices import price_of

    found = _planned(config, _store_or_empty(config, at), named_only, share, options)
    if as_json:
        documents = [_document(row) for row in found.rows if everything or row.status != "fresh"]
        networks = [
            {"network": name, "videos": videos, "frames": frames} | price.as_document()
            for name, videos, frames, price in _networks(found.rows)
        ]
        print_json(
            {
                "artifacts": documents,
                "networks": networks,
                **price_of(found.rows).as_document(),
                "bytes": found.adds_bytes,
                "memory": found.need.as_document() if found.need.at_once else None,
                "left_alone": [kind.as_document() for kind in found.inputs.left_alone],
                "lacking": found.lacking or None,
                "not_counted": found.not_counted or None,
                "weights": found.weights,
                "refused": [refusal.reason for refusal in found.inputs.refused],
            }
        )
    else:
        _print(found, everything)
    return found.rows


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a run would do.

    `lacking` says which weights it needs first, `not_counted` what no row stands for, and `labels`, in lines, which
    label files no row stands for, as the store does not have their videos.
    """

    rows: list[PlanRow]
    need: MemoryNeed
    inputs: Inputs
    weights: dict[str, Provenance]
    lacking: str = ""
    adds_bytes: int | None = None
    not_counted: str = ""
    is_empty: bool = False
    labels: tuple[str, ...] = ()


def _planned(
    config: RunConfig, opened: FeatureStore, named_only: bool, share: Share | None, options: IngestOptions | None
) -> _Plan:
    from dataclasses import replace

    from affstore.flows.config.run_config import named_profile, profile_of
    from affstore.flows.inputs import check_kinds
    from affstore.flows.memory_needs import due_work
    from affstore.flows.request import heads_asked
    from affstore.flows.runnable import runnable
    from affstore.models.weights.folder import default_folder
    from affstore.store.contract.errors import WeightsMissingError
    from affstore.tasks.ingest.crop_assignment import match_crops_to_videos
    from affstore.tasks.planning.incoming_files import arrival_rows, extraction_rows, named_videos, unmatched_crop_rows
    from affstore.tasks.planning.plan import bytes_of
    from affstore.tasks.planning.plan import plan as plan_of
    from affstore.tasks.planning.prices import priced

    config = config.without_training() if share is not None else config
    config = config.model_copy(update={"experiments": runnable(config, opened).experiments})
    lacking = ""
    try:
        profile = profile_of(config, default_folder(), opened, measured=False)
    except WeightsMissingError as error:
        if not named_only:
            raise
        profile, lacking = named_profile(config, opened), str(error)
    heads = [replace(head, extractors=profile.extractors) for head in heads_asked(opened, config)]
    check_kinds(profile, config.crops, opened)
    inputs, records = _inputs(config, share), opened.records()
    given, device = match_crops_to_videos(records, inputs.crops), config.device_in_use
    rows = plan_of(records, profile, given, device)
    if lacking:  # whether stored embeddings were made by the networks that are meant cannot be known
        rows = [row for row in rows if row.status != "stale"]
    if heads:
        from affstore.tasks.planning.head_runs import plan_with

        rows = plan_with(opened, rows, heads)
    arriving = _arriving(opened, inputs, options)
    if named_only:
        named = named_videos(arriving, given)
        rows = [row for row in rows if row.address.video in named]
    due, videos = due_work(profile, records, rows, inputs)
    coming = [
        *arrival_rows(opened, arriving, inputs.annotations, not named_only),
        *unmatched_crop_rows(given, arriving),
    ]
    arriving_rows = extraction_rows(profile, arriving, {video.video: video for video in videos})
    every = [*coming, *priced(arriving_rows, records, profile, device), *rows]
    return _Plan(
        every,
        _need(config, (due, videos)),
        inputs,
        {} if lacking else profile.provenance,
        lacking,
        bytes_of(opened, records, every, profile),
        _not_counted(config, {head.name for head in heads}),
        not records,
        tuple(_labels_without_row(opened, inputs, arriving)),
    )


def _labels_without_row(opened: FeatureStore, inputs: Inputs, arriving: Iterable[IncomingFile]) -> Iterator[str]:
    """The label files of videos that the run takes in first, and of those that nobody has."""
    from affstore.store.contract.names import split_subject
    from affstore.store.engine.reading import video_names

    coming = {incoming.name for incoming in arriving if incoming.verdict in ("new", "alias", "moved")}
    known = video_names(opened)
    there = {*known, *coming}
    videos: dict[str, set[str]] = {}  # a table may be of several
    for one in inputs.annotations:
        if not one.fault:
            videos.setdefault(str(one.path), set()).add(split_subject(one.name, there)[0])
    later = [path for path, of in videos.items() if of & (coming - known.keys())]
    lost = [path for path, of in videos.items() if not of & there]
    if later:
        yield f"{counted(len(later), 'label file', 'label files')} to read once the videos are taken in: {some(later)}"
    if lost:
        yield f"{counted(len(lost), 'label file is', 'label files are')} of no video of the store: {some(lost)}"


def _not_counted(config: RunConfig, heads: Collection[str]) -> str:
    """What a run makes beside the rows of its plan, as it can be told only while the run goes on."""
    from affstore.tasks.training.folds import cross_validated_name

    if not config.experiments:
        return ""
    own = "the experiments' own predictions and results"
    names = {head.name for experiment in config.experiments for head in experiment.heads}
    folded = {name for name in names if any(head.startswith(f"{name}-fold") for head in heads)}
    if any(cross_validated_name(name) in heads for name in names - folded):
        return f"the heads of folds with their predictions, which depend on labels that are not in the store yet; {own}"
    return own


def _inputs(config: RunConfig, share: Share | None) -> Inputs:
    """What the configuration's paths hold, or one share of it."""
    from affstore.flows.inputs import gather

    found = gather(config.sources, config.crops, config.names, config.label_folders())
    return share.of(found) if share is not None else found


def _arriving(opened: FeatureStore, inputs: Inputs, options: IngestOptions | None) -> list[IncomingFile]:
    """The video files of the configuration, and what would become of them."""
    from affstore.tasks.ingest.incoming_files import IngestOptions, incoming_files

    tried = options or IngestOptions()
    return incoming_files(opened, inputs.digests(tried.rehash)[0], tried)


def _need(config: RunConfig, due: tuple[Profile, list[VideoSize]]) -> MemoryNeed:
    """What a run of the configuration will need."""
    from affstore.models.weights.folder import default_folder
    from affstore.tasks.extract.memory_estimate import memory_need

    profile, videos = due
    return memory_need(profile, default_folder().root, videos, config.runner.parallelism(config.device_in_use))


def _store_or_empty(config: RunConfig, at: str | None) -> FeatureStore:
    """The store of a configuration, at a state; before its first run, an empty one."""
    from affstore import FeatureStore
    from affstore.store.contract.errors import NotFoundError

    try:
        return FeatureStore(config.store, at)
    except NotFoundError:
        if at is not None or not config.sources:
            raise
        return FeatureStore.create("memory:before the first run")


def _networks(rows: list[PlanRow]) -> list[tuple[str, int, int, Price]]:
    """What is to be computed: each detector, crop kind and network, its videos, their frames, and the price."""
    from affstore.tasks.planning.prices import price_of

    due: dict[str, list[PlanRow]] = {}
    for row in rows:
        if row.due and row.requested and row.address.family in ("face", "visual", "audio"):
            due.setdefault(row.address.producer, []).append(row)
    return [
        (name, len({row.address.video for row in of}), sum(row.frames for row in of), price_of(of))
        for name, of in sorted(due.items())
    ]


def _print(plan: _Plan, everything: bool) -> None:
    from affstore.tasks.planning.prices import price_of

    rows = [row for row in plan.rows if everything or row.status != "fresh"]
    if rows:
        cells = [(row.address.path, row.status, row.reason, str(row.frames or ""), _cost(row)) for row in rows]
        print_table(("artifact", "status", "why", "frames", "cost"), cells)
    networks = _networks(plan.rows)
    if networks:
        to_terminal("")
        print_table(
            ("to compute", "videos", "frames", "time"),
            [(name, str(videos), str(frames), str(price)) for name, videos, frames, price in networks],
        )
    counts = Counter(row.status for row in plan.rows)
    nothing = "the store is empty" if plan.is_empty else "nothing to take in or extract"
    statuses = ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or nothing
    price = price_of(plan.rows)
    estimate = f"; {price}" if price.seconds or price.elsewhere else ""
    estimate += f" and {plan.adds_bytes / 1e6:.1f} MB of arrays" if plan.adds_bytes else ""
    estimate += f"; no estimate for {price.unknown} artifacts" if price.unknown else ""
    to_terminal("", f"{statuses}{estimate}", *plan.labels)
    if plan.not_counted:
        to_terminal(f"not counted: {plan.not_counted}")
    if plan.lacking:
        to_terminal(f"before that: {plan.lacking}")
    for refusal in plan.inputs.refused:
        to_terminal(refusal.reason)
    for kind in plan.inputs.left_alone:
        to_terminal(f"left alone {kind}")
    if plan.need.at_once:
        to_terminal(str(plan.need))
    for text in warnings(plan.weights):
        to_terminal(text)


def _cost(row: PlanRow) -> str:
    return "" if row.cost_s is None else f"{row.cost_s:.1f} s"


def _document(row: PlanRow) -> dict[str, object]:
    return {
        "artifact": row.address.path,
        "status": row.status,
        "reason": row.reason,
        "frames": row.frames,
        "cost_s": row.cost_s,
        "device": row.device if row.due else None,
        "cost_on_other_device_s": row.other_cost_s,
        "asked": row.requested,
    }


COMMANDS.register("plan", Command(plan))
