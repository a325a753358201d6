"""MT-EmotiMobileFaceNet: MobileFaceNet trained for expressions, valence and arousal (ABAW6 paper, section 3.3)."""

from __future__ import annotations

from affstore.models.extractor_specs import FaceExtractorSpec, WeightsRef
from affstore.models.extractors.face.emotiefflib import emotiefflib_entry
from affstore.models.extractors.face.network import FaceNetworkKind
from affstore.models.extractors.registry import register
from affstore.models.weights.architectures import own_network
from affstore.store.contract.labels import AFFECTNET_8

_HALF = (0.5, 0.5, 0.5)

MT_EMOTIMOBILEFACENET = FaceExtractorSpec(
    "mt_emotimobilefacenet",
    1,
    512,
    112,
    WeightsRef("mbf_va_mtl"),
    mean=_HALF,
    std=_HALF,
    logits=AFFECTNET_8,
    valence_arousal=True,
    float32_stages=6,
)
"""It sees pixels in [-1, 1], not ImageNet's statistics as the others do."""

NETWORK = own_network("mobilefacenet")


register(
    FaceNetworkKind(
        MT_EMOTIMOBILEFACENET,
        emotiefflib_entry(
            "mbf_va_mtl",
            NETWORK,
            10,
            "522bdabca7c655a7abde9cfca17e3dfcceadf9a0",
            "MT-EmotiMobileFaceNet of the ABAW6 paper",
        ),
    ),
)
