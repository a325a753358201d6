"""Runs into a generation, through the command line: what readers see meanwhile, after a kill, and at the end."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from affstore import FeatureStore, content_digest
from affstore.flows.cli import call
from affstore.models.demo.corpus import CorpusSpec, write_corpus
from affstore.store.engine.generations import generations
from affstore.tasks.lineage.verify import verify
from affstore.testing.artifacts import film
from tests.factories import AU_RUN

NETWORKS = {"weights": "untrained", "engine": "openvino", "precision": "float32"}


def configured(folder: Path, name: str = "run", **changes) -> str:
    """A configuration on the films of a folder, with no network unless it is named."""
    document = {"store": "store", "sources": ["films"], "extractors": [], **NETWORKS, **changes}
    (folder / f"{name}.yaml").write_text(json.dumps(document))
    return str(folder / f"{name}.yaml")


def store_in(folder: Path, at: str | None = None) -> FeatureStore:
    return FeatureStore(str(folder / "store"), at)


def videos(store: FeatureStore) -> set[str]:
    return {address.video for address in store.addresses("source")}


@pytest.fixture
def films(server, tmp_path):
    """A folder with a film in a store, and another film that came later."""
    (tmp_path / "films").mkdir()
    film(tmp_path / "films" / "first.mkv")
    assert call(["run", configured(tmp_path)]) == 0
    film(tmp_path / "films" / "second.mkv", 50)
    return tmp_path


def test_a_run_into_a_generation_is_seen_by_nobody_until_it_is_promoted(films, capsys):
    before, config = store_in(films).snapshot, str(films / "run.yaml")
    assert call(["run", config, "--generation", "next", "--dry-run"]) == 0
    assert generations(store_in(films)) == []
    capsys.readouterr()
    assert call(["run", config, "--generation", "none", "--max-hours", "0.000001"]) == 3
    said = capsys.readouterr().out
    assert "promote none" not in said
    assert call(["generation", "drop", "none", "--store", str(films / "store")]) == 0
    assert call(["run", config, "--generation", "next"]) == 0
    said, place = capsys.readouterr().out, str(films / "store")
    assert f"next      affstore diff --at next --store {place}" in said
    assert f"next      affstore generation promote next --store {place}" in said
    assert store_in(films).snapshot == before
    assert videos(store_in(films, "next")) == {"first", "second"}
    assert call(["plan", config]) == 10
    assert call(["plan", config, "--at", "next"]) == 0
    assert call(["generation", "promote", "next", "--store", place]) == 0
    assert videos(store_in(films)) == {"first", "second"}
    assert call(["plan", config]) == 0
    assert call(["rollback", "before-next", "--store", place]) == 0
    assert videos(store_in(films)) == {"first"}
    assert not verify(store_in(films)).findings


def test_a_run_whose_time_is_over_promotes_nothing_and_goes_on_in_its_generation(films, capsys):
    before, command = store_in(films).snapshot, ["run", str(films / "run.yaml"), "--generation", "next"]
    assert call([*command, "--max-hours", "0.000001", "--json"]) == 3
    said = json.loads(capsys.readouterr().out)
    assert (said["partial"], said["generation"], said["snapshot"]) == (True, "next", before)
    assert [one.name for one in generations(store_in(films))] == ["next"]
    assert call([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["snapshot"] == store_in(films, "next").snapshot
    assert store_in(films).snapshot == before
    assert videos(store_in(films, "next")) == {"first", "second"}


def test_what_is_added_while_a_generation_is_open_is_there_beside_it_at_the_end(films, capsys):
    assert call(["run", str(films / "run.yaml"), "--generation", "next"]) == 0
    (films / "others").mkdir()
    third = film(films / "others" / "third.mkv", 60)
    later = configured(films, "later", sources=[str(third)])
    assert call(["run", later]) == 0
    assert videos(store_in(films)) == {"first", "third"}
    capsys.readouterr()
    assert call(["generation", "promote", "next", "--store", str(films / "store"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["changes"]["added"], said["taken_over"], said["tag"]) == ({"source": 1}, 1, "before-next")
    assert videos(store_in(films)) == {"first", "second", "third"}
    assert videos(store_in(films, "before-next")) == {"first", "third"}
    assert call(["plan", str(films / "run.yaml")]) == 0
    assert not verify(store_in(films)).findings


def test_a_run_into_a_generation_of_a_store_in_a_bucket_is_promoted_too(server, s3_url, tmp_path):
    (tmp_path / "films").mkdir()
    film(tmp_path / "films" / "first.mkv")
    config = configured(tmp_path, store=s3_url)
    assert call(["run", config]) == 0
    film(tmp_path / "films" / "second.mkv", 50)
    assert call(["run", config, "--generation", "next"]) == 0
    assert videos(FeatureStore(s3_url)) == {"first"}
    assert call(["generation", "promote", "next", "--store", s3_url]) == 0
    assert videos(FeatureStore(s3_url)) == {"first", "second"}
    assert not verify(FeatureStore(s3_url)).findings


def test_a_scheduled_run_writes_to_the_generation_that_it_is_given(films):
    from affstore.flows.deployment import reprocess  # imports Prefect, whose settings are made by then

    before, config = store_in(films).snapshot, str(films / "run.yaml")
    assert reprocess(config, generation="next", return_state=True).name == "Completed"
    assert store_in(films).snapshot == before
    assert videos(store_in(films, "next")) == {"first", "second"}
    refused = reprocess(config, generation="new models", return_state=True)
    assert (refused.name, "A generation cannot be called" in refused.message) == ("Failed", True)


@pytest.mark.parametrize("name", ["new models", "first", ""])
def test_a_run_under_a_name_that_is_no_good_is_refused_or_is_a_usual_one(films, name, capsys):
    before = store_in(films).snapshot
    code = call(["run", str(films / "run.yaml"), "--generation", name])
    assert generations(store_in(films)) == []
    if name:
        assert (code, store_in(films).snapshot) == (2, before)
        assert "A generation cannot be called" in capsys.readouterr().err
    else:
        assert (code, videos(store_in(films))) == (0, {"first", "second"})


def test_the_lines_of_the_page_do_what_it_says(films, monkeypatch, capsys):
    monkeypatch.chdir(films)
    (films / "store").rename(films / "affstore-data")
    configured(films, "new_models", store="affstore-data")
    page = (Path(__file__).parents[1] / "docs" / "howto" / "generations.md").read_text(encoding="utf-8")
    lines = [line[2:].split("#")[0] for line in page.splitlines() if line.startswith("$ ")]
    seen = []
    for line in lines:
        assert call(shlex.split(line)[1:]) == 0, (line, capsys.readouterr().err)
        seen.append(sorted(videos(FeatureStore("affstore-data"))))
    promoted = 1 + max(number for number, line in enumerate(lines) if "promote" in line)
    undone = next(number for number, line in enumerate(lines) if "rollback" in line)
    assert seen[: promoted - 1] == [["first"]] * (promoted - 1)
    assert seen[promoted - 1 : undone] == [["first", "second"]] * (undone - promoted + 1)
    assert seen[undone:] == [["first"]] * (len(lines) - undone)
    assert generations(FeatureStore("affstore-data")) == []


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("runner", [["threads"], ["dask", "--workers", "1"]])
def test_a_killed_run_goes_on_in_its_generation_and_ends_as_one_that_was_not(films, runner, tmp_path_factory):
    """With a network that the store does not have yet, in threads and in processes of their own."""
    for number in range(3, 7):
        film(films / "films" / f"film{number}.mkv", 20 * number)
    undisturbed = tmp_path_factory.mktemp("undisturbed")
    new = {"extractors": ["mt_emotimobilefacenet"]}
    assert call(["run", configured(undisturbed, sources=[str(films / "films")], **new)]) == 0
    before = store_in(films).snapshot
    command = ["run", configured(films, "new", **new), "--generation", "next", "--runner", *runner]
    process = subprocess.Popen(
        [sys.executable, "-m", "affstore.flows.cli", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while not any(one.since for one in generations(store_in(films))):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert store_in(films).snapshot == before
    deadline = time.monotonic() + 60
    while call(["generation", "promote", "next", "--dry-run", "--store", str(films / "store")]):
        assert time.monotonic() < deadline
    assert call(command) == 0
    assert store_in(films).snapshot == before
    assert content_digest(store_in(films, "next")) == content_digest(store_in(undisturbed))
    assert call(["generation", "promote", "next", "--store", str(films / "store")]) == 0
    assert content_digest(store_in(films)) == content_digest(store_in(undisturbed))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_readers_have_the_old_predictions_until_all_new_ones_are_there_and_are_published_after(server, tmp_path):
    write_corpus(tmp_path / "corpus", CorpusSpec(only=("video58", "112"), episode_s=0.5))
    document = AU_RUN | {"sources": ["corpus/videos", "corpus/annotations"]}
    (tmp_path / "old.yaml").write_text(json.dumps(document))
    assert call(["run", str(tmp_path / "old.yaml")]) == 0
    old = store_in(tmp_path)
    document |= {"extractors": ["mt_emotimobilevit"]}
    document |= {"experiments": [{"name": "au-mlp", "task": "au", "inputs": ["mt_emotimobilevit"]}]}
    (tmp_path / "new.yaml").write_text(json.dumps(document))
    assert call(["run", str(tmp_path / "new.yaml"), "--generation", "vit"]) == 0
    assert (store_in(tmp_path).snapshot, store_in(tmp_path).tags()) == (old.snapshot, old.tags())
    assert len(list((tmp_path / "published").iterdir())) == 1
    assert call(["generation", "promote", "vit", "--store", str(tmp_path / "store")]) == 0
    promoted = store_in(tmp_path)
    predictions = promoted.records("prediction")
    assert {one.address for one in old.records("prediction")} & {one.address for one in predictions}
    assert not {one.key for one in old.records("prediction") if one.address.producer == "au-mlp"} & {
        one.key for one in predictions
    }
    assert call(["run", str(tmp_path / "new.yaml")]) == 0
    assert store_in(tmp_path).snapshot == promoted.snapshot, "nothing was computed again"
    assert len(list((tmp_path / "published").iterdir())) == 2
    assert not verify(store_in(tmp_path)).findings
