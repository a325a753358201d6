"""DDAMFN, with the ABAW6 paper's parameters and with its original author's (Zhang et al., 2023).

The two differ in the order of their classes: alphabetical in the paper's, AffectNet's own numbers in the author's.
"""

from __future__ import annotations

from affstore.models.extractor_specs import FaceExtractorSpec, WeightsRef
from affstore.models.extractors.face.network import FaceNetworkKind
from affstore.models.extractors.registry import register
from affstore.models.weights.architectures import own_network
from affstore.models.weights.entry import WeightsEntry
from affstore.store.contract.labels import AFFECTNET_7_NUMBERED, AFFECTNET_8, AFFECTNET_8_NUMBERED

DDAMFN = FaceExtractorSpec("ddamfn", 1, 512, 112, WeightsRef("ddamfn"), logits=AFFECTNET_8)
"""DDAMFN of the ABAW6 paper, whose parameters are not public."""

MT_DDAMFN = FaceExtractorSpec(
    "mt_ddamfn", 1, 512, 112, WeightsRef("mt_ddamfn"), logits=AFFECTNET_8, valence_arousal=True
)
"""MT-DDAMFN of the ABAW6 paper: expressions, valence and arousal; its parameters are not public."""

DDAMFN_AFFECTNET8 = FaceExtractorSpec(
    "ddamfn_affectnet8", 1, 512, 112, WeightsRef("ddamfn_affectnet8"), logits=AFFECTNET_8_NUMBERED
)
"""The author's public checkpoint for eight expressions (DDAMFN++)."""

DDAMFN_AFFECTNET7 = FaceExtractorSpec(
    "ddamfn_affectnet7", 1, 512, 112, WeightsRef("ddamfn_affectnet7"), logits=AFFECTNET_7_NUMBERED
)
"""The same for seven expressions, without Contempt."""

NETWORK = own_network("ddamfn")


register(
    FaceNetworkKind(
        DDAMFN,
        WeightsEntry(
            "ddamfn",
            NETWORK,
            outputs=8,
            file="affectnet8_epoch4_acc0.6462.pth",
            where="the authors of the ABAW6 paper have it; their notebook abaw6_affwild2.ipynb reads it",
            format="torch_module_pickle",
            source="DDAMFN of the ABAW6 paper; name and layout from its notebook",
        ),
    ),
    FaceNetworkKind(
        MT_DDAMFN,
        WeightsEntry(
            "mt_ddamfn",
            NETWORK,
            outputs=10,
            file="affectnet8_epoch9_acc0.642_mtl_2.pth",
            where="the authors of the ABAW6 paper have it; their notebook abaw6_affwild2.ipynb reads it",
            format="torch_module_pickle",
            source="MT-DDAMFN of the ABAW6 paper; name and layout from its notebook",
        ),
    ),
    FaceNetworkKind(
        DDAMFN_AFFECTNET8,
        WeightsEntry(
            "ddamfn_affectnet8",
            NETWORK,
            outputs=8,
            file="affecnet8_epoch25_acc0.6469.pth",
            url=(
                "https://github.com/SainingZhang/DDAMFN/raw/cebfe5c5969b7d1fd64ecd775e318d3834ca76bb/"
                "DDAMFN%2B%2B/checkpoints_ver2.0/affecnet8_epoch25_acc0.6469.pth"
            ),
            git_blob_sha1="b8dce63bfc249c270cd09f5adc34cf7948954b1f",
            format="torch_module_pickle",
            source=("SainingZhang/DDAMFN (DDAMFN++), blob id from its public tree; the repository has no licence file"),
        ),
    ),
    FaceNetworkKind(
        DDAMFN_AFFECTNET7,
        WeightsEntry(
            "ddamfn_affectnet7",
            NETWORK,
            outputs=7,
            file="affecnet7_epoch19_acc0.671.pth",
            url=(
                "https://github.com/SainingZhang/DDAMFN/raw/cebfe5c5969b7d1fd64ecd775e318d3834ca76bb/"
                "DDAMFN%2B%2B/checkpoints_ver2.0/affecnet7_epoch19_acc0.671.pth"
            ),
            git_blob_sha1="a2399a1346f184f12725b37b3969bcc41529cdec",
            format="torch_module_pickle",
            source=("SainingZhang/DDAMFN (DDAMFN++), blob id from its public tree; the repository has no licence file"),
        ),
    ),
)
