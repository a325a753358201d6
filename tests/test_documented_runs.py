"""What the documentation shows and what takes minutes is run for real: its configurations, and `affstore analyze`."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import av
import pyarrow.parquet as pq
import pytest
import yaml
from sklearn.metrics import f1_score

from affstore import FeatureStore
from affstore.flows.cli import call
from affstore.flows.config.run_config import read_config
from affstore.models.demo.corpus import CorpusSpec, write_corpus
from affstore.store.contract.records import Address
from tests.conftest import program
from tests.test_documented_commands import COMMANDS, FIRST_HOUR, OTHER_FEATURES, PAGES, README, blocks, kind_of

SHOWN = [
    block
    for text in (README, FIRST_HOUR, OTHER_FEATURES, *PAGES.values())
    for block in re.findall(r'```yaml(?: title="[^"]+")?\n(.*?)```', text, re.DOTALL)
]
UNTRAINED = "weights: untrained\nengine: openvino\nprecision: float32\n"
"""The documented way to run networks whose published weights are not on this machine."""

EMOTIONS = ("calm", "joy", "anger", "fear")


@pytest.mark.parametrize("block", SHOWN)
def test_a_configuration_that_is_shown_is_one(block, tmp_path):
    path = tmp_path / "shown.yaml"
    path.write_text(block, encoding="utf-8")
    config = read_config(path)
    shown = yaml.safe_load(block)
    assert [one.name for one in config.experiments] == [one["name"] for one in shown["experiments"]]
    assert {name: space.names for name, space in config.label_spaces.items()} == {
        name: tuple(space["names"]) for name, space in shown["label_spaces"].items()
    }


@pytest.fixture
def labelled_videos(tmp_path) -> dict[str, list[float]]:
    """Videos with a table of labels beside each, as README has it; the times of their frames, by name."""
    write_corpus(tmp_path / "corpus", CorpusSpec(only=("video2", "12-24-320x240"), episode_s=1))
    films = sorted(path for path in (tmp_path / "corpus" / "videos").iterdir() if path.suffix in (".mp4", ".avi"))
    times = {}
    for name, film in zip(("talk", "validation/walk"), films, strict=True):
        path = tmp_path / "videos" / f"{name}{film.suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        film.rename(path)
        with av.open(str(path)) as container:
            times[Path(name).name] = [float(frame.time) for frame in container.decode(video=0)]
        # The last label ends between the last two frames, so that one frame has none.
        quarter = sum(times[Path(name).name][-2:]) / 2 / len(EMOTIONS)
        rows = [f"{number * quarter:.3f},{(number + 1) * quarter:.3f},{one}" for number, one in enumerate(EMOTIONS)]
        path.with_suffix(".csv").write_text("\n".join(["start,end,label", *rows]), encoding="utf-8")
    return times


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_configuration_of_the_readme_runs(labelled_videos, tmp_path, server, monkeypatch, capsys):
    (block,) = blocks("yaml", README)
    (tmp_path / "mine.yaml").write_text(block + UNTRAINED, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert call(["run", "mine.yaml"]) == 0, capsys.readouterr().err
    store = FeatureStore("affstore-data")
    for name, times in labelled_videos.items():
        (labels,) = store.records("label", video=name)
        assert labels.attributes["labels"] == list(EMOTIONS)
        known = store.read(labels.address)["known"][:, 0]
        assert [bool(one) for one in known] == [True] * (len(times) - 1) + [False]
        (prediction,) = (
            one for one in store.records("prediction", video=name) if one.address.producer == "my-emotions"
        )
        assert prediction.attributes["labels"] == list(EMOTIONS)
        assert len(store.read(prediction.address)["prediction"]) == len(times)
    (result,) = store.records("result")
    labels = store.read(Address("label", "emotions", "walk", "main"))
    prediction = store.read(Address("prediction", "my-emotions", "walk", "main"))
    known = labels["known"][:, 0]
    truth, found = labels["value"][known, 0], prediction["prediction"][known, 0]
    score = f1_score(truth, found, labels=range(len(EMOTIONS)), average="macro", zero_division=0)
    assert (result.attributes["scores"]["headline"], result.attributes["scores"]["frames"]) == ("macro F1", known.sum())
    assert result.attributes["scores"]["value"] == pytest.approx(score)
    assert call(["plan", "mine.yaml"]) == 0
    assert call(["predict", "my-emotions", "talk", "--out", "predictions"]) == 0
    assert (tmp_path / "predictions" / "talk.csv").is_file()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_analysis_that_is_shown_is_made(shared, wheel_weights, tmp_path, server, monkeypatch, capsys):
    (tmp_path / "my_videos").mkdir()
    for clip in ("1.mp4", "lwbsza.mpg"):
        film = shared / "media" / "face_video" / clip
        target = tmp_path / "my_videos" / f"{film.stem}.mp4"
        subprocess.run([program("ffmpeg"), "-v", "error", "-i", str(film), "-t", "2", str(target)], check=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AFFSTORE_WEIGHTS", str(wheel_weights))
    shown = [command for command in COMMANDS if kind_of(command) == "analyze"]
    assert {"--pull", "--people"} <= {word for command in shown for word in shlex.split(command)}
    for command in shown:
        assert call(shlex.split(command)) == 0, capsys.readouterr().err
        assert (tmp_path / "my_analysis" / "index.html").is_file()
        for film in sorted((tmp_path / "my_videos").iterdir()):
            with av.open(str(film)) as container:
                times = [float(frame.time) for frame in container.decode(video=0)]
            table = pq.read_table(tmp_path / "my_analysis" / "videos" / f"{film.stem}.parquet")
            assert table["time_s"].to_pylist() == pytest.approx(times)
            assert table["expression"].null_count < len(times)
            assert table["speech"].null_count < len(times)
