"""What windows walk over: of each video and subject, its embeddings and its labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from affstore.store.contract.errors import NotFoundError, SpecError
from affstore.store.contract.names import MAIN
from affstore.store.contract.records import Address, Record
from affstore.store.engine.feature_store import FeatureStore


@dataclass(frozen=True, slots=True)
class Track:
    """One subject of a video.

    Attributes:
        video: its name.
        subject: its name; `main` of a video of which there is only sound.
        frames: of the video.
        records: by extractor, the place of its record among all.
    """

    video: str
    subject: str
    frames: int
    records: Mapping[str, int] = field(default_factory=dict)


def tracks_of(records: Sequence[Record]) -> list[Track]:
    """Put the embeddings of one video and subject together, and a video's sound with each of its subjects.

    Args:
        records: of visual and audio artifacts; tracks are in the order of their first ones.

    Raises:
        SpecError: a record has no embedding, is there twice, or is of another length than others of its video.
    """
    of_video: dict[str, list[int]] = {}
    for number, record in enumerate(records):
        if record.address.family not in ("visual", "audio"):
            raise SpecError(f"'{record.address}' has no embedding. Give records of the families visual and audio.")
        of_video.setdefault(record.address.video, []).append(number)
    return [track for video, numbers in of_video.items() for track in _tracks(records, video, numbers)]


def labels_of(
    store: FeatureStore, tracks: Sequence[Track], spaces: Sequence[str]
) -> tuple[tuple[Record, ...], dict[str, list[int | None]]]:
    """The labels of every track.

    Returns:
        Their records, and of each space the place of each track's record among them, None where it has none.

    Raises:
        NotFoundError: no track has labels of a space; the message says what there is.
        SpecError: labels are of another length than their video's embeddings.
    """
    records: list[Record] = []
    places: dict[str, list[int | None]] = {}
    for space in spaces:
        wanted = [Address("label", space, track.video, track.subject) for track in tracks]
        found = {record.address: record for record in store.find_all(wanted)}
        if not found:
            there = ", ".join(sorted({one.producer for one in store.addresses("label")})) or "none"
            raise NotFoundError(
                f"None of the {len(tracks)} videos has labels of '{space}'. The store's labels: {there}."
            )
        places[space] = []
        for address, track in zip(wanted, tracks, strict=True):
            places[space].append(len(records) if address in found else None)
            if address in found:
                _check_frames(track, found[address])
                records.append(found[address])
    return tuple(records), places


def _tracks(records: Sequence[Record], video: str, numbers: Sequence[int]) -> list[Track]:
    """The subjects of a video, of which records of these numbers are."""
    subjects = dict.fromkeys(records[number].address.subject for number in numbers)
    tracks = []
    for subject in [one for one in subjects if one] or [MAIN]:
        own: dict[str, int] = {}
        for number in numbers:
            address = records[number].address
            if address.subject in ("", subject) and own.setdefault(address.producer, number) != number:
                raise SpecError(
                    f"'{video}' has two embeddings by '{address.producer}' among the records. Give each once."
                )
        track = Track(video, subject, int(records[next(iter(own.values()))].attributes["frames"]), own)
        for number in own.values():
            _check_frames(track, records[number])
        tracks.append(track)
    return tracks


def _check_frames(track: Track, record: Record) -> None:
    frames = int(record.attributes["frames"])
    if frames != track.frames:
        raise SpecError(
            f"'{record.address}' has {frames} frames, and others of '{track.video}' have {track.frames}: one is of an "
            "older file of that name. Run `affstore run` or `affstore add` again."
        )
