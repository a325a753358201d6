"""Which artifacts are exported: those of some families, videos and networks."""

from __future__ import annotations

from collections.abc import Sequence

from affstore.store.contract.errors import NotFoundError
from affstore.store.contract.names import video_name
from affstore.store.contract.records import Record
from affstore.store.contract.schema import family
from affstore.store.engine.feature_store import FeatureStore
from affstore.store.engine.reading import video_names

_OF_NETWORKS = ("visual", "audio")


def selected(
    store: FeatureStore, families: Sequence[str] = (), videos: Sequence[str] = (), extractors: Sequence[str] = ()
) -> list[Record]:
    """The artifacts that are meant, in the order of their addresses.

    Args:
        store: where they are.
        families: all of them if empty.
        videos: by their names or aliases; all of them, and what is of no video, if empty.
        extractors: of the networks' outputs only those by these; all of them if empty. Other families are not of
            networks, and are as they are.

    Raises:
        UnknownNameError: there is no such family; the message suggests the nearest.
        NotFoundError: the store has no such video or network; likewise.
    """
    for name in families:
        family(name)
    called = video_names(store) if videos else {}
    for video in videos:
        if video_name(video) not in called:
            raise NotFoundError.of(store.url, "video", video, called, "`affstore status` lists its videos.")
    known = {one.producer for one in store.addresses(*_OF_NETWORKS)} if extractors else set()
    for extractor in extractors:
        if extractor not in known:
            raise NotFoundError.of(store.url, "network", extractor, known, "`affstore status` lists what it has.")
    meant = {called[video_name(video)] for video in videos}
    return store.find_all(
        one
        for one in store.addresses(*families)
        if (not videos or one.video in meant)
        and (not extractors or one.family not in _OF_NETWORKS or one.producer in extractors)
    )
