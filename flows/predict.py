"""Apply the fitted heads to every video."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import flow

from affstore import FeatureStore
from affstore.flows.commits import commit_finished
from affstore.flows.watch import watching
from affstore.tasks.outcomes import Outcome
from affstore.tasks.predict import predict_video
from affstore.tasks.specs import Bench, ExperimentSpec

_VIDEOS_A_COMMIT = 16


@flow(name="predict", flow_run_name="predict {bench.run_id}", validate_parameters=False, persist_result=False)
def predict(bench: Bench, experiments: Sequence[ExperimentSpec]) -> list[Outcome]:
    """One task a video, for all experiments."""
    videos = [address.video for address in FeatureStore(bench.store_url).addresses("source")]
    watching().stage("predict", len(videos))
    futures = {video: predict_video.submit(bench, video, tuple(experiments)) for video in videos}
    return commit_finished(bench, "predict", futures, group=_VIDEOS_A_COMMIT)
