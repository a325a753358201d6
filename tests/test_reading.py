"""What is read back: NaN, null and names instead of the store's zeros and numbers, for every registered extractor."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import xarray as xr

from affstore import FeatureStore, open_xarray, read_video
from affstore.models.extractor_specs import ExtractorSpec, FaceExtractorSpec
from affstore.models.extractors.registry import names, spec_of
from affstore.store.contract.errors import NotFoundError, SpecError
from affstore.store.contract.labels import task_space
from affstore.store.contract.records import Address, Artifact
from affstore.store.contract.schema import family
from affstore.store.engine import draft
from affstore.store.engine.exporters.base import export
from tests.factories import commit, source

FRAMES = 12
GAP = slice(3, 7)
SPECS = [spec_of(name) for name in sorted(names())]


def gapped(*shape: int, seed: int = 0) -> np.ndarray:
    """Numbers as a task stores them: zeros where nothing is."""
    values = np.random.default_rng(seed).normal(size=(FRAMES, *shape)).astype(np.float32)
    values[GAP] = 0
    return values


def present() -> np.ndarray:
    mask = np.ones(FRAMES, bool)
    mask[GAP] = False
    return mask


def feature(spec: ExtractorSpec, video: str = "a") -> Artifact:
    """An artifact with all that an extractor of that spec gives."""
    is_face = isinstance(spec, FaceExtractorSpec)
    arrays = {"embedding": gapped(spec.width), "present": present()}
    if spec.logits:
        arrays["logits"] = gapped(len(spec.logits), seed=1)
    if is_face and spec.valence_arousal:
        arrays["valence_arousal"] = gapped(2, seed=2)
    if not is_face and spec.affect:
        arrays["affect"] = gapped(3, seed=3)
    attributes = {"frames": FRAMES, "classes": list(spec.logits.names) if spec.logits else None}
    if is_face:
        return Artifact(Address("visual", spec.name, video, "main"), {"of": spec.name}, arrays, attributes)
    attributes |= {"vectors": 30, "complaint": None}
    return Artifact(Address("audio", spec.name, video), {"of": spec.name}, arrays, attributes)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> FeatureStore:
    """A store with what every registered extractor would give of one video."""
    empty = FeatureStore.create(str(tmp_path_factory.mktemp("reading") / "store"))
    return commit(empty, source("a", FRAMES), *map(feature, SPECS), *annotations(), *predictions(), face())


def annotations() -> list[Artifact]:
    found = []
    for task, columns, dtype in (("expr", 1, np.int8), ("au", 12, np.int8), ("va", 2, np.float32)):
        value, known = np.full((FRAMES, columns), 1, dtype), np.repeat(present()[:, None], columns, axis=1)
        value[~known] = 0
        attributes = {"frames": FRAMES, "task": task, "labels": list(task_space(task).names)}
        attributes |= {"split": "train", "location": "", "complaint": None}
        found.append(
            Artifact(Address("label", task, "a", "main"), {"of": task}, {"value": value, "known": known}, attributes)
        )
    return found


def predictions() -> list[Artifact]:
    raw = np.random.default_rng(5).random((FRAMES, 8)).astype(np.float32)
    label = raw.argmax(1).astype(np.int8)[:, None]
    arrays = {"raw": raw, "smoothed": raw, "prediction": label, "present": present()}
    attributes = {"frames": FRAMES, "task": "expr", "labels": list(task_space("expr").names)}
    return [
        Artifact(Address("prediction", name, "a", "main"), {"of": name}, arrays, attributes) for name in ("mlp", "va")
    ]


def face() -> Artifact:
    arrays = {"box": gapped(4), "landmark": gapped(5, 2), "score": gapped(), "present": present()}
    return Artifact(
        Address("face", "mtcnn", "a", "main"), {"of": "face"}, arrays, {"frames": FRAMES, "prominent": True}
    )


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_every_extractor_is_read_back_whole_and_is_nan_where_nothing_is(store, spec):
    video = read_video(store, "a", spec.name)
    stored = feature(spec).arrays
    outputs = {name: getattr(video, name) for name in ("embedding", "logits", "valence_arousal", "affect")}
    assert {name for name, array in outputs.items() if array is not None} == stored.keys() - {"present"}
    assert video.classes == (spec.logits.names if spec.logits else ())
    np.testing.assert_array_equal(video.present, present())
    dataset = open_xarray(store, "a", spec.name)
    for name in stored.keys() - {"present"}:
        for array in (outputs[name], dataset[name].values):
            assert np.isnan(array[GAP]).all()
            np.testing.assert_array_equal(array[present()], stored[name][present()])


def test_the_stores_own_arrays_keep_zeros_under_the_mask(store):
    stored = store.read(Address("visual", "mt_emotieffnet_b0", "a", "main"))
    assert not stored["valence_arousal"][GAP].any()
    assert np.isfinite(stored["logits"]).all()


def test_classes_axes_and_instants_are_coordinates(store):
    dataset = open_xarray(store, "a", "mt_emotieffnet_b0")
    stored = feature(spec_of("mt_emotieffnet_b0")).arrays
    happiness = dataset["logits"].sel({"class": "Happiness"})
    np.testing.assert_array_equal(happiness[present()], stored["logits"][present(), 4])
    np.testing.assert_array_equal(
        dataset["valence_arousal"].sel(dimension="arousal")[:3], stored["valence_arousal"][:3, 1]
    )
    nearest = dataset["logits"].sel(time_s=0.079, method="nearest")
    np.testing.assert_array_equal(nearest, stored["logits"][2])
    sound = open_xarray(store, "a", "wav2vec2_large_msp_dim")
    assert sound["affect"].coords["dimension"].values.tolist() == ["arousal", "dominance", "valence"]
    au = open_xarray(store, "a", "au")
    assert np.isnan(au["value"].sel(label="AU12")[GAP]).all()
    assert open_xarray(store, "a", "mtcnn")["box"].sel(corner="x0").isnull().sum() == 4
    assert open_xarray(store, "a", "mlp")["raw"].sel(output="Fear").notnull().all()


def test_a_name_that_means_nothing_or_several_things_is_answered_with_what_there_is(store):
    with pytest.raises(NotFoundError, match=r"nothing by 'nobody'.*It has: .*visual/emotieffnet_b0/a/main"):
        open_xarray(store, "a", "nobody")
    with pytest.raises(SpecError, match="Ask for 'label/va' or 'prediction/va'"):
        open_xarray(store, "a", "va")
    assert "known" in open_xarray(store, "a", "label/va")


def test_parquet_has_a_named_column_a_class_and_null_where_nothing_is(store, tmp_path):
    files = export(store, store.records("visual", "audio", "label", "prediction", "face"), tmp_path / "out", "parquet")
    frames = {f"{path.parent.name}/{path.stem}": pl.read_parquet(path) for path in files}
    faces = frames["visual/mt_emotieffnet_b0"]
    stored = feature(spec_of("mt_emotieffnet_b0")).arrays
    logits = [f"logit_{name}" for name in spec_of("mt_emotieffnet_b0").logits.names]
    assert {*logits, "valence", "arousal", "embedding", "present", "frame", "time_s"} <= set(faces.columns)
    seen = faces.filter(pl.col("present"))
    np.testing.assert_array_equal(seen.select(logits).to_numpy(), stored["logits"][present()])
    np.testing.assert_array_equal(np.stack(seen["embedding"].to_list()), stored["embedding"][present()])
    for name, frame in frames.items():
        empty = frame.filter(~pl.col("present")) if name.startswith(("visual", "audio", "face")) else frame[0:0]
        for column in set(frame.columns) - {"video", "subject", "frame", "time_s", "present"}:
            assert empty[column].null_count() == len(empty), (name, column)
            assert frame[column].dtype not in (pl.Float32, pl.Float64) or not frame[column].is_nan().any(), (
                name,
                column,
            )
    assert frames["label/expr"]["expr"].to_list()[2:4] == ["Anger", None]
    assert frames["label/au"]["AU12"].to_list()[2:4] == [1, None]
    assert frames["label/va"].select("valence", "arousal")[3].row(0) == (None, None)
    decided = predictions()[0].arrays["prediction"][:, 0]
    assert frames["prediction/mlp"]["prediction"].to_list() == [task_space("expr").names[i] for i in decided]
    assert frames["prediction/mlp"]["raw_Fear"].null_count() == 0
    assert {"x0", "y1", "left_eye_x", "mouth_right_y", "score"} <= set(frames["face/mtcnn"].columns)


def test_an_exported_zarr_opens_in_xarray_with_names_instants_and_nan(store, tmp_path):
    export(store, store.records(), tmp_path / "out.zarr", "zarr")
    dataset = xr.open_zarr(tmp_path / "out.zarr", group="visual/mt_emotieffnet_b0/a/main", consolidated=False)
    assert np.isnan(dataset["logits"].sel({"class": "Happiness"}).values[GAP]).all()
    assert dataset.coords["time_s"].dims == ("frame",)
    assert dataset.attrs["affstore"]["key"] == store.get(Address("visual", "mt_emotieffnet_b0", "a", "main")).key


def written_by_the_first_version(url: str) -> FeatureStore:
    """A store whose prediction is written as the first version of its family was: the decision is called `label`."""
    today, artifact = family("prediction"), predictions()[0]
    former = {today.arrays[name].former or name: array for name, array in today.arrays.items()}
    store = commit(FeatureStore.create(url), source("a", FRAMES))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(draft, "family", lambda _: replace(today, version=1, arrays=former))
        return commit(store, replace(artifact, arrays=today.formerly_named(artifact.arrays)))


def test_a_decision_that_an_older_store_calls_label_is_read_under_its_name(tmp_path):
    old = written_by_the_first_version(str(tmp_path / "old"))
    address, decided = Address("prediction", "mlp", "a", "main"), predictions()[0].arrays["prediction"]
    assert "prediction" not in old.group(address)
    np.testing.assert_array_equal(old.read(address)["prediction"], decided)
    np.testing.assert_array_equal(old.read(address, ["prediction"], slice(2, 5))["prediction"], decided[2:5])
    assert "prediction" in open_xarray(old, "a", "mlp")
    (file,) = export(old, old.records("prediction"), tmp_path / "out", "parquet")
    assert pl.read_parquet(file)["prediction"].to_list() == [task_space("expr").names[i] for i in decided[:, 0]]
    export(old, old.records(), tmp_path / "out.zarr", "zarr")
    copy = xr.open_zarr(tmp_path / "out.zarr", group="prediction/mlp/a/main", consolidated=False)
    np.testing.assert_array_equal(copy["prediction"], decided)


def test_older_and_newer_predictions_of_one_head_are_exported_together(tmp_path):
    old = written_by_the_first_version(str(tmp_path / "old"))
    newer = replace(predictions()[0], address=Address("prediction", "mlp", "b", "main"))
    both = commit(old, source("b", FRAMES), newer)
    (file,) = export(both, both.records("prediction"), tmp_path / "out", "parquet")
    assert pl.read_parquet(file)["prediction"].null_count() == 0
