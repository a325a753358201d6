"""Faces of real photographs and clips."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import Resize

from affstore.models.faces.boxes import iou
from affstore.models.faces.crops import cut, resized
from affstore.models.faces.detections import Detections
from affstore.models.faces.detector import FaceDetector
from affstore.models.faces.finder import FaceFinder
from affstore.models.faces.specs import DetectorSpec, TrackingSpec, resolve, weights_files
from affstore.models.faces.tracking import FaceTrack, FaceTracker
from affstore.store.contract.errors import SpecError, WeightsDigestError, WeightsMissingError
from affstore.tasks.extract import networks

SPEC = TrackingSpec()


@pytest.fixture(scope="module", params=["openvino", pytest.param("torch", marks=pytest.mark.slow)])
def detector(request):
    return FaceDetector(DetectorSpec(engine=request.param))


def photo(shared: Path, name: str):
    return np.array(Image.open(shared / "media" / "photo" / name).convert("RGB"))


def frames(shared: Path, name: str, step: int = 1, most: int = 1000):
    with av.open(str(shared / "media" / "face_video" / name)) as container:
        decoded = enumerate(container.decode(video=0))
        return [frame.to_ndarray(format="rgb24") for index, frame in decoded if index % step == 0][:most]


def follow(detector, pictures, spec: TrackingSpec = SPEC) -> dict[str, FaceTrack]:
    finder, tracker = FaceFinder(detector), FaceTracker(spec)
    for index, picture in enumerate(pictures):
        tracker.update(index, finder.update(picture))
    return {name: tracker.face_track(t, len(pictures)) for name, t in tracker.subjects().tracks.items()}


def equal(a: Detections, b: Detections) -> bool:
    pairs = ((a.box, b.box), (a.landmark, b.landmark), (a.score, b.score))
    return all(np.array_equal(one, other) for one, other in pairs)


class TestDetector:
    @pytest.mark.parametrize(
        ("name", "faces"),
        [
            ("astronaut.png", 1),
            ("two_people.jpg", 2),
            ("single_face.jpg", 1),
            ("ivan.jpg", 1),
            ("stock-emotions-a-3.jpg", 1),
            ("stock-emotions-a-4.jpg", 1),
            ("stock-emotions-a-7.jpg", 1),
            ("2008_001322.jpg", 3),
            ("2008_002506.jpg", 3),
            ("no-faces.jpg", 0),
            ("grass.jpg", 0),
        ],
    )
    def test_every_face_of_a_photograph_is_found_and_nothing_else(self, shared, detector, name, faces):
        assert len(detector.detect(photo(shared, name))) == faces

    def test_boxes_agree_with_those_drawn_by_hand(self, shared, detector):
        # dlib's annotation of 2008_002506.jpg: left, top, side.
        drawn = np.array([(329, 78, 109), (224, 95, 91), (125, 65, 90)], np.float32)
        drawn = np.column_stack([drawn[:, :2], drawn[:, :2] + drawn[:, 2:]])
        found = detector.detect(photo(shared, "2008_002506.jpg"))
        assert (iou(drawn, found.box).max(axis=1) > 0.6).all()
        # Marie Curie, from the photograph's own XMP region.
        found = detector.detect(photo(shared, "portrait.jpg"))
        assert iou(np.array([[262, 146, 357, 285]], np.float32), found.box).max() > 0.6

    def test_landmarks_lie_in_the_face_in_their_order(self, shared, detector):
        found = detector.detect(photo(shared, "astronaut.png"))
        left_eye, right_eye, nose, left_mouth, right_mouth = found.landmark[0]
        assert left_eye[0] < nose[0] < right_eye[0]
        assert left_mouth[0] < right_mouth[0]
        assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])
        assert (found.landmark[0] > found.box[0, :2]).all()
        assert (found.landmark[0] < found.box[0, 2:]).all()

    def test_boxes_stay_inside_the_picture(self, shared, detector):
        picture = photo(shared, "astronaut.png")[80:, 190:400]
        found = detector.detect(picture)
        assert len(found) == 1
        assert (found.box >= 0).all()
        assert (found.box[:, 2:] <= [picture.shape[1], picture.shape[0]]).all()

    def test_a_picture_does_not_know_of_other_threads(self, shared, detector):
        pictures = [photo(shared, name) for name in ("2008_001322.jpg", "grass.jpg", "ivan.jpg", "astronaut.png")]
        alone = [detector.detect(picture) for picture in pictures]
        with ThreadPoolExecutor(3) as pool:
            assert all(map(equal, alone, pool.map(detector.detect, pictures)))

    def test_both_engines_find_the_same_faces(self, shared):
        engines = [FaceDetector(DetectorSpec(engine=engine)) for engine in ("torch", "openvino")]
        for name in ("2008_001322.jpg", "two_people.jpg", "astronaut.png"):
            reference, other = (detector.detect(photo(shared, name)) for detector in engines)
            np.testing.assert_allclose(other.box, reference.box, atol=0.1)
            np.testing.assert_allclose(other.landmark, reference.landmark, atol=0.1)
            np.testing.assert_allclose(other.score, reference.score, atol=1e-3)

    @pytest.mark.slow
    @pytest.mark.parametrize("engine", ["torch", "openvino"])
    def test_bits_do_not_follow_the_number_of_cores(self, shared, engine):
        program = (
            "import os, sys, numpy as np, torch; from PIL import Image; "
            "from affstore.models.faces.specs import DetectorSpec, resolve; "
            "from affstore.tasks.extract import networks; "
            "from affstore.store.contract.keys import digest_arrays; "
            "os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[: int(sys.argv[3])])); "
            "detector = networks.detector(resolve(DetectorSpec(engine=sys.argv[1])), 'cpu'); "
            "found = detector.detect(np.array(Image.open(sys.argv[2]).convert('RGB'))); "
            "print(digest_arrays({'box': found.box, 'landmark': found.landmark, 'score': found.score}))"
        )
        picture = str(shared / "media" / "photo" / "2008_001322.jpg")
        said = set()
        for cores in "12":
            command = [sys.executable, "-c", program, engine, picture, cores]
            environment = {**os.environ, "OMP_NUM_THREADS": cores}
            said.add(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)
        assert len(said) == 1

    @pytest.mark.parametrize("shape", [(1, 1, 3), (11, 40, 3), (12, 12, 3), (300, 13, 3)])
    def test_a_picture_too_small_for_a_face_holds_none(self, detector, shape):
        assert len(detector.detect(np.full(shape, 99, np.uint8))) == 0

    def test_what_is_no_picture_is_refused(self, detector):
        for wrong in (np.zeros((9, 9), np.uint8), np.zeros((9, 9, 3), np.float32), np.zeros((0, 9, 3), np.uint8)):
            with pytest.raises(SpecError, match="uint8 pictures"):
                detector.detect(wrong)


class TestWeights:
    def test_a_resolved_spec_names_the_weights_and_needs_no_torch(self):
        program = (
            "import sys; from affstore.models.faces.specs import DetectorSpec, resolve; "
            "heavy = {'torch', 'mtcnn', 'tensorflow', 'cv2'} & {*sys.modules}; "
            "print(resolve(DetectorSpec()).weights_sha256, sorted(heavy))"
        )
        root = Path(__file__).parents[1]
        said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root)
        digest, loaded = said.stdout.split(maxsplit=1)
        assert digest == resolve(DetectorSpec()).weights_sha256
        assert len(digest) == 64
        assert loaded.strip() == "[]"

    def test_a_damaged_file_is_refused_before_it_is_unpickled(self, tmp_path, monkeypatch):
        folder = tmp_path / "mtcnn" / "assets" / "weights"
        folder.mkdir(parents=True)
        (tmp_path / "mtcnn" / "__init__.py").touch()
        originals = weights_files()
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(WeightsMissingError, match=r"onet\.lz4"):
            FaceDetector(DetectorSpec())
        for file in originals:
            (folder / file.name).write_bytes(file.read_bytes()[:-1] + b"?")
        with pytest.raises(WeightsDigestError, match=r"mtcnn 1\.0\.0"):
            FaceDetector(DetectorSpec())

    def test_a_device_that_is_none_is_refused_in_a_sentence(self):
        with pytest.raises(SpecError, match="'gpu' is not a device"):
            FaceDetector(DetectorSpec(), "gpu")

    def test_a_spec_made_with_other_weights_is_refused(self):
        with pytest.raises(WeightsDigestError, match="00000000"):
            resolve(DetectorSpec(weights_sha256="0" * 64))

    def test_a_spec_of_another_version_is_refused_since_its_boxes_would_differ(self):
        with pytest.raises(SpecError, match=r"version 1 of the face detector.*version 2"):
            resolve(DetectorSpec(version=1))

    def test_an_engine_of_processors_is_refused_on_a_gpu(self, monkeypatch):
        monkeypatch.setattr("torch.cuda.is_available", lambda: True)
        monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
        with pytest.raises(SpecError, match="Choose torch"):
            FaceDetector(DetectorSpec(engine="openvino"), "cuda")

    @pytest.mark.parametrize(
        "wrong", [{"smallest_share": 0.0}, {"smallest_px": 5}, {"thresholds": (0.5, 0.5, 1.5)}, {"engine": "onnx"}]
    )
    def test_a_spec_that_means_nothing_is_refused(self, wrong):
        with pytest.raises(SpecError):
            DetectorSpec(**wrong)


class TestClips:
    def test_a_clip_without_a_face_has_no_present_row(self, shared, detector):
        tracks = follow(detector, frames(shared, "no_face.mp4", step=5))
        assert tracks.keys() == {"main"}
        assert not tracks["main"].present.any()
        assert not tracks["main"].box.any()

    def test_a_face_is_present_only_while_it_is_shown(self, shared, detector):
        present = follow(detector, frames(shared, "face_noface.mov", step=3))["main"].present
        np.testing.assert_array_equal(present, 3 * np.arange(len(present)) < 72)

    @pytest.mark.parametrize(
        ("name", "step"),
        [
            ("carphone_pristine.mp4", 4),
            ("yes.mkv", 4),
            ("single_face.mp4", 5),
            ("1.mp4", 9),
            ("2.mp4", 9),
            ("bbaf2n.mpg", 5),
            ("lwbsza.mpg", 5),
            ("WolfgangLanger_Pexels.mp4", 24),
            ("demo1_video.mp4", 20),
        ],
    )
    def test_a_clip_of_one_person_has_one_subject_nearly_everywhere(self, shared, detector, name, step):
        tracks = follow(detector, frames(shared, name, step))
        assert tracks.keys() == {"main"}
        assert tracks["main"].present.mean() >= 0.9

    def test_two_people_are_named_by_their_sides(self, shared, detector):
        still = photo(shared, "two_people.jpg")
        tracks = follow(detector, [np.roll(still, shift, axis=1) for shift in range(0, 24, 3)])
        assert tracks.keys() == {"left", "right"}
        assert tracks["left"].present.all()
        assert tracks["right"].present.all()
        assert (tracks["left"].box[:, 2] < tracks["right"].box[:, 0]).all()

    def test_following_agrees_with_searching_every_frame(self, shared, detector):
        pictures = frames(shared, "carphone_pristine.mp4", most=40)
        followed = follow(detector, pictures)["main"]
        searched = follow(FaceDetector(replace(detector.spec, redetect_frames=1)), pictures)["main"]
        np.testing.assert_array_equal(followed.present, searched.present)
        pairs = zip(followed.box, searched.box, strict=True)
        assert np.mean([iou(a[None], b[None])[0, 0] for a, b in pairs]) >= 0.9

    def test_following_twice_gives_the_same_bits(self, shared, detector):
        pictures = frames(shared, "yes.mkv", most=8)
        once, again = follow(detector, pictures)["main"], follow(detector, pictures)["main"]
        for name in ("box", "landmark", "score", "present"):
            np.testing.assert_array_equal(getattr(once, name), getattr(again, name))

    def test_a_change_of_picture_size_is_survived(self, shared, detector):
        small = photo(shared, "astronaut.png")
        finder = FaceFinder(detector)
        assert len(finder.update(small)) == len(finder.update(small[:300, 100:400])) == 1


class TestCrop:
    @pytest.mark.parametrize("size_px", [112, 224, 260])
    def test_a_crop_is_what_the_reference_transform_makes(self, shared, size_px):
        listed = json.loads((shared / "reference_outputs" / "emotiefflib_reference.json").read_text())["faces"]
        for face in listed:
            picture = np.array(Image.open(shared / "media" / face["file"]).convert("RGB"))
            x0, y0, x1, y1 = face["box_left_top_right_bottom"]
            wanted = np.asarray(Resize((size_px, size_px))(Image.fromarray(picture[y0:y1, x0:x1])))
            box = np.array([x0, y0, x1, y1], np.float32) + np.float32(0.7)
            np.testing.assert_array_equal(resized(cut(picture, box), size_px), wanted)

    def test_only_the_part_inside_the_picture_is_cut(self):
        picture = np.arange(300, dtype=np.uint8).reshape(10, 10, 3)
        outside = cut(picture, np.array([-3.0, -0.5, 6.2, 99.0], np.float32))
        np.testing.assert_array_equal(outside, cut(picture, np.array([0, 0, 6, 10], np.float32)))

    def test_a_box_without_a_pixel_is_refused(self):
        picture = np.zeros((10, 10, 3), np.uint8)
        for box in ([3.1, 3.1, 3.9, 8.0], [12, 0, 15, 5], [-5, -5, -1, -1]):
            with pytest.raises(SpecError, match="no whole pixel"):
                cut(picture, np.array(box, np.float32))


def test_a_network_that_is_asked_for_runs_on_one_thread_whatever_was_set_in_between():
    before = torch.get_num_threads()
    try:
        for _ in range(2):
            torch.set_num_threads(2)
            networks.detector(resolve(DetectorSpec()), "cpu")
            assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
