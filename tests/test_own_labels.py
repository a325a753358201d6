"""A user's own labels through the command line: tables beside videos, heads, predictions, scores and figures."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from fractions import Fraction

import numpy as np
import pytest
import yaml

from affstore import FeatureStore
from affstore.flows.cli import call
from affstore.models.demo.face import Face
from affstore.models.demo.film import Pictures, write_film
from affstore.models.demo.shoot import frames, stage
from affstore.models.demo.takes import Take
from affstore.models.heads.splits import Folds
from affstore.store.contract.labels import EXPR, space_of
from affstore.store.contract.records import Address
from affstore.tasks.evaluation.experiment_scores import result_artifact
from affstore.tasks.experiments import ExperimentOutcome

SPACES = {
    "emotions": {"kind": "classes", "names": ["calm", "joy", "anger", "fear", "disgust", "sadness", "surprise"]},
    "dimensions": {"kind": "values", "names": ["valence", "arousal", "power", "surprise"], "range": [0, 100]},
}
EXPERIMENTS = [
    {"name": f"{space}-mlp", "task": space, "inputs": ["mt_emotimobilefacenet"], "epochs": 2, "changes": {"batch": 8}}
    for space in SPACES
]
RATE = 12
LABELLED = {"talk": "train", "walk": "train", "wait": "validation"}


def write_videos_with_tables(folder) -> None:
    """Short videos of a drawn face, each with a table of emotions beside it, and one of dimensions elsewhere."""
    folder.mkdir()
    for number, (name, split) in enumerate(LABELLED.items()):
        staged = stage(Take(name, split, ("NH",), rate_hz=RATE, size_px=(160, 160), sound="none"), number, 0.6)
        path = folder / f"{name}.mp4"
        write_film(path, Pictures(frames(staged, Face()), staged.take.size_px, staged.clock), None)
        half, end = (Fraction(len(staged.clock), RATE) * share for share in (Fraction(1, 2), 1))
        table = f"start,end,label\n0,{float(half)},calm\n{float(half)},{float(end)},joy\n"
        (folder / f"{name}.csv").write_text(table)
        times = ["time\tvalence\tarousal\tpower\tsurprise"]
        times += [f"{k / RATE:.6f}\t{k * 3 % 100}\t{k * 7 % 100}\t50\t{k}" for k in range(len(staged.clock))]
        place = folder.parent / "dimensions" / split / f"{name}.tsv"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("\n".join(times))
    (folder / "wait.csv").rename(folder / "wait.held")
    (folder / "validation").mkdir()
    (folder / "wait.held").rename(folder / "validation" / "wait.csv")


def run(config) -> dict:
    """What `affstore run --json` prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert call(["run", str(config), "--json"]) == 0
    return json.loads(printed.getvalue())


@pytest.fixture(scope="module")
def done(server, tmp_path_factory):
    """A run of both spaces, the store, and the configuration."""
    folder = tmp_path_factory.mktemp("own")
    write_videos_with_tables(folder / "videos")
    document = {
        "store": "store",
        "sources": ["videos"],
        "weights": "untrained",
        "engine": "torch",
        "precision": "float32",
        "extractors": ["mt_emotimobilefacenet"],
        "label_spaces": SPACES,
        "labels": [
            {"folder": "videos", "format": "timed_table", "space": "emotions"},
            {"folder": "dimensions", "format": "timed_table", "space": "dimensions"},
        ],
        "experiments": EXPERIMENTS,
        "publish": {"folder": "published"},
    }
    config = folder / "own.yaml"
    config.write_text(yaml.safe_dump(document))
    return run(config), FeatureStore(str(folder / "store")), config


