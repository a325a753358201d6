"""Options that several commands share."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from affstore.flows.config.defaults import DEFAULT_EXTRACTORS as DEFAULT_EXTRACTORS
from affstore.flows.config.defaults import DEFAULT_STORE as DEFAULT_STORE
from affstore.flows.tables import table_lines, terminal_width
from affstore.flows.watch import to_terminal
from affstore.store.contract.errors import SpecError
from affstore.store.contract.printable import printable, printable_json

if TYPE_CHECKING:
    from affstore.flows.limits import RunLimits
    from affstore.flows.runners.base import RunnerSpec

Store = Annotated[
    str,
    Parameter(name=["--store", "-s"], env_var="AFFSTORE_STORE", help="A folder, s3://bucket/prefix or memory:name."),
]

At = Annotated[
    str | None,
    Parameter(
        help="A tag, a generation, a snapshot or a time (ISO 8601, in UTC; a day, minute or second is its end), "
        "instead of the newest state."
    ),
]

NoAt = Annotated[str | None, Parameter(name="--at", show=False)]
"""`--at` of a command that reads a store and cannot read an earlier state of it; see `refuse_at`."""

Extractors = Annotated[
    tuple[str, ...],
    Parameter(name=["--extractor", "-e"], negative="", help="A face or sound network; may be given several times."),
]

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print one JSON document.")]

DryRun = Annotated[bool, Parameter(name="--dry-run", negative="", help="Say what would be done, and do nothing.")]

Rehash = Annotated[
    bool,
    Parameter(
        negative="", help="Read every video for its digest, also those that have not changed since the last run."
    ),
]

Crops = Annotated[tuple[str, ...], Parameter(name="--crops", negative="")]
"""Folders of face pictures, as KIND=FOLDER."""

Labels = Annotated[tuple[str, ...], Parameter(name="--labels", negative="")]
"""Folders of label files, as FORMAT:SPACE=FOLDER."""

Names = Literal["file", "folder"]
"""What videos are called."""

Weights = Literal["official", "untrained"]

Flag = Annotated[bool, Parameter(negative="")]
"""A switch that is off unless named."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """What runs the networks, and what is stored of a video."""

    engine: Literal["auto", "torch", "openvino"] = "auto"
    """What runs faces and sound; `auto` takes the fastest that is faithful on this machine. Part of every key."""

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the forward passes; part of every key."""

    device: Literal["cpu", "cuda", "auto"] = "cpu"
    """Where the networks run, and torch heads are trained."""

    stored: Literal["auto", "float32", "float16"] = "auto"
    """The type of embeddings in the store: `float16` takes half the space. `auto` is that of what the store has, or
    float32. Part of every key."""

    people: Literal["auto", "two", "all"] = "auto"
    """Who of a video is a subject: the `two` foremost, left and right; or `all` who are there for long enough: more are
    person1, person2 … from left to right. `auto` is as it was for the videos of the store, or two. Part of the
    keys of faces."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class NetworkOptions(EngineOptions):
    """What runs the networks, and whose parameters they have."""

    weights: Weights = "official"
    """`untrained` runs seeded, untrained parameters; every record then says so."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class RunnerChoice:
    """Where the tasks of a run are carried out; what is not named is as in the configuration, or by default."""

    runner: str | None = None
    """`threads` of this process (the default), or worker processes of a Dask cluster: `dask`. `affstore list runners`
    has all."""

    workers: int | None = None
    """How many videos are worked on at once, of a cluster by so many worker processes; 0, the default, chooses by the
    machine."""

    scheduler: str | None = None
    """Address of a running Dask scheduler, for --runner dask."""

    runner_option: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    """NAME=VALUE: another option of the runner; may be given several times."""

    def changed(self, runner: RunnerSpec) -> RunnerSpec:
        """A configuration's runner with what was named here.

        Raises:
            SpecError: the runner or one of its options is unknown or wrong.
        """
        named = {"workers": self.workers, "scheduler": self.scheduler}
        options = {name: value for name, value in named.items() if value is not None}
        options |= pairs("--runner-option", "NAME=VALUE", self.runner_option)
        return runner.changed(self.runner, **options)

    def spec(self) -> RunnerSpec:
        """The runner that was named, or the default one."""
        from affstore.flows.runners.base import RunnerSpec

        return self.changed(RunnerSpec.of())


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class LimitOptions:
    """How much of its work a run does."""

    share: str = ""
    """K/N: take in and extract only the K-th of N shares of the files, which have about as many frames each; for
    processes that share nothing but the store, as the tasks of a job array. Nothing is trained."""

    max_hours: float | None = None
    """Begin no video any more after so many hours. The run ends as partial, with exit code 3; the next goes on."""

    deadline: str = ""
    """The same after a time (ISO 8601, in UTC; a day, minute or second is its end)."""

    canary: int = 0
    """Compute so many videos again first, those that were here first, and stop if their numbers are others."""

    def limits(self) -> RunLimits:
        """What was asked for, checked.

        Raises:
            SpecError: something of it is wrong.
        """
        from affstore.flows.limits import RunLimits

        return RunLimits.of(self.share, self.max_hours, self.deadline, self.canary)


