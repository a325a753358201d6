"""The page of the first hour: its twelve steps are run as they stand there, on six real clips."""

from __future__ import annotations

import csv
import re
import resource
import shlex
import subprocess
import time
from pathlib import Path

import av
import pytest

from affstore import FeatureStore
from affstore.flows.cli import call
from affstore.tasks.lineage.verify import verify
from tests.conftest import program
from tests.test_documented_commands import FIRST_HOUR

CLIPS = {
    "ana_1": ("demo1_video.mp4", 0, 5),
    "ana_2": ("demo1_video.mp4", 5, 5),
    "ben_1": ("1.mp4", 0, 3),
    "ben_2": ("1.mp4", 3, 3.1),
    "cleo_1": ("2.mp4", 0, 2.5),
    "cleo_2": ("2.mp4", 2.5, 2.5),
}
"""What stands in for the reader's own clips: halves of three real films of one person, from when on and how long."""

BAR_S = 15 * 60
"""Of the commands' own processor time: on two cores with nothing else to do, the page is done within it."""


def written(name: str) -> str:
    """What the page says that a file holds."""
    (text,) = re.findall(rf'```\w+ title="{re.escape(name)}"\n(.*?)```', FIRST_HOUR, re.DOTALL)
    return text


def lines() -> list[str]:
    """What the page types, in order."""
    return [line[2:] for line in re.findall(r"^\$ .*$", FIRST_HOUR, re.MULTILINE)]


@pytest.fixture
def clips(shared, tmp_path, monkeypatch):
    """The folder that the page begins in, with its clips and the files that the reader writes."""
    (tmp_path / "clips").mkdir()
    for name, (file, start_s, length_s) in CLIPS.items():
        film, half = shared / "media" / "face_video" / file, tmp_path / "clips" / f"{name}.mp4"
        cut = ["-ss", str(start_s), "-t", str(length_s), "-i", str(film), "-c:v", "libx264", "-c:a", "aac", str(half)]
        subprocess.run([program("ffmpeg"), "-v", "error", *cut], check=True)
    for name in ("labels.csv", "mine.yaml"):
        (tmp_path / name).write_text(written(name), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "clips"


@pytest.mark.slow
@pytest.mark.timeout(3600)  # against hanging; the page's bar is BAR_S
def test_a_stranger_gets_from_clips_to_a_head_and_a_forgotten_video(clips, wheel_weights, server, capsys):
    walls, processors = [], []
    for line in lines():
        began, used = time.monotonic(), processor_s()
        code = call(shlex.split(line.removeprefix("affstore ")))
        walls.append(time.monotonic() - began)
        processors.append(processor_s() - used)
        said = capsys.readouterr()
        assert code == 0, (line, said.err, said.out)
        with capsys.disabled():
            print(f"\n{walls[-1]:6.1f} s, {processors[-1]:6.1f} s of processor  {line}", end="", flush=True)
    with capsys.disabled():
        print(f"\n{sum(walls):6.1f} s, {sum(processors):6.1f} s of processor  together")
    assert sum(processors) < BAR_S
    rows = rows_of(Path("analysis_2/videos/cleo_2.csv"))
    assert {"expression", "p_Happiness", "tension", "tension_p_calm", "tension_p_tense"} <= set(rows[0])
    assert any(row["tension"] in ("calm", "tense") for row in rows)
    for name in CLIPS:
        rows = rows_of(Path(f"analysis/videos/{name}.csv"))
        with av.open(str(clips / f"{name}.mp4")) as film:
            assert len(rows) == sum(1 for _ in film.decode(video=0))
        assert any(row["expression"] for row in rows), name
        assert any(row["speech"] for row in rows), name
    assert {"true", "false"} <= {
        row["speech"] for name in CLIPS for row in rows_of(Path(f"analysis/videos/{name}.csv"))
    }
    assert any(row["kind"] == "speech" for row in rows_of(Path("analysis/episodes.csv")))
    assert Path("analysis/index.html").is_file()
    assert Path("predictions/cleo_2.csv").is_file()
    assert sorted(path.stem for path in Path("elan_files").rglob("*.eaf"))
    store = FeatureStore("affstore-data")
    assert "ben_2" not in {address.video for address in store.addresses()}
    assert not verify(store).findings


def processor_s() -> float:
    """What this process and those that it waited for have used; other work on the machine does not change it much."""
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, _OURS))


_OURS = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_step_of_the_page_is_there():
    assert [int(step) for step in re.findall(r"^\*\*(\d+)\. ", FIRST_HOUR, re.MULTILINE)] == list(range(1, 13))
    assert set(CLIPS) == set(re.findall(r"`(\w+_[12])\.mp4`", FIRST_HOUR))
