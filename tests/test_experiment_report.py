"""The page of the papers' rows: what it says, what it draws, and that a browser needs nothing else to show it."""

import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import confusion_matrix

from affstore.flows.report import experiment_report
from affstore.flows.report.experiment_report import RunFacts, write_experiment_report
from affstore.flows.report.pages import Table
from affstore.flows.report.report_data import block_means, block_modes, block_starts
from affstore.models.ensembles.spec import HeadOutput
from affstore.models.evaluation.evaluate import EvaluationSpec
from affstore.models.evaluation.metrics import Scores, score
from affstore.store.contract.labels import EXPR
from affstore.tasks.experiments import Experiment, ExperimentOutcome, ExperimentResult, SubjectPrediction, Sweep

FACTS = RunFacts(
    title="Experiments",
    store="a-store",
    snapshot="ABC123",
    tag="",
    weights={"emotieffnet_b0": "published"},
    corpus=(),
    code={"numpy": "2.1"},
    brief=False,
    notes=(),
    published=(),
    outcomes=Table.of(),
    circumstances="",
    faces=(),
)


def make_row(task="expr", **fields):
    given = {
        "name": f"abaw6/table5/{task}",
        "title": f"the {task} row",
        "source": "ABAW6 Table 5",
        "paper": {"expr": {"macro F1": 0.433}, "au": {"mean F1": 0.523}, "va": {"mean CCC": 0.5, "CCC valence": 0.447}},
    }
    given["paper"] = given["paper"][task]
    return Experiment(**(given | {"heads": (), "evaluation": EvaluationSpec(task, HeadOutput("head"))} | fields))


