"""Every benchmark runs, on sizes that measure nothing, so that none of them falls behind the code."""

from __future__ import annotations

import importlib.util
import sys
from itertools import islice
from pathlib import Path

import pytest

from models.demo.corpus import CorpusSpec, write_corpus
from models.demo.film import Pictures, write_film
from models.media.video import frames, probe
from store.contract.clock import FrameClock

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A film of a face, half a second long."""
    folder = tmp_path_factory.mktemp("clips")
    (take,) = write_corpus(folder / "corpus", CorpusSpec(only=("130-25-320x240",), episode_s=0.5))
    shown = islice(frames(take, probe(take)), 13)
    write_film(folder / "clip.mp4", Pictures(shown, (320, 240), FrameClock.uniform(25, 13)), None)
    return str(folder / "clip.mp4")


@pytest.fixture
def printed(monkeypatch, capfd):
    """What a benchmark prints; it finds what it imports as `python benchmarks/NAME.py` does."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def run(name, *words):
        spec = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        module.main(words)
        return capfd.readouterr().out

    return run


def test_chunks_and_codecs_are_compared(printed, clip):
    size = ("--videos", "1", "--frames", "330", "--rounds", "1", "--chunk", "128")
    said = printed("store_chunks", "--video", clip, *size)
    assert said.count("\n128 ") == 4
    assert "13 real rows" in said


def test_planning_a_large_store_is_timed_and_all_of_it_is_fresh(printed):
    said = printed("plan", "--videos", "2", "--rounds", "1", "--extractor", "emotieffnet_b0")
    assert "2 videos, 16 artifacts" in said
    assert "read their records" in said


def test_faces_are_compared_with_bare_networks_and_real_time(printed, shared):
    said = printed("faces", "--media", str(shared / "media"), "--frames", "8", "--rounds", "1", "--table", "raw")
    assert "2 at a time" in said
    assert "x real time" in said


def test_files_to_store_are_compared_with_the_bare_network(printed, shared, tmp_path):
    (tmp_path / "face_video").mkdir()
    (tmp_path / "face_video/yes.mkv").symlink_to(shared / "media/face_video/yes.mkv")
    said = printed("faces", "--media", str(tmp_path), "--faces", "12", "--rounds", "1", "--table", "files")
    assert "files to store" in said
    assert "its bare forward pass" in said


def test_engines_are_compared_on_real_faces(printed, shared, tmp_path):
    (tmp_path / "face_video").mkdir()
    (tmp_path / "face_video/yes.mkv").symlink_to(shared / "media/face_video/yes.mkv")
    size = ("--faces", "6", "--rounds", "1", "--network", "mt_emotimobilefacenet")
    said = printed("engines", "--media", str(tmp_path), *size)
    assert said.count("mt_emotimobilefacenet") == 4
    assert "openvino float32" in said


def test_the_memory_of_a_long_video_is_measured(printed, clip):
    said = printed("memory", "--video", clip, "--frames", "60", "--row", "one of each, in one job")
    assert "60 frames" in said
    before, peak, above = (
        int(word) for word in said.splitlines()[-1].removeprefix("one of each, in one job").split()[:3]
    )
    assert peak - before == pytest.approx(above, abs=1)
    assert before > 100
