"""What the plan says is stale, and why: exactly what depends on the change, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from affstore.models.extractor_specs import FaceExtractorSpec, SoundExtractorSpec, WeightsRef
from affstore.models.faces.specs import DetectorSpec, TrackingSpec
from affstore.models.labels.base import LabelFile
from affstore.store.contract.keys import digest_arrays, key_of
from affstore.store.contract.records import Address, Record
from affstore.tasks import recipes
from affstore.tasks.extract.jobs import jobs
from affstore.tasks.planning.plan import plan
from affstore.tasks.specs import Profile

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
        recipes.label(LABELS, "e" * 64, source.key),
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
