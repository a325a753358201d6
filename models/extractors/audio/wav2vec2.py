"""wav2vec 2.0 (Baevski et al. 2020): what every 20 ms of speech sounds like, from its last hidden state.

See `affstore.models.extractors.audio.network` for its clock.
"""

from __future__ import annotations

from affstore.models.extractor_specs import SoundExtractorSpec, WeightsRef, blocks
from affstore.models.extractors.audio.network import RATE_HZ, VECTORS_HZ, SpeechNetwork
from affstore.models.extractors.registry import register

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

register(WAV2VEC2_BASE_960H, WAV2VEC2_LARGE_MSP_DIM)(SpeechNetwork)
