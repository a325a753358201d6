"""A store's lineage as OpenLineage events, for catalogues that collect them: into a file, or to a server.

A job is what one producer of a family did in one run, and a dataset all that a producer made of a family; an event a
video would be thousands, and would carry its name to a server that cannot forget it.
"""

from __future__ import annotations

import datetime
import json
import os
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from affstore import FeatureStore
from affstore.store.contract.errors import NotFoundError, SpecError, StoreUnavailableError
from affstore.store.contract.files import write_text
from affstore.store.contract.keys import key_of
from affstore.store.contract.records import Address, Record
from affstore.store.contract.schema import address_of, family
from affstore.store.engine.places import is_local, local_folder

_SPEC = "https://openlineage.io/spec"
_EVENT = f"{_SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent"
_PRODUCER = "urn:affstore:openlineage:1"
_ENDPOINT = "/api/v1/lineage"
"""Where servers take events, if an address names no other place."""

_TIMEOUT_S = 30
_IDS = uuid.UUID("6f7d1f6e-6e0f-5c3c-9e0d-0b8f3a2d9a11")
"""The namespace of ids of runs, so that the same run has the same id in every export."""


@dataclass(frozen=True, slots=True)
class _Job:
    """What one producer of a family did in one run."""

    run_id: str
    place: Address
    records: Sequence[Record]


def events(store: FeatureStore, run_id: str = "") -> list[dict[str, Any]]:
    """A START and a COMPLETE event for every job, in the order of time.

    Args:
        store: an open store.
        run_id: only that run's jobs; all of them without it.

    Raises:
        NotFoundError: the store has nothing of that run.
    """
    found: dict[tuple[str, Address], list[Record]] = {}
    records = store.records()
    for record in records:
        if record.address.family != "quarantine" and run_id in ("", record.run_id):
            found.setdefault((record.run_id, record.address.place), []).append(record)
    if run_id and not found:
        runs = {record.run_id for record in records}
        raise NotFoundError.of(store.url, "artifact of a run", run_id, runs, "`affstore log` lists runs.")
    frames = {record.address: int(record.attributes.get("frames") or 0) for record in records}
    jobs = [_Job(run, place, own) for (run, place), own in found.items()]
    both = [event for job in jobs for event in _events_of(store, job, frames)]
    return sorted(both, key=lambda event: (event["eventTime"], event["eventType"] != "START", event["job"]["name"]))


def give_events(found: Sequence[Any], to: str, dry_run: bool = False) -> None:
    """Write events into a file, or post them to a server.

    Args:
        found: the events.
        to: a file, or an address of http or https.
        dry_run: only see that it is one of these.

    Raises:
        SpecError: it is neither.
        StoreUnavailableError: see `send_events`.
    """
    scheme, beyond, _ = to.partition("://")
    if beyond and (scheme.lower() not in ("http", "https") or not _host_of(to)):
        raise SpecError(f"OpenLineage events cannot be given to '{to}': name a file, or http(s)://HOST.")
    if not dry_run:
        send_events(found, to) if beyond else write_events(found, Path(to))


def _host_of(url: str) -> str:
    with suppress(ValueError):  # brackets of no address
        return urlsplit(url).hostname or ""
    return ""


def write_events(found: Iterable[Any], path: Path) -> None:
    """Write events as OpenLineage's file transport does, a line each."""
    write_text(path, "".join(f"{json.dumps(event, ensure_ascii=False)}\n" for event in found))


