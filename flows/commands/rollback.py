"""`affstore rollback`."""

from __future__ import annotations

from affstore.flows.commands import COMMANDS, Command
from affstore.flows.commands.options import DEFAULT_STORE, DryRun, Json, Store, print_json
from affstore.flows.watch import to_terminal


def rollback(state: str, /, *, store: Store = DEFAULT_STORE, dry_run: DryRun = False, json: Json = False) -> int:
    """Give a store the state again that it had at a tag, snapshot or time, by a new commit: the history only grows.

    What is taken back stays in the history, so that another rollback brings it again. What was forgotten stays so.

    The exit code is 2 if the state is that of an open generation, which readers have not seen, and 4 if there is no
    such state, an artifact of it is damaged, or another run committed meanwhile.

    Example: affstore rollback 2099-12-31 --store affstore-demo/store --dry-run

    Parameters
    ----------
    state
        A tag, a snapshot or a time (ISO 8601, in UTC; a day, minute or second is its end), as `affstore log` shows
        them.
    """
    from affstore import FeatureStore
    from affstore.store.engine.copying import check_was_seen, roll_back
    from affstore.tasks.lineage.graph import by_family

    newest, wanted = FeatureStore(store), FeatureStore(store, state)
    check_was_seen(wanted)
    now, then = ({record.address: record for record in one.records()} for one in (newest, wanted))
    changes = {
        "added": by_family(address for address in then if address not in now),
        "replaced": by_family(address for address in then if address in now and now[address] != then[address]),
        "removed": by_family(address for address in now if address not in then),
    }
    snapshot = newest.snapshot
    if any(changes.values()) and not dry_run:
        snapshot = roll_back(newest, wanted)
    if json:
        print_json({"state": wanted.snapshot, "snapshot": snapshot, "changes": changes, "done": not dry_run})
        return 0
    would = "would be " if dry_run else ""
    lines = [
        f"{', '.join(f'{count} {family}' for family, count in counts.items())} {would}{change}."
        for change, counts in changes.items()
        if counts
    ]
    to_terminal(*(lines or [f"The store is as it was at '{state}': nothing to do."]))
    return 0


COMMANDS.register("rollback", Command(rollback))
