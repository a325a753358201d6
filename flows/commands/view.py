"""`affstore view`."""

from __future__ import annotations

import shlex
import sys
import webbrowser
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from affstore.flows.commands import COMMANDS, Command
from affstore.flows.commands.options import Json, answer
from affstore.store.contract.errors import NotFoundError, nearest
from affstore.store.contract.names import video_name
from affstore.store.contract.printable import some


def view(
    video: str = "",
    /,
    *,
    folder: Annotated[Path, Parameter(name="--in")] = Path("affstore-analysis"),
    json: Json = False,
) -> int:
    """Open the page of a video, or of all videos, that `affstore analyze` wrote: player, curves, faces, remarks.

    The page is one file that needs no server and no network; the player needs the video, too. Without a terminal its
    place is only printed.

    Example: affstore view --in my_analysis

    Parameters
    ----------
    video
        Its name, or its file; the index of all videos without one.
    folder
        What `affstore analyze --out` wrote.
    """
    page = _page(folder, video)
    opened = not json and sys.stdout.isatty() and webbrowser.open(page.resolve().as_uri())
    answer({"page": str(page.resolve())}, [f"{'opened' if opened else 'page'}    {page.resolve()}"], json)
    return 0


def _page(folder: Path, video: str) -> Path:
    """The page that is meant.

    Raises:
        NotFoundError: there is none; the message says what to type.
    """
    index, pages, typed = folder / "index.html", folder / "videos", shlex.quote(str(folder))
    names = dict.fromkeys(map(video_name, (video, Path(video).name, Path(video).stem)))
    page = next((one for name in names if (one := pages / f"{name}.html").is_file()), index) if video else index
    if page.is_file() and (page != index or not video):
        return page
    if not index.is_file():
        asked = f"There is no page of '{video}'. " if video else ""
        raise NotFoundError(
            f"{asked}Nothing was analyzed into '{folder}' yet. Type `affstore analyze my_videos/ --out {typed} "
            "--pull` with your own files in place of my_videos/, or name the folder of an earlier analysis with --in."
        )
    known = sorted(page.stem for page in pages.glob("*.html"))
    near = nearest(Path(video).stem, known)
    hint = f"Did you mean '{near}'?" if near else f"It has: {some(known, 10) or 'none'}."
    raise NotFoundError(
        f"'{folder}' has no page of a video '{video}'. {hint} `affstore analyze VIDEO --out {typed}` adds one."
    )


COMMANDS.register("view", Command(view))
