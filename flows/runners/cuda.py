"""A worker process for each GPU of this machine, by dask-cuda."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from affstore.flows.runners.base import RUNNERS, Runner, RunnerKind, RunnerOptions
from affstore.flows.runners.dask import PRELOAD, on_scheduler, processes
from affstore.store.contract.errors import SpecError
from affstore.store.contract.extras import require_package

if TYPE_CHECKING:
    from affstore.tasks.extract.memory_estimate import Parallelism


class CudaRunner(RunnerKind[RunnerOptions]):
    """Tasks in a process for each GPU; `workers` is how many of the GPUs are used, 0 for all."""

    name = "cuda"
    description = "a worker process for each GPU of this machine; networks run there with --device cuda"
    needs = "pip install dask-cuda"
    extra = "cluster"
    Options = RunnerOptions

    def parallelism(self, options: RunnerOptions) -> Parallelism:
        """A process for each GPU."""
        return processes(options.workers or max(1, _gpus()))

    @contextmanager
    def start(self, options: RunnerOptions) -> Iterator[Runner]:
        """A cluster of this machine's GPUs, which is stopped at the end."""
        require_package("dask_cuda", "The runner 'cuda'", self.needs)
        here = _gpus()
        if here < max(1, options.workers):
            raise SpecError(
                f"The runner 'cuda' was asked for {options.workers or 'all'} GPUs, and torch finds {here} here. Use "
                "--runner threads or dask, or a machine with GPUs."
            )
        from dask_cuda import LocalCUDACluster

        with (
            LocalCUDACluster(
                n_workers=options.workers or None,
                threads_per_worker=1,
                resources={"GPU": 1},
                dashboard_address=None,
                preload=[PRELOAD],
            ) as cluster,
            on_scheduler(cluster.scheduler_address) as runner,
        ):
            yield runner


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()


RUNNERS.register(CudaRunner.name, CudaRunner())
