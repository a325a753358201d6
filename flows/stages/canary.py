"""Compute a few known videos again before anything else, and stop where their numbers are others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

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
        StoreError: a video's numbers are others, it is gone, or it could not be computed; the message says by how
            much, or why, and nothing else was computed.
    """
    producers = tuple(sorted({profile.detector.name} | {spec.name for spec in profile.extractors}))
    videos = canary_videos(context.store().records(), producers, count)
    if len(videos) < count:
        known = counted(len(videos), "video", "videos")
        watching().notice(f"The store has {known} by these networks, so no more were computed again than these.")
    watching().stage("canary", len(videos))
    units = {video: (context, video, producers) for video in videos}
    outcomes = commit_finished(context, recompute_video, units, context.uses_gpu)
    bad: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.status != "done":
            kind = _OTHERS if outcome.drifted else _GONE if outcome.status == "quarantined" else _NOT_COMPUTED
            bad[kind].append(outcome)
    if bad:
        raise StoreError(" ".join(_sentence(kind, of_kind, len(videos)) for kind, of_kind in bad.items()))
    return outcomes


def _sentence(kind: tuple[str, str], bad: Sequence[Outcome], of: int) -> str:
    found, remedy = kind
    reasons = " ".join(f"'{outcome.subject}': {outcome.reason.rstrip('.')}." for outcome in bad)
    return (
        f"{len(bad)} of {of} canary videos {found}, so nothing was computed. {reasons} {remedy}, or run without "
        "--canary."
    )


_OTHERS = (
    "do not give their stored numbers",
    "Find what changed here (driver, FFmpeg, packages: `affstore doctor`)",
)
_GONE = (
    "cannot be computed again",
    "Put back what is gone, or add it from where it is now with `affstore add`",
)
_NOT_COMPUTED = ("were not computed again", "Run it again once that is mended")
