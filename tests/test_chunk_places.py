"""Chunk files read past the engine give what the engine gives, or nothing."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from pathlib import Path

import icechunk
import numpy as np
import pytest

from affstore import FeatureStore
from affstore.store.contract.errors import NotFoundError, StoreError
from affstore.store.contract.keys import digest_arrays
from affstore.store.contract.records import Address
from affstore.store.engine import chunk_places, ranges
from affstore.store.engine.accounting import id_bytes, id_text
from affstore.store.engine.chunk_places import ChunkPlaces
from affstore.store.engine.listing import array_paths
from affstore.store.engine.ranges import ArrayFiles, read_rows
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
def asked(monkeypatch) -> list[str]:
    """The chunks of embeddings that the engine is asked for."""
    found: list[str] = []
    get = icechunk.IcechunkStore.get

    async def noted(self, key, *more, **named):
        if "/embedding/c/" in key:
            found.append(key)
        return await get(self, key, *more, **named)

    monkeypatch.setattr(icechunk.IcechunkStore, "get", noted)
    return found


class ByEngine(FeatureStore):
    """A store that is read through the engine alone."""

    chunk_places = None


@pytest.fixture
def engine():
    return lambda store: ByEngine(store.url)


def assert_same(mine: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert mine.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(mine[name], array, strict=True)


def test_artifacts_are_read_from_files_as_the_engine_gives_them_without_asking_it(store, engine, asked):
    found = {record.address: store.read(record.address) for record in store.records()}
    assert not asked
    for address, mine in found.items():
        assert_same(mine, engine(store).read(address))
    assert len(asked) == 3 + 3 + 3 + 1


def test_the_place_of_every_array_is_found_among_all_paths(store):
    paths = array_paths(store.repository, store.snapshot)
    assert all(store.chunk_places.of(path) for path in paths if not path.endswith("/c/main/embedding"))
    assert store.chunk_places.of("visual/toy/c/main/embedding").keys() == {1, 2}, "a chunk of zeros is in no file"
    assert [store.chunk_places.of(path) for path in ("a", "visual/toy/a/main/nothing", "zzz")] == [None] * 3


def test_an_earlier_state_is_read_as_it_was(store):
    before = visual("a").address
    now = commit(store, long_visual("a", 7))
    was, is_ = (state.read(before)["embedding"] for state in (now.state(store.snapshot), now))
    np.testing.assert_array_equal(was, long_visual("a", 1).arrays["embedding"])
    np.testing.assert_array_equal(is_, long_visual("a", 7).arrays["embedding"])


@pytest.mark.parametrize("damage", ["a bit", "cut", "gone", "another's"])
def test_a_chunk_file_that_is_not_as_written_is_found_and_named(store, engine, damage):
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
    findings, by_engine = verify(store).findings, verify(engine(store)).findings
    assert findings == by_engine
    damaged = [one.what for one in findings if one.fault in ("altered", "missing") and one.what.startswith("visual/")]
    assert len(damaged) == 1


@pytest.mark.parametrize("where", ["cut", "zeros", "not packed", "gone"])
@pytest.mark.parametrize("lists", ["manifests", "snapshots"])
def test_of_lists_that_cannot_be_read_the_engine_says_what_is_wrong(store, engine, lists, where):
    by_files, by_engine = FeatureStore(store.url), engine(store)
    addresses = [record.address for opened in (by_files, by_engine) for record in opened.records("visual")]
    for file in (Path(store.url) / lists).iterdir():
        content = file.read_bytes()
        file.write_bytes(
            {"cut": content[:60], "zeros": content[:39] + bytes(200)}.get(where, content[:38] + b"\0" + content[39:])
        )
        if where == "gone":
            file.unlink()
    for address in addresses:
        assert told(by_files, address) == told(by_engine, address)


def told(store: FeatureStore, address: Address) -> object:
    """The arrays' digest, or the error."""
    try:
        return digest_arrays(store.read(address))
    except StoreError as error:
        return str(error)


def test_a_store_of_an_older_layout_and_one_in_memory_are_read_as_well(old_url, engine):  # noqa: F811
    old = FeatureStore(old_url)
    for record in old.records():
        assert_same(old.read(record.address), engine(old).read(record.address))
    memory = commit(FeatureStore.create("memory:chunk-places"), source("a", FRAMES), long_visual("a", 1))
    assert memory.chunk_places is None
    np.testing.assert_array_equal(
        memory.read(visual("a").address)["embedding"], long_visual("a", 1).arrays["embedding"]
    )


PIECES = [(0, 0, 300), (0, 7, 9), (0, 1000, 2500), (1, 0, 2500), (1, 1020, 1030), (2, 1000, 1100), (2, 5, 9), (3, 0, 2)]


def rows_of(store: FeatureStore, *pieces: tuple[int, int, int]) -> list[np.ndarray]:
    records = [store.get(visual(name).address) for name in ("a", "b", "c", "short")]
    return RowReader(store, records, "embedding").read_many(pieces)


def test_rows_are_read_from_files_as_the_engine_gives_them_without_asking_it(store, engine, asked):
    found = rows_of(store, *PIECES)
    assert not asked
    for mine, expected in zip(found, rows_of(engine(store), *PIECES), strict=True):
        np.testing.assert_array_equal(mine, expected, strict=True)
    assert len(asked) > len(PIECES)


