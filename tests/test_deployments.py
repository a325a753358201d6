"""What Prefect deployments call beside `reprocess` (see test_flows): a watched folder, and an audit."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import replace

import pyarrow.parquet as parquet
import pytest
from pyarrow import fs

from affstore import FeatureStore
from affstore.flows.complaints import complaint
from affstore.flows.deployment import add_videos, audit, reprocess, settled_part
from affstore.flows.inputs import gather
from affstore.models.demo.corpus import CorpusSpec, write_corpus
from affstore.store.contract.errors import SourceError
from affstore.store.contract.keys import key_of
from affstore.store.contract.records import Address
from affstore.store.engine.objects import s3_files
from affstore.tasks.ingest import bucket as bucket_module
from affstore.tasks.ingest.bucket import copy_new
from affstore.tasks.outcomes import Outcome
from tests.conftest import free_port
from tests.factories import AU_RUN
from tests.test_limits import film


@pytest.fixture
def config(server, tmp_path):
    """A configuration whose store takes in films and computes nothing from them."""
    film(tmp_path / "films" / "known.mp4", 5)
    path = tmp_path / "run.yaml"
    path.write_text(f"store: {tmp_path / 'store'}\nsources: [{tmp_path / 'films'}]\nextractors: []\n")
    return path


def settled(path):
    long_ago = time.time() - 3600
    os.utime(path, (long_ago, long_ago))


def test_what_is_new_in_a_watched_folder_is_taken_in_once_it_has_settled(config, tmp_path):
    folder = tmp_path / "incoming"
    folder.mkdir()
    assert add_videos(str(config), str(folder), return_state=True).name == "Nothing new"
    (folder / "clip.mp4.part").write_bytes(b"half")
    (folder / ".new.mp4").write_bytes(b"half")
    assert add_videos(str(config), str(folder), return_state=True).name == "Nothing new", "they are still copied"
    new = film(folder / "new.mp4", 6, 1)
    assert "0 done" in add_videos(str(config), str(folder), return_state=True).message
    settled(new)
    state = add_videos(str(config), str(folder), return_state=True)
    assert state.name == "Completed"
    assert state.message.startswith("1 done")
    videos = [address.video for address in FeatureStore(str(tmp_path / "store")).addresses("source")]
    assert videos == ["new"], "the configuration's own sources wait for `reprocess`"


def test_a_watched_folder_that_is_not_there_is_said(tmp_path):
    state = add_videos("run.yaml", str(tmp_path / "nowhere"), return_state=True)
    assert state.type == "FAILED"
    assert "There is no folder" in state.message


@pytest.fixture
def bucket(s3_url):
    """An empty prefix of a bucket, and a function that puts a file there."""
    system, place = s3_files(f"{s3_url}/incoming")

    def put(name, content):
        with system.open_output_stream(f"{place}/{name}") as file:
            file.write(content)

    return f"{s3_url}/incoming", put


@pytest.mark.slow
def test_what_is_new_in_a_bucket_is_copied_and_taken_in(config, tmp_path, bucket, monkeypatch):
    url, put = bucket
    copies = tmp_path / "copies"
    assert "name a folder for copies" in add_videos(str(config), url, return_state=True).message
    copies.mkdir()
    assert add_videos(str(config), url, str(copies), return_state=True).name == "Nothing new"
    put("session 1/new.mp4", film(tmp_path / "new.mp4", 6, 1).read_bytes())
    monkeypatch.setattr("affstore.flows.deployment._SETTLED_S", -60)
    state = add_videos(str(config), url, str(copies), return_state=True)
    assert state.message.startswith("1 done"), state.message
    assert [one.video for one in FeatureStore(str(tmp_path / "store")).addresses("source")] == ["new"]
    assert add_videos(str(config), url, str(copies), return_state=True).message.startswith("0 done, 2 cached")


def test_a_file_of_a_bucket_is_copied_once_and_again_when_it_changed(bucket, tmp_path):
    url, put = bucket
    put("a/one.mp4", b"1")
    put("two.mp4", b"22")
    assert copy_new(url, tmp_path) == ((tmp_path / "a" / "one.mp4", tmp_path / "two.mp4"), ())
    assert copy_new(url, tmp_path) == ((), ())
    put("two.mp4", b"333")
    assert copy_new(url, tmp_path) == ((tmp_path / "two.mp4",), ())
    assert {path.name: path.read_bytes() for path in tmp_path.rglob("*.*")} == {"one.mp4": b"1", "two.mp4": b"333"}


def test_a_full_disk_is_no_fault_of_the_bucket(tmp_path, monkeypatch):
    (tmp_path / "bucket").mkdir()
    (tmp_path / "bucket" / "one.mp4").write_bytes(b"1" * 100)
    system = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    monkeypatch.setattr(bucket_module, "s3_files", lambda url: (system, "bucket"))
    copies = tmp_path / "copies"
    copies.mkdir()
    part = copies / f".{key_of('one.mp4')[:16]}.affstore-part"
    part.symlink_to("/dev/full")
    with pytest.raises(OSError, match=rf"No space left on device: '{copies / 'one.mp4'}'"):
        copy_new("s3://bucket", copies)
    assert not part.is_symlink()
    assert copy_new("s3://bucket", copies).copied == (copies / "one.mp4",)


def test_a_bucket_that_is_not_there_is_said(bucket, tmp_path, config, monkeypatch):
    url, _ = bucket
    state = add_videos(str(config), "s3://no-such-bucket/incoming", str(tmp_path / "copies"), return_state=True)
    assert state.type == "FAILED"
    assert "There is no bucket 'no-such-bucket'" in state.message
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(SourceError, match=r"cannot be read: .*Check its name"):
        copy_new(url, tmp_path / "copies")


def put_keys(url, keys):
    """Objects whose keys are taken as they are, as no file system would."""
    boto3 = pytest.importorskip("boto3", reason="needs moto[server]")
    name, _, prefix = url.removeprefix("s3://").partition("/")
    s3 = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    for key in keys:
        s3.put_object(Bucket=name, Key=f"{prefix}/{key}", Body=b"1")


@pytest.fixture
def odd(bucket, tmp_path):
    """A bucket with one good video, names that no folder can have, and the mark of a folder as consoles make it."""
    url, _ = bucket
    names = ("a/b.mp4", "deep/../../out.mp4", "double//c.mp4", "folder/", "x" * 252 + ".mp4", "y" * 256, "z.mp4")
    put_keys(url, names)
    (tmp_path / "copies").mkdir()
    (tmp_path / "copies" / "a").write_bytes(b"1")  # of an object that is gone
    return url


def test_an_odd_name_in_a_bucket_costs_the_other_files_nothing(odd, tmp_path):
    found = copy_new(odd, tmp_path / "copies")
    assert found.copied == (tmp_path / "copies" / "z.mp4",)
    assert {one.name for one in found.left} == {
        "a/b.mp4",
        "deep/../../out.mp4",
        "double//c.mp4",
        f"{'x' * 252}.mp4",
        "y" * 256,
    }
    assert all(one.unfit for one in found.left)
    assert sorted(path.name for path in tmp_path.rglob("*.mp4")) == ["z.mp4"]


def test_an_object_that_cannot_be_read_costs_the_other_files_nothing(bucket, tmp_path, monkeypatch):
    url, put = bucket
    for name in ("gone.mp4", "locked.mp4", "new.mp4"):
        put(name, b"1")
    pieces = bucket_module._pieces

    def of(place, system, info):
        if info.path.endswith("gone.mp4"):
            system.delete_file(info.path)  # between listing and reading
        with bucket_module._reading(place):
            if info.path.endswith("locked.mp4"):
                raise OSError("InvalidObjectState: it is in an archive")  # as of an object in Glacier
        yield from pieces(place, system, info)

    monkeypatch.setattr(bucket_module, "_pieces", of)
    found = copy_new(url, tmp_path)
    assert found.copied == (tmp_path / "new.mp4",)
    ((name, reason, unfit),) = found.left
    assert (name, unfit) == ("locked.mp4", False)
    assert f"'{url}/locked.mp4' cannot be read: InvalidObjectState" in reason


def test_what_of_a_bucket_cannot_be_copied_is_quarantined_once_and_said(odd, config, tmp_path, monkeypatch):
    monkeypatch.setattr("affstore.flows.deployment._SETTLED_S", -60)
    states = [add_videos(str(config), odd, str(tmp_path / "copies"), return_state=True) for _ in range(2)]
    assert [state.name for state in states] == ["Quarantined", "Completed"], states[0].message
    assert "5 complaints of earlier runs still true" in states[1].message
    notes = list(FeatureStore(str(tmp_path / "store")).records("quarantine"))
    assert len(notes) == 5
    assert any("has no place for its name (File name too long)" in one.attributes["reason"] for one in notes)
    assert f"Of '{odd}' was not copied, beside videos: '{'y' * 256}', as " in states[0].message


def test_a_bad_file_is_told_once_and_counted_from_then_on(config, tmp_path):
    folder, store = tmp_path / "incoming", str(tmp_path / "store")
    settled(film(folder / "one.mp4", 5, 1))
    settled(film(folder / "two.mp4", 5, 2))
    assert add_videos(str(config), str(folder), return_state=True).name == "Completed"
    settled(film(folder / "one.mp4", 6, 3))  # other bytes under a name that the store has
    (folder / "bad.mp4").write_bytes(b"no video" * 1000)
    settled(folder / "bad.mp4")
    states = [add_videos(str(config), str(folder), return_state=True) for _ in range(2)]
    assert [state.name for state in states] == ["Failed", "Completed"]
    assert "--replace" in states[0].message
    assert "complaints of earlier runs still true" in states[1].message
    (folder / "bad.mp4").write_bytes(b"others that are no video" * 1000)
    settled(folder / "bad.mp4")
    state = add_videos(str(config), str(folder), return_state=True)
    assert state.name == "Quarantined", "other bytes under the same name are another bad file"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "bad.mp4").write_bytes(b"a third one" * 1000)
    settled(tmp_path / "other" / "bad.mp4")
    others = [add_videos(str(config), str(tmp_path / "other"), return_state=True).name for _ in range(2)]
    assert others == ["Quarantined", "Completed"]
    assert add_videos(str(config), str(folder), return_state=True).name == "Completed", "each folder has its own"
    labels = folder / "EXPR_Classification_Challenge" / "Train_Set" / "ghost.txt"
    labels.parent.mkdir(parents=True)
    for text in ("Neutral\n0\n", "Neutral\n0\n0\n"):
        labels.write_text(text)
        assert add_videos(str(config), str(folder), return_state=True).name == "Completed", "it may still be written"
        settled(labels)
        found = [add_videos(str(config), str(folder), return_state=True) for _ in range(2)]
        assert [state.name for state in found] == ["Failed", "Completed"]
        assert "There is no video 'ghost'" in found[0].message
    labels.unlink()
    taken = add_videos(str(config), str(folder), replace_existing=True, return_state=True)
    assert taken.name == "Completed"
    assert taken.message.startswith("1 done")
    assert FeatureStore(store).get(Address("source", video="one")).attributes["frames"] == 6


def test_what_this_machine_lacks_is_no_fault_of_a_file_and_told_again(config, tmp_path, monkeypatch):
    def no_memory(path):
        raise MemoryError

    settled(film(tmp_path / "incoming" / "one.mp4", 5, 1))
    monkeypatch.setattr("affstore.models.media.video.probe", no_memory)
    states = [add_videos(str(config), str(tmp_path / "incoming"), return_state=True).name for _ in range(2)]
    assert states == ["Failed", "Failed"]


def test_only_a_file_that_is_refused_or_quarantined_is_told_once():
    told = Outcome("extract", "one", "quarantined", "no picture", file="one.mp4")
    assert complaint(told)
    assert complaint(replace(told, stage="annotate", status="failed", file="one.csv"))
    assert not complaint(replace(told, status="failed", reason="its network is not here"))
    assert not complaint(replace(told, stage="ingest", status="failed", fault="the store does not answer"))
    assert not complaint(replace(told, status="done"))


def test_a_bucket_of_one_odd_object_is_told_before_anything_was_ever_copied(bucket, config, tmp_path):
    url, _ = bucket
    put_keys(url, ["deep/../out.mp4"])
    state = add_videos(str(config), url, str(tmp_path / "no" / "copies"), return_state=True)
    assert state.name == "Quarantined"


def test_a_video_that_waits_loses_none_of_its_labels_in_a_table_of_many(server, tmp_path):
    folder, table = tmp_path / "incoming", tmp_path / "labels" / "all.csv"
    table.parent.mkdir()
    table.write_text("video,start,end,label\none,0,1,Anger\ntwo,0,1,Fear\n")
    config = tmp_path / "run.yaml"
    labels = f"labels: [{{folder: {table.parent}, format: timed_table, space: expr}}]"
    config.write_text(f"store: {tmp_path / 'store'}\nextractors: []\n{labels}\n")
    for number, name in enumerate(("one", "two")):
        settled(film(folder / f"{name}.mp4", 5 + number, number))
    settled(table)
    for _ in range(2):
        assert add_videos(str(config), str(folder), return_state=True).name == "Completed"
        stored = FeatureStore(str(tmp_path / "store")).addresses("label")
        assert {one.video for one in stored} == {"one", "two"}
        (folder / "two.mp4").touch()


def test_labels_wait_with_their_video_until_it_has_settled_and_a_file_that_vanished_waits(tmp_path):
    for name in ("old", "new", "gone"):
        (tmp_path / f"{name}.mp4").write_bytes(b"")
        labels = tmp_path / "EXPR_Classification_Challenge" / "Train_Set" / f"{name}_left.txt"
        labels.parent.mkdir(parents=True, exist_ok=True)
        labels.write_text("Neutral\n0\n")
    for path in tmp_path.rglob("old*"):
        settled(path)
    found = gather([str(tmp_path)])
    (tmp_path / "gone.mp4").unlink()
    part = settled_part(found, time.time() - 60)
    assert [video.name for video in part.videos] == ["old"]
    assert [labels.name for labels in part.annotations] == ["old_left"]
    assert part.is_part


@pytest.mark.slow
def test_an_audit_says_what_is_due_and_what_is_damaged(config, tmp_path):
    state = audit(str(config), return_state=True)
    assert state.type == "FAILED"
    assert "There is no store" in state.message
    assert reprocess(str(config), return_state=True).name == "Completed"
    state = audit(str(config), return_state=True)
    assert (state.name, state.message.rpartition(": ")[2]) == ("Completed", "all as written, and nothing is due.")
    film(tmp_path / "films" / "new.mp4", 6, 1)
    state = audit(str(config), return_state=True)
    assert state.name == "Work to do"
    assert "1 due: source/new is missing" in state.message
    damaged = max((tmp_path / "store" / "manifests").iterdir(), key=lambda path: path.stat().st_size)
    damaged.write_bytes(bytes(damaged.stat().st_size))
    state = audit(str(config), return_state=True)
    assert state.type == "FAILED"
    assert "faults in" in state.message


def test_an_audit_of_a_bucket_whose_server_is_not_there_says_so(config, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    config.write_text("store: s3://bucket/store\nsources: []\nextractors: []\n")
    state = audit(str(config), return_state=True)
    assert state.type == "FAILED"
    assert "the server does not answer" in state.message


def test_more_hours_than_prefect_lets_a_run_have_are_refused(config):
    state = reprocess(str(config), max_hours=336, return_state=True)
    assert state.type == "FAILED"
    assert "`max_hours` is 336, and a deployment's run is ended after 336" in state.message


def test_a_wrong_parameter_is_one_sentence_in_the_state(config, tmp_path):
    state = reprocess(str(config), max_hours=-1.0, return_state=True)
    assert state.type == "FAILED"
    assert "--max-hours takes a number of hours above 0" in state.message


@pytest.fixture
def learning(server, tmp_path):
    """A configuration with an experiment, and the folder of what comes later: a film with labels to learn from."""
    write_corpus(tmp_path / "corpus", CorpusSpec(only=("video58", "112", "video17"), episode_s=0.5))
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    for path in [*(tmp_path / "corpus").rglob("video17.*")]:
        to = incoming / path.relative_to(tmp_path / "corpus")
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, to)
        settled(to)
    document = AU_RUN | {"sources": ["corpus/videos", "corpus/annotations"]}
    path = tmp_path / "run.yaml"
    path.write_text(json.dumps(document))
    return path, incoming


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_new_videos_are_predicted_and_published_by_the_heads_as_they_are_unless_retraining_is_asked(learning, tmp_path):
    config, incoming = map(str, learning)
    assert reprocess(config, return_state=True).name == "Completed"
    (before,) = FeatureStore(str(tmp_path / "store")).records("head")

    state = add_videos(config, incoming, return_state=True)
    assert state.name == "Completed", state.message
    store = FeatureStore(str(tmp_path / "store"))
    assert store.records("head") == [before], "its new labels are in the store, and the head was not trained on them"
    assert [one.subject for one in store.addresses("label", video="video17")]
    (prediction,) = [one for one in store.records("prediction", video="video17") if one.address.producer == "au-mlp"]
    (newest,) = [tag for tag, snapshot in store.tags().items() if snapshot == store.snapshot]
    rows = parquet.read_table(tmp_path / "published" / newest / "parquet" / "prediction" / "au-mlp.parquet")
    videos = rows.column("video").to_pylist()
    assert videos.count("video17") == prediction.attributes["frames"]
    assert {"112", "video58"} < set(videos), "what was published before is in the new publication too"
    assert len((tmp_path / "published" / newest / "au-mlp.txt").read_text().splitlines()) == len(videos) + 1
    assert "0 done" in add_videos(config, incoming, return_state=True).message

    assert add_videos(config, incoming, retrain=True, return_state=True).name == "Completed"
    (after,) = FeatureStore(str(tmp_path / "store")).records("head")
    assert after.key != before.key
    assert {parent.path for parent in after.parents} > {parent.path for parent in before.parents}


@pytest.mark.slow
def test_new_videos_before_any_training_are_taken_in_and_the_state_says_what_waits(learning, tmp_path):
    config, incoming = map(str, learning)
    state = add_videos(config, incoming, return_state=True)
    assert state.name == "Completed"
    assert state.message.startswith("'au-mlp' was not trained yet: `reprocess` does, or `retrain: true`.")
    store = FeatureStore(str(tmp_path / "store"))
    assert [one.video for one in store.addresses("visual")] == ["video17"]
    assert not store.addresses("head")
