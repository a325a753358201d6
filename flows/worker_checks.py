"""What a run asks each worker process before it begins: workers that differ would compute other numbers, or none."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from affstore.models.engines.gpu import has_gpu
from affstore.store.contract.errors import AffstoreError
from affstore.store.engine.places import is_local
from affstore.tasks.specs import OPTIONAL_PACKAGES, installed_versions, package_versions

_MOST_CLOCK_OFF_S = 60.0
_CLUSTER_PACKAGES = ("dask", "distributed", "cloudpickle")


def versions_here() -> dict[str, str]:
    """Versions of what decides numbers, and of what carries tasks between processes."""
    return package_versions() | installed_versions(_CLUSTER_PACKAGES)


@dataclass(frozen=True, slots=True)
class WorkerNeeds:
    """What each worker must have.

    Attributes:
        store_url: address of the store.
        snapshot: of the store, which a worker must find there.
        files: videos and crop folders that the run reads.
        weights: files of the networks' parameters.
        gpu: whether networks run on a GPU.
        versions: of the packages of the command's own process.
    """

    store_url: str
    snapshot: str
    files: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    gpu: bool = False
    versions: Mapping[str, str] = field(default_factory=versions_here)

    def of_worker(self, resources: Iterable[str], declared: bool) -> WorkerNeeds:
        """What one worker must have: where some declare a GPU, work for a GPU goes to these alone.

        Args:
            resources: what the worker declares.
            declared: whether any worker declares a GPU.
        """
        return replace(self, gpu=self.gpu and (not declared or "GPU" in resources))


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """What a worker answers.

    Attributes:
        host: the machine that it is on.
        versions: of its packages.
        store_fault: why the store cannot be used there, or an empty text.
        files: those that it does not see.
        weights: those that it does not see.
        has_gpu: whether torch finds a GPU; True where none is needed.
        time_s: its clock.
    """

    host: str
    versions: Mapping[str, str]
    store_fault: str
    files: tuple[str, ...]
    weights: tuple[str, ...]
    has_gpu: bool
    time_s: float


def facts_of_this_process(needs: WorkerNeeds) -> WorkerFacts:
    """Answer for the process that this is called in."""
    return WorkerFacts(
        socket.gethostname(),
        versions_here(),
        _store_fault(needs),
        _not_here(needs.files),
        _not_here(needs.weights),
        not needs.gpu or has_gpu(),
        time.time(),
    )


def faults(needs: WorkerNeeds, facts: WorkerFacts, asked: tuple[float, float]) -> Iterator[str]:
    """What is wrong with a worker, each as the end of a sentence that begins with its name, and what to do.

    Args:
        needs: what it must have.
        facts: what it answered.
        asked: when it was asked, and when the answer was there, by the clock of the command's machine.
    """
    others = [
        f"{name} {facts.versions.get(name, 'not installed')} (here {version})"
        for name, version in needs.versions.items()
        if facts.versions.get(name) != version and (name in facts.versions or name not in OPTIONAL_PACKAGES)
    ]
    if others:
        yield f"has other versions: {', '.join(others)}; install there what is installed here"
    if facts.store_fault:
        remedy = (
            "mount it there as here"
            if is_local(needs.store_url)
            else "give it credentials that may read and write there"
        )
        yield f"cannot use the store at '{needs.store_url}' ({facts.store_fault.rstrip('.')}); {remedy}"
    for what, missing, of in (("inputs", facts.files, needs.files), ("weights", facts.weights, needs.weights)):
        if missing:
            yield (
                f"does not see {len(missing)} of {len(of)} {what}, as '{missing[0]}'; "
                "give it the same files under the same paths"
            )
    if not facts.has_gpu:
        yield "has no GPU that torch can use, as the run asks for; start it where there is one, or use --device cpu"
    yield from clock_faults(facts.time_s, asked)


def clock_faults(time_s: float, asked: tuple[float, float]) -> Iterator[str]:
    """The same of its clock alone.

    Args:
        time_s: what it shows.
        asked: when it was asked, and when the answer was there, by the clock of the command's machine.
    """
    off_s = max(asked[0] - time_s, time_s - asked[1])
    if off_s > _MOST_CLOCK_OFF_S:
        yield f"has a clock that is {off_s:.0f} s off; set the time of its machine"


def _store_fault(needs: WorkerNeeds) -> str:
    from affstore import FeatureStore
    from affstore.store.engine.objects import check_bucket_writable
    from affstore.store.engine.places import check_writable
    from affstore.store.engine.writers import sees_a_writer

    try:
        FeatureStore(needs.store_url, needs.snapshot)
        check_writable(needs.store_url)
        check_bucket_writable(needs.store_url)
        seen = sees_a_writer(needs.store_url)
    except AffstoreError as error:
        return str(error)
    return "" if seen else "it does not see the locks of the machine that the run is on: NFS of version 4 shares them"


def _not_here(paths: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(path for path in paths if not Path(path).exists())
