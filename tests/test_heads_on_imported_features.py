"""Heads on features that another program computed: imported, trained on, predicted from, planned, traced, given on."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
from dataclasses import replace
from glob import glob

import numpy as np
import pytest
import yaml

from affstore import FeatureStore
from affstore.flows.cli import call
from affstore.flows.config.run_config import read_config
from affstore.flows.execution import _call
from affstore.flows.pipeline import pipeline
from affstore.flows.prediction import applicable
from affstore.flows.request import request_of
from affstore.flows.runners.base import RunnerSpec
from affstore.flows.server import Server
from affstore.models.extractor_specs import ImportedFeatures
from affstore.models.feature_files import read_features
from affstore.models.heads.mlp.spec import default_mlp
from affstore.models.weights.folder import default_folder
from affstore.store.contract.errors import SpecError, UnknownNameError
from affstore.store.contract.keys import key_of
from affstore.store.contract.labels import EXPR, space_of
from affstore.store.contract.records import Address, Artifact
from affstore.tasks import recipes
from affstore.tasks.imported_inputs import features_called
from affstore.tasks.ingest.imported_features import imported_artifact
from affstore.tasks.lineage.reproduce import reproduce
from affstore.tasks.lineage.stored_heads import best_of, fitted_experiment
from affstore.tasks.specs import HeadRun, Input
from affstore.tasks.training.examples import features_of, labels_of, subject_of, subjects_of
from tests.factories import commit, source
from tests.test_documented_commands import OTHER_FEATURES
from tests.test_first_hour import CLIPS, written

SOUND = "openl3_env_mel128_512"
LABELLED = ("ana_1", "ana_2", "ben_1", "ben_2")
WITH_FEATURES = (*LABELLED, "cleo_2")
EVERYBODY = (*WITH_FEATURES, "dan_1")
FRAMES = 30
GAZE = "imported/gaze"
ALONE = {"name": "by-gaze", "task": "tension", "inputs": [GAZE], "head": "mlp", "epochs": 8, "changes": {"batch": 8}}
ALONE |= {"smooth_frames": 1}
BOTH = ALONE | {"name": "both", "inputs": [GAZE, SOUND]}


def film(video):
    """A video as it is taken in."""
    sha = key_of(video)
    return replace(source(video, FRAMES, sha256=sha), recipe=recipes.source(sha))


def tense(video):
    """Which of a video's frames are tense."""
    return (np.arange(FRAMES) < FRAMES // 2) == (video[-1] == "1")


def write_gaze(folder, video, header="yaw,pitch", scale=1.0):
    """A table of another program's: its first column follows the labels."""
    random = np.random.default_rng(sum(map(ord, video)))
    columns = [scale * (tense(video) * 2 - 1 + random.normal(0, 0.2, FRAMES))]
    columns += [random.normal(size=FRAMES) for _ in header.split(",")[1:]]
    folder.mkdir(exist_ok=True)
    rows = [",".join(f"{value:.5f}" for value in row) for row in zip(*columns, strict=True)]
    path = folder / f"{video}.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def write_config(folder, *experiments, **fields):
    """A configuration of a lab that has no extractor of its own to run."""
    document = {
        "store": "store",
        "extractors": [],
        "weights": "untrained",
        "engine": "torch",
        "precision": "float32",
        "label_spaces": {"tension": {"kind": "classes", "names": ["calm", "tense"]}},
        "labels": [{"folder": "labels.csv", "format": "timed_table", "space": "tension"}],
        "experiments": list(experiments or [ALONE]),
        "protocol": "honest",
        "folds": "groups",
        "groups": "labels.csv:participant",
    }
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(document | fields))
    return path


