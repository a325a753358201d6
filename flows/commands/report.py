"""`affstore report`."""

from __future__ import annotations

from pathlib import Path

from affstore.flows.commands import COMMANDS, Command
from affstore.flows.commands.options import DEFAULT_STORE, At, DryRun, Json, Store, answer


def report(
    what: str = "",
    /,
    *,
    store: Store = DEFAULT_STORE,
    at: At = None,
    to: Path = Path("store.html"),
    dry_run: DryRun = False,
    json: Json = False,
) -> int:
    """Write one offline page: coverage of videos, a lineage graph to walk, metrics, drift since before, and costs.

    The exit code is 2 when --at is another state than the tag's, or --to is no file, and 4 when the store lacks such a
    tag, run or state.

    Example: affstore report --store affstore-demo/store --to demo.html

    Parameters
    ----------
    what
        A tag, for that publication; a run, for what it wrote up to --at; without it, the whole store.
    to
        The file to write; one that is there is replaced.
    """
    from affstore.flows.report.store_report import write_store_report
    from affstore.store.engine.places import check_output
    from affstore.tasks.lineage.overview import overview, scope_of

    check_output(store, to)
    found = overview(scope_of(store, what, at))
    page = to if dry_run else write_store_report(found, to)
    document = {"page": str(page), "snapshot": found.scope.store.snapshot, "artifacts": len(found.counted)}
    how = ", which would be shown in" if dry_run else ":"
    answer(document, [f"{len(found.counted)} artifacts, {len(found.coverage)} videos{how} {page}"], json)
    return 0


COMMANDS.register("report", Command(report))
