"""Embeddings in float16: a stated choice, half the room, and float32 for whoever computes with them."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from affstore import FeatureStore, FrameWindows, WindowSpec, open_xarray, read_video
from affstore.flows.cli import call
from affstore.flows.config.run_config import checked
from affstore.flows.execution import run_without_server
from affstore.flows.request import request_of
from affstore.flows.watch import Watcher
from affstore.models.weights.folder import default_folder
from affstore.store.contract.errors import OutOfRangeError, SchemaError
from affstore.store.contract.half_floats import to_float16, to_float32
from affstore.store.contract.keys import key_of
from affstore.store.contract.records import Address
from affstore.store.contract.schema import check_finite
from affstore.store.engine.exporters.base import EXPORTERS
from affstore.store.engine.row_reader import RowReader
from affstore.tasks.extract import videos
from affstore.tasks.lineage.reproduce import reproduce
from affstore.tasks.lineage.verify import verify
from affstore.tasks.planning.plan import bytes_of, plan
from affstore.tasks.specs import Input
from affstore.tasks.training.sequence_dataset import streams_of
from tests.factories import commit, source

FACE, SOUND, CLIP = "mt_emotimobilefacenet", "silero_vad", "face_noface"
ENGINE = {"engine": "openvino", "precision": "float32", "weights": "untrained"}
"""Named, so that no run measures engines; the smallest networks."""
OPTIONS = ("-e", FACE, "-e", SOUND, *(word for name, value in ENGINE.items() for word in (f"--{name}", value)))


def request(url, *sources, **document):
    document = {"store": str(url), "sources": [str(path) for path in sources], "extractors": (FACE, SOUND)} | document
    return request_of(checked(document | ENGINE, "test"))


def run(url, *sources, **document):
    """What became of each stage's inputs."""
    result = run_without_server(request(url, *sources, **document), Watcher())
    return {(one.stage, one.subject): one.status for one in result.outcomes}


def embeddings(url):
    store = FeatureStore(str(url))
    return {one.address.family: store.read(one.address)["embedding"] for one in store.records("visual", "audio")}


@pytest.fixture(scope="module")
def stores(shared, tmp_path_factory):
    """A real clip in a store of either type."""
    folder = tmp_path_factory.mktemp("types")
    for stored in ("float32", "float16"):
        run(folder / stored, shared / "media" / "face_video" / f"{CLIP}.mov", stored=stored)
    return folder


@pytest.fixture
def half(stores, tmp_path):
    """A store in float16 of a test's own."""
    shutil.copytree(stores / "float16", tmp_path / "store")
    return tmp_path / "store"


# Numbers


def test_every_number_of_float16_becomes_the_same_number_of_float32():
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    finite = every[np.isfinite(every)]
    for halves in (finite, finite[::-3], finite.reshape(2, -1).T):
        np.testing.assert_array_equal(to_float32(halves).view(np.uint32), halves.astype(np.float32).view(np.uint32))
    assert to_float32(np.empty((0, 5), np.float16)).shape == (0, 5)


def test_what_is_not_float16_is_given_back_as_it_is():
    for array in (np.ones(3, bool), np.ones(3, np.float32), np.ones(3, np.int8)):
        assert to_float32(array) is array


@given(npst.arrays(np.float32, 20, elements=st.floats(-65000, 65000, width=32)))
def test_a_number_is_stored_as_the_nearest_one(values):
    spacing = np.spacing(np.abs(values).astype(np.float16)).astype(np.float64)
    assert (np.abs(to_float32(to_float16(values, "x")).astype(np.float64) - values) <= spacing / 2).all()


def test_a_number_beyond_float16_is_refused_in_one_sentence():
    assert to_float16(np.array([65519], np.float32), "x")[0] == 65504
    with pytest.raises(
        OutOfRangeError, match=r"^1 numbers of 'v' are beyond .* 65504: up to 70000\. Store .*float32\."
    ):
        to_float16(np.array([1, -70000], np.float32), "'v'")


def test_infinity_is_never_stored_whoever_brings_it():
    values = np.array([[np.inf]], np.float32)
    with pytest.raises(SchemaError, match="1 values that are not finite"):
        check_finite("visual", {"embedding": to_float16(values, "x")})


# From files to the store


def test_an_embedding_is_that_of_float32_rounded_and_all_else_is_the_same(stores):
    full, half = (FeatureStore(str(stores / stored)) for stored in ("float32", "float16"))
    for record in full.records("visual", "audio"):
        one, other = full.read(record.address), half.read(record.address)
        np.testing.assert_array_equal(other["embedding"], one["embedding"].astype(np.float16))
        assert other["embedding"].dtype == np.float16
        assert {name: array.dtype for name, array in one.items() if name != "embedding"} == {
            name: array.dtype for name, array in other.items() if name != "embedding"
        }
        for name in one.keys() - {"embedding"}:
            np.testing.assert_array_equal(one[name], other[name])


def test_key_and_record_say_which_and_the_key_of_float32_is_what_it_was(stores):
    full, half = (FeatureStore(str(stores / stored)) for stored in ("float32", "float16"))
    for record in full.records("visual", "audio"):
        other = half.get(record.address)
        assert "stored" not in record.recipe["extractor"]
        assert key_of({**record.recipe, "extractor": {**record.recipe["extractor"], "stored": "float16"}}) == other.key
        assert (record.made["stored"], other.made["stored"]) == ("float32", "float16")