def test_tables_beside_videos_become_labels_of_the_user_s_space(done):
    _, store, _ = done
    own = {r.address.producer: space_of(r.address.producer, r.attributes["space"]) for r in store.records("label")}
    assert own == {name: space_of(name, written) for name, written in SPACES.items()}
    record = store.get(Address("label", "emotions", "talk", "main"))
    labels = store.read(record.address)
    count = len(labels["value"])
    assert labels["known"].all()
    assert labels["value"].ravel().tolist() == [0] * (count - count // 2) + [1] * (count // 2)
    assert {r.address.video: r.attributes["split"] for r in store.records("label")} == LABELLED


@pytest.mark.slow
def test_add_takes_in_labels_of_the_format_that_is_named(done, tmp_path):
    _, store, _ = done
    shutil.copytree(store.url, tmp_path / "store")
    (tmp_path / "mine" / "validation").mkdir(parents=True)
    (tmp_path / "mine" / "validation" / "wait.csv").write_text("start,end,label\n0,1,Fear\n")
    networks = ["-e", "mt_emotimobilefacenet", "--weights", "untrained", "--engine", "torch", "--precision", "float32"]
    given = f"timed_table:expr={tmp_path / 'mine'}"
    assert call(["add", "--store", str(tmp_path / "store"), "--labels", given, *networks]) == 0
    added = FeatureStore(str(tmp_path / "store"))
    record = added.get(Address("label", "expr", "wait", "main"))
    assert record.attributes["split"] == "validation"
    labels = added.read(record.address)
    assert set(labels["value"][labels["known"]]) == {EXPR.names.index("Fear")}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("mine", "--labels takes FORMAT:SPACE=FOLDER"),
        ("timed_table=mine", "found 'timed_table=mine'"),
        ("timed_tabel:expr=mine", "timed_table"),
        ("timed_table:emotions=mine", "emotions"),
    ],
)
def test_labels_that_cannot_be_meant_are_refused_in_one_sentence(tmp_path, monkeypatch, capsys, given, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    assert call(["add", "--store", "memory:labels", "--weights", "untrained", "--labels", given]) == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith("affstore: ")
    assert message in line


def test_each_head_is_scored_by_the_measures_of_its_space(done):
    document, _, _ = done
    scores = {one["experiment"]: one["results"][0] for one in document["experiments"]}
    assert (scores["emotions-mlp"]["measure"], scores["dimensions-mlp"]["measure"]) == ("macro F1", "mean CCC")
    assert {"weighted F1", "balanced accuracy", "AUROC", "F1 surprise"} < set(scores["emotions-mlp"]["details"])
    assert {"PCC", "MAE valence", "RMSE power", "CCC surprise"} < set(scores["dimensions-mlp"]["details"])


def test_predictions_are_labels_of_the_space_within_its_range(done):
    document, store, _ = done
    for name, written in SPACES.items():
        space = space_of(name, written)
        prediction = store.read(Address("prediction", f"{name}-mlp", "wait", "main"))
        assert prediction["raw"].shape[1] == len(space)
        assert prediction["prediction"].dtype == space.dtype
        assert space.is_valid(prediction["prediction"]).all()
    published = {path.rpartition("/")[2]: path for path in document["published"]}
    with open(published["dimensions-mlp.txt"]) as file:
        assert file.readline() == "image_location,valence,arousal,power,surprise\n"


@pytest.mark.slow
def test_another_run_finds_all_of_it_and_another_definition_makes_it_anew(done, tmp_path):
    _, _, config = done
    again = run(config)
    assert {one["status"] for one in again["outcomes"]} == {"cached"}
    document = yaml.safe_load(config.read_text())
    document["label_spaces"]["emotions"]["revision"] = 2
    del document["publish"]
    other = config.with_name("revised.yaml")
    other.write_text(yaml.safe_dump(document))
    assert call(["plan", str(other), "--json"]) == 10


@pytest.mark.slow
def test_figures_have_all_classes_and_all_dimensions(done):
    from affstore.flows.config.run_config import read_config
    from affstore.flows.report.experiment_sections import section
    from affstore.flows.report.figures import pictures_of

    _, store, config = done
    for row in read_config(config).experiments:
        (head,) = row.heads
        _, shown = result_artifact(store, row, "papers", Folds(2))
        pictures = {one.name: one for one in pictures_of(ExperimentOutcome(row, "done", results=(shown,)))}
        drawn = {"emotions": "papers-confusion", "dimensions": "papers-agreement"}[row.task]
        assert {drawn, "papers-timeline-only"} <= set(pictures)
        assert ("f1" in pictures) == (row.task == "emotions")
        assert all(name in pictures["f1" if "f1" in pictures else drawn].alt for name in head.space.names)
        assert np.isfinite(list(shown.scores.details.values())).all()
        folded = dict(section(ExperimentOutcome(row, "done", results=(shown,)), ()).folded)
        measures = folded["All measures, papers' protocol"]
        assert [line[0].text for line in measures.rows] == ["all", *head.space.names]
        wanted = {"emotions": {"F1", "weighted F1"}, "dimensions": {"CCC", "PCC", "MAE", "RMSE"}}[row.task]
        assert wanted < {cell.text for cell in measures.head}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"label_spaces": {"emotions": {"kind": "classes", "names": ["calm", "Calm"]}}}, "'calm' is there twice"),
        ({"labels": [{"folder": ".", "format": "timed_tables", "space": "emotions"}]}, "mean 'timed_table'"),
        ({"labels": [{"folder": ".", "format": "timed_table", "space": "emotion"}]}, "mean 'emotions'"),
        ({"labels": [{"folder": ".", "format": "timed_table", "space": "emotions"}]}, "holds no labels of the format"),
        ({"experiments": [EXPERIMENTS[0] | {"task": "emotion"}]}, "mean 'emotions'"),
    ],
)
def test_what_makes_no_sense_is_said_in_a_sentence(tmp_path, capsys, changes, said):
    document = {
        "store": "store",
        "weights": "untrained",
        "extractors": ["mt_emotimobilefacenet"],
        "label_spaces": SPACES,
    }
    config = tmp_path / "own.yaml"
    config.write_text(yaml.safe_dump(document | changes))
    assert call(["run", str(config)]) == 2
    assert said in " ".join(capsys.readouterr().err.split())
