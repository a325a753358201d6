"""`affstore trace`."""

from __future__ import annotations

from pathlib import Path

from affstore.flows.commands import COMMANDS, Command
from affstore.flows.commands.options import DEFAULT_STORE, At, Flag, Json, Store, answer
from affstore.store.contract.errors import SpecError


def trace(
    row: str,
    /,
    *,
    store: Store = DEFAULT_STORE,
    at: At = None,
    picture: Path | None = None,
    mermaid: Flag = False,
    json: Json = False,
) -> int:
    """Follow a row back to bytes: its head and what that was trained on, features, weights, face, frame, video, label.

    With the versions of the code, and each run's time and machine, as its record in STORE.runs has them.

    The exit code is 2 when the text names no row or more than one, and 4 when the store has no such artifact, frame or
    state, or nothing that the line of the file says.

    Example: affstore trace visual/emotieffnet_b0/video2/main/5 --store affstore-demo/store

    Parameters
    ----------
    row
        FILE:LINE of a published challenge file, an exported table, or a CSV of `affstore analyze` or `predict` (lines
        counted from 1); EXPERIMENT/VIDEO/FRAME or EXPERIMENT/VIDEO/SUBJECT/FRAME (frames counted from 0); or an
        artifact's path, with or without /FRAME.
    picture
        Write the frame's picture to this file, decoded again from the video, if that is at hand and unaltered.
    mermaid
        Print a Mermaid diagram.
    """
    from affstore import FeatureStore
    from affstore.flows.report.lineage_lines import mermaid_lines, tree_lines
    from affstore.flows.runs_folder import runs_folder
    from affstore.store.engine.places import check_output
    from affstore.tasks.lineage.rows import find_row
    from affstore.tasks.lineage.trace import trace as traced

    if mermaid and json:
        raise SpecError("--mermaid and --json each ask for another form of the one answer. Leave one of them out.")
    if picture is not None:
        check_output(store, picture)
    opened, found = find_row(FeatureStore(store, at), row)
    if picture is not None and found.frame is None:
        raise SpecError(f"'{row}' names no frame, so there is no picture of it. Name one, as in '{row}/0'.")
    document = traced(opened, found, runs_folder(opened.url))
    answer(document.as_document(), mermaid_lines(document) if mermaid else tree_lines(document), json)
    if picture is not None and found.frame is not None:
        from affstore.tasks.lineage.picture import write_picture

        write_picture(opened, found.address.video, found.frame, picture)
    return 0


COMMANDS.register("trace", Command(trace))
