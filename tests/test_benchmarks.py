"""Every benchmark runs, on sizes that measure nothing, so that none of them falls behind the code."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

from affstore.models.demo.corpus import CorpusSpec, write_corpus
from affstore.models.demo.film import Pictures, write_film
from affstore.models.media.video import frames, probe
from affstore.store.contract.clock import FrameClock

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"

# They start many processes and threads of engines; each takes a minute on a busy machine.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A film of a face, half a second long."""
    folder = tmp_path_factory.mktemp("clips")
    (take,) = write_corpus(folder / "corpus", CorpusSpec(only=("130-25-320x240",), episode_s=0.5))
    shown = islice(frames(take, probe(take)), 13)
    write_film(folder / "clip.mp4", Pictures(shown, (320, 240), FrameClock.uniform(25, 13)), None)
    return str(folder / "clip.mp4")


@pytest.fixture
def printed():
    """What a benchmark prints when it is run as a person runs it: its engines and threads end with its process."""

    def run(name, *words):
        command = [sys.executable, "-X", "faulthandler", str(BENCHMARKS / f"{name}.py"), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def loaded(name, monkeypatch):
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def test_chunks_and_codecs_are_compared(printed, clip):
    size = ("--videos", "1", "--frames", "330", "--rounds", "1", "--chunk", "128")
    said = printed("store_chunks", "--video", clip, *size)
    assert said.count("\n128 ") == 8
    assert "13 real rows" in said


def test_planning_a_large_store_is_timed_and_all_of_it_is_fresh(printed):
    said = printed("plan", "--videos", "2", "--rounds", "1", "--extractor", "emotieffnet_b0")
    assert "2 videos, 20 artifacts" in said
    assert "read their records" in said


def test_verify_is_timed_beside_plain_reading(printed):
    said = printed("verify", "--videos", "1", "--frames", "50", "--small", "2", "--rounds", "1")
    assert "1 videos × 11 families" in said
    assert "plain reading" in said


def test_lineage_of_a_large_store_is_timed(printed):
    said = printed("lineage", "--videos", "4", "--rounds", "1")
    assert said.count("\n4 ") == 10
    assert "impact of a video" in said


def test_raw_video_is_compared_with_the_sum_of_its_parts(printed, shared):
    said = printed("raw_video", "--media", str(shared / "media"), "--frames", "8", "--rounds", "1")
    assert "sum/whole" in said
    assert said.count("one face") == 2
    assert "two faces" in said


def test_a_corpus_is_rehearsed_on_dask_and_read_whole(printed, tmp_path):
    (tmp_path / "shape.csv").write_text("video,frames\none,90\ntwo,61\n", encoding="ascii")
    said = printed("rehearsal", "--shape", str(tmp_path / "shape.csv"))
    assert "videos, frames     2, 151" in said
    assert "one video more" in said


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


def test_sound_is_decoded_once_and_resampled_once_a_rate(printed):
    networks = ("--network", "openl3_env_mel128_512", "--network", "openl3_env_linear_512")
    said = printed("sound", "--seconds", "1", "--rounds", "1", "--table", "five", *networks)
    assert "1 decode, 1 resamplings" in said
    assert said.count("openl3_env") == 2
    assert "of their sum" in said


def test_wav2vec_is_compared_with_its_bare_passes(printed):
    said = printed("sound", "--seconds", "2", "--rounds", "1", "--table", "wav2vec")
    assert "file to store" in said
    assert "wav2vec2_base_960h, " in said


def test_without_a_gpu_what_is_missing_is_said_in_a_sentence(printed, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    said = printed("gpu")
    assert said.startswith("There is no GPU on this machine. Missing: faces/s")
    assert said.count("\n") == 1


def test_what_a_gpu_would_do_runs_on_a_cpu(printed, shared, tmp_path):
    (tmp_path / "face_video").mkdir()
    (tmp_path / "face_video/yes.mkv").symlink_to(shared / "media/face_video/yes.mkv")
    size = ("--faces", "8", "--faces-compared", "4", "--rounds", "1", "--videos", "2", "--network", "ddamfn")
    said = printed("gpu", "--media", str(tmp_path), "--device", "cpu", *size)
    assert "no GPU, 8 faces" in said
    assert "3.09 M frames" in said
    exact = next(line for line in said.splitlines() if line.startswith("ddamfn") and "float32" in line)
    assert exact.split()[2:] == ["0.00e+00", "1.000000", "1.0000"], "the CPU agrees with itself"


def test_the_document_is_written_table_by_table_and_names_what_it_lacks(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    performance = loaded("performance", monkeypatch)
    monkeypatch.setattr(performance, "HERE", tmp_path)
    tables = {
        "good": performance.Table("Good", ("good.py",)),
        "bad": performance.Table("Bad", ("bad.py",)),
        "later": performance.Table("Later", ("later.py",)),
    }
    monkeypatch.setattr(performance, "TABLES", tables)
    (tmp_path / "good.py").write_text("import sys; print('figures', *sys.argv[1:])", encoding="ascii")
    (tmp_path / "bad.py").write_text("raise SystemExit('no such disk')", encoding="ascii")
    document = tmp_path / "performance.md"
    document.write_text("# Performance\n\n## By hand\n\nKept.\n", encoding="ascii")
    performance.main(["--document", str(document), "--table", "bad"])
    performance.main(["--document", str(document), "--table", "good", "--rounds", "7"])
    said = document.read_text(encoding="utf-8")
    assert said.index("## Good") < said.index("## Bad") < said.index("## By hand") < said.index("## Missing")
    assert "figures --rounds 7" in said
    assert performance.machine() in said
    assert "- Bad: no such disk" in said
    assert "- Later: nobody has run `python benchmarks/performance.py --table later` yet." in said
    assert "- Good" not in said
    (tmp_path / "bad.py").write_text("print('mended')", encoding="ascii")
    performance.main(["--document", str(document), "--table", "bad"])
    said = document.read_text(encoding="utf-8")
    assert said.count("## Bad") == said.count("mended") == 1
    assert "figures --rounds 7" in said, "what was not asked for stays"


def test_every_table_of_the_document_has_a_benchmark_or_says_so(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    performance = loaded("performance", monkeypatch)
    scripts = {table.words[0] for table in performance.TABLES.values()}
    assert {"faces.py", "engines.py", "sound.py", "memory.py", "plan.py", "gpu.py"} <= scripts
    here = {path.name for path in BENCHMARKS.glob("*.py")}
    assert scripts - here <= {"heads.py", "scoring.py"}
