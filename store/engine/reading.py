"""One video's embedding with its clock and its mask."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affstore.store.contract.clock import FrameClock
from affstore.store.contract.errors import NotFoundError
from affstore.store.contract.names import MAIN
from affstore.store.contract.records import Address, Record
from affstore.store.engine.feature_store import FeatureStore


@dataclass(frozen=True, slots=True)
class AlignedEmbedding:
    """A feature with one row a video frame.

    Attributes:
        embedding: `(frames, width)` float32; zeros where `present` is False.
        present: `(frames,)` bool: a face was seen, or sound plays, at that frame.
        clock: when each frame begins, exactly.
        record: how it was made and from what.
        logits: `(frames, classes)` float32, or None.
        valence_arousal: `(frames, 2)` float32, or None.
    """

    embedding: NDArray[np.float32]
    present: NDArray[np.bool_]
    clock: FrameClock
    record: Record
    logits: NDArray[np.float32] | None = None
    valence_arousal: NDArray[np.float32] | None = None


def read_clock(store: FeatureStore, video: str) -> FrameClock:
    """The frame clock of a video, by its name or an alias.

    Raises:
        NotFoundError: the store has no such video.
    """
    source = find_source(store, video)
    base = source.attributes["time_base"]
    pts = store.read(source.address, ["pts"])["pts"]
    return FrameClock(pts, Fraction(base[0], base[1]), int(source.attributes["end_pts"]))


def read_video(store: FeatureStore, video: str, extractor: str, subject: str = MAIN) -> AlignedEmbedding:
    """One video's embedding by one extractor, frame by frame.

    Args:
        store: an open store.
        video: the video's name, or an alias.
        extractor: a face or a sound extractor.
        subject: whose face; `main` in a video of one person. Sound has no subject.

    Raises:
        NotFoundError: no such video, extractor or subject; the message says what there is.
    """
    source = find_source(store, video)
    record = _feature(store, source.address.video, extractor, subject)
    arrays: dict[str, Any] = store.read(record.address)
    return AlignedEmbedding(clock=read_clock(store, video), record=record, **arrays)


def find_source(store: FeatureStore, video: str) -> Record:
    """The source called `video`, or that has it as an alias.

    Raises:
        NotFoundError: there is none.
    """
    found = store.find(Address("source", video=video))
    if found is not None:
        return found
    for record in store.records("source"):
        if video in record.attributes["aliases"]:
            return record
    raise NotFoundError(f"The store at '{store.url}' has no video '{video}'. `affstore show` lists its videos.")


def _feature(store: FeatureStore, video: str, extractor: str, subject: str) -> Record:
    """The visual or audio record of a video."""
    for address in (Address("visual", extractor, video, subject), Address("audio", extractor, video)):
        record = store.find(address)
        if record is not None:
            return record
    there = [address.path for address in store.addresses("visual", "audio", video=video)]
    raise NotFoundError(
        f"'{video}' has no embedding by '{extractor}' for subject '{subject}'. It has: {', '.join(there) or 'none'}."
    )
