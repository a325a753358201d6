"""What a runner is: where the tasks of a run are carried out. One file of this package, or of a plugin, adds a kind."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from affstore.flows.field_checks import why_wrong
from affstore.store.contract.errors import SpecError, UnknownNameError
from affstore.store.contract.extras import require_extra
from affstore.store.contract.registry import Registry
from affstore.store.contract.usable import usable_cores, usable_memory_bytes

if TYPE_CHECKING:
    from affstore.flows.worker_checks import WorkerNeeds
    from affstore.tasks.extract.memory_estimate import Parallelism

_VIDEO_BYTES = 3 << 30
"""What one long video may need beside the networks' parameters, amply."""


def written(pattern: str, how: str) -> AfterValidator:
    """An option's text must match a pattern; `how` says to a person what that looks like."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"write it {how}")
        return value

    return AfterValidator(check)


class RunnerOptions(BaseModel):
    """What a configuration may say of a runner; a kind that knows more options subclasses this.

    Attributes:
        workers: how many tasks run at once; 0 to choose by the cores and memory of the machine or the container. A run
            with less to do than that starts fewer processes.
        pages: whether a Prefect server shows the run: `always`; `never`, not even that of `PREFECT_API_URL`; or where
            that names one or more than a minute of video is due.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    workers: int = Field(default=0, ge=0, le=10_000)
    pages: Literal["auto", "always", "never"] = "auto"


@dataclass(frozen=True, slots=True)
class Runner:
    """Where the tasks of a run go while it lasts.

    Attributes:
        executor: opens the workers for the units of a stage.
        at_once: how many tasks are handed to them at a time: at least as many as they can do side by side.
        check: asks each worker whether it has what a run needs, and raises SpecError with a sentence for each that
            has not; None where tasks run in this process.
        gpus: whether workers declare the resource GPU, so that work for a GPU asks for one.
        answers: whether work can be given to workers; asked after some work was lost.
        workers: how many tasks they do side by side, as far as that is known; the fewer, the more short videos are one
            task. Too many costs little, too few leaves some with nothing to do.
        everywhere: has each worker process that there is now call something short; None where tasks run in this
            process, or on workers that others may use too.
    """

    executor: Callable[[], AbstractContextManager[Executor]]
    at_once: int = 64
    check: Callable[[WorkerNeeds], None] | None = None
    gpus: bool = False
    answers: Callable[[], bool] = lambda: True
    workers: int = 64
    everywhere: Callable[[Callable[[], None]], None] | None = None

    def asking_for(self, gpu: bool) -> AbstractContextManager[Any]:
        """What is submitted within this context goes to a worker with a GPU, where that is wanted and declared."""
        if not (gpu and self.gpus):
            return nullcontext()
        from dask.base import annotate

        return annotate(resources={"GPU": 1})

    @classmethod
    def on(cls, executor: Executor) -> Runner:
        """A runner on any executor of `concurrent.futures` that takes functions and arguments by cloudpickle."""
        return cls(lambda: nullcontext(executor))


class RunnerKind[O: RunnerOptions](ABC):
    """A way to carry out tasks: threads, a cluster, a batch system.

    Attributes:
        contract: number of this contract that a plugin was written for; today's is 1.
        name: what it is called on the command line and in configurations.
        description: what it is, in one line.
        needs: what must be installed for it, as `pip install …`; empty where nothing is missing.
        extra: the extra of affstore's own installation that it needs; empty for none.
        Options: what a configuration may say of it.
        in_process: whether tasks run in the process of the command, where a store in memory can be read.
    """

    contract: ClassVar[int]
    name: ClassVar[str]
    description: ClassVar[str]
    needs: ClassVar[str] = ""
    extra: ClassVar[str] = ""
    Options: type[O]
    in_process: ClassVar[bool] = False

    @abstractmethod
    def parallelism(self, options: O) -> Parallelism:
        """How many tasks run at once and in how many processes: what the estimate of memory goes by."""

    @abstractmethod
    def start(self, options: O) -> AbstractContextManager[Runner]:
        """Start the workers, and stop those that were started when the context ends."""

    def check(self, options: O) -> None:  # noqa: B027 - most kinds have no more to see to
        """See to what the options' values alone do not tell and needs no cluster, as a file that they name.

        Called at the beginning of every run, also of one that has nothing to do and starts no workers.

        Raises:
            SpecError: something is wrong.
        """

    def elsewhere(self, options: O) -> bool:
        """Whether workers may be on other machines, which may have GPUs that this one lacks."""
        return False


RUNNERS: Registry[RunnerKind[Any]] = Registry("runner", "affstore.flows.runners", "affstore.runners", base=RunnerKind)


@dataclass(frozen=True, slots=True)
class RunnerSpec:
    """A kind of runner with the options of a run, checked."""

    kind: RunnerKind[Any]
    options: RunnerOptions

    @classmethod
    def of(cls, name: str = "threads", /, **options: Any) -> RunnerSpec:
        """The runner of that name.

        Raises:
            UnknownNameError: there is no such runner, or it has no such option; the nearest is suggested.
            SpecError: an option has a wrong value.
        """
        kind = RUNNERS.get(name)
        for option in options:
            if option not in kind.Options.model_fields:
                raise UnknownNameError.of(f"option of the runner '{name}'", option, kind.Options.model_fields)
        try:
            return cls(kind, kind.Options(**options))
        except ValidationError as error:
            field, why = why_wrong(error, options)
            name_of_field = ".".join(map(str, ("runner", *field)))
            raise SpecError(f"'{name_of_field}' is wrong: {why}. Runner: '{name}'.") from error

    def changed(self, name: str | None = None, **options: Any) -> RunnerSpec:
        """This runner with other options; of another kind, what all kinds have is kept."""
        known = self.options.model_dump(exclude_unset=True)
        if name not in (None, self.kind.name):
            known = {option: value for option, value in known.items() if option in RunnerOptions.model_fields}
        return RunnerSpec.of(name or self.kind.name, **known | options)

    def for_units(self, units: Iterable[object]) -> RunnerSpec:
        """This runner with no more worker processes than there are units of work: each takes seconds to start.

        Args:
            units: looked at only as far as there are processes for them.
        """
        if self.kind.in_process:
            return self
        processes = self.kind.parallelism(self.options).processes
        count = sum(1 for _ in islice(units, processes))
        return self if count == processes else replace(self, options=self.options.model_copy(update={"workers": count}))

    @property
    def elsewhere(self) -> bool:
        """Whether workers may be on other machines."""
        return self.kind.elsewhere(self.options)

    def parallelism(self, device: str = "cpu") -> Parallelism:
        """How a run's work is spread, with networks on that device."""
        return replace(self.kind.parallelism(self.options), device=device)

    def check_options(self) -> None:
        """See to what of the options can be seen without workers; their values are checked already.

        Raises:
            SpecError: something is wrong.
        """
        self.kind.check(self.options)

    def check(self) -> None:
        """See that the extra that the runner needs is installed.

        Raises:
            SpecError: it is not; the message says what to type.
        """
        require_extra(self.kind.extra, f"The runner '{self.kind.name}'")

    def start(self) -> AbstractContextManager[Runner]:
        """Start the workers for as long as the context lasts.

        Raises:
            SpecError: something that they need is not installed, or cannot be reached.
        """
        self.check()
        return self.kind.start(self.options)


def workers_of(options: RunnerOptions) -> int:
    """How many tasks run at once: as many as are asked for, else one a core, as far as memory goes."""
    if options.workers:
        return options.workers
    return max(1, min(usable_cores(), usable_memory_bytes() // _VIDEO_BYTES))
