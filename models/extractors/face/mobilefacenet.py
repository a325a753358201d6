"""MT-EmotiMobileFaceNet: MobileFaceNet trained for expressions, valence and arousal (ABAW6 paper, section 3.3)."""

from __future__ import annotations

from affstore.models.extractor_specs import FaceExtractorSpec, WeightsRef
from affstore.models.extractors.face.network import FaceNetworkKind
from affstore.models.extractors.registry import register
from affstore.models.weights.architectures import own_network
from affstore.models.weights.entry import WeightsEntry
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
        WeightsEntry(
            "mbf_va_mtl",
            NETWORK,
            outputs=10,
            file="mbf_va_mtl.pt",
            url=(
                "https://github.com/sb-ai-lab/EmotiEffLib/raw/f1df0e8548c666d268826e50b7de107fd5553e9d/models/"
                "affectnet_emotions/mbf_va_mtl.pt"
            ),
            git_blob_sha1="522bdabca7c655a7abde9cfca17e3dfcceadf9a0",
            licence="Apache-2.0",
            format="torch_module_pickle",
            source="MT-EmotiMobileFaceNet of the ABAW6 paper; EmotiEffLib, blob id from its public tree",
        ),
    ),
)
