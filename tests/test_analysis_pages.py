"""The page of a video in a real browser: faces over the playing picture, labels beside predictions, keys."""

from __future__ import annotations

import base64
import io
import json
import re
import time

import numpy as np
import pyarrow.parquet as pq
import pytest

from affstore import FeatureStore, read_clock
from affstore.flows.analysis import write_analysis
from affstore.flows.report.analysis_charts import sound_charts
from affstore.models.media.sound import read_sound
from affstore.store.contract.labels import AU, EXPR, FER_2013
from affstore.store.contract.records import Address, Artifact
from affstore.tasks.analysis.frame_table import AnalysisNetworks, frame_table
from tests.analysis_film import (
    FRAMES,
    HAPPY,
    LOUD_FROM_S,
    NETWORKS,
    PRESENT,
    SAD,
    SIZE,
    box_of,
    grey,
    labelled,
    landmarks_of,
    store_of,
    write,
)
from tests.conftest import check_readable_at_any_width
from tests.factories import commit, source
from tests.parameters import usually

LEFT, RIGHT = (255, 176, 0), (90, 209, 255)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """The store of a film, and the folder of its analysis."""
    folder = tmp_path_factory.mktemp("film")
    write(folder / "film.mp4")
    store = store_of(folder / "film.mp4", str(folder / "store"))
    write_analysis(store, {"film"}, NETWORKS, folder / "out", [])
    return store, folder / "out"


def data_of(page):
    text = page.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="page">(.*?)</script>', text, re.DOTALL)[1])


def wait_until(browser, condition):
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, 60).until(lambda one: one.execute_script(f"return {condition}"))


@pytest.fixture
def page(film, browser):
    """The film's page, its video ready."""
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 1400, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    )
    browser.get(f"file://{film[1]}/videos/film.html")
    wait_until(browser, "document.getElementById('player').readyState >= 2 || document.getElementById('player').error")
    if browser.execute_script("return document.getElementById('player').error !== null"):
        pytest.skip("this Chromium cannot play H.264")
    return browser


def settled(browser):
    """The number of the frame that the page says it shows, once the player has it."""
    wait_until(browser, "!document.getElementById('player').seeking")
    browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    return int(browser.find_element("id", "where").text.split()[1])


def resting(browser):
    """The same of a player that was paused while it played: a picture that was under way may come after the pause."""
    before, frame = -1, settled(browser)
    while frame != before:
        time.sleep(0.5)
        before, frame = frame, settled(browser)
    return frame


def press(browser, key, shift=False):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    pressed = ActionChains(browser).key_down(Keys.SHIFT) if shift else ActionChains(browser)
    pressed.send_keys(key).key_up(Keys.SHIFT).perform()
    return settled(browser)


def where(browser):
    """How a px of the film is found on the canvas: offset and scale."""
    width, height = browser.execute_script("const c = document.getElementById('overlay'); return [c.width, c.height]")
    scale = min(width / SIZE[0], height / SIZE[1])
    return (width - SIZE[0] * scale) / 2, (height - SIZE[1] * scale) / 2, scale


def drawn_at(browser, x, y):
    """The colour that is drawn over a px of the film; None where nothing is."""
    left, top, scale = where(browser)
    pen = "document.getElementById('overlay').getContext('2d')"
    read = f"return [...{pen}.getImageData(arguments[0], arguments[1], 1, 1).data]"
    *colour, opacity = browser.execute_script(read, int(left + x * scale), int(top + y * scale))
    return tuple(colour) if opacity > 200 else None


def picture_at(browser, x, y):
    """How bright the screen is over a px of the film."""
    from PIL import Image

    left, top, scale = where(browser)
    stage = browser.find_element("id", "overlay").rect
    browser.execute_script("scrollTo(0, 0)")
    screen = Image.open(io.BytesIO(base64.b64decode(browser.get_screenshot_as_base64()))).convert("RGB")
    return screen.getpixel((round(stage["x"] + left + x * scale), round(stage["y"] + top + y * scale)))


