"""Take in videos: a source is its bytes, with the clock of a full decode."""

from __future__ import annotations

from dataclasses import replace

from affstore.store.contract.errors import SourceError
from affstore.store.contract.names import check_name
from affstore.store.contract.records import Address, Artifact
from affstore.tasks.ingest.incoming_files import IncomingFile, still_there
from affstore.tasks.ingest.sources import place_of, quarantine_artifact, source_artifact
from affstore.tasks.outcomes import Outcome, postponed
from affstore.tasks.retries import raise_what_passes
from affstore.tasks.specs import WorkerContext
from affstore.tasks.task import task

_GROUP_BYTES = 2 << 20
"""Of how many bytes together short videos are taken in as one unit: some ten seconds of them."""


def _share(_context: WorkerContext, incoming: IncomingFile) -> float:
    try:
        return incoming.path.stat().st_size / _GROUP_BYTES
    except OSError:  # taking it in says what is wrong
        return 1.0


@task("ingest", "ingest {incoming.name}", share=_share)
def ingest_video(context: WorkerContext, incoming: IncomingFile) -> Outcome:
    """Store a video, unless it is in the store."""
    late = postponed(context, "ingest", incoming.name)
    return replace(late, file=incoming.file) if late else ingest(context, incoming)


def ingest(context: WorkerContext, incoming: IncomingFile) -> Outcome:
    """Store a video, unless it is in the store."""
    return replace(_decided(context, incoming), file=incoming.file)


def _decided(context: WorkerContext, incoming: IncomingFile) -> Outcome:
    if incoming.verdict == "known":
        return Outcome("ingest", incoming.name, "cached", "its bytes are in the store")
    if incoming.verdict == "refused":
        return Outcome("ingest", incoming.name, "quarantined", incoming.reason)
    if incoming.verdict in ("name_conflict", "forgotten"):
        return Outcome("ingest", incoming.name, "failed", incoming.reason)
    if incoming.verdict == "unfit":
        return _quarantine(incoming, incoming.reason)
    if incoming.verdict in ("alias", "moved"):
        return _note_alias(context, incoming)
    try:
        return _take_in(context, incoming)
    except SourceError as error:
        raise_what_passes(error)
        return _quarantine(incoming, str(error))


def _take_in(context: WorkerContext, incoming: IncomingFile) -> Outcome:
    from affstore.models.media.video import probe

    check_name(incoming.name)
    facts = probe(incoming.path)
    stored = context.store().find(Address("source", video=incoming.name))
    same = stored is not None and stored.attributes["sha256"] == incoming.sha256
    aliases = stored.attributes["aliases"] if stored is not None and same else ()
    artifact = source_artifact(incoming.name, incoming.path, incoming.sha256, facts, aliases)
    text = facts.complaint or f"{len(facts.clock)} frames"
    return _write(context, incoming, artifact, Outcome("ingest", incoming.name, "done", text, len(facts.clock)))


def _note_alias(context: WorkerContext, incoming: IncomingFile) -> Outcome:
    """Write down another name or place of known bytes; nothing is decoded and nothing becomes stale."""
    store = context.store()
    address = Address("source", video=incoming.stored_as)
    stored = store.get(address)
    aliases = set(stored.attributes["aliases"]) | ({incoming.name} if incoming.verdict == "alias" else set())
    location = stored.attributes["location"] if still_there(stored, incoming.path) else place_of(incoming.path)
    attributes = {**stored.attributes, "location": location, "aliases": sorted(aliases)}
    artifact = Artifact(address, stored.recipe, store.read(address), attributes, stored.parents, stored.made)
    text = f"the same bytes as '{incoming.stored_as}'" if incoming.verdict == "alias" else "the file has moved"
    return _write(context, incoming, artifact, Outcome("ingest", incoming.name, "cached", text))


def _write(context: WorkerContext, incoming: IncomingFile, artifact: Artifact, outcome: Outcome) -> Outcome:
    store = context.store()
    draft = store.draft(context.code, context.run_id)
    stored = store.find(artifact.address)
    if stored is not None and stored.attributes["sha256"] != incoming.sha256:
        # What was made of the old version would not fit the new one's frames; earlier snapshots keep it.
        for address in store.addresses(video=incoming.name):
            draft.remove(address)
    draft.put(artifact)
    for address in incoming.lifts:
        draft.remove(address)
    return replace(outcome, draft=draft)


def _quarantine(incoming: IncomingFile, reason: str) -> Outcome:
    note = quarantine_artifact("ingest", incoming.name, incoming.path, incoming.sha256, reason)
    return Outcome("ingest", incoming.name, "quarantined", reason, refused=note)
