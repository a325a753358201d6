"""Folds of `honest` on a store that grows: what is counted depends on what the store holds, not on its history."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from affstore import FeatureStore
from affstore.flows.report.comparison import legend
from affstore.flows.request import heads_of_protocols, protocols_on
from affstore.models.ensembles.spec import HeadOutput, SearchedValue
from affstore.models.evaluation.evaluate import EvaluationSpec, EvaluationVideo
from affstore.models.evaluation.metrics import score
from affstore.models.extractor_specs import WeightsRef
from affstore.models.extractors.registry import spec_of
from affstore.models.faces.specs import DetectorSpec, TrackingSpec
from affstore.models.heads.mlp.spec import default_mlp
from affstore.models.heads.pretrained import PretrainedSpec
from affstore.models.heads.splits import Folds, SplitSpec, read_groups
from affstore.store.contract.errors import AnnotationError, ConflictError, SpecError
from affstore.store.contract.keys import key_of
from affstore.store.contract.labels import EXPR, space_of, task_space
from affstore.store.contract.records import Address, Artifact
from affstore.tasks import recipes
from affstore.tasks.evaluation.experiment_scores import _by_chance, result_artifact
from affstore.tasks.experiments import Experiment, ExperimentOutcome
from affstore.tasks.lineage.reproduce import reproduce
from affstore.tasks.lineage.stored_heads import fitted_experiment
from affstore.tasks.planning.head_runs import plan_with
from affstore.tasks.planning.plan import plan
from affstore.tasks.predict.videos import store_predictions
from affstore.tasks.specs import HeadRun, Input, Profile, WorkerContext
from affstore.tasks.training.examples import LabelledSubject, fold_of, labelled, labels_of_no_source, unmatched_labels
from affstore.tasks.training.folds import cross_validated, folds_in_use, with_fixed_epochs
from affstore.tasks.training.train import _counts, _fit, head_recipe, train
from tests.factories import commit, label, source

FRAMES = 30
NETWORK = replace(spec_of("emotieffnet_b0@cropped"), weights=WeightsRef("enet_b0_8_best_vgaf", "5" * 64))
HEAD = HeadRun("folded", (Input("emotieffnet_b0@cropped", "logits"),), PretrainedSpec("folded", "expr"))
SMOOTHED = EvaluationSpec("expr", HeadOutput("folded"), SearchedValue(0, (0, 2, 8)))
ROW = Experiment("row", "A head in folds", "a test", (HEAD,), SMOOTHED)
FIRST, LATER = [f"train{n}" for n in range(3)], ["train3", "train4"]


def filmed(video, split="train"):
    """A video with a face, features, and labels."""
    random = np.random.default_rng(int(key_of(video)[:8], 16))
    value = np.repeat(random.integers(0, 8, FRAMES // 5), 5).astype(np.int8)[:, None]
    logits = random.normal(0, 1, (FRAMES, 8)).astype(np.float32)
    seen = np.ones(FRAMES, bool)
    said = {
        "frames": FRAMES,
        "task": "expr",
        "labels": list(EXPR.names),
        "split": split,
        "location": "",
        "complaint": None,
    }
    return (
        source(video, FRAMES),
        Artifact(
            Address("face", "cropped", video, "main"),
            {"of": video},
            {"present": seen},
            {"frames": FRAMES, "prominent": False},
        ),
        Artifact(
            Address("visual", "emotieffnet_b0@cropped", video, "main"),
            recipes.feature(NETWORK, video),
            {"embedding": logits, "logits": logits, "present": seen},
            {"frames": FRAMES, "classes": [*EXPR.names[:-1], "Contempt"]},
        ),
        Artifact(
            Address("label", "expr", video, "main"),
            {"of": video, "split": split},
            {"value": value, "known": np.ones((FRAMES, 1), bool)},
            said,
        ),
    )


def stored(folder, videos):
    store = FeatureStore.create(f"memory:{folder}")
    everything = [artifact for video in videos for artifact in filmed(video)]
    return commit(store, *everything, *filmed("judged", "validation"))


def fitted(store, heads):
    """Fit heads and apply them to every video, as the flows do."""
    context = WorkerContext(store.url, "run", Path("weights"))
    outcomes = [train(context, head) for head in heads]
    assert {outcome.status for outcome in outcomes} <= {"done", "cached"}
    store.commit([outcome.draft for outcome in outcomes if outcome.draft], "heads")
    videos = [record.address.video for record in store.newest().records("source")]
    outcomes = [store_predictions(context, video, heads) for video in videos]
    store.commit([outcome.draft for outcome in outcomes if outcome.draft], "predictions")
    return FeatureStore(store.url)


def honest(store, folds):
    """A row's honest result on what a store holds today."""
    store = fitted(store, folds_in_use(store, HEAD, folds))
    store = fitted(store, [with_fixed_epochs(store, HEAD, folds)])
    artifact, shown = result_artifact(store, ROW, "honest", folds)
    counted = [parent.path for parent in artifact.parents if "-fold" in parent.path]
    return key_of(artifact.recipe), shown.scores, shown.chosen, sorted(counted)


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    """A store whose folds were fitted before the later videos came."""
    store = stored(tmp_path_factory.mktemp("grown") / "store", FIRST)
    honest(store, Folds(2))
    return commit(store, *(artifact for video in LATER for artifact in filmed(video)))


