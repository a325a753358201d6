"""How close an engine comes to torch in float32, and which engine is therefore taken on a machine.

An engine is offered when every embedding points the same way as the reference's, nearly every class is the same, and
affect is, to a thousandth of its range. That depends on the parameters as well as on the machine, so it is measured
with the very parameters, once, on faces and on speech that need no download (benchmarks/engines.py does the same on
real clips).
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from affstore.models.engines.base import Choice
from affstore.models.extractor_specs import ExtractorSpec, FaceExtractorSpec, SoundExtractorSpec, blocks
from affstore.models.extractors.base import FaceOutput, SoundOutput
from affstore.models.weights.records import writing_to
from affstore.store.contract.files import write_text
from affstore.store.contract.keys import key_of, plain

if TYPE_CHECKING:
    import torch

LEAST_COSINE = 0.9999
LEAST_SAME_CLASS = 0.995
MOST_AFFECT_OFF = 0.002
"""Valence and arousal go from -1 to 1."""

_FACES = 100
_VERSION = 3  # 2: each face in four ways; of a hundred crops nobody can tell that 99.5 % are the same. 3: affect_off
_CLOSER = 10
_DARKER = 0.6

_SPEECH_VERSION = 1
_SPEECH_FILE = "speech_1961.opus"
_SPEECH_S = 5
_QUIETER, _NOISE = 0.05, 0.02


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How close an engine comes to the reference.

    Attributes:
        cosine: the least, over all rows, between its embedding and the reference's.
        same_class: share of rows with the reference's class; 1 for a network without classifier.
        affect_off: how far valence, arousal or dominance is off at most, as a share of the reference's largest value if
            that is beyond 1; 0 for a network that gives none.
    """

    cosine: float
    same_class: float
    affect_off: float = 0.0

    @property
    def enough(self) -> bool:
        """Whether the engine may be offered."""
        same_affect = self.affect_off <= MOST_AFFECT_OFF
        return self.cosine >= LEAST_COSINE and self.same_class >= LEAST_SAME_CLASS and same_affect

    def __str__(self) -> str:
        same = f"{100 * self.same_class:.1f} % of the classes are the same"
        return f"cosine at least {self.cosine:.6f}, {same}, affect off by {self.affect_off:.1e} at most"


Output = FaceOutput | SoundOutput


def fidelity(found: Output, reference: Output) -> Fidelity:
    """Compare the rows of two outputs of the same crops or sound."""
    a, b = (output.embedding.astype(np.float64) for output in (found, reference))
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosine = np.divide((a * b).sum(1), lengths, out=np.zeros(len(a)), where=lengths > 0)
    same_class, affect_off = 1.0, 0.0
    if found.logits is not None and reference.logits is not None:
        same_class = float(np.mean(found.logits.argmax(1) == reference.logits.argmax(1)))
    affect, true = _affect(found), _affect(reference)
    if affect is not None and true is not None:
        affect_off = float(np.abs(affect - true).max() / max(1.0, np.abs(true).max()))
    return Fidelity(float(cosine.min()), same_class, affect_off)


def _affect(output: Output) -> NDArray[np.float32] | None:
    return output.valence_arousal if isinstance(output, FaceOutput) else output.affect


def candidates(device: str) -> tuple[Choice, ...]:
    """What can run on a device of this machine, the fastest first (docs/performance.md); the reference is the last."""
    if device != "cpu":
        return (Choice("torch", "bfloat16"), Choice("torch", "float32"))
    native = ("bfloat16",) if _computes_in_bfloat16() else ()
    return (
        *(Choice("openvino", "bfloat16") for _ in native),
        Choice("openvino", "float32"),
        Choice("torch", "float32"),
    )


Parameters = Callable[[], Mapping[str, "torch.Tensor"]]
"""Loads a network's parameters; not called where the notes say all."""


@dataclass(frozen=True, slots=True)
class Measuring:
    """Where engines are measured, and what gets the messages.

    Attributes:
        device: `cpu` or `cuda`.
        notes: folder that remembers what was measured; nothing is measured twice on one machine.
        tell: given a sentence when a measurement begins and when it is over, for each takes seconds to minutes.
    """

    device: str
    notes: Path
    tell: Callable[[str], None] = lambda sentence: None


def best_choice(spec: ExtractorSpec, parameters: Parameters, offered: Sequence[Choice], measuring: Measuring) -> Choice:
    """The first engine that is faithful with these parameters; the last one if none is.

    Args:
        spec: the network, its weights resolved.
        parameters: gives its parameters.
        offered: what to choose from, the fastest first, as `candidates` gives it.
        measuring: where to measure.
    """
    for choice in offered[:-1]:
        if measured(spec, parameters, choice, measuring).enough:
            return choice
    return offered[-1]


