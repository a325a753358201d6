"""Fetching one file over HTTP so that a broken connection costs nothing but time."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from store.contract.errors import WeightsError

Progress = Callable[[int, int | None], None]
"""Called with the bytes so far and, where the server says, the bytes in all."""

_BLOCK_BYTES = 1 << 18
_TIMEOUT_S = 60
_RANGE_NOT_SATISFIABLE = 416


def download(url: str, part: Path, on_progress: Progress | None = None) -> None:
    """Fetch `url` into `part`, going on where an earlier attempt stopped, for as long as attempts still bring bytes.

    Raises:
        WeightsError: the server does not have it, or the connection brings nothing more; `part` keeps what came.
    """
    while True:
        before = _size(part)
        try:
            _fetch_rest(url, part, on_progress)
            return
        except urllib.error.HTTPError as error:
            if error.code != _RANGE_NOT_SATISFIABLE or not before:
                raise WeightsError(f"{url} answers {error.code} {error.reason}. Fetch the file by hand.") from error
            part.unlink()  # longer than what the server has: not a part of it
        except (OSError, http.client.HTTPException) as error:
            if _size(part) <= before:
                raise WeightsError(
                    f"The connection to {url} broke after {_size(part)} bytes ({error}). "
                    "The same command goes on from there; or fetch the file by hand and import it."
                ) from error


def _fetch_rest(url: str, part: Path, on_progress: Progress | None) -> None:
    """One request for what is missing. A server that does not know ranges sends everything again."""
    done = _size(part)
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
        resumed = answer.status == http.client.PARTIAL_CONTENT
        done = done if resumed else 0
        total = int(answer.headers["Content-Length"]) + done if "Content-Length" in answer.headers else None
        with part.open("ab" if resumed else "wb") as file:
            while block := answer.read(_BLOCK_BYTES):
                file.write(block)
                done += len(block)
                if on_progress:
                    on_progress(done, total)
    if total is not None and done < total:
        raise http.client.IncompleteRead(b"", total - done)


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
