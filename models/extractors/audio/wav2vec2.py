"""wav2vec 2.0 (Baevski et al. 2020): what every 20 ms of speech sounds like, from its last hidden state.

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

WAV2VEC2_BASE_960H = SoundExtractorSpec(
    name="wav2vec2_base_960h",
    version=1,
    width=768,
    rate_hz=RATE_HZ,
    vectors_hz=VECTORS_HZ,
    weights=WeightsRef("wav2vec2_base_960h"),
    segments=blocks(60),
    normalise=True,
)
"""The base network, fine-tuned on 960 h of LibriSpeech, as in the public notebooks of the ABAW6 paper.

The notebooks hear 300 or 360 s at once (`@blocks300`, `@blocks360`). A pass over 60 s needs a fifth of the memory of
one over 300 s (0.5 GiB, not 2.3), which several videos at once share, and a fifth of the arithmetic of attention.
"""

WAV2VEC2_LARGE_MSP_DIM = SoundExtractorSpec(
    name="wav2vec2_large_msp_dim",
    version=1,
    width=1024,
    rate_hz=RATE_HZ,
    vectors_hz=VECTORS_HZ,
    weights=WeightsRef("wav2vec2_large_msp_dim"),
    segments=blocks(90),
    normalise=True,
    affect=True,
)
"""The first 12 layers of the large, robust network, fine-tuned for arousal, dominance and valence of MSP-Podcast.

Wagner et al. 2023. The ABAW6 paper cuts every 90 s; its head sees the mean of a segment's embeddings.
"""

BASE = speech_network("wav2vec2_base")
LARGE_WITH_AFFECT = speech_network("wav2vec2_large_12_affect")


register(
    SpeechNetworkKind(
        WAV2VEC2_BASE_960H,
        WeightsEntry(
            "wav2vec2_base_960h",
            BASE,
            url=(
                "https://huggingface.co/facebook/wav2vec2-base-960h/resolve/"
                "22aad52d435eb6dbaf354bdad9b0da84ce7d6156/model.safetensors"
            ),
            sha256="8aa76ab2243c81747a1f832954586bc566090c83a0ac167df6f31f0fa917d74a",
            licence="Apache-2.0",
            source=("facebook/wav2vec2-base-960h; commit and SHA-256 as pinned by several independent public projects"),
        ),
    ),
    SpeechNetworkKind(
        WAV2VEC2_LARGE_MSP_DIM,
        WeightsEntry(
            "wav2vec2_large_msp_dim",
            LARGE_WITH_AFFECT,
            outputs=3,
            url=(
                "https://huggingface.co/audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim/resolve/"
                "6eba34a2485ea31cb03600241787c3a5edab8626/model.safetensors"
            ),
            sha256="efa5ac1a13b2d2f42182738e44794b1eb4c0cdd221a8b4ae11304c3a5f5fae95",
            licence="CC-BY-NC-SA-4.0",
            source=(
                "wav2vec2-large-robust-emotion of the ABAW6 paper; audeering, commit and SHA-256 as pinned by "
                "public projects"
            ),
        ),
    ),
)
