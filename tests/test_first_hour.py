"""The page of the first hour: its twelve steps are run as they stand there, on six real clips."""

from __future__ import annotations

import csv
import re
import shlex
import shutil
import subprocess

import pytest

from affstore import FeatureStore
from affstore.flows.cli import call
from affstore.tasks.lineage.verify import verify
from tests.test_documented_commands import FIRST_HOUR

CLIPS = ("ana_1", "ana_2", "ben_1", "ben_2", "cleo_1", "cleo_2")


def written(name: str) -> str:
    """What the page says that a file holds."""
    (text,) = re.findall(rf'```\w+ title="{re.escape(name)}"\n(.*?)```', FIRST_HOUR, re.DOTALL)
    return text


def lines() -> list[str]:
    """What the page types, in order."""
    return [line[2:] for line in re.findall(r"^\$ .*$", FIRST_HOUR, re.MULTILINE)]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_stranger_gets_from_clips_to_a_head_and_a_forgotten_video(
    tmp_path, shared, wheel_weights, server, monkeypatch, capsys
):
    videos = sorted((shared / "media" / "face_video").glob("*.mp4"))
    found = [path for path in videos if path.stem not in ("no_face", "WolfgangLanger_Pexels")][: len(CLIPS)]
    (tmp_path / "clips").mkdir()
    for name, path in zip(CLIPS, found, strict=True):
        cut = ["ffmpeg", "-v", "error", "-i", str(path), "-t", "1.2", "-an", "-vf", "scale=-2:360"]
        subprocess.run([*cut, str(tmp_path / "clips" / f"{name}.mp4")], check=True)
    for name in ("labels.csv", "mine.yaml"):
        (tmp_path / name).write_text(written(name), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for line in lines():
        code = call(shlex.split(line.removeprefix("affstore ")))
        said = capsys.readouterr()
        assert code == 0, (line, said.err, said.out)
    with (tmp_path / "analysis_2" / "videos" / "cleo_2.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {"expression", "p_Happiness", "tension", "tension_p_calm", "tension_p_tense"} <= set(rows[0])
    assert any(row["tension"] in ("calm", "tense") for row in rows)
    assert (tmp_path / "analysis" / "index.html").is_file()
    assert (tmp_path / "predictions" / "cleo_2.csv").is_file()
    assert sorted(path.stem for path in (tmp_path / "elan_files").rglob("*.eaf"))
    store = FeatureStore("affstore-data")
    assert "ben_2" not in {address.video for address in store.addresses()}
    assert not verify(store).findings
    shutil.rmtree(tmp_path / "clips")


def test_every_step_of_the_page_is_there():
    assert [int(step) for step in re.findall(r"^\*\*(\d+)\. ", FIRST_HOUR, re.MULTILINE)] == list(range(1, 13))
    assert set(CLIPS) == set(re.findall(r"`(\w+_[12])\.mp4`", FIRST_HOUR))
