"""Take in videos and their annotations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from affstore import FeatureStore
from affstore.flows.commits import commit_finished, told
from affstore.flows.inputs import Inputs
from affstore.flows.stages import stage
from affstore.flows.watch import watching
from affstore.models.annotations import FoundAnnotation
from affstore.tasks.annotate import annotate
from affstore.tasks.arrivals import Arrival, Arrivals, Tries
from affstore.tasks.ingest import ingest as ingested
from affstore.tasks.ingest import ingest_video
from affstore.tasks.outcomes import Outcome
from affstore.tasks.specs import Bench


@stage("ingest")
def ingest(bench: Bench, inputs: Inputs, tries: Tries) -> list[Outcome]:
    """Every video's bytes, clock and labels into the store, one task a video."""
    files, unread = inputs.digests()
    watching().stage("ingest", len(inputs.refused) + len(inputs.videos))
    outcomes = [
        told(Outcome("ingest", refusal.file, "failed", refusal.reason, file=refusal.file))
        for refusal in (*inputs.refused, *unread)
    ]
    rounds = Arrivals(FeatureStore(bench.store_url), files, tries)
    while decided := rounds.next_round():
        became = _ingest(bench, decided)
        rounds.note(decided, [outcome.file for outcome in became if outcome.status in ("done", "cached")])
        outcomes += became
    return outcomes + _annotate(bench, inputs.annotations)


def _ingest(bench: Bench, found: Sequence[Arrival]) -> list[Outcome]:
    settled = [told(ingested(bench, one)) for one in found if one.verdict in ("known", "refused", "taken")]
    units = {one.file: (bench, one) for one in found if one.verdict in ("new", "alias", "moved", "unfit")}
    return settled + commit_finished(bench, ingest_video, units)


def _annotate(bench: Bench, found: Sequence[FoundAnnotation]) -> list[Outcome]:
    by_name: dict[str, list[FoundAnnotation]] = defaultdict(list)
    for annotation in found:
        by_name[annotation.name].append(annotation)
    watching().stage("annotate", len(by_name))
    units = {name: (bench, name, by_name[name]) for name in sorted(by_name)}
    return commit_finished(bench, annotate, units)
