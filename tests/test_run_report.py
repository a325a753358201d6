"""The page of a run: when and where it was, as its record says, and faces of its videos where these are at hand."""

from __future__ import annotations

import base64
import getpass
import io
import re
import socket
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from affstore import FeatureStore
from affstore.flows.inputs import Inputs
from affstore.flows.report.face_pictures import cut_out
from affstore.flows.report.faces import MOST_FACES, MOST_VIDEOS, faces_of
from affstore.flows.report.run_report import write_report
from affstore.flows.request import Request, RunResult
from affstore.models.faces.crop_folder import Listing
from affstore.models.faces.specs import DetectorSpec, TrackingSpec
from affstore.models.media.video import frames, probe
from affstore.store.contract.records import Address, Artifact
from affstore.tasks.ingest.sources import source_artifact
from affstore.tasks.lineage.machine import Machine
from affstore.tasks.lineage.run_note import NAME, Circumstances, noted, read_note
from affstore.tasks.outcomes import Outcome
from affstore.tasks.specs import Profile, WorkerContext
from tests import test_media as media
from tests.factories import commit, source
from tests.test_media import quadrants
from tests.test_odd_media import leaping, write_shades

FRAMES, BOX = 30, (8, 4, 40, 36)
COLOURS = ((200, 40, 40), (40, 200, 40), (40, 40, 200))
WHEN = Circumstances("2026-03-01T12:30:05+00:00", 192.4, Machine("A processor", 8, "", "Linux x86_64"))


