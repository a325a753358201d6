"""A file that has not changed since it was read is known by what the file system says of it."""

import hashlib
import os
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from affstore.tasks.ingest import file_digests
from affstore.tasks.ingest.file_digests import FileDigests


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def settled(monkeypatch):
    """Changes are settled at once: nobody wants to wait two seconds a test."""
    monkeypatch.setattr(file_digests, "_SETTLED_NS", -(10**10))


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache" / "digests.sqlite"


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "v.mp4"
    path.write_text("bytes")
    return path


@pytest.fixture
def reads(monkeypatch):
    """The files that are read for their digest, in order."""
    files: list[Path] = []
    real = file_digests.digest_file
    monkeypatch.setattr(file_digests, "digest_file", lambda path: files.append(path) or real(path))
    return files


def digest(cache: Path, path: Path, anew: bool = False) -> str:
    """A file's digest, as the next process finds it."""
    file_digests._read_here.clear()
    with FileDigests(cache) as known:
        return known.digest(path, anew)


@pytest.mark.usefixtures("settled")
def test_a_known_file_is_not_read_again_unless_it_is_asked_for(cache, video, reads):
    assert digest(cache, video) == digest(cache, video) == sha256("bytes")
    assert len(reads) == 1
    assert digest(cache, video, anew=True) == sha256("bytes")
    assert len(reads) == 2


@pytest.mark.usefixtures("settled")
def test_one_process_reads_a_file_once_whatever_it_asks_for_and_wherever_the_cache_is(tmp_path, video, reads):
    (tmp_path / "file").touch()
    for _ in range(3):
        with FileDigests(tmp_path / "file" / "digests.sqlite") as known:
            assert known.digest(video, anew=True) == sha256("bytes")
    assert len(reads) == 1


@pytest.mark.usefixtures("settled")
def test_other_bytes_of_the_same_size_and_time_are_seen(cache, video):
    digest(cache, video)
    before = video.stat()
    time.sleep(0.02)  # longer than a tick of the file system's clock
    video.write_text("BYTES")
    os.utime(video, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert digest(cache, video) == sha256("BYTES")


@pytest.mark.usefixtures("settled")
def test_another_file_in_its_place_is_seen(cache, video, tmp_path):
    digest(cache, video)
    before = video.stat()
    other = tmp_path / "other"
    other.write_text("BYTES")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(video)
    assert digest(cache, video) == sha256("BYTES")


@pytest.mark.usefixtures("settled")
def test_a_file_that_was_moved_is_right_and_one_that_is_gone_is_an_error(cache, video, tmp_path):
    digest(cache, video)
    video.rename(tmp_path / "w.mp4")
    assert digest(cache, tmp_path / "w.mp4") == sha256("bytes")
    with pytest.raises(FileNotFoundError):
        digest(cache, video)


def test_what_has_just_changed_is_read_again_as_it_may_change_once_more_within_one_tick(cache, video, reads):
    digest(cache, video)
    digest(cache, video)
    assert len(reads) == 2


@pytest.mark.usefixtures("settled")
def test_a_damaged_cache_is_made_anew(cache, video, reads):
    cache.parent.mkdir()
    cache.write_bytes(b"no database at all" * 100)
    assert digest(cache, video) == digest(cache, video) == sha256("bytes")
    assert len(reads) == 1


@pytest.mark.usefixtures("settled")
def test_a_cache_that_somebody_holds_is_done_without(cache, video, monkeypatch):
    digest(cache, video)
    monkeypatch.setattr(file_digests, "_WAIT_S", 0.01)
    holder = sqlite3.connect(cache, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    assert digest(cache, video) == sha256("bytes")
    holder.close()


@pytest.mark.usefixtures("settled")
def test_many_at_once_share_one_cache(cache, tmp_path):
    paths = [tmp_path / str(number) for number in range(40)]
    for path in paths:
        path.write_text(path.name)

    def read_all(_: int) -> list[str]:
        with FileDigests(cache) as known:
            return [known.digest(path) for path in paths]

    with ThreadPoolExecutor(4) as pool:
        assert set(map(tuple, pool.map(read_all, range(4)))) == {tuple(sha256(path.name) for path in paths)}
    with sqlite3.connect(cache) as connection:
        assert connection.execute("SELECT count(*) FROM digests").fetchone() == (40,)


@pytest.mark.usefixtures("settled")
def test_a_digest_can_be_forgotten(cache, video, reads):
    digest(cache, video)
    assert sha256("bytes").encode() in cache.read_bytes()
    with FileDigests(cache) as known:
        known.forget([sha256("bytes")])
    assert sha256("bytes").encode() not in cache.read_bytes()
    digest(cache, video)
    assert len(reads) == 2
