"""What the numbers of each artifact depend on. A recipe's digest is the artifact's key; nothing else is."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import cache
from typing import Any

from affstore.models.extractor_specs import ExtractorSpec
from affstore.models.faces.specs import DetectorSpec, TrackingSpec
from affstore.models.labels.base import FORMATS, LabelFile
from affstore.models.media.pictures import PICTURES
from affstore.models.media.sound import SOUND
from affstore.models.media.video import DECODE
from affstore.store.contract.keys import canonical, key_of
from affstore.store.contract.names import MAIN

_CROPS = "crops-"
_FLOAT16 = "float16-"


def source(sha256: str) -> dict[str, Any]:
    """A video: its bytes, and how they are decoded."""
    return {"decode": _canonical(DECODE), "bytes": sha256}


def face(detector: DetectorSpec, tracking: TrackingSpec, source_key: str, subject: str) -> dict[str, Any]:
    """A subject's face through a video."""
    return {
        "detector": _canonical(detector),
        "tracking": _canonical(tracking),
        "source": source_key,
        "subject": subject,
    }


def cropped_face(digest: str, source_key: str, subject: str) -> dict[str, Any]:
    """A subject's face in a crop folder: the bytes of its numbered pictures, and how they are decoded."""
    return {"crops": digest, "pictures": _canonical(PICTURES), "source": source_key, "subject": subject}


def feature(extractor: ExtractorSpec, parent_key: str) -> dict[str, Any]:
    """An embedding: of a face, or of a source's sound."""
    if extractor.SENSE == "face":
        return {"extractor": _canonical(extractor), "face": parent_key}
    return {"extractor": _canonical(extractor), "sound": _canonical(SOUND), "source": parent_key}


def label(found: LabelFile, sha256: str, source_key: str, subject: str) -> dict[str, Any]:
    """A file of labels on a video's frames: of what and of whom, in which format, and what its frames are for."""
    version = FORMATS.get(found.format).version
    recipe = {"task": canonical(found.task), "split": found.split, "annotation": version, "bytes": sha256}
    # What was read before there were other formats keeps its key.
    recipe |= {"within": found.within} if found.within else {}
    recipe |= {"subject": subject} if subject != MAIN else {}
    return recipe | {"source": source_key} | ({} if found.format == "abaw" else {"format": found.format})


def head(fit: Any, train: Sequence[str], validation: Sequence[str]) -> dict[str, Any]:
    """A fitted head: how it is fitted, and the keys of every embedding and label it sees."""
    return {"fit": canonical(fit), "train": key_of(sorted(train)), "validation": key_of(sorted(validation))}


def prediction(finish: Any, head_key: str, inputs: Sequence[str]) -> dict[str, Any]:
    """A prediction: the head, its inputs, and what is done to its outputs."""
    return {"finish": canonical(finish), "head": head_key, "inputs": list(inputs)}


def result(evaluation: Any, inputs: Sequence[str]) -> dict[str, Any]:
    """A row's result: how it is judged, and the keys of every prediction and label that it looks at."""
    return {"asked": canonical(evaluation), "inputs": key_of(sorted(inputs))}


def quarantine(stage: str, name: str, sha256: str) -> dict[str, Any]:
    """An input that could not be used; tried again when its bytes, its name or the decoding change.

    What stands for the bytes of a crop folder is its signature, so that a plan need not read them.
    """
    decode = PICTURES if stage.startswith(_CROPS) else DECODE
    return {"stage": stage, "name": name, "bytes": sha256, "decode": _canonical(decode)}


def crop_stage(kind: str) -> str:
    """How a kind of crop folder is called in quarantine."""
    return f"{_CROPS}{kind}"


def beyond_float16(extractor: ExtractorSpec, name: str, feature_key: str) -> dict[str, Any]:
    """An embedding that float16 cannot hold; computed again when anything that decides its numbers changes."""
    return quarantine(float16_stage(extractor), name, feature_key)


def float16_stage(extractor: ExtractorSpec) -> str:
    """How what float16 cannot hold of a network is called in quarantine."""
    return f"{_FLOAT16}{extractor.name}"


def is_of_stored_video(stage: str) -> bool:
    """Whether a stage of the quarantine is of a stored video's pictures, sound or embedding, and of no file to read."""
    return stage in ("pictures", "sound") or stage.startswith(_FLOAT16)


@cache
def _canonical(spec: Hashable) -> Any:
    """A frozen spec as a key holds it, made once: a plan asks for it thousands of times. Nobody changes it."""
    return canonical(spec)


def crop_kind(stage: str) -> str:
    """The kind of crop folder that a stage of the quarantine is of, or an empty text."""
    return stage.removeprefix(_CROPS) if stage.startswith(_CROPS) else ""
