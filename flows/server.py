"""A real Prefect server, started and stopped by the command that needs it."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from affstore.store.contract.errors import AffstoreError

_START_LIMIT_S = 180
_STOP_LIMIT_S = 15
_PR_SET_PDEATHSIG = 1


class ServerError(AffstoreError):
    """The Prefect server could not be started or does not answer."""


@contextmanager
def prefect_server(home: Path) -> Iterator[str]:
    """The address of a Prefect API: the user's own if `PREFECT_API_URL` is set, else one of ours while this lasts.

    Ours keeps its database in `home`, so that runs stay visible from one command to the next. It is a server of its
    own also for threads: Dask's workers must never each start an ephemeral one (architecture §3.5).

    Raises:
        ServerError: it does not come up; the message names its log.
    """
    given = os.environ.get("PREFECT_API_URL")
    if given:
        _check_answers(given)
        with _used(given):
            yield given
        return
    process, url = _start(home)
    try:
        _wait(process, url, home)
        with _used(url):
            yield url
    finally:
        _stop(process)


def _check_answers(url: str) -> None:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=10):
            return
    except (OSError, ValueError) as error:
        raise ServerError(
            f"PREFECT_API_URL names {url}, where no Prefect server answers ({error}). "
            "Start it, or unset PREFECT_API_URL."
        ) from error


def _start(home: Path) -> tuple[subprocess.Popen[bytes], str]:
    home.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    url = f"http://127.0.0.1:{port}/api"
    # The interface in the browser must ask the server it came from.
    environment = {**os.environ, "PREFECT_HOME": str(home), "PREFECT_SERVER_UI_API_URL": url}
    environment["PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED"] = "false"
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (home / "server.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )
    return process, url


def _end_with_parent() -> None:
    """Let Linux end the server when this process is killed in a way that leaves no time to stop it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _wait(process: subprocess.Popen[bytes], url: str, home: Path) -> None:
    deadline = time.monotonic() + _START_LIMIT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServerError(f"The Prefect server ended at once. Its log is {home / 'server.log'}.")
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise ServerError(f"The Prefect server did not answer within {_START_LIMIT_S} s. Its log: {home / 'server.log'}.")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def _used(url: str) -> Iterator[None]:
    """Make this process and the processes it starts talk to that server."""
    before = os.environ.get("PREFECT_API_URL")
    os.environ["PREFECT_API_URL"] = url
    from prefect.settings import PREFECT_API_URL, temporary_settings

    try:
        with temporary_settings({PREFECT_API_URL: url}):
            yield
    finally:
        if before is None:
            del os.environ["PREFECT_API_URL"]
        else:
            os.environ["PREFECT_API_URL"] = before


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
