"""Folds of whole videos, and videos that are in two splits."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affstore.models.heads.divisions import check_leak, fold_of
from affstore.store.contract.errors import AnnotationError, SpecError

VIDEOS = [f"{number}-30-1280x720" for number in range(23)]


@given(st.integers(2, 12), st.integers(0, 2**31), st.randoms(use_true_random=False))
def test_folds_are_balanced_and_do_not_depend_on_the_order_of_the_names(folds, seed, random):
    cut = fold_of(VIDEOS, folds, seed)
    sizes = Counter(cut.values())
    assert set(sizes) == set(range(folds))
    assert max(sizes.values()) - min(sizes.values()) <= 1
    shuffled = VIDEOS.copy()
    random.shuffle(shuffled)
    assert fold_of(shuffled, folds, seed) == cut


def test_subjects_of_a_video_are_in_one_fold():
    names = [f"{video}_{side}" for video in VIDEOS for side in ("left", "right")]
    cut = fold_of(names, 5, 0)
    assert all(cut[f"{video}_left"] == cut[f"{video}_right"] for video in VIDEOS)
    whole = fold_of(VIDEOS, 5, 0)
    assert {name: whole[name.rpartition("_")[0]] for name in names} == cut


def test_another_seed_is_another_cut_and_the_same_is_the_same_for_ever():
    assert fold_of(VIDEOS, 5, 0) != fold_of(VIDEOS, 5, 1)
    assert fold_of(["a", "b", "c", "d"], 2, 0) == {"a": 1, "b": 1, "c": 0, "d": 0}


def test_too_few_videos_and_too_few_folds_are_refused():
    with pytest.raises(AnnotationError, match="5 folds need as many labelled videos; there are 1"):
        fold_of(["12_left", "12_right"], 5, 0)
    with pytest.raises(SpecError, match="2 folds at least; 1 were"):
        fold_of(VIDEOS, 1, 0)


def test_splits_that_share_nothing_pass():
    check_leak({"train": [("a", "1"), ("b", "2")], "validation": [("c", "3")], "test": []})
    check_leak({"train": [("a", "1"), ("copy of a", "1"), ("a", "1")]})  # within one split nothing leaks


def test_one_video_in_two_splits_is_named():
    with pytest.raises(AnnotationError, match="'a' is in train and in validation"):
        check_leak({"train": [("a", "1")], "validation": [("a", "2")]})
    with pytest.raises(AnnotationError, match="'12' is in train and in test"):
        check_leak({"train": [("12_left", "1")], "validation": [], "test": [("12_right", "1")]})


def test_the_same_bytes_under_two_names_are_named():
    with pytest.raises(AnnotationError, match=r"'a' of train and 'z' of validation have the same bytes \(SHA-256 abc"):
        check_leak({"train": [("a", "abc"), ("b", "d")], "validation": [("z", "abc")]})


def test_of_many_leaks_five_are_named_and_the_others_counted():
    both = [(video, video) for video in VIDEOS]
    with pytest.raises(AnnotationError, match="– and 18 more"):
        check_leak({"train": both, "validation": both})