def test_boxes_landmarks_and_names_lie_over_the_very_frame_that_is_shown(page):
    from selenium.webdriver.common.keys import Keys

    for _ in range(6):
        frame = press(page, Keys.ARROW_RIGHT)
    assert frame == 6
    for wanted in (23, FRAMES - 1):
        shown = picture_at(page, 5, 70)
        assert shown == pytest.approx((grey(frame),) * 3, abs=2), "the picture is that of the frame"
        for subject, colour in (("left", LEFT), ("right", RIGHT)):
            x0, y0, x1, y1 = box_of(subject, frame).tolist()
            for x, y in ((x0, 30), (x1, 30), ((x0 + x1) / 2, y0), ((x0 + x1) / 2, y1)):
                assert drawn_at(page, x, y) == colour
            for x, y in landmarks_of(subject, frame).tolist():
                assert drawn_at(page, x, y) == colour
            assert drawn_at(page, x0 + 3, y0 + 4) is None, "a box is not filled"
            assert drawn_at(page, x0 + 0.5, y0 - 1) == colour, "the name stands on a ground of its colour"
        frame = press(page, Keys.ARROW_RIGHT, shift=True)
        assert frame == wanted, "a second on, of frames of 40 and 80 ms"


def test_a_face_that_is_gone_has_no_box_and_the_boxes_can_be_turned_off(page):
    chart = page.find_element("css selector", ".chart")
    from selenium.webdriver.common.keys import Keys

    chart.send_keys(Keys.END)
    assert settled(page) == FRAMES - 1
    assert drawn_at(page, box_of("left", FRAMES - 1)[0].item(), 30) is None
    assert drawn_at(page, 120, 30) == RIGHT
    page.find_element("id", "faces").click()
    assert drawn_at(page, 120, 30) is None
    press(page, "o")
    assert drawn_at(page, 120, 30) == RIGHT


def test_boxes_follow_the_picture_while_it_plays(page):
    assert page.execute_script("return 'requestVideoFrameCallback' in document.getElementById('player')")
    press(page, " ")
    wait_until(page, "document.getElementById('player').currentTime > 0.5")
    page.find_element("css selector", ".chart").send_keys(" ")
    frame = resting(page)
    assert page.execute_script("return document.getElementById('player').paused")
    assert 8 <= frame < FRAMES
    assert picture_at(page, 5, 70) == pytest.approx((grey(frame),) * 3, abs=2)
    if PRESENT["left"][frame]:
        assert drawn_at(page, box_of("left", frame)[0].item(), 30) == LEFT


def test_charts_are_sliders_that_keys_move_frame_by_frame(page):
    from selenium.webdriver.common.keys import Keys

    chart = page.find_element("css selector", ".chart")
    seen = []
    for key in (
        Keys.ARROW_RIGHT,
        Keys.ARROW_RIGHT,
        Keys.ARROW_LEFT,
        Keys.ARROW_UP,
        Keys.END,
        Keys.ARROW_DOWN,
        Keys.HOME,
    ):
        chart.send_keys(key)
        settled(page)
        seen.append(int(chart.get_attribute("aria-valuenow")))
    assert seen == [1, 2, 1, 2, FRAMES - 1, FRAMES - 2, 0]
    assert chart.get_attribute("role") == "slider"
    assert chart.accessible_name == "Face of left"
    assert chart.get_attribute("aria-valuetext") == "frame 0 of 0 to 39, 0.000 s"
    page.find_element("id", "which").send_keys(Keys.ARROW_DOWN)
    assert settled(page) == 0, "a list keeps its own keys"


def jumps(browser, key, times):
    return [(press(browser, key), browser.find_element("id", "told").text) for _ in range(times)]


def test_keys_jump_to_every_disagreement_of_label_and_prediction_and_back(page):
    classes = f"left, expr: label {SAD}, predicted {HAPPY} (10 frames)"
    units = "left, AU12: label absent, predicted present (15 frames)"
    values = "left, valence: label -0.50, predicted 0.50"
    found = [(0, f"1 of 3: {units}"), (7, f"2 of 3: {values}"), (10, f"3 of 3: {classes}")]
    assert jumps(page, "d", 4) == [*found, found[0]]
    assert jumps(page, "D", 3) == [found[2], found[1], found[0]]
    next(one for one in page.find_elements("css selector", "#which option") if one.text == "left: expr").click()
    page.find_element("id", "next").click()
    assert (settled(page), page.find_element("id", "told").text) == (10, f"1 of 1: {classes}")


def test_labels_of_the_store_are_columns_beside_the_predictions(film):
    store, out = film
    rows = pq.read_table(out / "videos" / "film.parquet").to_pylist()
    left, right = rows[:FRAMES], rows[FRAMES:]
    for task, columns in (("expr", ["label_expr"]), ("va", ["label_va_valence", "label_va_arousal"])):
        stored = store.read(Address("label", task, "film", "left"))
        for i, column in enumerate(columns):
            names = store.get(Address("label", task, "film", "left")).attributes["labels"]
            wanted = [
                (names[value] if task == "expr" else value) if known else None
                for value, known in zip(stored["value"][:, i].tolist(), stored["known"][:, i].tolist(), strict=True)
            ]
            assert [row[column] for row in left] == wanted
    assert [row["label_au_AU12"] for row in left] == [0] * 15 + [1] * 25
    assert all(row[column] is None for row in right for column in rows[0] if column.startswith("label_"))
    without = frame_table(store, "film", AnalysisNetworks(expression="faces"))
    assert not any(name.startswith("label_") for name in without.column_names)


