"""Write silero.npz: what the package silero-vad itself says of a generated sound, window by window.

The wheel's safetensors file holds other parameters than its TorchScript file (snakers4/silero-vad issue 768); affstore
reads the former, and the package runs it by its model on tinygrad, so that is what is asked here.

Run in an environment of its own that has silero-vad 6.2.3, torch, tinygrad 0.14 and clang:
`DEV=CPU python tests/references/make_silero.py`. With a 16 kHz WAV as an argument, writes `<name>.npz` of that sound
into the current folder instead.
"""

from __future__ import annotations

import sys
import wave
from importlib.resources import files
from pathlib import Path

import numpy as np
from silero_vad.tinygrad_model import TinySileroVAD
from tinygrad import Tensor
from tinygrad.nn.state import load_state_dict, safe_load

RATE_HZ, WINDOW, CONTEXT = 16_000, 512, 64


def sound() -> np.ndarray:
    """Fifteen seconds: voiced syllables of changing vowels, a hum, noise, silence."""
    random = np.random.default_rng(3)
    time_s = np.arange(15 * RATE_HZ) / RATE_HZ
    phase = 2 * np.pi * np.cumsum(120 + 25 * np.sin(2 * np.pi * 0.7 * time_s)) / RATE_HZ
    voiced = sum(np.sin(k * phase) * np.exp(-(((k * 120 - 700) / 400) ** 2)) for k in range(1, 25))
    voiced += 0.6 * sum(np.sin(k * phase) * np.exp(-(((k * 120 - 1800) / 300) ** 2)) for k in range(1, 25))
    loud = np.clip(np.sin(2 * np.pi * 2.3 * time_s), 0, 1) * ((time_s > 2) & (time_s < 9))
    hum = 0.1 * np.sin(2 * np.pi * 50 * time_s) * (time_s > 11)
    noise = random.standard_normal(len(time_s)) * np.where(time_s < 13, 0.002, 0)
    return (0.15 * voiced * loud + hum + noise)[: 15 * RATE_HZ - 300].astype(np.float32)


def probabilities(samples: np.ndarray) -> np.ndarray:
    """As the package's own model of these weights computes them: see the example in its `tinygrad_model.py`."""
    model = TinySileroVAD()
    load_state_dict(model, safe_load(files("silero_vad.data") / "silero_vad_16k.safetensors"), verbose=False)
    padded = np.pad(samples, (CONTEXT, -len(samples) % WINDOW))
    outputs, state = [], None
    for start in range(CONTEXT, len(padded), WINDOW):
        output, state = model(Tensor(padded[None, start - CONTEXT : start + WINDOW]), state)
        outputs.append(output.numpy().item())
        state = Tensor(state.numpy())
    return np.array(outputs, np.float32)


def main() -> None:
    """Compute and write."""
    if len(sys.argv) > 1:
        with wave.open(sys.argv[1]) as file:
            samples = np.frombuffer(file.readframes(-1), np.int16).astype(np.float32) / 32768
        target = Path(f"{Path(sys.argv[1]).stem}.npz")
    else:
        samples, target = sound(), Path(__file__).with_name("silero.npz")
    scaled = np.rint(samples * 32767).astype(np.int16)
    heard = scaled.astype(np.float32) / 32767
    np.savez_compressed(target, samples=scaled, probabilities=probabilities(heard))


main()
