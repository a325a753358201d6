"""DDAMFN, with the ABAW6 paper's parameters and with its original author's (Zhang et al., 2023).

The two differ in the order of their classes: alphabetical in the paper's, AffectNet's own numbers in the author's.
"""

from __future__ import annotations

from affstore.models.extractor_specs import FaceExtractorSpec, WeightsRef
from affstore.models.extractors.face.network import FaceNetwork
from affstore.models.extractors.registry import register
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

register(DDAMFN, MT_DDAMFN, DDAMFN_AFFECTNET8, DDAMFN_AFFECTNET7)(FaceNetwork)
