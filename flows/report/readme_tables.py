"""The tables in README.md of what there is by name, generated from the registries.

`python -m affstore.flows.report.readme_tables README.md` writes them anew, each between two HTML comments.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from affstore.flows.offers import Offer, offers
from affstore.store.contract.registry import OWN

_TABLE = re.compile(r"(<!-- list (\w+)[^>]* -->\n)(.*?)(<!-- end of list -->)", re.DOTALL)
_FIRST_COLUMN = {"commands": "command", "exporters": "`affstore export --to`", "runners": "`--runner`"}
"""What the first column is called where it is not the name of the kind."""


def with_tables(page: str) -> str:
    """A page whose tables say what there is today; only affstore's own, whatever plugins are installed."""
    return _TABLE.sub(lambda found: f"{found[1]}\n{_table(found[2])}\n{found[4]}", page)


def _table(kind: str) -> str:
    own = [offer for offer in offers(kind) if offer.origin == OWN]
    head = [_FIRST_COLUMN.get(kind, kind.removesuffix("s")), "what it is", "needs"]
    rows = [[_name(kind, offer), offer.description, offer.needs] for offer in own]
    shown = len(head) if any(offer.needs for offer in own) else 2
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line[:shown])} |\n" for line in lines)


def _name(kind: str, offer: Offer) -> str:
    return f"`affstore {offer.name}`" if kind == "commands" else f"`{offer.name}`"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(with_tables(path.read_text(encoding="utf-8")), encoding="utf-8")