def measured(spec: ExtractorSpec, parameters: Parameters, choice: Choice, measuring: Measuring) -> Fidelity:
    """How faithful an engine is with these parameters on this machine, from the notes where it is known."""
    device = measuring.device
    question = _question(spec, device, choice)
    note = measuring.notes / f"{key_of(question)[:24]}.json"
    if note.is_file():
        return Fidelity(**json.loads(note.read_text())["fidelity"])
    measuring.tell(f"measuring how close {spec.name} on {choice} comes to torch in float32, once on this machine")
    loaded = parameters()
    reference = _run(spec, loaded, device, Choice("torch", "float32"))
    found = fidelity(_run(spec, loaded, device, choice), reference)
    measuring.tell(f"{spec.name} on {choice}: {found}; it is {'' if found.enough else 'not '}taken")
    with writing_to(note.parent):
        write_text(note, json.dumps({**question, "fidelity": asdict(found)}, indent=2))
    return found


def _question(spec: ExtractorSpec, device: str, choice: Choice) -> dict[str, Any]:
    import openvino
    import torch

    variant = replace(spec, name=spec.name.partition("@")[0], engine=choice.engine, precision=choice.precision)
    if isinstance(variant, FaceExtractorSpec):
        version, variant = _VERSION, replace(variant, faces="")
    else:
        version, variant = _SPEECH_VERSION, _as_measured(variant)
    return {
        "version": version,
        "spec": plain(variant),
        "device": torch.cuda.get_device_name(device) if device != "cpu" else _processor(),
        "torch": torch.__version__,
        "openvino": openvino.__version__,
    }


def _run(spec: ExtractorSpec, parameters: Mapping[str, Any], device: str, choice: Choice) -> Output:
    from affstore.models.extractors.registry import build_face, build_sound

    variant = replace(spec, engine=choice.engine, precision=choice.precision)
    if isinstance(variant, FaceExtractorSpec):
        return build_face(variant, parameters, device).embed(_faces(variant.size_px))
    variant = _as_measured(variant)
    return build_sound(variant, parameters, device).embed(_speech(variant.rate_hz, variant.resampler))


def _as_measured(spec: SoundExtractorSpec) -> SoundExtractorSpec:
    """The network on each way of the speech by itself, wherever a run cuts; a class is then one of some seconds."""
    return replace(spec, segments=blocks(_SPEECH_S), align="time")


def _speech(rate_hz: int, resampler: str) -> NDArray[Any]:
    """Seconds of a speech of 1961 (public domain), as it is, quieter, in noise, and another part of it."""
    from importlib.resources import as_file, files

    from affstore.models.media.resample import FILTERS, resampled
    from affstore.models.media.sound import read_sound

    with as_file(files("affstore.models").joinpath(_SPEECH_FILE)) as path:
        own_hz = 48_000 if resampler in FILTERS else rate_hz
        sound = read_sound(path, own_hz)
    wave = np.empty(0, np.float32) if sound is None else sound.samples
    heard, other = wave[: _SPEECH_S * own_hz], wave[_SPEECH_S * own_hz : 2 * _SPEECH_S * own_hz]
    noise = np.random.Generator(np.random.PCG64(0)).standard_normal(len(heard), np.float32)
    ways = np.concatenate([heard, _QUIETER * heard, heard + _NOISE * noise, other]).astype(np.float32)
    return resampled(ways, own_hz, rate_hz, resampler) if resampler in FILTERS else ways


def _faces(size_px: int) -> NDArray[np.uint8]:
    """A hundred faces, each as it is, mirrored, nearer and darker: `(400, size_px, size_px, 3)`.

    They are small and grey, of Labeled Faces in the Wild (CC0, part of the scikit-image distribution).
    """
    from skimage import data

    from affstore.models.faces.crops import resized

    grey = np.rint(255 * data.lfw_subset()[:_FACES]).astype(np.uint8)  # type: ignore[no-untyped-call]
    faces = np.stack([resized(face, size_px) for face in np.repeat(grey[..., None], 3, axis=3)])
    edge = size_px // _CLOSER
    nearer = np.stack([resized(np.ascontiguousarray(face[edge:-edge, edge:-edge]), size_px) for face in faces])
    return np.concatenate([faces, faces[:, :, ::-1], nearer, (_DARKER * faces).astype(np.uint8)])


@cache
def _computes_in_bfloat16() -> bool:
    """Whether the processor does, rather than emulate it."""
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@cache
def _processor() -> str:
    import openvino

    return f"{platform.machine()} {openvino.Core().get_property('CPU', 'FULL_DEVICE_NAME')}"
