"""What stands on something, and the store's history as a diary."""

from __future__ import annotations

import json

import pytest

from affstore import FeatureStore
from affstore.flows.cli import call
from affstore.store.contract.keys import digest_file, key_of
from affstore.store.contract.records import Address
from affstore.store.engine.history import changes_by, commit_of, commits
from affstore.tasks.ingest.sources import quarantine_artifact
from affstore.tasks.lineage.graph import LineageGraph
from affstore.tasks.lineage.impact import impact
from affstore.tasks.recipes import crop_stage
from tests.factories import commit, source
from tests.lineage_store import FACE_WEIGHTS, NETWORK_WEIGHTS, head, prediction, visual, whole_chain


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("annotations")


@pytest.fixture(scope="module")
def url(folder):
    """A store on disk that no test of this file changes."""
    url = str(folder / "store")
    whole_chain(url, folder).tag("v1")
    return url


@pytest.fixture
def store(url):
    return FeatureStore(url)


def families(found):
    return found.as_document()["families"]


WHOLE = {"face": 2, "head": 1, "label": 2, "prediction": 2, "source": 2, "visual": 2}


@pytest.mark.parametrize(
    ("what", "kind", "expected"),
    [
        ("toy_weights", "weights", {"visual": 2, "head": 1, "prediction": 2}),
        (NETWORK_WEIGHTS, "weights", {"visual": 2, "head": 1, "prediction": 2}),
        (NETWORK_WEIGHTS[:8].upper(), "weights", {"visual": 2, "head": 1, "prediction": 2}),
        (FACE_WEIGHTS[:12], "weights", {"face": 2, "visual": 2, "head": 1, "prediction": 2}),
        ("mtcnn", "producer", {"face": 2, "visual": 2, "head": 1, "prediction": 2}),
        ("expr-mlp", "producer", {"head": 1, "prediction": 2}),
        ("b", "video", {"source": 1, "face": 1, "visual": 1, "label": 1, "head": 1, "prediction": 2}),
        ("copy", "video", {"source": 1, "face": 1, "visual": 1, "label": 1, "head": 1, "prediction": 2}),
        ("/videos/b.mp4", "video", {"source": 1, "face": 1, "visual": 1, "label": 1, "head": 1, "prediction": 2}),
        ("{folder}/b.txt", "annotation", {"label": 1, "head": 1, "prediction": 2}),
        ("b.txt", "annotation", {"label": 1, "head": 1, "prediction": 2}),
        ("affstore==test", "package", WHOLE),
        ("r2", "run", {"head": 1, "prediction": 2}),
        ("visual/toy/a/main", "artifact", {"visual": 1, "head": 1, "prediction": 2}),
        ("v1", "snapshot", {"prediction": 2}),
    ],
)
def test_what_stands_on_something_is_counted_by_family(store, folder, what, kind, expected):
    found = impact(store, what.format(folder=folder))
    assert (found.kind, families(found)) == (kind, dict(sorted(expected.items())))
    (published,) = found.publications
    assert (published.tag, published.artifacts) == ("v1", sum(expected.values()))
    assert published.experiments == ("expr-mlp",)


def test_impact_is_the_inverse_of_the_way_back(store):
    graph = LineageGraph(store.records())
    for record in store.records():
        below = {found.address.path for found in impact(store, record.address.path).artifacts} - {record.address.path}
        assert below == {
            path for path, other in graph.records.items() if record.address.path in graph.upstream([other])
        }


def test_the_file_itself_is_known_by_its_bytes_wherever_it_lies(store, folder, tmp_path):
    moved = tmp_path / "renamed.txt"
    moved.write_bytes((folder / "b.txt").read_bytes())
    # Both annotations of this store hold the same bytes, so that both stand on the file.
    assert digest_file(folder / "a.txt") == digest_file(moved)
    assert families(impact(store, str(moved)))["label"] == 2


def test_a_publication_that_stood_on_it_counts_although_the_store_has_gone_on(tmp_path):
    store = whole_chain("memory:published", tmp_path)
    store.tag("v1")
    draft = store.draft({}, "r3")
    for address in store.addresses("prediction", "head"):
        draft.remove(address)
    store.commit([draft], "test")
    found = impact(store.newest(), "toy_weights")
    assert families(found) == {"visual": 2}
    assert [(one.tag, one.artifacts, one.experiments) for one in found.publications] == [("v1", 5, ("expr-mlp",))]


def test_what_a_commit_wrote_counts_while_it_is_there(tmp_path):
    store = whole_chain("memory:commits", tmp_path)
    fitted = commit_of(store, store.get(Address("head", "expr-mlp"))).snapshot
    assert families(impact(store, fitted)) == {"head": 1, "prediction": 2}
    store = commit(store, head(store, seed=5))
    with pytest.raises(Exception, match="nothing stands on it any more"):
        impact(store, fitted)


@pytest.mark.parametrize(
    ("what", "found"),
    [
        ("affstore", "name a version, as affstore==test"),
        ("affstore==9", "it knows affstore==test"),
        ("toy_weihgts", "Did you mean 'toy_weights'"),
        ("deadbeefdead", "Name weights, a video"),
        ("", "Name weights, a video"),
    ],
)
def test_what_nothing_stands_on_is_one_sentence(url, capsys, what, found):
    assert call(["impact", what, "--store", url]) == 4
    said = capsys.readouterr().err
    assert found in said
    assert said.count("\n") == 1