def test_a_head_of_a_video_that_is_replaced_while_it_is_fitted_is_not_stored(tmp_path, monkeypatch):
    store = stored(tmp_path / "store", FIRST)

    def slowly(*given):
        artifact = _fit(*given)
        changed = replace(filmed(FIRST[0])[2], recipe={"of": "other bytes"})
        commit(store, changed)
        return artifact

    monkeypatch.setattr("affstore.tasks.training.train._fit", slowly)
    outcome = train(WorkerContext(store.url, "run", Path("weights")), HEAD)
    with pytest.raises(ConflictError, match=f"changed 'visual/emotieffnet_b0@cropped/{FIRST[0]}/main'"):
        store.commit([outcome.draft], "heads")


@pytest.mark.slow
def test_a_grown_store_and_a_fresh_one_choose_the_same(grown, tmp_path):
    fresh = stored(tmp_path / "store", FIRST + LATER)
    assert honest(grown, Folds(2)) == honest(fresh, Folds(2))


@pytest.mark.slow
def test_a_video_is_counted_once_by_its_fold_of_today(grown):
    groups = dict(zip(FIRST + LATER, "aabcc", strict=True))
    folds = Folds(2, groups)
    key, _, _, counted = honest(grown, folds)
    by_video = {video: fold_of(grown, folds, video) for video in groups}
    moved = [video for video, fold in by_video.items() if fold != fold_of(grown, Folds(2), video)]
    assert moved
    assert counted == sorted(f"prediction/folded-fold{fold + 1}of2/{video}/main" for video, fold in by_video.items())
    assert len({(groups[video], fold) for video, fold in by_video.items()}) == 3
    stored = commit(FeatureStore(grown.url), result_artifact(FeatureStore(grown.url), ROW, "honest", folds)[0])
    names = [Address("head", "folded-fold1of2"), Address("head", "folded-fold2of2"), Address("result", "row@honest")]
    found = list(reproduce(stored, names, Path("weights")))
    assert [(one.verdict, one.reason) for one in found] == [("equal", "")] * 3
    assert key != honest(grown, Folds(2))[0]


def test_videos_that_are_all_in_one_fold_are_refused(grown):
    with pytest.raises(AnnotationError, match=r"The 5 training videos .* are in 1 of 2 folds"):
        folds_in_use(grown, HEAD, Folds(2, dict.fromkeys(FIRST + LATER, "everybody")))
    with pytest.raises(AnnotationError, match="'train4' is in no group"):
        folds_in_use(grown, HEAD, Folds(2, {video: video for video in FIRST + LATER[:-1]}))


