"""Between a video's facts and its record in the store."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from affstore import FeatureStore, read_clock
from affstore.models.media.sound import SoundFacts
from affstore.models.media.video import VideoFacts
from affstore.store.contract.keys import key_of
from affstore.store.contract.names import as_text
from affstore.store.contract.records import Address, Artifact, Record
from affstore.store.engine.draft import Draft
from affstore.tasks import recipes


def source_artifact(name: str, path: Path, sha256: str, facts: VideoFacts, aliases: Sequence[str] = ()) -> Artifact:
    """A video as it is stored: its clock, and what a full decode found."""
    clock = facts.clock
    attributes = {
        "sha256": sha256,
        "bytes": path.stat().st_size,
        "location": place_of(path),
        "aliases": sorted(aliases),
        "frames": len(clock),
        "time_base": _pair(clock.time_base),
        "end_pts": clock.end_pts,
        "width": facts.width,
        "height": facts.height,
        "rotation_deg": facts.rotation_deg,
        "sample_aspect": _pair(facts.sample_aspect),
        "codec": facts.codec,
        "declared_frames": facts.declared_frames,
        "sound": _sound_attributes(facts.sound),
        "complaint": facts.complaint,
    }
    arrays = {"pts": clock.pts, "time_s": clock.starts_s}
    return Artifact(Address("source", video=name), recipes.source(sha256), arrays, attributes)


def facts_of(store: FeatureStore, source: Record) -> VideoFacts:
    """The facts that `probe` found of a stored video, without decoding it again."""
    attributes = source.attributes
    return VideoFacts(
        clock=read_clock(store, source.address.video),
        width=attributes["width"],
        height=attributes["height"],
        rotation_deg=attributes["rotation_deg"],
        sample_aspect=Fraction(*attributes["sample_aspect"]),
        codec=attributes["codec"],
        declared_frames=attributes["declared_frames"],
        complaint=attributes["complaint"],
        sound=_sound_facts(attributes["sound"]),
    )


def quarantine_artifact(stage: str, name: str, path: Path, sha256: str, reason: str) -> Artifact:
    """An input that cannot be used, and why. Its address comes from its bytes and name, which may be unfit for one."""
    recipe = recipes.quarantine(stage, name, sha256)
    address = Address("quarantine", stage, key_of([name, sha256])[:16])
    return Artifact(address, recipe, {}, {"name": name, "location": place_of(path), "reason": reason})


def place_of(path: Path) -> str:
    """Where a file is, links followed as far as they go, as text that a record can hold."""
    return as_text(os.path.realpath(path))


def file_at_hand(source: Record) -> Path | None:
    """The file that a video was taken in from; None where it is gone or has another size. Its bytes are not read."""
    place = Path(str(source.attributes.get("location", "")))
    try:
        return place if place.is_file() and place.stat().st_size == source.attributes.get("bytes") else None
    except OSError:
        return None


def lift_quarantine(store: FeatureStore, draft: Draft, stage: str, **meant: str) -> None:
    """Forget why inputs of a stage were refused whose attributes (`name`, `location`) are those given."""
    for record in store.find_all(store.below(Address("quarantine", stage))):
        if all(record.attributes[name] == value for name, value in meant.items()):
            draft.remove(record.address)


def _sound_attributes(sound: SoundFacts | None) -> dict[str, Any] | None:
    if sound is None:
        return None
    return {
        "codec": sound.codec,
        "rate_hz": sound.rate_hz,
        "channels": sound.channels,
        "start_s": _pair(sound.start_s),
        "stream": sound.stream,
        "channel": sound.channel,
        "complaint": sound.complaint,
    }


def _sound_facts(attributes: Mapping[str, Any] | None) -> SoundFacts | None:
    if attributes is None:
        return None
    return SoundFacts(**{**attributes, "start_s": Fraction(*attributes["start_s"])})


def _pair(value: Fraction) -> list[int]:
    return [value.numerator, value.denominator]
