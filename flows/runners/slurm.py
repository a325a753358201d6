"""Worker processes in jobs of a SLURM cluster, submitted by dask-jobqueue for as long as a run lasts."""

from __future__ import annotations

import logging
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from affstore.flows.runners.base import RUNNERS, Runner, RunnerKind, RunnerOptions, written
from affstore.flows.runners.dask import PRELOAD, on_scheduler, one_line, processes
from affstore.flows.watch import watching
from affstore.store.contract.errors import SpecError, WorkersLostError
from affstore.store.contract.printable import some

if TYPE_CHECKING:
    from affstore.tasks.extract.memory_estimate import Parallelism

_LOOK_S = 5.0
"""How often jobs that ended early are submitted anew."""
_LEAST_IN_VAIN = 10
"""Jobs that may end one after the other, no task finished meanwhile: a video that kills its worker is given up by Dask
after four, and then tried once more."""
_LOGS = "slurm-logs"
_FOR_EVER = {
    "AccountNotAllowed", "BadConstraints", "InvalidAccount", "InvalidQOS", "PartitionDown", "PartitionInactive",
    "PartitionNodeLimit", "PartitionTimeLimit",
}  # fmt: skip
"""Reasons of SLURM for which a job waits that no other job's end changes."""


class SlurmOptions(RunnerOptions):
    """What a configuration may say of SLURM; what is not named is as the cluster's administrators chose.

    `workers` is how many tasks run at once, rounded up to whole jobs; 0 for those of one job.

    Attributes:
        partition: that jobs are submitted to.
        account: that they are charged to.
        cores: of each job. Without a GPU it has a worker process for each.
        memory: of each job, as `16GB`.
        walltime: of each job, as `HH:MM:SS`. A job that ends before the run is submitted anew.
        gpus: of each job, 0 or 1. With one, the job is one worker process, which has it.
        interface: of the network on which jobs reach this machine, as `ib0`; by Dask's choice if empty.
    """

    partition: Annotated[str, written(r"([\w.+-]+(,[\w.+-]+)*)?", "as `cpu`, or `cpu,long` for any of these")] = ""
    account: Annotated[str, written(r"[\w.@+-]*", "as `lab`")] = ""
    cores: int = Field(default=1, ge=1, le=1024)
    memory: Annotated[str, written(r"\d+(\.\d+)? ?([kKMGTP]i?)?[bB]?", "as `16GB`")] = "4GB"
    walltime: Annotated[str, written(r"(\d+-)?\d+(:\d{1,2}){0,2}", "as `24:00:00`, in quotes")] = "24:00:00"
    gpus: int = Field(default=0, ge=0, le=1)
    interface: Annotated[str, written(r"[\w.:-]*", "as `ib0`")] = ""

    @property
    def workers_a_job(self) -> int:
        """Worker processes of one job."""
        return 1 if self.gpus else self.cores

    @property
    def jobs(self) -> int:
        """How many jobs are submitted."""
        return -(-max(1, self.workers) // self.workers_a_job)


class SlurmRunner(RunnerKind[SlurmOptions]):
    """Tasks in jobs of a SLURM cluster."""

    name = "slurm"
    description = "worker processes in jobs that are submitted to SLURM, from a machine that has its `sbatch`"
    extra = "cluster"
    Options = SlurmOptions

    def parallelism(self, options: SlurmOptions) -> Parallelism:
        """A process for each task."""
        return processes(options.jobs * options.workers_a_job)

    @contextmanager
    def start(self, options: SlurmOptions) -> Iterator[Runner]:
        """A scheduler in this process, and jobs that are cancelled at the end."""
        if shutil.which("sbatch") is None:
            raise SpecError(
                "The runner 'slurm' submits jobs by `sbatch`, which is not on this machine. Run the command on a login "
                "node of the cluster, or with another --runner."
            )
        import dask
        import distributed  # noqa: F401 - its defaults would be lost with the setting below, were they read within it

        # dask-jobqueue lets go of a job that is gone after this time, and can submit it anew then.
        lost = {"distributed.deploy.lost-worker-timeout": f"{_LOOK_S:g}s"}
        with dask.config.set(lost), _cluster(options) as cluster:
            _check(cluster.job_script(), options)
            cluster.scale(jobs=options.jobs)
            _await_worker(cluster, options.jobs)
            with _jobs_kept(cluster, options.jobs), on_scheduler(cluster.scheduler_address) as runner:
                yield runner

    def elsewhere(self, options: SlurmOptions) -> bool:
        """Jobs run where SLURM puts them."""
        return True


def _cluster(options: SlurmOptions) -> Any:
    """A scheduler that has no jobs yet.

    Raises:
        SpecError: Dask understands a value of the options not.
    """
    from dask_jobqueue.slurm import SLURMCluster

    try:
        return SLURMCluster(job_cls=_job_class(), **_cluster_options(options))
    except (RuntimeError, ValueError) as error:
        raise SpecError(
            f"Dask starts no scheduler for jobs with memory {options.memory} and interface "
            f"{options.interface or '(of its choice)'} ({one_line(error)}). Name others by --runner-option."
        ) from error


def _job_class() -> Any:
    """dask-jobqueue's job, which says in `not_taken` why `sbatch` did not take it, instead of ending the cluster."""
    from dask_jobqueue.slurm import SLURMJob
    from distributed.core import Status

    class SlurmJob(SLURMJob):
        not_taken = ""

        async def start(self) -> None:
            try:
                await super().start()  # type: ignore[no-untyped-call]
            except RuntimeError as error:
                self.not_taken = one_line(RuntimeError(str(error).partition("stderr:")[2]))
                self.status = Status.running  # for Dask, which would end with an error where it is another

    return SlurmJob


def _cluster_options(options: SlurmOptions) -> dict[str, Any]:
    resources = ["--resources", "GPU=1"] if options.gpus else []
    return {
        "queue": options.partition or None,
        "account": options.account or None,
        "cores": options.workers_a_job,
        "processes": options.workers_a_job,
        "job_cpu": options.cores,
        "memory": options.memory,
        "walltime": options.walltime,
        "interface": options.interface or None,
        "worker_extra_args": ["--preload", PRELOAD, *resources],
        "job_extra_directives": ["--gres=gpu:1"] if options.gpus else [],
        "log_directory": _LOGS,
        "scheduler_options": {"dashboard_address": None},
        # One that has lost its scheduler must not wait for its walltime.
        "death_timeout": 120,
    }


def _check(script: str, options: SlurmOptions) -> None:
    """Ask SLURM whether it would take such a job.

    Raises:
        SpecError: it would not; its reason is in the message.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as file:
        file.write(script)
        file.flush()
        asked = subprocess.run(["sbatch", "--test-only", file.name], capture_output=True, text=True, check=False)
    if asked.returncode:
        reason = " ".join(asked.stderr.replace("sbatch: error:", "").replace("allocation failure:", "").split())
        place = ", ".join(
            f"{name} {value}"
            for name, value in (("partition", options.partition), ("account", options.account))
            if value
        )
        raise SpecError(
            f"SLURM does not take a job of {options.cores} cores, {options.memory} and {options.walltime}"
            f"{f' for {place}' if place else ''}: {reason}. `sinfo` lists the partitions, `sacctmgr show assoc` the "
            "accounts; name others by --runner-option."
        )


def _await_worker(cluster: Any, jobs: int) -> None:
    """Wait until the first job has started: a queue may be long.

    Raises:
        SpecError: SLURM takes no job, or all ended before a worker joined.
    """
    watching().step(f"waiting for SLURM to start one of {jobs} jobs")
    while not cluster.scheduler_info["workers"]:
        time.sleep(1)
        refused, submitted = _not_taken(cluster), _submitted(cluster)
        if refused and not submitted:
            raise SpecError(f"SLURM takes no job of this run: {next(iter(refused.values()))}")
        states = _states(submitted)
        if states is None:
            continue
        if submitted and not states:
            raise SpecError(
                f"SLURM's jobs {some([*submitted], 5)} ended before a worker of them had joined. "
                f"{_last_words(submitted)}"
            )
        if submitted and all(reason in _FOR_EVER for reason in states.values()):
            reason = next(iter(states.values()))
            raise SpecError(
                f"SLURM would let the jobs {some([*submitted], 5)} wait for ever ({reason}), so they were "
                "cancelled. Name another partition, account, walltime or memory by --runner-option."
            )


def _not_taken(cluster: Any) -> dict[str, str]:
    """Why `sbatch` did not take jobs, by the names of their workers."""
    return {name: job.not_taken for name, job in list(cluster.workers.items()) if job.not_taken}


def _submitted(cluster: Any) -> dict[str, Any]:
    """A cluster's jobs: the name of its worker by SLURM's number."""
    return {job.job_id: name for name, job in list(cluster.workers.items()) if job.job_id}


def _states(jobs: Iterable[str]) -> dict[str, str] | None:
    """Why each job that has not ended waits, as SLURM calls it; `None` of one that runs or is next.

    None where SLURM does not say: its controller may be busy. It forgets jobs that ended long ago.
    """
    command = ["squeue", "--noheader", "--format=%i %r", "--states=PD,R,CF,S", f"--jobs={','.join(jobs)}"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    if asked.returncode and "Invalid job id" not in asked.stderr:
        return None
    return dict(line.split(maxsplit=1) for line in asked.stdout.splitlines())


def _last_words(jobs: Iterable[str]) -> str:
    """What a job's log ends with."""
    for job in jobs:
        for log in sorted(Path(_LOGS).glob(f"*-{job}.err")):
            lines = log.read_text(errors="replace").split("\n")
            words = next((line.strip() for line in reversed(lines) if line.strip()), "")
            if words:
                return f"The log {log} ends with: {words[:300]}"
    return f"Their logs are in {Path(_LOGS).absolute()}."


@contextmanager
def _jobs_kept(cluster: Any, jobs: int) -> Iterator[None]:
    """Submit jobs anew that are cancelled, fail, or reach their walltime while this lasts.

    Raises:
        WorkersLostError: one job after the other ended without having finished a task. What waits for a task is told
            first, as the scheduler is closed.
    """
    over = threading.Event()
    counter = _task_counter()
    cluster.scheduler.add_plugin(counter)
    client_log = logging.getLogger("distributed.client")
    gone: list[str] = []

    def keep() -> None:
        done, refused, failed = 0, "", ""
        while not over.wait(_LOOK_S):
            if counter.done > done:
                gone.clear()
                done = counter.done
            try:
                why, ended = _replace_ended(cluster, jobs, gone)
            except Exception as error:  # noqa: BLE001 - without this thread, no job that ends would be replaced
                if (fault := one_line(error)) != failed:
                    watching().notice(
                        f"SLURM's jobs could not be looked after ({fault}); it is tried again every {_LOOK_S:g} s."
                    )
                failed = fault
                continue
            if why and why != refused:
                watching().notice(f"SLURM takes no further job ({why}); it is asked again every {_LOOK_S:g} s.")
            refused, failed = why, ""
            if len(gone) >= max(_LEAST_IN_VAIN, 3 * jobs):
                client_log.disabled = True  # the scheduler that is gone is this function's doing
                cluster.loop.add_callback(cluster.scheduler.close)
                return
            if ended:
                watching().notice(f"Jobs of SLURM ended before the run: {', '.join(ended)}. Others take their place.")
        gone.clear()

    thread = threading.Thread(target=keep, daemon=True, name="slurm jobs")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        client_log.disabled = False
        if gone:
            raise WorkersLostError(
                f"{len(gone)} jobs of SLURM, one after the other, ended without having finished a task: "
                f"{', '.join(gone[-3:])} were the last. {_last_words(gone[::-1])} What was finished before is kept. "
                "Give jobs more --runner-option memory or walltime, or leave a broken node out, and run the command "
                "again."
            )


def _replace_ended(cluster: Any, jobs: int, gone: list[str]) -> tuple[str, list[str]]:
    """Have as many jobs as before; `gone` gets those that have ended, also where that fails.

    Returns:
        Why `sbatch` took a job not, if so; and those that have ended.
    """
    why, ended = next(iter(_not_taken(cluster).values()), ""), _forget_ended(cluster)
    gone.extend(ended)
    cluster.scale(jobs=jobs)
    return why, ended


def _task_counter() -> Any:
    """A plugin of the scheduler whose `done` is how many tasks workers have finished."""
    from distributed import SchedulerPlugin

    class TaskCounter(SchedulerPlugin):
        done = 0

        def transition(self, key: Any, start: str, finish: str, *_: Any, **__: Any) -> None:
            self.done += (start, finish) == ("processing", "memory")

    return TaskCounter()


def _forget_ended(cluster: Any) -> list[str]:
    """Let the cluster know which of its jobs have ended, whether or not a worker of theirs had joined.

    What `sbatch` did not take is forgotten too: it is submitted anew, and SLURM may take it by then.
    """
    submitted, not_taken = _submitted(cluster), _not_taken(cluster)
    states = _states(submitted) if submitted else None
    ended = [] if states is None else sorted(set(submitted) - states.keys())
    gone = [*(submitted[job] for job in ended), *not_taken]
    if gone:
        cluster.sync(cluster.scale_down, gone)
    return ended


RUNNERS.register(SlurmRunner.name, SlurmRunner())
