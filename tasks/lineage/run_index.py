"""Every run of a store: when, by which command, what it wrote and reused, how long it took and how it ended."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from affstore import FeatureStore
from affstore.store.engine.history import Commit, changes_by, commits
from affstore.tasks.lineage import run_record
from affstore.tasks.lineage.graph import by_family
from affstore.tasks.lineage.run_note import NAME, RunNote, read_note


@dataclass(frozen=True, slots=True)
class RunEntry:
    """A run and what came of it.

    Attributes:
        note: when it ran, by which command and how it ended.
        written: artifacts that it wrote, by family.
        reused: artifacts that it found and used, by family; None where it left no record of them.
    """

    note: RunNote
    written: Mapping[str, int]
    reused: Mapping[str, int] | None

    def as_document(self) -> dict[str, Any]:
        """The entry as plain values; what nobody knows is null."""
        note = {name: None if value == "" else value for name, value in asdict(self.note).items()}
        reused = None if self.reused is None else dict(self.reused)
        return {**note, "written": dict(self.written), "reused": reused}


def runs_of(store: FeatureStore, folder: Path, most: int | None = None) -> list[RunEntry]:
    """The runs that a store's history, or the folder of its runs, knows of; those that began last are first.

    Runs that found everything in the store made no commit, and those of other machines left no folder here; of runs
    that neither finished nor noted anything, the commits tell when they began, and what they wrote.

    Args:
        store: an open store; of one that was opened at a state, only runs that had begun then, with what they had
            written by then.
        folder: of its runs.
        most: how many; all if None.
    """
    history = list(commits(store))
    by_run: dict[str, list[Commit]] = {}
    for commit in history:
        if commit.run_id:
            by_run.setdefault(commit.run_id, []).append(commit)
    noted = [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    names = [path.name for path in noted if any((path / one).is_file() for one in (NAME, run_record.NAME))]
    found = [_note(folder / name, by_run.get(name, [])) for name in dict.fromkeys((*names, *by_run))]
    snapshots = None
    if store.at is not None:
        snapshots = {commit.snapshot for commit in history}
        found = [note for note in found if note.run_id in by_run or "" < note.began <= history[0].time]
    found.sort(key=lambda note: (note.began, note.run_id), reverse=True)
    return [_entry(store, folder, note, by_run.get(note.run_id, []), snapshots) for note in found[:most]]


def _note(folder: Path, made: Sequence[Commit]) -> RunNote:
    """A run's own note; of one that left none, only what its commits say."""
    note = read_note(folder) or RunNote(folder.name)
    return note if note.began or not made else replace(note, began=made[-1].time)


def _entry(
    store: FeatureStore, folder: Path, note: RunNote, made: Sequence[Commit], snapshots: Collection[str] | None
) -> RunEntry:
    """A run by its record; by its commits where that is not there, or is of an end after the snapshots that count."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        record = json.loads((folder / note.run_id / run_record.NAME).read_text(encoding="utf-8"))
        if snapshots is None or record["snapshot"] in snapshots:
            return RunEntry(note, record["counts"]["written"], record["counts"]["reused"])
    written: Counter[str] = Counter()
    for commit in made:
        written.update(by_family(changes_by(store, commit).written))
    return RunEntry(note, dict(sorted(written.items())), None)
