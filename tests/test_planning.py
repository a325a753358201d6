"""What the plan says is stale, and why: exactly what depends on the change, and nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from affstore import FeatureStore
from affstore.flows.cli import call
from affstore.models.extractor_specs import FaceExtractorSpec, SoundExtractorSpec, WeightsRef
from affstore.models.extractors.registry import spec_of
from affstore.models.faces.specs import DetectorSpec, TrackingSpec
from affstore.models.labels.base import LabelFile
from affstore.store.contract.keys import digest_arrays, key_of
from affstore.store.contract.records import Address, Artifact, Record
from affstore.tasks import recipes
from affstore.tasks.extract.jobs import jobs
from affstore.tasks.plan_rows import PlanRow
from affstore.tasks.planning.plan import plan
from affstore.tasks.planning.prices import price_of
from affstore.tasks.planning.prices import priced as rows_priced
from affstore.tasks.specs import Profile
from affstore.testing.artifacts import commit, source

FACE = FaceExtractorSpec("enet", 1, 8, 224, WeightsRef("w", "a" * 64))
OTHER = replace(FACE, name="other")
SOUND = SoundExtractorSpec("wav", 1, 8, 16000, Fraction(50), WeightsRef("s", "b" * 64), 60, True)
PROFILE = Profile(DetectorSpec(weights_sha256="d" * 64), TrackingSpec(), (FACE, OTHER, SOUND))

LABELS = LabelFile("expr", "train", "a", "main", Path("a.txt"))


def record(address, recipe, parents=(), **attributes):
    digest = digest_arrays({"x": np.frombuffer(key_of(recipe).encode(), np.uint8)})
    attributes = {"frames": 40} | attributes
    made = {"elapsed_s": 2.0}
    return Record(
        address, key_of(recipe), recipe, digest, tuple(p.as_parent() for p in parents), made, {}, "r", "", attributes
    )


def video(name, sha="c" * 64, profile=PROFILE):
    """All records of one video, with a label, a head on it, and a prediction."""
    source = record(Address("source", video=name), recipes.source(sha), sha256=sha, location=f"/{name}.mp4", aliases=[])
    face = record(
        Address("face", "mtcnn", name, "main"),
        recipes.face(profile.detector, profile.tracking, source.key, "main"),
        [source],
    )
    found = [source, face]
    found += [
        record(Address("visual", spec.name, name, "main"), recipes.feature(spec, face.key), [source, face])
        for spec in profile.faces
    ]
    found += [
        record(Address("audio", spec.name, name), recipes.feature(spec, source.key), [source])
        for spec in profile.sounds
    ]
    label = record(
        Address("label", "expr", name, "main"),
        recipes.label(LABELS, "e" * 64, source.key, "main"),
        [source],
    )
    head = record(Address("head", "expr-mlp"), {"fit": 1}, [found[2], label])
    prediction = record(Address("prediction", "expr-mlp", name, "main"), {"finish": 1}, [head, found[2]])
    return [*found, label, head, prediction]


def due(records, profile=PROFILE):
    return {row.address.path: row.reason for row in plan(records, profile) if row.due}


def test_a_complete_store_has_nothing_to_do():
    assert due(video("v")) == {}
    assert not any(job.due for job in jobs(video("v"), PROFILE, plan(video("v"), PROFILE)))


def test_a_new_video_lacks_everything():
    source = video("v")[:1]
    assert set(due(source)) == {"face/mtcnn/v", "visual/enet/v", "visual/other/v", "audio/wav/v"}
    (job,) = jobs(source, PROFILE, plan(source, PROFILE))
    assert job.find_faces
    assert [spec.name for spec in job.extractors] == ["enet", "other", "wav"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"weights": WeightsRef("w", "f" * 64)}, "extractor.weights.sha256: aaaaaaaa → ffffffff"),
        ({"precision": "bfloat16"}, "extractor.precision: float32 → bfloat16"),
        ({"size_px": 260}, "extractor.size_px: 224 → 260"),
        ({"version": 2}, "extractor.version: 1 → 2"),
    ],
)
def test_a_changed_extractor_makes_its_own_artifacts_and_their_descendants_stale(change, reason):
    profile = replace(PROFILE, extractors=(replace(FACE, **change), OTHER, SOUND))
    assert due(video("v"), profile) == {
        "visual/enet/v/main": reason,
        "head/expr-mlp": "its visual/enet/v/main is stale",
        "prediction/expr-mlp/v/main": "its head/expr-mlp is stale",
    }
    (job,) = jobs(video("v"), profile, plan(video("v"), profile))
    assert not job.find_faces, "stored boxes are used again"
    assert [spec.name for spec in job.extractors] == ["enet"]


def test_a_changed_detector_makes_faces_and_what_is_cut_from_them_stale_but_no_sound():
    profile = replace(PROFILE, detector=replace(PROFILE.detector, smallest_px=40))
    found = due(video("v"), profile)
    assert found["face/mtcnn/v/main"] == "detector.smallest_px: 20 → 40"
    assert found["visual/enet/v/main"] == "its face/mtcnn/v/main is stale"
    assert "audio/wav/v" not in found
    assert "label/expr/v/main" not in found


def test_other_bytes_under_a_name_make_all_of_that_video_stale_and_no_other():
    records = video("v")[:6] + video("w")[:6]
    changed = record(
        Address("source", video="v"), recipes.source("9" * 64), sha256="9" * 64, location="/v.mp4", aliases=[]
    )
    found = due([changed, *records[1:]])
    assert found
    assert all(path.split("/")[2] == "v" for path in found)


def test_renaming_or_moving_a_video_makes_nothing_stale():
    records = video("v")
    source = records[0]
    moved = replace(source, attributes={**source.attributes, "aliases": ["new name"], "location": "/elsewhere.mp4"})
    assert due([moved, *records[1:]]) == {}


def test_a_parent_that_was_computed_anew_with_other_numbers_makes_its_children_stale():
    records = video("v")
    records[2] = replace(records[2], digest="0" * 64)
    assert due(records) == {
        "head/expr-mlp": "its visual/enet/v/main was computed anew",
        "prediction/expr-mlp/v/main": "its head/expr-mlp is stale",
    }


def test_what_the_profile_does_not_name_is_left_alone():
    profile = replace(PROFILE, extractors=(SOUND,))
    assert due(video("v"), profile) == {}


def test_costs_are_estimated_from_what_the_store_knows():
    rows = plan(video("v") + video("w")[:1], PROFILE)
    costs = {row.address.path: row.cost_s for row in rows if row.due}
    assert costs["audio/wav/w"] == pytest.approx(2.0)


def measured(records, device, engine="torch", seconds=2.0):
    """The same records as if they had been made on a device, in so many seconds each."""
    made = {"elapsed_s": seconds, "device": device, "engine": engine}
    return [replace(one, made=made) for one in records]


def priced(records, device, profile=PROFILE):
    return price_of(plan([*records, *video("w")[:1]], profile, device=device))


def test_the_price_of_a_run_is_split_by_what_each_device_has_been_measured_to_take():
    both = measured(video("v"), "cpu", seconds=40.0) + measured(video("u"), "cuda", seconds=4.0)
    on_cpu, on_gpu = priced(both, "cpu"), priced(both, "cuda")
    # The pictures pass once, for the detector and both networks; the sound is a pass of its own.
    assert (on_cpu.cpu_s, on_cpu.gpu_s) == (pytest.approx(80.0), None)
    assert (on_gpu.cpu_s, on_gpu.gpu_s) == (None, pytest.approx(8.0))
    assert on_gpu.elsewhere == on_gpu.unknown == 0


@pytest.mark.parametrize(("was", "asked"), [("cpu", "cuda"), ("cuda:1", "cpu")])
def test_what_was_measured_on_one_device_prices_nothing_on_the_other(was, asked):
    price = priced(measured(video("v"), was), asked)
    assert price.seconds is None
    assert (price.elsewhere_s, price.elsewhere) == (pytest.approx(4.0), 4)
    assert priced([], asked).unknown == 4


def test_of_several_engines_the_one_that_is_asked_for_counts_and_any_before_it_has_run():
    records = measured(video("v"), "cpu", "openvino", 1.0) + measured(video("u"), "cpu", "torch", 3.0)
    for engine, seconds in (("openvino", 1.0), ("torch", 3.0)):
        profile = replace(PROFILE, extractors=(replace(SOUND, engine=engine),))
        found = {row.address.path: row.cost_s for row in plan([*records, *video("w")[:1]], profile)}
        assert found["audio/wav/w"] == pytest.approx(seconds)
    assert priced(measured(video("v"), "cpu", "openvino", 1.0), "cpu", PROFILE).cpu_s == pytest.approx(2.0)


def test_reading_a_crop_folder_s_faces_is_work_of_the_cpu_also_where_networks_run_on_a_gpu():
    face = record(Address("face", "cropped", "v", "main"), {"crops": 1})
    rows = [PlanRow(Address("face", "cropped", "w", "main"), "missing", frames=40)]
    (row,) = rows_priced(rows, measured([face], "cpu", "pillow"), PROFILE, "cuda")
    assert (row.device, row.cost_s) == ("cpu", pytest.approx(2.0))


def test_the_plan_names_the_cpu_s_figure_as_such_where_no_gpu_has_run_yet(tmp_path, capsys):
    store = FeatureStore.create(str(tmp_path / "store"))
    spec = spec_of("silero_vad")
    audio = Artifact(
        Address("audio", spec.name, "v"),
        recipes.feature(replace(spec, version=0), key_of(source("v").recipe)),
        {"embedding": np.ones((40, spec.width), np.float32), "present": np.ones(40, bool)},
        {"frames": 40, "vectors": 40, "classes": None, "complaint": None},
        made={"elapsed_s": 7200.0, "device": "cpu", "engine": "torch"},
    )
    commit(store, source("v"), audio)
    config = tmp_path / "run.yaml"
    for device, told, cpu_s, other_s in (
        ("cpu", "; about 2 h 0 min on CPU", 7200.0, None),
        ("cuda", "; not known on GPU yet for 1 artifacts, which took about 2 h 0 min on CPU", None, 7200.0),
    ):
        config.write_text(
            f"store: store\nextractors: [silero_vad]\nweights: untrained\nengine: torch\ndevice: {device}\n"
            "runner: {kind: dask, scheduler: 'tcp://10.0.0.1:8786'}\n"
        )
        assert call(["plan", str(config)]) == 10
        assert told in " ".join(capsys.readouterr().out.split())
        assert call(["plan", str(config), "--json"]) == 10
        found = json.loads(capsys.readouterr().out)
        assert (found["cpu_seconds"], found["gpu_seconds"], found["seconds_on_other_device"]) == (cpu_s, None, other_s)
        (row,) = (one for one in found["artifacts"] if one["artifact"] == "audio/silero_vad/v")
        assert (row["device"], row["cost_s"], row["cost_on_other_device_s"]) == (device, cpu_s, other_s)


def test_the_plan_says_what_of_a_run_no_row_of_it_stands_for(tmp_path, capsys):
    label = Artifact(
        Address("label", "va", "v", "main"),
        {"of": "v"},
        {"value": np.zeros((40, 2), np.float32), "known": np.ones((40, 2), bool)},
        {"frames": 40, "task": "va", "labels": ["valence", "arousal"], "split": "train", "location": ""}
        | {"complaint": None},
    )
    other = replace(label, address=replace(label.address, video="w"))
    store = commit(FeatureStore.create(str(tmp_path / "store")), source("v"), source("w"))
    config = tmp_path / "run.yaml"
    config.write_text(
        "store: store\nextractors: []\nweights: untrained\nprotocol: honest\nfolds: 99\n"
        "experiments: [{name: mine, task: va, inputs: [silero_vad.logits]}]\n"
    )
    assert call(["plan", str(config)]) == 10
    assert "not counted: the heads of folds with their predictions, which depend on labels" in capsys.readouterr().out
    commit(store, label, other)
    assert call(["plan", str(config)]) == 10
    said = capsys.readouterr().out
    assert "not counted: the experiments' own predictions and results\n" in said
    assert said.count("-fold") >= 2


def test_quarantined_bytes_are_not_tried_again_until_they_change():
    source = video("v")[0]
    recipe = recipes.quarantine("pictures", "v", "c" * 64)
    refused = record(Address("quarantine", "pictures", "x"), recipe, reason="broken", location="/v.mp4")
    records = [source, refused]
    (job,) = jobs(records, PROFILE, plan(records, PROFILE))
    assert job.refused == "broken"
    assert not job.find_faces
    assert [spec.name for spec in job.extractors] == ["wav"], "its sound is not refused"
    other = video("v", sha="8" * 64)[0]
    (job,) = jobs([other, refused], PROFILE, plan([other, refused], PROFILE))
    assert job.refused == ""


def test_faces_that_are_wanted_for_themselves_are_found_without_any_face_network():
    source = video("v")[:1]
    alone = replace(PROFILE, extractors=(SOUND,))
    assert set(due(source, alone)) == {"audio/wav/v"}
    wanted = replace(alone, required_faces=("mtcnn", "cropped"))
    assert wanted.crop_kinds == {"cropped"}
    assert set(due(source, wanted)) == {"audio/wav/v", "face/mtcnn/v"}
    (job,) = jobs(source, wanted, plan(source, wanted))
    assert job.find_faces
    assert [spec.name for spec in job.extractors] == ["wav"]


def test_a_file_in_quarantine_is_counted_once(tmp_path, capsys):
    films = tmp_path / "films"
    films.mkdir()
    for name in ("one", "two", "three"):
        (films / f"{name}.mp4").write_bytes(f"{name} is no film".encode())
    config = tmp_path / "run.yaml"
    config.write_text("store: store\nsources: [films]\nextractors: [silero_vad]\nweights: untrained\n")
    assert call(["run", str(config)]) == 3
    capsys.readouterr()
    assert call(["plan", str(config)]) == 0
    assert "3 quarantined" in capsys.readouterr().out.splitlines()
