"""A real Prefect server, started by the first command that needs it and shared by those beside it.

Prefect shows what a run does; the store holds what it made. A run whose server cannot be started, ends, or does not
answer any more says so once and goes on without it.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import resource
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

from affstore.flows.environment import OF_OWN_SERVERS
from affstore.flows.watch import watching
from affstore.store.contract.errors import SpecError
from affstore.store.contract.files import cache_folder, locked

_START_LIMIT_S = 180
_STOP_LIMIT_S = 10
_LOOK_S = 1.0
_STOPPED_LOOKS = 3
"""A server that is stopped this many times in a row when looked at does not come back in time."""
_ROOM_BYTES = 1 << 20
_PROGRAM = Path(__file__).with_name("shared_server.py")
_GONE, _STOPPED = ("", "Z", "X"), ("T", "t")
"""Letters that Linux has for processes that ended, or that a signal has stopped."""


class ServerError(SpecError):
    """The Prefect server that the user named does not answer."""


class Server:
    """The Prefect server of a run, or the lack of one.

    Attributes:
        url: of its API; empty where there is none.
        secret: what its API asks for, as `user:password`; empty where it asks for nothing.
        pid: of its process, where it is one of ours.
        secret_file: where a person finds the secret.
    """

    def __init__(self, url: str, secret: str = "", pid: int = 0, home: Path | None = None) -> None:
        self.url, self.secret, self.pid = url, secret, pid
        self.secret_file = home / "server.json" if home is not None else None
        self._home = home
        self._ready, self._lost = threading.Event(), threading.Event()
        self._over = threading.Event()

    @property
    def answers(self) -> bool:
        """Whether there is a server, as far as is known."""
        return bool(self.url) and not self._lost.is_set()

    def wait(self) -> None:
        """Wait until a server of ours, which was begun to be started, answers; go on without one that never does."""
        deadline = time.monotonic() + _START_LIMIT_S
        while self.pid and self.answers and not self._ready.is_set():
            if _answers(self.url, self.secret):
                self._ready.set()
            elif time.monotonic() > deadline:
                self.lose(f"it did not answer within {_START_LIMIT_S} s")
            else:
                time.sleep(0.1)

    def ping(self) -> bool:
        """Whether the server answers just now."""
        if self.answers:
            try:
                _check_answers(self.url)
            except ServerError as error:
                self.lose(error.__cause__)
        return self.answers

    def lose(self, why: object) -> None:
        """Go on without the server from now on, and say so once."""
        if self._over.is_set() or self._lost.is_set():
            return
        self._lost.set()
        abandoned.set()
        logging.raiseExceptions = False  # log lines that were on their way to the server are not worth a word
        reason = _reason(self._home) or _one_line(why)
        if self._ready.is_set() or self._home is None:
            says = f"does not answer any more ({reason})"
        else:
            says = f"could not be started ({reason}; its log is {self._home / 'server.log'})"
        watching().notice(
            f"Prefect's server {says}. The run goes on without its pages; everything is computed and kept as before."
        )

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch a server of ours while this lasts; one that is stopped is killed, so that no request waits for it."""
        if not self.pid:
            yield
            return
        thread = threading.Thread(target=self._look, daemon=True, name="prefect server watch")
        thread.start()
        try:
            yield
        finally:
            self._over.set()

    def _look(self) -> None:
        stopped = 0
        while not self._over.wait(_LOOK_S):
            state = _process_state(self.pid)
            stopped = stopped + 1 if state in _STOPPED else 0
            if state in _GONE:
                self.lose("its process ended")
                return
            if stopped == _STOPPED_LOOKS:
                self.lose("its process was stopped")
                _kill(self.pid)
                return


abandoned = threading.Event()
"""Set once a server was lost: what Prefect's threads still want to tell it must not be waited for."""


@contextmanager
def prefect_server(home: Path) -> Iterator[Server]:
    """A Prefect server: the user's own if `PREFECT_API_URL` is set, else one of ours while this lasts.

    Ours keeps its database in `home`, so that runs stay visible from one command to the next, and serves every command
    that works there at the time. It is a server of its own also for threads: Dask's workers must never each start an
    ephemeral one. It answers only to those who know its secret, which is another for each.

    A server of ours is only begun to be started: whoever needs it calls `Server.wait` first, and starts workers or the
    like meanwhile.

    Raises:
        ServerError: the user's does not answer.
    """
    given = os.environ.get("PREFECT_API_URL")
    if given:
        _check_answers(given)
        with using_server(given, os.environ.get("PREFECT_API_AUTH_STRING", ""), heartbeats=True):
            yield Server(given)
        return
    with ExitStack() as stack:
        try:
            server = stack.enter_context(running_server(home))
        except OSError as error:
            watching().notice(
                f"Prefect's server could not be started ({_reason(home) or _one_line(error)}). The run goes on without "
                "its pages."
            )
            yield Server("")
            return
        with using_server(server.url, server.secret), server.watched():
            yield server


def _check_answers(url: str) -> None:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=10):
            return
    except (OSError, ValueError) as error:
        raise ServerError(
            f"PREFECT_API_URL names {url}, where no Prefect server answers ({error}). "
            "Start it, or unset PREFECT_API_URL."
        ) from error