def test_each_group_is_held_out_once(grown):
    groups = dict(zip(FIRST + LATER, "aabcc", strict=True))
    folds = Folds.by_group(groups)
    assert [fold_of(grown, folds, video) for video in FIRST + LATER] == [0, 0, 1, 2, 2]
    _, _, _, counted = honest(grown, folds)
    assert len(counted) == len(FIRST + LATER)
    stored = FeatureStore(grown.url)
    (found,) = reproduce(stored, [Address("head", "folded-fold1of3")], Path("weights"))
    assert (found.verdict, found.reason) == ("equal", "")
    with pytest.raises(SpecError, match="2 groups at least; 1"):
        Folds.by_group({"one": "a", "two": "a"})


def test_a_group_that_is_trained_on_and_reported_is_refused(grown):
    groups = dict(zip([*FIRST, *LATER, "judged"], "aabcca", strict=True))
    with pytest.raises(AnnotationError, match=r"The group 'a' is trained on \('train.'\) and reported \('judged'\)"):
        folds_in_use(grown, HEAD, Folds.by_group(groups))


def test_no_number_by_papers_stands_beside_the_refusal_of_a_group_that_is_trained_on_and_reported(grown):
    known, new = (dict(zip([*FIRST, *LATER, "judged"], groups, strict=True)) for groups in ("aabcca", "aabccd"))
    asked = ("papers", "honest")
    assert protocols_on(grown, ROW, asked, Folds(3, known)) == ("honest",)
    assert protocols_on(grown, ROW, asked, Folds(3, new)) == asked
    assert HEAD not in heads_of_protocols(grown, [ROW], asked, Folds(3, known))


def test_a_group_of_one_of_two_people_of_a_reported_video_must_not_be_trained_on(grown):
    groups = dict(zip([*FIRST, *LATER], "aabcc", strict=True)) | {"judged_left": "a", "judged_right": "z"}
    with pytest.raises(AnnotationError, match=r"The group 'a' is trained on \('train.'\) and reported \('judged'\)"):
        folds_in_use(grown, HEAD, Folds.by_group(groups))


def test_without_validation_videos_each_fold_is_reported_with_what_the_others_choose(tmp_path):
    videos = FIRST + LATER
    store = commit(
        FeatureStore.create(f"memory:{tmp_path}"), *(artifact for video in videos for artifact in filmed(video))
    )
    folds = Folds.by_group(dict(zip(videos, "aabcc", strict=True)))
    store = fitted(store, in_use := folds_in_use(store, HEAD, folds))
    assert not any(labelled(store, fold, "validation") for fold in in_use)
    store = fitted(store, [with_fixed_epochs(store, HEAD, folds)])
    artifact, shown = result_artifact(store, ROW, "honest", folds)
    assert sorted(one.name for one in shown.videos) == videos
    assert (shown.scores.frames, shown.chosen["reported"]) == (FRAMES * len(videos), "held-out folds")
    assert shown.by_chance is not None
    assert shown.interval[0] <= shown.scores.value <= shown.interval[1]
    assert artifact.recipe["asked"]["each_group"] is True
    found = fitted_experiment(commit(store, artifact), "row")
    assert [head.name for head in found.heads] == ["folded-honest"]
    assert found.tuned.smooth_frames == shown.chosen["smooth_frames"]


@pytest.mark.parametrize("sign", [",", ";", "\t"])
def test_groups_are_a_column_of_any_table_of_videos(tmp_path, sign):
    table = tmp_path / "participants.csv"
    rows = [
        ("video", "age", "participant", "site"),
        ("a", "31", "p1", "x"),
        ("b", "", "p2", "y"),
        ("a", "31", "p1", "x"),
    ]
    table.write_text("\n".join(sign.join(row) for row in rows))
    assert read_groups(table) == {"a": "p1", "b": "p2"}
    assert read_groups(tmp_path / "participants.csv:site") == {"a": "x", "b": "y"}
    with pytest.raises(SpecError, match="expected the columns 'video' and 'sex'"):
        read_groups(tmp_path / "participants.csv:sex")


