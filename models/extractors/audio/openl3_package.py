"""OpenL3 by its authors' own package, with our parameters in it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affstore.models.before_tensorflow import import_triton
from affstore.models.extractors.audio.openl3_spec import HOW_TO_INSTALL, NETWORK, OpenL3Spec
from affstore.models.networks.spectrogram import Samples
from affstore.models.weights.architectures import check_layout
from affstore.store.contract.errors import SpecError

_NORM = ("weight", "bias", "running_mean", "running_var")
_CONVOLUTION = ("weight", "bias")
_BATCH = 32


class OpenL3Package:
    """The package `openl3`, which is not installed with affstore: its installation fetches weights from the internet.

    Its own weights are replaced by the spec's. Threads that call one take turns.

    Attributes:
        batch: windows a pass.
    """

    def __init__(self, spec: OpenL3Spec, parameters: Mapping[str, Any], device: str) -> None:
        if (device, spec.precision) != ("cpu", "float32"):
            raise SpecError(
                f"'{spec.name}' on the engine 'openl3' runs in float32 on the CPU; found {spec.precision} on {device}. "
                "The engine 'torch' runs elsewhere."
            )
        self.batch = _BATCH
        check_layout(spec.weights.name, parameters, NETWORK, 0)
        self._spec, self._package, self._turn = spec, _package(), threading.Lock()
        self._model = self._package.models.load_audio_embedding_model(
            spec.representation, spec.content, spec.width, frontend=spec.front_end
        )
        self._model.set_weights(list(_as_keras(parameters)))

    def __call__(self, windows: Samples) -> NDArray[np.float32]:
        """Windows `(batch, 48000)` to embeddings `(batch, width)`."""
        with self._turn:
            embedded, _ = self._package.get_audio_embedding(
                list(windows.astype(np.float64)),
                self._spec.rate_hz,
                model=self._model,
                input_repr=self._spec.representation,
                center=False,
                batch_size=len(windows),
                frontend=self._spec.front_end,
                verbose=False,
            )
        return np.concatenate(embedded).astype(np.float32)


def _package() -> Any:
    import_triton()
    try:
        import openl3
        import openl3.models
    except ImportError as error:
        raise SpecError(
            f"The engine 'openl3' is the package of that name, and it cannot be imported ({error}). {HOW_TO_INSTALL} "
            "Or use the engine 'torch'."
        ) from error
    return openl3


def _as_keras(parameters: Mapping[str, Any]) -> list[NDArray[np.float32]]:
    """The parameters in the order and the layout of the package's model."""
    from affstore.models.networks.openl3 import LAYERS

    arrays = []
    for layer in LAYERS:
        for kind in _NORM if f"{layer}.running_mean" in parameters else _CONVOLUTION:
            array = parameters[f"{layer}.{kind}"].numpy()
            arrays.append(array.transpose(2, 3, 1, 0) if array.ndim == 4 else array)
    return arrays
