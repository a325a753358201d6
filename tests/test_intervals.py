"""The bootstrap over videos against drawing and scoring in a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affstore.models.evaluation.bootstrap import LEVEL, bootstrap_interval, whole_videos
from affstore.models.evaluation.metrics import score
from affstore.store.contract.errors import AnnotationError, SpecError
from affstore.store.contract.labels import space_of

NOD = space_of("nod", {"kind": "units", "names": ["nod"]})

seeds = st.integers(0, 2**32 - 1)


def videos_of(task, seed, count=7, shift=0.0):
    """Videos of different length and skill, with frames that lack some or all labels."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        frames = int(random.integers(3, 40))
        if task == "va":
            value = random.normal(size=(frames, 2)) + shift
            said = value + random.normal(size=(frames, 2)) * random.random() + random.normal() / 4
        else:
            width, classes = (1, 8) if task == "expr" else (12, 2)
            value = random.integers(0, classes, (frames, width)).astype(np.int8)
            said = np.where(random.random((frames, width)) < random.random(), value, (value + 1) % classes)
        known = random.random(value.shape) < 0.95
        found.append((said, np.where(known, value, -5), known))
    return found


def by_loop(task, videos, without, draws, seed):
    """Draw, put together, score."""
    scored = []
    for said, value, known in videos:
        rows = known.all(axis=1) & ((value[:, 0] != 7) | (not without))
        if rows.any():
            scored.append((said[rows], value[rows]))
    picks = np.random.default_rng(seed).integers(0, len(scored), (draws, len(scored)))
    headlines = []
    for drawn in picks:
        said, value = (np.concatenate([scored[video][part] for video in drawn]) for part in (0, 1))
        headlines.append(score(task, said, value, None, without).value)
    return np.quantile(headlines, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])


@settings(max_examples=40)
@given(st.sampled_from([("expr", ()), ("expr", ("Other",)), ("au", ()), ("va", ())]), st.integers(1, 9), seeds)
def test_intervals_are_those_of_a_plain_loop(asked, count, seed):
    task, without = asked
    videos = videos_of(task, seed, count)
    if not any(known.all(axis=1).any() for _, _, known in videos):
        return
    found = bootstrap_interval(task, videos, without, draws=40, seed=seed)
    np.testing.assert_allclose(found, by_loop(task, videos, without, 40, seed), atol=1e-9)


def test_ccc_far_from_zero_keeps_its_digits():
    far, near = videos_of("va", 1, shift=1e5), videos_of("va", 1)
    np.testing.assert_allclose(bootstrap_interval("va", far), bootstrap_interval("va", near), atol=1e-6)


def test_constant_answers_have_the_interval_zero():
    videos = [(np.full_like(said, 0.1), value, known) for said, value, known in videos_of("va", 2)]
    assert bootstrap_interval("va", videos) == (0, 0)
    alike = [(np.full((9, 2), 0.1), np.full((9, 2), 0.1), np.ones((9, 2), bool)) for _ in range(3)]
    assert bootstrap_interval("va", alike) == (0, 0)


@pytest.mark.parametrize("level", [0.7, 0.3, -0.9])
def test_a_draw_of_constant_videos_only_scores_zero_as_by_itself(level):
    alike = [(np.full((9, 2), level), np.full((9, 2), level), np.ones((9, 2), bool)) for _ in range(2)]
    videos = [*videos_of("va", 2, count=1), *alike]
    for seed in range(12):
        found = bootstrap_interval("va", videos, draws=1, seed=seed)
        np.testing.assert_allclose(found, by_loop("va", videos, (), 1, seed), atol=1e-9)


def test_the_headline_lies_within_and_one_video_alone_has_no_width():
    videos = videos_of("expr", 3, count=30)
    low, high = bootstrap_interval("expr", videos)
    said, value, known = (np.concatenate(part) for part in zip(*videos, strict=True))
    assert low < score("expr", said, value, known).value < high
    low, high = bootstrap_interval("expr", videos[:1])
    assert low == high == pytest.approx(score("expr", *videos[0]).value)


def test_the_same_seed_gives_the_same_interval_and_more_videos_a_narrower_one():
    few, many = videos_of("au", 4, count=8), videos_of("au", 4, count=200)
    assert bootstrap_interval("au", few) == bootstrap_interval("au", few)
    assert bootstrap_interval("au", few) != bootstrap_interval("au", few, seed=1)
    assert np.diff(bootstrap_interval("au", many)) < np.diff(bootstrap_interval("au", few))


def test_subjects_of_one_video_are_drawn_together():
    left, right, other = videos_of("expr", 5, count=3)
    together = whole_videos([("12_left", left), ("13", other), ("12_right", right)])
    assert [len(value) for _, value, _ in together] == [len(left[1]) + len(right[1]), len(other[1])]
    np.testing.assert_array_equal(together[0][0], np.concatenate([left[0], right[0]]))


def test_videos_whose_own_names_end_in_a_side_are_drawn_apart():
    names = [f"take{number}_{side}" for number in (1, 2) for side in ("left", "right")]
    apart = whole_videos(zip(names, videos_of("expr", 5, count=4), strict=True), set(names))
    assert len(apart) == 4


def test_what_cannot_be_drawn_is_refused():
    said, value, known = videos_of("va", 6, count=1)[0]
    with pytest.raises(AnnotationError, match="no frame to score"):
        bootstrap_interval("va", [(said, value, np.zeros_like(known))])
    with pytest.raises(AnnotationError, match="no frame to score"):
        bootstrap_interval("va", [])
    with pytest.raises(SpecError, match="NaN"):
        bootstrap_interval("va", [(said * np.nan, value, known)])
    with pytest.raises(SpecError, match="classes from 0 to 7"):
        bootstrap_interval("expr", [(np.full((2, 1), 9), np.zeros((2, 1), np.int8), np.ones((2, 1), bool))])


def test_intervals_hold_the_true_score_as_often_as_they_say_where_videos_of_a_person_are_drawn_together():
    """Each of 24 people is recognised in another share of the frames, in all of five videos: 24 facts, not 120."""
    random, held = np.random.default_rng(5), {"people": 0, "videos": 0}
    people, videos, frames, trials = 24, 5, 12, 150
    true = 2 * 0.5 / (1 + 0.5)  # F1 where half of what is shown is found, and nothing else
    names = [[f"p{person}v{video}" for video in range(videos)] for person in range(people)]
    shown, known = np.ones((frames, 1), np.int8), np.ones((frames, 1), bool)
    for trial in range(trials):
        skill = random.beta(2, 2, people)
        decided = [
            (name, ((random.random((frames, 1)) < skill[person]).astype(np.int8), shown, known))
            for person, group in enumerate(names)
            for name in group
        ]
        for drawn, together in (("people", names), ("videos", [])):
            whole = whole_videos(decided, (), together)
            assert len(whole) == (people if drawn == "people" else people * videos)
            low, high = bootstrap_interval(NOD, whole, draws=200, seed=trial)
            held[drawn] += low <= true <= high
    assert held["people"] >= 0.88 * trials
    assert held["videos"] < 0.8 * trials
