"""The memory that a run will need: printed by `affstore plan`, and before `add` and `run` begin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from affstore.flows.runners.base import RunnerSpec
from affstore.tasks.extract.memory_estimate import MemoryNeed, VideoSize, due_part, faces_in, memory_need
from affstore.tasks.ingest.sources import place_of

if TYPE_CHECKING:
    from affstore.flows.inputs import Inputs
    from affstore.flows.planned import Planned
    from affstore.flows.request import Request
    from affstore.store.contract.records import Record
    from affstore.tasks.plan_rows import PlanRow
    from affstore.tasks.specs import Profile


def estimate_memory(request: Request, runner: RunnerSpec, planned: Planned) -> MemoryNeed:
    """What a run will need, from what its store lacks and what its inputs say of themselves."""
    context = request.context
    profile, sizes = work_of(request, planned)
    return memory_need(profile, context.weights, sizes, runner.parallelism(context.device))


def work_of(request: Request, planned: Planned) -> tuple[Profile, list[VideoSize]]:
    """The networks and the videos that something is due from in a run."""
    rows = planned.rows
    if not request.everything:
        places = {place_of(file.path) for file in request.inputs.videos}
        known = {r.address.video for r in planned.records if r.attributes.get("location") in places}
        known |= {video for _, video in planned.crops.folders} | {*request.videos}
        rows = [row for row in rows if row.address.video in known]
    return due_work(request.profile, planned.records, rows, request.inputs)


def due_work(
    profile: Profile, records: Sequence[Record], rows: Sequence[PlanRow], inputs: Inputs
) -> tuple[Profile, list[VideoSize]]:
    """The networks and the videos that something is due from.

    Args:
        profile: what is wanted of every video.
        records: of the store.
        rows: what the plan says of them.
        inputs: what a run would take in; of a video that the store does not have, its container is believed.
    """
    due = [
        row.address for row in rows if row.due and row.requested and row.address.family in ("face", "visual", "audio")
    ]
    videos = {address.video for address in due}
    faces = faces_in(records, everyone=profile.tracking.most_subjects == "all")
    sources = [record for record in records if record.address.family == "source"]
    here = {record.attributes["location"] for record in sources}
    stored = [VideoSize.of_record(record, faces) for record in sources if record.address.video in videos]
    new = [VideoSize.of_file(file.name, file.path) for file in inputs.videos if place_of(file.path) not in here]
    arriving = [size for size in new if size is not None]
    part = profile if arriving else due_part(profile, {address.producer for address in due})
    return part, [*stored, *arriving]
