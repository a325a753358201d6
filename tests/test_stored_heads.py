"""Heads that a store has fitted: applied to new videos, and given from one store to another as a file."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from affstore import FeatureStore
from affstore.flows.cli import call
from affstore.flows.inputs import Inputs
from affstore.flows.memory_needs import work_of
from affstore.flows.planned import Planned, plan_rows
from affstore.flows.prediction import predicted, split_videos, write_predictions
from affstore.flows.request import Request
from affstore.flows.runners.base import RunnerSpec
from affstore.flows.server import Server
from affstore.flows.stage import run_on
from affstore.flows.stages.predict import predict
from affstore.flows.stages.publish import predict_again
from affstore.flows.watch import Screen, using_watcher
from affstore.models.ensembles.spec import HeadOutput, SearchedValue
from affstore.models.evaluation.evaluate import EvaluationSpec
from affstore.models.extractor_specs import WeightsRef
from affstore.models.extractors.registry import spec_of
from affstore.models.faces.specs import DetectorSpec, TrackingSpec
from affstore.models.heads.mlp.spec import default_mlp
from affstore.models.heads.splits import Folds
from affstore.models.weights.folder import default_folder
from affstore.store.contract.errors import NotFoundError, SpecError
from affstore.store.contract.keys import canonical, key_of
from affstore.store.contract.labels import AU, space_of, task_space
from affstore.store.contract.records import Address, Artifact, Record
from affstore.tasks import recipes
from affstore.tasks.evaluation.experiment_scores import result_artifact
from affstore.tasks.experiments import Experiment
from affstore.tasks.lineage.head_files import import_head, read_head, write_head
from affstore.tasks.lineage.impact import impact
from affstore.tasks.lineage.methods import methods_paragraph
from affstore.tasks.lineage.recorded_specs import head_from
from affstore.tasks.lineage.reproduce import reproduce
from affstore.tasks.lineage.stored_heads import _called, best_of, fitted_experiment
from affstore.tasks.lineage.verify import verify
from affstore.tasks.planning.head_runs import plan_predictions
from affstore.tasks.predict.experiments import predict_experiment
from affstore.tasks.predict.videos import store_predictions
from affstore.tasks.specs import HeadRun, Input, Profile, WorkerContext
from affstore.tasks.training.folds import folds_of
from affstore.tasks.training.train import train
from tests.factories import commit, source
from tests.test_folds import FIRST
from tests.test_folds import HEAD as EXPRESSION_HEAD
from tests.test_folds import ROW as EXPRESSION_ROW
from tests.test_folds import filmed as filmed_expressions
from tests.test_folds import fitted as with_expressions
from tests.test_folds import stored as labelled_by_expression

FRAMES = 60
NETWORK = replace(
    spec_of("fer2013_mini_xception"), weights=WeightsRef("fer2013_mini_xception", "5" * 64), engine="torch"
)
MINE = space_of("mine", {"kind": "classes", "names": ["calm", "tense"]})


def filmed(video, split="train"):
    """A video whose embedding is its label, by a network that is trained."""
    random = np.random.default_rng(sum(map(ord, video)))
    units = random.integers(0, 2, (FRAMES, len(AU))).astype(np.int8)
    embedding = np.zeros((FRAMES, NETWORK.width), np.float32)
    embedding[:, : len(AU)] = units * 4 - 2
    seen = np.ones(FRAMES, bool)
    seen[-5:] = False
    face = Artifact(
        Address("face", "mtcnn", video, "main"),
        {"of": video},
        {"present": seen},
        {"frames": FRAMES, "prominent": True},
    )
    visual = Artifact(
        Address("visual", NETWORK.name, video, "main"),
        recipes.feature(NETWORK, video),
        {"embedding": embedding * seen[:, None], "present": seen},
        {"frames": FRAMES, "classes": None},
        made={"provenance": "published"},
    )
    found = [source(video, FRAMES), face, visual]
    if split:
        attributes = {"task": "au", "labels": list(AU.names), "split": split, "location": "", "complaint": None}
        value = {"value": units, "known": np.ones(units.shape, bool)}
        found.append(
            Artifact(
                Address("label", "au", video, "main"),
                {"of": video, "as": split},
                value,
                {"frames": FRAMES} | attributes,
            )
        )
    return found


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    return WorkerContext(str(tmp_path_factory.mktemp("heads") / "store"), "run", Path("weights"))


@pytest.fixture(scope="module")
def store(context) -> FeatureStore:
    """Labelled videos, a head of action units that was fitted on them, and a video that nobody labelled."""
    everything = [*filmed("one"), *filmed("two"), *filmed("three", "validation"), *filmed("new", "")]
    made = commit(FeatureStore.create(context.store_url), *everything)
    spec = replace(default_mlp("au"), name="units", epochs=12, batch=16)
    outcome = train(context, HeadRun("units", (Input(NETWORK.name),), spec, extractors=(NETWORK,)))
    assert outcome.status == "done", outcome.reason
    made.commit([outcome.draft], "a head")
    return FeatureStore(context.store_url)


@pytest.fixture(scope="module")
def scored(store, tmp_path_factory) -> FeatureStore:
    """A copy of the store with an experiment that smooths the head's outputs and has searched a threshold a unit."""
    place = tmp_path_factory.mktemp("scored") / "store"
    shutil.copytree(store.url, place)
    made = FeatureStore(str(place))
    (head,) = fitted_experiment(made, "units").heads
    applied(made, "units", "three")
    kernel = SearchedValue(None, (2, 5))
    shown = Experiment("shown", "Units", "", (head,), EvaluationSpec("au", HeadOutput("units"), kernel, "tuned"))
    return commit(made.newest(), result_artifact(made.newest(), shown, "papers", Folds())[0])


