"""`affstore plan`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
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
    from affstore.flows.run_plan import RunPlan
    from affstore.tasks.plan_rows import PlanRow
    from affstore.tasks.planning.prices import Price

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
    from affstore.flows.run_plan import plan_of_run

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
    due = plan_of_run(found, at)
    show_plan(due, json, everything)
    return WORK_TO_DO if any(row.due and row.requested for row in due.rows) else 0


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


def show_plan(found: RunPlan, as_json: bool, everything: bool = False) -> None:
    """Print a plan; what is fresh too if `everything`."""
    from affstore.tasks.planning.prices import price_of

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


def _labels_without_row(plan: RunPlan) -> Iterator[str]:
    later, lost = plan.later_labels, plan.lost_labels
    if later:
        yield f"{counted(len(later), 'label file', 'label files')} to read once the videos are taken in: {some(later)}"
    if lost:
        yield f"{counted(len(lost), 'label file is', 'label files are')} of no video of the store: {some(lost)}"


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


def _print(plan: RunPlan, everything: bool) -> None:
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
    to_terminal("", f"{statuses}{estimate}", *_labels_without_row(plan))
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