def test_disagreements_on_the_page_are_those_of_the_table(film):
    table = pq.read_table(film[1] / "videos" / "film.parquet").to_pandas()
    left = table[table["subject"] == "left"].reset_index(drop=True)
    compared = {name: found for _, name, found in data_of(film[1] / "videos" / "film.html")["compared"]}
    known = left["label_expr"].isin([name[2:] for name in left.columns if name.startswith("p_")])
    wrong = left.index[known & left["expression"].notna() & (left["label_expr"] != left["expression"])]
    assert [frame for first, count, *_ in compared["expr"] for frame in range(first, first + count)] == [*wrong]
    wrong = left.index[left["AU12"].notna() & (left["AU12"] != left["label_au_AU12"])]
    assert [frame for first, count, *_ in compared["AU12"] for frame in range(first, first + count)] == [*wrong]
    assert compared["AU1"] == []
    differences = (left["valence"] - left["label_va_valence"]).abs()
    assert [first for first, *_ in compared["valence"]] == [differences.idxmax()]


def test_boxes_landmarks_and_times_are_kept_as_the_store_has_them(film):
    store, out = film
    data = data_of(out / "videos" / "film.html")
    clock = read_clock(store, "film")
    steps = [step for step, count in data["clock"]["runs"] for _ in range(count)]
    assert (np.cumsum([data["clock"]["first"], *steps]) == [*clock.pts, clock.end_pts]).all()
    assert data["clock"]["base"] == [clock.time_base.numerator, clock.time_base.denominator]
    for face in data["faces"]:
        present = PRESENT[face["subject"]]
        seen = np.unpackbits(np.frombuffer(base64.b64decode(face["seen"]), np.uint8), bitorder="little")[:FRAMES]
        assert (seen == present).all()
        boxes = np.frombuffer(base64.b64decode(face["boxes"]), "<i2").reshape(-1, 4) * data["scale"]
        marks = np.frombuffer(base64.b64decode(face["marks"]), np.uint8).reshape(-1, 5, 2) / 170 - 0.25
        frames = np.flatnonzero(present)
        wanted = np.stack([box_of(face["subject"], frame) for frame in frames])
        assert np.allclose(boxes, wanted, atol=1 / 16)
        extent = boxes[:, None, 2:] - boxes[:, None, :2]
        points = np.stack([landmarks_of(face["subject"], frame) for frame in frames])
        assert np.allclose(boxes[:, None, :2] + marks * extent, points, atol=0.3)


def test_frames_without_a_face_are_grey_on_the_charts_of_their_subject_alone(film, page):
    for subject, wanted in (("left", 1), ("right", 0)):
        charts = page.find_elements("css selector", f".chart[aria-label$='of {subject}'] svg:not(.band)")
        assert [len(one.find_elements("css selector", "path.gap")) for one in charts] == [wanted] * len(charts)
    path = page.find_element("css selector", "path.gap").get_attribute("d")
    edges = [float(one) for one in re.findall(r"[MH]([\d.]+)", path)]
    clock = read_clock(film[0], "film")
    assert (min(edges), max(edges)) == (pytest.approx(1000 * clock.starts_s[30] / clock.end_s, abs=0.1), 1000)


def test_classes_of_labels_and_of_predictions_are_bands_one_below_the_other(film, page):
    clock = read_clock(film[0], "film")
    bands = page.find_elements("css selector", ".chart[aria-label='Expressions: probability of left'] .band")
    assert len(bands) == 2
    edges = [float(1000 * clock.starts_s[frame] / clock.end_s) for frame in range(FRAMES)]
    for band, runs in zip(bands, ([(0, 2), (4, 10), (10, 28), (28, 40)], [(0, 20), (20, 30)]), strict=True):
        drawn = [one for path in band.find_elements("css selector", "path") for one in rectangles(path)]
        wanted = [(edges[first], 1000 if last == FRAMES else edges[last]) for first, last in runs]
        assert sorted(drawn) == [pytest.approx(one, abs=0.1) for one in wanted]
    colours = [one.get_attribute("class") for band in bands for one in band.find_elements("css selector", "path")]
    assert (len(colours), len(set(colours))) == (5, 3), "a class has one colour in both"
    dashed = page.find_elements("css selector", ".chart[aria-label='AU12: probability of left'] path.label")
    assert len(dashed) == 1