def applied(store, name, video="new"):
    """What `affstore predict NAME VIDEO` stores: by its heads, then by the experiment if it is one."""
    context = WorkerContext(store.url, "run", Path("weights"))
    fitted = fitted_experiment(store.newest(), name)
    for work in (
        lambda: store_predictions(context, video, fitted.heads),
        lambda: fitted.experiment and predict_experiment.do(context, fitted.experiment, fitted.tuned, (video,)),
    ):
        if (outcome := work()) and outcome.draft:
            store.newest().commit([outcome.draft], "predicted")
    return store.newest().get(Address("prediction", fitted.producer, video, "main"))


def test_a_head_says_by_its_record_alone_what_it_needs(store):
    fitted = fitted_experiment(store, "units")
    (head,) = fitted.heads
    assert (head.inputs, fitted.space, fitted.producer) == ((Input(NETWORK.name),), AU, "units")
    assert fitted.networks == {NETWORK.name: NETWORK}
    with pytest.raises(NotFoundError, match="Did you mean 'units'"):
        fitted_experiment(store, "unit")
    other = replace(NETWORK, weights=WeightsRef(NETWORK.weights.name, "6" * 64))
    with pytest.raises(SpecError, match=r"fitted on .* parameters 555555555555…, and those here are 666666666666…"):
        fitted.on([other])


