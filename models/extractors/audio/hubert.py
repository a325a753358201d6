"""HuBERT (Hsu et al. 2021): the layers of wav2vec 2.0, trained to predict hidden units.

See `affstore.models.extractors.audio.network` for its clock.
"""

from __future__ import annotations

from affstore.models.extractor_specs import SoundExtractorSpec, WeightsRef, blocks
from affstore.models.extractors.audio.network import (
    RATE_HZ,
    VECTORS_HZ,
    SpeechNetworkKind,
    speech_network,
)
from affstore.models.extractors.registry import register
from affstore.models.weights.entry import WeightsEntry
from affstore.store.contract.labels import IEMOCAP_4

HUBERT_SUPERB_ER = SoundExtractorSpec(
    name="hubert_superb_er",
    version=1,
    width=256,
    rate_hz=RATE_HZ,
    vectors_hz=VECTORS_HZ,
    weights=WeightsRef("hubert_superb_er"),
    segments=blocks(90),
    normalise=False,
    logits=IEMOCAP_4,
)
"""The base network with SUPERB's head for emotion: the ABAW6 paper's "wav2vec2-hubert", cut every 90 s.

The embedding is the projection of the learned mean of all hidden states, each moment's own; the logits are of the mean
of a segment's embeddings. The model's processor leaves the waveform as it is.
"""

HUBERT_LARGE_LS960 = SoundExtractorSpec(
    name="hubert_large_ls960",
    version=1,
    width=1024,
    rate_hz=RATE_HZ,
    vectors_hz=VECTORS_HZ,
    weights=WeightsRef("hubert_large_ls960"),
    segments=blocks(60),
    normalise=True,
)
"""The large network, fine-tuned on 960 h of LibriSpeech, from its last hidden state, as the authors tried for ABAW8.

Cut every 60 s for the reasons given for `WAV2VEC2_BASE_960H`.
"""

BASE_WITH_EMOTION = speech_network("hubert_base_emotion")
LARGE = speech_network("hubert_large")


register(
    SpeechNetworkKind(
        HUBERT_SUPERB_ER,
        WeightsEntry(
            "hubert_superb_er",
            BASE_WITH_EMOTION,
            outputs=4,
            file="pytorch_model.bin",
            url=(
                "https://huggingface.co/superb/hubert-base-superb-er/resolve/"
                "bac0e14e92f7f9fd56671c5060e572e883cad667/pytorch_model.bin"
            ),
            sha256="9e10f7a1672ad8f262012d3698bfbcdc232fe9483f9fbee3d9a1de405d134a2a",
            licence="Apache-2.0",
            format="torch_module_pickle",
            source=(
                "wav2vec2-hubert of the ABAW6 paper; superb/hubert-base-superb-er, commit and SHA-256 from a "
                "public list of its blobs"
            ),
        ),
    ),
    SpeechNetworkKind(
        HUBERT_LARGE_LS960,
        WeightsEntry(
            "hubert_large_ls960",
            LARGE,
            file="pytorch_model.bin",
            url=(
                "https://huggingface.co/facebook/hubert-large-ls960-ft/resolve/"
                "ece5fabbf034c1073acae96d5401b25be96709d8/pytorch_model.bin"
            ),
            sha256="9cf43abec3f0410ad6854afa4d376c69ccb364b48ddddfd25c4c5aa16398eab0",
            licence="Apache-2.0",
            format="torch_module_pickle",
            source=(
                "facebook/hubert-large-ls960-ft; commit and SHA-256 as pinned by several independent public projects"
            ),
        ),
    ),
)
