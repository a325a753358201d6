"""Apply the fitted heads to every video."""

from __future__ import annotations

from collections.abc import Sequence

from affstore import FeatureStore
from affstore.flows.commits import commit_finished
from affstore.flows.stages import stage
from affstore.flows.watch import watching
from affstore.tasks.outcomes import Outcome
from affstore.tasks.predict import predict_video
from affstore.tasks.specs import Bench, ExperimentSpec


@stage("predict")
def predict(bench: Bench, experiments: Sequence[ExperimentSpec]) -> list[Outcome]:
    """One task a video, for all experiments."""
    videos = [address.video for address in FeatureStore(bench.store_url).addresses("source")]
    watching().stage("predict", len(videos))
    units = {video: (bench, video, tuple(experiments)) for video in videos}
    return commit_finished(bench, predict_video, units)
