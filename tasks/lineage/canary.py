"""Compute what a store has of a video again, to see whether this machine still gives the same numbers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from affstore.models.weights.folder import WeightsFolder
from affstore.store.contract.records import Record
from affstore.tasks.lineage.reproduce import reproduce
from affstore.tasks.outcomes import Outcome, Status
from affstore.tasks.specs import WorkerContext
from affstore.tasks.task import task

_ENDS: Mapping[str, Status] = {"other": "failed", "not computed": "quarantined"}


def canary_videos(records: Sequence[Record], producers: Collection[str], count: int) -> list[str]:
    """The same few videos each time, whatever was added since: those that have been in the store for longest.

    Args:
        records: of the store.
        producers: detectors and networks of which a video must have something.
        count: how many.
    """
    computed = {one.address.video for one in records if _is_of(one, producers)}
    sources = [one for one in records if one.address.family == "source" and one.address.video in computed]
    return [one.address.video for one in sorted(sources, key=lambda one: (one.made_at, one.address.video))[:count]]


def _is_of(record: Record, producers: Collection[str]) -> bool:
    return record.address.family in ("face", "visual", "audio") and record.address.producer in producers


@task("canary", "canary {video}")
def recompute_video(context: WorkerContext, video: str, producers: Collection[str]) -> Outcome:
    """Compute a video's faces and embeddings again, as their records say, and compare.

    The outcome is `failed` and `drifted` where the numbers are others, and `quarantined` where there is nothing to
    compute them from.
    """
    store = context.store()
    addresses = [one.address for one in store.records(video=video) if _is_of(one, producers)]
    found = list(reproduce(store, addresses, WeightsFolder(context.weights), context.device))
    for verdict in _ENDS:
        wrong = [f"{one.path}: {one.reason}" for one in found if one.verdict == verdict]
        if wrong:
            return Outcome("canary", video, _ENDS[verdict], " ".join(wrong), drifted=verdict == "other")
    notes = [f"{one.path}: {one.reason}" for one in found if one.reason]
    return Outcome("canary", video, "done", " ".join([f"{len(found)} artifacts have the stored numbers", *notes]))
