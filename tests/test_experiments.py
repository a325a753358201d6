"""Rows of the papers on a small corpus, as `affstore experiment` runs them: real flows, heads and media."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from affstore import FeatureStore
from affstore.flows.config.experiments import find_experiments, read_experiment_file
from affstore.flows.config.run_config import checked
from affstore.flows.execution import run_pipeline
from affstore.flows.request import request_of
from affstore.flows.runners.base import RunnerSpec
from affstore.flows.watch import Screen
from affstore.models.demo.corpus import CorpusSpec, write_corpus
from affstore.models.extractors.registry import entry_of
from affstore.models.heads.mlp.spec import EXPR_MLP
from affstore.models.weights.folder import default_folder
from affstore.store.contract.errors import WeightsMissingError
from affstore.store.contract.labels import EXPR
from affstore.store.contract.records import Address, Artifact
from affstore.tasks.specs import HeadRun, Input, WorkerContext
from affstore.tasks.training.train import train
from tests.factories import commit, read_submission, source

ROWS = {
    "expr": """
title: Sure pre-trained expressions first, else a blend
source: a test
task: expr
paper: {macro F1: .5}
method:
  threshold_blend:
    pretrained: {head: pretrained, inputs: [emotieffnet_b0@cropped.logits]}
    otherwise:
      blend:
        first: {head: mlp, inputs: [emotieffnet_b0@cropped]}
        second: {head: pretrained, inputs: [emotieffnet_b0@cropped.logits]}
        weight: {value: .7, grid: [.5, .7, .9]}
    threshold: {value: .8, grid: [.8, 1]}
smooth_frames: {value: 5, grid: [0, 5]}
sweep: {of: smooth_frames, values: [0, 5, 50]}
""",
    "au": """
title: Action units
source: a test
task: au
method: {head: mlp, inputs: [emotieffnet_b0@cropped]}
thresholds: tuned
""",
    "sequence": """
title: Two streams in windows
source: a test
task: expr
method:
  head: sequence
  inputs: [emotieffnet_b0@cropped, emotieffnet_b0@cropped.logits]
  changes: {epochs: 2, window: {length: 40, stride: 30}, encoder: {layers: 1}}
""",
    "everything": """
