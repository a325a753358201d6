"""A batch feature store for video of human behaviour.

From a notebook beside a store that `affstore add` or `affstore run` made:

>>> import affstore
>>> store = affstore.FeatureStore("affstore-data")  # or at="a tag or a snapshot"
>>> affstore.catalogue(store).select("family", "producer", "video", "frames").rows()
[('source', '', 'interview', 40), ('visual', 'emotieffnet_b0', 'interview', 40)]
>>> video = affstore.read_video(store, "interview", "emotieffnet_b0")
>>> video.embedding.shape
(40, 1280)

What is exported: `FeatureStore`, `catalogue`, `content_digest`, `read_video` with its `AlignedEmbedding`, `read_clock`,
`open_xarray`, `FrameWindows` with its `WindowSpec`, and `AffstoreError`, which every error of ours is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from affstore.store.contract.errors import AffstoreError
    from affstore.store.contract.windows import WindowSpec
    from affstore.store.engine.catalogue import catalogue, content_digest
    from affstore.store.engine.datasets import open_xarray
    from affstore.store.engine.feature_store import FeatureStore
    from affstore.store.engine.reading import AlignedEmbedding, read_clock, read_video
    from affstore.store.engine.windows import FrameWindows

_MODULES = {
    "AffstoreError": "affstore.store.contract.errors",
    "AlignedEmbedding": "affstore.store.engine.reading",
    "FeatureStore": "affstore.store.engine.feature_store",
    "FrameWindows": "affstore.store.engine.windows",
    "WindowSpec": "affstore.store.contract.windows",
    "catalogue": "affstore.store.engine.catalogue",
    "content_digest": "affstore.store.engine.catalogue",
    "open_xarray": "affstore.store.engine.datasets",
    "read_clock": "affstore.store.engine.reading",
    "read_video": "affstore.store.engine.reading",
}

__all__ = [
    "AffstoreError",
    "AlignedEmbedding",
    "FeatureStore",
    "FrameWindows",
    "WindowSpec",
    "catalogue",
    "content_digest",
    "open_xarray",
    "read_clock",
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
