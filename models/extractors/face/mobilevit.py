"""MT-EmotiMobileViT: MobileViTv2 trained for expressions, valence and arousal (ABAW6 paper, section 3.3)."""

from __future__ import annotations

from affstore.models.engines.footprint import FaceFootprint
from affstore.models.extractor_specs import FaceExtractorSpec, WeightsRef
from affstore.models.extractors.face.emotiefflib import emotiefflib_entry
from affstore.models.extractors.face.network import FaceNetworkKind
from affstore.models.extractors.registry import register
from affstore.models.networks.timm_models import staged_mobilevit
from affstore.models.weights.architectures import timm_network
from affstore.store.contract.labels import AFFECTNET_8

MT_EMOTIMOBILEVIT = FaceExtractorSpec(
    "mt_emotimobilevit", 1, 768, 224, WeightsRef("mobilevit_va_mtl"), logits=AFFECTNET_8, valence_arousal=True
)
"""It sees ImageNet's statistics and 224 pixels, where timm's networks of this family see plain [0, 1] and 256."""

NETWORK = timm_network("mobilevitv2_150", "mobilevitv2_150", staged_mobilevit)

_FOOTPRINT = FaceFootprint(converted=230 << 20)
"""With two streams, all of it was measured to take 346 MiB in batches of 4 and 807 in batches of 16."""


register(
    FaceNetworkKind(
        MT_EMOTIMOBILEVIT,
        emotiefflib_entry(
            "mobilevit_va_mtl",
            NETWORK,
            10,
            "d648cb1a20a5b1ab0af64192ec9be39e5cdd3961",
            "MT-EmotiMobileViT of the ABAW6 paper",
        ),
        _FOOTPRINT,
    ),
)