def typed(*words):
    """The exit code of a command, and what it prints for programs."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = call([*words, "--json"])
    return code, json.loads(printed.getvalue())


def run(path):
    request = request_of(read_config(path))
    return _call(Server(""), RunnerSpec.of(workers=1), lambda: pipeline(request), request)


@pytest.fixture(scope="module")
def lab(server, tmp_path_factory):
    """A folder with labels, tables of gaze of all videos but one, and a store with the videos and their sound."""
    folder = tmp_path_factory.mktemp("lab")
    rows = ["video,frame,label,participant"]
    for video in LABELLED:
        rows += [f"{video},{n},{'tense' if at else 'calm'},{video[:-2]}" for n, at in enumerate(tense(video))]
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    for video in WITH_FEATURES:
        write_gaze(folder / "gaze", video)
    store = commit(FeatureStore.create(str(folder / "store")), *map(film, EVERYBODY))
    (heard,) = request_of(read_config(write_config(folder, extractors=[SOUND], experiments=[]))).profile.extractors
    random = np.random.default_rng(0)
    commit(
        store,
        *(
            Artifact(
                Address("audio", SOUND, video),
                recipes.feature(heard, key_of(film(video).recipe)),
                {
                    "embedding": random.normal(size=(FRAMES, heard.width)).astype(np.float32),
                    "present": np.ones(FRAMES, bool),
                },
                {"frames": FRAMES, "vectors": FRAMES, "complaint": None},
                made={"provenance": "untrained"},
            )
            for video in EVERYBODY
        ),
    )
    assert call(["import", *map(str, sorted((folder / "gaze").iterdir())), "--name", "gaze", "-s", store.url]) == 0
    return folder


@pytest.fixture(scope="module")
def done(lab):
    """A run of a head on imported features alone, and of one that has a network's beside them."""
    return run(write_config(lab, ALONE, BOTH))


@pytest.fixture
def store(lab, done):
    return FeatureStore(str(lab / "store"))


@pytest.fixture
def copied(lab, tmp_path):
    """A store of its own with the videos and their gaze, for tests that change it."""
    store = FeatureStore(str(lab / "store"))
    made = FeatureStore.create(str(tmp_path / "store"))
    draft = made.draft({}, "test")
    for record in store.records("source", "visual"):
        draft.copy(record, store.read(record.address), 1)
    made.commit([draft], "copied")
    for name in ("labels.csv", "gaze"):
        (tmp_path / name).symlink_to(store.url.removesuffix("store") + name)
    return made.newest()


@pytest.mark.slow
def test_a_head_is_fitted_and_scored_on_them_alone_and_beside_a_network_s(done):
    assert [one.reason for one in done.outcomes if one.status == "failed"] == []
    alone, both = done.experiments
    assert [[found.protocol for found in one.results] for one in (alone, both)] == [["honest"], ["honest"]]
    assert alone.results[0].scores.value > 0.9 > alone.results[0].by_chance
    assert both.results[0].scores.frames == len(LABELLED) * FRAMES


@pytest.mark.slow
def test_a_video_that_lacks_them_is_named_and_left_out_and_others_go_on(done, store):
    told = [(one.video, one.text) for one in done.remarks if one.kind == "features"]
    assert told == [
        (
            "dan_1",
            f"It has no '{GAZE}': `affstore import FILE --video dan_1 --name gaze` takes it in. "
            f"Heads on '{GAZE}' leave it out.",
        )
    ]
    status = typed("status", "-s", store.url)[1]
    listed = [one for video in status["videos"] for one in video["remarks"] if one["kind"] == "features"]
    assert [(one["video"], one["text"]) for one in listed] == told
    for name in ("by-gaze", "both"):
        found = [at.video for at in store.addresses("prediction") if at.producer == name]
        assert found == list(WITH_FEATURES)


@pytest.mark.slow
def test_a_second_run_finds_all_of_it(lab, done):
    again = run(write_config(lab, ALONE, BOTH))
    assert {one.status for one in again.outcomes} == {"cached"}


@pytest.mark.slow
def test_what_was_imported_anew_makes_its_head_stale_and_fresh_again_by_a_run(copied, tmp_path):
    config = write_config(tmp_path)
    run(config)

    def planned():
        code, found = typed("plan", str(config))
        rows = found["artifacts"]
        return code, {(row["artifact"].split("/")[0], row["status"], row["reason"], row["asked"]) for row in rows}

    code, rows = planned()
    assert (code, {row for row in rows if row[0] != "prediction"}) == (0, set())
    other = write_gaze(tmp_path / "new", "ana_1", scale=2.0)
    assert call(["import", str(other), "--name", "gaze", "--store", copied.url]) == 0
    code, rows = planned()
    assert code == 10
    assert ("head", "stale", "its visual/imported%2Fgaze/ana_1/main was computed anew", True) in rows
    run(config)
    assert planned()[0] == 0


