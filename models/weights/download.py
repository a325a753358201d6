"""Fetching one file over HTTP so that a broken connection costs nothing but time, and a wrong file is known at once."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from affstore.models.weights.digests import Digesting, FileDigests, digests_of
from affstore.store.contract.errors import WeightsError

Progress = Callable[[int, int | None], None]
"""Called with the bytes so far and, where the server says, the bytes in all."""

_BLOCK_BYTES = 1 << 18
_TIMEOUT_S = 60
_MOST_BYTES = 8 << 30
"""No file of weights is larger; a server that sends more would fill the disk."""

_RANGE_NOT_SATISFIABLE = 416
_MEANING = {
    401: "It wants a login, which affstore does not have.",
    403: "It refuses; the file may be for those who accepted its terms.",
    404: "The file is no longer there.",
    410: "The file is no longer there.",
    429: "It is asked too often; try again later.",
    503: "It is overloaded; try again later.",
}
_OTHERWISE = (
    "You can also fetch the file elsewhere and type `affstore weights import NAME FILE`, or `pull --mirror FOLDER` "
    "(AFFSTORE_MIRROR) with a folder that holds it."
)


class _BrokenError(Exception):
    """The connection could not be made, or ended too early."""


class _NoRestError(Exception):
    """The server has nothing to add to the part. It says how long its whole file is, or not."""


def download(url: str, part: Path, on_progress: Progress | None = None) -> FileDigests:
    """Fetch `url` into `part`, going on where an earlier attempt stopped, for as long as attempts still bring bytes.

    Returns:
        The digests of the whole file, computed while it came.

    Raises:
        WeightsError: the server does not have it, the connection brings nothing more, or there is no room; `part`
            keeps what came.
    """
    while True:
        before = _size(part)
        try:
            return _fetch_rest(url, part, on_progress)
        except _NoRestError as error:
            if before and error.args == (f"bytes */{before}",):
                return digests_of(part)  # an earlier attempt was ended after its last byte
            _forget(part)
            if not before:
                raise WeightsError(
                    f"{url} answers with a part of a file that was not asked for. {_OTHERWISE}"
                ) from error
        except _BrokenError as error:
            if (after := _size(part)) <= before:
                raise WeightsError(_broken(url, after, error)) from error
        except OSError as error:
            raise WeightsError(
                f"{part} cannot be written ({error.strerror or error}). Make room or set AFFSTORE_WEIGHTS; the same "
                "command then goes on from there."
            ) from error


def _fetch_rest(url: str, part: Path, on_progress: Progress | None) -> FileDigests:
    """One request for what is missing. A server that does not know ranges sends everything again."""
    done = _size(part)
    with _open(url, _asking_from(done, part)) as answer:
        resumed = _resumes(answer, done)
        done = done if resumed else 0
        total = _total(answer, done, url)
        digesting = Digesting(total or 0)
        if resumed:
            digesting.update_from(part)
        else:
            _remember_version(answer, part)
        with part.open("ab" if resumed else "wb") as file:
            for block in _blocks(answer):
                file.write(block)
                digesting.update(block)
                done += len(block)
                if done > _MOST_BYTES:
                    raise WeightsError(f"{url} sends more than {_MOST_BYTES} bytes; no file of weights is that large.")
                if on_progress:
                    on_progress(done, total)
    if total is not None and done < total:
        raise _BrokenError(f"{total - done} bytes are missing")
    _version_path(part).unlink(missing_ok=True)
    return digesting.digests() if total is not None else digests_of(part)


def _asking_from(done: int, part: Path) -> dict[str, str]:
    """Headers that ask for what is missing, but for everything if the server's file is another one by now."""
    if not done:
        return {}
    version = _version_path(part)
    return {"Range": f"bytes={done}-"} | ({"If-Range": version.read_text("utf-8")} if version.exists() else {})


def _open(url: str, headers: dict[str, str]) -> http.client.HTTPResponse:
    opener = urllib.request.build_opener(_Redirects)
    try:
        answer: http.client.HTTPResponse = opener.open(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == _RANGE_NOT_SATISFIABLE:
            raise _NoRestError(error.headers["Content-Range"]) from error
        meaning = _MEANING.get(error.code, f"It says {str(error.reason)[:100]!a}.")
        raise WeightsError(f"{url} answers {error.code}. {meaning} {_OTHERWISE}") from error
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenError(getattr(error, "reason", error)) from error
    return answer


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never from https to a connection that anyone on the way can change."""

    def redirect_request(self, req: urllib.request.Request, *answer: Any) -> urllib.request.Request | None:
        """See the base class; refuses what leaves https."""
        *_, new_url = answer
        if req.type == "https" and not new_url.startswith("https:"):
            raise WeightsError(f"{req.full_url} leads to {new_url[:200]!a}, which is not https. {_OTHERWISE}")
        return super().redirect_request(req, *answer)


def _resumes(answer: http.client.HTTPResponse, done: int) -> bool:
    """Whether the answer is the rest from `done` on, and not the whole file."""
    if answer.status != http.client.PARTIAL_CONTENT:
        return False
    content_range = answer.headers.get("Content-Range", "").replace("=", " ").split("-")[0].split()
    if not done or content_range not in ([], ["bytes", str(done)]):
        raise _NoRestError
    return True


def _total(answer: http.client.HTTPResponse, done: int, url: str) -> int | None:
    length = answer.headers.get("Content-Length", "")
    if not length.isdecimal():
        return None
    total = done + int(length)
    if total > _MOST_BYTES:
        raise WeightsError(f"{url} claims {total} bytes; no file of weights is that large. {_OTHERWISE}")
    return total


def _blocks(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    """The body. Only what the connection does is caught here, not what is done with the bytes."""
    while True:
        try:
            block = answer.read(_BLOCK_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise _BrokenError(error) from error
        if not block:
            return
        yield block


def _remember_version(answer: http.client.HTTPResponse, part: Path) -> None:
    """Keep the server's name of this version of the file, where it has a strong one."""
    tag = answer.headers.get("ETag", "")
    if tag.startswith('"'):
        _version_path(part).write_text(tag, "utf-8")
    else:
        _version_path(part).unlink(missing_ok=True)


def _version_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.etag")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _version_path(part).unlink(missing_ok=True)


def _broken(url: str, after: int, error: Exception) -> str:
    if not after:
        return f"{url} cannot be reached ({error}). Is this machine online? {_OTHERWISE}"
    return f"The connection to {url} broke after {after} bytes ({error}). The same command goes on. {_OTHERWISE}"


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
