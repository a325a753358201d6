"""`affstore verify`."""

from __future__ import annotations

from affstore.flows.commands import COMMANDS, Command
from affstore.flows.commands.options import DEFAULT_STORE, At, Flag, Json, Store, print_json, print_table
from affstore.flows.watch import to_terminal

_DAMAGED = 4


def verify(*, store: Store = DEFAULT_STORE, at: At = None, deep: Flag = False, json: Json = False) -> int:
    """Compute every digest of a store's state again, follow every link between artifacts, and read every commit.

    The exit code is 4 when something is altered, missing, orphaned (computed from what is not there any more) or
    unexplained (it names nothing that it was computed from).

    Example: affstore verify --store affstore-demo/store --deep

    Parameters
    ----------
    deep
        Read videos, annotation files and weights again, too.
    """
    from affstore import FeatureStore
    from affstore.models.weights.folder import default_folder
    from affstore.tasks.lineage.verify import verify as verified

    found = verified(FeatureStore(store, at), default_folder(), deep)
    if json:
        print_json(found.as_document())
    else:
        files = f", {found.files} files" if deep else ""
        looked_at = f"{found.artifacts} artifacts ({found.array_bytes / 1e6:.1f} MB), {found.snapshots} commits{files}"
        if found.findings:
            rows = [(one.fault, one.what, one.reason) for one in found.findings]
            print_table(("fault", "what", "why"), rows, f"{looked_at}: {len(rows)} faults")
        else:
            to_terminal(f"{looked_at}: all is as it was written")
        for reason, count in found.unproven.items():
            to_terminal(f"{count} commits are not proven by the chain of digests: {reason}")
    return _DAMAGED if found.findings else 0


COMMANDS.register("verify", Command(verify))
