"""What became of one unit of work, small enough to travel."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from affstore.store.contract.errors import AffstoreError
from affstore.store.contract.records import Artifact
from affstore.store.engine.draft import Draft
from affstore.tasks.retries import passing_fault
from affstore.tasks.specs import WorkerContext

Status = Literal["done", "cached", "quarantined", "failed", "postponed"]


@dataclass(frozen=True, slots=True)
class PartOutcome:
    """What became of a part of a unit of work.

    Attributes:
        status: as of an `Outcome`.
        note: why, or what is remarkable.
    """

    status: Status
    note: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one video (or head, or file) in one stage.

    Attributes:
        stage: ingest, annotate, extract, train, predict or publish.
        subject: what it was about, usually a video's name.
        status: `cached` was in the store already; `quarantined` cannot be used as it is; `failed` may work later;
            `postponed` was not begun, as the run's time was over.
        reason: why, in one sentence; or what was done.
        frames: how many frames were worked on.
        draft: what was written and waits for the committer.
        file: path of the file that it was about, of several the first; empty for what has none.
        refused: the note in quarantine of an input that left nothing else; the committer writes it. A draft for each
            would cost more the more of them wait.
        fault: the kind of fault that it failed by, where that may pass: see `tasks.retries`; else empty.
        drifted: whether it failed as a canary whose numbers, computed again, are others than those that are stored.
    """

    stage: str
    subject: str
    status: Status
    reason: str = ""
    frames: int = 0
    draft: Draft | None = None
    file: str = ""
    refused: Artifact | None = None
    fault: str = ""
    drifted: bool = False

    @classmethod
    def of_parts(cls, stage: str, subject: str, parts: Sequence[PartOutcome], frames: int, draft: Draft) -> Outcome:
        """The outcome of work that could be done in some of its parts; faults come first."""
        bad = [part for part in parts if part.status in ("quarantined", "failed")]
        status: Status = "done"
        if bad:
            status = "quarantined" if "quarantined" in {part.status for part in bad} else "failed"
        producers = ", ".join(sorted({record.address.producer for record in draft.records}))
        text = " ".join(part.note for part in bad) or ". ".join(
            [producers, *(part.note for part in parts if part.note)]
        )
        changed = draft.records or draft.removed
        return cls(stage, subject, status, text, frames, draft if changed else None)

    @property
    def waits(self) -> bool:
        """Whether it holds something that is not committed yet."""
        return self.draft is not None or self.refused is not None

    def without_draft(self) -> Outcome:
        """The outcome once what it holds is committed."""
        return replace(self, draft=None, refused=None)


def refused(stage: str, subject: str, error: AffstoreError) -> Outcome:
    """The outcome of an error that must not stop the other videos and leaves nothing in the store."""
    return Outcome(stage, subject, "failed", str(error), fault=passing_fault(error))


def postponed(context: WorkerContext, stage: str, subject: str) -> Outcome | None:
    """The outcome of work that is not to be begun, because the run's time is over; None while it is not."""
    if context.ends_at is None or time.time() < context.ends_at:
        return None
    return Outcome(stage, subject, "postponed", "the run's time was over; the next run goes on here")
