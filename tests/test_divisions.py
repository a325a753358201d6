"""Folds of whole videos, and videos that are in two splits."""

from __future__ import annotations

from collections import Counter

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affstore import FeatureStore
from affstore.flows.commands.experiment import experiment
from affstore.flows.config.run_config import checked
from affstore.flows.request import request_of
from affstore.models.heads.splits import Folds, check_leak, groups_of_videos, read_groups
from affstore.store.contract.errors import AnnotationError, SpecError
from affstore.store.contract.keys import key_of
from affstore.store.contract.labels import space_of
from affstore.tasks.training import examples
from tests.factories import commit, labels_of, source

VIDEOS = [f"{number}-30-1280x720" for number in range(23)]


BYTES = {video: key_of(video) for video in VIDEOS}


def cut(videos, folds):
    return {video: folds.fold_of((video,), BYTES[video]) for video in videos}


@given(st.integers(2, 12), st.integers(0, 2**31), st.sets(st.sampled_from(VIDEOS), min_size=1))
def test_a_video_s_fold_does_not_depend_on_other_videos_nor_on_its_name(count, seed, some):
    folds = Folds(count, seed=seed)
    every = cut(VIDEOS, folds)
    assert set(every.values()) <= set(range(count))
    assert cut(some, folds) == {video: every[video] for video in some}
    assert all(folds.fold_of(("renamed",), BYTES[video]) == every[video] for video in some)


def test_folds_of_many_videos_are_of_about_one_size():
    sizes = Counter(Folds(5).fold_of((f"v{n}",), key_of(n)) for n in range(2000))
    assert set(sizes) == set(range(5))
    assert max(sizes.values()) - min(sizes.values()) < 100


def test_another_seed_is_another_cut_and_the_same_is_the_same_for_ever():
    assert cut(VIDEOS, Folds(5)) != cut(VIDEOS, Folds(5, seed=1))
    assert list(cut(VIDEOS[:8], Folds(5)).values()) == [1, 3, 1, 0, 1, 0, 4, 2]


@given(st.integers(2, 12), st.lists(st.sampled_from("abcdef"), min_size=len(VIDEOS), max_size=len(VIDEOS)))
def test_a_group_is_never_in_two_folds(count, groups):
    by_video = dict(zip(VIDEOS, groups, strict=True))
    found = cut(VIDEOS, Folds(count, by_video))
    assert len({(by_video[video], fold) for video, fold in found.items()}) == len(set(groups))


def test_a_group_is_found_by_any_name_of_its_video_and_a_video_without_one_is_named():
    folds = Folds(5, {"a": "anna", "b": "ben"})
    assert folds.fold_of(("copy of a", "a"), "1") == folds.fold_of(("a",), "2")
    with pytest.raises(AnnotationError, match="needs one group, and 'c' is in no group"):
        folds.fold_of(("c",), "3")
    with pytest.raises(AnnotationError, match="'a' is in the groups anna and ben"):
        folds.fold_of(("a", "b"), "3")


def test_groups_are_read_from_a_table(tmp_path):
    table = tmp_path / "groups.csv"
    table.write_text("\ufeffvideo,group\r\n001,anna\r\n\r\n12_left, ben \r\n12_right,ben\r\n", encoding="utf-8")
    groups = read_groups(table)
    folds = Folds(2, groups, each_group=True)
    assert [folds.group_of([name]) for name in ("001", "12")] == ["anna", "ben"]


def test_videos_whose_own_names_end_in_a_side_have_groups_of_their_own(tmp_path):
    table = tmp_path / "groups.csv"
    table.write_text("video,group\nconv_left,anna\nconv_right,ben\n")
    folds = Folds.by_group(read_groups(table))
    assert [folds.group_of([name]) for name in ("conv_left", "conv_right")] == ["anna", "ben"]
    assert groups_of_videos(folds.groups)["conv"] == {"anna", "ben"}
    with pytest.raises(AnnotationError, match="'conv' is in the groups anna and ben"):
        folds.group_of(["conv"])


def test_two_names_of_one_video_in_different_groups_are_refused(tmp_path):
    for rows, video in (("12.mp4,A\n12.avi,B\n", "12"), ("12,A\n12.mp4,B\n", "12")):
        (tmp_path / "groups.csv").write_text("video,group\n" + rows)
        with pytest.raises(SpecError, match=rf"'{video}' is in the group 'A', and '12\.\w+' in 'B'"):
            read_groups(tmp_path / "groups.csv")


@pytest.mark.parametrize("header", ["video;Participant", "Video;participant", "VIDEO;PARTICIPANT"])
def test_headers_of_a_table_of_groups_are_read_without_regard_to_case(tmp_path, header):
    table = tmp_path / "groups.csv"
    table.write_text(f"{header};Session\na;p1;1\nb;p2;2\n")
    assert read_groups(table) == {"a": "p1", "b": "p2"}
    assert read_groups(tmp_path / "groups.csv:SESSION") == {"a": "1", "b": "2"}


