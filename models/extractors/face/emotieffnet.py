"""EmotiEffNet: EfficientNet trained for facial expressions (Savchenko; ABAW5 and ABAW6 papers, section "models").

The embedding is the pooled output before the classifier, neither normalised nor standardised; the classifier's outputs
are logits in AffectNet's alphabetical order and, for the multi-task networks, raw valence and arousal after them.
"""

from __future__ import annotations

from affstore.models.engines.footprint import FaceFootprint
from affstore.models.extractor_specs import FaceExtractorSpec, WeightsRef
from affstore.models.extractors.face.emotiefflib import emotiefflib_entry
from affstore.models.extractors.face.network import FaceNetworkKind
from affstore.models.extractors.registry import register
from affstore.models.networks.timm_models import staged_efficientnet
from affstore.models.weights.architectures import timm_network
from affstore.models.weights.entry import WeightsEntry
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

B0 = timm_network("efficientnet_b0", "tf_efficientnet_b0.ns_jft_in1k", staged_efficientnet)
B2 = timm_network("efficientnet_b2", "tf_efficientnet_b2.ns_jft_in1k", staged_efficientnet)

_FOOTPRINT = FaceFootprint(torch=350, openvino=150)


register(
    FaceNetworkKind(
        EMOTIEFFNET_B0,
        emotiefflib_entry(
            "enet_b0_8_best_vgaf",
            B0,
            8,
            "7219cfb037209b253ea8b81cf969e60a00e9181c",
            "EmotiEffNet-B0 of the ABAW5 and ABAW6 papers",
        ),
        _FOOTPRINT,
    ),
    FaceNetworkKind(
        EMOTIEFFNET_B0_AFEW,
        emotiefflib_entry("enet_b0_8_best_afew", B0, 8, "9540c8beff661f1c2fca16de63b530cce24bb17d"),
        _FOOTPRINT,
    ),
    FaceNetworkKind(
        MT_EMOTIEFFNET_B0,
        emotiefflib_entry(
            "enet_b0_8_va_mtl",
            B0,
            10,
            "b7223bd1ab092a1b5a42bc04a5f4fbfe4d9f8b9b",
            "MT-EmotiEffNet of the ABAW5 and ABAW6 papers",
        ),
        _FOOTPRINT,
    ),
    FaceNetworkKind(
        EMOTIEFFNET_B2,
        WeightsEntry(
            "enet_b2_8_best",
            B2,
            outputs=8,
            file="enet_b2_8_best.pt",
            url=(
                "https://github.com/HSE-asavchenko/face-emotion-recognition/raw/"
                "207ed4981625d1f643e25b4a3014e2eed20a0b46/models/affectnet_emotions/enet_b2_8_best.pt"
            ),
            git_blob_sha1="43be51786607c44fd13df41a497056c6accf7188",
            licence="Apache-2.0",
            format="torch_module_pickle",
            source="EmotiEffNet-B2 of the ABAW6 paper; face-emotion-recognition, blob id from its public tree",
        ),
        _FOOTPRINT,
    ),
    FaceNetworkKind(
        EMOTIEFFNET_B2_8,
        emotiefflib_entry("enet_b2_8", B2, 8, "eed81e6368877e89f8a99cfabadae7c3ddc3a949"),
        _FOOTPRINT,
    ),
    FaceNetworkKind(
        EMOTIEFFNET_B2_7,
        emotiefflib_entry("enet_b2_7", B2, 7, "5a8ccbb17913461296003be726a22b6fc40d602b"),
        _FOOTPRINT,
    ),
)