def test_a_stored_head_predicts_for_a_video_that_it_has_not_seen(store, context, tmp_path):
    fitted = fitted_experiment(store, "units")
    outcome = store_predictions(context, "new", fitted.heads)
    stored = store.commit([outcome.draft], "predicted") and FeatureStore(context.store_url)
    assert split_videos(stored, ["new", "here.mp4"]) == (("here.mp4",), ("new",))
    (subject,) = predicted(stored, fitted, ["new"])
    assert (subject.frames, round(subject.present, 2)) == (FRAMES, 0.92)
    units = stored.read(Address("visual", NETWORK.name, "new", "main"), ["embedding"])["embedding"][:, : len(AU)] > 0
    found = stored.read(Address("prediction", "units", "new", "main"))["prediction"]
    assert (found[:-5] == units[:-5]).mean() > 0.9
    (table,), _ = write_predictions(stored, fitted, ["new"], tmp_path)
    header, first, *_, last = table.read_text().splitlines()
    assert header.startswith('"video","frame","time_s","subject","present","AU1"')
    assert '"new",0,0,"main",true,' in first
    assert last.endswith("," * 2 * len(AU))  # nothing was seen in the last frame


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_stored_video_is_meant_by_its_name_in_any_unicode_form(tmp_path, form):
    stored = commit(FeatureStore.create(str(tmp_path / "store")), source("caf\u00e9"))
    assert split_videos(stored, [unicodedata.normalize(form, "café")]) == ((), ("caf\u00e9",))


def test_a_video_whose_table_cannot_be_written_costs_no_other_and_a_folder_that_cannot_is_named(store, tmp_path):
    long = "映" * 84
    stored, fitted = commit(store, source(long)), fitted_experiment(store, "units")
    written, unwritten = write_predictions(stored, fitted, ["new", long], tmp_path / "out")
    assert written == [tmp_path / "out" / "new.csv"]
    assert "too long for the disk. Rename the video's file" in unwritten[long]
    (tmp_path / "file").touch()
    with pytest.raises(SpecError, match=r"cannot be written: File exists\. Name another --out"):
        write_predictions(stored, fitted, ["new"], tmp_path / "file")


def test_a_run_counts_videos_and_experiments_by_themselves(scored, capsys):
    context, fitted = WorkerContext(scored.url, "run", Path("weights")), fitted_experiment(scored.newest(), "shown")
    with using_watcher(Screen()), RunnerSpec.of("threads", workers=1).start() as workers, run_on(Server(""), workers):
        outcomes = predict(context, fitted.heads, ["three"]) + predict_again(context, [fitted], ["three"])
    assert [(one.stage, one.subject) for one in outcomes] == [("predict", "three"), ("combine", "shown")]
    assert [line.split()[:3] for line in capsys.readouterr().err.splitlines()] == [
        ["predict", "1/1", "three"],
        ["combine", "1/1", "shown"],
    ]


def test_a_stored_video_that_is_named_is_in_the_plan_with_what_it_lacks_and_no_other_is(store, context):
    profile = Profile(DetectorSpec(weights_sha256="d" * 64), TrackingSpec(), (NETWORK,))
    fitted = fitted_experiment(store, "units")
    commit(FeatureStore(store.url), source("bare", FRAMES))

    def due(video):
        request = Request(context, Inputs((), ()), profile, everything=False, fitted=(fitted,), videos=(video,))
        planned = Planned.of(request)
        assert [size.video for size in work_of(request, planned)[1]] == [video]
        return {row.address.path for row in plan_rows(request, planned) if row.due and row.requested}

    assert due("bare") >= {"face/mtcnn/bare", f"visual/{NETWORK.name}/bare"}
    assert all("/two" in path for path in due("two"))
    assert "prediction/units/two/main" in due("two")
    outcome = store_predictions(context, "two", fitted.heads)
    FeatureStore(store.url).commit([outcome.draft], "predicted")
    assert "prediction/units/two/main" not in due("two")