@contextmanager
def running_server(home: Path) -> Iterator[Server]:
    """The server of a folder, started unless another command did; `Server.wait` waits until it answers."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "users.lock").open("ab") as users:
        with locked(home / "start.lock"):
            fcntl.flock(users, fcntl.LOCK_SH)
            server = _running(home) or _started(home)
        try:
            yield server
        finally:
            _leave(home, users, server)


def _leave(home: Path, users: IO[bytes], server: Server) -> None:
    """Stop the server unless another command uses it; one that is gone needs nothing."""
    with locked(home / "start.lock"):  # no other command starts or stops it meanwhile
        fcntl.flock(users, fcntl.LOCK_UN)
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return  # another command uses it, or it is ending already
        (home / "server.json").unlink(missing_ok=True)
        _stop(server.pid)


def _stop(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    deadline = time.monotonic() + _STOP_LIMIT_S
    while time.monotonic() < deadline and _process_state(pid) not in _GONE:
        time.sleep(0.05)
    _kill(pid)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        return  # gone, or the child of another command


def _process_state(pid: int) -> str:
    """The letter that Linux has for a process: T for a stopped one, Z for one that ended; empty where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        if sys.platform == "linux":
            return ""
    try:
        ended, _ = os.waitpid(pid, os.WNOHANG)
        return "" if ended else "S"
    except ChildProcessError:
        return "S" if _can_be_signalled(pid) else ""


def _can_be_signalled(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a server of ours listens, as written beside its database for the other commands of this user."""

    url: str
    secret: str
    pid: int


def _running(home: Path) -> Server | None:
    """The server that another command started, if it answers to the secret that was written down, or soon will."""
    path = home / "server.json"
    try:
        place, began = _Place(**json.loads(path.read_text(encoding="utf-8"))), path.stat().st_mtime
    except (OSError, ValueError, TypeError):
        return None
    if _process_state(place.pid) in _GONE + _STOPPED:
        return None
    starting = time.time() - began < _START_LIMIT_S and _is_a_server(place.pid)
    return Server(place.url, place.secret, place.pid, home) if starting or _answers(place.url, place.secret) else None


def _is_a_server(pid: int) -> bool:
    """Whether a process is a server of ours, as far as this machine can tell: its number may be another's by now."""
    try:
        return _PROGRAM.name.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return sys.platform != "linux"


def _answers(url: str, secret: str) -> bool:
    try:
        with urllib.request.urlopen(_asking(f"{url}/admin/version", secret), timeout=30):
            return True
    except OSError:
        return False


def _asking(url: str, secret: str) -> urllib.request.Request:
    return urllib.request.Request(url, headers={"Authorization": f"Basic {b64encode(secret.encode()).decode()}"})


def _started(home: Path) -> Server:
    port, secret = _free_port(), f"affstore:{secrets.token_hex(24)}"
    url = f"http://127.0.0.1:{port}/api"
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"} | OF_OWN_SERVERS
    environment["PREFECT_HOME"] = str(home)
    # The interface in the browser must ask the server it came from.
    environment["PREFECT_SERVER_UI_API_URL"] = url
    environment["PREFECT_SERVER_API_AUTH_STRING"] = environment["PREFECT_API_AUTH_STRING"] = secret
    template = cache_folder() / "prefect" / f"{version('prefect')}.db"
    command = [sys.executable, "-P", str(_PROGRAM), str(home), str(port), str(template)]
    with (home / "server.log").open("wb") as log:
        # A session of its own: what a terminal sends to the command is the command's business.
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        _write_down(home, _Place(url, secret, process.pid))
    except BaseException:
        _stop(process.pid)
        raise
    return Server(url, secret, process.pid, home)


def _write_down(home: Path, place: _Place) -> None:
    """Note where the server is, for this user's eyes only."""
    path = home / "server.json"
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        json.dump({"url": place.url, "secret": place.secret, "pid": place.pid}, file)


def _reason(home: Path | None) -> str:
    """What on this machine keeps a server from working, where that is plain to see."""
    places = [place for place in (home, Path(os.environ.get("TMPDIR", "/tmp")), _scratch()) if place is not None]
    for place in places:
        if place.exists() and shutil.disk_usage(place).free < _ROOM_BYTES:
            return f"no room is left on the disk of {place}"
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if limit != resource.RLIM_INFINITY:
        return f"files may not grow beyond {limit} bytes here, see `ulimit -f`"
    return ""


def _scratch() -> Path | None:
    try:
        return Path(tempfile.gettempdir())
    except OSError:
        return None


def _one_line(why: object) -> str:
    text = " ".join(str(why).split())[:200]
    return text or type(why).__name__


@contextmanager
def using_server(url: str, secret: str, heartbeats: bool = False) -> Iterator[None]:
    """Make this process and the processes it starts talk to that server.

    Args:
        url: of its API.
        secret: what it asks for; empty for nothing.
        heartbeats: whether flows send some. On a server of ours nobody listens to them, and each flow would wait up
            to a second at its end for the thread that sends them.
    """
    from prefect import settings as known

    new = {"PREFECT_API_URL": url} | ({"PREFECT_API_AUTH_STRING": secret} if secret else {})
    before = {name: os.environ.get(name) for name in new}
    os.environ.update(new)
    settings: dict[Any, Any] = {known.PREFECT_API_URL: url}
    if secret:
        settings[known.PREFECT_API_AUTH_STRING] = secret
    if not heartbeats:
        settings[known.PREFECT_FLOWS_HEARTBEAT_FREQUENCY] = None
    try:
        with known.temporary_settings(settings):
            yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