def test_of_an_array_that_is_read_row_after_row_the_next_rows_are_asked_for_ahead(store, monkeypatch):
    announced = []
    monkeypatch.setattr(ArrayFiles, "announce_rows", lambda self, start, stop: announced.append((start, stop)))
    reader = RowReader(store, [store.get(visual(name).address) for name in "ab"], "embedding")
    for index, start in ((0, 0), (0, 200), (1, 500), (0, 400), (0, 2000), (0, 2200)):
        reader.read(index, start, start + 300)
    assert announced == [(500, 800), (700, 1000), (2500, 2500)]
    for start in (100, 200):
        reader.read_many([(0, start, start + 50), (1, start, start + 100), (0, start + 50, start + 100)])
    assert announced[3:] == [(300, 400), (300, 400)]


def test_what_is_asked_for_ahead_are_the_bytes_that_are_read(store, monkeypatch):
    ahead, read = [], []
    monkeypatch.setattr(ChunkPlaces, "announce", lambda self, place, *among: ahead.append((place.file, *among)))
    fetch = ChunkPlaces.fetch

    def noted(self, place, begin, pieces):
        read.append((place.file, begin, begin + sum(map(len, pieces))))
        return fetch(self, place, begin, pieces)

    monkeypatch.setattr(ChunkPlaces, "fetch", noted)
    array = store.array(visual("a").address, "embedding")
    files = ArrayFiles.of(store.chunk_places, array)
    for start, stop in ((0, 30), (7, 9), (10, 40), (1000, 1004)):
        files.announce_rows(start, stop)
        read_rows(array, slice(start, stop), files)
    assert ahead == read


def test_what_is_known_of_a_snapshot_is_freed_at_once_but_for_the_last_two(store):
    opened, known = [], []
    gc.disable()
    try:
        for number in range(5):
            store = commit(store, long_visual("a", number))
            store.read(visual("a").address)
            opened.append(store)  # as a repair keeps every state of the history
            known.append(weakref.ref(store.chunk_places))
        assert [one() is not None for one in known] == [False, False, False, True, True]
    finally:
        gc.enable()


def test_a_name_that_no_array_has_is_no_damage(store):
    for name in ("", ".", "smile", "../main/embedding", "../../b/main/embedding"):
        with pytest.raises(NotFoundError, match="has no array"):
            store.read(visual("a").address, [name])
        with pytest.raises(NotFoundError, match="has no array"):
            store.array(visual("a").address, name)


def test_any_rows_are_those_of_the_whole_array_wherever_blocks_and_chunks_begin(store, asked):
    edges = [0, 1, 7, 8, 9, 1016, 1023, 1024, 1025, 2047, 2048, 2499, 2500]
    drawn = np.random.default_rng(0).integers(0, FRAMES, (300, 2)).tolist()
    for name, expected in (("a", long_visual("a", 1)), ("b", long_visual("b", 2, np.float16))):
        whole = expected.arrays["embedding"]
        for start, stop in [*((a, b) for a in edges for b in edges if a < b), *map(sorted, drawn)]:
            rows = store.read(visual(name).address, ["embedding"], slice(start, stop))["embedding"]
            np.testing.assert_array_equal(rows, whole[start:stop], strict=True)
    assert not asked


@pytest.mark.parametrize("damage", ["a bit", "cut", "gone", "cut lists"])
def test_rows_that_files_do_not_give_as_written_are_told_in_the_engine_s_words(store, engine, damage):
    folder = Path(store.url)
    for file in (folder / ("manifests" if damage == "cut lists" else "chunks")).iterdir():
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content if damage == "a bit" else content[: len(content) // 2])
        if damage == "gone":
            file.unlink()
    said = []
    for opened in (FeatureStore(store.url), engine(store)):
        with pytest.raises(StoreError) as caught:
            rows_of(opened, (0, 400, 800))
        said.append(str(caught.value))
    assert said[0] == said[1]


@pytest.mark.parametrize(
    "wrong", [{"length": 10}, {"length": 1 << 62}, {"offset": 8}, {"offset": 1 << 62}, {"offset": (1 << 64) - 1}]
)
def test_a_list_that_names_another_place_in_a_file_gives_no_wrong_row(store, monkeypatch, wrong):
    of = ChunkPlaces.of

    def misplaced(self, path):
        return {number: place._replace(**wrong) for number, place in of(self, path).items()}

    monkeypatch.setattr(ChunkPlaces, "of", misplaced)
    for expected in (long_visual("a", 1), long_visual("b", 2, np.float16)):
        found = store.read(expected.address)["embedding"]
        np.testing.assert_array_equal(found, expected.arrays["embedding"], strict=True)
    (rows,) = rows_of(store, (0, 1000, 1100))
    np.testing.assert_array_equal(rows, long_visual("a", 1).arrays["embedding"][1000:1100])


def test_long_reads_by_several_threads_give_the_rows_of_short_ones(store, monkeypatch, asked):
    short = rows_of(store, *PIECES)
    monkeypatch.setattr(ranges, "_LONG_BYTES", 1)
    monkeypatch.setattr(ranges, "usable_cores", lambda: 3)
    monkeypatch.setattr(chunk_places, "_MOST_PIECES", 5)
    for mine, expected in zip(rows_of(store, *PIECES), short, strict=True):
        np.testing.assert_array_equal(mine, expected, strict=True)
    assert not asked


def test_an_id_is_written_as_the_engine_writes_it(store):
    names = [path.name for path in (Path(store.url) / "chunks").iterdir()]
    assert names
    assert [id_text(id_bytes(name)) for name in names] == names
