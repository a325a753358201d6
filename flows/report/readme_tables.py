"""The tables in README.md of what there is by name, generated from the registries.

`python -m affstore.flows.report.readme_tables README.md` writes them, each between two HTML comments.
"""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

from affstore.flows.offers import Offer, offers
from affstore.store.contract.registry import OWN

_TABLE = re.compile(r"(<!-- list (\w+)[^>]* -->\n)(.*?)(<!-- end of list -->)", re.DOTALL)
_FIRST_COLUMN = {"commands": "command", "exporters": "`affstore export --to`", "runners": "`--runner`"}
"""What the first column is called where it is not the name of the kind."""

_LARGE = 6


def with_tables(page: str) -> str:
    """A page whose tables say what there is today; only affstore's own, whatever plugins are installed."""
    return _TABLE.sub(lambda found: f"{found[1]}\n{_table(found[2])}\n{found[4]}", page)


def _table(kind: str) -> str:
    own = _merged([offer for offer in offers(kind) if offer.origin == OWN])
    head = [_FIRST_COLUMN.get(kind, kind.removesuffix("s")), "what it is", "needs"]
    rows = [[_name(kind, offer), offer.description, offer.needs] for offer in own]
    columns = len(head) if any(offer.needs for offer in own) else 2
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line[:columns])} |\n" for line in lines)


def _name(kind: str, offer: Offer) -> str:
    return f"`affstore {offer.name}`" if kind == "commands" else f"`{offer.name}`"


def _merged(own: list[Offer]) -> list[Offer]:
    """Offers of a large family that are described alike, as the twelve OpenL3 of a width, in one row."""
    families: dict[tuple[str, str], list[Offer]] = {}
    for offer in own:
        families.setdefault((offer.name.partition("_")[0], offer.description), []).append(offer)
    found = []
    for members in families.values():
        if len(members) < _LARGE:
            found += members
        else:
            names, others = f"{members[0].name}` … `{members[-1].name}", len({one.needs for one in members}) - 1
            alike = f"{members[0].description} ({len(members)} of them)"
            found.append(replace(members[0], name=names, description=alike, needs=f"{members[0].needs}; {others} more"))
    return sorted(found, key=lambda offer: offer.name)


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(with_tables(path.read_text(encoding="utf-8")), encoding="utf-8")