def send_events(found: Iterable[Any], url: str) -> None:
    """Post events to a server, one after the other; `OPENLINEAGE_API_KEY` is sent along where it is set.

    Raises:
        StoreUnavailableError: the server does not answer, or refuses.
    """
    whole = url if urlsplit(url).path.strip("/") else url.rstrip("/") + _ENDPOINT
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get("OPENLINEAGE_API_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    for number, event in enumerate(found):
        request = urllib.request.Request(whole, json.dumps(event).encode(), headers, method="POST")
        try:
            urllib.request.urlopen(request, timeout=_TIMEOUT_S).close()
        except urllib.error.HTTPError as error:
            reason = f"it refuses with {error.code} {error.reason}"
            raise StoreUnavailableError(_refusal(whole, number, reason)) from error
        except OSError as error:
            reason = f"it does not answer: {getattr(error, 'reason', error)}"
            raise StoreUnavailableError(_refusal(whole, number, reason)) from error


def _refusal(url: str, sent: int, reason: str) -> str:
    return f"The server at '{url}' took {sent} events, then {reason}. Sending all of them again does no harm."


def _events_of(store: FeatureStore, job: _Job, frames: dict[Address, int]) -> Iterator[dict[str, Any]]:
    parents = {parent.path: parent for record in job.records for parent in record.parents}
    inputs: dict[Address, list[Address]] = {}
    for path in parents:
        inputs.setdefault(address_of(path).place, []).append(address_of(path))
    common = {
        "run": {"runId": _id(store, job.run_id, job.place.path), "facets": _run_facets(store, job)},
        "job": {"namespace": _place_of(store), "name": job.place.path, "facets": {"jobType": _job_type()}},
        "producer": _PRODUCER,
        "schemaURL": _EVENT,
        "inputs": [_dataset(store, place) for place in sorted(inputs)],
    }
    output = _dataset(store, job.place) | {"outputFacets": _output_facets(job, frames)}
    yield {"eventType": "START", "eventTime": _started(job.records), **common, "outputs": [_dataset(store, job.place)]}
    yield {"eventType": "COMPLETE", "eventTime": max(r.made_at for r in job.records), **common, "outputs": [output]}


def _id(store: FeatureStore, *names: str) -> str:
    return str(uuid.uuid5(_IDS, json.dumps([store.identity, *names])))


def _started(records: Iterable[Record]) -> str:
    """When the first of them was begun, as far as its record says how long it took."""
    begun = (
        datetime.datetime.fromisoformat(r.made_at) - datetime.timedelta(seconds=float(r.made.get("elapsed_s") or 0))
        for r in records
    )
    return min(begun).isoformat(timespec="seconds")


# Facets


def _facet(schema: str, **values: Any) -> dict[str, Any]:
    return {"_producer": _PRODUCER, "_schemaURL": schema, **values}


def _published(version: str, name: str) -> str:
    return f"{_SPEC}/facets/{version}/{name}.json#/$defs/{name}"


def _run_facets(store: FeatureStore, job: _Job) -> dict[str, Any]:
    parent_job = {"namespace": _place_of(store), "name": "affstore"}
    facets = {
        "parent": _facet(_published("1-2-0", "ParentRunFacet"), run={"runId": _id(store, job.run_id)}, job=parent_job),
        "affstore_run": _facet("urn:affstore:openlineage:run:1", runId=job.run_id, code=dict(job.records[0].code)),
    }
    if version := job.records[0].code.get("affstore"):
        engine = _facet(_published("1-1-1", "ProcessingEngineRunFacet"), version=version, name="affstore")
        facets["processing_engine"] = engine
    return facets


def _job_type() -> dict[str, Any]:
    return _facet(
        _published("2-0-4", "JobTypeJobFacet"), processingType="BATCH", integration="AFFSTORE", jobType="TASK"
    )


def _dataset(store: FeatureStore, place: Address) -> dict[str, Any]:
    fields = [
        {"name": name, "type": "|".join(array.dtypes), "description": f"axes {', '.join(array.dims)}"}
        for name, array in family(place.family).arrays.items()
    ]
    facets = {
        "version": _facet(_published("1-0-1", "DatasetVersionDatasetFacet"), datasetVersion=store.snapshot),
        "dataSource": _facet(
            _published("1-0-1", "DatasourceDatasetFacet"), name=_place_of(store), uri=_place_of(store)
        ),
    }
    if fields:
        facets["schema"] = _facet(_published("1-2-0", "SchemaDatasetFacet"), fields=fields)
    return {"namespace": _place_of(store), "name": place.path, "facets": facets}


def _place_of(store: FeatureStore) -> str:
    """Where a store is, as an address that is the same however a user spells it."""
    if is_local(store.url):
        return local_folder(store.url).resolve().as_uri()
    return store.url.rstrip("/")


def _output_facets(job: _Job, frames: dict[Address, int]) -> dict[str, Any]:
    rows = sum(frames[record.address] for record in job.records)
    digest = key_of(sorted([record.key, record.digest] for record in job.records))
    return {
        "outputStatistics": _facet(_published("1-0-2", "OutputStatisticsOutputDatasetFacet"), rowCount=rows),
        "affstore_artifacts": _facet("urn:affstore:openlineage:artifacts:1", artifacts=len(job.records), sha256=digest),
    }
