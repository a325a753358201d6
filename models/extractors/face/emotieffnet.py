"""EmotiEffNet: EfficientNet trained for facial expressions (Savchenko; ABAW5 and ABAW6 papers, section "models").

The embedding is the pooled output before the classifier, neither normalised nor standardised; the classifier's outputs
are logits in AffectNet's alphabetical order and, for the multi-task networks, raw valence and arousal after them.
"""

from __future__ import annotations

from affstore.models.extractor_specs import FaceExtractorSpec, WeightsRef
from affstore.models.extractors.face.network import FaceNetwork
from affstore.models.extractors.registry import register
from affstore.store.contract.labels import AFFECTNET_7, AFFECTNET_8

EMOTIEFFNET_B0 = FaceExtractorSpec(
    "emotieffnet_b0", 1, 1280, 224, WeightsRef("enet_b0_8_best_vgaf"), float32_stages=3, logits=AFFECTNET_8
)
"""The papers' EmotiEffNet-B0."""

EMOTIEFFNET_B0_AFEW = FaceExtractorSpec(
    "emotieffnet_b0_afew", 1, 1280, 224, WeightsRef("enet_b0_8_best_afew"), float32_stages=3, logits=AFFECTNET_8
)
"""The same network, chosen on AFEW."""

MT_EMOTIEFFNET_B0 = FaceExtractorSpec(
    "mt_emotieffnet_b0",
    1,
    1280,
    224,
    WeightsRef("enet_b0_8_va_mtl"),
    float32_stages=3,
    logits=AFFECTNET_8,
    valence_arousal=True,
)
"""The papers' MT-EmotiEffNet: expressions, valence and arousal."""

EMOTIEFFNET_B2 = FaceExtractorSpec(
    "emotieffnet_b2", 1, 1408, 260, WeightsRef("enet_b2_8_best"), float32_stages=3, logits=AFFECTNET_8
)
"""EmotiEffNet-B2 of the ABAW6 paper."""

EMOTIEFFNET_B2_8 = FaceExtractorSpec(
    "emotieffnet_b2_8", 1, 1408, 260, WeightsRef("enet_b2_8"), float32_stages=3, logits=AFFECTNET_8
)
"""The same network as EmotiEffLib ships it."""

EMOTIEFFNET_B2_7 = FaceExtractorSpec(
    "emotieffnet_b2_7", 1, 1408, 260, WeightsRef("enet_b2_7"), float32_stages=3, logits=AFFECTNET_7
)
"""The same network for seven expressions, without Contempt."""

register(EMOTIEFFNET_B0, EMOTIEFFNET_B0_AFEW, MT_EMOTIEFFNET_B0, EMOTIEFFNET_B2, EMOTIEFFNET_B2_8, EMOTIEFFNET_B2_7)(
    FaceNetwork
)
