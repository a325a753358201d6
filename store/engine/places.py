"""Where a store can be: a local folder, `s3://bucket/prefix`, or `memory:name` for tests and notebooks."""

from __future__ import annotations

import atexit
import errno
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import icechunk

from affstore.store.contract.errors import (
    AffstoreError,
    NotFoundError,
    SpecError,
    StoreError,
    StoreUnavailableError,
    StoreUnreachableError,
)
from affstore.store.contract.files import check_file, lock_holds, locked, may_pass

_MEMORY_LOCK = threading.Lock()
_CONNECTS_S, _ANSWERS_S, _GIVEN_UP_S = 5, 30, 90
"""How long a server may take to let itself be connected to, to begin its answer (a chunk may be on its way there
meanwhile), and to answer at last, with all tries."""
_engine_process: int | None = None
"""The process in which the engine's threads run, from its first use on."""
# What it warns of is met by `committer_lock`; what it fails at is raised, and said in one sentence.
icechunk.set_logs_filter("off")


def storage_of(url: str) -> icechunk.Storage:
    """The icechunk storage behind a store's address.

    For S3, credentials come from the environment as for every AWS tool; `AWS_ENDPOINT_URL` names another server.

    Raises:
        SpecError: the address is of no known kind.
    """
    if is_memory(url):
        return _memory(url)
    scheme = urlparse(url).scheme
    if scheme == "s3":
        return _s3(url)
    if scheme and len(scheme) > 1 and scheme != "file":
        raise SpecError(f"A store cannot be at '{url}': give a folder, s3://bucket/prefix, or memory:name.")
    check_no_file(url)
    return icechunk.local_filesystem_storage(str(local_folder(url)))


_NOTHING_AHEAD = icechunk.ManifestPreloadConfig(
    max_total_refs=0, preload_if=icechunk.ManifestPreloadCondition.false(), max_arrays_to_scan=0
)


def settings() -> icechunk.RepositoryConfig:
    """How the engine asks a server again, and how much of its lists it keeps in memory.

    A burst of errors is outlasted, a bad server is given up after some 10 s, one that says nothing after `_GIVEN_UP_S`.
    Two lists of 10,000 videos are kept: a list that is larger than the limit would be read anew by each call. Nothing
    is read ahead: each session, of which every task opens several, would read where the chunks of 50 arrays are.
    """
    retries = icechunk.StorageRetriesSettings(max_tries=8, initial_backoff_ms=100, max_backoff_ms=2000)
    timeouts = icechunk.StorageTimeoutSettings(
        connect_timeout_ms=1000 * _CONNECTS_S,
        read_timeout_ms=1000 * _ANSWERS_S,
        operation_timeout_ms=1000 * _GIVEN_UP_S,
    )
    return icechunk.RepositoryConfig(
        storage=icechunk.StorageSettings(retries=retries, timeouts=timeouts),
        caching=icechunk.CachingConfig(num_snapshot_nodes=1_500_000),
        manifest=icechunk.ManifestConfig(preload=_NOTHING_AHEAD),
    )


def open_repository(url: str) -> icechunk.Repository:
    """The repository at a store's address."""
    return icechunk.Repository.open(storage_of(url), settings())


def exists(url: str) -> bool:
    """Whether there is a repository at a store's address."""
    return icechunk.Repository.exists(storage_of(url), settings().storage)


def local_folder(url: str) -> Path:
    """The folder of a local store.

    Raises:
        SpecError: the address is empty.
    """
    if not url.removeprefix("file://"):
        raise SpecError("The address of the store is empty: give a folder, s3://bucket/prefix, or memory:name.")
    return Path(url.removeprefix("file://")).expanduser().absolute()


def whole_url(url: str) -> str:
    """A store's address as it is right from every folder of a machine."""
    return str(local_folder(url)) if is_local(url) else url


def check_no_file(url: str) -> None:
    """See that a local store's folder is not a file.

    Raises:
        StoreUnavailableError: it is.
    """
    if is_local(url) and local_folder(url).is_file():
        raise StoreUnavailableError(f"There can be no store at '{url}': that is a file. Name a folder.")


def check_there(url: str) -> None:
    """See that a local store's folder is still there; the engine would make another with only what is new in it.

    Raises:
        StoreUnreachableError: it is not; a file system may have gone that comes back.
    """
    if is_local(url) and not local_folder(url).is_dir():
        raise StoreUnreachableError(
            f"The folder of the store at '{url}' is not there any more: it was moved or removed, or its file system is "
            "gone. Put it back, and run the command again."
        )


def is_local(url: str) -> bool:
    """Whether the store is a folder of this machine."""
    return not is_memory(url) and urlparse(url).scheme in ("", "file")


def is_memory(url: str) -> bool:
    """Whether the store lives in this process only."""
    return url.startswith("memory:")