def make_video(task, name="video1", frames=400, wrong=0.3, seed=0):
    """Annotations that change slowly, and predictions of which a share is wrong; the first tenth is unknown."""
    random, width = np.random.default_rng(seed), {"expr": 1, "au": 12, "va": 2}[task]
    known = np.ones((frames, width), bool)
    known[: frames // 10] = False
    if task == "va":
        value = np.sin(np.arange(frames)[:, None] / 60 + np.array([seed, seed + 1])) * 0.7
        label = value * 0.8 + random.normal(0, wrong / 2, value.shape)
        return SubjectPrediction(
            name, label.astype(np.float32), label.astype(np.float32), np.where(known, value, -5), known
        )
    classes = 8 if task == "expr" else 2
    value = np.repeat(random.integers(0, classes, (frames // 25 + 1, width)), 25, axis=0)[:frames]
    label = np.where(random.random(value.shape) < wrong, random.integers(0, classes, value.shape), value)
    scores = random.random((frames, 8 if task == "expr" else 12)).astype(np.float32)
    return SubjectPrediction(name, scores, label, np.where(known, value, -1), known)


def make_shown(row, protocol="papers", videos=None, **fields):
    if videos is None:
        videos = [make_video(row.task, f"video{i}", 300 + 50 * i, 0.1 + 0.2 * i, i) for i in range(4)]
    stacked = [np.concatenate([getattr(one, part) for one in videos]) for part in ("label", "value", "known")]
    scores = score(row.task, *stacked, row.evaluation.without)
    chosen = {"smooth_frames": 50, "weight": 0.62518, "epochs of head": 7}
    return ExperimentResult(
        row, protocol, scores, (scores.value - 0.04, scores.value + 0.05), chosen, tuple(videos), **fields
    )


def make_outcome(task="expr", protocols=("papers",), **fields):
    row = make_row(task, **fields)
    return ExperimentOutcome(row, "done", "", tuple(make_shown(row, protocol) for protocol in protocols))


def written(tmp_path, *outcomes, **facts):
    path = write_experiment_report(outcomes, tmp_path, replace(FACTS, **facts))
    return path.read_text(encoding="utf-8")


def images(page):
    """The pictures that a page holds, and what is said of them."""
    found = re.findall(r'<img src="data:image/png;base64,([^"]+)" width="(\d+)" height="(\d+)" alt="([^"]*)">', page)
    assert len(found) == page.count("<img")
    return [(Image.open(io.BytesIO(base64.b64decode(data))), (int(w), int(h)), alt) for data, w, h, alt in found]


def colours_of(image):
    """The colours of a picture, as texts, with how many pixels each has."""
    flat = np.asarray(image.convert("RGB")).reshape(-1, 3)
    values, counts = np.unique(flat, axis=0, return_counts=True)
    return {"#{:02X}{:02X}{:02X}".format(*value): int(count) for value, count in zip(values, counts, strict=True)}


@pytest.mark.parametrize(
    ("task", "figures"),
    [
        ("expr", {"papers-confusion", "honest-confusion", "f1"}),
        pytest.param("au", {"f1"}, marks=pytest.mark.slow),
        pytest.param("va", {"papers-agreement", "honest-agreement"}, marks=pytest.mark.slow),
    ],
)
def test_every_figure_is_a_file_and_in_the_page(tmp_path, task, figures):
    page = written(tmp_path, make_outcome(task, ("papers", "honest")))
    files = sorted((tmp_path / "figures" / f"abaw6.table5.{task}").iterdir())
    timelines = {f"papers-timeline-{place}" for place in ("worst", "median", "best")}
    assert {file.stem for file in files} == figures | timelines
    shown = images(page)
    assert len(shown) == len(files)
    for image, size, alt in shown:
        assert image.size == size
        assert alt
        colours = colours_of(image)
        assert len(colours) > 20
    for file in files:
        assert not Image.open(file).info.keys() & {"Software", "date:create", "Creation Time"}


@pytest.fixture
def no_figures(monkeypatch):
    """A machine without matplotlib: a page without figures is quick."""
    monkeypatch.setattr(experiment_report, "is_installed", lambda package: package != "matplotlib")


@pytest.mark.slow
def test_equal_input_gives_equal_bytes(tmp_path):
    outcomes = [make_outcome(task) for task in ("expr", "au", "va")]
    first = written(tmp_path / "a", *outcomes)
    assert written(tmp_path / "b", *outcomes) == first
    for file in (tmp_path / "a" / "figures").rglob("*.png"):
        assert file.read_bytes() == (tmp_path / "b" / file.relative_to(tmp_path / "a")).read_bytes()


def test_figures_of_a_protocol_that_is_no_longer_run_are_gone(tmp_path):
    written(tmp_path, make_outcome("expr", ("papers", "honest")))
    written(tmp_path, make_outcome("expr"))
    assert not list(tmp_path.rglob("honest-*.png"))


@pytest.mark.usefixtures("no_figures")
def test_the_table_has_ours_the_papers_and_the_difference(tmp_path):
    row = make_row("expr")
    videos = [make_video("expr", f"v{i}", 50, seed=i) for i in range(20)]
    outcome = ExperimentOutcome(row, "done", "", tuple(make_shown(row, one, videos) for one in ("papers", "honest")))
    value = outcome.results[0].scores.value
    page = written(tmp_path, outcome)
    assert page.count(f"{value:.3f} <small>[{value - 0.04:.3f}, {value + 0.05:.3f}]</small>") == 2
    assert '<td class="number">0.433</td>' in page
    assert f'<td class="number">{value - 0.433:+.3f}</td>'.replace("-", "−") in page


@pytest.mark.usefixtures("no_figures")
def test_each_measure_of_the_paper_has_its_line(tmp_path):
    page = written(tmp_path, make_outcome("va"))
    assert 'rowspan="2"' in page
    assert re.search(r"CCC valence</td><td class=\"number\">−?0\.\d{3}</td><td class=\"number\">0\.447</td>", page)


@pytest.mark.usefixtures("no_figures")
def test_beside_one_with_a_paper_s_number_an_experiment_without_one_has_dashes(tmp_path):
    page = written(tmp_path, make_outcome("au", paper={}), make_outcome("expr"))
    table = page[: page.index("</table>")]
    assert table.count('<td class="number">–</td>') == 2  # the paper, difference


@pytest.mark.usefixtures("no_figures")
def test_of_an_own_experiment_only_what_there_is_is_shown(tmp_path):
    own = make_outcome("expr", name="mine", title="mine", source="", paper={})
    page = written(tmp_path, own, weights={})
    assert re.findall("<th [^>]*>(.*?)</th>", page)[:4] == ["experiment", "task", "measure", "papers&#39; protocol"]
    assert "<summary>mine: macro F1" in page
    assert "<code>mine</code>, task expr.</p>" in page
    assert "Difference" not in page
    failed = ExperimentOutcome(own.experiment, "failed", "no labels")
    assert 'class="failed">failed: no labels</td></tr>' in written(tmp_path, failed)


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize(
    ("provenance", "brief", "videos", "reason"),
    [
        ("untrained", False, 30, "untrained weights"),
        ("unofficial", False, 30, "other weights"),
        ("published", False, 2, "only 2 videos"),
        ("published", True, 30, "trainings were cut short"),
        ("published", False, 30, ""),
    ],
)
def test_a_difference_that_would_mean_nothing_is_not_given_but_why(tmp_path, provenance, brief, videos, reason):
    row = make_row("expr")
    result = make_shown(row, videos=[make_video("expr", f"v{i}", 50, seed=i) for i in range(videos)])
    page = written(tmp_path, ExperimentOutcome(row, "done", "", (replace(result, provenance=provenance),)), brief=brief)
    cells = re.findall(r"not comparable: <small>(.*?)</small>", page)
    assert cells == ([reason] if reason else [])
    assert bool(re.search(r"<td class=\"number\">[+−]\d", page)) is not bool(reason)
    assert ("none is given" in page) is bool(reason)


def test_a_failed_row_says_why_and_the_others_are_there(tmp_path):
    failed = ExperimentOutcome(make_row("va"), "failed", "the file 'ddamfn.pt' <is> missing")
    page = written(tmp_path, failed, make_outcome("au"))
    assert "failed: the file &#39;ddamfn.pt&#39; &lt;is&gt; missing</td>" in page
    assert "1 of 2 experiments failed" in page
    assert "0.447" in page
    assert images(page)
    assert not (tmp_path / "figures" / "abaw6.table5.va").exists()


@pytest.mark.usefixtures("no_figures")
def test_a_row_that_failed_under_one_protocol_shows_the_other(tmp_path):
    page = written(tmp_path, replace(make_outcome("expr"), status="failed", reason="a fold has one class"))
    assert "This experiment failed: a fold has one class" in page
    assert "<small>[" in page


@pytest.mark.usefixtures("no_figures")
def test_confusion_counts_stand_in_the_page(tmp_path):
    outcome = make_outcome("expr")
    page = written(tmp_path, outcome)
    known = [video.known[:, 0] for video in outcome.results[0].videos]
    value, label = (
        np.concatenate(
            [getattr(video, part)[rows, 0] for video, rows in zip(outcome.results[0].videos, known, strict=True)]
        )
        for part in ("value", "label")
    )
    for name, line in zip(EXPR.names, confusion_matrix(value, label, labels=range(8)), strict=True):
        assert f"<td>{name}</td>" + "".join(f'<td class="number">{count:,}</td>' for count in line) in page


@pytest.mark.usefixtures("no_figures")
def test_classes_that_are_left_out_are_nowhere(tmp_path):
    page = written(
        tmp_path, make_outcome("expr", evaluation=EvaluationSpec("expr", HeadOutput("head"), without=("Other",)))
    )
    assert "<td>Surprise</td>" in page
    assert "<td>Other</td>" not in page


def test_what_others_wrote_is_escaped(tmp_path):
    evil = "<script>alert('x')</script> & \"more\""
    video = replace(make_video("expr", seed=3), name=f"$x_{{ {evil} \u4e2d\ud800")
    row = make_row("expr", title=evil, note=evil, source=evil)
    shown = replace(make_shown(row, videos=[video]), chosen={evil: evil})
    page = written(tmp_path, ExperimentOutcome(row, "done", "", (shown,)), notes=[evil], store=evil, tag=evil)
    assert page.count("<script") == 1  # the page's own
    assert page.count("&lt;script&gt;") >= 8


@pytest.mark.usefixtures("no_figures")
def test_notices_say_what_the_numbers_are_not(tmp_path):
    page = written(
        tmp_path,
        make_outcome(),
        weights={"ddamfn": "untrained", "mt_ddamfn": "unofficial"},
        notes=["by mtcnn"],
    )
    assert "Corpus and weights differ from the papers&#39;: these numbers say nothing about the papers." in page
    assert "Untrained parameters were used for ddamfn:" in page
    assert "not known to be the published files were used for mt_ddamfn:" in page
    assert "by mtcnn" in page


@pytest.mark.usefixtures("no_figures")
def test_of_published_weights_the_page_says_what_comparing_needs(tmp_path):
    assert "The papers&#39; numbers are of Aff-Wild2" in written(tmp_path, make_outcome())


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("provenance", ["untrained", "unofficial"])
def test_one_network_on_the_way_without_the_published_weights_is_enough_for_the_notice(tmp_path, provenance):
    outcome = make_outcome()
    outcome = replace(outcome, results=(replace(outcome.results[0], provenance=provenance),))
    assert "Corpus and weights differ from the papers&#39;" in written(tmp_path, outcome)


@pytest.mark.usefixtures("no_figures")
def test_numbers_seen_in_training_and_of_the_test_set_have_no_difference(tmp_path):
    outcome = make_outcome("expr", files=True)
    outcome = replace(outcome, results=(replace(outcome.results[0], trained_on=True),))
    page = written(tmp_path, outcome)
    assert f"{outcome.results[0].scores.value:.3f} †" in page
    assert "0.433 (test set)</td>" in page
    assert not re.search(r"<td class=\"number\">[+−]0", page)
    assert "the number says nothing" in page


def test_our_curve_stands_beside_the_papers(tmp_path):
    outcome = make_outcome("expr", sweep=Sweep("smooth_frames", (0, 25, 50)), paper_curve={0: 0.3, 25: 0.35, 50: 0.37})
    shown = replace(outcome.results[0], curve={0: 0.31, 25: 0.36, 50: 0.34})
    page = written(tmp_path, replace(outcome, results=(shown,)))
    [(image, _, alt)] = [one for one in images(page) if one[2].startswith("Curve")]
    assert "0.360 at 25" in alt
    assert {"#333333", "#0072B2"} <= set(near_palette(image))


def near_palette(image):
    """Colours of the palette that a picture has, but for the last bits that 256 colours cost."""
    palette = np.array([[0x33] * 3, [0x00, 0x72, 0xB2], [0xD5, 0x5E, 0x00]])
    flat = np.asarray(image.convert("RGB")).reshape(-1, 1, 3).astype(int)
    close = np.abs(flat - palette).max(axis=2) <= 6
    return {"#{:02X}{:02X}{:02X}".format(*colour) for colour in palette[close.sum(axis=0) > 20]}


@pytest.mark.parametrize("task", ["expr", "au", "va"])
def test_a_video_without_known_labels_is_not_drawn_and_breaks_nothing(tmp_path, task):
    unknown = make_video(task, "silent")
    unknown = replace(unknown, known=np.zeros_like(unknown.known))
    row = make_row(task)
    page = written(tmp_path, ExperimentOutcome(row, "done", "", (make_shown(row, videos=[unknown, make_video(task)]),)))
    assert "silent" not in page
    assert "Timeline of video1" in page
    nobody = replace(make_shown(row, videos=[make_video(task)]), videos=(unknown,))
    assert "Timeline" not in written(tmp_path, ExperimentOutcome(row, "done", "", (nobody,)))
    assert "Timeline" not in written(tmp_path, ExperimentOutcome(row, "done", "", (replace(nobody, videos=()),)))


@pytest.mark.parametrize("task", ["expr", "au", "va"])
def test_a_video_of_one_frame_is_drawn(tmp_path, task):
    video = make_video(task, frames=1)
    row = make_row(task)
    written(tmp_path, ExperimentOutcome(row, "done", "", (make_shown(row, videos=[video]),)))
    assert len(list(tmp_path.rglob("*timeline-only.png"))) == 1


def test_the_worst_the_median_and_the_best_video_are_drawn(tmp_path):
    page = written(tmp_path, make_outcome("expr"))  # videos 0 to 3 are ever more wrong
    assert [re.search(r"Timeline of (\w+)", alt)[1] for *_, alt in images(page)[-3:]] == ["video3", "video2", "video0"]


def test_no_row_at_all_is_a_page_too(tmp_path):
    page = written(tmp_path)
    assert "What was run" in page
    assert "<table" not in page


def test_a_result_that_is_no_number_is_a_dash(tmp_path):
    outcome = make_outcome("va")
    shown = replace(outcome.results[0], scores=Scores("mean CCC", float("nan"), {}, 0), interval=(float("nan"),) * 2)
    assert "– <small>[–, –]</small>" in written(tmp_path, replace(outcome, results=(shown,)))


@given(
    st.lists(st.integers(-1, 7), min_size=1, max_size=200).map(np.array),
    st.integers(1, 50),
)
def test_a_block_shows_its_commonest_class_and_its_mean(values, blocks):
    starts = block_starts(len(values), blocks)
    parts = np.split(values, starts[1:])
    assert all(len(part) for part in parts)
    for part, mode in zip(parts, block_modes(values, 8, starts), strict=True):
        assert (part == mode).sum() == max((part == other).sum() for other in part)
    means = block_means(values[:, None], values[:, None] >= 0, starts)[:, 0]
    expected = [part[part >= 0].mean() if (part >= 0).any() else np.nan for part in parts]
    np.testing.assert_allclose(means, expected)


def test_all_validation_frames_are_drawn_in_seconds(tmp_path):
    row = make_row("expr")
    shown = make_shown(row, videos=[make_video("expr", f"video{i}", 20_000, seed=i) for i in range(14)])
    outcome = ExperimentOutcome(row, "done", "", (shown,))
    written(tmp_path, outcome)  # matplotlib is loaded
    began = time.process_time()
    written(tmp_path, outcome)
    assert time.process_time() - began < 3  # some .6 on a machine with nothing else to do


@pytest.mark.slow
def test_writing_a_report_needs_no_pyplot_and_says_nothing_on_a_new_machine(tmp_path):
    code = (
        "import sys, tests.test_experiment_report as t, affstore.flows.report.experiment_report\n"
        "assert 'matplotlib' not in sys.modules\n"
        "from pathlib import Path\n"
        "t.write_experiment_report([t.make_outcome('au')], Path(sys.argv[1]), t.FACTS)\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    environment = {**os.environ, "MPLCONFIGDIR": str(tmp_path / "new"), "MPLBACKEND": "tkagg"}
    command = [sys.executable, "-c", code, str(tmp_path / "out")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


SPY = """<script>addEventListener("load", () => {
  const images = [...document.images].map(image => [image.naturalWidth, image.naturalHeight]);
  const loaded = performance.getEntriesByType("resource").map(entry => entry.name.slice(0, 30));
  document.body.innerHTML = `<pre id="seen">${JSON.stringify({images, loaded})}</pre>`;
})</script>"""


def test_a_browser_shows_every_figure_and_asks_nobody(tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs chromium on the PATH")
    page = written(tmp_path, *(make_outcome(task, ("papers", "honest")) for task in ("expr", "au", "va")))
    assert "default-src 'none'" in page
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    spied = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page).replace("</body>", SPY + "</body>")
    copy = tmp_path / "spied.html"
    copy.write_text(spied, encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--dump-dom"]
    alone = ["--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={tmp_path / 'profile'}"]
    command = [browser, *flags, *alone, copy.as_uri()]
    dumped = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    seen = json.loads(re.search(r'<pre id="seen">(.*?)</pre>', dumped)[1])
    assert [tuple(size) for size in seen["images"]] == [size for _, size, _ in images(page)]
    assert all(name.startswith("data:") for name in seen["loaded"])