def test_a_name_of_several_things_is_refused_and_each_has_a_name_of_its_own(tmp_path, capsys):
    store = commit(whole_chain(str(tmp_path / "store"), tmp_path), source("toy", aliases=["v1"]))
    store.state(store.history()[1].id).tag("v1")
    for what, names in (("toy", ("visual/toy", "source/toy")), ("v1", (store.history()[1].id, "source/toy"))):
        assert call(["impact", what, "--store", store.url]) == 2
        said = capsys.readouterr().err
        assert f"'{what}' stands for 2 things" in said
        for name in names:
            assert name in said
            assert call(["impact", name, "--store", store.url]) == 0
            capsys.readouterr()
    assert families(impact(store, "visual/toy")) == {"visual": 2, "head": 1, "prediction": 2}
    assert families(impact(store, "source/toy")) == {"source": 1}


def test_what_was_refused_is_called_what_it_is(tmp_path):
    store = FeatureStore.create("memory:refused")
    for stage, kind in (("annotate", "annotation"), (crop_stage("cropped"), "crops"), ("ingest", "video")):
        store = commit(store, quarantine_artifact(stage, "n", tmp_path / stage, key_of(stage), "It is no good."))
        assert impact(store, str(tmp_path / stage)).kind == kind


def test_the_command_prints_families_and_publications(url, capsys):
    assert call(["impact", "toy_weights", "--store", url]) == 0
    said = capsys.readouterr().out
    assert "5 artifacts stand on the weights 'toy_weights', 2 of them directly" in said
    assert "tag v1" in said
    assert call(["impact", "toy_weights", "--store", url, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["artifacts"]) == 5


# The diary


def test_the_log_counts_what_each_commit_changed_and_names_videos_only_when_asked(tmp_path, capsys):
    url = str(tmp_path / "store")
    store = whole_chain(url, tmp_path)
    store.tag("v1")
    store = commit(store, visual(store, "a", seed=4), message="extract: 1")
    store = commit(store, source("secret"), message="ingest: 1")
    draft = store.draft({}, "r9")
    draft.remove(Address("prediction", "expr-mlp", "b", "main"))
    store.commit([draft], "test")
    assert call(["log", "--store", url, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["artifacts"] for one in told[:4]] == [
        {"removed": {"prediction": 1}},
        {"added": {"source": 1}},
        {"replaced": {"visual": 1}},
        {"added": {"prediction": 2}},
    ]
    assert [one["stage"] for one in told[1:5]] == ["ingest", "extract", "predict", "train"]
    assert told[3]["tags"] == ["v1"]
    assert (told[4]["run_id"], told[0]["run_id"]) == ("r2", "")  # the newest was made by no run
    assert "videos" not in told[0]
    assert call(["log", "--store", url, "-n", "2"]) == 0
    said = capsys.readouterr().out
    assert said.count("\n") == 3
    assert "secret" not in said
    assert call(["log", "--store", url, "-n", "2", "--videos"]) == 0
    assert "secret" in capsys.readouterr().out
    assert call(["log", "--store", url, "-n", "0", "--at", "v1", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 8
    assert call(["log", "--store", url, "-n", "-1"]) == 2


def test_every_kind_of_commit_is_a_line_of_a_diary(tmp_path, capsys):
    url = str(tmp_path / "store")
    whole_chain(url, tmp_path).tag("kept")
    store = commit(FeatureStore(url), source("person"), message="ingest: 1")
    store.tag("with-them")
    refused = quarantine_artifact("ingest", "x", tmp_path / "x.mp4", "0" * 64, "It cannot be read.")
    commit(store, refused, message="ingest: 1")
    assert call(["quarantine", "drop", "--all", "--store", url]) == 0
    assert call(["rollback", "kept", "--store", url]) == 0
    commit(FeatureStore(url), source("person"), message="ingest: 1")
    told = diary(url, capsys)
    assert told == [
        "added 1 video",
        "went back to an earlier state; removed 1 video",
        "removed 1 entry in quarantine",
        "added 1 entry in quarantine",
        "added 1 video",
        "added 2 predictions",
        "added 1 head",
        "added 2 visual embeddings",
        "added 2 face tracks",
        "added 2 label tracks",
        "added 2 videos",
        "the store was made, with nothing in it",
        "the history begins",
    ]
    assert call(["forget", "person", "--yes", "--store", url]) == 0
    told = diary(url, capsys)
    assert told == [
        "the history before was let go",
        "forgot 1 artifact on request; publication with-them was retracted that day",
        "the history begins",
    ]
    assert call(["log", "--store", url, "-n", "0", "--json"]) == 0
    entry = json.loads(capsys.readouterr().out)[1]
    assert (entry["stage"], entry["forgotten"]) == ("forget", 1)
    assert entry["retracted"] == [{"tag": "with-them", "artifacts": 1}]
    assert "person" not in json.dumps(entry)


def diary(url, capsys):
    """What the log says of each commit, and that a person is shown the same."""
    capsys.readouterr()
    assert call(["log", "--store", url, "-n", "0", "--json"]) == 0
    told = [one["what"] for one in json.loads(capsys.readouterr().out)]
    assert call(["log", "--store", url, "-n", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert all(what in line for what, line in zip(told, lines, strict=True))
    return told


def test_every_artifact_is_of_the_commit_that_wrote_it(tmp_path):
    store = whole_chain("memory:wrote", tmp_path)
    store = commit(store, prediction(store, "a", shift=2), run_id="r2")
    for record in store.records():
        found = commit_of(store, record)
        assert record.address in changes_by(store, found).written
        later = [one for one in commits(store) if one.written_at > found.written_at]
        assert not any(record.address in changes_by(store, one).written for one in later)
