"""Variants of an extractor by name: `emotieffnet_b0@cropped_aligned`, `wav2vec2_base_960h@blocks300+notebook`.

A variant is stored beside its siblings under the whole name, so that one store can hold them all.
"""

from __future__ import annotations

import re
from dataclasses import replace

from models.extractors.specs import ExtractorSpec, FaceExtractorSpec, Segmenting, SoundExtractorSpec
from models.faces.specs import DetectorSpec
from store.contract.errors import SpecError

_BLOCKS = re.compile(r"blocks(\d+)")
_WINDOWS = re.compile(r"windows(\d+)-(\d+)")
_CROPS = re.compile(r"[a-z][a-z0-9_]*")


def split_variant(name: str) -> tuple[str, str]:
    """An extractor's name and its variant, empty for the extractor as it is registered."""
    plain, _, variant = name.partition("@")
    return plain, variant


def check_kind(kind: str) -> str:
    """The name of a kind of crop folder itself, if it can be one.

    Raises:
        SpecError: it could not be written behind an extractor's name, or is the face detector's.
    """
    if not _CROPS.fullmatch(kind):
        raise SpecError(f"A kind of crop folder is named in small letters, as 'cropped_aligned'; found '{kind}'.")
    if kind == DetectorSpec().name:
        raise SpecError(f"'{kind}' is the face detector's name. Give this kind of crop folder another one.")
    return kind


def variant_of(spec: ExtractorSpec, variant: str) -> ExtractorSpec:
    """A registered spec, varied.

    Args:
        spec: as registered.
        variant: of a face network, the kind of crop folder its faces come from, as in `--crops KIND=FOLDER`. Of a sound
            network, how sound is cut (`blocks90`: every 90 s; `windows20-10`: windows of 20 s every 10 s) and how
            vectors meet frames (`notebook`), joined by `+`.

    Raises:
        SpecError: the variant says something else.
    """
    if isinstance(spec, FaceExtractorSpec):
        if not _CROPS.fullmatch(variant):
            raise SpecError(
                f"'{spec.name}@{variant}' should name a kind of crop folder, in small letters, as in "
                f"'{spec.name}@cropped_aligned'."
            )
        return replace(spec, name=f"{spec.name}@{variant}", faces=variant)
    varied = replace(spec, name=f"{spec.name}@{variant}")
    for word in variant.split("+"):
        varied = _sound_word(varied, word)
    return varied


def _sound_word(spec: SoundExtractorSpec, word: str) -> SoundExtractorSpec:
    if word == "notebook":
        return replace(spec, align="notebook")
    if found := _BLOCKS.fullmatch(word):
        return replace(spec, segments=Segmenting("blocks", int(found[1]), int(found[1])))
    if found := _WINDOWS.fullmatch(word):
        return replace(spec, segments=Segmenting("windows", int(found[1]), int(found[2])))
    raise SpecError(
        f"'{spec.name}': '{word}' is not a variant of a sound network; blocks90, windows20-10 and notebook are."
    )