DEFAULT_ENGINE = EngineOptions()
DEFAULT_NETWORKS = NetworkOptions()
DEFAULT_RUNNER = RunnerChoice()
DEFAULT_LIMITS = LimitOptions()


def pairs(option: str, form: str, given: Sequence[str]) -> list[tuple[str, str]]:
    """Texts such as `NAME=VALUE`, each as what stands before the first equals sign and behind it.

    Raises:
        SpecError: one is of another form.
    """
    found = []
    for text in given:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise SpecError(f"{option} takes {form}; found '{text}'.")
        found.append((name, value))
    return found


def crops_by_kind(given: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """What `--crops` says: the folders of each kind.

    Raises:
        SpecError: one is not KIND=FOLDER.
    """
    found: dict[str, tuple[str, ...]] = {}
    for kind, folder in pairs("--crops", "KIND=FOLDER, as --crops cropped=/data/cropped", given):
        found[kind] = (*found.get(kind, ()), folder)
    return found


def label_folders(given: Sequence[str]) -> tuple[dict[str, str], ...]:
    """What `--labels` says, as a configuration does: see `affstore.flows.config.run_config.LabelFolderConfig`.

    Raises:
        SpecError: one is not FORMAT:SPACE=FOLDER.
    """
    found = []
    for text in given:
        what, _, folder = text.partition("=")
        format_name, _, space = what.partition(":")
        if not (format_name and space and folder):
            raise SpecError(
                f"--labels takes FORMAT:SPACE=FOLDER, as --labels timed_table:expr=my_labels; found '{text}'."
            )
        found.append({"folder": folder, "format": format_name, "space": space})
    return tuple(found)


def refuse_at(at: str | None, why: str) -> None:
    """Say why a command takes no `--at`, if it was given one.

    Args:
        at: what was given.
        why: what decides the state instead, as a sentence with what to do.

    Raises:
        SpecError: one was given.
    """
    if at is not None:
        raise SpecError(f"--at '{at}' has no meaning here: {why}")


def says_yes(question: str, words: Sequence[str] = ("y", "yes")) -> bool | None:
    """Whether the person at the terminal says yes to a question; None where there is no terminal."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    sys.stdout.flush()  # what the question is about
    sys.stderr.write(f"{question} ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in words


def answer(document: Any, lines: Iterable[str], as_json: bool) -> None:
    """Print what a command found: its document for other programs, or its lines for a person."""
    if as_json:
        print_json(document)
    else:
        to_terminal(*lines)


def print_json(document: Any) -> None:
    """Print a document for other programs."""
    sys.stdout.write(printable_json(json.dumps(document, indent=2, ensure_ascii=False, default=str)) + "\n")


def print_table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], title: str = "") -> None:
    """Print a table for a person."""
    lines = [*([printable(title)] if title else []), *table_lines(head, rows, terminal_width())]
    sys.stdout.write("".join(f"{line}\n" for line in lines))
