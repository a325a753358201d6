"""What `affstore weights` shows of the networks' parameters, and what it asks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from affstore.flows.commands.options import says_yes
from affstore.store.contract.errors import WeightsError
from affstore.store.contract.printable import printable

if TYPE_CHECKING:
    from affstore.models.weights.download import Progress
    from affstore.models.weights.entry import WeightsEntry
    from affstore.models.weights.folder import WeightsFolder, WeightsStatus


def state(status: WeightsStatus) -> str:
    """Which parameters are here, in a few words."""
    return _state(document(status)) if status.present else "no"


def sentence(done: dict[str, Any]) -> str:
    """What was done, or would be, of one entry."""
    if "configuration" in done:
        return f"{done['name']}: its configuration is known now; run it with `--weights untrained`"
    parts = [f"would be taken from {done['from']}" if "from" in done else _state(done)]
    parts += ["intact"] if "intact" in done else []
    parts += [f"licence {done['licence']}"] if "licence" in done else []
    return f"{done['name']}: {', '.join(parts)}"


def _state(here: dict[str, Any]) -> str:
    known = "unofficial: not known to be the published file"
    kind = known if here["provenance"] == "unofficial" else here["provenance"]
    return f"{here['sha256'][:12]} ({kind})"


def origin(entry: WeightsEntry) -> str:
    """Where the published file is."""
    return entry.public or f"not public: {entry.where}"


def licence(entry: WeightsEntry, folder: WeightsFolder) -> str:
    """The entry's licence, and whether it still has to be accepted."""
    from affstore.models.weights.licences import accepted, needs_acceptance

    if not needs_acceptance(entry):
        return entry.licence
    return f"{entry.licence} ({'accepted' if accepted(folder.root, entry) else 'to be accepted'})"


def document(status: WeightsStatus) -> dict[str, Any]:
    """What is here of an entry, for other programs."""
    record = status.record
    if record is None:
        return {"name": status.name, "present": False}
    return {
        "name": status.name,
        "present": True,
        "sha256": record.sha256,
        "provenance": record.provenance,
        "source": record.source,
        "file_sha256": record.file_sha256,
    }


def listed(entry: WeightsEntry, folder: WeightsFolder) -> dict[str, Any]:
    """Everything that is known of an entry, for other programs."""
    from affstore.models.weights.licences import accepted

    return {
        **document(folder.status(entry.name)),
        "file": entry.file,
        "url": entry.url,
        "wheel": str(entry.wheel) if entry.wheel else None,
        "where": entry.where,
        "licence": entry.licence,
        "licence_accepted": accepted(folder.root, entry),
    }


def agree(entry: WeightsEntry, folder: WeightsFolder, accepts: bool) -> None:
    """Have the entry's licence accepted: by the option, or by a person at the terminal.

    Raises:
        WeightsError: the person says no, or the folder cannot be written.
    """
    from affstore.models.weights.licences import accept, accepted, terms

    if accepted(folder.root, entry):
        return
    agreed = accepts or says_yes(f"{terms(entry)}\nDo you accept that? [y/N]")
    if agreed is False:
        raise WeightsError(f"The licence of '{entry.name}' was not accepted. Nothing was fetched.")
    if agreed:
        accept(folder.root, entry)


@contextmanager
def bar(name: str) -> Iterator[Progress]:
    """A bar for a download on a terminal, and nothing elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(name, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def complain(error: WeightsError) -> None:
    """Say on standard error why one of several could not be done."""
    sys.stderr.write(f"affstore: {printable(str(error))}\n")