def test_a_head_travels_as_a_file_with_its_numbers_and_without_names_of_videos(store, tmp_path, context):
    path = tmp_path / "units.safetensors"
    about = write_head(store, "units", path, "CC-BY-4.0", "Generated units")
    assert not any(name.encode() in path.read_bytes() for name in ('"one"', "/one/", "/two/", "/three/"))
    artifact = read_head(path)
    there = FeatureStore.create(str(tmp_path / "store"))
    assert import_head(there, artifact, False, {})
    assert not import_head(there.newest(), read_head(path), False, {})
    commit(there.newest(), *filmed("new", ""))
    other = replace(context, store_url=str(tmp_path / "store"))
    opened = FeatureStore(other.store_url)
    record = opened.get(Address("head", "units"))
    assert (record.key, record.digest) == (about["key"], about["digest"])
    assert (record.made["licence"], record.made["corpus"]) == ("CC-BY-4.0", "Generated units")
    fitted = fitted_experiment(opened, "units")
    assert best_of(opened, "au") == ["units"]
    outcome = store_predictions(other, "new", fitted.heads)
    here = store_predictions(context, "new", fitted_experiment(store, "units").heads)
    assert [one.digest for one in outcome.draft.records] == [
        one.digest
        for one in (here.draft.records if here.draft else FeatureStore(store.url).records("prediction", video="new"))
    ]
    assert not [finding for finding in verify(opened).findings if finding.what == "head/units"]


def changed(path, change):
    """A file of a head with something in it changed."""
    with safe_open(path, "numpy") as file:
        about, arrays = json.loads(file.metadata()["affstore_head"]), {n: file.get_tensor(n) for n in file.keys()}  # noqa: SIM118
    change(about, arrays)
    save_file(arrays, path, {"affstore_head": json.dumps(about)})


def chosen_in(about):
    return about["post_processing"]["finish"]["chosen"]


