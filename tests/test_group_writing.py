"""An artifact's documents and chunks are what Zarr writes of the same arrays, but for blanks in documents."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import example, given
from hypothesis import strategies as st
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec
from zarr.core.sync import sync
from zarr.storage import MemoryStore

from affstore.store.contract.schema import ArraySchema
from affstore.store.engine.group_writing import Part, add_groups, remove_group, write_group

COMPRESSORS = {
    "none": [Crc32cCodec()],
    "blosc": [BloscCodec(cname="lz4", shuffle="bitshuffle"), Crc32cCodec()],
    "zstd": [ZstdCodec(level=3), Crc32cCodec()],
}
ATTRIBUTES = {"key": "ä", "made": {"elapsed_s": 0.25, "loss": float("nan")}, "parents": ["source/v"], "none": None}


@example(codec="in blocks", dtype=">f4", shape=(9, 2), chunk=8, share=1.0)
@given(
    codec=st.sampled_from(["none", "blosc", "zstd", "in blocks"]),
    dtype=st.sampled_from(["bool", "int8", "int64", "float16", "float32", "float64", ">f4"]),
    shape=st.lists(st.integers(0, 3), max_size=2).flatmap(lambda w: st.integers(0, 40).map(lambda n: (n, *w))),
    chunk=st.integers(1, 50),
    share=st.floats(0, 1),
)
def test_every_array_is_written_as_zarr_writes_it(codec, dtype, shape, chunk, share):
    rng = np.random.default_rng(len(shape))
    if codec == "in blocks":
        share = 1.0  # Zarr leaves a block of zeros out, and it is written here: see `affstore.store.engine.blocks`
    values = (rng.integers(1, 99, shape) * (rng.random(shape) < share)).astype(dtype)
    axes = tuple(f"axis{n}" for n in range(len(shape)))
    schema = ArraySchema(axes, (dtype,), chunk, "none" if codec == "in blocks" else codec, 4 * (codec == "in blocks"))
    part = Part("a", schema, values)
    assert written([part]) == as_zarr_writes(part)


@pytest.mark.parametrize("codec", COMPRESSORS)
def test_a_single_number_is_written_as_zarr_writes_it(codec):
    part = Part("a", ArraySchema(("any",), ("float64",), 8, codec), np.array(0.5))
    assert written([part]) == as_zarr_writes(part)


def test_groups_that_are_missing_are_made_as_zarr_makes_them_and_others_stay():
    held: dict[str, Any] = {}
    store = MemoryStore(held)
    zarr.create_group(store, path="a", attributes={"kept": 1})
    add_groups(store, ["a", "a/b", "c"])
    root = zarr.open_group(store, mode="r")
    assert root["a"].attrs["kept"] == 1
    assert [sorted(root["a"]), [*root["c"]]] == [["b"], []]
    by_zarr: dict[str, Any] = {}
    zarr.create_group(MemoryStore(by_zarr), path="c")
    assert json.loads(held["c/zarr.json"].to_bytes()) == json.loads(by_zarr["c/zarr.json"].to_bytes())


def test_what_stood_there_is_gone_and_what_stands_beside_it_stays():
    held: dict[str, Any] = {}
    store, schema = MemoryStore(held), ArraySchema(("frame",), ("int64",), 8, "blosc")
    zarr.create_group(store)
    for path in ("g", "beside", "g2"):
        write_group(store, path, {}, [Part("old", schema, np.arange(20))])
    write_group(store, "g", {"new": True}, [Part("new", schema, np.arange(3))])
    assert sorted(zarr.open_group(store)["g"]) == ["new"]
    assert sync(remove_group(store, "g"))
    assert not sync(remove_group(store, "g"))
    assert {key.partition("/")[0] for key in held} == {"zarr.json", "beside", "g2"}


def test_no_group_above_it_is_written():
    assert set(written([], path="visual/network/video/main")) == {"visual/network/video/main/zarr.json"}


def written(parts: list[Part], path: str = "g") -> dict[str, bytes]:
    held: dict[str, Any] = {}
    write_group(MemoryStore(held), path, ATTRIBUTES, parts)
    return contents(held)


def as_zarr_writes(part: Part) -> dict[str, bytes]:
    held: dict[str, Any] = {}
    group = zarr.create_group(MemoryStore(held), path="g", attributes=ATTRIBUTES)
    schema, values = part.schema, part.values
    how: dict[str, Any] = {"chunks": part.chunk, "compressors": COMPRESSORS[schema.codec]}
    if schema.block and values.size:
        inner = (schema.block, *part.chunk[1:])
        how = {"shards": part.chunk, "chunks": inner, "compressors": Crc32cCodec()}
    array = group.create_array(
        part.name,
        shape=values.shape,
        dtype=values.dtype,
        filters=None,
        fill_value=np.zeros((), values.dtype).item(),
        dimension_names=None if schema.dims == ("any",) else schema.dims,
        attributes={"affstore": {"empty_chunks": []}},
        config={"write_empty_chunks": not (schema.block and values.size)},
        **how,
    )
    array[...] = values
    found = {
        key: without_blanks(content) if key.endswith("json") else content for key, content in contents(held).items()
    }
    del found["zarr.json"]
    return found


def without_blanks(document: bytes) -> bytes:
    return json.dumps(json.loads(document), separators=(",", ":")).encode()


def contents(held: Mapping[str, Any]) -> dict[str, bytes]:
    return {key: content.to_bytes() for key, content in held.items()}