def test_what_is_read_to_compute_with_is_float32_whatever_is_stored(stores):
    store = FeatureStore(str(stores / "float16"))
    (record,) = store.records("visual")
    stored = store.read(record.address)
    expected = stored["embedding"].astype(np.float32)
    (streams,) = streams_of(store, [record], [Input(FACE)]).values
    found = {
        "read_video": np.nan_to_num(read_video(store, CLIP, FACE).embedding),
        "open_xarray": np.nan_to_num(open_xarray(store, CLIP, FACE)["embedding"].values),
        "windows": FrameWindows(store, [record], WindowSpec(len(expected), 1))[0].embedding.numpy(),
        "rows": RowReader(store, [record], "embedding").read(0, 0, len(expected)),
        "heads": streams,
    }
    for name, array in found.items():
        assert array.dtype == np.float32, name
        np.testing.assert_array_equal(array, expected, name)


def test_exports_give_float32(stores, tmp_path):
    pq, zarr = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("zarr")
    store = FeatureStore(str(stores / "float16"))
    records = store.records("visual")
    (file,) = EXPORTERS.get("parquet").write(store, records, tmp_path / "tables")
    assert str(pq.read_schema(file).field("embedding").type.value_type) == "float"
    EXPORTERS.get("zarr").write(store, records, tmp_path / "zarr")
    assert zarr.open_group(tmp_path / "zarr")[records[0].address.path]["embedding"].dtype == np.float32


def test_an_artifact_is_verified_and_computed_again_to_the_bit(stores):
    store = FeatureStore(str(stores / "float16"))
    assert not verify(store).findings
    found = reproduce(store, store.addresses("visual", "audio"), default_folder())
    assert [one.verdict for one in found] == ["equal", "equal"]


@pytest.mark.slow
def test_a_store_keeps_its_type_until_another_one_is_named(stores, half, shared):
    assert set(run(half).values()) == {"cached"}
    assert call(["plan", "--store", str(half), *OPTIONS]) == 0
    assert call(["plan", "--store", str(stores / "float32"), *OPTIONS]) == 0
    run(half, shared / "media" / "face_video" / "carphone_pristine.mp4")
    assert {array.dtype for array in embeddings(half).values()} == {np.dtype(np.float16)}


def test_another_type_makes_embeddings_stale_and_the_plan_prices_what_it_will_store(half, capsys):
    assert call(["plan", "--store", str(half), *OPTIONS, "--stored", "float32"]) == 10
    assert "extractor.stored: float16 → float32" in capsys.readouterr().out
    store = FeatureStore(str(half))
    records = store.records()
    size = {}
    for stored in ("float32", "float16"):
        profile = request(half, stored=stored).profile
        # Both are due where the network is another one.
        changed = replace(profile, extractors=tuple(replace(spec, version=99) for spec in profile.extractors))
        size[stored] = bytes_of(store, records, plan(records, changed), profile)
    numbers = sum(array.size for array in embeddings(half).values())
    assert size["float32"] - size["float16"] == 2 * numbers
    assert run(half, stored="float32")["extract", CLIP] == "done"
    assert {array.dtype for array in embeddings(half).values()} == {np.dtype(np.float32)}


# What float16 cannot hold


def louder(monkeypatch):
    """A sound network whose numbers are beyond float16."""
    plain = videos.align_to_frames

    def aligned(*arguments):
        arrays = plain(*arguments)
        return {**arrays, "embedding": arrays["embedding"] * np.float32(1e9)}

    monkeypatch.setattr(videos, "align_to_frames", aligned)


@pytest.mark.slow
def test_what_float16_cannot_hold_is_quarantined_and_costs_nothing_else(shared, tmp_path, monkeypatch):
    url, clip = tmp_path / "store", shared / "media" / "face_video" / f"{CLIP}.mov"
    louder(monkeypatch)
    assert run(url, clip, stored="float16")["extract", CLIP] == "quarantined"
    assert set(embeddings(url)) == {"visual"}
    (entry,) = FeatureStore(str(url)).records("quarantine")
    assert entry.address.producer == f"float16-{SOUND}"
    assert f"'audio/{SOUND}/{CLIP}' are beyond the largest of float16" in entry.attributes["reason"]

    snapshot = FeatureStore(str(url)).snapshot
    assert run(url, stored="float16")["extract", CLIP] == "quarantined"
    assert FeatureStore(str(url)).snapshot == snapshot, "it is not tried again"

    assert run(url, stored="float32")["extract", CLIP] == "done"
    assert np.isfinite(embeddings(url)["audio"]).all()
    assert FeatureStore(str(url)).records("quarantine") == []


# Imported features


def test_imported_features_are_stored_in_float16_where_that_is_asked_for(tmp_path, capsys):
    url = str(tmp_path / "store")
    commit(FeatureStore.create(url), source("talk", 40))
    np.save(tmp_path / "gaze.npy", np.linspace(0, 7e4, 120).reshape(40, 3))
    words = ["import", str(tmp_path / "gaze.npy"), "--video", "talk", "--name", "gaze", "--store", url]
    assert call([*words, "--stored", "float16"]) == 3
    assert "numbers of 'gaze.npy' are beyond" in capsys.readouterr().err
    assert call(words) == 0
    plain = FeatureStore(url).get(Address("visual", "imported/gaze", "talk", "main"))
    np.save(tmp_path / "gaze.npy", np.linspace(0, 1, 120).reshape(40, 3))
    assert call([*words, "--stored", "float16"]) == 0
    record = FeatureStore(url).get(plain.address)
    assert (plain.made["stored"], record.made["stored"]) == ("float32", "float16")
    assert call(words) == 0
    assert FeatureStore(url).get(plain.address) == record, "they keep their type until another one is named"
    assert FeatureStore(url).read(record.address)["embedding"].dtype == np.float16
    assert read_video(FeatureStore(url), "talk", "imported/gaze").embedding.dtype == np.float32
