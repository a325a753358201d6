"""wav2vec 2.0 base, fine-tuned on 960 h of LibriSpeech (Baevski et al. 2020): 768 numbers every 20 ms of speech.

The embedding is the last hidden state, as in the public notebooks of the ABAW6 paper.

Clock: the convolutions have a stride of 320 samples and a receptive field of 400 (25 ms), so vector `i` is computed
around samples `[320 i, 320 i + 400)` and stands for `[i, i + 1) / 50` s; `n` samples give `(n - 80) // 320` vectors,
and the last 5 to 25 ms of a sound have none. A block therefore hears the 80 samples that follow it as well, and no
vector is lost at a seam. Attention and normalisation see one block, so a vector depends on the block it lies in.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models.extractors.base import SoundExtractor, SoundOutput
from models.extractors.registry import register
from models.extractors.specs import SoundExtractorSpec, WeightsRef, blocks
from models.extractors.torch_network import check_engine, device_of, forward_pass
from store.contract.errors import ArchitectureError, SpecError

if TYPE_CHECKING:
    import torch

WAV2VEC2_BASE_960H = SoundExtractorSpec(
    name="wav2vec2_base_960h",
    version=1,
    width=768,
    rate_hz=16_000,
    vectors_hz=Fraction(50),
    weights=WeightsRef("wav2vec2_base_960h"),
    segments=blocks(60),
    normalise=True,
)
"""The notebooks hear 300 or 360 s at once; 60 s is what fits in 1 GiB (16 MB a second of sound in float32)."""

_STRIDE, _FIELD = 320, 400
_SHORTEST_TAIL = 50
_NORMALISE_EPS = 1e-7
_UNTRAINED_ENCODER_GAIN = 0.3
_POSITION = "encoder.pos_conv_embed.conv."

_CONFIG: dict[str, Any] = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
    "feat_extract_norm": "group",
    "feat_extract_activation": "gelu",
    "conv_dim": (512,) * 7,
    "conv_kernel": (10, 3, 3, 3, 3, 2, 2),
    "conv_stride": (5, 2, 2, 2, 2, 2, 2),
    "conv_bias": False,
    "num_conv_pos_embeddings": 128,
    "num_conv_pos_embedding_groups": 16,
    "do_stable_layer_norm": False,
    "add_adapter": False,
    # No masking: it is for training only, and the published file has no parameter for it.
    "apply_spec_augment": False,
    "mask_time_prob": 0.0,
    "mask_feature_prob": 0.0,
    "attn_implementation": "sdpa",
}


@register(WAV2VEC2_BASE_960H)
class Wav2Vec2(SoundExtractor):
    """The encoder of `transformers` without the recogniser's last layer. Any number of threads may call one."""

    def __init__(self, spec: SoundExtractorSpec, parameters: Mapping[str, Any], device: str = "cpu") -> None:
        check_engine(spec)
        if (spec.width, spec.rate_hz, spec.vectors_hz) != (768, 16_000, Fraction(50)) or spec.segments.mode != "blocks":
            raise SpecError(
                f"'{spec.name}' hears blocks of at least 1 s at 16000 Hz and gives 768 numbers at 50 Hz; found "
                f"{spec.segments}, {spec.rate_hz} Hz, {spec.width} numbers, {spec.vectors_hz} Hz."
            )
        encoder = network()
        encoder.load_state_dict(_checked(spec.weights.name, parameters, encoder), assign=True)
        self.spec, self._device = spec, device_of(device)
        self._network: Any = encoder.to(self._device).requires_grad_(False)

    def embed(self, wave: NDArray[np.float32]) -> SoundOutput:
        """See `SoundExtractor.embed`. A remainder shorter than a second is embedded with the block before it.

        Raises:
            SpecError: the wave is not float32 `(samples,)`.
        """
        if wave.dtype != np.float32 or wave.ndim != 1:
            raise SpecError(f"'{self.spec.name}' hears float32 (samples,); found {wave.dtype} {wave.shape}.")
        blocks = [self._forward(wave[begin:end]) for begin, end in _blocks(len(wave), self.spec)]
        return SoundOutput(np.concatenate(blocks) if blocks else np.empty((0, self.spec.width), np.float32))

    @staticmethod
    def untrained(spec: SoundExtractorSpec, seed: int) -> dict[str, torch.Tensor]:
        """Seeded parameters whose embeddings depend on the sound and on the moment.

        Random attention takes the mean over all moments; small kernels in the encoder leave each moment its own.
        """
        import torch

        from models.weights.architectures import Slot
        from models.weights.untrained import draw

        layout = {name: Slot("float32", tuple(tensor.shape)) for name, tensor in network().state_dict().items()}
        drawn = draw(layout, seed)
        for name, tensor in drawn.items():
            if name.startswith("encoder.layers.") and tensor.ndim > 1:
                tensor.mul_(_UNTRAINED_ENCODER_GAIN)
        gain, direction = (f"{_POSITION}parametrizations.weight.original{part}" for part in (0, 1))
        squares = np.square(drawn[direction].numpy().astype(np.float64))
        drawn[gain] = torch.from_numpy(np.sqrt(squares.sum((0, 1), keepdims=True)).astype(np.float32))
        return drawn

    def _forward(self, segment: NDArray[np.float32]) -> NDArray[np.float32]:
        import torch

        heard = _normalised(segment) if self.spec.normalise else np.ascontiguousarray(segment)
        with forward_pass(self._device, self.spec.precision):
            states = self._network(torch.from_numpy(heard)[None].to(self._device)).last_hidden_state
        vectors: NDArray[np.float32] = states[0].float().cpu().numpy()
        return vectors


