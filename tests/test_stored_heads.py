"""Heads that a store has fitted: applied to new videos, and given from one store to another as a file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from affstore import FeatureStore
from affstore.flows.cli import call
from affstore.flows.execution import plan_rows
from affstore.flows.inputs import Inputs
from affstore.flows.memory_needs import work_of
from affstore.flows.prediction import predicted, split_videos, write_predictions
from affstore.flows.request import Request
from affstore.models.extractor_specs import WeightsRef
from affstore.models.extractors.registry import spec_of
from affstore.models.faces.specs import DetectorSpec, TrackingSpec
from affstore.models.heads.mlp.spec import default_mlp
from affstore.store.contract.errors import SpecError, UnknownNameError
from affstore.store.contract.keys import canonical
from affstore.store.contract.labels import AU, space_of, task_space
from affstore.store.contract.records import Address, Artifact, Record
from affstore.tasks import recipes
from affstore.tasks.lineage.head_files import import_head, read_head, write_head
from affstore.tasks.lineage.recorded_specs import head_from
from affstore.tasks.lineage.stored_heads import _called, best_of, fitted_experiment
from affstore.tasks.lineage.verify import verify
from affstore.tasks.predict.videos import store_predictions
from affstore.tasks.specs import HeadRun, Input, Profile, WorkerContext
from affstore.tasks.training.train import train
from tests.factories import commit, source

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


def test_a_head_says_by_its_record_alone_what_it_needs(store):
    fitted = fitted_experiment(store, "units")
    (head,) = fitted.heads
    assert (head.inputs, fitted.space, fitted.producer) == ((Input(NETWORK.name),), AU, "units")
    assert fitted.networks == {NETWORK.name: NETWORK}
    with pytest.raises(UnknownNameError, match="Did you mean 'units'"):
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
    (table,) = write_predictions(stored, fitted, ["new"], tmp_path)
    header, first, *_, last = table.read_text().splitlines()
    assert header.startswith('"video","frame","time_s","subject","present","AU1"')
    assert '"new",0,0,"main",true,' in first
    assert last.endswith("," * 2 * len(AU))  # nothing was seen in the last frame


def test_a_stored_video_that_is_named_is_in_the_plan_with_what_it_lacks_and_no_other_is(store, context):
    profile = Profile(DetectorSpec(weights_sha256="d" * 64), TrackingSpec(), (NETWORK,))
    fitted = fitted_experiment(store, "units")
    commit(FeatureStore(store.url), source("bare", FRAMES))

    def due(video):
        request = Request(context, Inputs((), ()), profile, everything=False, fitted=(fitted,), videos=(video,))
        assert [size.video for size in work_of(request)[1]] == [video]
        return {row.address.path for row in plan_rows(request) if row.due and row.requested}

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


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda about, arrays: arrays.update(parameter_prior=arrays["parameter_prior"] + 1), "damaged or was changed"),
        (lambda about, arrays: about["recipe"].update(train="0"), "damaged or was changed"),
        (lambda about, arrays: about.pop("licence"), "its 'licence' is missing"),
        (lambda about, arrays: about.update(format=9), "of the format 9; this affstore reads 1"),
        (lambda about, arrays: about.update(name="a/b"), "No head can be called 'a/b'"),
    ],
)
def test_a_file_that_is_not_as_it_was_written_is_refused(store, tmp_path, change, said):
    path = tmp_path / "units.safetensors"
    write_head(store, "units", path, "CC0-1.0", "none")
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
