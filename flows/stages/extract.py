"""Extract from every video what it still lacks, one job a video; those of short videos are done in groups."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from affstore.flows.commits import commit_finished, show_outcome
from affstore.flows.stage import performed, stage
from affstore.flows.watch import watching
from affstore.models.faces.crop_folder import CropFolder
from affstore.tasks.extract.jobs import VideoJob, jobs
from affstore.tasks.extract.videos import extract as extracted
from affstore.tasks.extract.videos import extract_video, keep_videos
from affstore.tasks.ingest.crop_assignment import match_crops_to_videos
from affstore.tasks.outcomes import Outcome
from affstore.tasks.planning.plan import plan
from affstore.tasks.specs import Profile, WorkerContext


@stage("extract")
def extract(
    context: WorkerContext,
    profile: Profile,
    retry: bool = False,
    crops: Sequence[CropFolder] = (),
    videos: Collection[str] | None = None,
) -> list[Outcome]:
    """Faces and embeddings of a store's videos, or of some; videos that lack nothing are one task, shown as Cached."""
    due, unmatched = due_jobs(context, profile, retry, crops)
    if videos is not None:
        due = [job for job in due if job.video in videos]
    watching().stage(
        "extract", len(due) + len(unmatched), sum(job.passing_frames for job in due if job.due and not job.refused)
    )
    whole = [show_outcome(extracted(context, job, profile)) for job in due if not job.due]
    if whole:
        performed(keep_videos, len(whole))
    units = {job.video: (context, job, profile) for job in due if job.due}
    return [*map(show_outcome, unmatched), *whole, *commit_finished(context, extract_video, units, context.uses_gpu)]


def due_jobs(
    context: WorkerContext, profile: Profile, retry: bool, crops: Sequence[CropFolder] = ()
) -> tuple[Sequence[VideoJob], list[Outcome]]:
    """Every video's job, the longest first, so that no long video is left to run alone at the end.

    Returns:
        The jobs; and an outcome for each crop folder that belongs to no video.
    """
    records = context.store().records()
    if retry:
        records = [record for record in records if record.address.family != "quarantine"]
    given = match_crops_to_videos(records, crops)
    found = jobs(records, profile, plan(records, profile, given), given)
    unmatched = [
        Outcome("extract", f"{folder.kind}/{folder.name}", "failed", reason) for folder, reason in given.unmatched
    ]
    return sorted(found, key=lambda job: (not job.due, -job.passing_frames, job.video)), unmatched
