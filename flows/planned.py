"""The plan of a run: what its store has and lacks before it begins, looked up once for all who ask."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from affstore.tasks.ingest.crop_assignment import CropAssignment, match_crops_to_videos
from affstore.tasks.planning.plan import plan

if TYPE_CHECKING:
    from affstore import FeatureStore
    from affstore.flows.request import Request
    from affstore.models.faces.crop_folder import CropFolder
    from affstore.store.contract.records import Record
    from affstore.tasks.plan_rows import PlanRow
    from affstore.tasks.specs import Profile


@dataclass(frozen=True, slots=True)
class Planned:
    """What the store has of every video.

    Attributes:
        store: in the state that is compared.
        records: of the store.
        crops: the run's crop folders.
        rows: what the plan says of the videos' features.
    """

    store: FeatureStore
    records: Sequence[Record]
    crops: CropAssignment
    rows: Sequence[PlanRow]

    @classmethod
    def of(cls, request: Request) -> Planned:
        """Plan a run on its store as it is now.

        Raises:
            StoreError: the store is damaged.
        """
        context = request.context
        return cls.on(context.store(), request.profile, request.inputs.crops, context.device)

    @classmethod
    def on(cls, store: FeatureStore, profile: Profile, crops: Iterable[CropFolder], device: str) -> Planned:
        """Plan what a profile wants of every video of a store, with the crop folders that a run brings."""
        records = store.records()
        given = match_crops_to_videos(records, crops)
        return cls(store, records, given, plan(records, profile, given, device))


def plan_rows(request: Request, planned: Planned) -> Iterator[PlanRow]:
    """The plan's rows for all that a run would do: what is due and requested once, and first what is known quickly."""
    from affstore.tasks.ingest.incoming_files import incoming_files
    from affstore.tasks.planning.head_runs import plan_heads, plan_predictions, plan_with
    from affstore.tasks.planning.incoming_files import arrival_rows, named_videos, unmatched_crop_rows, withdrawn_rows

    store, inputs = planned.store, request.inputs
    known = {*planned.rows}
    if request.everything:
        yield from planned.rows
    # Of all other videos, what a run of some does not extract may be lacking for predictions.
    wanted = (plan_with if request.everything else plan_heads)(store, planned.rows, request.heads_on(store))
    yield from (row for row in wanted if row not in known)
    arriving = incoming_files(store, inputs.digests(request.options.rehash)[0], request.options)
    if not request.everything:
        named = named_videos(arriving, planned.crops) | {*request.videos}
        yield from (row for row in planned.rows if row.address.video in named)
        yield from plan_predictions(store, request.fitted_heads, named)
    yield from arrival_rows(store, arriving, inputs.annotations, told_of_refused=request.everything)
    if not inputs.is_part:
        yield from withdrawn_rows(store, inputs.annotations, inputs.test_labels)
    yield from unmatched_crop_rows(planned.crops, arriving)
