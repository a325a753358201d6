"""One video's embedding with its clock and its mask; NaN where the store has zeros under a mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affstore.store.contract.clock import FrameClock
from affstore.store.contract.errors import NotFoundError, SchemaError
from affstore.store.contract.half_floats import to_float32
from affstore.store.contract.names import MAIN, video_name
from affstore.store.contract.records import SLASH, Address, Record
from affstore.store.contract.schema import FamilySchema, address_of, family
from affstore.store.engine.feature_store import FeatureStore


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class AlignedEmbedding:
    """A feature with one row a video frame.

    Attributes:
        embedding: `(frames, width)` float32; this and all below is NaN where `present` is False.
        present: `(frames,)` bool: a face was seen, or sound plays, at that frame.
        clock: when each frame begins, exactly.
        record: how it was made and from what.
        logits: `(frames, classes)` float32, or None.
        valence_arousal: of a face network, `(frames, 2)` float32, or None.
        affect: of a sound network, `(frames, 3)` float32: arousal, dominance, valence; or None.

    Examples:
        >>> import affstore
        >>> video = affstore.read_video(affstore.FeatureStore("affstore-data"), "interview", "emotieffnet_b0")
        >>> video
        <AlignedEmbedding visual/emotieffnet_b0/interview/main: 40 frames × 1280, 40 present, 0 s to 1.6 s, 8 logits>
        >>> video.classes[:2]
        ('Anger', 'Contempt')
        >>> video.record.provenance
        'untrained'
    """

    embedding: NDArray[np.float32]
    present: NDArray[np.bool_]
    clock: FrameClock
    record: Record
    logits: NDArray[np.float32] | None = None
    valence_arousal: NDArray[np.float32] | None = None
    affect: NDArray[np.float32] | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """What the columns of `logits` mean; empty without logits."""
        return tuple(self.record.attributes.get("classes") or ())

    def __repr__(self) -> str:
        logits = () if self.logits is None else (f"{self.logits.shape[1]} logits",)
        more = [name for name in ("valence_arousal", "affect") if getattr(self, name) is not None]
        return in_one_line(self, self.embedding, f"{int(self.present.sum())} present", *logits, *more)


def in_one_line(aligned: Any, rows: NDArray[Any], known: str, *more: str) -> str:
    """What is shown of something that has a clock, a record and a row a frame."""
    clock: FrameClock = aligned.clock
    times = f"{clock.starts_s[0]:g} s to {clock.end_s:g} s" if len(clock) else "no time"
    facts = ", ".join((f"{len(rows)} frames × {rows.shape[1]}", known, times, *more))
    return f"<{type(aligned).__name__} {aligned.record.address}: {facts}>"


def read_clock(store: FeatureStore, video: str) -> FrameClock:
    """The frame clock of a video, by its name or an alias.

    Raises:
        NotFoundError: the store has no such video.

    Examples:
        >>> import affstore
        >>> clock = affstore.read_clock(affstore.FeatureStore("affstore-data"), "interview")
        >>> clock.starts_s[:3].tolist()
        [0.0, 0.04, 0.08]
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

    Examples:
        >>> import affstore
        >>> affstore.read_video(affstore.FeatureStore("affstore-data"), "interview", "emotieffnet_b0").embedding.shape
        (40, 1280)
    """
    source = find_source(store, video)
    name = source.address.video
    wanted = (Address("visual", extractor, name, subject), Address("audio", extractor, name))
    record = find_record(store, wanted, f"embedding by '{extractor}'")
    arrays: dict[str, Any] = with_gaps(family(record.address.family), store.read(record.address))
    return AlignedEmbedding(clock=read_clock(store, video), record=record, **arrays)


def find_source(store: FeatureStore, video: str) -> Record:
    """The source called `video`, or that has it as an alias; names in other Unicode forms are the same name.

    Raises:
        NotFoundError: there is none.
    """
    names = [name for name in dict.fromkeys((video, video_name(video))) if name]
    if found := store.find_all(Address("source", video=name) for name in names):
        return found[0]
    called = video_names(store).get(video_name(video))
    if called is None:
        raise NotFoundError(f"The store at '{store.url}' has no video '{video}'. `affstore show` lists its videos.")
    return store.get(Address("source", video=called))


def find_address(store: FeatureStore, path: str) -> Address:
    """The address whose path this is.

    Its video may be called by an alias, or in another Unicode form, and a `/` in a producer's name may stand as it is.

    Raises:
        SchemaError: no family has such a path.
    """
    try:
        address = address_of(path)
    except SchemaError:
        meant = [one for one in store.addresses() if one.path.replace(SLASH, "/") == path.strip("/")]
        if not meant:
            raise
        return meant[0]
    if store.find(address) is None and address.video:
        return replace(address, video=video_names(store).get(video_name(address.video), address.video))
    return address


def find_record(store: FeatureStore, wanted: Sequence[Address], what: str) -> Record:
    """The first record that there is at some addresses of one video.

    Args:
        store: an open store.
        wanted: where it may be, for a subject.
        what: is looked for, as the message says it.

    Raises:
        NotFoundError: there is none; the message says what the video has of these families.
    """
    found = store.find_all(wanted)
    if found:
        return found[0]
    video, subject = wanted[0].video, wanted[0].subject
    there = ", ".join(one.path for one in store.addresses(*(one.family for one in wanted), video=video))
    raise NotFoundError(f"'{video}' has no {what} for subject '{subject}'. It has: {there or 'none'}.")


def video_names(store: FeatureStore) -> dict[str, str]:
    """Every name and alias of the store's videos, as names are compared, to the name that the video is stored under."""
    records = store.records("source")
    aliases = {video_name(alias): r.address.video for r in records for alias in r.attributes["aliases"]}
    return aliases | {video_name(record.address.video): record.address.video for record in records}


def with_gaps(schema: FamilySchema, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Put NaN in place of the zeros that the family's mask covers; integers and float16 become float32.

    Args:
        schema: of the artifact's family.
        arrays: as `FeatureStore.read` gives them; they may be written over.
    """
    mask = arrays.get(schema.mask)
    if mask is None:
        return dict(arrays)
    gapped = {schema.mask: mask}
    for name in arrays.keys() - gapped.keys():
        array = to_float32(arrays[name])
        gapped[name] = array if array.dtype.kind == "f" and array.flags.writeable else array.astype(np.float32)
        gapped[name][~mask] = np.nan
    return {name: gapped[name] for name in arrays}


def read_known(store: FeatureStore, address: Address, *names: str) -> dict[str, NDArray[Any]]:
    """Some arrays of an artifact, as far as it has them, and its mask; NaN where nothing is.

    That is also where a prediction was filled in from neighbouring frames: nothing was seen there.
    """
    schema, has = family(address.family), store.array_names(address)
    mask = schema.mask or ("present" if "present" in schema.arrays else "")
    wanted = [name for name in dict.fromkeys((*names, mask)) if name in schema.arrays]
    there = [name for name in wanted if name in has]
    return with_gaps(replace(schema, mask=mask), store.read(address, there))
