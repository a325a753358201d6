"""Take in videos: a source is its bytes, with the clock of a full decode."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from affstore import FeatureStore
from affstore.store.contract.errors import SourceError
from affstore.store.contract.names import check_name
from affstore.store.contract.records import Address, Artifact
from affstore.tasks.arrivals import Arrival
from affstore.tasks.outcomes import Outcome, as_state
from affstore.tasks.sources import place_of, quarantine_artifact, source_artifact
from affstore.tasks.specs import Bench


@task(
    name="ingest", task_run_name="ingest {arrival.name}", cache_policy=NO_CACHE, persist_result=False,
)  # fmt: skip
def ingest_video(bench: Bench, arrival: Arrival) -> State[Any]:
    """See to it that a video is in the store; say what became of it."""
    return as_state(ingest(bench, arrival))


def ingest(bench: Bench, arrival: Arrival) -> Outcome:
    """The body of `ingest_video`, for those without Prefect."""
    return replace(_decided(bench, arrival), file=arrival.file)


def _decided(bench: Bench, arrival: Arrival) -> Outcome:
    if arrival.verdict == "known":
        return Outcome("ingest", arrival.name, "cached", "its bytes are in the store")
    if arrival.verdict == "refused":
        return Outcome("ingest", arrival.name, "quarantined", arrival.reason)
    if arrival.verdict == "taken":
        return Outcome("ingest", arrival.name, "failed", arrival.reason)
    if arrival.verdict == "unfit":
        return _quarantine(arrival, arrival.reason)
    if arrival.verdict in ("alias", "moved"):
        return _note_alias(bench, arrival)
    try:
        return _take_in(bench, arrival)
    except SourceError as error:
        return _quarantine(arrival, str(error))


def _take_in(bench: Bench, arrival: Arrival) -> Outcome:
    from affstore.models.media.video import probe

    check_name(arrival.name)
    facts = probe(arrival.path)
    held = FeatureStore(bench.store_url).find(Address("source", video=arrival.name))
    same = held is not None and held.attributes["sha256"] == arrival.sha256
    aliases = held.attributes["aliases"] if held is not None and same else ()
    artifact = source_artifact(arrival.name, arrival.path, arrival.sha256, facts, aliases)
    said = facts.complaint or f"{len(facts.clock)} frames"
    return _write(bench, arrival, artifact, Outcome("ingest", arrival.name, "done", said, len(facts.clock)))


def _note_alias(bench: Bench, arrival: Arrival) -> Outcome:
    """Write down another name or place of known bytes; nothing is decoded and nothing becomes stale."""
    store = FeatureStore(bench.store_url)
    address = Address("source", video=arrival.held_as)
    held = store.get(address)
    aliases = set(held.attributes["aliases"]) | ({arrival.name} if arrival.verdict == "alias" else set())
    gone = not Path(held.attributes["location"]).is_file()
    location = place_of(arrival.path) if gone else held.attributes["location"]
    attributes = {**held.attributes, "location": location, "aliases": sorted(aliases)}
    artifact = Artifact(address, held.recipe, store.read(address), attributes, held.parents, held.made)
    said = f"the same bytes as '{arrival.held_as}'" if arrival.verdict == "alias" else "the file has moved"
    return _write(bench, arrival, artifact, Outcome("ingest", arrival.name, "cached", said))


def _write(bench: Bench, arrival: Arrival, artifact: Artifact, outcome: Outcome) -> Outcome:
    store = FeatureStore(bench.store_url)
    draft = store.draft(bench.code, bench.run_id)
    held = store.find(artifact.address)
    if held is not None and held.attributes["sha256"] != arrival.sha256:
        # What was made of the old version would not fit the new one's frames; earlier snapshots keep it.
        for address in store.addresses(video=arrival.name):
            draft.remove(address)
    draft.put(artifact)
    for address in arrival.lifts:
        draft.remove(address)
    return replace(outcome, draft=draft)


def _quarantine(arrival: Arrival, reason: str) -> Outcome:
    note = quarantine_artifact("ingest", arrival.name, arrival.path, arrival.sha256, reason)
    return Outcome("ingest", arrival.name, "quarantined", reason, refused=note)