def check_writable(url: str) -> None:
    """See that a local store's folder can be written, and that a lock holds there, before any work.

    Raises:
        StoreUnavailableError: it cannot; the message says why.
    """
    if not is_local(url):
        return
    check_no_file(url)
    folder = local_folder(url)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        holds = lock_holds(_lock_file(url))
    except OSError as error:
        if error.errno in (errno.ENOLCK, errno.EOPNOTSUPP):
            raise StoreUnavailableError(_NO_LOCKS.format(folder=folder, found="it has no locks")) from error
        raise StoreUnavailableError(f"The store at '{folder}' cannot be written: {error.strerror}.") from error
    if not holds:
        raise StoreUnavailableError(_NO_LOCKS.format(folder=folder, found="two processes can hold one lock at once"))


def check_outside(url: str, path: Path) -> None:
    """See that what is written at a path is not written into a store.

    Raises:
        SpecError: it is within a local store's folder, or within what belongs to it beside that.
    """
    if not is_local(url):
        return
    folder, wanted = local_folder(url).resolve(), path.expanduser().resolve()
    for own in (folder, *(folder.with_name(f"{folder.name}.{kind}") for kind in BESIDE)):
        if wanted.is_relative_to(own):
            raise SpecError(f"Nothing else is written into a store: '{path}' is within '{own}'. Name another place.")


def check_output(url: str, path: Path) -> None:
    """See that a command can write a file there.

    Raises:
        SpecError: it is a folder, or within the store that the command is about.
    """
    check_file(path)
    check_outside(url, path)


BESIDE = ("lists", "lock", "runs", "writers")
"""What of a local store lies beside its folder, under its name."""

_NO_LOCKS = (
    "The store cannot be at '{folder}': {found} on that file system, and two runs would lose each other's work. Use a "
    "disk of this machine, NFS of version 4 that is mounted with locks, or s3://."
)


@contextmanager
def committer_lock(url: str) -> Iterator[None]:
    """Hold the one committer's place.

    Two processes that commit to a local repository at once can lose commits silently (measured: 2-7 of 100), so a
    local store has one committer at a time, across processes. Object stores with conditional writes need no lock.
    """
    if is_memory(url):
        with _MEMORY_LOCK:
            yield
    elif is_local(url):
        with locked(_lock_file(url)):
            yield
    else:
        yield


@contextmanager
def translate_errors(url: str, doing: str) -> Iterator[None]:
    """Turn the engine's and the system's errors into one sentence of ours.

    Raises:
        SpecError: this process was forked from one that used the engine, whose threads do not live here: it would hang.
        StoreUnreachableError: its server or file system does not answer now.
        StoreUnavailableError: read-only, or full.
        NotFoundError: a branch or tag that was there a moment ago is gone.
        StoreError: anything else the engine refuses.
    """
    _check_process(url)
    try:
        yield
    except (icechunk.IcechunkError, OSError) as error:
        # The engine's words come with a trace of its own functions, which tells a user nothing.
        text = " ".join(str(error).split("|")[0].partition("context:")[0].split()).removeprefix("x ")
        reason = _reason(error, text)
        if not reason and (passing := _passing_reason(error, text)):
            raise StoreUnreachableError(f"{doing} the store at '{url}' failed: {passing}.") from error
        reason = reason or _refusal(text)
        if reason:
            raise StoreUnavailableError(f"{doing} the store at '{url}' failed: {reason}.") from error
        if "ref not found `generation-" in text:
            raise NotFoundError(
                f"The store at '{url}' has no such state any more: another command promoted or dropped it meanwhile. "
                "Look at `affstore log`, and run the command again."
            ) from error
        raise StoreError(f"{doing} the store at '{url}' failed: {_loss(error, text) or _short(text)}") from error
    except AffstoreError:
        raise
    except BaseException as error:
        # Damaged metadata may be met by the engine, whose code in Rust panics, but by JSON and Zarr as well.
        if not (doing in _READING and isinstance(error, ValueError | TypeError | LookupError)) and not _is_panic(error):
            raise
        raise StoreError(
            f"{doing} the store at '{url}' failed: what is stored there is damaged ({_short(str(error))}). Restore it "
            "from a copy."
        ) from error


def _loss(error: BaseException, text: str) -> str:
    """What of a store is gone or damaged, with what to do; empty where it is something else."""
    if isinstance(error, icechunk.RepositoryNotFoundError):
        return "it is not there any more. Check the place, or restore it from a copy."
    if "object not found" in text:
        return (
            "an object that it needs is gone. `affstore verify` names it; restore it from a copy, or read the store as "
            "of a tag (--at)."
        )
    if text.startswith("invalid "):
        return f"what is stored there is damaged ({_short(text)}). `affstore verify` names it; restore it from a copy."
    return ""


