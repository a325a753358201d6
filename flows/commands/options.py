"""Options that several commands share."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from affstore.flows.tables import table_lines, terminal_width
from affstore.store.contract.errors import SpecError
from affstore.store.contract.printable import printable, printable_json

Store = Annotated[str, Parameter(name=["--store", "-s"], env_var="AFFSTORE_STORE")]
"""A folder, s3://bucket/prefix or memory:name."""

Extractors = Annotated[tuple[str, ...], Parameter(name=["--extractor", "-e"], negative="")]
"""Names of face and sound networks."""

Crops = Annotated[tuple[str, ...], Parameter(name="--crops", negative="")]
"""Folders of face pictures, as KIND=FOLDER."""

Names = Literal["file", "folder"]
"""What videos are called."""

Weights = Literal["official", "untrained"]
Engine = Literal["auto", "torch", "openvino"]
Precision = Literal["auto", "float32", "bfloat16"]
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


def crops_by_kind(given: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """What `--crops` says: the folders of each kind.

    Raises:
        SpecError: one is not KIND=FOLDER.
    """
    found: dict[str, tuple[str, ...]] = {}
    for text in given:
        kind, equals, folder = text.partition("=")
        if not (kind and equals and folder):
            raise SpecError(f"--crops takes KIND=FOLDER, as --crops cropped=/data/cropped; found '{text}'.")
        found[kind] = (*found.get(kind, ()), folder)
    return found


def print_json(document: Any) -> None:
    """Print a document for other programs."""
    sys.stdout.write(printable_json(json.dumps(document, indent=2, ensure_ascii=False, default=str)) + "\n")


def print_table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], title: str = "") -> None:
    """Print a table for a person."""
    lines = [*([printable(title)] if title else []), *table_lines(head, rows, terminal_width())]
    sys.stdout.write("".join(f"{line}\n" for line in lines))
