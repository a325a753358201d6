"""`affstore reproduce`."""

from __future__ import annotations

from affstore.flows.commands import COMMANDS, Command
from affstore.flows.commands.options import DEFAULT_STORE, At, Flag, Json, Store, print_json
from affstore.flows.watch import to_terminal

_OTHER, _NOT_COMPUTED = 4, 3


def reproduce(
    *artifacts: str,
    store: Store = DEFAULT_STORE,
    at: At = None,
    all: Flag = False,
    device: str = "cpu",
    json: Json = False,
) -> int:
    """Compute artifacts again from what their records name, on a scratch store, and compare the digests.

    Videos, crop folders, annotation files and weights are taken by their digests, other artifacts as they are in the
    same snapshot. On a CPU the same bits come out. What was recorded on another device or with other versions may
    differ within the tolerance of engines (docs/adr/0004), and that is said. Nothing is written to the store.

    The exit code is 0 when all are equal or within the tolerance, 2 when there is no such device, 3 when one cannot be
    computed, as its video is gone, 4 when one has other numbers, or the store has no such artifact or state.

    Example: affstore reproduce visual/emotieffnet_b0/video2/main --store affstore-demo/store

    Parameters
    ----------
    artifacts
        Their paths, as `affstore status` and `affstore trace` show them.
    all
        Every artifact of the store.
    device
        Where the networks run: `cpu` or `cuda`.
    """
    from dataclasses import asdict

    from affstore import FeatureStore
    from affstore.models.weights.folder import default_folder
    from affstore.store.contract.errors import SpecError
    from affstore.tasks.lineage.reproduce import addresses_named
    from affstore.tasks.lineage.reproduce import reproduce as reproduced

    opened = FeatureStore(store, at)
    if all == bool(artifacts):
        given = "both are given" if all else "neither is given"
        raise SpecError(f"Name the artifacts that are to be computed again, or give --all for every one; {given}.")
    names = [address.path for address in opened.addresses() if address.family != "quarantine"] if all else artifacts
    found = []
    for one in reproduced(opened, addresses_named(opened, names), default_folder(), device):
        found.append(one)
        if not json:
            to_terminal(f"{one.path}: {_SAYS[one.verdict]}{' ' if one.reason else ''}{one.reason}")
    if json:
        print_json([asdict(one) for one in found])
    verdicts = {one.verdict for one in found}
    return _OTHER if "other" in verdicts else _NOT_COMPUTED if "not computed" in verdicts else 0


_SAYS = {
    "equal": "the same bits",
    "close": "close.",
    "other": "OTHER NUMBERS.",
    "not computed": "not computed.",
}

COMMANDS.register("reproduce", Command(reproduce))
