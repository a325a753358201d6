"""The audio encoders of transformers that affstore runs, and their own preprocessing, from their configurations."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_WAV2VEC2 = "Wav2Vec2FeatureExtractor"

ENCODERS = {
    "wav2vec2": ("wav2vec2.modeling_wav2vec2.Wav2Vec2Model", _WAV2VEC2),
    "hubert": ("hubert.modeling_hubert.HubertModel", _WAV2VEC2),
    "wavlm": ("wavlm.modeling_wavlm.WavLMModel", _WAV2VEC2),
    "unispeech": ("unispeech.modeling_unispeech.UniSpeechModel", _WAV2VEC2),
    "unispeech-sat": ("unispeech_sat.modeling_unispeech_sat.UniSpeechSatModel", _WAV2VEC2),
    "data2vec-audio": ("data2vec.modeling_data2vec_audio.Data2VecAudioModel", _WAV2VEC2),
    "wav2vec2-bert": ("wav2vec2_bert.modeling_wav2vec2_bert.Wav2Vec2BertModel", "SeamlessM4TFeatureExtractor"),
    "whisper": ("whisper.modeling_whisper.WhisperEncoder", "WhisperFeatureExtractor"),
    "audio-spectrogram-transformer": (
        "audio_spectrogram_transformer.modeling_audio_spectrogram_transformer.ASTModel",
        "ASTFeatureExtractor",
    ),
}
"""Class of the encoder in `transformers.models`, and of the preprocessing, by a configuration's `model_type`."""


def network_of(config: str) -> torch.nn.Module:
    """The encoder with parameters as transformers initialises them."""
    fields = json.loads(config)
    network: torch.nn.Module = class_of(fields)(settings_of(fields)).eval()
    return network


def feature_extractor(config: str, preprocessor: str) -> Any:
    """The model's own preprocessing."""
    import transformers

    _, kind = ENCODERS[json.loads(config)["model_type"]]
    return getattr(transformers, kind).from_dict(json.loads(preprocessor))


def by_time(network: torch.nn.Module, states: torch.Tensor) -> torch.Tensor:
    """Hidden states `(1, steps, width)`; of patches of a spectrogram, the mean over those of one time."""
    embeddings: Any = getattr(network, "embeddings", None)
    if not hasattr(embeddings, "get_shape"):
        return states
    bands, times = embeddings.get_shape(network.config)
    return states[:, -bands * times :].reshape(len(states), bands, times, -1).mean(1)


def class_of(fields: Mapping[str, Any]) -> Any:
    """The encoder's class in transformers."""
    module, _, name = ENCODERS[fields["model_type"]][0].rpartition(".")
    return getattr(importlib.import_module(f"transformers.models.{module}"), name)


def settings_of(fields: Mapping[str, Any]) -> Any:
    """The configuration as transformers' own object."""
    from transformers import CONFIG_MAPPING

    return CONFIG_MAPPING[fields["model_type"]].from_dict(dict(fields))
