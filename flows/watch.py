"""What a person sees of a run: bars with frames/s and ETA on a terminal, plain lines elsewhere, nothing with --json."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affstore.flows.tables import terminal_width, wrapped
from affstore.store.contract.printable import printable
from affstore.tasks.cancellation import subscribe

if TYPE_CHECKING:
    from rich.text import Text

    from affstore.tasks.extract.memory_estimate import MemoryNeed
    from affstore.tasks.outcomes import Outcome


_SHORTEST_BAR, _LONGEST_BAR, _BESIDE_BAR = 10, 40, 45
"""Columns of a bar, and of what stands beside it where thousands of videos are counted."""


class Watcher:
    """Told what a run does. This one is silent; `Screen` shows it."""

    @contextmanager
    def showing(self) -> Iterator[Watcher]:
        """Show the run while this lasts."""
        yield self

    def step(self, text: str) -> None:
        """Something begins that takes seconds, before there is any progress to show."""

    def server(self, api: str, secret_file: Path | None) -> None:
        """A Prefect server answers at `api` to those who know the secret in that file, or to everybody."""

    def notice(self, text: str) -> None:
        """Something that the user should know happened to the run; it is always printed."""
        sys.stderr.write(f"affstore: {printable(text)}\n")

    def memory(self, need: MemoryNeed) -> None:
        """What the run will need, before it begins."""

    def stage(self, name: str, units: int, frames: int = 0) -> None:
        """A stage begins, with so many units of work and, where that is known, so many frames."""

    def outcome(self, outcome: Outcome) -> None:
        """A unit of work is over, and what it wrote is committed."""


class Screen(Watcher):
    """Shows a run on standard error, so that standard output stays for results."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False)
        self._lock = threading.Lock()
        self._progress: Any = None
        self._bar: Any = None
        self._counted = False
        self._begun = time.monotonic()
        self._units = self._units_done = self._frames = self._frames_done = 0

    @contextmanager
    def showing(self) -> Iterator[Watcher]:
        """See `Watcher.showing`."""
        if not self._console.is_terminal:
            with subscribe(self._tick):
                yield self
            return
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = [
            TextColumn("{task.description:9}"),
            BarColumn(max(_SHORTEST_BAR, min(_LONGEST_BAR, self._console.width - _BESIDE_BAR))),
            TextColumn("{task.fields[counts]}"),
            TimeRemainingColumn(),
        ]
        with Progress(*columns, console=self._console, transient=True) as self._progress, subscribe(self._tick):
            yield self

    def step(self, text: str) -> None:
        """See `Watcher.step`."""
        self._say(f"{text} …", "dim")

    def server(self, api: str, secret_file: Path | None) -> None:
        """See `Watcher.server`."""
        asks = f"; they ask for the secret in {secret_file}" if secret_file is not None else ""
        self._say(f"Prefect's pages of this run: {api.removesuffix('/api')}{asks}", "dim")

    def notice(self, text: str) -> None:
        """See `Watcher.notice`."""
        self._say(text, "yellow")

    def memory(self, need: MemoryNeed) -> None:
        """See `Watcher.memory`; nothing is printed for a run that has nothing to extract."""
        if need.at_once:
            self._say(str(need), "dim")

    def stage(self, name: str, units: int, frames: int = 0) -> None:
        """See `Watcher.stage`."""
        with self._lock:
            self._units, self._frames, self._units_done, self._frames_done = units, frames, 0, 0
            self._counted, self._begun = False, time.monotonic()
        if self._progress is not None:
            if self._bar is not None:
                self._progress.remove_task(self._bar)
            self._bar = self._progress.add_task(name, total=frames or units, counts="")

    def outcome(self, outcome: Outcome) -> None:
        """See `Watcher.outcome`."""
        with self._lock:
            self._units_done += 1
            if not self._counted:  # workers elsewhere count by finished videos
                self._frames_done += outcome.frames
        self._update()
        if outcome.status != "cached" or self._units <= 50:
            self._line(outcome)

    def _tick(self, frames: int) -> None:
        with self._lock:
            self._counted = True
            self._frames_done += frames
        self._update()

    def _update(self) -> None:
        if self._progress is not None and self._bar is not None:
            done = min(self._frames_done, self._frames) if self._frames else self._units_done
            self._progress.update(self._bar, completed=done, counts=self._counts())

    def _counts(self) -> str:
        counts = f"{self._units_done}/{self._units}"
        rate = self._frames_done / max(1e-9, time.monotonic() - self._begun)
        return f"{counts}  {rate:.0f} frames/s" if self._frames and self._frames_done else counts

    def _line(self, outcome: Outcome) -> None:
        from rich.text import Text

        colour = {"done": "green", "cached": "dim", "quarantined": "yellow", "failed": "red", "postponed": "yellow"}[
            outcome.status
        ]
        about = f"{outcome.stage:8} {self._counts():>22}{self._eta()}"
        before, after = f"{about}  {printable(outcome.subject)}  ", f"  {printable(outcome.reason)}"
        self._print(Text.assemble(before, (outcome.status, colour), after))

    def _eta(self) -> str:
        """Time left, for lines that are not on a terminal."""
        if self._progress is not None or not self._frames_done or self._frames_done >= self._frames:
            return ""
        left_s = (time.monotonic() - self._begun) * (self._frames - self._frames_done) / self._frames_done
        return f"  {left_s:.0f} s left"

    def _say(self, text: str, style: str) -> None:
        from rich.text import Text

        self._print(Text(printable(text), style))

    def _print(self, line: Text) -> None:
        from rich.text import Text

        console = self._progress.console if self._progress is not None else self._console
        parts = wrapped(line.plain, console.width) if console.is_terminal else [line.plain]
        pieces = line.divide(accumulate(len(part) + 1 for part in parts[:-1]))
        for piece in pieces:
            piece.rstrip()
        console.print(Text("\n").join(pieces), soft_wrap=True)


_watchers: list[Watcher] = [Watcher()]


def watching() -> Watcher:
    """Who is shown the run of this process.

    It is no parameter of the flows: Prefect sends those along with every task, and a screen cannot travel.
    """
    return _watchers[-1]


@contextmanager
def using_watcher(watcher: Watcher) -> Iterator[None]:
    """Show what this process runs to `watcher` while this lasts."""
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)


def to_terminal(*lines: str) -> None:
    """Write lines of a result to standard output, wrapped between words on a terminal.

    A line break within one of them is written out.
    """
    width = terminal_width()
    for line in map(printable, lines):
        sys.stdout.write("".join(f"{part}\n" for part in (wrapped(line, width) if width else [line])))
