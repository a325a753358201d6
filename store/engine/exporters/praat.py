"""Export as Praat's TextGrids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from affstore.store.contract.records import Record
from affstore.store.engine.exporters.base import EXPORTERS, Exporter, Written
from affstore.store.engine.exporters.tiers import Interval, Tier, of_frames, tiers_by_video
from affstore.store.engine.feature_store import FeatureStore
from affstore.store.engine.reading import read_clock


class PraatExporter(Exporter):
    """A file a video, `VIDEO.TextGrid`, with an interval tier for each label space, network and unit of each subject.

    An interval without a text says that nothing is known or, in the tier of a unit, that it is not shown; where nobody
    knows whether a unit is shown, the text is `unknown`.
    """

    contract = 1
    name = "praat"
    description = "a .TextGrid file a video for Praat: intervals of labels, predictions, faces and sound"

    def taken(self, records: Sequence[Record]) -> list[Record]:
        """What has a row a frame."""
        return of_frames(records)

    def write(self, store: FeatureStore, records: Sequence[Record], folder: Path) -> list[Path]:
        """Write the files; a video of which nothing is known in intervals has none."""
        written = Written()
        for path, video, tiers in tiers_by_video(store, records, folder, ".TextGrid", written):
            path.write_text("\n".join(_lines(tiers, read_clock(store, video).end_s)) + "\n", encoding="utf-8")
            written.append(path)
        return written


def _lines(tiers: Sequence[Tier], end_s: float) -> Iterator[str]:
    """The file in Praat's long form."""
    yield from ('File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {end_s!r}")
    yield from ("tiers? <exists>", f"size = {len(tiers)}", "item []:")
    for number, tier in enumerate(tiers, 1):
        whole = list(_filled(tier.intervals, end_s))
        yield f"    item [{number}]:"
        yield '        class = "IntervalTier"'
        yield f"        name = {_quoted(tier.name)}"
        yield "        xmin = 0"
        yield f"        xmax = {end_s!r}"
        yield f"        intervals: size = {len(whole)}"
        for place, one in enumerate(whole, 1):
            yield f"        intervals [{place}]:"
            yield f"            xmin = {one.start_s!r}"
            yield f"            xmax = {one.end_s!r}"
            yield f"            text = {_quoted(one.text)}"


def _filled(intervals: Sequence[Interval], end_s: float) -> Iterator[Interval]:
    """The intervals with empty ones between them, from 0 to the end, as Praat has them."""
    reached = 0.0
    for one in intervals:
        if one.start_s > reached:
            yield Interval(reached, one.start_s, "")
        yield one
        reached = one.end_s
    if reached < end_s:
        yield Interval(reached, end_s, "")


def _quoted(text: str) -> str:
    doubled = text.replace('"', '""')
    return f'"{doubled}"'


EXPORTERS.register(PraatExporter.name, PraatExporter())