def test_groups_are_read_from_the_parquet_file_that_has_the_labels(tmp_path):
    table = tmp_path / "labels.parquet"
    columns = {"Video": ["a", "a", "b"], "start": [0.0, 1.5, 0.0], "participant": ["p1", "p1", None], "site": [1, 1, 2]}
    pl.DataFrame(columns).write_parquet(table)
    assert read_groups(tmp_path / "labels.parquet:site") == {"a": "1", "b": "2"}
    with pytest.raises(SpecError, match=r"line 4: found 'b,0.0,,2', expected a video and its participant"):
        read_groups(tmp_path / "labels.parquet:participant")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(SpecError, match=r"groups cannot be read as a table: .*cannot be read as a Parquet file"):
        read_groups(tmp_path / "broken.parquet")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("video,group,GROUP\na,x,y\n", "expected the columns 'video' and 'group'.*, each once"),
        ("", "is an empty file, expected a header and rows"),
        ("a,anna\n", "found the header 'a,anna'"),
        ("video,group\na\n", "line 2: found 1 columns, expected 2"),
        ("video,group\na,\n", "line 2"),
        ("video,group\n12,anna\n12,ben\n", "line 3: '12' is in the group 'anna' already"),
    ],
)
def test_a_table_of_groups_that_is_wrong_says_where(tmp_path, text, said):
    table = tmp_path / "groups.csv"
    table.write_text(text)
    with pytest.raises(SpecError, match=said):
        read_groups(table)


def test_groups_are_refused_where_there_are_no_folds(tmp_path):
    table = tmp_path / "groups.csv"
    with pytest.raises(SpecError, match="only --protocol honest has folds"):
        experiment("abaw6/table5/emotieffnet", groups=table, dry_run=True)
    with pytest.raises(SpecError, match="cannot be read as a table"):
        experiment("abaw6/table5/emotieffnet", groups=table, protocol="honest", dry_run=True)
    table.write_text("video,group\n1,anna\n")
    assert experiment("abaw6/table5/emotieffnet", groups=table, protocol="honest", dry_run=True) == 0


def test_a_table_that_is_not_there_and_a_single_fold_are_refused(tmp_path):
    with pytest.raises(SpecError, match="cannot be read as a table"):
        read_groups(tmp_path / "none.csv")
    with pytest.raises(SpecError, match="2 folds at least; 1 were"):
        Folds(1)


def test_splits_that_share_nothing_pass():
    check_leak({"train": [("a", "1"), ("b", "2")], "validation": [("c", "3")], "test": []})
    check_leak({"train": [("a", "1"), ("copy of a", "1"), ("a", "1")]})  # within one split nothing leaks


def test_one_video_in_two_splits_is_named():
    with pytest.raises(AnnotationError, match="'a' is in train and in validation"):
        check_leak({"train": [("a", "1")], "validation": [("a", "2")]})
    check_leak({"train": [("conv_left", "1")], "validation": [], "test": [("conv_right", "2")]})


def test_the_same_bytes_under_two_names_are_named():
    with pytest.raises(AnnotationError, match=r"'a' of train and 'z' of validation have the same bytes \(SHA-256 abc"):
        check_leak({"train": [("a", "abc"), ("b", "d")], "validation": [("z", "abc")]})


def test_of_many_leaks_five_are_named_and_the_others_counted():
    both = [(video, video) for video in VIDEOS]
    with pytest.raises(AnnotationError, match="and 18 more"):
        check_leak({"train": both, "validation": both})


def test_groups_without_the_protocol_that_has_folds_are_refused(tmp_path):
    (tmp_path / "groups.csv").write_text("video,group\na,anna\n")
    network, protocol = "emotieffnet_b0", {"groups": str(tmp_path / "groups.csv")}
    experiments = [{"name": "faces", "task": "expr", "inputs": [network]}]
    config = {"store": str(tmp_path / "store"), "extractors": [network], "weights": "untrained", **protocol}
    config |= {"engine": "torch", "precision": "float32"}  # others are measured first, for a minute
    for changes in ({}, {"folds": "groups"}):
        with pytest.raises(SpecError, match="only `protocol: honest` has folds"):
            request_of(checked({**config, **changes, "experiments": experiments}, tmp_path))
    shared = checked({**config, "experiments": experiments}, tmp_path).without_training()
    assert not request_of(shared).experiments


def test_labels_that_were_read_by_another_definition_of_their_space_are_left_out(tmp_path):
    then, now = (
        space_of("mood", {"kind": "classes", "names": names}) for names in (["calm", "tense"], ["tense", "calm"])
    )
    store = commit(FeatureStore.create(str(tmp_path / "store")), *map(source, "ab"))
    store = commit(store, labels_of(then, "a", [0] * 40), labels_of(now, "b", [1] * 40))
    found = {
        str(space.names): [one.address.video for one in examples.labels_of(store, space, ("train",))]
        for space in (then, now)
    }
    assert found == {str(then.names): ["a"], str(now.names): ["b"]}
