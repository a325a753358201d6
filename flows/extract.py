"""Extract from every video what it still lacks, one job a video."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import flow

from affstore import FeatureStore
from affstore.flows.commits import commit_finished
from affstore.flows.watch import watching
from affstore.models.faces.crop_folder import CropFolder
from affstore.tasks.crop_plan import put_to_videos
from affstore.tasks.extract import extract_video
from affstore.tasks.jobs import VideoJob, jobs
from affstore.tasks.outcomes import Outcome
from affstore.tasks.planning import plan
from affstore.tasks.specs import Bench, Profile


@flow(name="extract", flow_run_name="extract {bench.run_id}", validate_parameters=False, persist_result=False)
def extract(bench: Bench, profile: Profile, retry: bool = False, crops: Sequence[CropFolder] = ()) -> list[Outcome]:
    """Faces and embeddings of every video in the store; what is there already is shown as Cached."""
    due, strangers = due_jobs(bench, profile, retry, crops)
    units = len(due) + len(strangers)
    watching().stage("extract", units, sum(job.passing_frames for job in due if job.due and not job.refused))
    for outcome in strangers:
        watching().outcome(outcome)
    futures = {job.video: extract_video.submit(bench, job, profile) for job in due}
    return [*strangers, *commit_finished(bench, "extract", futures)]


def due_jobs(
    bench: Bench, profile: Profile, retry: bool, crops: Sequence[CropFolder] = ()
) -> tuple[Sequence[VideoJob], list[Outcome]]:
    """Every video's job, the longest first, so that no long video is left to run alone at the end.

    Returns:
        The jobs; and an outcome for each crop folder that belongs to no video.
    """
    records = FeatureStore(bench.store_url).records()
    if retry:
        records = [record for record in records if record.address.family != "quarantine"]
    given = put_to_videos(records, crops)
    found = jobs(records, profile, plan(records, profile, given), given)
    strangers = [
        Outcome("extract", f"{folder.kind}/{folder.name}", "failed", reason) for folder, reason in given.strangers
    ]
    return sorted(found, key=lambda job: (not job.due, -job.passing_frames, job.video)), strangers
