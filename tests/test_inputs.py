"""What is found in folders, what is left alone, and what is said of files that are no videos."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from affstore.flows import inputs
from affstore.flows.cli import call
from affstore.flows.inputs import LabelFolder, gather
from affstore.store.contract.errors import SpecError

LABELS = Path("EXPR_Recognition_Challenge") / "Train_Set"


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\0\1")


def left_alone(found):
    return {Path(file).name: kind.why for kind in found.left_alone for file in kind.files}


def names(inputs):
    return [video.name for video in inputs.videos]


def test_linked_folders_are_taken_once_and_a_link_back_or_to_nowhere_is_named(tmp_path):
    root, real = tmp_path / "videos", tmp_path / "elsewhere"
    touch(root / "a.mp4", real / "inside.mp4", real / LABELS / "inside.txt")
    (root / "session2").symlink_to("../elsewhere")
    (root / "session3").symlink_to("session2")
    (root / "up").symlink_to("..")
    (root / "annexed.mp4").symlink_to(".git/annex/objects/x.mp4")
    (root / "itself.mp4").symlink_to("itself.mp4")
    found = gather([str(root)])
    assert names(found) == ["a", "inside"]
    assert [label.name for label in found.annotations] == ["inside"]
    assert set(left_alone(found)) == {"session3", "up", "annexed.mp4", "itself.mp4"}
    assert "No such file" in left_alone(found)["annexed.mp4"]


def test_folders_of_labels_are_searched_as_those_of_videos_and_what_is_left_alone_there_is_said_once(tmp_path):
    root, real = tmp_path / "labels", tmp_path / "elsewhere"
    touch(
        root / "a.csv", real / "linked.csv", root / ".trash" / "old.csv", root / "__MACOSX" / "b.csv", root / ".a.csv"
    )
    (root / "more").symlink_to("../elsewhere")
    (root / "annexed.csv").symlink_to(".git/annex/objects/x")
    folders = [LabelFolder(str(root), "timed_table", task) for task in ("expr", "va")]
    found = gather([], labels=folders)
    assert sorted({label.name for label in found.annotations}) == ["a", "linked"]
    assert set(left_alone(found)) == {".trash", "__MACOSX", ".a.csv", "annexed.csv"}
    assert sum(kind.count for kind in found.left_alone) == 4
    touch(root / "a.mp4")
    found = gather([str(root)], labels=folders)
    assert [file for kind in found.left_alone for file in kind.files if "annexed" in file] == [
        str(root / "annexed.csv")
    ]
    (root / "a.mp4").unlink()
    assert len(gather([str(root)], labels=folders).annotations) == 4, "labels that are given are no empty folder"


def test_twice_as_many_label_files_that_are_named_take_twice_the_work(tmp_path, monkeypatch):
    touch(*(tmp_path / LABELS / f"{number}.txt" for number in range(40)))
    looked_at = []
    monkeypatch.setattr(inputs, "check_labelled_once", lambda found: looked_at.extend(found))
    assert len(gather([str(tmp_path / LABELS / "*.txt")]).annotations) == len(looked_at) == 40


def test_what_a_folder_holds_besides_videos_is_counted_and_named_with_the_reason(tmp_path):
    others = [f"clip{suffix}" for suffix in (".vob", ".asf", ".mxf", ".dv", ".m2v", ".qt", ".f4v", ".wav", ".csv", "")]
    touch(tmp_path / "a.mp4", *(tmp_path / name for name in others))
    touch(tmp_path / "._a.mp4", tmp_path / "__MACOSX" / "._a.mp4", tmp_path / ".git" / "b.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    found = gather([str(tmp_path)])
    assert names(found) == ["a"]
    assert set(left_alone(found)) == {*others, "._a.mp4", "__MACOSX", ".git", "pipe.mp4"}
    assert sum(kind.count for kind in found.left_alone) == len(others) + 4
    assert "name them to take them in" in left_alone(found)["clip.mxf"]


def test_a_folder_of_a_million_pictures_is_counted_and_its_first_files_named(tmp_path):
    touch(tmp_path / "a.mp4", *(tmp_path / "crops" / f"{i:05d}.jpg" for i in range(300)))
    (kind,) = gather([str(tmp_path)]).left_alone
    assert (kind.suffix, kind.count, len(kind.files)) == (".jpg", 300, 100)
    assert "00000.jpg" in str(kind)
    assert "297 more" in str(kind)


@pytest.mark.parametrize("given", [["."], ["s1", "s2"], ["s1/00001.mp4", "s2/00001.mp4"]])
def test_videos_of_one_name_in_several_folders_can_all_be_kept(tmp_path, monkeypatch, given):
    touch(tmp_path / "s1" / "00001.mp4", tmp_path / "s2" / "00001.mp4")
    monkeypatch.chdir(tmp_path)
    assert names(gather(given)) == ["00001", "00001"]
    assert names(gather(given, naming="folder")) == ["s1_00001", "s2_00001"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("ratings.csv", b"a,b\n1,2\n", "is a table, not a video. As labels, Aff-Wild2's own files are read"),
        ("talk.TextGrid", b'File type = "ooTextFile"', "an annotation by Praat"),
        ("talk.eaf", b"<ANNOTATION_DOCUMENT>", "an annotation by ELAN"),
        ("run.yaml", b"sources: []", "`affstore run FILE`"),
        ("face.jpg", b"\xff\xd8", "--crops KIND=FOLDER"),
        ("net.pt", b"PK", "`affstore weights import"),
        ("notes", b"to do: all of it\n", "is text, not a video"),
    ],
)
def test_a_file_that_is_no_video_is_called_what_it_is_and_not_quarantined(name, content, said, tmp_path):
    (tmp_path / name).write_bytes(content)
    found = gather([str(tmp_path / name)])
    assert not found.videos
    (refusal,) = found.refused
    assert said in refusal.reason
    assert name in refusal.reason


def test_pipes_and_broken_links_are_refused_at_once(tmp_path, capsys):
    os.mkfifo(tmp_path / "p.mp4")
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    (tmp_path / "gone.mp4").symlink_to("nowhere.mp4")
    found = gather([str(tmp_path / name) for name in ("p.mp4", "loop.mp4", "gone.mp4")])
    assert not found.videos
    assert ["pipe" in found.refused[0].reason, *("link to" in one.reason for one in found.refused[1:])] == [True] * 3
    assert call(["add", str(tmp_path / "p.mp4"), "--store", str(tmp_path / "store"), "--weights", "untrained"]) == 3
    assert "is a pipe" in capsys.readouterr().err
    assert not (tmp_path / "store").exists()


def test_an_annotation_file_that_is_named_is_one_and_an_annotation_of_two_editions_is_refused(tmp_path):
    touch(tmp_path / LABELS / "jose\u0301_left.txt", tmp_path / "a.mp4")
    (label,) = gather([str(tmp_path / LABELS / "jose\u0301_left.txt")]).annotations
    assert (label.name, label.video, label.subject) == ("jos\u00e9_left", "jos\u00e9", "left")
    touch(tmp_path / "again" / LABELS / "jos\u00e9_left.txt")
    with pytest.raises(SpecError, match="annotated twice"):
        gather([str(tmp_path)])


def test_a_file_whose_name_is_no_text_is_found_and_its_name_is_written_out(tmp_path):
    folder = os.fsencode(tmp_path)
    os.mkdir(folder + b"/\xfcber")
    for path in (b"/caf\xe9.mp4", b"/\xfcber/good.mp4"):
        with open(folder + path, "wb") as file:
            file.write(b"\0")
    touch(tmp_path / "a.mp4")
    files, unread = gather([str(tmp_path)]).digests()
    assert not unread
    assert [(file.name, file.verdict) for file in files][:2] == [("a", "new"), ("caf\\xe9", "unfit")]
    assert files[2].verdict == "unfit"
    assert "no UTF-8" in files[1].reason
    assert "folder" in files[2].reason
    pickle.loads(pickle.dumps(files))
    assert all(file.file.encode() for file in files), "it can be sent and stored"
