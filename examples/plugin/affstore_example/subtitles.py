"""A label format: SubRip subtitles (`.srt`) whose cues name a class from one instant to another."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from affstore.models.labels.base import FrameLabels, LabelFile, LabelFormat
from affstore.store.contract.clock import FrameClock
from affstore.store.contract.errors import AnnotationError
from affstore.store.contract.labels import LabelSpace, SpaceKind

_CUE = re.compile(r"(\d+):(\d\d):(\d\d)[,.](\d{3}) --> (\d+):(\d\d):(\d\d)[,.](\d{3})")


class Subtitles(LabelFormat):
    """A frame has the class of the cue that it begins in; between cues nothing is known."""

    contract = 2
    name = "subtitles"
    version = 1
    description = "SubRip subtitles, whose cues name a class each"

    def at(self, path: Path) -> LabelFile | None:
        """A file by its suffix; a configuration says what its labels are of."""
        return LabelFile.at(path, self.name) if path.suffix.lower() == ".srt" else None

    def read(self, found: LabelFile, space: LabelSpace, clock: FrameClock) -> FrameLabels:
        """See `LabelFormat.read`."""
        if space.kind is not SpaceKind.CLASSES:
            raise AnnotationError(f"'{found.path}': cues name classes, and '{space}' has none. Use another format.")
        value = np.zeros((len(clock), 1), space.dtype)
        known = np.zeros((len(clock), 1), bool)
        wrong = []
        for line, begin_s, end_s, text in _cues(found.path):
            if text in space.names:
                inside = (clock.starts_s >= begin_s) & (clock.starts_s < end_s)
                value[inside], known[inside] = space.names.index(text), True
            else:
                wrong.append(f"line {line} says '{text[:40]}'")
        if wrong and not known.any():
            raise AnnotationError(f"'{found.path}', {wrong[0]}, which is no class of '{space}': {space.names}.")
        return FrameLabels(value, known, f"No classes of '{space}': {'; '.join(wrong[:3])}." if wrong else None)


def _cues(path: Path) -> Iterator[tuple[int, float, float, str]]:
    """The cues: the line of their times, when they begin and end, and what they say."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise AnnotationError(f"'{path}' cannot be read as text: {error}.") from error
    times = [(number, cue) for number, line in enumerate(lines, 1) if (cue := _CUE.match(line.strip()))]
    if not times:
        raise AnnotationError(f"'{path}': found no cue such as '00:00:01,000 --> 00:00:02,500'.")
    for number, cue in times:
        begin, end = (
            3600 * int(hours) + 60 * int(minutes) + int(seconds) + int(thousandths) / 1000
            for hours, minutes, seconds, thousandths in (cue.groups()[:4], cue.groups()[4:])
        )
        yield number, begin, end, lines[number].strip() if number < len(lines) else ""


LABELS = Subtitles()
