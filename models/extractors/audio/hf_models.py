"""Audio encoders of transformers by name: `hf-audio/ORG/NAME`, or `hf-audio/ORG/NAME@LAYER`.

A layer is the number of a hidden state (0 is what the transformer is given), `last`, the encoder's output, or `mean`,
the mean of all hidden states; `last` where none is named. Other words follow behind `+`, as in `@9+blocks30+notebook`.
The model's own feature extractor prepares the sound.

Clock: which samples a step depends on was measured when the model was imported (`hf_clock.Clock`); vector `i` stands
for one stride around the middle of those of step `i`. An encoder that always hears a window, as Whisper 30 s, is given
blocks no longer than that; the steps of what fills up the last one are left out.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from affstore.models.engines.footprint import PassBytes, Workload, sound_pass_bytes
from affstore.models.engines.torch_network import check_engine, device_of, forward_pass
from affstore.models.extractor_specs import SoundExtractorSpec, WeightsRef, blocks
from affstore.models.extractors.audio.hf_hub import (
    PREFIX,
    HubModel,
    architecture_of,
    described_model,
    untrained_parameters,
)
from affstore.models.extractors.audio.hf_networks import by_time, feature_extractor, network_of
from affstore.models.extractors.audio.segments import Segment, check_waveform, cut, one_segment_a_pass
from affstore.models.extractors.base import ExtractorKind, SoundExtractor, SoundOutput
from affstore.models.extractors.registry import EXTRACTORS
from affstore.models.weights.architectures import check_layout
from affstore.models.weights.entry import WeightsEntry
from affstore.models.weights.records import weights_root
from affstore.store.contract.errors import SpecError

if TYPE_CHECKING:
    import torch

_BLOCK_S = 60
_BYTES_A_SECOND = 24 << 20
"""Of the sound that a pass hears: wav2vec 2.0's convolutions, 20 MiB at 512 channels, and the transformer's states."""


@dataclass(frozen=True, slots=True)
class HubAudioSpec(SoundExtractorSpec):
    """An audio encoder of transformers.

    Attributes:
        config: what decides numbers of its `config.json`.
        preprocessor: the same of its `preprocessor_config.json`.
        layer: which hidden state: its number, `last` or `mean`.
        begin: the first sample that step 0 depends on.
        end: after the last one.
        hears: samples that step 0 needs; 0 of an encoder that always hears a window.
        window_s: seconds that a pass hears at most; 0 of an encoder that hears any length.
        layers: how many the transformer has.
    """

    KIND: ClassVar[str] = "hf-audio extractor"

    config: str = ""
    preprocessor: str = ""
    layer: str = "last"
    begin: int = 0
    end: int = 0
    hears: int = 0
    window_s: int = 0
    layers: int = 0

    @property
    def stride(self) -> int:
        """Samples from one vector to the next."""
        return int(self.rate_hz / self.vectors_hz)

    def changed_by(self, word: str) -> SoundExtractorSpec:
        """See `SoundExtractorSpec.changed_by`; also a layer: its number, `last` or `mean`.

        Raises:
            SpecError: the word says something else, or the encoder has no such layer.
        """
        if word in ("last", "mean"):
            return replace(self, layer=word)
        if word.isascii() and word.isdecimal():
            if int(word) > self.layers:
                raise SpecError(f"'{self.name}': the encoder has the hidden states 0 to {self.layers}, and no {word}.")
            return replace(self, layer=str(int(word)))
        try:
            changed = super(HubAudioSpec, self).changed_by(word)
        except SpecError as error:
            raise SpecError(f"{error} So are a layer's number up to {self.layers}, last and mean.") from error
        if self.window_s and not 1 <= changed.segments.length_s <= self.window_s:
            raise SpecError(f"'{self.name}': the encoder hears {self.window_s} s at once, and no more.")
        return changed


class HubAudioNetwork(SoundExtractor):
    """An audio encoder of transformers. Any number of threads may call one."""

    def __init__(self, spec: HubAudioSpec, parameters: Mapping[str, Any], device: str) -> None:
        check_engine(spec)
        check_layout(spec.weights.name, parameters, architecture_of(spec.weights.name, spec.config), 0)
        self.spec: HubAudioSpec = spec
        self._device = device_of(device)
        network = network_of(spec.config)
        network.load_state_dict(dict(parameters), assign=True)
        self._network: Any = network.to(self._device).requires_grad_(False)
        self._prepare = feature_extractor(spec.config, spec.preprocessor)
        self._pieces = one_segment_a_pass(spec)
        self._alone = threading.Lock()

    def embed(self, wave: NDArray[np.floating[Any]]) -> SoundOutput:
        """See `SoundExtractor.embed`. Sound shorter than what one step needs gives no vector.

        Raises:
            SpecError: the wave is not float32 `(samples,)`.
            DeviceMemoryError: the GPU has no memory for one segment.
        """
        spec = self.spec
        check_waveform(self.spec, wave)
        vectors = self._vectors(len(wave))
        embedding = np.empty((vectors, spec.width), np.float32)
        shortest_s = 0 if spec.window_s else 1
        for segment in cut(vectors, spec.segments, spec.vectors_hz, shortest_s):
            samples = self._heard(wave, segment, segment.end == vectors)
            rows = self._states(samples)[: segment.vectors]
            embedding[segment.first : segment.last] = rows[segment.first - segment.begin : segment.last - segment.begin]
        return SoundOutput(embedding)

    def _vectors(self, samples: int) -> int:
        """How many a sound has: those whose samples are all there, or whose middle is, if the encoder fills it up."""
        spec = self.spec
        if not spec.window_s:
            return max(0, (samples - spec.hears) // spec.stride + 1)
        return max(0, ceil(Fraction(2 * samples - spec.begin - spec.end, 2 * spec.stride)))

    def _heard(self, wave: NDArray[np.float32], segment: Segment, last: bool) -> NDArray[np.float32]:
        """The samples of a segment; the last one hears the sound to its end."""
        spec, first = self.spec, self.spec.stride * segment.begin
        if last:
            end = first + spec.window_s * spec.rate_hz if spec.window_s else len(wave)
        else:
            end = spec.stride * (segment.end - 1) + (spec.hears or spec.stride)
        heard = wave[first:end]
        return np.pad(heard, (0, max(0, spec.end - len(heard)))) if spec.window_s else heard

    def _states(self, heard: NDArray[np.float32]) -> NDArray[np.float32]:
        """The states of one segment, `(steps, width)`."""
        if self._device.type == "cpu":
            return self._pass(heard[None])[0][0]
        with self._alone:
            return self._pieces.run(self._pass, heard[None])[0][0]

    def _pass(self, heard: NDArray[np.float32]) -> tuple[NDArray[np.float32]]:
        inputs = self._prepare(heard[0], sampling_rate=self.spec.rate_hz, return_tensors="pt").to(self._device)
        with forward_pass(self._device, self.spec.precision):
            output = self._network(**inputs, output_hidden_states=True)
            states = by_time(self._network, self._chosen(output))
        return (states.float().cpu().numpy(),)

    def _chosen(self, output: Any) -> torch.Tensor:
        """The layer that the spec names."""
        import torch

        if self.spec.layer == "last":
            return output.last_hidden_state
        if self.spec.layer == "mean":
            return torch.stack(output.hidden_states).mean(0)
        return output.hidden_states[int(self.spec.layer)]


class HubAudioKind(ExtractorKind[HubAudioSpec]):
    """All audio encoders that were imported or pulled into the weights folder."""

    def spec(self, name: str) -> HubAudioSpec:
        """See `ExtractorKind.spec`.

        Raises:
            WeightsMissingError: nothing is known of the model on this machine.
        """
        return spec_for(described_model(name, weights_root()))

    def weights(self, name: str) -> WeightsEntry:
        """See `ExtractorKind.weights`."""
        return described_model(name, weights_root()).entry

    def build(self, spec: HubAudioSpec, parameters: Mapping[str, Any], device: str) -> SoundExtractor:
        """See `ExtractorKind.build`."""
        return HubAudioNetwork(spec, parameters, device)

    def untrained(self, spec: HubAudioSpec, seed: int) -> dict[str, torch.Tensor]:
        """See `ExtractorKind.untrained`."""
        return untrained_parameters(spec.weights.name, spec.config, seed)

    def pass_bytes(self, spec: HubAudioSpec, workload: Workload) -> PassBytes:
        """See `ExtractorKind.pass_bytes`."""
        heard_s = spec.window_s or min(workload.sound_s, spec.segments.length_s + 1)
        channels = max([512, *json.loads(spec.config).get("conv_dim", ())])
        return sound_pass_bytes(workload, round(_BYTES_A_SECOND * heard_s * max(channels / 512, spec.width / 768)))


def spec_for(model: HubModel) -> HubAudioSpec:
    """The spec of a model, of its last layer.

    Raises:
        SpecError: its steps do not meet whole seconds.
    """
    clock = model.clock
    vectors_hz = Fraction(model.rate_hz, clock.stride)
    window_s = clock.steps * clock.stride // model.rate_hz
    most = window_s or _BLOCK_S
    length_s = most - most % vectors_hz.denominator
    if (clock.steps and not window_s) or not length_s:
        raise SpecError(f"'{model.name}' hears {vectors_hz} steps a second, which do not meet whole seconds.")
    return HubAudioSpec(
        name=model.name,
        version=1,
        width=model.width,
        rate_hz=model.rate_hz,
        vectors_hz=vectors_hz,
        weights=WeightsRef(model.name),
        segments=blocks(length_s),
        normalise=False,
        first_s=Fraction(clock.begin + clock.end - clock.stride, 2 * model.rate_hz),
        config=model.config,
        preprocessor=model.preprocessor,
        begin=clock.begin,
        end=clock.end,
        hears=clock.hears,
        window_s=window_s,
        layers=model.layers,
    )


EXTRACTORS.register(PREFIX, HubAudioKind())
