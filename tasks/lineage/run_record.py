"""What a run wrote, and what it read from the store instead of computing it again, with the run that had made that.

The record lies beside the run's report and not in the store: a run that reuses everything makes no snapshot, and the
names of videos must be in nothing that the engine can never erase.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affstore import FeatureStore
from affstore.store.contract.files import write_json
from affstore.store.contract.records import Record
from affstore.tasks.lineage.graph import LineageGraph, by_family

NAME = "artifacts.json"
"""How the record is called in the run's folder."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The artifacts that a run stands on.

    Attributes:
        run_id: the run.
        store_url: address of the store.
        snapshot: of the store at the run's end.
        written: what the run wrote.
        reused: what it read, or found to be as it should; each record names the run that made it, and when.
    """

    run_id: str
    store_url: str
    snapshot: str
    written: tuple[Record, ...]
    reused: tuple[Record, ...]

    def as_document(self) -> dict[str, Any]:
        """The record as plain values."""
        return {
            "run_id": self.run_id,
            "store": self.store_url,
            "snapshot": self.snapshot,
            "counts": {"written": by_family(self.written), "reused": by_family(self.reused)},
            "written": [_entry(record) for record in self.written],
            "reused": [_entry(record) for record in self.reused],
        }


def _entry(record: Record) -> dict[str, str]:
    return {
        "artifact": record.address.path,
        "key": record.key,
        "digest": record.digest,
        "run_id": record.run_id,
        "made_at": record.made_at,
    }


def run_record(
    store: FeatureStore, run_id: str, producers: Collection[str], videos: Collection[str] | None = None
) -> RunRecord:
    """Say what a run wrote and what it reused, from the store at its end.

    Args:
        store: as the run left it.
        run_id: the run.
        producers: detectors, extractors, heads and experiments that the run was to see to; what their artifacts were
            computed from counts as well.
        videos: those that the run was about; all of them if None.
    """
    graph = LineageGraph(store.records())
    asked = [record for record in graph.records.values() if _is_asked_for(record, producers, videos)]
    own = [record for record in graph.records.values() if record.run_id == run_id]
    known = {record.address.path: record for record in (*asked, *own)} | graph.upstream([*asked, *own])
    records = [known[path] for path in sorted(known)]
    written = tuple(record for record in records if record.run_id == run_id)
    reused = tuple(record for record in records if record.run_id != run_id)
    return RunRecord(run_id, store.url, store.snapshot, written, reused)


def _is_asked_for(record: Record, producers: Collection[str], videos: Collection[str] | None) -> bool:
    address = record.address
    if address.family == "quarantine" or (videos is not None and address.video and address.video not in videos):
        return False
    producer = address.producer.rpartition("@")[0] if address.family == "result" else address.producer
    return address.family in ("source", "label") or producer in producers


def write_run_record(record: RunRecord, folder: Path) -> Path:
    """Write a run's record into its folder, whole or not at all."""
    write_json(folder / NAME, record.as_document(), 1)
    return folder / NAME
