"""A table of many videos, of which some have labels that cannot be used."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from affstore import FeatureStore
from affstore.flows.cli import call
from affstore.flows.inputs import Inputs, VideoFile
from affstore.flows.limits import Share
from affstore.models.heads.splits import read_groups
from affstore.models.labels.base import FORMATS
from affstore.store.contract.labels import space_of
from affstore.store.contract.video_columns import read_video_columns
from affstore.tasks.ingest.annotations import store_labels, withdrawn_labels
from affstore.tasks.planning.incoming_files import arrival_rows, withdrawn_rows
from affstore.tasks.specs import WorkerContext
from tests.factories import commit, source
from tests.test_limits import NETWORK, film

EMOTIONS = space_of("emotions", {"kind": "classes", "names": ["calm", "joy"]})


def test_a_bad_video_of_a_table_stays_in_quarantine_alone_until_its_own_rows_are_good(tmp_path):
    url, table = str(tmp_path / "store"), tmp_path / "all.csv"
    commit(FeatureStore.create(url), *(source(name, 10) for name in ("one", "two", "three")))

    def take_in(text):
        table.write_text("video,start,end,label\n" + text)
        files = [replace(one, task=EMOTIONS) for one in FORMATS.get("timed_table").find(table)]
        for found in files:
            outcome = store_labels(WorkerContext(url, "run", Path("weights")), found.name, [found])
            if outcome.draft:
                FeatureStore(url).commit([outcome.draft], "labels")
        stored = FeatureStore(url)
        kept = {record.attributes["name"] for record in stored.records("quarantine")}
        return kept, arrival_rows(stored, [], files)

    assert take_in("one,0,0,joy\ntwo,0,0,joy\nthree,0,1,joy\n") == ({"all.csv:one", "all.csv:two"}, [])
    kept, due = take_in("one,0,1,joy\nthree,0,1,joy\n")
    assert (kept, due) == ({"all.csv:two"}, [])


def test_a_table_that_cannot_be_read_stops_no_other_file_and_leaves_quarantine_once_it_is_mended(tmp_path, capsys):
    store = commit(FeatureStore.create(str(tmp_path / "store")), source("talk", 20))
    folder = tmp_path / "mine"
    folder.mkdir()
    folder.joinpath("talk.csv").write_text("start,end,label\n0,0.8,Happiness\n")
    given = ["--labels", f"timed_table:expr={folder}", "-e", "silero_vad", "--weights", "untrained"]
    url, mine, held = store.url, folder / "all.csv", []
    commit(store, source("walk", 20))
    for row in (",0,1,Anger", "walk,0,1,Anger"):
        mine.write_text(f"video,start,end,label\n{row}\n")
        assert call(["add", "--store", url, *given]) == (0 if held else 3)
        held.append([record.attributes["name"] for record in FeatureStore(url).records("quarantine")])
    assert "line 2: found no video" in capsys.readouterr().out
    assert held == [["all.csv"], []]
    assert {one.video for one in FeatureStore(url).addresses("label")} == {"talk", "walk"}


def test_labels_whose_place_does_not_say_what_they_are_of_are_not_tried_again_as_a_video(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("affstore.flows.execution.has_pages", lambda *_: False)
    store = commit(FeatureStore.create(str(tmp_path / "store")), source("talk", 20))
    (tmp_path / "all.csv").write_text("video,start,end,label\n,0,1,Anger\n")
    assert call(["add", "--store", store.url, *NETWORK, "--labels", f"timed_table:expr={tmp_path / 'all.csv'}"]) == 3
    for asked in ("all.csv", "--all"):
        capsys.readouterr()
        assert call(["quarantine", "retry", asked, "--store", store.url]) == 2
        assert "--labels FORMAT:SPACE=FOLDER" in capsys.readouterr().err
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    assert call(["add", str(bad), "--store", store.url, *NETWORK]) == 3
    film(bad, 5)
    capsys.readouterr()
    assert call(["quarantine", "retry", "--all", "--store", store.url, *NETWORK]) == 3
    assert "not tried: " in capsys.readouterr().out
    assert {one.video for one in FeatureStore(store.url).addresses("source")} == {"talk", "bad"}
    bad.write_bytes(b"no video")
    assert call(["add", str(bad), "--store", store.url, *NETWORK, "--replace"]) == 3
    capsys.readouterr()
    assert call(["quarantine", "retry", "--all", "--store", store.url, *NETWORK]) == 3
    assert "\nnext      affstore" in capsys.readouterr().out
    film(bad, 6)
    assert call(["quarantine", "retry", "--all", "--store", store.url, *NETWORK, "--json"]) == 3
    document = json.loads(capsys.readouterr().out)
    assert (document["exit_code"], len(document["not_tried"])) == (3, 1)


def test_a_plan_says_why_a_table_cannot_be_read(tmp_path):
    store = commit(FeatureStore.create(str(tmp_path / "store")), source("talk", 10))
    (tmp_path / "all.csv").write_text("video,start,end,label\n,0,1,joy\n")
    (row,) = arrival_rows(store, [], FORMATS.get("timed_table").files_of(tmp_path / "all.csv", EMOTIONS))
    assert row.status == "quarantined"
    assert "line 2: found no video" in row.reason


def test_labels_of_a_video_that_is_called_as_its_file_are_of_that_video(tmp_path, capsys):
    store = commit(FeatureStore.create(str(tmp_path / "store")), *(source(name, 20) for name in ("a", "b", "b.mov")))
    (tmp_path / "all.csv").write_text("video,start,end,label\na.mp4,0,1,Anger\na_left.MP4,0,1,Fear\nb.mov,0,1,Anger\n")
    given = ["--labels", f"timed_table:expr={tmp_path / 'all.csv'}", "-e", "silero_vad", "--weights", "untrained"]
    for status in ("done", "cached"):
        assert call(["add", "--store", store.url, *given, "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert {one["status"] for one in document["outcomes"] if one["stage"] == "annotate"} == {status}
        assert {one["video"] for one in document["remarks"]} == {"a", "b.mov"}
    stored = {(one.video, one.subject) for one in FeatureStore(store.url).addresses("label")}
    assert stored == {("a", "main"), ("a", "left"), ("b.mov", "main")}
    files = FORMATS.get("timed_table").files_of(tmp_path / "all.csv", "expr")
    assert arrival_rows(FeatureStore(store.url), [], files) == []
    (tmp_path / "all.csv").write_text("video,start,end,label\na.mp4,0,1,Anger\na,1,2,Fear\n")
    assert call(["add", "--store", store.url, *given]) == 3
    twice = f"It has labels of 'expr' twice: 'a.mp4' of '{tmp_path / 'all.csv'}' and 'a' of '{tmp_path / 'all.csv'}'."
    assert twice in " ".join(capsys.readouterr().out.split())


def test_groups_and_columns_of_videos_may_call_them_as_their_files(tmp_path):
    table = tmp_path / "people.csv"
    table.write_text("video,person\na.mp4,p1\nb_left.avi,p2\n")
    assert read_groups(table) == {"a.mp4": "p1", "a": "p1", "b_left.avi": "p2", "b_left": "p2", "b": "p2"}
    assert read_video_columns(table, ["a", "b"]).of(["a"]) == ("p1",)
    assert read_video_columns(table, ["a", "b"]).of(["b"], "left") == ("p2",)


def test_labels_of_a_video_that_is_not_there_name_their_file_and_the_nearest_video(tmp_path):
    store = commit(FeatureStore.create(str(tmp_path / "store")), source("a", 10), source("interview", 10))
    (tmp_path / "all.csv").write_text("video,start,end,label\na_left.txt,0,1,joy\nintervew,0,1,joy\nother,0,1,joy\n")
    files = [replace(one, task=EMOTIONS) for one in FORMATS.get("timed_table").find(tmp_path / "all.csv")]
    said = [store_labels(WorkerContext(store.url, "run", tmp_path), one.name, [one]).reason for one in files]
    assert [reason.partition("on. ")[2] for reason in said] == [
        "Did you mean 'a_left'?",
        "Did you mean 'interview'?",
        "`affstore status` lists the videos.",
    ]
    assert all(str(tmp_path / "all.csv") in reason for reason in said)


def test_labels_whose_rows_were_withdrawn_are_removed_and_others_stay(tmp_path, capsys):
    store = commit(
        FeatureStore.create(str(tmp_path / "store")), *(source(name, 20) for name in ("talk", "walk", "wait"))
    )
    folder = tmp_path / "mine"
    folder.mkdir()
    folder.joinpath("all.csv").write_text("video,start,end,label\ntalk,0,1,Anger\nwalk,0,1,Anger\n")
    folder.joinpath("wait.csv").write_text("start,end,label\n0,1,Fear\n")
    given = ["--labels", f"timed_table:expr={folder}", "-e", "silero_vad", "--weights", "untrained"]

    def labelled(status):
        assert call(["add", "--store", store.url, *given]) == status
        return {one.video for one in FeatureStore(store.url).addresses("label")}

    assert labelled(0) == {"talk", "walk", "wait"}
    folder.joinpath("all.csv").write_text("video,start,end,label\nwalk,0,1,Anger\n")
    (row,) = withdrawn_rows(FeatureStore(store.url), FORMATS.get("timed_table").files_of(folder, "expr"))
    assert (row.address.video, row.status) == ("talk", "stale")
    assert labelled(0) == {"walk", "wait"}
    capsys.readouterr()
    folder.joinpath("all.csv").write_text("video,start,end,label\n,0,1,Anger\n")
    assert labelled(3) == {"walk", "wait"}, "a table that is refused as a whole costs nothing that is there"
    assert "Its 1 stored label of 'expr', of an earlier version of the file, stay." in " ".join(
        capsys.readouterr().out.split()
    )
    folder.joinpath("all.csv").write_text("video,start,end,label\ntalk,0,1,Anger\nwalk ,0,1,Anger\n")
    assert labelled(0) == {"talk", "walk", "wait"}
    assert labelled(0) == {"talk", "walk", "wait"}, "a blank in a name is no other video"
    folder.joinpath("all.csv").write_text("video,start,end,label,split\ntalk,0,1,Anger,test\nwalk,0,1,Anger,test\n")
    assert labelled(0) == {"wait"}, "labels of test videos are in no store"


def test_labels_by_another_link_to_the_same_file_are_not_withdrawn(tmp_path):
    store = commit(FeatureStore.create(str(tmp_path / "store")), source("a", 10), source("b", 10))
    (tmp_path / "calm").write_text("start,end,label\n0,1,calm\n")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.csv").symlink_to(tmp_path / "calm")
        files = FORMATS.get("timed_table").files_of(tmp_path / name, EMOTIONS)
        outcome = store_labels(WorkerContext(store.url, "run", tmp_path), name, files)
        FeatureStore(store.url).commit([outcome.draft], "labels")
    stored = FeatureStore(store.url)
    assert {one.video for one in stored.addresses("label")} == {"a", "b"}
    assert withdrawn_labels(stored, files) == {}


def test_the_rest_of_a_share_s_labels_is_not_withdrawn(tmp_path):
    rows = "".join(f"{name},0,1,joy\n" for name in ("one", "two"))
    (tmp_path / "all.csv").write_text(f"video,start,end,label\n{rows}")
    files = FORMATS.get("timed_table").files_of(tmp_path / "all.csv", EMOTIONS)
    videos = tuple(VideoFile(tmp_path / f"{name}.mp4", name) for name in ("one", "two"))
    share = Share(1, 2).of(Inputs(videos, tuple(files)))
    assert (len(share.annotations), share.is_part) == (1, True)


def test_the_stored_label_of_a_file_that_is_refused_now_stays_which_is_said_unless_it_is_of_another_file(tmp_path):
    store = commit(FeatureStore.create(str(tmp_path / "store")), source("talk", 10), source("walk", 10))
    for folder, text in (("a", "start,end,label\n0,1,joy\n"), ("b", "start,end,label\n0,0,joy\n")):
        (tmp_path / folder).mkdir()
        for name in ("talk", "walk"):
            (tmp_path / folder / f"{name}.csv").write_text(text)

    def take_in(path):
        (found,) = FORMATS.get("timed_table").files_of(path, EMOTIONS)
        outcome = store_labels(WorkerContext(store.url, "run", tmp_path), found.name, [found])
        FeatureStore(store.url).commit([outcome.draft], "labels")
        return outcome

    for name in ("talk", "walk"):
        take_in(tmp_path / "a" / f"{name}.csv")
    (tmp_path / "a" / "talk.csv").write_text("start,end,label\n0,0,joy\n")
    outcome = take_in(tmp_path / "a" / "talk.csv")
    assert outcome.status == "quarantined"
    assert "Its stored labels of 'emotions' are of an earlier version of the file, and stay." in outcome.reason
    assert "stay" not in take_in(tmp_path / "b" / "walk.csv").reason
    stored = FeatureStore(store.url)
    assert {one.video for one in stored.addresses("label")} == {"talk", "walk"}
    assert {one.attributes["name"] for one in stored.records("quarantine")} == {"talk.csv", "walk.csv"}
