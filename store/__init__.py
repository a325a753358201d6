"""The feature store: what artifacts are called, where they live, what they came from.

From a notebook::

    from store import FeatureStore, read_video

    features = FeatureStore("affstore-data")            # or FeatureStore(url, at="abaw6-v1")
    features_list = catalogue(features)                 # a polars frame, one row an artifact
    video = read_video(features, "12-24-1920x1080", "emotieffnet_b0")
    video.embedding, video.present, video.clock.starts_s
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from store.engine.catalogue import catalogue, content_digest
    from store.engine.feature_store import FeatureStore
    from store.engine.reading import AlignedEmbedding, read_clock, read_video
    from store.engine.windows import FrameWindows

__all__ = [
    "AlignedEmbedding",
    "FeatureStore",
    "FrameWindows",
    "catalogue",
    "content_digest",
    "read_clock",
    "read_video",
]

_WHERE = {
    "AlignedEmbedding": "store.engine.reading",
    "FeatureStore": "store.engine.feature_store",
    "FrameWindows": "store.engine.windows",
    "catalogue": "store.engine.catalogue",
    "content_digest": "store.engine.catalogue",
    "read_clock": "store.engine.reading",
    "read_video": "store.engine.reading",
}


def __getattr__(name: str) -> Any:
    """Import the engine on first use, so that the shared words stay light."""
    if name not in _WHERE:
        raise AttributeError(f"module 'store' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_WHERE[name]), name)
