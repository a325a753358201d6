"""Each part of a run on Dask fails, at twenty moments each: `pytest -m slow tests/test_fault_rounds.py`.

After every fault the same command is run again, undisturbed. Then nothing is lost, nothing is there twice, nothing was
half visible in between, the store holds what the store of a run that nobody disturbed holds, and no process is left.
"""

from __future__ import annotations

import os
import random
import secrets
import shutil
import signal
import struct
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest

from affstore import FeatureStore, content_digest
from affstore.models.demo.film import Pictures, Recording, write_film
from affstore.store.contract.clock import FrameClock
from affstore.store.contract.errors import AffstoreError
from tests.dask_cluster import dask_cluster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

ROUNDS = range(20)
FILMS, RATE_HZ, SOUND_HZ, SIZE_PX = 24, 25, 16_000, (64, 48)
MARK = "AFFSTORE_TEST_RUN"
"""An environment variable that every process of a run inherits."""
CODES = {0, 2, 3, 4, 130, 143, 129, -signal.SIGKILL}
"""How a disturbed run may end: done, without a scheduler, partly done, without its store, interrupted, or killed."""
HANGS_S = 10
"""After how long a worker that says nothing is given up; Dask's own default is five minutes."""


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Small films with sound, each of other bytes."""
    folder = tmp_path_factory.mktemp("rounds") / "films"
    folder.mkdir()
    for number in range(FILMS):
        draw = np.random.default_rng(number)
        count = 50 + 5 * number
        pictures = (draw.integers(0, 256, (*SIZE_PX[::-1], 3), np.uint8) for _ in range(count))
        sound = (draw.standard_normal(count * SOUND_HZ // RATE_HZ) / 8).astype(np.float32)
        clock = FrameClock.uniform(RATE_HZ, count)
        write_film(folder / f"v{number:02d}.avi", Pictures(pictures, SIZE_PX, clock), Recording(sound, SOUND_HZ))
    return folder


class Run:
    """`affstore add` on Dask with two worker processes, as a process of its own, and all that it starts."""

    def __init__(self, films: Path, store: str, folder: Path, *more: str, **environment: str) -> None:
        self.mark, self.log = secrets.token_hex(8), folder / "log.txt"
        network = ("-e", "silero_vad", "--weights", "untrained", "--engine", "torch", "--precision", "float32")
        runner = ("--runner", "dask", "--runner-option", "pages=always")
        words = ("add", str(films), "--store", store, *network, *runner, *more)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_API_")}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "affstore.flows.cli", *words],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=kept | {MARK: self.mark, "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": f"{HANGS_S}s"} | environment,
            )

    @property
    def said(self) -> str:
        return self.log.read_text("utf-8")

    def ended(self, limit_s: float = 300) -> int:
        """The exit code; never with a traceback."""
        code = self.process.wait(limit_s)
        assert "Traceback" not in self.said, self.said
        return code

    def parts(self, *, named: str = "") -> list[psutil.Process]:
        """The living processes of the run whose command line holds a text, in the order they were started."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                own = process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE
                if own and named in " ".join(process.cmdline()):
                    found.append(process)
        return sorted(found, key=lambda one: one.create_time())

    def part(self, named: str) -> psutil.Process | None:
        """The first such process, once there is one; None where the run ends before."""
        deadline = time.monotonic() + 60
        while not (found := self.parts(named=named)):
            if self.process.poll() is not None:
                return None  # the run ended before it could fail
            assert time.monotonic() < deadline, f"no {named}: {self.said}"
            time.sleep(0.05)
        return found[0]


# Faults, each of a run that is at work and ends; whether there was anything to strike.


def signalled(*signals: int, every_s: float = 0.4):
    def strike(run: Run) -> bool:
        struck = run.process.poll() is None
        for number in signals:
            with suppress(ProcessLookupError):
                run.process.send_signal(number)
            time.sleep(every_s)
        return struck

    return strike


def part_signalled(named: str, number: int):
    def strike(run: Run) -> bool:
        found = run.part(named)
        if found is not None:
            with suppress(psutil.NoSuchProcess):
                found.send_signal(number)
                return True
        return False

    return strike


WORKER, SERVER = "spawn_main", "shared_server.py"

FAULTS = {
    "a worker is killed": part_signalled(WORKER, signal.SIGKILL),
    "a worker hangs": part_signalled(WORKER, signal.SIGSTOP),
    "the coordinator is killed": signalled(signal.SIGKILL),
    "the Prefect server is killed": part_signalled(SERVER, signal.SIGKILL),
    "SIGTERM": signalled(signal.SIGTERM),
    "SIGINT twice": signalled(signal.SIGINT, signal.SIGINT),
    "the terminal is closed": signalled(signal.SIGHUP),
}


@dataclass(frozen=True)
class Undisturbed:
    """What a run that nobody disturbs leaves in a store, and how long after its start it says each line, in seconds."""

    digest: str
    artifacts: int
    said_s: tuple[float, ...]

    def wait(self, run: Run, fault: str, number: int) -> None:
        """Sleep until the moment at which a fault strikes a run: anywhere from before its first task to its last one.

        The moment is drawn on this run's time, and waited for by what the other run says: one may be faster.
        """
        moment_s = random.Random(f"{fault} {number}").uniform(0.3, 0.98) * self.said_s[-1]
        lines = sum(said_s <= moment_s for said_s in self.said_s)
        deadline = time.monotonic() + 120
        while run.said.count("\n") < lines and run.process.poll() is None:
            assert time.monotonic() < deadline, run.said
            time.sleep(0.02)
        time.sleep(moment_s - (self.said_s[lines - 1] if lines else 0))