title: Trained on all labelled videos
source: a test
task: va
paper: {test mean CCC: .5}
method: {head: mlp, inputs: [emotieffnet_b0@cropped.logits], train: train+validation, epochs: 2}
files: true
""",
}

GROUPS = "video,group\n1-24-320x240,one\nvideo2,two\nvideo17,two\n"


def asked(store, experiments, **fields):
    document = {"store": str(store), "weights": "untrained", "extractors": [], "experiments": tuple(experiments)}
    return request_of(checked({**document, **fields}, "test"))


def run(store, experiments, **fields):
    return run_pipeline(asked(store, experiments, **fields), RunnerSpec.of(), Screen())


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    for name, text in ROWS.items():
        (folder / f"{name}.yaml").write_text(text)
    return {name: read_experiment_file(folder / f"{name}.yaml") for name in ROWS}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    names = ("1-24-320x240", "video2", "video17", "12-24-320x240", "207", "video91")
    write_corpus(folder, CorpusSpec(episode_s=0.6, only=names))
    return folder


@pytest.fixture(scope="module")
def done(server, rows, corpus, tmp_path_factory):
    store = tmp_path_factory.mktemp("run") / "store"
    groups = store.with_name("groups.csv")
    groups.write_text(GROUPS)
    honest = {"protocol": "honest", "folds": 2, "groups": groups}
    first = run(store, rows.values(), sources=[str(corpus)], **honest)
    return first, run(store, rows.values(), **honest)


@pytest.mark.slow
def test_every_row_ends_with_a_number_and_a_record(done):
    first, _ = done
    assert {row.experiment.name: row.reason for row in first.experiments if row.status == "failed"} == {}
    store = FeatureStore(first.request.context.store_url)
    results = {record.address.producer: record for record in store.records("result")}
    both = {f"{row}@{protocol}" for row in ("expr", "au", "sequence") for protocol in ("papers", "honest")}
    assert set(results) == both | {"everything@papers"}
    for row in first.experiments:
        for shown in row.results:
            low, high = shown.interval
            assert 0 <= low <= high <= 1
            held = results[f"{row.experiment.producer}@{shown.protocol}"]
            assert held.attributes["scores"]["value"] == pytest.approx(shown.scores.value)
            assert held.provenance == "untrained"
            assert held.parents


@pytest.mark.slow
def test_the_papers_numbers_are_taken_and_the_honest_ones_are_searched(done):
    first, _ = done
    (row,) = [row for row in first.experiments if row.experiment.name == "expr"]
    papers, honest = row.results
    assert (papers.chosen["smooth_frames"], papers.chosen["threshold"], papers.chosen["weight"]) == (5, 0.8, 0.7)
    assert honest.chosen["smooth_frames"] in (0, 5)
    assert honest.chosen["weight"] in (0.5, 0.7, 0.9)
    assert list(papers.curve) == [0, 5, 50]
    assert papers.curve[5] == pytest.approx(papers.scores.value)


@pytest.mark.slow
def test_a_fold_never_predicts_what_it_was_fitted_on(done):
    first, _ = done
    store = FeatureStore(first.request.context.store_url)
    heads = [record for record in store.records("head") if "-fold" in record.address.producer]
    assert heads
    for head in heads:
        own = [r for r in store.records("prediction") if r.address.producer == head.address.producer]
        predicted = {record.address.video for record in own}
        judged = {parent.path.split("/")[2] for parent in head.parents if parent.path.startswith("label/")}
        fitted_on = judged - predicted
        assert predicted
        assert fitted_on
        assert len(predicted | fitted_on) == 3
    honest = [record for record in store.records("head") if record.address.producer.endswith("-honest")]
    for head in honest:
        labels = [parent.path for parent in head.parents if parent.path.startswith("label/")]
        assert labels
        assert not any("12-24-320x240" in path or "/207/" in path for path in labels)


@pytest.mark.slow
def test_a_second_run_computes_nothing(done):
    first, again = done
    assert {outcome.status for outcome in again.outcomes if outcome.stage != "publish"} == {"cached"}
    assert {row.status for row in again.experiments} == {"cached"}
    assert [row.results[0].scores.value for row in again.experiments] == [
        row.results[0].scores.value for row in first.experiments
    ]


@pytest.mark.slow
def test_a_row_of_the_test_set_writes_the_challenge_file_and_says_that_its_number_was_seen(done):
    first, _ = done
    (path,) = first.published
    listed, values = read_submission(path, "va")
    assert set(listed.videos) == {"video91"}
    assert np.isfinite(values).all()
    (row,) = [row for row in first.experiments if row.experiment.files]
    assert row.results[0].trained_on
    assert [one.protocol for one in row.results] == ["papers"]


@pytest.mark.slow
def test_faces_of_folders_that_are_not_there_are_cut_from_the_videos_and_that_is_said(done):
    first, _ = done
    assert any("no 'cropped' faces" in note for note in first.request.notes)
    page = first.report.read_text()
    assert "no &#39;cropped&#39; faces" in page or "no 'cropped' faces" in page
    assert 'src="http' not in page


@pytest.mark.slow
def test_a_row_whose_head_cannot_be_fitted_fails_with_its_reason_and_the_others_go_on(done, rows, tmp_path):
    first, _ = done
    bad = tmp_path / "bad.yaml"
    bad.write_text(
        "title: Diverges\nsource: a test\ntask: va\n"
        "method: {head: mlp, inputs: [emotieffnet_b0@cropped], changes: {learning_rate: 1.0e+38}}\n"
    )
    result = run(first.request.context.store_url, (read_experiment_file(bad), rows["au"]))
    assert result.exit_code == 3
    failed, good = result.experiments
    assert (failed.status, good.status) == ("failed", "cached")
    assert "diverged" in failed.reason


def test_the_command_lists_rows_and_refuses_what_it_does_not_know():
    def affstore(*words):
        command = [sys.executable, "-m", "affstore.flows.cli", "experiment", *words]
        return subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1], check=False)

    listed = json.loads(affstore("list", "abaw6/table5", "--json").stdout)
    assert "abaw6/table5" in listed[0]["experiment"]
    wrong = affstore("abaw6/tabel5")
    assert wrong.returncode == 2
    assert "Did you mean" in wrong.stderr
    nothing = affstore()
    assert nothing.returncode == 2
    assert "--all" in nothing.stderr
    assert len(find_experiments(["abaw5", "abaw6"])) > 60


def test_a_row_whose_weights_are_missing_says_which_and_stops_no_other(shared, tmp_path, monkeypatch):
    monkeypatch.setenv("AFFSTORE_WEIGHTS", str(tmp_path / "weights"))
    fields = {"weights": "official", "engine": "openvino", "precision": "float32"}
    both = find_experiments(["abaw6/table5/emotieffnet", "abaw6/table5/mt-emotieffnet"])
    with pytest.raises(WeightsMissingError, match="enet_b0_8_best_vgaf"):
        asked(tmp_path / "store", both, **fields)
    published = shared / "reference_outputs" / "enet_b0_8_best_vgaf.pt"
    default_folder().import_file(entry_of("enet_b0_8_best_vgaf"), published, any_digest=True)
    request = asked(tmp_path / "store", both, **fields)
    assert [one.name for one in request.experiments] == ["abaw6/table5/emotieffnet"]
    (refused,) = request.refused
    assert refused.experiment.name == "abaw6/table5/mt-emotieffnet"
    assert "enet_b0_8_va_mtl" in refused.reason


def test_the_same_bytes_in_train_and_validation_are_refused(tmp_path):
    def labelled(video, split):
        value = np.arange(40, dtype=np.int8)[:, None] % 8
        said = {
            "frames": 40,
            "task": "expr",
            "labels": list(EXPR.names),
            "split": split,
            "location": "",
            "complaint": None,
        }
        label = Artifact(
            Address("label", "expr", video, "main"), {"of": video}, {"value": value, "known": value >= 0}, said
        )
        heard = {"embedding": np.ones((40, 768), np.float32), "present": np.ones(40, bool)}
        said = {"frames": 40, "vectors": 1, "complaint": None}
        sound = Artifact(Address("audio", "wav2vec2_base_960h", video), {"of": video}, heard, said)
        return source(video, sha256="1" * 64), label, sound

    store = FeatureStore.create(str(tmp_path / "store"))
    commit(store, *labelled("first", "train"), *labelled("second", "validation"))
    experiment = HeadRun("leaks", (Input("wav2vec2_base_960h"),), EXPR_MLP)
    outcome = train(WorkerContext(store.url, "run", tmp_path), experiment)
    assert outcome.status == "failed"
    assert "'first' of train and 'second' of validation have the same bytes" in outcome.reason


def test_a_row_of_sound_alone_asks_for_the_faces_that_it_requires(tmp_path):
    sound = find_experiments(["abaw6/table3/openl3"])
    request = asked(tmp_path / "store", sound, engine="torch", precision="float32")
    assert request.profile.required_faces == ("mtcnn",)
    assert request.profile.finds_faces
    assert not request.profile.faces
    assert [one.requires for one in request.experiments] == ["mtcnn"]
    assert any("no 'cropped' faces" in note for note in request.notes)
