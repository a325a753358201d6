"""What heads read from the store, in pieces: the same as all at once."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from zarr.codecs import BloscCodec, BytesCodec, ZstdCodec
from zarr.core.buffer import cpu
from zarr.storage import MemoryStore

from affstore import FeatureStore, FrameWindows
from affstore.models.heads.examples import Examples
from affstore.models.heads.frame_dataset import read_all
from affstore.models.heads.mlp.keras_mlp import fit
from affstore.models.heads.mlp.spec import EXPR_MLP
from affstore.models.heads.sequence.dataset import Piece
from affstore.models.heads.sequence.labelled_videos import LabelledVideos, Window
from affstore.store.contract.errors import AnnotationError, NotFoundError, SpecError, StoreError
from affstore.store.contract.keys import digest_arrays
from affstore.store.contract.records import Address, Artifact
from affstore.store.contract.schema import ArraySchema
from affstore.store.contract.windows import WindowSpec
from affstore.store.engine.group_writing import Part, write_group
from affstore.store.engine.ranges import RowRange, read_ranges, read_rows
from affstore.store.engine.row_reader import RowReader
from affstore.tasks.specs import Input
from affstore.tasks.training.examples import LabelledSubject
from affstore.tasks.training.frame_dataset import StoreFrames
from affstore.tasks.training.sequence_dataset import StoreSequences, streams_of
from tests.factories import commit, source, visual

FRAMES = {"a": 1300, "b": 37, "c": 520, "d": 600}
INPUTS = (Input("face"), Input("sound"), Input("face", "logits"))


def gaps(artifact: Artifact, share: float, seed: int) -> Artifact:
    """The same with frames that are not present, which hold zeros."""
    present = np.random.default_rng(seed).random(artifact.attributes["frames"]) >= share
    arrays = {name: array * present[:, None] for name, array in artifact.arrays.items() if name != "present"}
    return replace(artifact, arrays=arrays | {"present": present})


def face(video: str, seed: int) -> Artifact:
    plain = visual(video, FRAMES[video], 8, seed, "face")
    logits = np.random.default_rng(seed + 50).normal(size=(FRAMES[video], 3)).astype(np.float32)
    return gaps(replace(plain, arrays={**plain.arrays, "logits": logits}), 0.2, seed)


def sound(video: str, seed: int) -> Artifact:
    frames = FRAMES[video]
    embedding = np.random.default_rng(seed).normal(size=(frames, 5)).astype(np.float32)
    arrays = {"embedding": embedding, "present": np.ones(frames, bool)}
    attributes = {"frames": frames, "vectors": frames, "complaint": None}
    return gaps(Artifact(Address("audio", "sound", video), {"sound": seed}, arrays, attributes), 0.05, seed)


def label(video: str, seed: int, subject: str = "main") -> Artifact:
    frames = FRAMES[video]
    known = np.random.default_rng(seed).random((frames, 1)) < 0.7
    value = np.where(known, np.random.default_rng(seed + 1).integers(0, 8, (frames, 1)), 0).astype(np.int8)
    said = {"frames": frames, "task": "expr", "labels": ["x"], "split": "train", "location": "", "complaint": None}
    return Artifact(Address("label", "expr", video, subject), {"label": seed}, {"value": value, "known": known}, said)


@pytest.fixture(scope="module")
def store():
    store = FeatureStore.create("memory:streams")
    for seed, video in enumerate(FRAMES):
        of_video = (source(video, FRAMES[video]), face(video, seed), sound(video, seed + 10), label(video, seed + 20))
        store = commit(store, *of_video)
    # Nothing of the last video is known.
    last = label("d", 0)
    return commit(store, replace(last, arrays={name: np.zeros_like(array) for name, array in last.arrays.items()}))


@pytest.fixture(scope="module")
def seen(store):
    return [
        LabelledSubject(
            store.get(Address("label", "expr", video, "main")),
            tuple(
                store.get(Address("audio", "sound", video) if part.extractor == "sound" else address)
                for part in INPUTS
            ),
        )
        for video in FRAMES
        for address in [Address("visual", "face", video, "main")]
    ]  # fmt: skip


def read_at_once(store, subjects):
    """The labelled frames that have all inputs, without blocks."""
    x, y = [], []
    for subject in subjects:
        label, inputs = store.read(subject.label.address), [store.read(one.address) for one in subject.features]
        rows = np.logical_and.reduce([label["known"].all(axis=1), *(one["present"] for one in inputs)])
        x.append(np.concatenate([one[part.array] for one, part in zip(inputs, INPUTS, strict=True)], axis=1)[rows])
        y.append(label["value"][rows])
    return Examples(np.concatenate(x), np.concatenate(y))


@pytest.mark.parametrize("block", [100, 512, 1024, 5000])
def test_rows_in_blocks_are_the_examples_read_at_once(store, seen, block):
    rows, examples = StoreFrames(store, seen, INPUTS, block), read_at_once(store, seen)
    assert rows.width == 8 + 5 + 3
    assert len(rows) == len(examples) == sum(rows.blocks)
    assert min(rows.blocks) > 0
    np.testing.assert_array_equal(rows.y, examples.y)
    np.testing.assert_array_equal(read_all(rows, "training"), examples.x)


def test_a_head_from_the_store_has_the_bits_of_a_head_from_memory(store, seen):
    spec = replace(EXPR_MLP, epochs=2)
    examples = read_at_once(store, seen[:2])
    held_out = read_at_once(store, seen[2:])
    of_memory = fit(spec, examples, held_out)
    of_store = fit(spec, StoreFrames(store, seen[:2], INPUTS), StoreFrames(store, seen[2:], INPUTS))
    assert digest_arrays({**of_store.parameters, **of_store.curve}) == digest_arrays(
        {**of_memory.parameters, **of_memory.curve}
    )


def test_a_row_knows_its_video_and_its_frame(store, seen):
    rows = StoreFrames(store, seen, INPUTS, 100)
    names = [rows.name_of(row) for row in range(len(rows))]
    assert len(set(names)) == len(names)
    first = len(StoreFrames(store, seen[:1], INPUTS))
    usable = [store.read(record.address)["present"] for record in seen[1].features]
    usable = np.logical_and.reduce([*usable, store.read(seen[1].label.address)["known"][:, 0]])
    assert names[first] == f"frame {np.flatnonzero(usable)[0]} of video 'b'"


def test_rows_are_read_at_the_snapshot_that_they_were_made_at(seen):
    store = FeatureStore.create("memory:moving")
    store = commit(store, source("b", 37), face("b", 1), sound("b", 2), label("b", 3))
    records = [store.get(seen[1].label.address), *(store.get(record.address) for record in seen[1].features)]
    rows = StoreFrames(store, [LabelledSubject(records[0], tuple(records[1:]))], INPUTS)
    before = read_all(rows, "training")
    commit(store, face("b", 9))
    np.testing.assert_array_equal(read_all(rows, "training"), before)


def test_an_input_that_an_extractor_does_not_give_is_refused(store, seen):
    asked = (Input("face", "valence_arousal"),)
    one = [replace(part, features=part.features[:1]) for part in seen]
    for opened in (StoreFrames, StoreSequences):
        with pytest.raises(SpecError, match="'face' gives no valence_arousal"):
            opened(store, one, asked)


def test_where_nothing_is_labelled_there_is_nothing_to_learn(store, seen):
    for none in ([], seen[3:]):
        rows = StoreFrames(store, none, INPUTS)
        assert (len(rows), list(rows.blocks)) == (0, [])
        with pytest.raises(AnnotationError, match="no training example with a known label"):
            fit(EXPR_MLP, rows, rows)


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1299), st.integers(1, 700)), min_size=1, max_size=8))
@pytest.mark.slow
def test_pieces_of_sequences_are_the_frames_of_their_videos(store, seen, pieces):
    sequences = StoreSequences(store, seen, INPUTS)
    wholes = [streams_of(store, one.features, INPUTS) for one in seen]
    wanted = []
    for video, start, length in pieces:
        first = start % len(wholes[video])
        wanted.append(Piece(video, first, min(first + length, len(wholes[video]))))
    for found, (video, start, stop) in zip(sequences.read(wanted), wanted, strict=True):
        np.testing.assert_array_equal(found.present, wholes[video].present[start:stop])
        for part, array in zip(found.values, wholes[video].values, strict=True):
            np.testing.assert_array_equal(part, array[start:stop])


def test_streams_are_what_the_store_holds(store, seen):
    streams = streams_of(store, seen[0].features, INPUTS)
    assert streams.widths == (8, 5, 3) == StoreSequences(store, seen, INPUTS).widths
    for i, (record, part) in enumerate(zip(seen[0].features, INPUTS, strict=True)):
        arrays = store.read(record.address)
        np.testing.assert_array_equal(streams.values[i], arrays[part.array])
        np.testing.assert_array_equal(streams.present[:, i], arrays["present"])


def test_sequences_have_the_labels_of_their_videos_and_their_names(store, seen):
    left = replace(seen[1], label=replace(seen[1].label, address=Address("label", "expr", "b", "left")))
    assert StoreSequences(store, [seen[0], left], INPUTS).names == ("a", "b_left")
    sequences = StoreSequences(store, seen, INPUTS)
    held = store.read(seen[2].label.address)
    np.testing.assert_array_equal(sequences.labels(2).value, held["value"])
    np.testing.assert_array_equal(sequences.labels(2).known, held["known"][:, 0])
    videos = LabelledVideos.of("expr", sequences, "training")
    assert [len(one) for one in videos.read([Window(1, 0), Window(0, 1200)], 300)] == [37, 100]


def test_a_reader_gives_rows_that_nobody_else_holds(store, seen):
    reader = RowReader(store, [one.features[0] for one in seen], "embedding")
    whole = store.read(seen[0].features[0].address)["embedding"]
    pieces = [(0, start, stop) for start, stop in ((0, 10), (500, 530), (500, 1200), (0, 2000), (1290, 1400), (7, 7))]
    for rows, (_, start, stop) in zip(reader.read_many([*pieces, *pieces]), [*pieces, *pieces], strict=True):
        np.testing.assert_array_equal(rows, whole[start:stop])
        rows[...] = 7
    [short] = reader.read_many([(1, 30, 50)], least_rows=12)
    np.testing.assert_array_equal(short[:7], store.read(seen[1].features[0].address)["embedding"][30:])
    assert short.shape == (12, 8)
    assert not short[7:].any()
    assert reader.read_many([]) == []
    assert reader.shape(1) == (37, 8)
    with pytest.raises(NotFoundError, match="no array 'valence_arousal'"):
        RowReader(store, [seen[0].features[0]], "valence_arousal").read(0, 0, 1)


@pytest.mark.parametrize("codec", [None, BloscCodec(cname="lz4", shuffle="bitshuffle"), ZstdCodec()], ids=str)
@pytest.mark.parametrize(("shape", "dtype"), [((23, 3), "<f4"), ((20, 3), ">f4"), ((7,), "<i8"), ((9, 2, 2), "u1")])
@settings(max_examples=20)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 99)), max_size=6))
def test_ranges_are_the_rows_that_zarr_reads_however_they_are_packed(codec, shape, dtype, asked):
    rows, values = 5, np.random.default_rng(0).integers(1, 99, shape).astype(dtype)
    array = zarr.create_array({}, shape=shape, dtype=dtype, chunks=(rows, *shape[1:]), compressors=codec, fill_value=3)
    array[:rows] = values[:rows]
    array[-2:] = values[-2:]  # what lies between was never written
    whole = np.asarray(array[...])
    ranges = [
        RowRange(array, start, np.empty((length % (shape[0] - start + 1), *shape[1:]), dtype))
        for start, length in asked
    ]
    read_ranges(ranges)
    for _, start, found, _ in ranges:
        np.testing.assert_array_equal(found, whole[start : start + len(found)])


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.integers(1, 90),
    chunk=st.integers(1, 5),
    block=st.integers(1, 7),
    pieces=st.lists(st.tuples(st.integers(0, 89), st.integers(0, 89)), max_size=4),
    seed=st.integers(0, 9),
)
def test_blocks_are_read_by_us_and_by_zarr_alike(rows, chunk, block, pieces, seed):
    rng = np.random.default_rng(seed)
    values = rng.integers(1, 99, (rows, 3)).astype(np.float32) * (rng.random((rows, 1)) < 0.4)
    values[-1] = -0.0
    store = MemoryStore()
    zarr.create_group(store)
    schema = ArraySchema(("frame", "feature"), ("float32",), chunk * block, "none", block)
    write_group(store, "g", {}, [Part("a", schema, values)])
    array = zarr.open_array(store, path="g/a", mode="r")
    assert array[...].tobytes() == read_rows(array).tobytes() == values.tobytes()
    for start, stop in pieces:
        assert read_rows(array, slice(start, stop)).tobytes() == values[start:stop].tobytes()


@pytest.mark.parametrize("order", ["big", "little"])
def test_numbers_in_another_machines_order_are_read_right(order):
    held = MemoryStore()
    zarr.create_array(
        held, shape=(4, 2), dtype="f4", chunks=(3, 2), serializer=BytesCodec(endian=order), compressors=None
    )[...] = 1
    rows = np.empty((4, 2), np.float32)
    read_ranges([RowRange(zarr.open_array(held, mode="r"), 0, rows)])
    assert (rows == 1).all()


@pytest.mark.parametrize(
    ("codec", "held"),
    [
        (None, b""),
        (None, bytes(79)),
        (BloscCodec(), b"nothing packed, but longer than a header"),
        (ZstdCodec(), b""),
        (ZstdCodec(), b"nothing packed"),
    ],
)
def test_a_damaged_chunk_is_named_and_never_numbers(codec, held):
    place = MemoryStore()
    array = zarr.create_array(place, shape=(10, 2), dtype="<f4", chunks=(10, 2), compressors=codec)
    array[...] = 1
    asyncio.run(place.set("c/0/0", cpu.Buffer.from_bytes(held)))
    with pytest.raises(StoreError, match=r"' is damaged: .*Restore"):
        read_ranges([RowRange(array, 0, np.empty((10, 2), np.float32))])


def test_embeddings_lie_in_blocks_and_chunks_of_zeros_take_no_room(tmp_path):
    store = FeatureStore.create(str(tmp_path / "store"))
    commit(store, source("a", 3000))
    whole = visual("a", 3000, 64, 0, "face")
    embedding = whole.arrays["embedding"].copy()
    embedding[1000:] = 0
    commit(store, replace(whole, arrays={**whole.arrays, "embedding": embedding}))
    array = store.newest().group(whole.address)["embedding"]
    assert (array.shards, array.chunks) == ((1000, 64), (8, 64))
    index = 125 * 16 + 4
    assert sorted(path.stat().st_size for path in tmp_path.rglob("chunks/*"))[-1] == 125 * (8 * 64 * 4 + 4) + index
    assert sum(path.stat().st_size for path in tmp_path.rglob("chunks/*")) < 1100 * 64 * 4
    np.testing.assert_array_equal(array[...], embedding)
    np.testing.assert_array_equal(store.newest().read(whole.address)["embedding"], embedding)


@given(rows=st.integers(0, 5000), most=st.integers(1, 1100))
def test_chunks_are_as_few_as_may_be_and_none_is_mostly_empty(rows, most):
    (length,) = Part("a", ArraySchema(("frame",), ("int8",), most, "none"), np.zeros(rows, np.int8)).chunk
    chunks = -(-rows // length)
    assert 1 <= length <= most
    assert chunks == -(-rows // most)
    assert chunks * length - rows < max(chunks, 1)


def test_windows_of_a_batch_are_those_that_are_read_one_by_one(store, seen):
    import torch

    windows = FrameWindows(store, [one.features[0] for one in seen], WindowSpec(300, 200))
    order = [7, 0, 3, 3, len(windows) - 1]
    for one, index in zip(windows.__getitems__(order), order, strict=True):
        alone = windows[index]
        assert (one.video, one.start) == (alone.video, alone.start)
        assert torch.equal(one.embedding, alone.embedding)
        assert torch.equal(one.present, alone.present)
        arrays = store.read(windows.records[one.video].address, rows=slice(one.start, one.start + 300))
        frames = len(arrays["present"])
        np.testing.assert_array_equal(one.embedding[:frames], arrays["embedding"])
        np.testing.assert_array_equal(one.present[:frames], arrays["present"])
        assert not one.embedding[frames:].any()
        assert not one.present[frames:].any()
    loader = torch.utils.data.DataLoader(windows, batch_size=4, collate_fn=list)
    assert sum(len(batch) for batch in loader) == len(windows)
    with pytest.raises(IndexError, match="asked for 99"):
        windows.__getitems__([0, 99])


def test_examples_in_memory_are_rows_too():
    examples = Examples(np.arange(10_000, dtype=np.float32)[:, None], np.zeros((10_000, 1), np.int8))
    assert sum(examples.blocks) == 10_000
    np.testing.assert_array_equal(read_all(examples, "training"), examples.x)
