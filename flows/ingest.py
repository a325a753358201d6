"""Take in videos and their annotations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from affstore import FeatureStore
from affstore.flows.commits import commit_finished, told
from affstore.flows.inputs import Inputs
from affstore.flows.run import Tries
from affstore.flows.stages import stage
from affstore.flows.watch import watching
from affstore.models.annotations import FoundAnnotation
from affstore.tasks.annotate import annotate
from affstore.tasks.arrivals import Arrival, arrivals
from affstore.tasks.ingest import ingest as ingested
from affstore.tasks.ingest import ingest_video
from affstore.tasks.outcomes import Outcome
from affstore.tasks.specs import Bench

_LABELS_A_COMMIT = 32


@stage("ingest")
def ingest(bench: Bench, inputs: Inputs, tries: Tries) -> list[Outcome]:
    """Every video's bytes, clock and labels into the store, one task a video."""
    found = arrivals(FeatureStore(bench.store_url), inputs.digests(), tries.replace_taken, tries.retry)
    watching().stage("ingest", len(found))
    # An alias is noted on a source that must be there first.
    first = [arrival for arrival in found if arrival.verdict not in ("alias", "moved")]
    outcomes = _ingest(bench, first)
    for arrival in found:
        if arrival not in first:  # one after the other: several may be of one source
            outcomes += _ingest(bench, [arrival])
    return outcomes + _annotate(bench, inputs.annotations)


def _ingest(bench: Bench, found: Sequence[Arrival]) -> list[Outcome]:
    settled = [told(ingested(bench, one)) for one in found if one.verdict in ("known", "refused", "taken")]
    units = {str(one.path): (bench, one) for one in found if one.verdict in ("new", "alias", "moved")}
    return settled + commit_finished(bench, ingest_video, units, group=4)


def _annotate(bench: Bench, found: Sequence[FoundAnnotation]) -> list[Outcome]:
    by_video: dict[str, list[FoundAnnotation]] = defaultdict(list)
    for annotation in found:
        by_video[annotation.video].append(annotation)
    watching().stage("annotate", len(by_video))
    units = {video: (bench, video, by_video[video]) for video in sorted(by_video)}
    return commit_finished(bench, annotate, units, group=_LABELS_A_COMMIT)
