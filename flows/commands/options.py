"""Options that several commands share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from flows.watch import to_terminal

Store = Annotated[str, Parameter(name=["--store", "-s"], env_var="AFFSTORE_STORE")]
"""A folder, s3://bucket/prefix or memory:name."""

Extractors = Annotated[tuple[str, ...], Parameter(name=["--extractor", "-e"], negative="")]
"""Names of face and sound networks."""

Weights = Literal["official", "untrained"]
Precision = Literal["float32", "bfloat16"]
Device = Literal["cpu", "cuda", "auto"]
Runner = Literal["threads", "dask"]

Json = Annotated[bool, Parameter(name="--json", negative="")]
"""Print one JSON document to standard output."""

DryRun = Annotated[bool, Parameter(name="--dry-run", negative="")]
"""Say what would be done, and do nothing."""

Flag = Annotated[bool, Parameter(negative="")]
"""A switch that is off unless named."""

DEFAULT_STORE = "affstore-data"

DEFAULT_EXTRACTORS = ("emotieffnet_b0", "wav2vec2_base_960h")
"""What `affstore add` extracts when nothing else is said."""


def print_json(document: Any) -> None:
    """Print a document for other programs."""
    to_terminal(json.dumps(document, indent=2, ensure_ascii=False, default=str))


def print_table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], title: str = "") -> None:
    """Print a table for a person."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for name in head:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(width=None if _is_terminal() else 200).print(table)


def _is_terminal() -> bool:
    import sys

    return sys.stdout.isatty()
