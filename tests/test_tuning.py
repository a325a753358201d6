"""What is tuned: planted numbers are found, searches equal brute force, and judging equals doing it by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from affstore.models.ensembles.spec import Blend, ConfidenceGate, HeadOutput, SearchedValue, TwoStageOther, with_values
from affstore.models.evaluation.evaluate import (
    EvaluationSpec,
    EvaluationVideo,
    TunedParameters,
    evaluate,
    predict_labels,
    predict_video,
)
from affstore.models.evaluation.thresholds import GRID
from affstore.models.evaluation.tune import choose, kernel_curve, threshold_curve
from affstore.models.postprocess import box_smooth
from affstore.store.contract.errors import AnnotationError, SpecError, UnknownNameError

seeds = st.integers(0, 2**32 - 1)
TENTHS = tuple(k / 10 for k in range(11))
AFTER_PAPERS = TunedParameters(HeadOutput("mlp"), 0, None)


def softmax(x):
    raised = np.exp(x - x.max(axis=1, keepdims=True))
    return (raised / raised.sum(axis=1, keepdims=True)).astype(np.float32)


def expr_videos(seed=0, lengths=(60, 9, 130), heads=("mlp", "own"), skill=1.0):
    """Heads that know something, with unknown labels here and there."""
    random = np.random.default_rng(seed)
    videos = []
    for number, frames in enumerate(lengths):
        truth = np.repeat(random.integers(0, 8, frames // 5 + 1), 5)[:frames]
        said = {head: softmax(random.normal(size=(frames, 8)) + skill * np.eye(8)[truth]) for head in heads}
        known = random.random((frames, 1)) < 0.9
        value = np.where(known, truth[:, None], -1).astype(np.int8)
        videos.append(EvaluationVideo(f"video{number}", said, value, known))
    return videos


def au_videos(thresholds, seed=0, lengths=(700, 900)):
    """Units that are present exactly where a head reaches their threshold."""
    random = np.random.default_rng(seed)
    videos = []
    for number, frames in enumerate(lengths):
        said = random.random((frames, 12)).astype(np.float32)
        value = (said >= np.array(thresholds, np.float32)).astype(np.int8)
        known = random.random((frames, 12)) < 0.98
        value[~known] = 1 - value[~known]  # misleading: must not be looked at
        videos.append(EvaluationVideo(f"video{number}", {"mlp": said}, value, known))
    return videos


def va_videos(truth_of, seed=0, lengths=(300, 200)):
    random = np.random.default_rng(seed)
    videos = []
    for number, frames in enumerate(lengths):
        said = {head: random.normal(size=(frames, 2)).astype(np.float32) for head in ("mlp", "lama")}
        videos.append(EvaluationVideo(f"video{number}", said, truth_of(said), np.ones((frames, 2), bool)))
    return videos


def searched(value=None, grid=TENTHS):
    return SearchedValue(value, grid)


# What is planted is found


def test_a_planted_kernel_is_found():
    videos = va_videos(lambda said: box_smooth(said["mlp"], 7))
    evaluation = EvaluationSpec("va", HeadOutput("mlp"), searched(grid=(0, 3, 5, 7, 10, 25)))
    chosen = choose(evaluation, videos, search=False)
    assert chosen.smooth_frames == 7
    assert evaluate(evaluation, chosen, videos).value == pytest.approx(1, abs=1e-6)


def test_a_planted_weight_is_found_in_numbers_and_in_classes():
    method = Blend(HeadOutput("mlp"), HeadOutput("lama"), searched())
    mixed = va_videos(lambda said: np.float32(0.3) * said["mlp"] + np.float32(0.7) * said["lama"])
    assert choose(EvaluationSpec("va", method), mixed, search=True).as_dict() == {"smooth_frames": 0, "weight": 0.3}

    videos = [
        replace(video, value=(0.3 * video.outputs["mlp"] + 0.7 * video.outputs["own"]).argmax(axis=1)[:, None])
        for video in expr_videos(lengths=(4000,))
    ]
    method = Blend(HeadOutput("mlp"), HeadOutput("own"), searched())
    assert choose(EvaluationSpec("expr", method), videos, search=True).as_dict()["weight"] == 0.3


def test_two_planted_weights_are_found_together():
    method = Blend(Blend(HeadOutput("mlp"), HeadOutput("lama"), searched()), HeadOutput("mlp"), searched())
    videos = va_videos(lambda said: np.float32(0.44) * said["mlp"] + np.float32(0.56) * said["lama"])
    assert choose(EvaluationSpec("va", method), videos, search=True).as_dict() == {
        "smooth_frames": 0,
        "weight": 0.7,
        "weight_2": 0.2,
    }


def test_planted_thresholds_are_found():
    planted = tuple(float(t) for t in np.random.default_rng(1).choice(GRID, 12))
    videos = au_videos(planted)
    evaluation = EvaluationSpec("au", HeadOutput("mlp"), thresholds="tuned")
    chosen = choose(evaluation, videos, search=False)
    assert chosen.thresholds == planted
    assert chosen.as_dict()["thresholds"] == list(planted)
    assert evaluate(evaluation, chosen, videos).value == 1


def test_a_planted_threshold_of_the_rule_is_found():
    videos = []
    rule = ConfidenceGate(HeadOutput("own"), HeadOutput("mlp"), SearchedValue(0.6, ()))
    for video in expr_videos(lengths=(3000,), skill=2.0):
        _, said = predict_video(EvaluationSpec("expr", rule), TunedParameters(rule, 0, None), video)
        videos.append(replace(video, value=said))
    evaluation = EvaluationSpec("expr", replace(rule, threshold=searched()))
    assert choose(evaluation, videos, search=False).as_dict()["threshold"] == 0.6
    curve = threshold_curve(evaluation, choose(evaluation, videos, search=False), videos, TENTHS)
    assert max(curve, key=curve.__getitem__) == 0.6
    assert curve[0.6] == 1


# What is given is taken


def test_the_papers_values_are_taken_where_nothing_is_to_be_searched():
    method = Blend(HeadOutput("mlp"), HeadOutput("lama"), searched(0.8))
    videos = va_videos(lambda said: said["lama"])
    evaluation = EvaluationSpec("va", method, searched(50, (0, 5, 50)))
    assert choose(evaluation, videos, search=False).as_dict() == {"smooth_frames": 50, "weight": 0.8}
    assert choose(evaluation, videos, search=True).as_dict() == {"smooth_frames": 0, "weight": 0.0}


def test_the_papers_thresholds_are_given_up_when_all_is_searched_but_half_is_not():
    planted, papers = (0.3,) * 12, (0.7,) * 12
    videos = au_videos(planted)
    evaluation = EvaluationSpec("au", HeadOutput("mlp"), thresholds=papers)
    assert choose(evaluation, videos, search=False).thresholds == papers
    assert choose(evaluation, videos, search=True).thresholds == planted
    assert choose(replace(evaluation, thresholds="half"), videos, search=True).thresholds is None


def test_of_equally_good_values_the_first_of_the_grid_is_taken():
    videos = va_videos(lambda said: said["mlp"])
    same = [replace(video, outputs={"mlp": video.outputs["mlp"], "lama": video.outputs["mlp"]}) for video in videos]
    method = Blend(HeadOutput("mlp"), HeadOutput("lama"), searched(grid=(0.5, 0.0, 1.0)))
    assert choose(EvaluationSpec("va", method), same, search=True).as_dict()["weight"] == 0.5


def test_weights_and_thresholds_are_tuned_unsmoothed_and_then_reused():
    videos = expr_videos(seed=3, lengths=(400, 300), skill=1.2)
    method = Blend(HeadOutput("mlp"), HeadOutput("own"), searched())
    evaluation = EvaluationSpec("expr", method, searched(grid=(0, 2, 5)))
    chosen = choose(evaluation, videos, search=True)
    unsmoothed = [
        evaluate(evaluation, TunedParameters(with_values(method, {"weight": w}), 0, None), videos).value for w in TENTHS
    ]
    assert chosen.as_dict()["weight"] == TENTHS[int(np.argmax(unsmoothed))]
    smoothed = [evaluate(evaluation, replace(chosen, smooth_frames=delta), videos).value for delta in (0, 2, 5)]
    assert chosen.smooth_frames == (0, 2, 5)[int(np.argmax(smoothed))]
    assert chosen.smooth_frames > 0


# Judging


@given(st.integers(0, 40), seeds)
def test_judging_is_smoothing_each_video_deciding_and_scoring_all_frames_together(delta, seed):
    videos = expr_videos(seed)
    rule = ConfidenceGate(HeadOutput("own"), HeadOutput("mlp"), SearchedValue(0.5, ()))
    evaluation, chosen = EvaluationSpec("expr", rule), TunedParameters(rule, delta, None)
    truth, said = [], []
    for video in videos:
        smoothed = {
            head: np.float32([x[max(i - delta, 0) : i + delta + 1].mean(axis=0, dtype=float) for i in range(len(x))])
            for head, x in video.outputs.items()
        }
        for i in np.flatnonzero(video.known[:, 0]):
            own = smoothed["own"][i, :7]
            said.append(int(own.argmax()) if own.max() > np.float32(0.5) else int(smoothed["mlp"][i].argmax()))
            truth.append(int(video.value[i, 0]))
    scores = evaluate(evaluation, chosen, videos)
    expected = f1_score(truth, said, labels=range(8), average="macro", zero_division=0.0)
    assert scores.value == pytest.approx(expected, abs=1e-9)
    assert scores.frames == len(truth)
    together = np.concatenate([predict_video(evaluation, chosen, video)[1][video.known] for video in videos])
    assert together.tolist() == said


def test_without_other_its_frames_are_left_out_and_it_is_never_said():
    videos = expr_videos(seed=4, lengths=(900, 500))
    evaluation = EvaluationSpec("expr", HeadOutput("mlp"), without=("Other",))
    chosen = choose(evaluation, videos, search=False)
    scores = evaluate(evaluation, chosen, videos)
    rows = [video.known[:, 0] & (video.value[:, 0] != 7) for video in videos]
    truth = np.concatenate([video.value[row, 0] for video, row in zip(videos, rows, strict=True)])
    said = np.concatenate(
        [video.outputs["mlp"][row, :7].argmax(axis=1) for video, row in zip(videos, rows, strict=True)]
    )
    assert scores.value == pytest.approx(f1_score(truth, said, labels=range(7), average="macro"), abs=1e-12)
    assert scores.details["accuracy"] == pytest.approx(accuracy_score(truth, said), abs=1e-12)
    assert "F1 Other" not in scores.details
    assert len(scores.details) == 8
    assert scores.frames == len(truth)
    assert all((predict_video(evaluation, chosen, video)[1] != 7).all() for video in videos)


def test_a_frame_that_lacks_any_unit_is_dropped_as_in_the_papers():
    videos = au_videos((0.5,) * 12)
    scores = evaluate(EvaluationSpec("au", HeadOutput("mlp")), AFTER_PAPERS, videos)
    assert scores.frames == sum(int(video.known.all(axis=1).sum()) for video in videos)
    assert scores.value == 1


def test_valence_is_scored_over_all_frames_and_not_by_video():
    videos = va_videos(lambda said: said["mlp"])
    moved = [videos[0], replace(videos[1], value=videos[1].value + np.float32(1))]
    scores = evaluate(EvaluationSpec("va", HeadOutput("mlp")), AFTER_PAPERS, moved)
    x = np.concatenate([video.outputs["mlp"] for video in moved]).astype(np.float64)
    y = np.concatenate([video.value for video in moved]).astype(np.float64)
    covariance = ((x - x.mean(0)) * (y - y.mean(0))).mean(0)
    expected = 2 * covariance / (x.var(0) + y.var(0) + (x.mean(0) - y.mean(0)) ** 2)
    assert scores.value == pytest.approx(expected.mean(), abs=1e-9)


def test_curves_are_what_judging_says_at_every_point():
    videos = expr_videos(seed=5)
    step = TwoStageOther(HeadOutput("mlp"), Blend(HeadOutput("own"), HeadOutput("mlp"), SearchedValue(0.1, ())))
    rule = ConfidenceGate(HeadOutput("own"), step, SearchedValue(0.5, ()))
    evaluation, chosen = EvaluationSpec("expr", rule), TunedParameters(rule, 4, None)
    kernels = kernel_curve(evaluation, chosen, videos, (0, 1, 4, 1000))
    assert kernels == {d: evaluate(evaluation, replace(chosen, smooth_frames=d), videos).value for d in (0, 1, 4, 1000)}
    thresholds = threshold_curve(evaluation, chosen, videos, TENTHS)
    at = {t: replace(chosen, method=with_values(rule, {"threshold": t, "weight": 0.1})) for t in TENTHS}
    assert thresholds == {t: evaluate(evaluation, one, videos).value for t, one in at.items()}
    assert thresholds[0.5] == kernels[4]
    with pytest.raises(SpecError, match="one ConfidenceGate; found 0"):
        threshold_curve(EvaluationSpec("expr", HeadOutput("mlp")), AFTER_PAPERS, videos, TENTHS)


def test_decisions_need_no_labels():
    (video,) = expr_videos(lengths=(30,))
    evaluation = EvaluationSpec("expr", HeadOutput("mlp"))
    everywhere = np.ones(30, bool)
    unlabelled = predict_labels(evaluation, AFTER_PAPERS, video.outputs, everywhere)
    for known, unknown in zip(predict_video(evaluation, AFTER_PAPERS, video), unlabelled, strict=True):
        np.testing.assert_array_equal(known, unknown)


# Hard cases


def test_a_kernel_longer_than_a_video_is_its_mean():
    (video,) = expr_videos(lengths=(9,))
    evaluation = EvaluationSpec("expr", HeadOutput("mlp"), SearchedValue(500, ()))
    chosen = choose(evaluation, [video], search=False)
    _, said = predict_video(evaluation, chosen, video)
    mean = video.outputs["mlp"].mean(axis=0, dtype=np.float64)
    assert said[:, 0].tolist() == [int(mean.argmax())] * 9
    assert evaluate(evaluation, chosen, [video]).frames == int(video.known.sum())


def test_one_class_only_can_be_judged_and_tuned():
    videos = [replace(video, value=np.zeros_like(video.value)) for video in expr_videos()]
    evaluation = EvaluationSpec("expr", Blend(HeadOutput("mlp"), HeadOutput("own"), searched()), searched(grid=(0, 5)))
    value = evaluate(evaluation, choose(evaluation, videos, search=True), videos).value
    assert 0 < value <= 1 / 8


def test_videos_without_labels_are_passed_over_and_no_label_at_all_is_an_error():
    videos = expr_videos()
    evaluation = EvaluationSpec("expr", HeadOutput("mlp"), searched(grid=(0, 5)))
    unknown = replace(videos[0], known=np.zeros_like(videos[0].known))
    chosen = choose(evaluation, [unknown, *videos[1:]], search=True)
    assert evaluate(evaluation, chosen, [unknown, *videos[1:]]) == evaluate(evaluation, chosen, videos[1:])
    for nothing in ([unknown], []):
        with pytest.raises(AnnotationError, match="videos has a known label"):
            choose(evaluation, nothing, search=True)
        with pytest.raises(AnnotationError, match="videos has a known label"):
            evaluate(evaluation, chosen, nothing)
    other = [replace(videos[0], value=np.full_like(videos[0].value, 7))]
    with pytest.raises(AnnotationError, match="no frame to score"):
        evaluate(EvaluationSpec("expr", HeadOutput("mlp"), without=("Other",)), AFTER_PAPERS, other)


def test_nan_is_refused_with_video_frame_and_head():
    (video,) = expr_videos(lengths=(30,))
    spoiled = video.outputs["mlp"].copy()
    spoiled[17, 2] = np.nan
    with pytest.raises(SpecError, match="'video0', frame 17: 'mlp' says NaN"):
        replace(video, outputs={"mlp": spoiled})


def test_outputs_and_labels_that_do_not_fit_are_refused():
    (video,) = expr_videos(lengths=(30,))
    with pytest.raises(SpecError, match="30 labelled frames, and 'mlp' says"):
        replace(video, outputs={"mlp": video.outputs["mlp"][:-1]})
    with pytest.raises(SpecError, match="one shape"):
        replace(video, known=video.known[:, 0])
    with pytest.raises(SpecError, match="'sound' says; there is mlp, own"):
        evaluate(
            EvaluationSpec("expr", HeadOutput("sound")), replace(AFTER_PAPERS, method=HeadOutput("sound")), [video]
        )
    with pytest.raises(SpecError, match="have 12 columns; found 1 in 'video0'"):
        evaluate(EvaluationSpec("au", HeadOutput("mlp")), AFTER_PAPERS, [video])
    narrow = replace(video, outputs={"mlp": video.outputs["mlp"][:, :2], "own": video.outputs["own"]})
    with pytest.raises(SpecError, match="'mlp' says has 2 and 8 outputs"):
        evaluate(EvaluationSpec("expr", HeadOutput("mlp")), AFTER_PAPERS, [video, narrow])
    with pytest.raises(SpecError, match="'mlp' with 2 and 'own' with 8"):
        choose(EvaluationSpec("expr", Blend(HeadOutput("mlp"), HeadOutput("own"), searched())), [narrow], search=True)


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"thresholds": "tuned"}, SpecError, "Only action units"),
        ({"task": "au", "thresholds": (0.5,)}, SpecError, "found 1"),
        ({"without": ("Contempt",)}, UnknownNameError, "No class is called 'Contempt'"),
        ({"task": "va", "without": ("Other",)}, SpecError, "Only classes can be left out"),
        ({"smooth_frames": SearchedValue(2.5, ())}, SpecError, "whole number of frames"),
        ({"smooth_frames": SearchedValue(None, (5, -1))}, SpecError, "whole number of frames"),
    ],
)
def test_a_judging_that_makes_no_sense_is_refused(changes, error, said):
    with pytest.raises(error, match=said):
        replace(EvaluationSpec("expr", HeadOutput("mlp")), **changes)
