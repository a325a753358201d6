"""MT-EmotiMobileViT: MobileViTv2 trained for expressions, valence and arousal (ABAW6 paper, section 3.3)."""

from __future__ import annotations

from affstore.models.engines.footprint import FaceFootprint
from affstore.models.extractor_specs import FaceExtractorSpec, WeightsRef
from affstore.models.extractors.face.network import FaceNetworkKind
from affstore.models.extractors.registry import register
from affstore.models.networks import mobilevit
from affstore.models.weights.architectures import timm_network
from affstore.models.weights.entry import WeightsEntry
from affstore.store.contract.labels import AFFECTNET_8

MT_EMOTIMOBILEVIT = FaceExtractorSpec(
    "mt_emotimobilevit", 1, 768, 224, WeightsRef("mobilevit_va_mtl"), logits=AFFECTNET_8, valence_arousal=True
)
"""It sees ImageNet's statistics and 224 pixels, where timm's networks of this family see plain [0, 1] and 256."""

NETWORK = timm_network("mobilevitv2_150", "mobilevitv2_150", mobilevit.staged)

_FOOTPRINT = FaceFootprint(converted=230 << 20)
"""With two streams, all of it was measured to take 346 MiB in batches of 4 and 807 in batches of 16."""


register(
    FaceNetworkKind(
        MT_EMOTIMOBILEVIT,
        WeightsEntry(
            "mobilevit_va_mtl",
            NETWORK,
            outputs=10,
            file="mobilevit_va_mtl.pt",
            url=(
                "https://github.com/sb-ai-lab/EmotiEffLib/raw/f1df0e8548c666d268826e50b7de107fd5553e9d/models/"
                "affectnet_emotions/mobilevit_va_mtl.pt"
            ),
            git_blob_sha1="d648cb1a20a5b1ab0af64192ec9be39e5cdd3961",
            licence="Apache-2.0",
            format="torch_module_pickle",
            source="MT-EmotiMobileViT of the ABAW6 paper; EmotiEffLib, blob id from its public tree",
        ),
        _FOOTPRINT,
    ),
)
