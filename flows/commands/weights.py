"""`affstore weights`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts import App

from flows.commands.options import DryRun, Flag, Json, print_json, print_table
from flows.watch import to_terminal

if TYPE_CHECKING:
    from models.weights.folder import WeightsStatus

app = App(
    name="weights",
    help="The networks' parameters: what is here, fetch, import, verify.\n\nExample: affstore weights list",
    result_action="return_value",
)


@app.command(name="list")
def list_(*, json: Json = False) -> int:
    """List every published weight file, whether it is on this machine, and its licence.

    Example: affstore weights list --json

    Parameters
    ----------
    json
        Print one JSON document.
    """
    from models.weights.folder import default_folder
    from models.weights.registry import entries

    folder = default_folder()
    found = [(entry, folder.status(name)) for name, entry in sorted(entries().items())]
    if json:
        print_json([{**_document(status), "url": entry.url, "licence": entry.licence} for entry, status in found])
    else:
        rows = [(entry.name, _state(status), entry.licence, entry.url) for entry, status in found]
        print_table(("weights", "here", "licence", "from"), rows, f"Kept in {folder.root}")
    return 0


@app.command
def pull(*names: str, mirror: Path | None = None, dry_run: DryRun = False, json: Json = False) -> int:
    """Fetch published weights, check their digests while they come, and convert them; a broken download goes on.

    Example: affstore weights pull enet_b0_8_best_vgaf

    Parameters
    ----------
    names
        Names from `affstore weights list`; all without them.
    mirror
        A folder with the published files, instead of the network.
    dry_run
        Say what would be fetched, and do nothing.
    json
        Print one JSON document.
    """
    from models.weights.folder import default_folder
    from models.weights.registry import entries, entry_of

    folder, done = default_folder(), []
    for name in names or sorted(entries()):
        entry = entry_of(name)
        if dry_run:
            to_terminal(f"{name}: {mirror / entry.file if mirror else entry.url}")
            continue
        done.append(folder.pull(entry, mirror))
        if not json:
            to_terminal(f"{name}: {_state(done[-1])}")
    if json:
        print_json([_document(status) for status in done])
    return 0


@app.command(name="import")
def import_(name: str, file: Path, /, *, any_digest: Flag = False, dry_run: DryRun = False, json: Json = False) -> int:
    """Take in a weight file that was fetched by other means.

    Example: affstore weights import enet_b0_8_best_vgaf ~/Downloads/enet_b0_8_best_vgaf.pt

    Parameters
    ----------
    name
        The name from `affstore weights list`.
    file
        The published file.
    any_digest
        Take a file of the same layout with other numbers; every record then says that it is not official.
    dry_run
        Check the name and the file's presence only.
    json
        Print one JSON document.
    """
    from models.weights.folder import default_folder
    from models.weights.registry import entry_of
    from store.contract.errors import WeightsMissingError

    entry_of(name)
    if not file.is_file():
        raise WeightsMissingError(f"There is no file '{file}' to import '{name}' from. Check the path.")
    if dry_run:
        to_terminal(f"{name}: would be taken from {file}")
        return 0
    _tell(default_folder().import_file(name, file, any_digest=any_digest), json)
    return 0


@app.command
def verify(*names: str, json: Json = False) -> int:
    """Compute the digests of the weights on this machine again.

    Example: affstore weights verify

    Parameters
    ----------
    names
        Names from `affstore weights list`; all that are here without them.
    json
        Print one JSON document.
    """
    from models.weights.folder import default_folder
    from models.weights.registry import entries

    folder = default_folder()
    for name in names or [name for name in sorted(entries()) if folder.status(name).present]:
        _tell(folder.verify(name), json)
    return 0


def _tell(status: WeightsStatus, as_json: bool) -> None:
    if as_json:
        print_json(_document(status))
    else:
        to_terminal(f"{status.name}: {_state(status)}")


def _state(status: WeightsStatus) -> str:
    record = status.record
    if record is None:
        return "no"
    kind = "untrained" if not record.trained else "official" if record.official else "not the published bytes"
    return f"{record.sha256[:12]} ({kind})"


def _document(status: WeightsStatus) -> dict[str, Any]:
    record = status.record
    if record is None:
        return {"name": status.name, "present": False}
    return {
        "name": status.name,
        "present": True,
        "sha256": record.sha256,
        "trained": record.trained,
        "official": record.official,
        "source": record.source,
    }
