"""Apply the fitted heads to every video."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from affstore.flows.commits import commit_finished
from affstore.flows.stage import stage
from affstore.flows.watch import watching
from affstore.tasks.outcomes import Outcome
from affstore.tasks.predict.videos import predict_video
from affstore.tasks.specs import HeadRun, WorkerContext


@stage("predict")
def predict(context: WorkerContext, heads: Sequence[HeadRun], among: Collection[str] | None = None) -> list[Outcome]:
    """One task a video, for all heads; for every video of the store, or for some."""
    videos = [address.video for address in context.store().addresses("source")]
    videos = videos if among is None else [video for video in videos if video in among]
    watching().stage("predict", len(videos))
    units = {video: (context, video, tuple(heads)) for video in videos}
    return commit_finished(context, predict_video, units)
