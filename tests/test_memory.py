"""What a run needs is said before it begins: from above, and not by much."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affstore.flows.cli import call
from affstore.flows.inputs import Inputs
from affstore.flows.memory_needs import due_work
from affstore.flows.runners.base import RunnerSpec
from affstore.flows.watch import Screen
from affstore.models.demo.corpus import CorpusSpec, write_corpus
from affstore.models.engines import footprint, openvino_engine, torch_engine
from affstore.models.extractors.registry import spec_of
from affstore.models.extractors.untrained import resolve_weights
from affstore.models.faces.specs import DetectorSpec, TrackingSpec
from affstore.models.media.video import probe
from affstore.models.weights.folder import default_folder
from affstore.store.contract.records import Record
from affstore.store.engine.feature_store import FeatureStore
from affstore.tasks.extract.memory_estimate import GIB, MIB, Parallelism, VideoSize, faces_in, memory_need
from affstore.tasks.planning.plan import plan
from affstore.tasks.specs import Profile
from tests.factories import commit, source

NAMES = ("emotieffnet_b0", "mt_emotimobilevit", "ddamfn", "wav2vec2_base_960h", "openl3_env_mel128_512")
FILM = VideoSize("video12", 38_000, 1280 * 720, 1266.7, 44_100, 38_000)
HANDS = Parallelism(2, threads=2)


def profile(*names, engine="openvino"):
    specs = [replace(spec_of(name), engine=engine) for name in names]
    return Profile(DetectorSpec(), TrackingSpec(), tuple(specs))


films = st.builds(
    VideoSize,
    st.sampled_from(["a", "b", "c"]),
    st.integers(1, 100_000),
    st.sampled_from([320 * 240, 1280 * 720, 3840 * 2160]),
    st.floats(0.1, 4000),
    st.sampled_from([0, 8000, 48_000]),
    st.integers(1, 200_000),
)
profiles = st.builds(
    lambda names, engine: profile(*sorted(names), engine=engine),
    st.sets(st.sampled_from(NAMES), min_size=1),
    st.sampled_from(["openvino", "torch"]),
)


@given(profiles, st.lists(films, min_size=1, max_size=4), st.integers(1, 4))
def test_more_frames_videos_and_networks_never_need_less(of, several, at_once):
    need = memory_need(of, Path("nowhere"), several, Parallelism(at_once, threads=2))
    assert need.total == need.programs + need.parameters + need.passes + need.videos
    longer = [replace(film, frames=2 * film.frames, faces=2 * film.faces) for film in several]
    more = profile(*NAMES, engine="torch" if any(spec.engine == "torch" for spec in of.extractors) else "openvino")
    for other in (
        memory_need(of, Path("nowhere"), longer, Parallelism(at_once, threads=2)),
        memory_need(of, Path("nowhere"), [*several, FILM], Parallelism(at_once, threads=2)),
        memory_need(of, Path("nowhere"), several, Parallelism(at_once + 1, threads=2)),
        memory_need(more, Path("nowhere"), several, Parallelism(at_once, threads=2)),
    ):
        assert other.total >= need.total


def test_the_rows_of_a_video_are_counted_by_their_widths():
    short = replace(FILM, frames=0, faces=0, sound_hz=0)
    grown = replace(short, frames=10_000, faces=10_000)
    one, other = (
        memory_need(profile("emotieffnet_b0", "ddamfn"), Path(), [film], HANDS).videos for film in (short, grown)
    )
    rows = 4 * (1280 + 8 + 512 + 8) * 10_000
    placed = 4 * (1280 + 8) * 10_000
    assert rows + placed <= other - one <= rows + 2 * placed + 10_000 * 512


def test_parameters_are_those_in_the_weights_folder(weights_folder):
    weights = default_folder()
    ref = resolve_weights(weights, spec_of("fer2013_mini_xception").weights, untrained=True)
    (file,) = [path for path in (weights.root / "parameters").iterdir() if path.stem == ref.sha256]
    spec = replace(spec_of("fer2013_mini_xception"), weights=ref)
    need = memory_need(replace(profile(), extractors=(spec,)), weights.root, [FILM], HANDS)
    assert need.parameters == 2 * file.stat().st_size  # once, and once more while they are loaded


def test_sound_networks_on_openvino_keep_what_each_of_them_needed():
    """Torch frees a pass before the next network's begins."""
    names, heard = NAMES[3:], replace(FILM, frames=1, faces=0)
    for engine in ("torch", "openvino"):
        both, *alone = (memory_need(profile(*of, engine=engine), Path(), [heard], HANDS).passes
                        for of in (names, names[:1], names[1:]))  # fmt: skip
        assert both == (sum(alone) if engine == "openvino" else max(alone)) > 0