@pytest.mark.slow
def test_a_stored_head_predicts_for_videos_that_have_them_and_says_which_lack_them(store, tmp_path):
    code, found = typed("predict", "by-gaze", "cleo_2", "dan_1", "-s", store.url, "--out", str(tmp_path))
    assert code == 3
    assert ([one["video"] for one in found["predictions"]], found["without"]) == (["cleo_2"], ["dan_1"])
    assert [one["video"] for one in found["remarks"] if one["kind"] == "features"] == ["dan_1"]
    labels = FeatureStore(store.url).read(Address("prediction", "by-gaze", "cleo_2", "main"))["prediction"]
    assert (labels[:, 0] == tense("cleo_2")).mean() > 0.9
    assert "tension" in (tmp_path / "cleo_2.csv").read_text().splitlines()[0]


@pytest.mark.slow
def test_traces_and_reproductions_lead_to_the_files(store, capsys):
    (head, *_) = fitted_experiment(store, "by-gaze").heads
    assert call(["trace", f"prediction/{head.name}/cleo_2/main", "-s", store.url]) == 0
    assert re.search(r"file of features \S*cleo_2\.csv", capsys.readouterr().out)
    assert call(["lineage", "methods", "by-gaze", "-s", store.url]) == 0  # nothing measured its heads by themselves
    assert f"The head {head.name} (key " in capsys.readouterr().out
    named = [
        Address("head", head.name),
        Address("prediction", head.name, "cleo_2", "main"),
        Address("prediction", "both", "ana_1", "main"),
        Address("result", "by-gaze@honest"),
        Address("result", "both@honest"),
    ]
    found = {one.path: (one.verdict, one.reason) for one in reproduce(store, named, default_folder())}
    assert {verdict for verdict, _ in found.values()} == {"equal"}, found


@pytest.mark.slow
def test_a_head_travels_as_a_file_that_says_which_features_it_takes(store, tmp_path):
    file, there = tmp_path / "gaze.safetensors", str(tmp_path / "there")
    given = ["--licence", "CC0-1.0", "--corpus", "generated"]
    assert call(["head", "export", "by-gaze", str(file), *given, "-s", store.url]) == 0
    commit(FeatureStore.create(there), film("cleo_2"), film("eve_1"), film("eve_2"), film("eve_3"))
    imported = typed("head", "import", str(file), "--name", "theirs", "-s", there)[1]
    assert imported["networks"] == [GAZE]
    assert imported["post_processing"]["from"]["chosen_on"] == {"split": "train", "videos": len(LABELLED)}
    write_gaze(tmp_path / "gaze", "eve_1")
    other = write_gaze(tmp_path / "gaze", "eve_2", "pitch,yaw")
    assert call(["import", *map(str, (tmp_path / "gaze").iterdir()), "--name", "gaze", "-s", there]) == 0
    code, found = typed("predict", "theirs", "eve_1", "eve_2", "eve_3", "-s", there)
    assert code == 3
    assert ([one["video"] for one in found["predictions"]], found["without"]) == (["eve_1"], ["eve_2", "eve_3"])
    wrong, none = (one["text"] for one in found["remarks"] if one["kind"] == "features")
    assert "has 2 numbers a frame (pitch, yaw), and 2 numbers a frame (yaw, pitch) are meant" in wrong
    assert none.startswith(f"It has no '{GAZE}'")
    assert other.exists()
    same = write_gaze(tmp_path / "gaze", "cleo_2")
    assert call(["import", str(same), "--name", "gaze", "-s", there]) == 0
    for name, url in (("theirs", there), ("by-gaze", store.url)):
        assert typed("predict", name, "cleo_2", "-s", url, "--out", str(tmp_path / name))[0] == 0
    here, beyond = (FeatureStore(url) for url in (store.url, there))
    digests = {
        opened.get(Address("prediction", name, "cleo_2", "main")).digest
        for name, opened in (("by-gaze", here), ("theirs", beyond))
    }
    assert len(digests) == 1
    assert (tmp_path / "theirs" / "cleo_2.csv").read_bytes() == (tmp_path / "by-gaze" / "cleo_2.csv").read_bytes()


@pytest.mark.slow
def test_the_best_head_for_an_analysis_is_none_that_needs_an_import(store):
    assert best_of(store, "tension")
    assert applicable(store, "tension", default_folder()) is None


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (
            "yaw,pitch,roll",
            "'ana_1' has 3 numbers a frame (yaw, pitch, roll), and 'ana_2' 2 numbers a frame (yaw, pitch)",
        ),
        ("pitch,yaw", "'ana_1' has 2 numbers a frame (pitch, yaw), and 'ana_2' 2 numbers a frame (yaw, pitch)"),
    ],
)
def test_videos_with_other_numbers_under_one_name_are_both_named(copied, tmp_path, capsys, header, said):
    file = write_gaze(tmp_path / "new", "ana_1", header)
    assert call(["import", str(file), "--name", "gaze", "-s", copied.url]) == 0
    assert said in capsys.readouterr().out
    for command in ("run", "plan"):
        assert call([command, str(write_config(tmp_path))]) == 2
        assert said in capsys.readouterr().err