def test_a_plan_does_not_guess_the_epochs_that_new_folds_have_still_to_find(tmp_path):
    videos = FIRST + LATER
    store = commit(
        FeatureStore.create(f"memory:{tmp_path}"), *(artifact for video in videos for artifact in filmed(video))
    )
    head = replace(HEAD, head=replace(default_mlp("expr"), name="folded", epochs=5))
    whole = replace(head, head=replace(head.head, epochs=3, selection="last_epoch"), division=SplitSpec(validation=()))
    said = {"task": "expr", "labels": list(EXPR.names), "head": {"best_epoch": 2}, "scores": None}
    commit(store, Artifact(Address("head", "folded-honest"), head_recipe(store, whole), {}, said))
    store = store.newest()
    rows = plan_with(store, [], cross_validated(store, [head], Folds(99)))
    heads = {row.address.producer: row.status for row in rows if row.address.family == "head"}
    assert len(heads) > 1
    assert {status for name, status in heads.items() if "of99" in name} == {"missing"}
    assert "folded-honest" not in heads, "the run will find it as it is"


@pytest.mark.parametrize("family", ["label", "visual"])
def test_what_came_of_an_artifact_is_made_again_when_it_has_other_numbers_under_the_same_key(tmp_path, family):
    """As of features computed again on a GPU: `plan` calls the head stale, and a run must do what the plan says."""

    profile = Profile(DetectorSpec(), TrackingSpec(), ())

    def statuses(store):
        done = train(WorkerContext(store.url, "run", tmp_path), HEAD)
        store = fitted(store, [HEAD])
        rows = plan_with(store, plan(store.records(), profile), [HEAD])
        return done.status, [row for row in rows if row.due and row.address.family in ("head", "prediction")]

    store = stored(tmp_path / "store", FIRST)
    assert statuses(store) == ("done", [])
    assert statuses(FeatureStore(store.url)) == ("cached", [])
    old = next(one for one in filmed(FIRST[0]) if one.address.family == family)
    name = "value" if family == "label" else "logits"
    other = replace(old, arrays={**old.arrays, name: old.arrays[name][::-1]})
    store = commit(FeatureStore(store.url), other)
    assert statuses(store) == ("done", [])


def test_chance_is_scored_on_the_frames_that_the_headline_is(tmp_path):
    """Two units, the second coded in half of the frames, where the first is never shown."""
    space = space_of("two", {"kind": "units", "names": ["first", "second"]})
    value = np.array([[1, np.nan]] * 10 + [[0, 1]] * 10, np.float64)
    store = commit(FeatureStore.create(f"memory:{tmp_path}"), source("a", 20), label("a", space, value))
    known = np.isfinite(value)
    video = EvaluationVideo("a", {}, np.nan_to_num(value).astype(np.int8), known)
    head = HeadRun("ones", HEAD.inputs, replace(default_mlp(space), name="ones", task=space))
    row = Experiment("row", "Two units", "a test", (head,), EvaluationSpec(space, HeadOutput("ones")))
    assert _by_chance(store, row, [video]) == score(space, np.ones((10, 2), np.int8), video.value[10:]).value == 0.5


def test_labels_that_no_source_of_a_run_brings_are_named_where_it_brings_others_of_that_space(grown):
    brought = {Address("label", "expr", video, "main") for video in FIRST}
    assert {one.video for one in labels_of_no_source(grown, [HEAD], brought)} == {*LATER, "judged"}
    assert labels_of_no_source(grown, [HEAD], set()) == []
    assert labels_of_no_source(grown, [], brought) == []


