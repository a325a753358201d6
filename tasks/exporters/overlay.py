"""Export as videos into which the faces and what is predicted of them are drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from affstore.store.contract.errors import MediaError
from affstore.store.contract.labels import LabelSpace, SpaceKind
from affstore.store.contract.names import MAIN, in_order
from affstore.store.contract.records import Address, Record
from affstore.store.engine.exporters.base import EXPORTERS, Exporter, Written
from affstore.store.engine.exporters.tiers import by_video
from affstore.store.engine.feature_store import FeatureStore
from affstore.store.engine.label_spaces import space_of_record
from affstore.store.engine.reading import read_clock, read_known

if TYPE_CHECKING:
    from affstore.models.faces.drawing import DrawnPerson


_DRAWN = ("face", "visual", "prediction")


class OverlayExporter(Exporter):
    """A file a video, `VIDEO.mp4`: its pictures with boxes, landmarks, people's names and what is predicted of them.

    Nothing is drawn of a person in a frame in which the person is not seen. Without predictions, what a face network
    says is written. Instants are kept, and the sound where there is one. Pictures are encoded by the first of OpenH264,
    x264, VP9 and MPEG-4 that the machine's FFmpeg has. A video whose file is not what it was is left out.
    """

    contract = 1
    name = "overlay"
    description = "a .mp4 a video with boxes, landmarks, names and predictions drawn into its pictures; sound kept"

    def taken(self, records: Sequence[Record]) -> list[Record]:
        """What is drawn."""
        return [one for one in records if one.address.family in _DRAWN]

    def write(self, store: FeatureStore, records: Sequence[Record], folder: Path) -> list[Path]:
        """Write the videos, one picture after the other."""
        from affstore.models.media.encoding import encoder

        written = Written()
        for path, video, found in by_video(records, folder, ".mp4", written):
            try:
                _draw(store, store.get(Address("source", video=video)), found, path)
            except MediaError as error:
                path.unlink(missing_ok=True)
                written.left_out.append(f"'{video}' was not drawn. {error}")
                written.without.extend(found)
            else:
                written.append(path)
        if written:
            written.notes.append(f"Pictures were encoded by {encoder()}.")
        return written


def _draw(store: FeatureStore, source: Record, records: Sequence[Record], path: Path) -> None:
    from affstore.models.faces.drawing import drawn
    from affstore.models.media.encoding import write_video
    from affstore.models.media.video import frames
    from affstore.tasks.ingest.sources import facts_of

    place = Path(str(source.attributes["location"]))
    facts, people = facts_of(store, source), list(_people(store, records))
    pictures = (drawn(picture, people, frame) for frame, picture in enumerate(frames(place, facts)))
    write_video(path, pictures, read_clock(store, source.address.video), place if facts.sound else None)


def _people(store: FeatureStore, records: Sequence[Record]) -> Iterator[DrawnPerson]:
    from affstore.models.faces.drawing import DrawnPerson

    seen = [one for one in records if one.address.family in _DRAWN]
    for subject in in_order({one.address.subject or MAIN for one in seen}):
        own = [one for one in seen if (one.address.subject or MAIN) == subject]
        boxed = [one for one in own if "box" in store.group(one.address)]
        face = read_known(store, (boxed or own)[0].address, "box", "landmark")
        said = tuple(_predicted(store, own)) or tuple(_of_network(store, own))
        yield DrawnPerson(subject, face["present"], face.get("box"), face.get("landmark"), said)


def _predicted(store: FeatureStore, records: Sequence[Record]) -> Iterator[list[str | None]]:
    """What each experiment predicts, in words; not what the heads say that it is made of."""
    predictions = [one for one in records if one.address.family == "prediction"]
    behind = {parent.path for one in predictions for parent in one.parents}
    for one in predictions:
        if one.address.path not in behind:
            held = store.read(one.address, ["prediction", "present"])
            space = space_of_record(store, one)
            rows = zip(held["prediction"], held["present"], strict=True)
            yield [f"{one.address.producer}: {in_words(space, row)}" if there else None for row, there in rows]


def _of_network(store: FeatureStore, records: Sequence[Record]) -> Iterator[list[str | None]]:
    """What the first face network says that says something."""
    for one in records:
        if one.address.family != "visual":
            continue
        held = read_known(store, one.address, "logits", "valence_arousal")
        if not {"logits", "valence_arousal"} & held.keys():
            continue
        texts: list[list[str]] = [[] for _ in held["present"]]
        classes = one.attributes.get("classes")
        for index in np.flatnonzero(held["present"]):
            if "logits" in held and classes:
                texts[index].append(str(classes[int(held["logits"][index].argmax())]))
            if "valence_arousal" in held:
                texts[index].append(_numbers(("valence", "arousal"), held["valence_arousal"][index]))
        yield [f"{one.address.producer}: {' '.join(parts)}" if parts else None for parts in texts]
        return


def in_words(space: LabelSpace, row: NDArray[Any]) -> str:
    """One frame's decision: the class, the units that are shown, or the numbers."""
    if space.kind is SpaceKind.CLASSES:
        return space.names[int(row[0])]
    if space.kind is SpaceKind.UNITS:
        return " ".join(name for name, shown in zip(space.names, row, strict=True) if shown) or "none"
    if space.kind is SpaceKind.INTENSITIES:
        levels = (f"{name} {int(level)}" for name, level in zip(space.names, row, strict=True) if level)
        return " ".join(levels) or "none"
    return _numbers(space.names, row)


def _numbers(names: Sequence[str], row: NDArray[Any]) -> str:
    return " ".join(f"{name} {float(value):+.2f}" for name, value in zip(names, row, strict=True))


EXPORTERS.register(OverlayExporter.name, OverlayExporter())
