"""How much of the machine this process may use: a container or a job of a batch system is often given only a part."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_ROOT = Path("/")


def usable_cores(root: Path = _ROOT) -> int:
    """How many cores this process may use, at least one.

    Args:
        root: of the file system; Linux says there what a container was given.
    """
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([here, *_quotas(root)])


def usable_memory_bytes(root: Path = _ROOT) -> int:
    """How much memory this process, and those that it starts, may use together.

    Args:
        root: of the file system; Linux says there what a container was given.
    """
    here = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    names = ("memory.max", "memory.limit_in_bytes")
    found = (_numbers(group / name) for group in _groups("memory", root) for name in names)
    return min([here, *(limit for limit, *_ in filter(None, found))])


def _quotas(root: Path) -> Iterator[int]:
    """How many cores the time of each group would fill, rounded up."""
    for group in _groups("cpu", root):
        quota_and_period = _numbers(group / "cpu.max")
        quota_and_period = quota_and_period or [
            number for name in ("quota", "period") for number in _numbers(group / f"cpu.cfs_{name}_us")
        ]
        if len(quota_and_period) == 2 and min(quota_and_period) > 0:
            quota, period = quota_and_period
            yield -(-quota // period)


def _groups(controller: str, root: Path) -> Iterator[Path]:
    """The folders of the control groups that this process is in; each group's limits hold, so those above it, too."""
    mounted = root / "sys/fs/cgroup"
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # another system than Linux
        return
    for line in lines:
        _, controllers, name = [*line.split(":", 2), "", ""][:3]
        if not name or (controllers and controller not in controllers.split(",")):
            continue
        group = PurePosixPath("/", name.lstrip("/"))
        for one in (group, *group.parents):
            yield (mounted / controller if controllers else mounted) / one.relative_to("/")


def _numbers(path: Path) -> list[int]:
    """The numbers of a limit's file; none where there is no such file or, as it says by `max`, no limit."""
    try:
        words = path.read_text(encoding="ascii").split()
        return [int(word) for word in words]
    except (OSError, ValueError):
        return []