def test_an_interval_draws_the_videos_of_a_group_together_and_no_key_without_groups_moves(tmp_path):
    videos = FIRST + LATER
    store = commit(
        FeatureStore.create(f"memory:{tmp_path}"), *(artifact for video in videos for artifact in filmed(video))
    )
    found = {}
    for name, groups in {"people": "aabcc", "videos": "abcde"}.items():
        folds = Folds.by_group(dict(zip(videos, groups, strict=True)))
        store = fitted(store, folds_in_use(store, HEAD, folds))
        store = fitted(store, [with_fixed_epochs(store, HEAD, folds)])
        found[name] = result_artifact(store, ROW, "honest", folds)
    (people, shown), (alone, _) = found["people"], found["videos"]
    assert people.recipe["asked"]["drawn_together"] == [["train0", "train1"], ["train3", "train4"]]
    assert shown.drawn_together == (("train0", "train1"), ("train3", "train4"))
    assert "drawn_together" not in alone.recipe["asked"]
    folds = Folds.by_group(dict(zip(videos, "aabcc", strict=True)))
    store = fitted(store, folds_in_use(store, HEAD, folds))
    store = fitted(store, [with_fixed_epochs(store, HEAD, folds)])
    stored = commit(store, result_artifact(store, ROW, "honest", folds)[0])
    (again,) = reproduce(stored, [people.address], Path("weights"))
    assert (again.verdict, again.reason) == ("equal", "")
    outcome = ExperimentOutcome(ROW, "done", "", (shown,))
    assert "by drawing whole groups, as all videos of a person" in legend([outcome], brief=False)
    assert "by drawing whole videos" in legend([replace(outcome, results=(found["videos"][1],))], brief=False)


def test_a_head_counts_the_subjects_and_frames_that_it_is_fitted_on_and_not_those_that_lack_a_column(tmp_path):
    whole, partly, never = (np.full((FRAMES, 2), 0.5) for _ in range(3))
    partly[:7, 0], partly[9], never[:, 1] = np.nan, np.nan, np.nan
    videos = {"whole": whole, "partly": partly, "never": never}
    store = commit(
        FeatureStore.create(f"memory:{tmp_path}"),
        *(source(video, FRAMES) for video in videos),
        *(label(video, task_space("va"), value) for video, value in videos.items()),
    )
    subjects = [LabelledSubject(record, ()) for record in store.records("label")]
    counted = _counts(store, {"train": subjects, "validation": []})
    lacking = {"train": 7 + FRAMES, "validation": 0}
    assert counted == {"subjects": {"train": 2, "validation": 0}, "frames_lacking_a_column": lacking}
    assert _counts(store, {"train": [], "validation": []}) == {"subjects": {"train": 0, "validation": 0}}


def test_labels_of_a_person_whom_no_feature_matches_are_named_with_the_people_that_there_are(grown):
    assert unmatched_labels(grown, [HEAD]) == []
    store = commit(FeatureStore.create("memory:unmatched"), *filmed("talk"), source("blank", FRAMES))
    value = np.zeros((FRAMES, 1))
    store = commit(store, *(label(*of) for of in (("talk", EXPR, value, "person3"), ("blank", EXPR, value))))
    by_pixels = replace(HEAD, name="other", inputs=(Input("mt_emotimobilevit@cropped"),))
    found = [(one.video, one.kind, one.text) for one in unmatched_labels(store, [HEAD, by_pixels])]
    left_out = "are left out by folded, other"
    assert ("blank", "unmatched labels") in [one[:2] for one in found]
    texts = [text for *_, text in found]
    assert any(f"'expr' for 'person3' {left_out}: its people by 'cropped' are main. Name" in text for text in texts)
    assert any(f"'expr' for 'main' {left_out}: it has no face." in text for text in texts)
    lacks = "are left out by other: it lacks what the head takes of that person ("
    assert any(f"{lacks}'mt_emotimobilevit" in t for t in texts)
    assert len(found) == 3
