"""Take in videos and their annotations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from affstore.flows.commits import commit_finished, show_outcome
from affstore.flows.inputs import Inputs, without
from affstore.flows.stage import stage
from affstore.flows.watch import watching
from affstore.models.labels.base import LabelFile
from affstore.store.contract.names import without_suffix
from affstore.store.engine.reading import video_names
from affstore.tasks.ingest.annotations import annotate, stored_labels, withdraw, withdrawn_labels
from affstore.tasks.ingest.incoming_files import IncomingFile, IncomingFiles, IngestOptions
from affstore.tasks.ingest.videos import ingest as ingested
from affstore.tasks.ingest.videos import ingest_video
from affstore.tasks.outcomes import Outcome
from affstore.tasks.specs import WorkerContext

_OVER = ("done", "cached", "quarantined")


@stage("ingest")
def ingest(context: WorkerContext, inputs: Inputs, options: IngestOptions) -> list[Outcome]:
    """Every video's bytes, clock and labels into the store, one task a video; those of small files are done in groups.

    Labels that files withdrew leave it.
    """
    files, unread = inputs.digests(options.rehash)
    watching().stage("ingest", len(inputs.refused) + len(inputs.videos))
    outcomes = [
        show_outcome(Outcome("ingest", refusal.file, "failed", refusal.reason, file=refusal.file))
        for refusal in (*inputs.refused, *unread)
    ]
    rounds = IncomingFiles(context.store(), files, options)
    while decided := rounds.next_round():
        became = _ingest(context, decided)
        over = {status: [one.file for one in became if one.status == status] for status in _OVER}
        rounds.note(decided, [*over["done"], *over["cached"]], over["quarantined"])
        outcomes += became
    waiting = {outcome.subject for outcome in outcomes if outcome.status == "postponed"}
    outcomes += _annotate(context, without(inputs, waiting).annotations)
    return outcomes if inputs.is_part else outcomes + _withdraw(context, inputs)


def _ingest(context: WorkerContext, found: Sequence[IncomingFile]) -> list[Outcome]:
    written = ("new", "alias", "moved", "unfit")
    unchanged = [show_outcome(ingested(context, one)) for one in found if one.verdict not in written]
    units = {one.file: (context, one) for one in found if one.verdict in written}
    return unchanged + commit_finished(context, ingest_video, units)


def _annotate(context: WorkerContext, found: Sequence[LabelFile]) -> list[Outcome]:
    by_name: dict[str, list[LabelFile]] = defaultdict(list)
    store = context.store()
    names = video_names(store)
    for annotation in found:
        by_name[without_suffix(annotation.name, names)].append(annotation)
    watching().stage("annotate", len(by_name))
    stored = {name: stored_labels(store, name, by_name[name]) for name in sorted(by_name)}
    units = {name: (context, name, by_name[name]) for name, outcome in stored.items() if outcome is None}
    unchanged = [show_outcome(outcome) for outcome in stored.values() if outcome is not None]
    return unchanged + commit_finished(context, annotate, units)


def _withdraw(context: WorkerContext, inputs: Inputs) -> list[Outcome]:
    """Remove the labels that files had of a video and have no more, so that no head goes on training on them."""
    withdrawn = withdrawn_labels(context.store(), inputs.annotations, inputs.test_labels)
    units = {video: (context, video, addresses) for video, addresses in sorted(withdrawn.items())}
    if units:
        watching().stage("annotate", len(units))
    return commit_finished(context, withdraw, units) if units else []
