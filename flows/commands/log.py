"""`affstore log`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from affstore.flows.commands import COMMANDS, Command
from affstore.flows.commands.options import DEFAULT_STORE, At, Flag, Json, Store, print_json, print_table
from affstore.store.contract.errors import SpecError

if TYPE_CHECKING:
    from affstore import FeatureStore
    from affstore.store.engine.history import Commit


def log(
    *,
    store: Store = DEFAULT_STORE,
    at: At = None,
    number: Annotated[int, Parameter(name=["--number", "-n"])] = 20,
    videos: Flag = False,
    json: Json = False,
) -> int:
    """Tell a store's history, newest first: when, which stage of which run, and what was added, replaced or removed.

    Example: affstore log -n 5 --store affstore-demo/store

    Parameters
    ----------
    number
        How many commits; 0 tells all.
    videos
        Name the videos, too: they are looked up in the snapshots, no commit message holds them.
    """
    from itertools import islice

    from affstore import FeatureStore
    from affstore.store.engine.history import commits

    if number < 0:
        raise SpecError(f"--number counts commits, from 0 for all of them; found {number}.")
    opened = FeatureStore(store, at)
    tags = opened.tags()
    entries = [_entry(opened, one, tags, videos) for one in islice(commits(opened), number or None)]
    if json:
        print_json(entries)
        return 0
    head = ("time", "stage", "what", *(("videos",) if videos else ()), "run", "snapshot", "tags")
    rows = [
        (
            one["time"],
            one["stage"],
            _in_words(one["artifacts"]),
            *((", ".join(one["videos"]),) if videos else ()),
            one["run_id"],
            one["snapshot"],
            ", ".join(one["tags"]),
        )
        for one in entries
    ]
    print_table(head, rows)
    return 0


def _entry(store: FeatureStore, commit: Commit, tags: dict[str, str], videos: bool) -> dict[str, Any]:
    from affstore.store.engine.history import changes_by
    from affstore.tasks.lineage.graph import by_family

    changed = changes_by(store, commit)
    kinds = {"added": changed.added, "replaced": changed.replaced, "removed": changed.removed}
    document: dict[str, Any] = {
        "time": commit.time,
        "stage": commit.message.partition(":")[0],
        "run_id": commit.run_id,
        "snapshot": commit.snapshot,
        "parent": commit.parent,
        "tags": [tag for tag, snapshot in tags.items() if snapshot == commit.snapshot],
        "artifacts": {kind: by_family(addresses) for kind, addresses in kinds.items() if addresses},
    }
    if videos:
        touched = [address for addresses in kinds.values() for address in addresses if address.family != "quarantine"]
        document["videos"] = sorted({address.video for address in touched} - {""})
    return document


def _in_words(artifacts: dict[str, dict[str, int]]) -> str:
    return "; ".join(
        f"{kind} {', '.join(f'{count} {family}' for family, count in counts.items())}"
        for kind, counts in artifacts.items()
    )


COMMANDS.register("log", Command(log))