def rectangles(path):
    found = re.findall(r"M([\d.]+) 0H([\d.]+)V100H", path.get_attribute("d"))
    return [(float(first), float(last)) for first, last in found]


def test_the_envelope_of_the_sound_is_silent_where_the_film_is(film):
    store, out = film
    clock = read_clock(store, "film")
    table = frame_table(store, "film", NETWORKS)
    sound = read_sound(out.parent / "film.mp4", 8000)
    (chart,) = sound_charts(table.slice(0, FRAMES), clock, sound)
    points = np.array([part.split() for part in chart.curves[0].path.strip("MZ").split("L")], float)
    high = (1 - points[:1000, 1] / 50).reshape(-1, 10).max(1)  # a thousandth is shorter than a wave of 200 Hz
    silent = int(100 * LOUD_FROM_S / clock.end_s)
    assert high[: silent - 2].max() < 0.05
    assert high[silent + 2 : 97].min() > 0.8
    assert sound_charts(table.slice(0, FRAMES), clock, None) == []
    assert 'aria-label="Sound: envelope, its loudest is 1 of sound"' in (out / "videos" / "film.html").read_text()


@pytest.mark.parametrize("scheme", usually(["light", "dark"]))
def test_a_page_with_labels_is_accessible_and_readable_at_any_width(page, scheme):
    page.find_element("css selector", "summary").click()
    check_readable_at_any_width(page, scheme)
    assert [one for one in page.get_log("browser") if one["level"] == "SEVERE"] == []


def test_a_page_that_was_sent_without_its_video_asks_for_it(film, browser, tmp_path):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "film.html").write_bytes((film[1] / "videos" / "film.html").read_bytes())
    browser.get(f"file://{tmp_path}/videos/film.html")
    wait_until(browser, "!document.getElementById('unplayable').hidden")
    browser.find_element("id", "file").send_keys(str(film[1].parent / "film.mp4"))
    wait_until(browser, "document.getElementById('player').readyState >= 2")
    assert press(browser, "d") == 0
    assert drawn_at(browser, 120, 30) == RIGHT


@pytest.mark.slow
def test_ten_minutes_of_two_people_fit_into_four_megabytes(tmp_path):
    """18,000 frames of noise, which nothing packs, with every curve and label that there is."""
    frames, rng = 18_000, np.random.default_rng(0)
    always = np.ones(frames, bool)
    found = [source("long", frames, width=1920, height=1080)]
    for subject in ("left", "right"):
        corner = rng.uniform(0, 800, (frames, 2))
        box = np.hstack([corner, corner + 200]).astype(np.float32)
        marks = (corner[:, None] + rng.uniform(0, 200, (frames, 5, 2))).astype(np.float32)
        face = {"box": box, "landmark": marks, "score": np.ones(frames, np.float32), "present": always}
        outputs = {
            "embedding": np.ones((frames, 1), np.float32),
            "logits": rng.normal(size=(frames, 7)).astype(np.float32),
            "valence_arousal": rng.uniform(-1, 1, (frames, 2)).astype(np.float32),
            "present": always,
        }
        raw = rng.uniform(0, 1, (frames, 12)).astype(np.float32)
        units = {"raw": raw, "smoothed": raw, "prediction": (raw > 0.5).astype(np.int8), "present": always}
        facts = {"frames": frames}
        of_units = {**facts, "task": "au", "labels": list(AU.names)}
        found += [
            Artifact(Address("face", "mtcnn", "long", subject), {"f": subject}, face, {**facts, "prominent": True}),
            Artifact(
                Address("visual", "faces", "long", subject),
                {"v": subject},
                outputs,
                {**facts, "classes": list(FER_2013.names)},
            ),
            Artifact(Address("prediction", "units", "long", subject), {"p": subject}, units, of_units),
            labelled("au", AU.names, rng.integers(0, 2, (frames, 12)).astype(np.int8), ("long", subject)),
            labelled("expr", EXPR.names, rng.integers(0, 8, (frames, 1)).astype(np.int8), ("long", subject)),
        ]
    store = commit(FeatureStore.create(str(tmp_path / "store")), *found)
    write_analysis(store, {"long"}, NETWORKS, tmp_path / "out", [])
    size = (tmp_path / "out" / "videos" / "long.html").stat().st_size
    assert 1_000_000 < size < 4_000_000
