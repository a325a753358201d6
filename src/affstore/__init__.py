"""A batch feature store for video of human behaviour.

From a notebook::

    import affstore

    store = affstore.FeatureStore("affstore-data")      # or FeatureStore(url, at="a tag or a snapshot")
    affstore.catalogue(store)                           # a polars frame, one row an artifact
    video = affstore.read_video(store, "video2", "emotieffnet_b0")
    video.embedding, video.present, video.clock.starts_s   # NaN where there is no face
    affstore.open_xarray(store, "video2", "emotieffnet_b0")["logits"].sel({"class": "Happiness"})
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from affstore.store.engine.catalogue import catalogue, content_digest
    from affstore.store.engine.datasets import open_xarray
    from affstore.store.engine.feature_store import FeatureStore
    from affstore.store.engine.reading import AlignedEmbedding, read_clock, read_video
    from affstore.store.engine.windows import FrameWindows

__all__ = [
    "AlignedEmbedding",
    "FeatureStore",
    "FrameWindows",
    "catalogue",
    "content_digest",
    "open_xarray",
    "read_clock",
    "read_video",
]

_MODULES = {
    "AlignedEmbedding": "affstore.store.engine.reading",
    "FeatureStore": "affstore.store.engine.feature_store",
    "FrameWindows": "affstore.store.engine.windows",
    "catalogue": "affstore.store.engine.catalogue",
    "content_digest": "affstore.store.engine.catalogue",
    "open_xarray": "affstore.store.engine.datasets",
    "read_clock": "affstore.store.engine.reading",
    "read_video": "affstore.store.engine.reading",
}


def __getattr__(name: str) -> Any:
    """Import the engine on first use, so that `import affstore` stays light."""
    if name not in _MODULES:
        raise AttributeError(f"module 'affstore' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_MODULES[name]), name)