def test_passes_are_counted_in_the_batches_that_engines_run():
    batches = {"openvino": openvino_engine._BATCH, "torch": torch_engine._CPU_BATCH}
    assert (batches, torch_engine._GPU_BATCH) == (footprint._BATCH, footprint._GPU_BATCH)


def test_each_process_of_a_cluster_has_networks_of_its_own():
    alone, cluster = (RunnerSpec.of(kind, workers=3).parallelism("cpu") for kind in ("threads", "dask"))
    assert (alone.processes, cluster.processes) == (1, 3)
    films = [replace(FILM, video=name) for name in "abc"]
    one, three = (
        memory_need(profile("ddamfn"), Path(), films, hands) for hands in (replace(alone, threads=1), cluster)
    )
    assert (three.programs, three.passes, three.videos) == (3 * one.programs, 3 * one.passes, one.videos)


def test_a_gpu_has_its_own_memory():
    spec = spec_of("emotieffnet_b0")
    on_cpu, on_gpu = (
        memory_need(profile(spec.name, engine="torch"), Path(), [FILM], Parallelism(2, threads=2, device=device))
        for device in ("cpu", "cuda")
    )
    assert on_cpu.gpu == 0
    assert 1 * GIB < on_gpu.gpu < 8 * GIB
    assert "more on the GPU" in str(on_gpu)


def test_the_estimate_is_one_line_that_names_the_longest_video():
    need = memory_need(profile(*NAMES), Path(), [replace(FILM, video="short", frames=9, faces=9), FILM], HANDS)
    said = str(need)
    assert said.startswith(f"memory: about {need.total / GIB:.1f} GiB (1.0 programs, 0.0 parameters, ")
    assert "rows of 'video12', 38,000 frames and 1 more; 2 videos at once)" in said
    assert "\n" not in said


def test_of_a_crowd_that_was_not_searched_yet_it_says_what_each_face_more_takes():
    everyone = replace(profile("ddamfn"), tracking=replace(TrackingSpec(), most_subjects="all"))
    film, two = replace(FILM, searched=False), replace(FILM, faces=2 * FILM.frames)
    need, of_two = (memory_need(everyone, Path("nowhere"), [video], HANDS) for video in (film, two))
    assert need.total + need.a_face_more == of_two.total
    assert "each face more in every frame adds 0." in str(need)
    for known in (of_two, memory_need(profile("ddamfn"), Path("nowhere"), [film], HANDS)):
        assert "each face more" not in str(known)


def test_only_what_is_due_is_counted():
    store = commit(FeatureStore.create("memory:memory-due"), source("a", frames=40), source("b", frames=50))
    wanted = profile("emotieffnet_b0", "wav2vec2_base_960h")
    records = store.records()
    part, films = due_work(wanted, records, plan(records, wanted), Inputs((), ()))
    assert {film.video: (film.frames, film.faces) for film in films} == {"a": (40, 40), "b": (50, 50)}
    assert part.extractors == wanted.extractors
    nothing, none = due_work(wanted, records, [], Inputs((), ()))
    assert (nothing.extractors, none) == ((), [])
    assert faces_in(records) == {}


def test_a_video_to_be_taken_in_counts_as_its_container_says(tmp_path):
    (video,) = write_corpus(tmp_path, CorpusSpec(only=("130-25-320x240",), episode_s=0.5))
    facts, film = probe(video), VideoSize.of_file("v", video)
    assert (film.frames, film.pixels) == (len(facts.clock), facts.width * facts.height)
    assert film.length_s == pytest.approx(float(facts.clock.end_pts * facts.clock.time_base), abs=0.2)
    assert film.sound_hz == facts.sound.rate_hz
    (tmp_path / "text.mp4").write_text("no video", encoding="ascii")
    assert VideoSize.of_file("t", tmp_path / "text.mp4") is None