def network() -> torch.nn.Module:
    """wav2vec 2.0 base in evaluation mode on torch's `meta` device: load parameters with `assign=True`."""
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    with torch.device("meta"):
        encoder: torch.nn.Module = Wav2Vec2Model(Wav2Vec2Config(**_CONFIG))
    return encoder.eval()


def rename(name: str) -> str | None:
    """A published parameter's name as `network` has it; None for the recogniser's layer and the training mask."""
    name = name.removeprefix("wav2vec2.")
    if name.startswith("lm_head.") or name == "masked_spec_embed":
        return None
    present = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
    last = name.removeprefix(_POSITION)
    return _POSITION + present[last] if last in present else name


def _checked(weights: str, parameters: Mapping[str, Any], encoder: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The parameters under our names, in float32.

    Raises:
        ArchitectureError: some are missing, superfluous or of another shape.
    """
    found = {ours: tensor for name, tensor in parameters.items() if (ours := rename(name)) is not None}
    wanted = {name: tuple(tensor.shape) for name, tensor in encoder.state_dict().items()}
    faults = [f"{name} is missing" for name in sorted(wanted.keys() - found.keys())]
    faults += [f"{name} is superfluous" for name in sorted(found.keys() - wanted.keys())]
    faults += [
        f"{name} has shape {tuple(found[name].shape)}, not {shape}"
        for name, shape in wanted.items()
        if name in found and tuple(found[name].shape) != shape
    ]
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise ArchitectureError(
            f"'{weights}' should be wav2vec 2.0 base, but {'; '.join(faults[:3])}{more}. "
            "These are another network's parameters: check which file this is."
        )
    return {name: tensor.float() for name, tensor in found.items()}


def _blocks(samples: int, spec: SoundExtractorSpec) -> list[tuple[int, int]]:
    """Where each block's samples begin and end, with the few after it that its last vector needs."""
    vectors = max(0, (samples - _FIELD) // _STRIDE + 1)
    starts = list(range(0, vectors, int(spec.segments.length_s * spec.vectors_hz)))
    if len(starts) > 1 and vectors - starts[-1] < _SHORTEST_TAIL:
        starts.pop()
    overhang = _FIELD - _STRIDE
    return [(_STRIDE * first, _STRIDE * end + overhang) for first, end in pairwise((*starts, vectors))]


def _normalised(segment: NDArray[np.float32]) -> NDArray[np.float32]:
    """Zero mean and unit variance, to the bit as the processor of `transformers` does it."""
    return (segment - segment.mean()) / np.sqrt(segment.var() + _NORMALISE_EPS)
