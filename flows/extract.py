"""Extract from every video what it still lacks, one job a video."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import flow

from flows.commits import commit_finished
from flows.watch import watching
from store import FeatureStore
from tasks.extract import extract_video
from tasks.outcomes import Outcome
from tasks.planning import VideoJob, jobs, plan
from tasks.specs import Bench, Profile


@flow(name="extract", flow_run_name="extract {bench.run_id}", validate_parameters=False, persist_result=False)
def extract(bench: Bench, profile: Profile, retry: bool = False) -> list[Outcome]:
    """Faces and embeddings of every video in the store; what is there already is shown as Cached."""
    due = due_jobs(bench, profile, retry)
    watching().stage("extract", len(due), sum(job.frames for job in due if job.due and not job.refused))
    futures = {job.video: extract_video.submit(bench, job, profile) for job in due}
    return commit_finished(bench, "extract", futures)


def due_jobs(bench: Bench, profile: Profile, retry: bool) -> Sequence[VideoJob]:
    """Every video's job, the longest first, so that no long video is left to run alone at the end."""
    records = FeatureStore(bench.store_url).records()
    if retry:
        records = [record for record in records if record.address.family != "quarantine"]
    found = jobs(records, profile, plan(records, profile))
    return sorted(found, key=lambda job: (not job.due, -job.frames, job.video))
