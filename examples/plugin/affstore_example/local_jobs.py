"""A runner in the manner of a batch system: each task is a job file in a spool folder, and a process that runs it.

Put `sbatch --wait --wrap "…"` in the place of `_COMMAND` and let `spool` be on a shared disk, and it is SLURM.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle

from affstore.flows.runners.base import Runner, RunnerKind, RunnerOptions, workers_of

if TYPE_CHECKING:
    from affstore.tasks.extract.memory_estimate import Parallelism

_COMMAND = [sys.executable, "-m", "affstore_example.local_jobs"]


class LocalJobsOptions(RunnerOptions):
    """What a configuration may say.

    Attributes:
        spool: folder of the job files; a temporary one without it.
    """

    spool: Path | None = None


class LocalJobsRunner(RunnerKind[LocalJobsOptions]):
    """A process for each task."""

    contract = 1
    name = "local-jobs"
    description = "a job file and a process of this machine for each task, as a batch system would run it"
    Options = LocalJobsOptions

    def parallelism(self, options: LocalJobsOptions) -> Parallelism:
        """A process for each of the tasks that run at once."""
        from affstore.tasks.extract.memory_estimate import Parallelism

        workers = workers_of(options)
        return Parallelism(workers, workers, threads=1)

    @contextmanager
    def start(self, options: LocalJobsOptions) -> Iterator[Runner]:
        """Open the spool folder; jobs that still run at the end are killed."""
        with tempfile.TemporaryDirectory() as temporary:
            spool = options.spool or Path(temporary)
            spool.mkdir(parents=True, exist_ok=True)
            jobs = _Jobs(spool, workers_of(options))
            try:
                yield Runner.on(jobs)
            finally:
                jobs.shutdown(cancel_futures=True)


class _Jobs(Executor):
    """Runs each call as a job; `workers` at once, as a batch system limits its users."""

    def __init__(self, spool: Path, workers: int) -> None:
        self._spool, self._waiting = spool, ThreadPoolExecutor(workers, thread_name_prefix="job")
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Write the job down, and run it when a place is free."""
        job = self._spool / f"{uuid.uuid4()}.job"
        job.write_bytes(cloudpickle.dumps((fn, args, kwargs)))
        return self._waiting.submit(self._run, job)

    def _run(self, job: Path) -> Any:
        log, result = job.with_suffix(".log"), job.with_suffix(".result")
        try:
            with log.open("wb") as output:
                process = subprocess.Popen([*_COMMAND, str(job)], stdout=output, stderr=output)
            with self._lock:
                self._running.add(process)
            process.wait()
            with self._lock:
                self._running.discard(process)
            if process.returncode:
                last = log.read_text(errors="replace").splitlines()[-1:] or ["it said nothing"]
                raise RuntimeError(f"A job ended with {process.returncode}: {last[0]}")
            worked, value = cloudpickle.loads(result.read_bytes())
        finally:
            for path in (job, log, result):
                path.unlink(missing_ok=True)
        if not worked:
            raise value
        return value

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End with the run."""
        if cancel_futures:
            with self._lock:
                for process in self._running:
                    process.kill()
        self._waiting.shutdown(wait, cancel_futures=cancel_futures)


def run_job(job: Path) -> None:
    """What a job does: call the function in its file, and write down what it returns or raises."""
    import affstore.flows.worker  # noqa: F401 - sets what must be set before anything else is imported

    function, args, kwargs = cloudpickle.loads(job.read_bytes())
    try:
        outcome = True, function(*args, **kwargs)
    except Exception as error:  # noqa: BLE001 - it is raised where the job was submitted
        outcome = False, error
    job.with_suffix(".result").write_bytes(cloudpickle.dumps(outcome))


RUNNER = LocalJobsRunner()

if __name__ == "__main__":
    run_job(Path(sys.argv[1]))
