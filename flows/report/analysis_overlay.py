"""What the script of a video's page draws over the playing picture, in few bytes: exact times, faces, disagreements."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
from markupsafe import Markup
from numpy.typing import NDArray

from affstore.flows.report.pages import json_in_page
from affstore.store.contract.clock import FrameClock
from affstore.store.contract.records import Record
from affstore.store.contract.schema import family
from affstore.tasks.analysis.comparison import Comparison
from affstore.tasks.analysis.summary import rows_of, subjects_in, values_of

MOST_FACES = 100_000
"""Of a video with more (an hour of one person), every second frame's faces are kept, or fewer: 19 bytes each."""

_STEPS_A_PX = 8
_FARTHEST_PX = 32_767 / _STEPS_A_PX
_NO_CLASS = 255


def overlay(
    table: pa.Table, clock: FrameClock, source: Record, found: Mapping[str, Sequence[Comparison]], begins_at_s: float
) -> Markup:
    """A document of JSON that can stand in a page.

    Boxes are kept to an eighth of a px (to a quarter in pictures wider than 2047 px, and so on), landmarks to 1/170 of
    their box; times are the container's own integers.

    Args:
        table: of the video.
        clock: of the video.
        source: the video, of whose upright picture boxes are px.
        found: what is compared, by subject.
        begins_at_s: the instant of the container's clock that players call 0.
    """
    size = [int(source.attributes["width"]), int(source.attributes["height"])]
    subjects = subjects_in(table)
    rows = [rows_of(table, subject) for subject in subjects]
    count = sum(int(np.isfinite(values_of(one, "box_x0")).sum()) for one in rows)
    step = max(1, -(-count // MOST_FACES))
    scale = max(1, -(-2 * max(size) // int(_FARTHEST_PX))) / _STEPS_A_PX
    classes = _classes(table)
    document = {
        "clock": _clock(clock),
        "begins": begins_at_s,
        "size": size,
        "step": step,
        "scale": scale,
        "classes": classes,
        "faces": [
            {"subject": subject, **_faces(one, step, scale, classes)}
            for subject, one in zip(subjects, rows, strict=True)
        ],
        "compared": [
            [subject, one.name, [[d.first_frame, d.frames, d.label, d.prediction] for d in one.found]]
            for subject, of in found.items()
            for one in of
        ],
    }
    return json_in_page(document)


def _clock(clock: FrameClock) -> dict[str, Any]:
    """A clock as runs of equal steps: exact, and short where frames come evenly."""
    steps = np.diff(np.append(clock.pts, clock.end_pts)).tolist()
    runs = [[step, sum(1 for _ in run)] for step, run in groupby(steps)]
    first = int(clock.pts[0]) if len(clock) else 0
    return {"first": first, "base": [clock.time_base.numerator, clock.time_base.denominator], "runs": runs}


def _classes(table: pa.Table) -> list[str]:
    if "expression" not in table.column_names:
        return []
    return sorted({one for one in table["expression"].to_pylist() if one})[:_NO_CLASS]


def _faces(rows: pa.Table, step: int, scale: float, classes: Sequence[str]) -> dict[str, str]:
    """The faces of a subject in every `step`-th frame: which frames have one, and of those box, landmarks, class."""
    places = family("face").places
    kept = rows.take(np.arange(0, rows.num_rows, step))
    box = np.stack([values_of(kept, f"box_{corner}") for corner in places["corner"]], axis=1)
    seen = np.isfinite(box).all(axis=1)
    points = np.stack(
        [np.stack([values_of(kept, f"{point}_{axis}") for axis in "xy"], axis=1) for point in places["point"]], axis=1
    )
    box, points = box[seen], points[seen]
    extent = np.maximum(box[:, None, 2:] - box[:, None, :2], 1e-6)
    within = (points - box[:, None, :2]) / extent
    marks = np.clip(np.nan_to_num((within + 0.25) / 1.5) * 255, 0, 255).round().astype(np.uint8)
    numbers = {name: number for number, name in enumerate(classes)}
    said = [one or "" for one in kept["expression"].to_pylist()] if classes else [""] * kept.num_rows
    spoken = np.array([numbers.get(one, _NO_CLASS) for one in said], np.uint8)[seen]
    return {
        "seen": _base64(np.packbits(seen, bitorder="little")),
        "boxes": _base64(np.clip(np.round(box / scale), -32_768, 32_767).astype("<i2")),
        "marks": _base64(marks),
        "said": _base64(spoken),
    }


def _base64(array: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