def write_video(path):
    """Grey pictures with a square in them, which is red for a third of the time, then green, then blue."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for frame in range(FRAMES):
            picture = np.full((48, 64, 3), 128, np.uint8)
            picture[BOX[1] : BOX[3], BOX[0] : BOX[2]] = COLOURS[frame * 3 // FRAMES]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def taken_in(path):
    return source(path.stem, FRAMES, location=str(path), bytes=path.stat().st_size)


def found_face(video, subject="main"):
    present = np.ones(FRAMES, bool)
    box = np.tile(np.float32(BOX), (FRAMES, 1))
    arrays = {"box": box, "landmark": np.ones((FRAMES, 5, 2), np.float32), "score": np.linspace(0.5, 1, FRAMES)}
    arrays["score"] = arrays["score"].astype(np.float32)
    address = Address("face", "mtcnn", video, subject)
    return Artifact(address, {"of": address.path}, arrays | {"present": present}, {"frames": FRAMES, "prominent": True})


@pytest.fixture
def store(tmp_path):
    video = write_video(tmp_path / "clip.mp4")
    made = FeatureStore.create(str(tmp_path / "store"))
    return commit(made, taken_in(video), found_face("clip"), run_id="r1")


def page(store, folder, circumstances=WHEN, videos=None):
    """The page of a run, as text."""
    context = WorkerContext(store.url, "r1", folder / "weights")
    request = Request(context, Inputs((), ()), Profile(DetectorSpec(), TrackingSpec(), ()), runs_folder=folder)
    result = RunResult(request, (Outcome("extract", "clip", "done"),), snapshot=store.snapshot)
    return write_report(result, circumstances, videos).read_text(encoding="utf-8")


def pictures(text):
    """The pictures of faces in a page."""
    found = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)"', text)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(one))).convert("RGB")) for one in found]


@pytest.mark.parametrize(
    ("seconds", "said"), [(7.25, "7.2 s"), (192.4, "3 min 12 s"), (7260, "2 h 1 min"), (119.96, "120.0 s")]
)
def test_the_page_says_when_how_long_and_on_what_a_run_was(store, tmp_path, seconds, said):
    text = page(store, tmp_path / "runs", replace(WHEN, seconds=seconds))
    assert f"Begun 2026-03-01 12:30:05 UTC, took {said}, on A processor, 8 cores, no GPU used, Linux x86_64." in text
    other = replace(WHEN, machine=replace(WHEN.machine, gpu="H100", cores=1), other_workers=True)
    assert "1 core, GPU H100, Linux x86_64; tasks ran in other processes" in page(store, tmp_path / "runs", other)


def test_equal_stores_and_records_give_equal_pages_and_no_clock_is_read(store, tmp_path):
    first = page(store, tmp_path / "a")
    assert page(store, tmp_path / "b") == first
    later = replace(WHEN, begun_at="2027-03-01T12:30:05+00:00")
    assert page(store, tmp_path / "b", later) == first.replace("2026-03-01 12:30:05", "2027-03-01 12:30:05")


def test_the_note_of_a_run_names_this_machine_s_processor_and_nobody(tmp_path):
    where = Machine.here(uses_gpu=False)
    assert where.cores >= 1
    assert where.processor
    assert where.gpu == ""
    with noted(tmp_path / "r1", "r1", where):
        pass
    note = read_note(tmp_path / "r1")
    facts = {"processor": where.processor, "cores": where.cores, "gpu": "", "platform": where.platform}
    assert note.machine == facts
    text = (tmp_path / "r1" / NAME).read_text(encoding="utf-8")
    assert not re.search(rf"\b({re.escape(getpass.getuser())}|{re.escape(socket.gethostname())})\b", text)


def test_faces_are_cut_out_of_the_video_where_they_were_found(store, tmp_path):
    text = page(store, tmp_path / "runs")
    shown = pictures(text)
    assert [one.shape for one in shown] == [(BOX[3] - BOX[1], BOX[2] - BOX[0], 3)] * MOST_FACES
    for picture, colour in zip(shown, COLOURS, strict=True):
        assert np.abs(picture.mean((0, 1)) - colour).max() < 25, "the surest frame of each third of the video"
    assert "<h3>clip</h3>" in text
    assert "main at 0.36 s" in text, "of which frame 9 is the last and surest"


def filmed(name, **facts):
    """Writes pictures of which each is another one."""
    return lambda folder: media.write_video(
        folder / name, [np.roll(quadrants(), 4 * frame, 1) for frame in range(12)], **facts
    )


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(filmed("a.mp4", display=(90, True)), id="mirrored and turned"),
        pytest.param(filmed("a.mp4", display=(180, True), aspect=Fraction(3, 2)), id="mirrored, with wide pixels"),
        pytest.param(filmed("a.mp4", display=(-90, False)), id="turned"),
        pytest.param(
            lambda folder: leaping(write_shades(folder / "a.flv", 12, "flv", {"g": "10"}), 9, 6, 316),
            id="with a repaired timestamp",
        ),
        pytest.param(lambda folder: write_shades(folder / "a.avi", 12), id="without presentation times"),
        pytest.param(lambda folder: write_shades(folder / "a.h264", 12), id="a stream that can only be read"),
    ],
)
def test_faces_are_cut_out_of_the_pictures_in_which_they_were_found(tmp_path, write):
    path, corners = write(tmp_path), {"box_x0": 4, "box_y0": 8, "box_x1": 40, "box_y1": 40}
    facts, rows = probe(path), [(frame, {"subject": "main", "time_s": 0.0, **corners}) for frame in (2, 6, 11)]
    store = commit(FeatureStore.create(str(tmp_path / "store")), source_artifact("a", path, "1" * 64, facts))
    found = cut_out(path, rows, facts.clock, store.get(Address("source", video="a")))
    seen = list(frames(path, facts))
    shown = pictures("".join(f'<img src="{one.source}"' for one in found))
    for picture, (frame, _) in zip(shown, rows, strict=True):
        others = [np.abs(picture - one[8:40, 4:40].astype(float)).mean() for one in seen]
        assert np.argmin(others) == frame
        assert others[frame] < 12


def test_a_video_that_is_gone_or_another_one_has_no_faces_and_the_page_is_whole(store, tmp_path):
    with (tmp_path / "clip.mp4").open("ab") as file:
        file.write(b"more")
    assert pictures(page(store, tmp_path / "runs")) == []
    (tmp_path / "clip.mp4").unlink()
    text = page(store, tmp_path / "runs")
    assert pictures(text) == []
    assert "<h2>Faces</h2>" not in text
    assert "<h2>Outcomes</h2>" in text


@pytest.mark.parametrize("first", [0, 1])
def test_faces_of_a_crop_folder_are_its_pictures(tmp_path, first):
    folder = tmp_path / "cropped" / "clip"
    folder.mkdir(parents=True)
    for number in range(FRAMES):
        Image.new("RGB", (112, 112), COLOURS[number * 3 // FRAMES]).save(folder / f"{number + first:05d}.png")
    address = Address("face", "cropped", "clip", "main")
    facts = {"location": str(folder), "signature": Listing.of(folder).signature, "complaint": None}
    crops = Artifact(
        address,
        {"of": address.path},
        {"present": np.ones(FRAMES, bool)},
        {"frames": FRAMES, "prominent": True, **facts, "counts_from": first},
    )
    store = commit(FeatureStore.create(str(tmp_path / "store")), source("clip", FRAMES), crops)
    text = page(store, tmp_path / "runs")
    for picture, colour in zip(pictures(text), COLOURS, strict=True):
        assert picture.shape == (96, 96, 3)
        assert np.abs(picture.mean((0, 1)) - colour).max() < 25
    (folder / f"{first:05d}.png").unlink()
    assert pictures(page(store, tmp_path / "runs")) == []


def test_of_many_videos_and_people_a_few_are_shown_the_same_ones_every_time(tmp_path):
    clip, made = write_video(tmp_path / "clip.mp4"), FeatureStore.create(str(tmp_path / "store"))
    names = [f"v{number:02}" for number in range(20)]
    videos = [replace(taken_in(clip), address=Address("source", video=name)) for name in names]
    faces = [found_face(name, subject) for name in names for subject in ("main", "person1", "person2", "person3")]
    store = commit(made, *videos, *faces)
    found = faces_of(store)
    assert [one.video for one in found] == [names[at * 20 // MOST_VIDEOS] for at in range(MOST_VIDEOS)]
    assert {len(one.faces) for one in found} == {MOST_FACES}
    assert faces_of(store.newest()) == found
    assert [one.video for one in faces_of(store, {"v03", "gone"})] == ["v03"]
    assert len("".join(face.source for one in found for face in one.faces)) < 300_000