_READING = ("Opening", "Reading", "Listing")


def _is_panic(error: BaseException) -> bool:
    return type(error).__name__ in ("PanicException", "RustPanic")


def _check_process(url: str) -> None:
    global _engine_process
    if _engine_process is None:
        _engine_process = os.getpid()
        # The engine's threads let go of Python's objects a moment after an answer: ending at once, some crashed.
        atexit.register(time.sleep, 0.05)
    if _engine_process != os.getpid():
        raise SpecError(
            f"The store at '{url}' cannot be used here: this process was forked from one that used a store. Start "
            "workers anew: multiprocessing_context='spawn' (or 'forkserver') for a DataLoader, and so everywhere."
        )


def _lock_file(url: str) -> Path:
    """Beside the store's folder, because the engine wants that for itself."""
    folder = local_folder(url)
    return folder.with_name(f"{folder.name}.lock")


def _passing_reason(error: Exception, text: str) -> str:
    """Why a store cannot be reached now, if that is what an error says; else an empty text."""
    if (isinstance(error, OSError) and may_pass(error)) or _FILES_AWAY.search(text):
        return f"the file system does not answer ({_short(text)})"
    if any(sign in text for sign in ("dispatch failure", "error sending request", "onnect", "timeout", "timed out")):
        return f"the server does not answer ({_short(text)})"
    if found := _SERVER_BUSY.search(text):
        return f"the server has too much to do, or a fault of its own ({found[0]}); it was asked several times"
    return ""


_FILES_AWAY = re.compile(
    rf"\(os error ({'|'.join(map(str, (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN)))})\)"
)
"""How the engine, which is written in Rust, repeats what the system says."""
_SERVER_BUSY = re.compile(r"SlowDown|InternalError|ServiceUnavailable|RequestTimeout|Throttling\w*|TooManyRequests\w*")
"""S3's codes of faults that pass."""


def _reason(error: Exception, text: str) -> str | None:
    """Why a store cannot be used, if that is what an error says."""
    code = error.errno if isinstance(error, OSError) else None
    if code in (errno.ENOSPC, errno.EDQUOT) or "No space left" in text or "Disk quota" in text:
        return "the disk is full; free some room and run the command again, nothing stored is lost"
    if code == errno.EFBIG or "File too large" in text:
        return "files may not grow any more here: raise the limit that `ulimit -f` shows, and run the command again"
    if (
        code in (errno.EROFS, errno.EACCES, errno.EPERM)
        or "Read-only file system" in text
        or "ermission denied" in text
    ):
        return "it is read-only for this user"
    if "snapshot timestamp" in text:
        clocks = ", ".join(f"{whose} {when}" for whose, when in re.findall(r"([a-z][a-z ]*): `([^`]+)`", text))
        return (
            f"the clock here differs from that of the store's place, or of its last commit ({clocks}); set it, as by "
            "NTP, and run the command again, nothing stored is lost"
        )
    if "only be created in clean prefixes" in text:
        return "the place is not empty and holds no store; name another one"
    return None


def _refusal(text: str) -> str | None:
    if "service error" in text or "ACCESS_DENIED" in text or "NO_SUCH_BUCKET" in text:
        return "the server refuses; see that the bucket exists and that these credentials may use it"
    return None


def _short(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:300]} …"


def _memory(url: str) -> icechunk.Storage:
    """One in-memory storage a name, for as long as the process lives or until it is wiped."""
    return _memories.setdefault(url, icechunk.in_memory_storage())


_memories: dict[str, icechunk.Storage] = {}


def drop_memory(url: str) -> None:
    """Let go of a store in memory."""
    _memories.pop(url, None)


def _s3(url: str) -> icechunk.Storage:
    bucket, prefix = _s3_place(url)
    return icechunk.s3_storage(bucket=bucket, prefix=prefix, from_env=True, **s3_options())


def _s3_place(url: str) -> tuple[str, str]:
    """The bucket and the prefix of an address."""
    parts = urlparse(url)
    prefix = parts.path.strip("/")
    if "@" in parts.netloc:  # which is not repeated, for it may be a secret
        raise SpecError(
            "The address of a store holds no credentials: write s3://bucket/prefix, and give them as for every AWS "
            "tool, in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or a profile."
        )
    if not parts.netloc or not prefix:
        raise SpecError(f"'{url}' names no place: write s3://bucket/prefix.")
    return parts.netloc, prefix


def s3_options() -> dict[str, Any]:
    """The region and, where it is not Amazon's, the server of S3 stores, from the environment."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    if not endpoint:
        return {"region": region}
    allow_http = endpoint.startswith("http://")
    return {"region": region, "endpoint_url": endpoint, "force_path_style": True, "allow_http": allow_http}
