"""Variants of an extractor by name: `emotieffnet_b0@cropped_aligned`, `wav2vec2_base_960h@blocks300+notebook`.

A variant is stored beside its siblings under the whole name, so that one store can hold them all.
"""

from __future__ import annotations

import re
from dataclasses import replace

from affstore.models.extractor_specs import ExtractorSpec, FaceExtractorSpec
from affstore.models.faces.specs import DetectorSpec
from affstore.store.contract.errors import SpecError

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
            network, words that its spec knows (see `SoundExtractorSpec.varied`), joined by `+`.

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
        varied = varied.varied(word)
    return varied
