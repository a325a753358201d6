"""Compute a few known videos again before anything else, and stop where their numbers are others."""

from __future__ import annotations

from affstore.flows.commits import commit_finished
from affstore.flows.stage import stage
from affstore.flows.watch import watching
from affstore.store.contract.errors import StoreError
from affstore.store.contract.printable import counted
from affstore.tasks.lineage.canary import canary_videos, recompute_video
from affstore.tasks.outcomes import Outcome
from affstore.tasks.specs import Profile, WorkerContext


@stage("canary")
def canary(context: WorkerContext, profile: Profile, count: int) -> list[Outcome]:
    """One task a video, where the run's work is done too.

    Raises:
        StoreError: a video's numbers are others, or it is gone; the message says by how much, and nothing was computed.
    """
    producers = tuple(sorted({profile.detector.name} | {spec.name for spec in profile.extractors}))
    videos = canary_videos(context.store().records(), producers, count)
    if len(videos) < count:
        known = counted(len(videos), "video", "videos")
        watching().notice(f"The store has {known} by these networks, so no more were computed again than these.")
    watching().stage("canary", len(videos))
    units = {video: (context, video, producers) for video in videos}
    outcomes = commit_finished(context, recompute_video, units, context.uses_gpu)
    bad = [outcome for outcome in outcomes if outcome.status != "done"]
    if bad:
        gone = all(outcome.status == "quarantined" for outcome in bad)
        found, remedy = _GONE if gone else _OTHERS
        reasons = " ".join(f"'{outcome.subject}': {outcome.reason}" for outcome in bad)
        raise StoreError(
            f"{len(bad)} of {len(videos)} canary videos {found}, so nothing was computed. {reasons} {remedy}, or run "
            "without --canary."
        )
    return outcomes


_OTHERS = (
    "do not give their stored numbers",
    "Find what changed here (driver, FFmpeg, packages: `affstore doctor`)",
)
_GONE = (
    "cannot be computed again",
    "Put back what is gone, or add it from where it is now with `affstore add`",
)
