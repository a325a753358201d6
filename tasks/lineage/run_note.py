"""A note in each run's folder: when it began, by which command, how long it took and how it ended."""

from __future__ import annotations

import datetime
import fcntl
import json
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from affstore.store.contract.files import write_json
from affstore.tasks.lineage.machine import Machine

NAME = "run.json"
"""How the note is called in the run's folder."""

State = Literal["done", "done in part", "failed", "interrupted", "running", "killed", "unknown"]

_LOCK = "running.lock"
"""Held by a run as long as it lives, however it ends."""

_FIELDS: dict[str, Any] = {
    "began": str,
    "command": str,
    "state": str,
    "seconds": (int, float),
    "exit_code": int,
    "reason": str,
    "machine": dict,
    "other_workers": bool,
}
"""Of a note, beside the run's name, and their types."""

_typed: ContextVar[tuple[str, ...]] = ContextVar("affstore_typed", default=())


@contextmanager
def begun_by(arguments: Sequence[str]) -> Iterator[None]:
    """Say by which arguments of the command line runs are begun while this lasts."""
    token = _typed.set(tuple(arguments))
    try:
        yield
    finally:
        _typed.reset(token)


def typed_words() -> tuple[str, ...]:
    """What was typed after `affstore`; nothing where no command line began it."""
    return _typed.get()


@dataclass(slots=True)
class Ending:
    """How a run ends, for the run to fill in.

    Attributes:
        exit_code: what its command ends with: 0, or 3 where some inputs were not used or not done.
    """

    exit_code: int = 0


@dataclass(frozen=True, slots=True)
class Circumstances:
    """When a run was, how long, and where, as its report says it; what is kept of it is in the run's note.

    Attributes:
        begun_at: ISO 8601, UTC, to the second.
        seconds: from then until everything was in the store.
        machine: that the command ran on.
        other_workers: whether its tasks ran in other processes, which may be on other machines.
    """

    begun_at: str
    seconds: float
    machine: Machine
    other_workers: bool = False


@dataclass(frozen=True, slots=True)
class RunNote:
    """What is known of a run itself.

    Attributes:
        run_id: the run.
        began: when, ISO 8601 UTC.
        command: that began it; empty where no command did, and for runs of earlier versions.
        state: how it ended: `done in part` where some inputs were not used or not done, `killed` where it had no time
            to say, `unknown` for runs that noted nothing.
        seconds: how long it took; None where it has not ended, or nobody knows.
        exit_code: of the command; None likewise.
        reason: the error that it failed with.
        machine: that the command ran on, see `Machine`; None where nobody noted it.
        other_workers: whether its tasks ran in other processes, which may be on other machines.
    """

    run_id: str
    began: str = ""
    command: str = ""
    state: State = "unknown"
    seconds: float | None = None
    exit_code: int | None = None
    reason: str = ""
    machine: Mapping[str, Any] | None = None
    other_workers: bool = False


@contextmanager
def noted(folder: Path, run_id: str, machine: Machine | None = None, other_workers: bool = False) -> Iterator[Ending]:
    """Keep the note of a run while it lasts, and write down how it ended.

    A folder that cannot be written stops no run: its report says so in time.

    Args:
        folder: of the run.
        run_id: the run.
        machine: that its command runs on.
        other_workers: whether its tasks run in other processes.
    """
    ending, start = Ending(), time.monotonic()
    command = shlex.join(["affstore", *typed_words()]) if typed_words() else ""
    note: dict[str, Any] = {"run_id": run_id, "began": _now(), "command": command}
    if machine is not None:
        note |= {"machine": machine.as_document(), "other_workers": other_workers}
    lock = _locked(folder, note)
    try:
        yield ending
    except BaseException as error:
        interrupted = isinstance(error, KeyboardInterrupt)
        code = getattr(error, "exit_code", 130 if interrupted else 1)
        note |= {"state": "interrupted" if interrupted else "failed", "exit_code": code}
        note["reason"] = "" if interrupted else str(error) or type(error).__name__
        raise
    else:
        note |= {"state": "done" if ending.exit_code == 0 else "done in part", "exit_code": ending.exit_code}
    finally:
        note["seconds"] = round(time.monotonic() - start, 1)
        if lock is not None:
            with suppress(OSError):
                write_json(folder / NAME, note, 1)
            (folder / _LOCK).unlink(missing_ok=True)
            lock.close()


def read_note(folder: Path) -> RunNote | None:
    """The note of a run; None for one of an earlier version, or a note that is damaged."""
    try:
        found = json.loads((folder / NAME).read_text(encoding="utf-8"))
        known = {name: found[name] for name, kind in _FIELDS.items() if isinstance(found.get(name), kind)}
    except (OSError, ValueError, AttributeError):
        return None
    if known.get("state") not in get_args(State):
        known["state"] = "running" if _is_held(folder / _LOCK) else "killed"
    return RunNote(folder.name, **known)


def _locked(folder: Path, note: dict[str, Any]) -> Any:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / _LOCK).open("ab")
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        write_json(folder / NAME, note, 1)
    except OSError:
        return None
    return lock


def _is_held(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
