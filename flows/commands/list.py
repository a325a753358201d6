"""`affstore list`."""

from __future__ import annotations

from affstore.flows.commands import COMMANDS, Command
from affstore.flows.commands.options import Json, print_json, print_table
from affstore.flows.watch import to_terminal


def list_(kind: str, /, *, json: Json = False) -> int:
    """List what there is by name: extractors, heads, runners, label formats, exporters or commands, with plugins' own.

    Each with what it is, who brought it and what it needs. What a plugin brought and cannot be used is named with the
    reason.

    Example: affstore list runners

    Parameters
    ----------
    kind
        `commands`, `exporters`, `extractors`, `heads`, `labels` or `runners`.
    """
    from affstore.flows.offers import offers

    found = offers(kind)
    if json:
        print_json([offer.as_document() for offer in found])
        return 0
    print_table(
        (kind, "what it is", "from", "needs", "state"),
        [(one.name, one.description, one.origin, one.needs, one.state) for one in found if not one.problem],
    )
    for offer in found:
        if offer.problem:
            to_terminal("", offer.problem)
    return 0


COMMANDS.register("list", Command(list_))
