"""`affstore plan`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from flows.commands.options import (
    DEFAULT_EXTRACTORS,
    DEFAULT_STORE,
    Extractors,
    Flag,
    Json,
    Precision,
    Store,
    Weights,
    print_json,
    print_table,
)
from flows.watch import to_terminal

if TYPE_CHECKING:
    from flows.config import RunConfig
    from store import FeatureStore
    from tasks.planning import PlanRow

WORK_TO_DO = 10
"""Exit code when something is missing or stale."""


def plan(
    config: Path | None = None,
    /,
    *,
    store: Store = DEFAULT_STORE,
    extractors: Extractors = DEFAULT_EXTRACTORS,
    weights: Weights = "official",
    precision: Precision = "float32",
    everything: Flag = False,
    json: Json = False,
) -> int:
    """Say of each artifact whether it is fresh, missing, stale and why, or quarantined, with the estimated cost.

    The exit code is 0 when nothing is to be done and 10 when something is, for schedulers.

    Example: affstore plan abaw6.yaml || affstore run abaw6.yaml

    Parameters
    ----------
    config
        A configuration; without it, what `affstore add` would extract.
    store
        A folder, s3://bucket/prefix or memory:name.
    extractors
        A face or sound network; may be given several times.
    weights
        `untrained` for seeded, untrained parameters.
    precision
        Of the forward passes.
    everything
        List what is fresh too.
    json
        Print one JSON document.
    """
    from flows.config import checked, read_config

    if config is not None:
        found = read_config(config)
    else:
        document = {"store": store, "extractors": extractors, "weights": weights, "precision": precision}
        found = checked(document, "plan")
    rows = show_plan(found, json, everything)
    return WORK_TO_DO if any(row.due and row.asked for row in rows) else 0


def show_plan(config: RunConfig, as_json: bool, everything: bool = False) -> list[PlanRow]:
    """Print the plan of a configuration, and give it back."""
    from dataclasses import replace

    from flows.config import profile_of
    from models.weights.folder import default_folder
    from tasks.planning import plan as plan_of

    experiments = config.specs()
    profile = profile_of(config, default_folder())
    experiments = tuple(replace(experiment, extractors=profile.extractors) for experiment in experiments)
    opened = _store_or_empty(config)
    rows = plan_of(opened.records(), profile)
    if experiments:
        from tasks.experiment_plan import plan_with

        rows = plan_with(opened, rows, experiments)
    rows = [*_arrivals(opened, config), *rows]
    if as_json:
        print_json([_document(row) for row in rows if everything or row.status != "fresh"])
    else:
        _print(rows, everything)
    return rows


def _store_or_empty(config: RunConfig) -> FeatureStore:
    """The store of a configuration; before its first run, an empty one."""
    from store import FeatureStore
    from store.contract.errors import NotFoundError

    try:
        return FeatureStore(config.store)
    except NotFoundError:
        if not config.sources:
            raise
        return FeatureStore.create("memory:before the first run")


def _arrivals(store: FeatureStore, config: RunConfig) -> list[PlanRow]:
    """The videos and annotations of a configuration that the store does not have yet; every video's bytes are read."""
    if not config.sources:
        return []
    from flows.inputs import gather
    from tasks.arrival_plan import arrival_rows
    from tasks.arrivals import arrivals

    inputs = gather(config.sources)
    return arrival_rows(store, arrivals(store, inputs.digests()), inputs.annotations)


def _print(rows: list[PlanRow], everything: bool) -> None:
    shown = [row for row in rows if everything or row.status != "fresh"]
    if shown:
        cells = [(row.address.path, row.status, row.reason, str(row.frames or ""), _cost(row)) for row in shown]
        print_table(("artifact", "status", "why", "frames", "cost"), cells)
    counts = Counter(row.status for row in rows)
    costs = [row.cost_s for row in rows if row.due and row.asked]
    known = sum(cost for cost in costs if cost is not None)
    unknown = sum(cost is None for cost in costs)
    said = ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "the store is empty"
    estimate = f"; about {known:.0f} s of work" if known else ""
    estimate += f"; no estimate for {unknown} artifacts" if unknown else ""
    to_terminal(f"{said}{estimate}")


def _cost(row: PlanRow) -> str:
    return "" if row.cost_s is None else f"{row.cost_s:.1f} s"


def _document(row: PlanRow) -> dict[str, object]:
    return {
        "artifact": row.address.path,
        "status": row.status,
        "reason": row.reason,
        "frames": row.frames,
        "cost_s": row.cost_s,
        "asked": row.asked,
    }
