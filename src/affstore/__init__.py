"""A batch feature store for video of human behaviour.

From a notebook beside a store that `affstore add` or `affstore run` made:

>>> import affstore
>>> store = affstore.FeatureStore("affstore-data")  # or at="a tag or a snapshot"
>>> affstore.catalogue(store).select("family", "producer", "video", "frames").rows()[-1]
('visual', 'emotieffnet_b0', 'interview', 40)
>>> video = affstore.read_video(store, "interview", "emotieffnet_b0")
>>> video.embedding.shape
(40, 1280)
>>> frames = affstore.read_frames(store, "interview", "mlp", "label/expr")
>>> frames.filter(frames["mlp.prediction"] != frames["label.expr"]).height
30

What is exported: `FeatureStore`, `catalogue`, `content_digest`; `read_video` with its `AlignedEmbedding`,
`read_labels` with its `AlignedLabels`, `read_predictions` with its `AlignedPrediction`, `read_clock`; `read_frames` and
`open_xarray`, which give tables; `FrameWindows` with its `WindowSpec`; and `AffstoreError`, which every error of ours
is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from affstore.store.contract.errors import AffstoreError
    from affstore.store.contract.windows import WindowSpec
    from affstore.store.engine.catalogue import catalogue, content_digest
    from affstore.store.engine.datasets import open_xarray
    from affstore.store.engine.feature_store import FeatureStore
    from affstore.store.engine.frames import read_frames
    from affstore.store.engine.label_reading import AlignedLabels, AlignedPrediction, read_labels, read_predictions
    from affstore.store.engine.reading import AlignedEmbedding, read_clock, read_video
    from affstore.store.engine.windows import FrameWindows

_MODULES = {
    "AffstoreError": "affstore.store.contract.errors",
    "AlignedEmbedding": "affstore.store.engine.reading",
    "AlignedLabels": "affstore.store.engine.label_reading",
    "AlignedPrediction": "affstore.store.engine.label_reading",
    "FeatureStore": "affstore.store.engine.feature_store",
    "FrameWindows": "affstore.store.engine.windows",
    "WindowSpec": "affstore.store.contract.windows",
    "catalogue": "affstore.store.engine.catalogue",
    "content_digest": "affstore.store.engine.catalogue",
    "open_xarray": "affstore.store.engine.datasets",
    "read_clock": "affstore.store.engine.reading",
    "read_frames": "affstore.store.engine.frames",
    "read_labels": "affstore.store.engine.label_reading",
    "read_predictions": "affstore.store.engine.label_reading",
    "read_video": "affstore.store.engine.reading",
}

__all__ = [
    "AffstoreError",
    "AlignedEmbedding",
    "AlignedLabels",
    "AlignedPrediction",
    "FeatureStore",
    "FrameWindows",
    "WindowSpec",
    "catalogue",
    "content_digest",
    "open_xarray",
    "read_clock",
    "read_frames",
    "read_labels",
    "read_predictions",
    "read_video",
]


def __getattr__(name: str) -> Any:
    """Import the engine on first use, so that `import affstore` stays light."""
    if name not in _MODULES:
        raise AttributeError(f"module 'affstore' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    """What tab completion offers."""
    return sorted(__all__)
