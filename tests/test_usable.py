"""How much of a machine a process may use, by what Linux says of its control groups."""

from __future__ import annotations

import os

import pytest

from affstore.flows.runners import base
from affstore.flows.runners.base import RunnerOptions, workers_of
from affstore.store.contract import usable
from affstore.store.contract.usable import usable_cores, usable_memory_bytes
from affstore.tasks.lineage.machine import Machine

GIB = 1 << 30
CORES, MEMORY_BYTES = 64, 256 * GIB
NO_LIMIT = "9223372036854771712"

POD = {
    "proc/self/cgroup": "0::/\n",
    "sys/fs/cgroup/memory.max": f"{8 * GIB}\n",
    "sys/fs/cgroup/cpu.max": "350000 100000",
}
UNLIMITED = {**POD, "sys/fs/cgroup/memory.max": "max\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}
BATCH_JOB = {
    "proc/self/cgroup": "0::/slurm/job_41/step_0\n",
    "sys/fs/cgroup/slurm/job_41/memory.max": f"{8 * GIB}\n",
    "sys/fs/cgroup/slurm/job_41/cpu.max": "400000 100000\n",
    "sys/fs/cgroup/slurm/job_41/step_0/memory.max": "max\n",
}
OLD = {
    "proc/self/cgroup": "9:name=systemd:/x\n4:memory:/docker/a\n3:cpu,cpuacct:/docker/a\n0::/x\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{8 * GIB}\n",
    "sys/fs/cgroup/memory/docker/a/memory.limit_in_bytes": f"{NO_LIMIT}\n",
    "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "400000\n",
    "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
}
OLD_UNLIMITED = {
    **OLD,
    "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{NO_LIMIT}\n",
    "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
}

ODD = {**POD, "proc/self/cgroup": "\nno group\n1:cpu\n0:://\n0::relative\n"}


@pytest.fixture
def node(monkeypatch):
    """A machine of many cores and much memory."""
    sysconf = os.sysconf
    pages = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": MEMORY_BYTES // 4096}
    monkeypatch.setattr(os, "sysconf", lambda name: pages.get(name) or sysconf(name))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(CORES)))


@pytest.mark.parametrize(
    ("files", "cores", "memory_bytes"),
    [
        (POD, 4, 8 * GIB),
        (UNLIMITED, CORES, MEMORY_BYTES),
        (BATCH_JOB, 4, 8 * GIB),
        (OLD, 4, 8 * GIB),
        (OLD_UNLIMITED, CORES, MEMORY_BYTES),
        (ODD, 4, 8 * GIB),
        ({}, CORES, MEMORY_BYTES),
    ],
)
def test_a_process_may_use_what_its_container_was_given(files, cores, memory_bytes, node, tmp_path):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert (usable_cores(tmp_path), usable_memory_bytes(tmp_path)) == (cores, memory_bytes)


def test_a_run_in_a_container_has_no_more_workers_than_fit_into_it(node, tmp_path, monkeypatch):
    for name, text in POD.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    in_pod = {"usable_cores": lambda: usable.usable_cores(tmp_path)}
    in_pod["usable_memory_bytes"] = lambda: usable.usable_memory_bytes(tmp_path)
    for name, asked in in_pod.items():
        monkeypatch.setattr(base, name, asked)
    assert workers_of(RunnerOptions()) == 2
    monkeypatch.setattr("affstore.tasks.lineage.machine.usable_cores", in_pod["usable_cores"])
    assert Machine.here(uses_gpu=False).cores == 4


def test_what_this_machine_says_is_understood():
    assert 1 <= usable_cores() <= os.cpu_count()
    assert usable_memory_bytes() > 0
