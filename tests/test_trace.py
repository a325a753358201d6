"""From a row back to bytes: every step is named, and a published line finds the experiment that published it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from affstore import FeatureStore
from affstore.flows.cli import call
from affstore.flows.runs_folder import runs_folder
from affstore.models.challenge_file import every_frame, write_submission
from affstore.models.heads.mlp.spec import MlpSpec
from affstore.models.heads.pretrained import PretrainedSpec
from affstore.models.media.video import frames, probe
from affstore.store.contract.keys import digest_file
from affstore.store.contract.records import Address, Artifact, record_of
from affstore.store.engine.exporters.base import export
from affstore.tasks.ingest.sources import source_artifact
from affstore.tasks.lineage.graph import LineageGraph, learns_nothing
from affstore.tasks.lineage.head_files import import_head
from affstore.tasks.lineage.machine import Machine
from affstore.tasks.lineage.publication import write_note
from affstore.tasks.lineage.rows import _is_cell, find_row
from affstore.tasks.lineage.run_note import NAME, begun_by, noted
from affstore.tasks.lineage.trace import trace
from tests.factories import CODE, commit, source
from tests.lineage_store import (
    FACE_WEIGHTS,
    FRAMES,
    NAMES,
    NETWORK_WEIGHTS,
    head,
    label,
    prediction,
    visual,
    whole_chain,
)
from tests.test_media import write_video


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("annotations")


@pytest.fixture(scope="module")
def url(folder):
    """A store on disk that no test of this file changes."""
    url = str(folder / "store")
    whole_chain(url, folder)
    return url


@pytest.fixture
def store(url):
    return FeatureStore(url)


STEPS = (
    "says: Happiness", "head/expr-mlp", "2 × visual/toy of 2 videos", "face/mtcnn/b/main", "source/b", "video file",
    "trained on snapshot", "what an annotator says", "line 14: '4'", "code: affstore test",
)  # fmt: skip


def traced(store, text):
    return trace(*find_row(store, text)).as_document()


def challenge_file(store, path, name="expr-mlp"):
    """A challenge file of every frame, as `publish` writes it."""
    videos = {r.address.video: r for r in store.records("prediction") if r.address.producer == name}
    listed = every_frame("expr", dict.fromkeys(videos, FRAMES))
    found = {video: store.read(record.address)["prediction"] for video, record in videos.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_submission(path, listed, found)
    return path


def test_every_artifact_traces_to_bytes_with_no_gap(store):
    records = store.records()
    graph = LineageGraph(records)
    assert {record.address.family for record in records} >= {"source", "face", "visual", "label", "head", "prediction"}
    for record in records:
        document = traced(store, record.address.path)
        assert graph.gaps(record) == document["gaps"] == []
        nodes = {node["name"]: node for node in document["nodes"]}
        assert all(parent in nodes for node in nodes.values() for parent in node["parents"])
        if record.address.family not in ("source", "label"):
            assert f"weights:{FACE_WEIGHTS}" in nodes


def test_a_prediction_names_head_training_data_weights_frame_video_and_annotation_line(store, folder):
    document = traced(store, "expr-mlp/b/12")
    assert document["artifact"] == "prediction/expr-mlp/b/main"
    assert document["frame"] == {
        "number": 12, "image": "00013.jpg", "pts": 480, "time_base": "1/1000", "starts_s": 0.48, "ends_s": 0.52
    }  # fmt: skip
    nodes = {node["name"].split(" #")[0]: node for node in document["nodes"]}
    own = nodes["prediction/expr-mlp/b/main"]
    assert own["at_frame"]["says"] == NAMES[12 % 8]
    assert (own["run_id"], own["code"], own["made"]["device"]) == ("r2", {"affstore": "test"}, "cpu")
    fitted = nodes["head/expr-mlp"]
    assert fitted["committed"]["from_snapshot"] == [info.id for info in store.history()][2]
    assert nodes["label/expr (2)"]["splits"] == {"train": 1, "validation": 1}
    assert [member["bytes_sha256"] for member in nodes["label/expr (2)"]["members"]] == [
        digest_file(folder / "a.txt"),
        digest_file(folder / "b.txt"),
    ]
    assert nodes[f"weights:{NETWORK_WEIGHTS}"]["weights"] == "toy_weights"
    assert nodes["face/mtcnn/b/main"]["at_frame"]["score"] == 0.75
    assert document["label"] == "label/expr/b/main"
    annotation = nodes[f"annotation:{digest_file(folder / 'b.txt')}"]
    assert (annotation["line"], annotation["text"], annotation["at_hand"]) == (14, str(12 % 8), True)
    assert nodes[f"video:{store.get(Address('source', video='b')).attributes['sha256']}"]["at_hand"] is False


def test_a_trace_shows_when_and_on_which_machine_each_run_was(url, store, capsys):
    assert traced(store, "expr-mlp/b/12")["runs"] == {"r1": None, "r2": None}
    machine = Machine("Example 3000", 4, "", "Linux x86_64")
    folder = runs_folder(url) / "r2"
    with begun_by(["add", "b.mp4"]), noted(folder, "r2", machine):
        pass
    note = folder / NAME
    assert call(["trace", "expr-mlp/b/12", "--store", url, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["runs"]
    assert told["r1"] is None
    assert (told["r2"]["command"], told["r2"]["other_workers"]) == ("affstore add b.mp4", False)
    assert told["r2"]["machine"] == {"processor": "Example 3000", "cores": 4, "gpu": "", "platform": "Linux x86_64"}
    assert call(["trace", "expr-mlp/b/12", "--store", url]) == 0
    said = capsys.readouterr().out
    assert "run r1: no note beside the store says on which machine\n" in said
    assert f"run r2: begun {told['r2']['began']}, took 0.0 s, on Example 3000, 4 cores, no GPU used, Linux" in said
    for damaged in ("[]", "{", json.dumps({"machine": "text"})):
        note.write_text(damaged, encoding="utf-8")
        assert call(["trace", "expr-mlp/b/12", "--store", url]) == 0, "what cannot be read is not known"
        assert "run r1, r2: no note" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text",
    ["expr-mlp/a/main/3", "expr-mlp/a/3", "expr-mlp/copy/3", "prediction/expr-mlp/a/main/3"],
)
def test_a_frame_is_named_by_experiment_and_video_with_or_without_subject_or_by_an_alias(store, text):
    document = traced(store, text)
    assert (document["artifact"], document["frame"]["number"]) == ("prediction/expr-mlp/a/main", 3)


def test_a_published_line_is_traced_in_the_snapshot_that_it_was_published_from(tmp_path):
    store = whole_chain(str(tmp_path / "store"), tmp_path)
    path = challenge_file(store, tmp_path / "out" / "v1" / "final.txt")
    store.tag("v1")
    write_note(path.parent, [(path, "expr-mlp")], store.snapshot, "v1")
    later = commit(store, head(store, seed=1))
    later = commit(later, prediction(later, "a", shift=1), prediction(later, "b", shift=1))
    document = traced(later, f"{path}:14")
    assert document["published"]["tag"] == "v1"
    assert (document["published"]["noted"], document["published"]["unaltered"]) == (True, True)
    assert (document["artifact"], document["frame"]["number"]) == ("prediction/expr-mlp/a/main", 12)
    assert document["snapshot"] == store.snapshot != later.snapshot
    assert document["published"]["agrees"] is True


def test_a_line_that_somebody_changed_is_found_out(tmp_path, store):
    path = challenge_file(store, tmp_path / "expr-mlp.txt")
    write_note(tmp_path, [(path, "expr-mlp")], store.snapshot)
    lines = path.read_text().splitlines()
    lines[5] = "a/00005.jpg,0"
    path.write_text("\n".join(lines))
    published = traced(store, f"{path}:6")["published"]
    assert (published["unaltered"], published["agrees"]) == (False, False)
    assert traced(store, f"{path}:7")["published"]["agrees"] is True
    for value in ("banana", "", "nan"):
        lines[5] = f"a/00005.jpg,{value}"
        path.write_text("\n".join(lines))
        assert traced(store, f"{path}:6")["published"]["agrees"] is False


def test_without_a_note_a_file_is_matched_by_name_and_content_and_the_trace_says_so(tmp_path, folder, capsys):
    url = str(tmp_path / "store")
    store = whole_chain(url, tmp_path)
    store = commit(store, head(store, "other", seed=2))
    store = commit(store, prediction(store, "a", "other", shift=3), prediction(store, "b", "other", shift=3))
    path = challenge_file(store, tmp_path / "submission.txt", "other")
    document = traced(store, f"{path}:10")
    assert document["artifact"] == "prediction/other/a/main"
    assert document["published"]["noted"] is False
    assert call(["trace", f"{path}:10", "--store", url]) == 0
    assert "found by its name and content" in capsys.readouterr().out
    store = commit(store, prediction(store, "a", "other", shift=4))
    assert call(["trace", f"{path}:10", "--store", url]) == 4
    assert "says what its line 10 does" in capsys.readouterr().err


def test_a_row_of_an_exported_table_is_found_by_where_the_table_is(tmp_path, store):
    export(store, store.records("visual"), tmp_path / "tables", "parquet")
    path = tmp_path / "tables" / "visual" / "toy.parquet"
    document = traced(store, f"{path}:{FRAMES + 5}")
    assert (document["artifact"], document["frame"]["number"]) == ("visual/toy/b/main", 4)
    assert (document["published"]["agrees"], document["published"]["tag"]) == (None, "")


@pytest.mark.parametrize(("form", "header"), [("parquet", 0), ("csv", 1)])
def test_a_row_of_exported_predictions_is_compared_and_found_in_the_state_that_says_the_same(
    tmp_path, capsys, form, header
):
    first = whole_chain(str(tmp_path / "store"), tmp_path)
    first.tag("v1")
    export(first, first.records("prediction"), tmp_path / "tables", form)
    row = f"{tmp_path / 'tables' / 'prediction' / 'expr-mlp'}.{form}:{FRAMES + 5 + header}"
    store = commit(first, prediction(first, "a", shift=1), prediction(first, "b", shift=1))
    document = traced(store, row)
    assert (document["artifact"], document["frame"]["number"]) == ("prediction/expr-mlp/b/main", 4)
    assert (document["snapshot"], document["published"]["tag"]) == (first.snapshot, "v1")
    assert document["published"]["agrees"] is True
    at = FeatureStore(store.url, store.snapshot)
    published = traced(at, row)["published"]
    assert (published["agrees"], published["tag"]) == (False, "")
    assert call(["trace", row, "--store", store.url, "--at", store.snapshot]) == 0
    said = capsys.readouterr().out
    assert "by its place only\n" in said
    assert "Happiness" in said.split("the line says", 1)[1].splitlines()[0]
    assert call(["trace", row, "--store", store.url]) == 0
    assert "published from tag v1" in capsys.readouterr().out
    draft = store.newest().draft({}, "run")
    for address in store.addresses("prediction"):
        draft.remove(address)
    store.newest().commit([draft], "removed")
    assert traced(store.newest(), row)["published"]["tag"] == "v1", "only the tag has it still"


def test_a_number_is_the_one_that_a_table_writes_as_the_shortest_text_of_float32():
    assert _is_cell("12345.678", float(np.float32(12345.678)))
    assert not _is_cell("12345.679", float(np.float32(12345.678)))


def test_a_line_past_the_last_frame_is_the_last_frames_and_says_so(tmp_path, store):
    path = tmp_path / "expr-mlp.txt"
    path.write_text(f"image_location,{','.join(NAMES)}\na/{FRAMES + 1:05d}.jpg,7\n")
    document = traced(store, f"{path}:2")
    assert document["frame"]["number"] == FRAMES - 1
    assert "past the video's 40 frames" in document["published"]["remark"]


def test_what_was_replaced_since_is_named(tmp_path):
    store = whole_chain("memory:replaced", tmp_path)
    store = commit(store, visual(store, "a", seed=9))
    document = traced(store, "prediction/expr-mlp/a/main")
    assert any("'visual/toy/a/main'" in gap and "has been replaced since" in gap for gap in document["gaps"])
    draft = store.draft({}, "r")
    draft.remove(Address("label", "expr", "b", "main"))
    store.commit([draft], "test")
    document = traced(store.newest(), "prediction/expr-mlp/b/main")
    assert any("'label/expr/b/main'" in gap and "not in the store any more" in gap for gap in document["gaps"])


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ("prediction/expr-mlp/a/mian", "Did you mean 'prediction/expr-mlp/a/main'"),
        ("expr-mpl/a/3", "Did you mean 'expr-mlp'"),
        ("expr-mlp/nobody/3", "no video 'nobody'"),
        ("expr-mlp/a/left/3", "it has: main"),
        ("expr-mlp/a/40", "has the frames 0 to 39"),
        ("head/expr-mlp/2", "has no frames"),
        ("gone.txt:3", "There is no file 'gone.txt'"),
        ("{folder}/a.txt:9", "names no frame"),
        ("{folder}/a.txt:9999", "has no line 9999"),
        ("{folder}/a.txt:0", "has no line 0"),
        ("expr-mlp", "names no frame of the experiment 'expr-mlp'. Name one as expr-mlp/VIDEO/FRAME"),
        ("expr-mlp/a", "names no frame of the experiment 'expr-mlp'"),
        (f"expr-mlp/a/{'9' * 26}", "has the frames 0 to 39"),
        ("{folder}/a.txt", "names no line of '{folder}/a.txt'. Name one by its number"),
        ("{folder}/a.txt:-1", "names no line of '{folder}/a.txt'. Name one by its number"),
        ("nonsense", "Give an artifact's path"),
        ("", "Give an artifact's path"),
    ],
)
def test_what_names_no_row_is_one_sentence(url, folder, capsys, row, found):
    assert call(["trace", row.format(folder=folder), "--store", url]) in (2, 4)
    said = capsys.readouterr().err
    assert found.format(folder=folder) in said
    assert "Traceback" not in said
    assert said.count("\n") == 1


def test_a_note_of_another_store_and_a_damaged_one_are_one_sentence_each(tmp_path, url, store, capsys):
    path = challenge_file(store, tmp_path / "expr-mlp.txt")
    write_note(tmp_path, [(path, "expr-mlp")], "0123456789ABCDEFGHJK")
    assert call(["trace", f"{path}:3", "--store", url]) == 4
    assert "published from another store, or the snapshot has expired" in capsys.readouterr().err
    for damaged in ("[1]", '{"expr-mlp.txt": {"producer": "expr-mlp"}}', "{"):
        (tmp_path / "publication.json").write_text(damaged)
        assert call(["trace", f"{path}:3", "--store", url]) == 2
        error = capsys.readouterr().err
        assert "is no note of a publication, which has the texts producer, snapshot, tag, sha256" in error
        assert "__init__" not in error


def test_the_tree_and_the_diagram_name_every_step(url, capsys):
    assert call(["trace", "expr-mlp/b/12", "--store", url]) == 0
    tree = capsys.readouterr().out
    assert all(step in tree for step in STEPS)
    assert call(["trace", "expr-mlp/b/12", "--store", url, "--mermaid"]) == 0
    diagram = capsys.readouterr().out
    assert diagram.startswith("flowchart TD\n")
    nodes = traced(FeatureStore(url), "expr-mlp/b/12")["nodes"]
    assert diagram.count("-->") == sum(len(node["parents"]) for node in nodes)


def test_the_picture_of_a_frame_is_decoded_again_from_the_same_bytes_only(tmp_path, capsys):
    video = tmp_path / "clip.mp4"
    pictures = np.random.default_rng(0).integers(0, 255, (FRAMES, 48, 64, 3), dtype=np.uint8)
    write_video(str(video), pictures)
    facts = probe(video)
    store = FeatureStore.create(str(tmp_path / "store"))
    commit(store, source_artifact("clip", video, digest_file(video), facts))
    to = tmp_path / "frame.png"
    arguments = ["trace", "source/clip/7", "--store", store.url, "--picture", str(to)]
    assert call(arguments) == 0
    np.testing.assert_array_equal(np.asarray(Image.open(to)), list(frames(video, facts))[7])
    video.write_bytes(video.read_bytes() + b"x")
    assert call(arguments) == 3
    assert "are not those that were added" in capsys.readouterr().err
    video.unlink()
    assert call(arguments) == 3
    assert "is not there any more" in capsys.readouterr().err
    assert call(["trace", "source/clip", "--store", store.url, "--picture", str(to)]) == 2


def test_what_a_rollback_a_copy_or_an_import_brought_is_not_said_to_be_trained_on_the_state_before(tmp_path, capsys):
    url, copy = str(tmp_path / "store"), str(tmp_path / "copy")
    whole_chain(url, tmp_path).tag("v1")
    start = FeatureStore(url).history()[-2].id
    assert call(["rollback", start, "--store", url]) == call(["rollback", "v1", "--store", url]) == 0
    assert call(["copy", url, copy]) == 0
    assert import_head(FeatureStore(url), head(FeatureStore(url), "theirs"), False, {})
    for name, place, how in (
        ("expr-mlp", url, "a rollback"),
        ("theirs", url, "an import"),
        ("expr-mlp", copy, "a copy of another store"),
    ):
        capsys.readouterr()
        assert call(["trace", f"head/{name}", "--store", place]) == 0
        said = capsys.readouterr().out
        assert f"by {how}, which does not say which snapshot it was trained on" in said
        assert "trained on snapshot" not in said
        assert call(["trace", f"head/{name}", "--store", place, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["nodes"][0]["committed"]["from_snapshot"] is None


def test_a_head_that_gives_its_network_s_outputs_is_not_said_to_be_fitted(tmp_path, capsys):
    store = whole_chain(str(tmp_path / "store"), tmp_path)
    fitted = head(store)
    store = commit(store, replace(fitted, recipe={**fitted.recipe, "fit": {"head": {"kind": "pretrained"}}}))
    store = commit(store, prediction(store, "a"))
    assert call(["trace", "head/expr-mlp", "--store", store.url]) == 0
    said = capsys.readouterr().out
    assert "nothing was fitted" in said
    assert "computed from snapshot" in said
    assert "fitted and chosen on" not in said
    assert "trained on" not in said
    assert call(["lineage", "methods", "expr-mlp", "--store", store.url]) == 0
    said = capsys.readouterr().out
    assert "takes the outputs of its network as they are: nothing was fitted; macro F1" in said
    assert "was fitted on" not in said


def test_json_is_one_document(url, capsys):
    assert call(["trace", "head/expr-mlp", "--store", url, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["frame"] is None
    assert document["nodes"][0]["scores"]["headline"] == "macro F1"
    assert call(["trace", "head/expr-mlp", "--store", url, "--json", "--mermaid"]) == 2
    assert "Leave one of them out" in capsys.readouterr().err


def test_a_video_and_a_label_that_were_never_together_in_a_head_stand_alone(tmp_path):
    store = commit(FeatureStore.create("memory:alone"), source("z"))
    store = commit(store, label(store, "z", "train", tmp_path / "z.txt"))
    assert [node["kind"] for node in traced(store, "label/expr/z/main")["nodes"]] == [
        "artifact", "artifact", "video", "annotation"
    ]  # fmt: skip


@pytest.mark.parametrize(("kind", "nothing"), [(PretrainedSpec.KIND, True), (MlpSpec.KIND, False)])
def test_a_head_that_learns_nothing_is_known_by_its_recipe(kind, nothing):
    """The kind is written out where it is looked for, as its module takes long to import."""
    made = Artifact(Address("head", "own"), {"fit": {"head": {"kind": kind}}}, {}, {})
    assert learns_nothing(record_of(made, "0" * 64, CODE, "run", "2026-11-28T12:00:00+00:00")) == nothing