def test_one_name_for_people_and_for_sound_is_refused(copied, tmp_path):
    file = write_gaze(tmp_path / "new", "dan_1")
    assert call(["import", str(file), "--name", "gaze", "--sound", "-s", copied.url]) == 0
    with pytest.raises(SpecError, match=r"'dan_1' 2 numbers a frame \(yaw, pitch\) of its sound|'dan_1' has .* sound"):
        features_called(copied.newest(), GAZE)


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (["imported/gase"], "Did you mean 'imported/gaze'"),
        (["imported/gaze.logits"], "'imported/gaze' gives embedding, and no logits"),
        (["gaze"], "No extractor is called 'gaze'"),
    ],
)
def test_an_input_that_cannot_be_meant_is_refused_in_a_sentence(copied, tmp_path, capsys, inputs, said):
    assert call(["run", str(write_config(tmp_path, ALONE | {"inputs": inputs}))]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_a_store_that_has_none_says_how_they_are_taken_in(tmp_path, capsys):
    commit(FeatureStore.create(str(tmp_path / "store")), film("ana_1"))
    (tmp_path / "labels.csv").write_text("video,frame,label,participant\nana_1,0,calm,ana\n")
    assert call(["run", str(write_config(tmp_path))]) == 2
    assert "`affstore import FILE --video VIDEO --name gaze` takes it in" in capsys.readouterr().err


@pytest.mark.slow
def test_an_experiment_without_its_features_stops_no_other(copied, tmp_path):
    other = ALONE | {"name": "by-voice", "inputs": ["imported/voice"]}
    result = run(write_config(tmp_path, ALONE, other))
    assert [(one.experiment.name, one.status) for one in result.experiments] == [
        ("by-gaze", "done"),
        ("by-voice", "failed"),
    ]
    assert "imported/voice" in result.experiments[1].reason


def test_features_of_other_bytes_of_a_video_are_not_taken(copied, tmp_path):
    head = HeadRun("gaze", (Input(GAZE),), default_mlp("expr"), imported=(ImportedFeatures(GAZE, 2, ("yaw", "pitch")),))
    assert features_of(copied, "ana_1", "main", head)
    video = film("ana_1")
    changed = commit(
        copied, replace(video, recipe=recipes.source("9" * 64), attributes=video.attributes | {"sha256": "9" * 64})
    )
    assert features_of(changed, "ana_1", "main", head) is None


def test_whose_features_were_imported_is_read_as_annotations_name_people(tmp_path):
    """A person's plain name means the more prominent of two faces; a head that only sees the import needs no face."""
    video, seen = film("two"), {"present": np.ones(FRAMES, bool)}
    faces = [
        Artifact(
            Address("face", "mtcnn", "two", side), {"of": side}, seen, {"frames": FRAMES, "prominent": side == "left"}
        )
        for side in ("left", "right")
    ]
    looks = [
        Artifact(
            Address("visual", "fer2013_mini_xception", "two", side),
            {"extractor": {}, "face": side},
            {"embedding": np.ones((FRAMES, 4), np.float32)} | seen,
            {"frames": FRAMES, "classes": None},
        )
        for side in ("left", "right")
    ]
    store = commit(FeatureStore.create(str(tmp_path / "store")), video, *faces, *looks)
    assert call(["import", str(write_gaze(tmp_path / "gaze", "two")), "--name", "gaze", "-s", store.url]) == 0
    store, known = store.newest(), (ImportedFeatures(GAZE, 2, ("yaw", "pitch")),)
    alone = HeadRun("gaze", (Input(GAZE),), default_mlp("expr"), imported=known)
    beside = replace(alone, inputs=(Input("fer2013_mini_xception"), Input(GAZE)))
    assert (subjects_of(store, "two", alone), subjects_of(store, "two", beside)) == (["main"], ["left", "right"])
    found = features_of(store, "two", "left", beside)
    assert found
    assert [record.address.subject for record in found] == ["left", "main"]
    assert features_of(store, "two", "right", beside) is None
    assert subject_of(store, beside, Address("label", "tension", "two", "main"), {"main"}) == "left"


def test_many_files_are_called_as_their_videos_and_one_that_is_wrong_stops_no_other(tmp_path, capsys):
    store = commit(FeatureStore.create(str(tmp_path / "store")), film("ana_1"), film("ana_2"))
    files = [write_gaze(tmp_path / "gaze", video) for video in ("ana_1", "nobody")]
    files.append(write_gaze(tmp_path / "gaze", "ana_2").rename(tmp_path / "gaze" / "ana_2_left.csv"))
    taken = ["import", *map(str, files), "--name", "gaze", "-s", store.url]
    assert call([*taken, "--dry-run"]) == 3
    code, document = typed(*taken)
    assert code == 3
    assert [one["artifact"].rpartition("gaze/")[2] for one in document["imported"]] == ["ana_1/main", "ana_2/left"]
    assert len(document["refused"]) == 1
    assert "nobody" in document["refused"][0]
    assert call([*taken, "--video", "ana_1"]) == 2
    assert call([*taken[:-3], "ddamfn", *taken[-2:]]) == 2
    assert "An extractor of affstore's is called 'ddamfn'" in capsys.readouterr().err


@pytest.mark.slow
def test_the_page_on_features_of_other_programs_is_run_as_it_stands_there(tmp_path, lab, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels.csv").write_text(written("labels.csv"), encoding="utf-8")
    (config,) = re.findall(r'```yaml title="gaze.yaml"\n(.*?)```', OTHER_FEATURES, re.DOTALL)
    (tmp_path / "gaze.yaml").write_text(config, encoding="utf-8")
    commit(FeatureStore.create("affstore-data"), *map(film, CLIPS))
    for video in CLIPS:
        write_gaze(tmp_path / "gaze", video, "yaw,pitch,roll")
    for line in re.findall(r"^\$ affstore (.*)$", OTHER_FEATURES, re.MULTILINE):
        code = call([found for word in shlex.split(line) for found in sorted(glob(word)) or [word]])
        assert code == 0, line
    assert (tmp_path / "predictions" / "cleo_2.csv").is_file()
    assert (tmp_path / "by-gaze.safetensors").is_file()


@pytest.mark.slow
def test_a_name_that_no_video_has_is_not_known(store):
    assert features_called(store, GAZE) == ImportedFeatures(GAZE, 2, ("yaw", "pitch"))
    assert labels_of(store, space_of("tension", {"kind": "classes", "names": ["calm", "tense"]}), ("train",))
    with pytest.raises(UnknownNameError, match="Did you mean"):
        features_called(store, "imported/gazes")


def labelled(video, split):
    """Annotations of a video's expressions, which follow its gaze."""
    value = tense(video).astype(np.int8)[:, None]
    facts = {"frames": FRAMES, "task": "expr", "labels": list(EXPR.names), "location": "", "complaint": None}
    arrays = {"value": value, "known": np.ones(value.shape, bool)}
    return Artifact(Address("label", "expr", video, "main"), {"of": video}, arrays, facts | {"split": split})


def test_trainings_that_were_cut_short_are_not_set_against_a_paper_s_numbers(tmp_path):
    videos = [f"v{number}_{1 + number % 2}" for number in range(22)]  # a page compares no fewer than twenty
    labels = [labelled(video, "train" if number < 2 else "validation") for number, video in enumerate(videos)]
    store = commit(FeatureStore.create(str(tmp_path / "store")), *map(film, videos), *labels)
    tables = {video: write_gaze(tmp_path / "gaze", video) for video in videos}
    gaze = [imported_artifact(store, "gaze", (v, "main"), at, read_features(at, ())) for v, at in tables.items()]
    commit(store, *(replace(one, made=one.made | {"provenance": "published"}) for one in gaze))
    row = tmp_path / "row.yaml"
    paper = {"title": "By gaze", "source": "a test", "task": "expr", "paper": {"macro F1": 0.5}}
    row.write_text(yaml.safe_dump(paper | {"head": "mlp", "inputs": [GAZE], "epochs": 1}))
    words = ["experiment", str(row), "-s", store.url, "--runner-option", "pages=never"]
    for brief, compared in (((), True), (("--brief",), False)):
        assert call([*words, *brief]) == 0
        page = max(tmp_path.glob("store.runs/*/report.html"), key=lambda path: path.stat().st_mtime_ns).read_text()
        assert ("not comparable: <small>trainings were cut short</small>" in page) is not compared
        assert bool(re.search(r'<td class="number">[+−]\d', page)) is compared
        assert page.count("Trainings were cut short") == len(brief)
