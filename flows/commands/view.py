"""`affstore view`."""

from __future__ import annotations

import sys
import webbrowser
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from affstore.flows.commands import COMMANDS, Command
from affstore.flows.commands.options import Json, print_json
from affstore.flows.watch import to_terminal
from affstore.store.contract.errors import NotFoundError


def view(
    video: str = "",
    /,
    *,
    folder: Annotated[Path, Parameter(name="--in")] = Path("affstore-analysis"),
    json: Json = False,
) -> int:
    """Open the page of a video, or of all videos, that `affstore analyze` wrote: player, curves, faces, remarks.

    The page is one file that needs no server and no network. Without a terminal its place is only printed.

    Example: affstore view --in my_analysis

    Parameters
    ----------
    video
        Its name; the index of all videos without one.
    folder
        What `affstore analyze --out` wrote.
    """
    page = folder / "videos" / f"{video}.html" if video else folder / "index.html"
    if not page.is_file():
        known = ", ".join(sorted(path.stem for path in folder.glob("videos/*.html"))) or "none"
        raise NotFoundError(
            f"There is no page '{page}'; pages of videos there: {known}. `affstore analyze VIDEO --out {folder}` "
            "writes them."
        )
    if json:
        print_json({"page": str(page.resolve())})
        return 0
    opened = sys.stdout.isatty() and webbrowser.open(page.resolve().as_uri())
    to_terminal(f"{'opened' if opened else 'page'}    {page.resolve()}")
    return 0


COMMANDS.register("view", Command(view))