@pytest.fixture(scope="module")
def undisturbed(films):
    """A run that nobody disturbed, timed where another has already compiled and read what it needs."""
    for name in ("first", "undisturbed"):
        folder = films.with_name(name)
        folder.mkdir()
        begun, said_s = time.monotonic(), []
        run = Run(films, str(folder / "store"), folder)
        while run.process.poll() is None:
            said_s += [time.monotonic() - begun] * (run.said.count("\n") - len(said_s))
            time.sleep(0.02)
        assert run.ended() == 0, run.said
    store = FeatureStore(str(folder / "store"))
    return Undisturbed(content_digest(store), len(store.addresses()), tuple(said_s))


def check_after(run: Run, again: Run, store: str, undisturbed: Undisturbed) -> None:
    """What is true after a fault, whatever it was."""
    assert run.ended() in CODES, run.said
    before = readable(store)
    assert again.ended() == 0, again.said
    opened = FeatureStore(store)
    assert content_digest(opened) == undisturbed.digest
    assert len(opened.addresses()) == undisturbed.artifacts
    now = {record.address.path: record.run_id for record in opened.records()}
    assert {path: now[path] for path in before} == before, "what was finished is not computed again"
    deadline = time.monotonic() + 60
    while (left := [*run.parts(), *again.parts()]) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not left, [(one.pid, one.cmdline()) for one in left]


def readable(store: str) -> dict[str, str]:
    """Everything that a reader finds, read whole, and the run that made it."""
    try:
        opened = FeatureStore(store)
    except AffstoreError:
        return {}
    for record in opened.records():
        opened.read(record.address)
    return {record.address.path: record.run_id for record in opened.records()}


@pytest.mark.parametrize("number", ROUNDS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_run_one_of_whose_parts_fails_is_completed_by_the_next(fault, number, films, undisturbed, tmp_path):
    store = str(tmp_path / "store")
    run = Run(films, store, tmp_path)
    undisturbed.wait(run, fault, number)
    struck = FAULTS[fault](run)
    run.process.wait(300)
    check_after(run, Run(films, store, tmp_path), store, undisturbed)
    if not struck:
        pytest.skip("the run ended before the fault, so that nothing was tried")


@pytest.mark.parametrize("number", ROUNDS)
def test_a_run_whose_scheduler_is_killed_is_completed_on_another(number, films, undisturbed, tmp_path):
    store = str(tmp_path / "store")
    with dask_cluster(tmp_path, (), ()) as (address, processes):
        run = Run(films, store, tmp_path, "--scheduler", address)
        undisturbed.wait(run, "scheduler", number)
        processes[0].kill()
        run.process.wait(300)
    with dask_cluster(tmp_path, (), ()) as (address, _):
        check_after(run, Run(films, store, tmp_path, "--scheduler", address), store, undisturbed)


@pytest.mark.parametrize("number", ROUNDS)
@pytest.mark.parametrize("kind", ["500", "503", "slow", "cut"])
def test_a_run_whose_object_storage_fails_for_a_while_is_whole_at_last(
    kind, number, films, undisturbed, proxy, s3_url, tmp_path
):
    store = s3_url
    proxy.set("none")
    run = Run(films, store, tmp_path, AWS_ENDPOINT_URL=proxy.endpoint)
    draw = random.Random(f"{kind} {number}")
    undisturbed.wait(run, kind, number)
    proxy.set(kind, "*")
    time.sleep(draw.uniform(0.5, 15))
    proxy.set("none")
    run.process.wait(300)
    check_after(run, Run(films, store, tmp_path, AWS_ENDPOINT_URL=proxy.endpoint), store, undisturbed)


@pytest.mark.parametrize("number", ROUNDS)
def test_a_run_whose_disk_fills_up_is_completed_once_there_is_room(number, films, undisturbed, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", small], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"needs the right to mount a small disk: {mounted.stderr.strip()}")
    with ExitStack() as stack:
        stack.callback(subprocess.run, ["umount", "-l", small], check=True)
        run = Run(films, str(small / "store"), tmp_path)
        undisturbed.wait(run, "disk", number)
        with suppress(OSError), (small / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(bytes(1 << 12))
        run.process.wait(300)
        (small / "filler").unlink()
        check_after(run, Run(films, str(small / "store"), tmp_path), str(small / "store"), undisturbed)


@pytest.fixture(scope="module")
def clock_shift(tmp_path_factory):
    """A library that shifts the clock of a process while it runs."""
    if not (compiler := shutil.which("cc")):
        pytest.skip("needs a C compiler")
    library = tmp_path_factory.mktemp("clock") / "clock_shift.so"
    code = Path(__file__).with_name("clock_shift.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, code, "-ldl"], check=True)
    return library


@pytest.mark.parametrize("number", ROUNDS)
def test_a_clock_that_jumps_harms_nothing(number, films, undisturbed, clock_shift, tmp_path):
    draw, shift = random.Random(f"clock {number}"), tmp_path / "shift"
    shift.write_bytes(bytes(8))
    store = str(tmp_path / "store")
    run = Run(films, store, tmp_path, LD_PRELOAD=str(clock_shift), CLOCK_SHIFT_FILE=str(shift))
    undisturbed.wait(run, "clock", number)
    with shift.open("r+b", buffering=0) as file:
        file.write(struct.pack("=q", draw.choice((-1, 1)) * draw.choice((90, 7_200, 86_400))))
    run.process.wait(300)
    check_after(run, Run(films, store, tmp_path), store, undisturbed)
