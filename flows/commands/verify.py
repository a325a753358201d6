"""`affstore verify`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from affstore.flows.commands import COMMANDS, Command
from affstore.flows.commands.options import DEFAULT_STORE, At, DryRun, Flag, Json, Store, print_json, print_table
from affstore.flows.watch import to_terminal

if TYPE_CHECKING:
    from affstore.store.engine.accounting import StoredObject
    from affstore.tasks.lineage.repair import Repair
    from affstore.tasks.lineage.verify import Verification

_DAMAGED = 4


def verify(
    *,
    store: Store = DEFAULT_STORE,
    at: At = None,
    deep: Flag = False,
    objects: Flag = False,
    repair: Flag = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> int:
    """Compute every digest of a store again, follow every link between artifacts, and account for every object.

    Every version of every artifact is read whole, every commit is compared with the chain of digests, and every file
    below the store's place is named by what needs it. With --repair, what is broken is brought back first, and only
    that, in the newest state, under tags and in the history: objects by their noted digests, chunks by their checksums,
    artifacts by computing them again.

    The exit code is 4 when something is altered, missing, orphaned (computed from what is not there any more) or
    unexplained (it names nothing that it was computed from), or the store has no such state.

    Example: affstore verify --store affstore-demo/store --deep

    Parameters
    ----------
    deep
        Read videos, annotation files, crop folders, imported files and weights again, too; one that is gone is missing.
    objects
        List every object: what is known of it, and how many snapshots and which tags need it.
    repair
        Bring back what is broken before; the same numbers under the same digests, or nothing is changed.
    """
    from affstore.models.weights.folder import default_folder
    from affstore.store.contract.errors import SpecError
    from affstore.tasks.lineage.verify import verify_place

    if dry_run and not repair:
        raise SpecError("--dry-run belongs to --repair: without it nothing is written.")
    repairs = _repair(store, at, dry_run) if repair else []
    found = verify_place(store, at, default_folder(), deep)
    if json:
        print_json(found.as_document() | {"repairs": [asdict(one) for one in repairs]})
        return _DAMAGED if found.findings else 0
    if repairs:
        print_table(("broken", "now", "how"), [(one.what, one.state, one.reason) for one in repairs])
    files = f", {found.files} files" if deep else ""
    looked_at = (
        f"{found.artifacts} artifacts ({found.array_bytes / 1e6:.1f} MB), {found.snapshots} commits, "
        f"{len(found.objects)} objects{files}"
    )
    if objects:
        listed = [(one.key, str(one.size), one.state, _needed_by(one)) for one in found.objects]
        print_table(("object", "bytes", "state", "needed by"), listed)
    if found.findings:
        rows = [(one.fault, one.what, one.reason) for one in found.findings]
        print_table(("fault", "what", "why"), rows, f"{looked_at}: {len(rows)} faults")
    else:
        to_terminal(f"{looked_at}: all is as it was written")
    for line in _remarks(found):
        to_terminal(line)
    return _DAMAGED if found.findings else 0


def _repair(store: str, at: str | None, dry_run: bool) -> list[Repair]:
    from affstore.models.weights.folder import default_folder
    from affstore.store.contract.errors import SpecError
    from affstore.tasks.lineage.repair import repair

    if at is not None:
        raise SpecError("--repair brings back every state of the store: leave --at out.")
    return list(repair(store, default_folder(), dry_run))


def _needed_by(one: StoredObject) -> str:
    return ", ".join((f"{one.snapshots} snapshots", *one.tags)) if one.snapshots else ""


def _remarks(found: Verification) -> Iterator[str]:
    """What is no fault, and what a reader should know all the same."""
    for reason, count in found.unproven.items():
        yield f"not proven: {count} {reason}"
    garbage = found.objects_of("garbage")
    if garbage:
        size = sum(one.size for one in garbage) / 1e6
        yield (
            f"{len(garbage)} objects ({size:.1f} MB) are needed by no snapshot: commits that were tried again, or a "
            "run that was killed, left them"
        )
    for one in found.objects_of("foreign"):
        yield f"'{one.key}' is no object of a store"


COMMANDS.register("verify", Command(verify))
