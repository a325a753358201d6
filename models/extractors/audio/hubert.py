"""HuBERT (Hsu et al. 2021): the layers of wav2vec 2.0, trained to predict hidden units.

See `affstore.models.extractors.audio.network` for its clock.
"""

from __future__ import annotations

from affstore.models.extractor_specs import SoundExtractorSpec, WeightsRef, blocks
from affstore.models.extractors.audio.network import RATE_HZ, VECTORS_HZ, SpeechNetwork
from affstore.models.extractors.registry import register
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

register(HUBERT_SUPERB_ER, HUBERT_LARGE_LS960)(SpeechNetwork)