def signed(about, **chosen):
    """The file says other smoothing or thresholds, and whoever wrote them there has made the digest fit."""
    chosen_in(about).update(chosen)
    document = about["post_processing"]
    document["key"] = key_of({part: document[part] for part in ("finish", "from")})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda about, arrays: arrays.update(parameter_prior=arrays["parameter_prior"] + 1), "damaged or was changed"),
        (lambda about, arrays: about["recipe"].update(train="0"), "damaged or was changed"),
        (lambda about, arrays: about.pop("licence"), "its 'licence' is missing"),
        (lambda about, arrays: about.update(format=9), "of the format 9; this affstore reads 2"),
        (lambda about, arrays: about.update(name="a/b"), "No head can be called 'a/b'"),
        (lambda about, arrays: about.pop("post_processing"), "its 'post_processing' is missing"),
        (lambda about, arrays: chosen_in(about).update(smooth_frames=9), "smoothing and thresholds in the file were"),
        (lambda about, arrays: signed(about, smooth_frames=-1), "smooths over -1 frames"),
        (lambda about, arrays: signed(about, thresholds=[0.3]), "thresholds in the file are not 12 numbers"),
        (lambda about, arrays: about["post_processing"].pop("from"), "its recipe lacks 'from'"),
    ],
)
def test_a_file_that_is_not_as_it_was_written_is_refused(scored, tmp_path, change, said):
    path = tmp_path / "units.safetensors"
    write_head(scored, "shown", path, "CC0-1.0", "none")
    changed(path, change)
    with pytest.raises(SpecError, match=said):
        read_head(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a pickle", b"\x80\x05N."])
def test_what_is_no_head_s_file_is_refused_and_never_executed(tmp_path, content, capsys):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    assert call(["head", "import", str(path), "--store", str(tmp_path / "store")]) == 2
    assert "is no head that `affstore head export` wrote" in capsys.readouterr().err
    assert not (tmp_path / "store").exists()


def test_another_head_of_that_name_stays_unless_it_may_go(store, tmp_path):
    path = tmp_path / "units.safetensors"
    write_head(store, "units", path, "CC0-1.0", "none")
    other = commit(
        FeatureStore.create(str(tmp_path / "store")),
        replace(read_head(path), recipe={**read_head(path).recipe, "train": "another"}),
    )
    with pytest.raises(SpecError, match=r"another head called 'units'\. Import this one with --name"):
        import_head(other, read_head(path), False, {})
    assert import_head(other, read_head(path, "theirs"), False, {})
    assert import_head(other.newest(), read_head(path), True, {})


def test_a_head_of_a_label_space_of_one_s_own_is_read_back_from_its_recipe():
    spec = replace(default_mlp(MINE), name="mine-head")
    assert head_from(canonical(spec)) == spec
    assert task_space(head_from(canonical(spec)).task) == MINE


def test_a_dry_run_of_an_import_says_what_the_import_would(store, tmp_path, capsys):
    path = tmp_path / "units.safetensors"
    write_head(store, "units", path, "CC0-1.0", "none")
    arguments = ["head", "import", str(path), "--store", str(tmp_path / "store")]
    assert call([*arguments, "--dry-run"]) == 0
    assert "would be imported" in capsys.readouterr().out
    assert not (tmp_path / "store").exists()
    assert call(arguments) == 0
    assert call([*arguments, "--dry-run"]) == 0
    assert "in the store already" in capsys.readouterr().out.splitlines()[-2]


def test_a_dry_run_of_an_export_gives_the_document_of_the_export(store, tmp_path, capsys):
    words = ["head", "export", "units", str(tmp_path / "units.safetensors"), *GIVEN, "--store", store.url, "--json"]
    dry, wet = (json.loads("".join(told(capsys, *words, *more))) for more in (["--dry-run"], []))
    assert (dry.pop("done"), wet.pop("done")) == (False, True)
    assert dry == wet


def test_what_to_type_after_a_head_was_imported_is_quoted_and_names_the_store(store, tmp_path, capsys):
    path, there = str(tmp_path / "units.safetensors"), str(tmp_path / "there")
    write_head(store, "units", Path(path), "CC0-1.0", "none")
    last = told(capsys, "head", "import", path, "--name", "a b", "--store", there, "--dry-run")[-1]
    assert shlex.split(last) == ["next", "affstore", "predict", "a b", "VIDEO", "--store", there]


def test_predictions_of_honest_do_not_take_the_place_of_the_papers():
    def result(protocol):
        return Record(
            *(Address("result", f"my.row@{protocol}"), "", {}, "", (), {}, {}, "", ""),
            {"row": "my/row", "protocol": protocol},
        )

    papers, honest = result("papers"), result("honest")
    both = {one.address.producer: one for one in (papers, honest)}
    assert _called(papers, both) == "my/row"
    assert _called(honest, both) == "my/row@honest"
    assert _called(honest, {honest.address.producer: honest}) == "my/row"


@pytest.fixture(scope="module")
def expressions(tmp_path_factory) -> FeatureStore:
    """A store with a smoothed experiment of expressions, and a video that nobody labelled."""
    place = tmp_path_factory.mktemp("expressions") / "store"
    made = with_expressions(labelled_by_expression(place, FIRST), [EXPRESSION_HEAD])
    smoothed = replace(EXPRESSION_ROW.evaluation, smooth_frames=SearchedValue(4, (4,)), without=("Other",))
    row = replace(EXPRESSION_ROW, evaluation=smoothed)
    made = commit(made, result_artifact(made, row, "papers", Folds())[0])
    return commit(made, *filmed_expressions("new")[:-1])


GIVEN = ("--licence", "CC0-1.0", "--corpus", "generated")


def travelled(store, name, folder, *videos):
    """A store of another lab with videos of its own, and the head that a file brought."""
    file, there = folder / f"{name}.safetensors", FeatureStore.create(str(folder / "there"))
    assert call(["head", "export", name, str(file), *GIVEN, "--store", store.url]) == 0
    assert call(["head", "import", str(file), "--name", "theirs", "--store", there.url]) == 0
    return commit(there.newest(), *videos)


def test_an_experiment_s_head_predicts_in_another_store_what_it_predicts_in_its_own_to_the_bit(
    scored, expressions, tmp_path
):
    for name, store, video in (("shown", scored, filmed("new", "")), ("row", expressions, filmed_expressions("new"))):
        there = travelled(store, name, tmp_path / name, *video[:3])
        (head,) = fitted_experiment(there, "theirs").heads
        tuned = fitted_experiment(store, name).tuned
        assert (head.chosen.tuned.smooth_frames, head.chosen.tuned.thresholds) == (
            tuned.smooth_frames,
            tuned.thresholds,
        )
        assert tuned.smooth_frames > 0
        assert name == "row" or set(tuned.thresholds) != {0.5}
        bare = applied(store, fitted_experiment(store, name).heads[0].name)
        here, beyond = applied(store, name), applied(there, "theirs")
        assert here.digest == beyond.digest != bare.digest
        arrays = there.newest().read(beyond.address)
        assert (arrays["prediction"] != store.newest().read(bare.address)["prediction"]).any()
        assert not [one for one in verify(there.newest()).findings if "theirs" in one.what]
        tables = [
            write_predictions(each.newest(), fitted_experiment(each, called), ["new"], tmp_path / name / called)[0][0]
            for each, called in ((store, name), (there, "theirs"))
        ]
        assert tables[0].read_bytes() == tables[1].read_bytes()


def told(capsys, *words, code=0):
    """The lines that a command prints."""
    capsys.readouterr()
    assert call([*words]) == code
    return capsys.readouterr().out.splitlines()


def test_both_commands_say_what_is_done_to_the_outputs_and_who_chose_it_and_a_trace_does(scored, tmp_path, capsys):
    file, there = str(tmp_path / "units.safetensors"), str(tmp_path / "there")
    first, *lines = told(capsys, "head", "export", "shown", file, *GIVEN, "-s", scored.url)
    assert first.startswith(f"{file}: the head 'units', digest ")
    chose = "chosen by the experiment 'shown' (papers) on 1 validation video"
    assert re.fullmatch(rf"  smoothing over \d+ frames \([25] on either side\), {re.escape(chose)}", lines[0])
    assert re.fullmatch(rf"  thresholds AU1 0\.\d, (AU\d+ 0\.\d, ){{11}}{re.escape(chose)}", lines[1])
    assert not any(name in (tmp_path / "units.safetensors").read_bytes() for name in (b"/one", b'"one"', b"/three"))
    assert told(capsys, "head", "import", file, "--name", "theirs", "-s", there)[1:3] == lines
    store = commit(FeatureStore(there), *filmed("new", ""))
    (listed,) = json.loads("".join(told(capsys, "head", "list", "-s", there, "--json")))
    assert listed["post_processing"]["from"]["chosen_on"] == {"split": "validation", "videos": 1}
    assert "thresholds" in "".join(told(capsys, "head", "list", "-s", there))
    way = told(capsys, "trace", applied(store, "theirs").address.path, "-s", there)
    paragraph = methods_paragraph(store.newest(), "theirs")
    assert "was fitted by others on generated of subjects: 2 for train, 1 for validation; mean F1 on its" in paragraph
    assert f"it came with {lines[0].strip()}; it came with thresholds AU1" in paragraph
    assert "became predictions with" not in paragraph  # what came with the head is said of it
    (again,) = reproduce(store.newest(), [Address("prediction", "theirs", "new", "main")], default_folder())
    assert (again.verdict, again.reason) == ("equal", "")
    assert [f"came with {line.strip()}" in " ".join(way) for line in lines] == [True, True]


def test_a_trace_says_what_an_experiment_did_to_the_outputs_and_in_which_result_that_was_chosen(
    scored, tmp_path, capsys
):
    shutil.copytree(scored.url, tmp_path / "store")
    store = FeatureStore(str(tmp_path / "store"))
    predicted = applied(store, "shown")
    result = store.get(Address("result", "shown@papers"))
    chosen = result.attributes["chosen"]
    row = ["trace", "shown/new/3", "--store", store.url]
    assert call([*row, "--json"]) == 0
    nodes = {node["name"]: node for node in json.loads(capsys.readouterr().out)["nodes"]}
    done = nodes[predicted.address.path]["post_processing"]
    assert done["smooth_frames"] == chosen["smooth_frames"]
    assert done["thresholds"] == dict(zip(AU.names, chosen["thresholds"], strict=True))
    assert done["from"]["result"] == {"path": result.address.path, "key": result.key, "digest": result.digest}
    assert done["from"]["chosen_on"] == {"split": "validation", "videos": 1}
    assert "post_processing" not in nodes["prediction/units/new/main"]
    smoothed = f"smoothing over {2 * chosen['smooth_frames'] + 1} frames"
    for form in ([], ["--mermaid"]):
        assert call([*row, *form]) == 0
        said = capsys.readouterr().out
        assert smoothed in said
        assert f"thresholds AU1 {chosen['thresholds'][0]:.3g}, AU2" in said
        assert f"as in result/shown@papers, key {result.key[:12]}" in said
    for what in (result.address.path, "label/au/three/main"):
        assert predicted.address in [one.address for one in impact(store.newest(), what).artifacts]
    paragraph = methods_paragraph(store.newest(), "shown")
    assert f"The heads' outputs became predictions with {smoothed}" in paragraph
    assert f"thresholds AU1 {chosen['thresholds'][0]:.3g}, AU2" in paragraph
    draft = store.newest().draft({}, "run")
    draft.remove(result.address)
    store.newest().commit([draft], "the result goes")
    assert call(row) == 0
    said = capsys.readouterr().out
    assert smoothed in said
    assert "the result that this was chosen in is not in this snapshot as it was" in said


def test_another_interval_or_threshold_than_a_result_comes_out_with_is_other_numbers(scored, tmp_path):
    shutil.copytree(scored.url, tmp_path / "store")
    store = FeatureStore(str(tmp_path / "store"))
    record = store.get(Address("result", "shown@papers"))
    assert [one.verdict for one in reproduce(store, [record.address], default_folder())] == ["equal"]
    facts = record.attributes
    for name, said in (
        ("interval", {"interval": [0.0, facts["interval"][1]]}),
        ("chosen thresholds", {"chosen": {**facts["chosen"], "thresholds": [0.45] * len(AU.names)}}),
    ):
        draft = store.newest().draft({}, "run")
        draft.copy(replace(record, attributes={**facts, **said}), store.read(record.address), 1)
        store.newest().commit([draft], "by hand")
        (found,) = reproduce(store.newest(), [record.address], default_folder())
        assert (found.verdict, found.reason.partition(" is ")[0]) == ("other", f"Its {name}")


def test_a_head_of_an_affstore_with_other_fields_is_one_sentence(tmp_path, capsys):
    store = FeatureStore.create(str(tmp_path / "store"))
    facts = {"task": "au", "labels": list(AU.names), "head": {}, "scores": {}}
    old = Artifact(
        Address("head", "old"), {"fit": {"head": {"kind": "mlp"}}}, {"parameter_a": np.zeros(2, np.float32)}, facts
    )
    commit(store, old)
    words = [str(tmp_path / "file"), "--licence", "CC0-1.0", "--corpus", "none", "--store", store.url]
    assert call(["head", "export", "old", *words]) == 2
    assert "was fitted by another affstore: its record has no 'inputs'" in capsys.readouterr().err


def test_a_file_of_an_earlier_affstore_is_imported_and_is_said_to_bring_no_thresholds(scored, tmp_path, capsys):
    file, there = tmp_path / "units.safetensors", str(tmp_path / "there")
    write_head(scored, "shown", file, "CC0-1.0", "generated")
    changed(file, lambda about, arrays: (about.pop("post_processing"), about.update(format=1)))
    said = told(capsys, "head", "import", str(file), "--store", there)
    assert said[1] == "  no smoothing and no thresholds come with it: each frame is decided by itself, at 0.5"
    store = commit(FeatureStore(there), *filmed("new", ""))
    assert applied(store, "units").digest == applied(scored, "units").digest


def test_a_head_by_its_own_name_goes_alone_and_the_experiment_that_has_some_is_named(scored, tmp_path, capsys):
    file = str(tmp_path / "units.safetensors")
    said = told(capsys, "head", "export", "units", file, *GIVEN, "--store", scored.url)
    assert said[1].startswith("  no smoothing and no thresholds come with it")
    assert said[2] == "  `affstore head export shown` also writes what the experiment 'shown' does to its outputs"
    planned = told(capsys, "head", "export", "shown", file, *GIVEN, "--store", scored.url, "--dry-run")
    assert [line.split()[0] for line in planned] == ["would", "smoothing", "thresholds"]
    assert call(["head", "import", file, "--name", "shown", "--store", scored.url]) == 2
    assert "The store has an experiment called 'shown'" in capsys.readouterr().err


def test_other_smoothing_of_the_same_head_is_another_head_and_makes_its_predictions_due(scored, tmp_path):
    there = travelled(scored, "shown", tmp_path, *filmed("new", ""))
    before = applied(there, "theirs")
    alone, whole = tmp_path / "alone.safetensors", tmp_path / "whole.safetensors"
    write_head(scored, "units", alone, "CC0-1.0", "generated")
    write_head(there.newest(), "theirs", whole, "CC0-1.0", "generated")
    assert not import_head(there.newest(), read_head(whole), False, {})
    with pytest.raises(SpecError, match="this head with other smoothing and thresholds, as 'theirs'"):
        import_head(there.newest(), read_head(alone, "theirs"), False, {})

    def due():
        opened = there.newest()
        rows = plan_predictions(opened, fitted_experiment(opened, "theirs").heads, ["new"])
        return [(row.address.path, row.status) for row in rows]

    assert due() == []
    assert import_head(there.newest(), read_head(alone, "theirs"), True, {})
    assert due() == [(before.address.path, "stale")]
    assert applied(there, "theirs").digest != before.digest
    assert import_head(there.newest(), read_head(whole), True, {})
    assert applied(there, "theirs").digest == before.digest


@pytest.mark.slow
def test_the_head_of_one_fold_of_groups_is_reproduced_by_itself_bit_by_bit(scored, tmp_path):
    store = commit(scored.newest(), *filmed("four"), *filmed("five"))
    (whole,) = fitted_experiment(store, "units").heads
    groups = {"one": "ana", "two": "ben", "four": "ben", "five": "cleo", "three": "dan"}
    fold = folds_of(replace(whole, head=replace(whole.head, epochs=2)), Folds.by_group(groups))[1]
    context = WorkerContext(store.url, "run", Path("weights"))
    store.commit([train(context, fold).draft], "a fold")
    record = store.newest().get(Address("head", "units-fold2of4"))
    assert (record.made["subjects"], record.made["held_out"]) == ({"train": 2, "validation": 2}, ["four", "two"])

    def again():
        (found,) = reproduce(store.newest(), [record.address], default_folder())
        return found.verdict, found.reason

    assert again() == ("equal", "")
    write_head(store.newest(), record.address.producer, tmp_path / "fold.safetensors", "CC0-1.0", "generated")
    assert b'"four"' not in (tmp_path / "fold.safetensors").read_bytes()
    # An earlier affstore did not name them: then it takes the predictions of the videos that were held out.
    older = replace(record, made={fact: value for fact, value in record.made.items() if fact != "held_out"})
    draft = store.newest().draft({}, "run")
    draft.copy(older, store.newest().read(record.address), 1)
    store.newest().commit([draft], "as it was before")
    assert again()[0] == "not computed"
    for video in ("two", "four"):
        store.newest().commit([store_predictions(context, video, [fold]).draft], "predicted")
    assert again() == ("equal", "")
