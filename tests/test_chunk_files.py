"""Chunk files read past the engine give what the engine gives, or nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import icechunk
import numpy as np
import pytest

from affstore import FeatureStore
from affstore.store.contract.errors import StoreError
from affstore.store.engine import chunk_files
from affstore.store.engine.accounting import id_bytes, id_text
from affstore.store.engine.chunk_files import ChunkFiles
from affstore.store.engine.row_reader import RowReader
from affstore.tasks.lineage.verify import verify
from tests.factories import commit, source, visual
from tests.test_damage import old_url  # noqa: F401

FRAMES = 2500
"""Three chunks of an embedding."""


def long_visual(video: str, seed: int, dtype: type = np.float32, zeros: slice = slice(0, 0)):
    made = visual(video, FRAMES, 16)
    rows = np.random.default_rng(seed).standard_normal((FRAMES, 16)).astype(dtype)
    rows[zeros] = 0
    return replace(made, arrays={**made.arrays, "embedding": rows, "present": np.ones(FRAMES, bool)})


@pytest.fixture
def store(tmp_path) -> FeatureStore:
    """Embeddings of several chunks, one all zeros and not stored; of halves; and so short that they lie in
    the engine's list."""
    store = FeatureStore.create(str(tmp_path / "store"))
    whole = [source(name, FRAMES) for name in "abc"]
    kinds = (long_visual("a", 1), long_visual("b", 2, np.float16), long_visual("c", 3, zeros=slice(0, 1024)))
    return commit(store, *whole, *kinds, source("short", 2), visual("short", 2, 3))


@pytest.fixture
def read_by_engine(monkeypatch) -> list[str]:
    """The arrays that are not read from their files."""
    asked: list[str] = []
    read = chunk_files.read_rows
    monkeypatch.setattr(chunk_files, "read_rows", lambda array: (asked.append(array.path), read(array))[1])
    return asked


def embeddings(store: FeatureStore) -> list[str]:
    return [f"{record.address.path}/embedding" for record in store.records("visual")]


def test_chunk_files_give_what_the_engine_gives(store, read_by_engine):
    files = ChunkFiles(store)
    for record in store.records():
        found, expected = files.read_as_written(record), store.read(record.address)
        assert found is not None
        assert found.keys() == expected.keys()
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array, strict=True)
    assert not set(embeddings(store)) & set(read_by_engine)


def test_an_earlier_state_is_read_as_it_was(store):
    before = store.get(visual("a").address)
    now = commit(store, long_visual("a", 7))
    earlier = now.state(store.snapshot)
    was, is_ = (ChunkFiles(state).read_as_written(state.get(before.address)) for state in (earlier, now))
    np.testing.assert_array_equal(was["embedding"], long_visual("a", 1).arrays["embedding"])
    np.testing.assert_array_equal(is_["embedding"], long_visual("a", 7).arrays["embedding"])


@pytest.mark.parametrize("damage", ["a bit", "cut", "gone", "another's"])
def test_a_chunk_file_that_is_not_as_written_is_found_and_named(store, damage):
    chunks = sorted((Path(store.url) / "chunks").iterdir(), key=lambda path: path.stat().st_size)
    largest, content = chunks[-1], bytearray(chunks[-1].read_bytes())
    if damage == "a bit":
        content[len(content) // 2] ^= 1
    elif damage == "cut":
        del content[-100:]
    elif damage == "another's":
        content[:] = chunks[-2].read_bytes()
    largest.write_bytes(content)
    if damage == "gone":
        largest.unlink()
    files = ChunkFiles(store)
    unread = [record.address.path for record in store.records() if files.read_as_written(record) is None]
    assert len(unread) == 1
    assert unread[0] in {finding.what for finding in verify(FeatureStore(store.url)).findings}


@pytest.mark.parametrize("where", ["cut", "zeros", "not packed", "gone"])
def test_a_list_that_cannot_be_read_gives_nothing(store, where):
    folder = Path(store.url) / "manifests"
    for file in folder.iterdir():
        content = file.read_bytes()
        file.write_bytes(
            {"cut": content[:60], "zeros": content[:39] + bytes(200)}.get(where, content[:38] + b"\0" + content[39:])
        )
        if where == "gone":
            file.unlink()
    files = ChunkFiles(store)
    assert [files.read_as_written(record) for record in store.records("visual")] == [None] * 4


def test_a_store_of_an_older_layout_and_one_in_memory_are_read_as_well(old_url):  # noqa: F811
    memory = commit(FeatureStore.create("memory:chunk-files"), source("a", FRAMES), long_visual("a", 1))
    for store in (FeatureStore(old_url), memory):
        files = ChunkFiles(store)
        assert None not in [files.read_as_written(record) for record in store.records()]


PIECES = [(0, 0, 300), (0, 7, 9), (0, 1000, 2500), (1, 0, 2500), (1, 1020, 1030), (2, 1000, 1100), (2, 5, 9), (3, 0, 2)]


def rows_of(store: FeatureStore, *pieces: tuple[int, int, int]) -> list[np.ndarray]:
    records = [store.get(visual(name).address) for name in ("a", "b", "c", "short")]
    return RowReader(store, records, "embedding").read_many(pieces)


def test_rows_are_read_from_files_as_the_engine_gives_them_without_asking_it(store, monkeypatch):
    asked = []
    get = icechunk.IcechunkStore.get

    async def counted(self, key, *more, **named):
        asked.append(key)
        return await get(self, key, *more, **named)

    monkeypatch.setattr(icechunk.IcechunkStore, "get", counted)
    found = rows_of(store, *PIECES)
    by_files = [key for key in asked if "/embedding/c/" in key]
    monkeypatch.setattr(FeatureStore, "chunk_places", None)
    for mine, expected in zip(found, rows_of(FeatureStore(store.url), *PIECES), strict=True):
        np.testing.assert_array_equal(mine, expected, strict=True)
    assert set(by_files) == {"visual/toy/c/main/embedding/c/0/0"}, "a chunk of zeros is in no file"
    assert len([key for key in asked if "/embedding/c/" in key]) > len(by_files) + len(PIECES)


@pytest.mark.parametrize("damage", ["a bit", "cut", "gone", "cut lists"])
def test_rows_that_files_do_not_give_as_written_are_told_in_the_engine_s_words(store, damage, monkeypatch):
    folder = Path(store.url)
    for file in (folder / ("manifests" if damage == "cut lists" else "chunks")).iterdir():
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content if damage == "a bit" else content[: len(content) // 2])
        if damage == "gone":
            file.unlink()
    said = []
    for places in (FeatureStore.chunk_places, None):
        monkeypatch.setattr(FeatureStore, "chunk_places", places)
        with pytest.raises(StoreError) as caught:
            rows_of(FeatureStore(store.url), (0, 400, 800))
        said.append(str(caught.value))
    assert said[0] == said[1]


def test_an_id_is_written_as_the_engine_writes_it(store):
    names = [path.name for path in (Path(store.url) / "chunks").iterdir()]
    assert names
    assert [id_text(id_bytes(name)) for name in names] == names
