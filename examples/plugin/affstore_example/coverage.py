"""A command: in which share of a video's frames there is a face. What is heavy is imported when it is called."""

from __future__ import annotations

from affstore.flows.commands import Command
from affstore.flows.commands.options import DEFAULT_STORE, Json, Store, print_json, print_table


def coverage(*, store: Store = DEFAULT_STORE, at_least: float = 0.0, json: Json = False) -> int:
    """Say in which share of each video's frames there is a face, for every detector and subject.

    Example: affstore coverage --store affstore-data --at-least 0.5

    Parameters
    ----------
    at_least
        List only where the share is smaller than this; the exit code is then 3 if there is one.
    """
    from affstore import FeatureStore

    opened = FeatureStore(store)
    shares = {record.address: float(opened.read(record.address)["present"].mean()) for record in opened.records("face")}
    listed = {address: share for address, share in shares.items() if not at_least or share < at_least}
    if json:
        print_json([{"face": address.path, "share": share} for address, share in listed.items()])
    else:
        rows = [(a.video, a.subject, a.producer, f"{share:.1%}") for a, share in listed.items()]
        print_table(("video", "subject", "detector", "frames with a face"), rows)
    return 3 if at_least and listed else 0


COMMAND = Command(coverage, contract=1)