@given(st.integers(-100, 100_000), st.integers(1, 50_000), st.integers(-2, 2))
def test_the_sound_of_a_stored_video_is_as_long_as_it_plays_wherever_the_clock_begins(begins_s, frames, late_s):
    sound = {"rate_hz": 44_100, "start_s": [begins_s + late_s, 1]}
    stored = source("v", frames, end_pts=1000 * begins_s + 40 * frames, sound=sound)
    record = Record(stored.address, "", {}, "", (), {}, {}, "", "", stored.attributes)
    assert VideoSize.of_record(record, {}).length_s == pytest.approx(max(0, frames / 25 - late_s))


def test_the_plan_says_what_a_run_would_need(tmp_path, capsys):
    (video,) = write_corpus(tmp_path / "in", CorpusSpec(only=("130-25-320x240",), episode_s=0.5))
    config = tmp_path / "run.yaml"
    config.write_text(
        f"store: {tmp_path / 'store'}\nsources: [{tmp_path / 'in'}]\nextractors: [ddamfn]\nweights: untrained\n"
        "engine: torch\nprecision: float32\nrunner: {workers: 2}\n",
        encoding="utf-8",
    )
    assert call(["plan", str(config)]) == 10
    said = capsys.readouterr().out
    assert f"rows of '{video.stem}'" in said
    assert call(["plan", str(config), "--json"]) == 10
    document = json.loads(capsys.readouterr().out)
    assert document["memory"]["longest"] == video.stem
    assert document["memory"]["total"] > GIB
    assert [row["status"] for row in document["artifacts"]].count("missing") >= 1


def test_a_run_says_it_on_its_screen_before_it_begins(capsys):
    with Screen().showing() as screen:
        screen.memory(memory_need(profile("ddamfn"), Path(), [FILM], HANDS))
        screen.memory(memory_need(profile("ddamfn"), Path(), [], HANDS))
    assert capsys.readouterr().err.replace("\n", " ").count("memory: about") == 1


RUN = """
import json, sys
from pathlib import Path
from affstore.flows.environment import prepare
prepare()
import affstore.flows.pipeline
from dataclasses import replace
from affstore.flows.config.run_config import checked, profile_of
from affstore.flows.runners.base import RunnerSpec
from affstore.models.weights.folder import default_folder
from affstore import FeatureStore
from affstore.store.contract.keys import digest_file
from affstore.tasks.ingest.incoming_files import IncomingFile
from affstore.tasks.extract.videos import extract
from affstore.tasks.ingest.videos import ingest
from affstore.tasks.extract.jobs import jobs
from affstore.tasks.extract.memory_estimate import VideoSize, faces_in, memory_need
from affstore.tasks.planning.plan import plan
from affstore.tasks.specs import WorkerContext

folder, video, engine = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
asked = {"extractors": ("ddamfn", "openl3_env_mel128_512"), "weights": "untrained", "engine": engine,
         "precision": "float32"}
profile = profile_of(checked(asked, "test"), default_folder())
context = WorkerContext(FeatureStore.create(str(folder / engine)).url, "run", default_folder().root)
arrived = ingest(context, IncomingFile(video, video.stem, digest_file(video), "new"))
FeatureStore(context.store_url).commit([arrived.draft], "test")
records = FeatureStore(context.store_url).records()
film = VideoSize.of_record(records[0], faces_in(records))
need = memory_need(profile, context.weights, [film], RunnerSpec.of().parallelism("cpu"))
(job,) = jobs(records, profile, plan(records, profile))
outcome = extract(context, job, profile)
FeatureStore(context.store_url).commit([outcome.draft], "test")
# Not ru_maxrss: a process begins with what its parent had.
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps([outcome.status, need.total, 1024 * int(peak.split()[1])]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_a_real_run_needs_no_more_than_was_said_and_no_less_than_half_of_it(tmp_path, engine):
    weights = default_folder()
    for name in ("ddamfn", "openl3_env_mel128_512"):  # made here: making them takes memory, too
        resolve_weights(weights, spec_of(name).weights, untrained=True)
    (video,) = write_corpus(tmp_path / "in", CorpusSpec(only=("130-25-320x240",), episode_s=1.5))
    words = [sys.executable, "-W", "ignore", "-c", RUN, str(tmp_path), str(video), engine]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, timeout=300, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr[-2000:]
    status, said, peak = json.loads(done.stdout.splitlines()[-1])
    assert status == "done"
    assert peak <= said <= 2.2 * peak, f"said {said / MIB:.0f} MiB, needed {peak / MIB:.0f} MiB"
