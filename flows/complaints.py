"""Complaints about files that cannot be used: who watches a folder is told of each once."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from affstore.store.contract.files import write_text
from affstore.store.contract.keys import key_of
from affstore.tasks.outcomes import Outcome


def complaint(outcome: Outcome) -> str:
    """The digest of what an outcome says of a file that stays unfit until somebody changes it; empty for all else.

    A file of another size or time is another complaint, for videos and for labels.
    """
    taken_in = outcome.stage in ("ingest", "annotate")  # other stages fail by what this machine lacks too
    refused = outcome.status == "failed" and taken_in and outcome.file and not outcome.fault
    if not refused and outcome.status != "quarantined":
        return ""
    return key_of(
        [outcome.stage, outcome.subject, outcome.status, outcome.reason, outcome.file, *_version(outcome.file)]
    )


def _version(file: str) -> tuple[int, int]:
    """The size and the time of a file, and zeros where none is."""
    try:
        found = Path(file).stat() if file else None
    except (OSError, ValueError):
        found = None
    return (found.st_size, found.st_mtime_ns) if found else (0, 0)


def told_before(path: Path) -> frozenset[str]:
    """The complaints that an earlier run has told; none where its file cannot be read, so that they are told again."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return frozenset()
    return frozenset(one for one in found if isinstance(one, str)) if isinstance(found, list) else frozenset()


def write_told(path: Path, outcomes: Iterable[Outcome]) -> None:
    """Write down the complaints that are true now; one that is gone is told again when it comes back."""
    write_text(path, json.dumps(sorted({complaint(one) for one in outcomes} - {""})))
