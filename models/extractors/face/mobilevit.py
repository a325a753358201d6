"""MT-EmotiMobileViT: MobileViTv2 trained for expressions, valence and arousal (ABAW6 paper, section 3.3)."""

from __future__ import annotations

from affstore.models.extractor_specs import FaceExtractorSpec, WeightsRef
from affstore.models.extractors.face.network import FaceNetwork
from affstore.models.extractors.registry import register
from affstore.store.contract.labels import AFFECTNET_8

MT_EMOTIMOBILEVIT = FaceExtractorSpec(
    "mt_emotimobilevit", 1, 768, 224, WeightsRef("mobilevit_va_mtl"), logits=AFFECTNET_8, valence_arousal=True
)
"""It sees ImageNet's statistics and 224 pixels, where timm's networks of this family see plain [0, 1] and 256."""

register(MT_EMOTIMOBILEVIT)(FaceNetwork)
