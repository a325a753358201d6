"""Label spaces as data: what a user may write, what is refused, and what the rest of affstore takes from them."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

from affstore.models.evaluation.metrics import chance, measures, score
from affstore.models.evaluation.thresholds import decide
from affstore.models.heads.mlp.spec import AU_MLP, EXPR_MLP, VA_MLP, default_mlp
from affstore.models.heads.sequence.spec import default_sequence
from affstore.store.contract.errors import SpecError, UnknownNameError
from affstore.store.contract.keys import canonical, key_of
from affstore.store.contract.labels import TASKS, LabelSpace, SpaceKind, space_of, spaces_of, task_of, task_space

SEVEN = {"kind": "classes", "names": ["calm", "joy", "anger", "fear", "disgust", "sadness", "surprise"]}
SIXTEEN = {"kind": "units", "names": [f"AU{k}" for k in range(16)], "range": [0, 5], "unknown": 9}
FOUR = {"kind": "values", "names": ["valence", "arousal", "power", "surprise"], "range": [0, 100]}
SPACES = spaces_of({"emotions": SEVEN, "intensity": SIXTEEN, "dimensions": FOUR})


def test_a_space_says_how_its_labels_are_kept():
    emotions, intensity, dimensions = SPACES.values()
    assert (emotions.kind, emotions.columns, emotions.high, emotions.dtype) == (SpaceKind.CLASSES, 1, 6, np.int8)
    assert (intensity.kind, intensity.columns, intensity.high, intensity.dtype) == (
        SpaceKind.INTENSITIES,
        16,
        5,
        np.int8,
    )
    assert (dimensions.kind, dimensions.columns, dimensions.low) == (SpaceKind.VALUES, 4, 0)
    assert dimensions.dtype is np.float32
    assert intensity.unknown == ("9",)


def test_which_numbers_are_labels_follows_from_the_space():
    cells = np.array([-1, 0, 0.5, 5, 6, 7, 100, np.nan])
    assert SPACES["emotions"].is_valid(cells).tolist() == [False, True, False, True, True, False, False, False]
    assert SPACES["intensity"].is_valid(cells).tolist() == [False, True, False, True, False, False, False, False]
    assert SPACES["dimensions"].is_valid(cells).tolist() == [False, True, True, True, True, True, True, False]


@pytest.mark.parametrize("space", [*SPACES.values(), *TASKS.values()], ids=str)
def test_a_definition_is_read_back_as_the_same_space_and_travels_to_workers(space):
    assert space_of(space.name, space.definition()) == space
    assert pickle.loads(pickle.dumps(space)) == space


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (SEVEN | {"names": ["calm", "joy", "Calm"]}, "the name 'calm' is there twice"),
        (SEVEN | {"kind": "clases"}, "Did you mean 'classes'"),
        (SEVEN | {"kind": None}, "needs a `kind`: classes, units, values; found nothing"),
        (SEVEN | {"kind": {}}, "needs a `kind`"),
        (SEVEN | {"names": None}, "a list of texts; found nothing"),
        (SEVEN | {"name": "x"}, "No field of the label space 'mine' is called 'name'"),
        (SEVEN | {"names": [True, False]}, "Put each name that is a number, yes, no or a date into quotes"),
        (SEVEN | {"names": [1, 2]}, "a number, yes, no or a date into quotes"),
        (SEVEN | {"names": ["calm"]}, "it needs 2 to 127 names; found 1"),
        (SEVEN | {"names": ["calm", " joy"]}, "begins or ends with a blank"),
        (SEVEN | {"names": "calm"}, "a list of texts; found 'calm'"),
        (SEVEN | {"range": [0, 3]}, "have no range"),
        (SEVEN | {"revision": 0}, "revision must be 1 or more"),
        (SEVEN | {"revision": "new"}, "`revision` is a whole number"),
        (FOUR | {"range": [1, -1]}, "from a lower to a higher number; found 1 to -1"),
        (FOUR | {"range": [0, float("inf")]}, "from a lower to a higher number"),
        (FOUR | {"range": [0]}, "the lowest and the highest label; found \\[0\\]"),
        (FOUR | {"unknown": {}}, "`unknown` is how files write no label"),
        (SIXTEEN | {"range": [1, 5]}, "intensities go from 0 to a whole number up to 127; found 1 to 5"),
        (SIXTEEN | {"range": [0, 2.5]}, "intensities go from 0"),
        (["calm"], "needs `kind` and `names`"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused_in_a_sentence(written, said):
    with pytest.raises(SpecError, match=said):
        space_of("mine", written)


def test_a_space_has_a_name_of_its_own_that_a_store_can_hold():
    with pytest.raises(SpecError, match="'expr' is one of affstore's own"):
        spaces_of({"expr": SEVEN})
    with pytest.raises(SpecError, match="it holds '/'"):
        spaces_of({"a/b": SEVEN})
    with pytest.raises(UnknownNameError, match="Did you mean 'emotions'"):
        task_space("emotion", SPACES)


def test_affstore_s_own_spaces_are_in_keys_by_name_and_a_user_s_by_all_that_it_says():
    assert task_of("expr", SPACES) == "expr"
    spec = default_mlp(task_of("emotions", SPACES))
    assert canonical(default_mlp("expr")) == canonical(EXPR_MLP)
    assert canonical(spec)["task"]["names"] == SEVEN["names"]
    revised = default_mlp(space_of("emotions", SEVEN | {"revision": 2}))
    renamed = default_mlp(space_of("emotions", SEVEN | {"names": [*SEVEN["names"][:6], "awe"]}))
    assert len({key_of(one) for one in (spec, revised, renamed)}) == 3


def test_a_user_s_space_has_the_papers_head_for_its_kind():
    emotions, intensity, dimensions = SPACES.values()
    spec = default_mlp(emotions)
    assert (spec.loss, spec.activation, spec.outputs) == (EXPR_MLP.loss, EXPR_MLP.activation, 7)
    spec = default_mlp(dimensions)
    assert (spec.loss, spec.activation, spec.outputs) == (VA_MLP.loss, VA_MLP.activation, 4)
    spec = default_mlp(intensity)
    assert (spec.loss, spec.activation, spec.hidden) == ("squared_error", "sigmoid", AU_MLP.hidden)
    assert [default_sequence(space).outputs for space in SPACES.values()] == [7, 16, 4]


def test_decisions_follow_from_the_space():
    emotions, intensity, dimensions = SPACES.values()
    output = np.zeros((2, 7), np.float32)
    output[:, 3] = 1
    assert decide(emotions, output).tolist() == [[3], [3]]
    levels = decide(intensity, np.linspace(-1, 7, 32, dtype=np.float32).reshape(2, 16))
    assert (levels.dtype, levels.min(), levels.max()) == (np.int8, 0, 5)
    affect = np.full((2, 4), 99.5, np.float32)
    assert decide(dimensions, affect) is affect
    with pytest.raises(SpecError, match="only units that are present or absent"):
        decide(intensity, np.zeros((2, 16), np.float32), np.full(16, 0.5))


def labels_of(space: LabelSpace, frames: int, seed: int) -> np.ndarray:
    """Labels by chance, half of the time the same as those of another seed."""
    random, shared = np.random.default_rng(seed), np.random.default_rng(0)
    shape = (frames, space.columns)
    if space.kind is SpaceKind.VALUES:
        return (shared.uniform(space.low, space.high, shape) + random.normal(0, 9, shape)).astype(np.float32)
    drawn = [one.integers(0, int(space.high) + 1, shape) for one in (random, shared)]
    return np.where(random.random(shape) < 0.5, *drawn).astype(np.int8)


@pytest.mark.parametrize("space", SPACES.values(), ids=str)
def test_a_perfect_answer_scores_one_and_chance_scores_less(space):
    value = labels_of(space, 200, 1)
    known = np.random.default_rng(2).random(value.shape) < 0.8
    perfect = score(space, value, value, known)
    assert perfect.value == pytest.approx(1)
    assert [name for name in perfect.details if name.endswith(space.names[0])]
    assert chance(space, value, known, value, known).value < 0.5


class TestMeasuresAreScikitLearnsAndScipys:
    @pytest.mark.parametrize("seed", range(3))
    def test_classes(self, seed):
        from sklearn import metrics as sk

        space = SPACES["emotions"]
        value, prediction = labels_of(space, 150, seed + 1), labels_of(space, 150, seed + 50)
        value[value == 5] = 4  # a class that nobody is annotated with, and is predicted
        known = np.random.default_rng(seed).random(value.shape) < 0.7
        output = np.random.default_rng(seed).integers(0, 9, (150, 7)).astype(np.float32)  # ties
        found = measures(space, output, prediction, value, known)
        truth, guess, out = value[known], prediction[known], output[known[:, 0]]
        assert found["accuracy"] == pytest.approx(sk.accuracy_score(truth, guess))
        weighted = sk.f1_score(truth, guess, labels=range(7), average="weighted", zero_division=0)
        assert found["weighted F1"] == pytest.approx(weighted)
        recalls = sk.recall_score(truth, guess, labels=np.unique(truth), average=None)
        assert found["balanced accuracy"] == pytest.approx(recalls.mean())
        there = [k for k in range(7) if k != 5]
        areas = [sk.roc_auc_score(truth == k, out[:, k]) for k in there]
        precisions = [sk.average_precision_score(truth == k, out[:, k]) for k in there]
        assert found["AUROC"] == pytest.approx(np.mean(areas))
        assert found["average precision"] == pytest.approx(np.mean(precisions))
        assert [found[f"AUROC {space.names[k]}"] for k in there] == pytest.approx(areas)
        assert f"AUROC {space.names[5]}" not in found

    @pytest.mark.parametrize("seed", range(3))
    def test_units(self, seed):
        from sklearn import metrics as sk

        space = TASKS["au"]
        value, prediction = labels_of(space, 120, seed + 1), labels_of(space, 120, seed + 50)
        known = np.random.default_rng(seed).random(value.shape) < 0.7
        output = np.random.default_rng(seed).random(value.shape).astype(np.float32).round(1)
        found = measures(space, output, prediction, value, known)
        units = [(value[m, k], prediction[m, k], output[m, k]) for k, m in enumerate(known.T)]
        for name, expected in {
            "accuracy": [sk.accuracy_score(t, g) for t, g, _ in units],
            "balanced accuracy": [sk.balanced_accuracy_score(t, g) for t, g, _ in units],
            "AUROC": [sk.roc_auc_score(t, o) for t, _, o in units],
            "average precision": [sk.average_precision_score(t, o) for t, _, o in units],
        }.items():
            assert found[name] == pytest.approx(np.mean(expected)), name
        truth, guess = (np.where(known, cells, 0) for cells in (value, prediction))
        assert found["weighted F1"] == pytest.approx(sk.f1_score(truth, guess, average="weighted", zero_division=0))

    @pytest.mark.parametrize("name", ["intensity", "dimensions"])
    def test_numbers(self, name):
        from scipy.stats import pearsonr
        from sklearn import metrics as sk

        space = SPACES[name]
        value, prediction = labels_of(space, 120, 1), labels_of(space, 120, 50)
        known = np.random.default_rng(3).random(value.shape) < 0.7
        found = measures(space, prediction.astype(np.float32), prediction, value, known)
        columns = [(value[m, k], prediction[m, k]) for k, m in enumerate(known.T)]
        for measure, of in {
            "PCC": lambda t, g: pearsonr(t.astype(float), g.astype(float)).statistic,
            "MAE": sk.mean_absolute_error,
            "RMSE": sk.root_mean_squared_error,
        }.items():
            expected = [of(t, g) for t, g in columns]
            assert found[measure] == pytest.approx(np.mean(expected), rel=1e-6)
            assert [found[f"{measure} {one}"] for one in space.names] == pytest.approx(expected, rel=1e-6)

    def test_what_frames_do_not_define_is_left_out(self):
        value = np.zeros((5, 1), np.int8)
        found = measures("expr", np.eye(5, 8, dtype=np.float32), value, value)
        assert (found["accuracy"], found["weighted F1"], found["balanced accuracy"]) == (1, 1, 1)
        assert "AUROC" not in found
        assert (
            measures("va", np.zeros((3, 2), np.float32), np.zeros((3, 2)), np.zeros((3, 2)), np.zeros((3, 2), bool))
            == {}
        )
        assert measures("va", *[np.ones((3, 2), np.float32)] * 3)["PCC"] == 0


@pytest.mark.parametrize("space", [SPACES["intensity"], SPACES["dimensions"]], ids=str)
def test_torch_s_outputs_are_within_the_range_and_the_loss_of_a_perfect_answer_is_least(space):
    torch = pytest.importorskip("torch")
    from affstore.models.heads.sequence.losses import Objective, activated

    spec = default_sequence(space)
    truth = labels_of(space, 40, 1).astype(np.float32)
    objective = Objective(spec, truth, torch.device("cpu"))
    scores = torch.linspace(-20, 20, 40 * len(space)).reshape(40, -1)
    outputs = activated(spec, scores)
    assert (float(outputs.min()), float(outputs.max())) == pytest.approx((space.low, space.high), abs=1e-4)
    labels = torch.from_numpy(truth)
    assert float(objective.of_outputs(labels, labels)) == pytest.approx(0, abs=1e-6)
    assert float(objective(scores, labels)) == pytest.approx(float(objective.of_outputs(outputs, labels)), rel=1e-4)
    assert float(objective(scores, labels)) > 0.1


@pytest.mark.parametrize("space", [SPACES["emotions"], SPACES["intensity"], SPACES["dimensions"]], ids=str)
def test_a_perceptron_of_a_user_s_space_predicts_what_keras_measured(space):
    from affstore.models.heads.examples import Examples
    from affstore.models.heads.mlp.keras_mlp import fit, predict

    y = labels_of(space, 64, 1).clip(space.low, space.high).astype(space.dtype)
    x = np.random.default_rng(5).normal(size=(64, 6)).astype(np.float32)
    spec = replace(default_mlp(space), epochs=2, batch=64, l2=0.0)
    head = fit(spec, Examples(x, y), Examples(x, y))
    outputs = predict(head, x).astype(np.float64)
    assert outputs.shape == (64, len(space))
    losses = {
        SpaceKind.CLASSES: lambda: -np.log(outputs[np.arange(64), y[:, 0]]).mean(),
        SpaceKind.INTENSITIES: lambda: (((outputs - y) / space.high) ** 2).mean(),
        SpaceKind.VALUES: lambda: 1 - score(space, outputs, y).value,
    }
    assert losses[space.kind]() == pytest.approx(head.curve["val_loss"][head.best_epoch], rel=1e-3)
    if space.kind is not SpaceKind.CLASSES:
        assert outputs.min() >= space.low
        assert outputs.max() <= space.high
