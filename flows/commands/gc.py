"""`affstore gc`."""

from __future__ import annotations

import datetime
import re
from typing import Annotated

from cyclopts import Parameter

from affstore.flows.commands import COMMANDS, Command
from affstore.flows.commands.options import DEFAULT_STORE, DryRun, Json, Store, answer
from affstore.store.contract.errors import SpecError
from affstore.store.contract.printable import excerpt

Age = Annotated[str, Parameter(negative="")]
"""A number with d, h, m or s."""

_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}


def gc(
    *,
    store: Store = DEFAULT_STORE,
    expire_older_than: Age = "",
    keep_younger_than: Age = "",
    dry_run: DryRun = False,
    json: Json = False,
) -> int:
    """Remove the objects that no snapshot of the history and no tag needs, such as those that a killed run left.

    In a local store it is seen that nobody is writing, and everything that is not needed goes; on S3 nobody can see
    that, so what is younger than a day stays. Snapshots are kept unless `--expire-older-than` lets go of them.

    The exit code is 4 if another run is writing; nothing is changed then.

    Example: affstore gc --expire-older-than 30d --store affstore-demo/store --dry-run

    Parameters
    ----------
    expire_older_than
        Let go of the snapshots that are older than this, such as 30d, 12h, 5m or 0s, but for the newest and the tagged.
    keep_younger_than
        Objects that are younger than this stay; 0s in a local store, and 1d elsewhere.
    """
    from dataclasses import asdict

    from affstore import FeatureStore
    from affstore.store.engine.erasing import collect_garbage, plan_garbage
    from affstore.store.engine.places import is_local
    from affstore.store.engine.writers import alone_in

    history = _age(expire_older_than) if expire_older_than else None
    young = _age(keep_younger_than or ("0s" if is_local(store) else "1d"))
    opened = FeatureStore(store)
    if dry_run:
        found = plan_garbage(opened, young, history)
    else:
        with alone_in(store):
            found = collect_garbage(opened.newest(), young, history)
    would = "would be " if dry_run else ""
    most = "at most " if dry_run and found.snapshots and not is_local(store) else ""
    lines = [
        *([f"{found.snapshots} snapshots {would}let go."] if history is not None else []),
        f"{most}{found.objects} objects ({found.bytes:,} bytes) {would}removed from the store at '{store}'.",
    ]
    answer({**asdict(found), "done": not dry_run}, lines, json)
    return 0


def _age(text: str) -> datetime.timedelta:
    found = re.fullmatch(r"([0-9]+)([dhms])", text)
    if found is None:
        raise SpecError(f"An age is a number and one of d, h, m, s, as 30d or 12h; found {excerpt(text)}.")
    try:
        age = datetime.timedelta(**{_UNITS[found[2]]: int(found[1])})
        datetime.datetime.now(datetime.UTC) - age
    except (OverflowError, ValueError) as error:  # before the year 1, or more digits than Python reads
        raise SpecError(f"An age is as 30d or 12h; {excerpt(text)} is too long: no calendar reaches so far.") from error
    return age


COMMANDS.register("gc", Command(gc))
