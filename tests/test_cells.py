"""Every experiment that carries a number, on random data, beside a plain loop that does what its cell does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from affstore.flows.config.experiments import find_experiments
from affstore.flows.report.papers_table import papers_table
from affstore.models.evaluation.evaluate import EvaluationVideo, evaluate, predict_video
from affstore.models.evaluation.tune import choose, kernel_curve, threshold_curve
from affstore.models.postprocess import fill_gaps

ROOT = Path(__file__).parents[1]
OTHER = 7


# ------------------------------------------------------------------------------------------------ the cells


def single(a):
    return a


def blend(w):
    return lambda a, b: w * a + (1 - w) * b


def other_step(w):
    """Cells 75, 91, 94 and 102 of `abaw5_expr_va_au_train.ipynb`."""

    def rule(mlp, logits):
        found = mlp.copy()
        rest = mlp.argmax(axis=1) != OTHER
        found[rest] = (w * logits + (1 - w) * mlp)[rest]
        return found

    return rule


def seven_logits(mlp, logits):
    """The text: one of the seven others where the MLP does not say Other."""
    said = np.where(mlp.argmax(axis=1) == OTHER, OTHER, logits[:, :7].argmax(axis=1))
    return np.eye(8)[said]


def three_way(mlp, tuned, logits):
    """Cell 77 of `abaw5_expr_va_au_train.ipynb`."""
    found = 0.8 * mlp + 0.2 * tuned
    rest = mlp.argmax(axis=1) != OTHER
    found[rest] = (0.6 * mlp + 0.2 * tuned + 0.2 * logits)[rest]
    return found


def three_way_unsmoothed(w1, w2):
    """Cell 72 of `abaw5_expr_va_au_train.ipynb`."""

    def rule(mlp, tuned, logits):
        said = mlp.argmax(axis=1)
        rest = said != OTHER
        said[rest] = (w1 * mlp + w2 * tuned + (1 - w1 - w2) * logits).argmax(axis=1)[rest]
        return np.eye(8)[said]

    return rule


def threshold(t, w=None):
    """Cells 65, 74 and 80 of `abaw8_expr.ipynb`: applied to what is smoothed already."""

    def rule(own, face, sound=None):
        likeliest = own[:, :7].argmax(axis=1)
        sure = own[:, :7].max(axis=1) > np.float32(t)
        otherwise = face if w is None else w * face + (1 - w) * sound
        return np.eye(8)[np.where(sure, likeliest, otherwise.argmax(axis=1))]

    return rule


@dataclass(frozen=True)
class Cell:
    """What a cell does: a rule, before or after smoothing, over which frames and how many; thresholds of units."""

    rule: Callable
    delta: int = 0
    over: str = "all"
    after: bool = False
    best: bool = False
    without_other: bool = False


def rows_of(table, names, cell):
    return {f"{table}/{name}": cell for name in names.split()}


T1, T2, T3 = "abaw5/table1", "abaw5/table2", "abaw5/table3"
S4, S5, S8 = "abaw6/table4", "abaw6/table5", "abaw6/table8"
N_EXPR, N_VA, N_AU = "notebooks/expr", "notebooks/va", "notebooks/au"
NETWORKS = "emotieffnet-b2 ddamfn mt-ddamfn mt-emotimobilevit mt-emotimobilefacenet mt-emotieffnet emotieffnet-b0"
CELLS = {
    **rows_of(
        T1, "emotieffnet-lightautoml emotieffnet-mlp mt-lightautoml mt-lightautoml-one-each mt-mlp", Cell(single)
    ),
    **rows_of(T1, "mt-pretrained-va", Cell(single)),
    **rows_of(T1, "emotieffnet-mlp-smoothed mt-mlp-smoothed", Cell(single, 50)),
    **rows_of(T1, "both-mlp", Cell(blend(0.5))),
    **rows_of(T1, "both-mlp-smoothed", Cell(blend(0.5), 50, "labelled")),
    **rows_of(T1, "mt-mlp-lightautoml", Cell(blend(0.7))),
    **rows_of(T1, "mt-mlp-lightautoml-smoothed", Cell(blend(0.7), 50, "labelled")),
    **rows_of(T1, "mt-mlp-lightautoml-submitted", Cell(blend(0.8))),
    **rows_of(T2, "emotieffnet-aligned emotieffnet-cropped emotieffnet-finetuned mt-aligned mt-cropped", Cell(single)),
    **rows_of(T2, "emotieffnet-smoothed-as-named", Cell(single, 50)),
    **rows_of(T2, "emotieffnet-logits-eight", Cell(other_step(1))),
    **rows_of(T2, "emotieffnet-logits", Cell(seven_logits)),
    **rows_of(T2, "emotieffnet-embeddings-logits", Cell(other_step(0.1))),
    **rows_of(T2, "emotieffnet-embeddings-logits-w02", Cell(other_step(0.2))),
    **rows_of(T2, "emotieffnet-embeddings-logits-smoothed", Cell(other_step(0.1), 50)),
    **rows_of(T2, "emotieffnet-smoothed", Cell(other_step(0.1), 50, "labelled")),
    **rows_of(T2, "emotieffnet-pretrained-finetuned", Cell(blend(0.8))),
    **rows_of(T2, "emotieffnet-pretrained-finetuned-smoothed", Cell(blend(0.8), 50, "labelled")),
    **rows_of(T3, "mt-lightautoml-half emotieffnet-lightautoml-half mt-mlp-half emotieffnet-mlp-half", Cell(single)),
    **rows_of(
        T3, "mt-lightautoml-best emotieffnet-lightautoml-best mt-mlp-best emotieffnet-mlp-best", Cell(single, best=True)
    ),
    **rows_of(T3, "mt-mlp-smoothed emotieffnet-mlp-smoothed", Cell(single, 5, best=True)),
    **rows_of(T3, "both-mlp-half mt-mlp-lightautoml-half emotieffnet-mlp-lightautoml-half", Cell(blend(0.6))),
    **rows_of(
        T3, "both-mlp-best mt-mlp-lightautoml-best emotieffnet-mlp-lightautoml-best", Cell(blend(0.6), best=True)
    ),
    **rows_of(T3, "both-mlp-smoothed mt-mlp-lightautoml-smoothed", Cell(blend(0.6), 5, "labelled", best=True)),
    **rows_of(T3, "emotieffnet-mlp-lightautoml-smoothed", Cell(blend(0.6), 5, "labelled")),
    **rows_of(T3, "mt-mlp-lightautoml-smoothed-half", Cell(blend(0.6), 7, "labelled")),
    **rows_of(S4, NETWORKS, Cell(single)),
    **{f"{S4}/{name}-without-other": Cell(single, without_other=True) for name in NETWORKS.split()},
    **rows_of(S5, "ddamfn emotieffnet-b2 mt-ddamfn mt-emotieffnet emotieffnet wav2vec2", Cell(single)),
    **rows_of(S5, "mt-emotimobilefacenet mt-emotimobilevit", Cell(single)),
    **rows_of(S5, "emotieffnet-smoothed wav2vec2-smoothed-50", Cell(single, 50)),
    **rows_of(S5, "emotieffnet-smoothed-as-written", Cell(single, 25)),
    **rows_of(S5, "wav2vec2-smoothed", Cell(single, 200)),
    **rows_of(S5, "emotieffnet-pretrained-mlp", Cell(threshold(0.8))),
    **rows_of(S5, "emotieffnet-pretrained-mlp-t09", Cell(threshold(0.9))),
    **rows_of(S5, "emotieffnet-pretrained-mlp-smoothed", Cell(threshold(0.8), 50, after=True)),
    **rows_of(S5, "emotieffnet-pretrained-mlp-smoothed-t07", Cell(threshold(0.7), 50, after=True)),
    **rows_of(S5, "wav2vec2-emotieffnet", Cell(blend(0.5))),
    **rows_of(S5, "wav2vec2-emotieffnet-w06", Cell(blend(0.6))),
    **rows_of(S5, "wav2vec2-emotieffnet-smoothed", Cell(blend(0.7), 50)),
    **rows_of(S5, "wav2vec2-emotieffnet-smoothed-w06", Cell(blend(0.6), 50)),
    **rows_of(S8, "ddamfn emotieffnet mt-ddamfn mt-emotieffnet mt-emotimobilefacenet", Cell(single, best=True)),
    **rows_of(S8, "mt-emotimobilefacenet-aligned wav2vec2", Cell(single, best=True)),
    **rows_of(S8, "emotieffnet-smoothed", Cell(single, 5, best=True)),
    **rows_of(S8, "emotieffnet-lightautoml", Cell(blend(0.6), best=True)),
    **rows_of(S8, "emotieffnet-lightautoml-smoothed", Cell(blend(0.6), 5, "labelled")),
    **rows_of(N_AU, "ddamfn-half mt-ddamfn-half mt-emotimobilefacenet-aligned-half", Cell(single)),
    **rows_of(N_AU, "mt-emotimobilefacenet-half wav2vec2-half", Cell(single)),
    **rows_of(N_EXPR, "emotieffnet-aligned-224 mt-emotimobilefacenet-aligned", Cell(single)),
    **rows_of(N_EXPR, "three-way-blend", Cell(three_way, 50, "labelled")),
    **rows_of(N_EXPR, "three-way-blend-frame-level", Cell(three_way_unsmoothed(0.6, 0.2))),
    **rows_of(N_EXPR, "three-way-blend-frame-level-best", Cell(three_way_unsmoothed(0.6, 0.3))),
    **rows_of(N_EXPR, "threshold-blend-sound", Cell(threshold(0.7, 0.5), 50, after=True)),
    **{f"{N_EXPR}/threshold-blend-sound-w0{w}": Cell(threshold(0.7, w / 10), 50, after=True) for w in (6, 7, 8)},
    **rows_of(N_VA, "ddamfn emotieffnet-b2 mt-ddamfn mt-emotimobilefacenet mt-emotimobilevit", Cell(single)),
    **rows_of(N_VA, "mt-emotimobilefacenet-aligned", Cell(single)),
    **rows_of(N_VA, "ddamfn-smoothed mt-ddamfn-smoothed mt-emotimobilevit-smoothed", Cell(single, 50)),
    **rows_of(N_VA, "mt-emotimobilefacenet-smoothed mt-emotimobilefacenet-aligned-smoothed", Cell(single, 50)),
}
CURVES = {
    **{f"abaw5/figure{n}/both-mlp": Cell(blend(0.5), over="labelled") for n in (2, 3)},
    **{f"abaw5/figure{n}/{name}": Cell(single) for n in (2, 3) for name in ("emotieffnet-mlp", "mt-mlp")},
    "abaw5/figure4/emotieffnet-embeddings": Cell(single),
    "abaw5/figure4/emotieffnet-embeddings-logits": Cell(other_step(0.1), over="labelled"),
    "abaw5/figure4/emotieffnet-pretrained-finetuned": Cell(blend(0.8), over="labelled"),
    "abaw5/figure5/both-mlp": Cell(blend(0.6), over="labelled", best=True),
    "abaw5/figure5/emotieffnet-mlp-lightautoml": Cell(blend(0.6), over="labelled"),
    "abaw5/figure5/emotieffnet-mlp": Cell(single, best=True),
    "abaw5/figure5/mt-mlp": Cell(single, best=True),
    "notebooks/au/emotieffnet-mlp-kernel": Cell(single, best=True),
    "notebooks/expr/emotieffnet-kernel": Cell(single),
    "notebooks/va/mt-mlp-kernel": Cell(single),
}
THRESHOLDS = {"abaw6/figure2/pretrained-mlp": 0, "abaw6/figure2/pretrained-mlp-smoothed": 50}


# ------------------------------------------------------------------------------------------------ the loop


@dataclass(frozen=True)
class Video:
    """A validation video: what each head says of every image that there is, and the labels."""

    faces: np.ndarray
    labelled: np.ndarray
    value: np.ndarray
    said: list[np.ndarray]


def smoothed(indices, rows, delta):
    """A dense sequence up to the last image, gaps interpolated, and the mean around each frame that has an image.

    The interpolation is that of `abaw6_affwild2.ipynb`, in which the nearer neighbour weighs more.
    """
    dense, at = [], 0
    for frame in range(indices[-1] + 1):
        if indices[at] == frame:
            dense.append(rows[at])
            at += 1
        elif at == 0:
            dense.append(rows[0])
        else:
            w = 1 - (frame - indices[at - 1]) / (indices[at] - indices[at - 1])
            dense.append(w * rows[at - 1] + (1 - w) * rows[at])
    dense = np.array(dense)
    return np.array([dense[max(i - delta, 0) : i + delta + 1].mean(axis=0) for i in indices])


def by_the_cell(cell, videos, delta):
    """What the cell computes for the images that are scored, and their labels."""
    found, truth = [], []
    for video in videos:
        kept = video.faces & (video.labelled if cell.over == "labelled" else True)
        indices = np.flatnonzero(kept)
        said = [one[indices].astype(np.float64) for one in video.said]
        if cell.after:
            values = cell.rule(*(smoothed(indices, one, delta) for one in said))
        else:
            values = smoothed(indices, cell.rule(*said), delta)
        scored = video.labelled[indices]
        found.append(values[scored])
        truth.append(video.value[indices][scored])
    return np.concatenate(found), np.concatenate(truth)


def f1(truth, said):
    both = 2 * np.sum(truth & said)
    return both / max(truth.sum() + said.sum(), 1)


def thresholds(cell, videos, truth):
    """The best of each unit, found before smoothing, as `f1_score_max` finds them."""
    if not cell.best:
        return np.full(12, 0.5)
    values, _ = by_the_cell(cell, videos, 0)
    grid = np.arange(1, 10) / 10
    return np.array([max(grid, key=lambda t: f1(y == 1, x >= t)) for x, y in zip(values.T, truth.T, strict=True)])


def score_of(task, cell, videos, delta, measure=""):
    values, truth = by_the_cell(cell, videos, delta)
    if task == "expr":
        columns = 7 if cell.without_other else 8
        rows = truth[:, 0] < columns
        said = values[rows, :columns].argmax(axis=1)
        return np.mean([f1(truth[rows, 0] == k, said == k) for k in range(columns)]), said, rows
    if task == "au":
        said = values >= thresholds(cell, videos, truth)
        return np.mean([f1(y == 1, x) for x, y in zip(said.T, truth.T, strict=True)]), said, None
    ccc = [
        2 * np.cov(x, y, ddof=0)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)
        for x, y in zip(values.T, truth.astype(np.float64).T, strict=True)
    ]
    return {"CCC valence": ccc[0], "CCC arousal": ccc[1]}.get(measure, np.mean(ccc)), values, None


# ------------------------------------------------------------------------------------------------ random data


def drawn(task, heads, seed=0):
    """Three videos whose faces come and go, also at both ends, and whose labels have holes of their own."""
    random = np.random.default_rng(seed)
    return [_video(random, task, heads, frames) for frames in (420, 90, 33)]


def _video(random, task, heads, frames):
    faces = np.repeat(random.random(frames // 6 + 1) < 0.7, 6)[:frames]
    labelled = np.repeat(random.random(frames // 5 + 1) < 0.7, 5)[:frames]
    faces[:3], faces[-11:], labelled[10:14] = False, False, True
    faces[10:13] = faces[-18:-11] = True
    labelled[-14:] = False
    slow = np.repeat(random.integers(0, 8, (frames // 7 + 1, 12)), 7, axis=0)[:frames]
    if task == "expr":
        value = slow[:, :1].astype(np.int8)
        sharp = random.normal(size=(heads, frames, 8)) * 2 + 2 * np.eye(8)[value[:, 0]]
        said = np.exp(sharp) / np.exp(sharp).sum(axis=2, keepdims=True)
    elif task == "au":
        value = (slow < 3).astype(np.int8)
        said = 1 / (1 + np.exp(-random.normal(size=(heads, frames, 12)) - value))
    else:
        value = (slow[:, :2] / 4 - 1).astype(np.float32)
        said = np.tanh(random.normal(size=(heads, frames, 2)) + value)
    return Video(faces, labelled, value, list(said.astype(np.float32)))


def as_judged(row, video, number):
    """The same as the store gives it: gaps filled, and a flag where it is scored."""
    outputs = {head.name: fill_gaps(said, video.faces) for head, said in zip(row.heads, video.said, strict=True)}
    scored = np.broadcast_to((video.faces & video.labelled)[:, None], video.value.shape)
    return EvaluationVideo(f"video{number}", outputs, video.value, scored.copy(), video.faces)


@pytest.fixture(scope="module")
def rows():
    return {row.name: row for row in find_experiments(["*"])}


def both(row):
    videos = drawn(row.task, len(row.heads))
    return videos, [as_judged(row, video, number) for number, video in enumerate(videos)]


# ------------------------------------------------------------------------------------------------ the tests


@pytest.mark.parametrize("name", CELLS)
def test_a_row_decides_what_its_cell_decides(rows, name):
    row, cell = rows[name], CELLS[name]
    videos, judged = both(row)
    chosen = choose(row.evaluation, judged, search=False)
    expected, said, kept = score_of(row.task, cell, videos, cell.delta)
    scores = evaluate(row.evaluation, chosen, judged)
    ours = np.concatenate([predict_video(row.evaluation, chosen, one)[1][one.known.all(axis=1)] for one in judged])
    if row.task == "va":
        np.testing.assert_allclose(ours, said, atol=1e-5)
    elif row.task == "au":
        np.testing.assert_array_equal(ours == 1, said)
    else:
        np.testing.assert_array_equal(ours[kept, 0], said)
    assert scores.value == pytest.approx(expected, abs=1e-5)
    assert scores.frames == len(said)


@pytest.mark.parametrize("name", CURVES)
def test_a_figure_s_curve_is_its_cell_s_at_every_point(rows, name):
    row, cell = rows[name], CURVES[name]
    videos, judged = both(row)
    chosen = choose(row.evaluation, judged, search=False)
    curve = kernel_curve(row.evaluation, chosen, judged, row.sweep.values, row.sweep.measure)
    for delta, value in curve.items():
        expected, _, _ = score_of(row.task, cell, videos, int(delta), row.sweep.measure)
        assert value == pytest.approx(expected, abs=1e-5), delta


@pytest.mark.parametrize("name", THRESHOLDS)
def test_a_curve_over_the_threshold_is_its_cell_s_at_every_point(rows, name):
    row = rows[name]
    videos, judged = both(row)
    chosen = choose(row.evaluation, judged, search=False)
    curve = threshold_curve(row.evaluation, chosen, judged, row.sweep.values)
    for t, value in curve.items():
        cell = Cell(threshold(t), THRESHOLDS[name], after=True)
        expected, _, _ = score_of("expr", cell, videos, cell.delta)
        assert value == pytest.approx(expected, abs=1e-9), t


@pytest.mark.parametrize(
    "change",
    [
        {"smooth_over": "faces"},
        {"smooth_over": "own"},
        {"after_last_face": "repeat"},
        {"method": "seven_after_smoothing"},
    ],
)
def test_every_rule_of_a_row_makes_a_difference(rows, change):
    """As between the printed .432/.546 and .431/.546; were one ignored, the rows above could not equal their cells."""
    row = rows[f"{T2}/emotieffnet-smoothed"]
    if "method" in change:
        change = {"method": replace(row.evaluation.method, variant=change["method"])}
    _, judged = both(row)
    scores = [
        evaluate(asked, choose(asked, judged, search=False), judged)
        for asked in (row.evaluation, replace(row.evaluation, **change))
    ]
    assert scores[0].value != scores[1].value
    assert scores[0].frames == scores[1].frames


def test_every_row_with_a_number_is_compared_unless_its_code_is_not_public_or_it_is_of_the_test_set(rows):
    numbered = {name for name, row in rows.items() if (row.paper or row.paper_curve) and not row.files}
    compared = set(CELLS) | set(CURVES) | set(THRESHOLDS)
    assert compared <= numbered
    not_public = numbered - compared
    assert all(name.startswith("abaw6/table3/") or "tcn" in name for name in not_public), not_public
    assert not any(rows[name].cell for name in not_public)
    assert {name for name in compared if not rows[name].cell} == {f"{T2}/emotieffnet-logits"}  # the text's


def test_the_page_of_experiments_is_what_their_files_say(rows):
    page = (ROOT / "docs" / "papers.md").read_text(encoding="utf-8")
    assert page == papers_table(rows.values()), "run `python -m affstore.flows.report.papers_table docs/papers.md`"
