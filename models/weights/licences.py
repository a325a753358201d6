"""Licences that limit what may be done with weights are accepted once by a person, before the weights are used."""

from __future__ import annotations

import json
from pathlib import Path

from affstore.models.weights.entry import WeightsEntry
from affstore.models.weights.records import writing_to
from affstore.store.contract.errors import WeightsError
from affstore.store.contract.files import write_text

_FREE = ("apache-2.0", "bsd-2-clause", "bsd-3-clause", "cc-by-4.0", "cc0-1.0", "mit")
"""SPDX names of licences that allow every use, if only the authors are named."""


def needs_acceptance(entry: WeightsEntry) -> bool:
    """Whether the entry's licence limits the use of a file that anyone may fetch, or none is stated for it.

    Who has a file that is not public has it from its authors, on the terms they agreed on.
    """
    return bool(entry.public) and entry.licence.casefold() not in _FREE


def accepted(root: Path, entry: WeightsEntry) -> bool:
    """Whether the entry may be used as far as the weights folder at `root` knows.

    Raises:
        WeightsError: the record cannot be read.
    """
    if not needs_acceptance(entry):
        return True
    path = _path(root, entry)
    try:
        return bool(json.loads(path.read_text("utf-8")) == _acceptance(entry))
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} is damaged ({error}). Delete it and accept the licence again.") from error


def accept(root: Path, entry: WeightsEntry) -> None:
    """Remember in the weights folder that a person accepted the entry's licence.

    Raises:
        WeightsError: the folder cannot be written.
    """
    path = _path(root, entry)
    with writing_to(path.parent):
        write_text(path, json.dumps(_acceptance(entry), indent=1))


def require_acceptance(root: Path, entry: WeightsEntry) -> None:
    """See that nothing is fetched or used whose licence nobody accepted.

    Raises:
        WeightsError: it was not; the message says what to type.
    """
    if not accepted(root, entry):
        raise WeightsError(
            f"{terms(entry)} To accept that, type `affstore weights pull {entry.name} --accept-licence` "
            f"(or `import`, with a file of your own)."
        )


def terms(entry: WeightsEntry) -> str:
    """What a person has to know of the licence, as a sentence."""
    if entry.licence == "none stated":
        return (
            f"The authors of '{entry.name}' state no licence, so you may need their leave to use it ({entry.public})."
        )
    return f"'{entry.name}' is licensed {entry.licence}, which limits what it may be used for ({entry.public})."


def _acceptance(entry: WeightsEntry) -> dict[str, str]:
    """What a person agrees to; under another licence the entry has to be accepted again."""
    return {"name": entry.name, "licence": entry.licence, "source": entry.public}


def _path(root: Path, entry: WeightsEntry) -> Path:
    return root / "licences" / f"{entry.name}.json"
