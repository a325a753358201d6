"""Silero VAD at 16 kHz (Silero Team, MIT): a spectrum, four convolutions and an LSTM that goes on over the whole sound.

A vector is computed of 512 samples, 32 ms, and the 64 before them, and knows what came before by the LSTM's state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH = 128

_BINS = 129
_PAD = 64
State = tuple[Tensor, Tensor]


class SileroVad(nn.Module):
    """The network; layers are called as in the published file."""

    def __init__(self) -> None:
        super().__init__()
        self.stft_conv = nn.Conv1d(1, 2 * _BINS, 256, stride=128, bias=False)
        self.conv1 = nn.Conv1d(_BINS, 128, 3, padding=1)
        self.conv2 = nn.Conv1d(128, 64, 3, stride=2, padding=1)
        self.conv3 = nn.Conv1d(64, 64, 3, stride=2, padding=1)
        self.conv4 = nn.Conv1d(64, WIDTH, 3, padding=1)
        self.lstm_cell = nn.LSTMCell(WIDTH, WIDTH)
        self.final_conv = nn.Conv1d(WIDTH, 1, 1)

    def features(self, windows: Tensor) -> Tensor:
        """Windows with their context `(n, 576)` to what the LSTM sees of each, `(n, 128)`."""
        spectrum = self.stft_conv(functional.pad(windows[:, None], (0, _PAD), "reflect"))
        maps = (spectrum[:, :_BINS].square() + spectrum[:, _BINS:].square()).sqrt()
        for layer in cast("Sequence[nn.Module]", (self.conv1, self.conv2, self.conv3, self.conv4)):
            maps = functional.relu(layer(maps))
        return cast("Tensor", maps.squeeze(2))

    def forward(self, windows: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        """Consecutive windows `(n, 576)` to hidden states `(n, 128)`, logits `(n, 1)` and the state after them."""
        hidden = []
        for step in self.features(windows):
            state = self.lstm_cell(step[None], state)
            hidden.append(state[0])
        embedding = torch.cat(hidden)
        return embedding, self.final_conv(functional.relu(embedding)[..., None]).squeeze(2), state


def network(outputs: int) -> SileroVad:
    """The network; it has the one output."""
    return SileroVad()


def silence(device: Any) -> State:
    """The state before any sound."""
    return torch.zeros(1, WIDTH, device=device), torch.zeros(1, WIDTH, device=device)
