"""Worker processes of a Dask cluster: one of this machine that lasts as long as the run, or a running one."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError, Executor, Future, InvalidStateError
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator

from affstore.flows.runners.base import RUNNERS, Runner, RunnerKind, RunnerOptions, workers_of
from affstore.flows.watch import watching
from affstore.store.contract.errors import SpecError

if TYPE_CHECKING:
    from affstore.flows.worker_checks import WorkerNeeds
    from affstore.tasks.extract.memory_estimate import Parallelism

_ANSWER_S = 30
"""How long a scheduler may take to answer."""
_JOIN_S = 60
"""How long the first worker of a running cluster may take to join."""
_AT_ONCE, _WORKERS = 512, 64
"""How many tasks a running cluster is handed at a time, and how many workers it is taken to have, at least: it may grow
while a stage is under way."""
_SELDOM = {
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.worker.memory.monitor-interval": "1s",
    "distributed.worker.profile.enabled": False,
    "distributed.scheduler.active-memory-manager.start": False,
}
"""How often the processes of a cluster of this machine look at themselves, for a dashboard that it does not have. By
Dask's own settings that takes 14 % of a core with two workers that have nothing to do, and 2 % by these."""
_SYNC_S = 60
"""How often a cluster of this machine writes down in its scheduler what it is, which nobody asks for."""
_ANY_PORT = "127.0.0.1:0"
"""Where the scheduler of this machine is asked how it is: without a dashboard it listens all the same, on port 8787 and
to every machine unless told otherwise."""
_PROTOCOLS = ("tcp", "tls", "ucx", "ws", "wss")
PRELOAD = "affstore.flows.worker"
"""The module that each worker imports first."""


def _address(text: str) -> str:
    """See that a scheduler's address is one, whether or not anything listens there."""
    parts = urlsplit(text if "://" in text else f"tcp://{text}")
    try:
        port = parts.port
    except ValueError:
        port = None
    more = parts.path.strip("/") or parts.query or parts.fragment or text != "".join(text.split())
    if text and (parts.scheme not in _PROTOCOLS or not parts.hostname or not port or more):
        raise ValueError(
            f"write it as PROTOCOL://HOST:PORT, as `tcp://node7:8786`; the protocol is one of {', '.join(_PROTOCOLS)}"
        )
    return text


class DaskOptions(RunnerOptions):
    """What a configuration may say of Dask.

    Attributes:
        scheduler: address of a running scheduler; empty for a cluster of this machine.
    """

    scheduler: Annotated[str, AfterValidator(_address)] = ""


class DaskRunner(RunnerKind[DaskOptions]):
    """Tasks in worker processes of a Dask cluster."""

    name = "dask"
    description = "worker processes of a Dask cluster, of this machine or at --scheduler"
    extra = "cluster"
    Options = DaskOptions

    def parallelism(self, options: DaskOptions) -> Parallelism:
        """A process for each task, whose forward passes have one thread unless told otherwise: see `flows.worker`."""
        return processes(workers_of(options))

    @contextmanager
    def start(self, options: DaskOptions) -> Iterator[Runner]:
        """The scheduler that is named, or a cluster that is stopped at the end."""
        if options.scheduler:
            with on_scheduler(options.scheduler) as runner:
                yield replace(runner, everywhere=None)
            return
        import dask
        import distributed  # noqa: F401 - its defaults would be lost with the setting below, were they read within it

        workers = workers_of(options)
        with (
            dask.config.set(_SELDOM),
            _of_this_machine(workers) as address,
            on_scheduler(address) as runner,
        ):
            yield replace(runner, at_once=2 * workers, workers=workers)

    def elsewhere(self, options: DaskOptions) -> bool:
        """Whether the scheduler is not known to be on this machine."""
        return bool(options.scheduler) and not _on_this_machine(options.scheduler)


@contextmanager
def _of_this_machine(workers: int) -> Iterator[str]:
    """The scheduler of so many worker processes of this machine, which are stopped at the end.

    Raises:
        SpecError: one of them does not start.
    """
    from distributed import LocalCluster

    from affstore.flows.starting_workers import StartingNanny

    try:
        cluster = LocalCluster(  # type: ignore[no-untyped-call]
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=_ANY_PORT,
            scheduler_kwargs={"dashboard": False},
            preload=[PRELOAD],
            worker_class=StartingNanny,
            scheduler_sync_interval=_SYNC_S,
        )
    except RuntimeError as error:
        raise SpecError(
            f"A worker process of this machine did not start (Dask says: {one_line(error.__cause__ or error)}). See "
            "whether there is memory and room for it, or run it in threads: --runner threads."
        ) from error
    with cluster:
        yield cluster.scheduler_address


def processes(count: int) -> Parallelism:
    """Tasks in so many processes, one each."""
    from affstore.tasks.extract.memory_estimate import Parallelism

    return Parallelism(count, count, int(os.environ.get("AFFSTORE_THREADS") or 1))


@contextmanager
def on_scheduler(address: str, wait_s: float = _JOIN_S) -> Iterator[Runner]:
    """The workers of a scheduler that is running.

    Args:
        address: of the scheduler.
        wait_s: how long its first worker may take to join.

    Raises:
        SpecError: it does not answer, speaks another version of Dask, or has no worker in time.
    """
    from distributed import Client
    from distributed.versions import VersionMismatchWarning

    # Of a scheduler that went away, and of workers that it could not restart, they log tracebacks; each task that was
    # not done says so in a sentence.
    for name in ("distributed.client", "tornado.application"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        asyncio.run(_greeted(address))
        with warnings.catch_warnings(action="ignore", category=VersionMismatchWarning):  # it is refused below
            client = Client(address, timeout=_ANSWER_S, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise SpecError(
            f"No Dask scheduler answers at '{address}' ({one_line(error)}). Start one with `dask scheduler`, or leave "
            "--scheduler out for a cluster of this machine."
        ) from error
    with client, ExitStack() as run:
        _check_scheduler(client, address)
        workers = _workers(client, address, wait_s)
        side_by_side = max(_WORKERS, sum(worker["nthreads"] for worker in workers.values()))
        yield Runner(
            lambda: nullcontext(_Workers(client)),
            max(_AT_ONCE, 2 * side_by_side),
            partial(_check_workers, client, run),
            _declare_gpus(workers),
            partial(_answers, client, address, wait_s),
            side_by_side,
            partial(_told, client),
        )


class _Workers(Executor):
    """The workers of a client.

    Dask's own executor forgets a task whose result it cannot fetch, because the scheduler goes away meanwhile, and
    whoever asked for it waits without end.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def submit[**P, T](self, do: Callable[P, T], /, *arguments: P.args, **named: P.kwargs) -> Future[T]:
        """Hand a call over; its end is handed back, whatever it is."""
        from distributed.client import ClosedClientError

        done = Future[T]()
        try:
            asked = self._client.submit(do, *arguments, pure=False, **named)
        except ClosedClientError:  # the scheduler went away before
            done.set_exception(CancelledError())
            return done
        done.add_done_callback(lambda one: asked.cancel() if one.cancelled() else None)
        asked.add_done_callback(partial(_hand_back, done))
        return done


def _hand_back[T](done: Future[T], asked: Any) -> None:
    from distributed.client import ClosedClientError
    from distributed.comm.core import CommClosedError

    with suppress(InvalidStateError):  # whoever asked may not wait for it any more
        try:
            done.set_result(asked.result())
        except (ClosedClientError, CommClosedError):
            done.set_exception(CancelledError())  # its result was on its way
        except BaseException as error:  # noqa: BLE001 - whatever the call raised is handed back
            done.set_exception(error)


async def _greeted(address: str) -> None:
    """See that a Dask process listens there: its client would wait without end for the greeting of anything else.

    Raises:
        OSError: it does not connect, or says nothing.
    """
    from distributed.comm.core import connect
    from distributed.security import Security

    async with asyncio.timeout(_ANSWER_S):
        comm = await connect(address, _ANSWER_S, **Security().get_connection_args("client"))  # type: ignore[no-untyped-call]
    comm.abort()


def _check_scheduler(client: Any, address: str) -> None:
    """See that the scheduler's Dask is this one: others may not understand each other's messages."""
    packages = client.get_versions()
    there, here = (packages[side]["packages"].get("distributed") for side in ("scheduler", "client"))
    if there != here:
        raise SpecError(
            f"The scheduler at '{address}' runs Dask {there}, this machine {here}. Install one version on both."
        )


def _workers(client: Any, address: str, wait_s: float) -> Mapping[str, Any]:
    """What the scheduler knows of its workers, once there is one."""
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        found: Mapping[str, Any] = client.scheduler_info(n_workers=-1)["workers"]
        if found:
            return found
        time.sleep(0.2)
    raise SpecError(
        f"No worker joined the scheduler at '{address}' within {wait_s:.0f} s. Start some: "
        f"`dask worker {address} --nthreads 1 --preload {PRELOAD}`."
    )


def _answers(client: Any, address: str, wait_s: float) -> bool:
    """Whether the scheduler is there, if need be again, and has a worker in time; else work would wait for ever."""
    deadline = time.monotonic() + _ANSWER_S
    while client.status == "connecting" and time.monotonic() < deadline:
        time.sleep(0.2)
    if client.status != "running":
        return False
    try:
        return bool(_workers(client, address, wait_s))
    except (SpecError, OSError):
        return False


def _check_workers(client: Any, run: ExitStack, needs: WorkerNeeds) -> None:
    """Ask every worker whether it has what a run needs, and until the run ends those that join too.

    Raises:
        SpecError: one has not, or went away meanwhile; the message names each that differs.
    """
    from affstore.flows.late_workers import late_workers_checked
    from affstore.flows.worker_checks import WorkerFacts, facts_of_this_process, faults

    watching().step("asking the workers for versions, files and clocks")
    workers: Mapping[str, Any] = client.scheduler_info(n_workers=-1)["workers"]
    declared = _declare_gpus(workers)
    needs_of = {address: needs.of_worker(worker["resources"], declared) for address, worker in workers.items()}
    answers: dict[str, Any] = {}
    asked = time.time()
    for wanted in (needs, replace(needs, gpu=False)):
        alike = [address for address, its in needs_of.items() if its == wanted and address not in answers]
        if alike:
            with _workers_stay():
                answers |= client.run(facts_of_this_process, wanted, workers=alike, on_error="return")
    answered = time.time()
    found = []
    for address, facts in sorted(answers.items()):
        if isinstance(facts, WorkerFacts):
            wrong = list(faults(needs_of[address], facts, (asked, answered)))
            found += [f"The worker {address} on {facts.host} {'; it '.join(wrong)}."] if wrong else []
        elif isinstance(facts, OSError):
            found.append(f"The worker {address} went away ({one_line(facts)}); see what ended it, and begin again.")
        else:
            found.append(f"The worker {address} cannot answer ({one_line(facts)}); install affstore there as here.")
    if found:
        raise SpecError(" ".join(found))
    with _workers_stay():
        run.enter_context(late_workers_checked(client, needs, declared))


@contextmanager
def _workers_stay() -> Iterator[None]:
    """Say what it means that a connection is lost while workers are asked: Dask's error names no file and no worker."""
    try:
        yield
    except OSError as error:
        raise SpecError(
            f"A worker, or the scheduler, went away while the workers were asked what they have ({one_line(error)}). "
            "See what ended it, as too little memory or a machine that is too busy to answer, and begin the run again."
        ) from error


def _told(client: Any, what: Callable[[], None]) -> None:
    """Have every worker begin with something; whatever has become of workers or scheduler, the work itself will say."""
    from distributed.client import ClosedClientError

    with suppress(OSError, ClosedClientError):
        client.run(what, on_error="ignore")


def _declare_gpus(workers: Mapping[str, Any]) -> bool:
    return any("GPU" in worker["resources"] for worker in workers.values())


def one_line(error: BaseException) -> str:
    """An error of another library, for a sentence."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def _on_this_machine(address: str) -> bool:
    """Whether an address's host has loopback addresses only: an address, `localhost`, or a name for it."""
    host = urlsplit(address if "://" in address else f"tcp://{address}").hostname or ""
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(host, None)} if host else set()
    except OSError:
        return False
    return bool(found) and all(ip_address(one).is_loopback for one in found)


RUNNERS.register(DaskRunner.name, DaskRunner())
