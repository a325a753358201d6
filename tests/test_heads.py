"""Heads: real Keras against planted rules, an independent Keras run, and themselves."""

from __future__ import annotations

import json
import os
import random as python_random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from models.heads.examples import Examples
from models.heads.keras_mlp import FittedHead, fit, predict
from models.heads.specs import AU_MLP, EXPR_MLP, PAPER_HEADS, VA_MLP, MlpSpec, without_validation
from models.heads.weights import class_weights, unit_weights
from models.metrics import accuracy, au_f1, mean_ccc
from models.thresholds import decide
from store.contract.errors import AnnotationError, ArchitectureError, SpecError
from store.contract.keys import digest_arrays, key_of

WIDTH = 10


def planted(task: str, rows: int, seed: int = 0, noise: float = 0.0) -> Examples:
    """Features whose label is a known rule; a share `noise` of the labels is drawn by lot."""
    random = np.random.default_rng(seed)
    rule = np.random.default_rng(99).normal(size=(WIDTH, 12))
    x = random.normal(size=(rows, WIDTH)).astype(np.float32)
    if task == "expr":
        y = random.integers(0, 8, rows)
        x += 2 * rule.T[y].astype(np.float32)  # eight clouds that do not touch
        y = np.where(random.random(rows) < noise, random.integers(0, 8, rows), y)[:, None].astype(np.int8)
    elif task == "au":
        y = (x @ rule > 2).astype(np.int8)
    else:
        y = np.tanh(x @ rule[:, :2] / 4).astype(np.float32)
    return Examples(x, y)


def quick(task: str, **changes) -> MlpSpec:
    """The papers' head of the task, for so few frames that it needs smaller batches."""
    return replace(PAPER_HEADS[task], **{"batch": 64, "epochs": 2, "learning_rate": 1e-2, **changes})


def bits(head: FittedHead) -> str:
    return digest_arrays({**head.parameters, **head.curve})


def test_class_weights_are_the_printed_ones():
    counts = np.array([177198, 16573, 10771, 9080, 95463, 78751, 31615, 165866])
    weights = class_weights(counts)
    printed = [1, 10.69, 16.45, 19.52, 1.856, 2.25, 5.605, 1.068]
    np.testing.assert_allclose(weights, printed, rtol=5e-4)
    assert (weights * counts).sum() / counts.sum() == pytest.approx(2.42, abs=5e-3)


def test_a_class_that_is_absent_weighs_nothing():
    assert class_weights(np.array([4, 0, 2])).tolist() == [1, 0, 2]
    assert unit_weights(np.array([[1, 0], [1, 1]], np.int8)).tolist() == [[0, 1], [0.5, 1]]


def test_action_unit_weights_are_the_printed_ones():
    w0 = [0.567, 0.526, 0.591, 0.681, 0.829, 0.763, 0.662, 0.514, 0.516, 0.513, 1.339, 0.540]
    w1 = [4.23, 10.04, 3.25, 1.88, 1.26, 1.45, 2.04, 17.79, 15.91, 19.52, 0.798, 6.73]
    frames = 200_000
    positives = np.round(frames / (2 * np.array(w1)))
    value = (np.arange(frames)[:, None] < positives).astype(np.int8)
    np.testing.assert_allclose(unit_weights(value)[1], w1, rtol=1e-3)
    np.testing.assert_allclose(unit_weights(value)[0], w0, rtol=4e-3)  # as far as the printed digits of w1 say


def test_the_papers_heads_are_as_published():
    assert (EXPR_MLP.hidden, EXPR_MLP.batch, EXPR_MLP.epochs, EXPR_MLP.selection) == (128, 256, 10, "best_accuracy")
    assert (AU_MLP.hidden, AU_MLP.batch, AU_MLP.epochs, AU_MLP.selection) == (128, 512, 5, "lowest_loss")
    assert (VA_MLP.hidden, VA_MLP.batch, VA_MLP.epochs, VA_MLP.l2) == (0, 1024, 20, 1 / 1024)
    assert {spec.learning_rate for spec in PAPER_HEADS.values()} == {1e-3}
    assert len({key_of(spec) for spec in (*PAPER_HEADS.values(), without_validation(EXPR_MLP))}) == 4


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"task": "va"}, "needs tanh and ccc"),
        ({"loss": "ccc"}, "needs softmax and sparse_crossentropy"),
        ({"weighting": "balanced"}, "the weighting is one of none, inverse_frequency"),
        ({"batch": 0}, "1 or more"),
        ({"learning_rate": 0.0}, "learning rate must be positive"),
        ({"l2": float("nan")}, "finite"),
    ],
)
def test_a_spec_that_makes_no_sense_is_refused(changes, said):
    with pytest.raises(SpecError, match=said):
        replace(EXPR_MLP, **changes)


def reference_losses(spec: MlpSpec, train: Examples):
    """The notebooks' losses in Keras' own words."""
    import keras

    ops = keras.ops
    if spec.task == "expr":
        return "sparse_categorical_crossentropy"
    w0, w1 = unit_weights(train.y) if spec.task == "au" else (None, None)

    def weighted(y, p):
        return ops.mean((w0 ** (1.0 - y)) * (w1**y) * ops.binary_crossentropy(y, p), axis=-1)

    def concordance(y, p):
        covariance = ops.mean((y - ops.mean(y, 0)) * (p - ops.mean(p, 0)), 0)
        return 1 - ops.mean(2 * covariance / (ops.var(y, 0) + ops.var(p, 0) + (ops.mean(y, 0) - ops.mean(p, 0)) ** 2))

    return weighted if spec.task == "au" else concordance


@pytest.mark.parametrize("task", ["expr", "au", "va"])
def test_training_is_what_keras_fit_does(task):
    import keras

    from models.heads.training import initial_parameters

    spec = quick(task, epochs=1, selection="last_epoch")
    train, held_out = planted(task, 200), planted(task, 100, seed=1)
    head = fit(spec, train, held_out)

    generator = np.random.default_rng(spec.seed)
    widths = [WIDTH, *([spec.hidden] if spec.hidden else []), spec.outputs]
    decay = keras.regularizers.L2(spec.l2)
    layers = [keras.layers.Dense(spec.hidden, "relu", kernel_regularizer=decay)] if spec.hidden else []
    model = keras.Sequential(
        [keras.Input((WIDTH,)), *layers, keras.layers.Dense(spec.outputs, spec.activation, kernel_regularizer=decay)]
    )
    model.set_weights(initial_parameters(widths, generator))
    model.compile(keras.optimizers.Adam(spec.learning_rate), reference_losses(spec, train))
    order = generator.permutation(len(train))
    weights = dict(enumerate(class_weights(np.bincount(train.y[:, 0], minlength=8)))) if task == "expr" else None
    y, held_out_y = train.y.astype(np.float32), held_out.y.astype(np.float32)
    history = model.fit(
        train.x[order], y[order], spec.batch, shuffle=False, verbose=0, class_weight=weights,
        validation_data=(held_out.x, held_out_y),
    ).history  # fmt: skip

    for ours, theirs in zip(head.parameters.values(), model.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    assert head.curve["loss"] == pytest.approx(history["loss"], rel=1e-4)
    assert head.curve["val_loss"] == pytest.approx(history["val_loss"], rel=1e-4)

    model.set_weights(list(head.parameters.values()))
    np.testing.assert_allclose(predict(head, held_out.x), model.predict(held_out.x, verbose=0), atol=1e-6)


def test_a_rule_in_classes_is_learnt_as_far_as_its_noise_allows():
    train, held_out = planted("expr", 6400, noise=0.2), planted("expr", 3200, seed=1, noise=0.2)
    head = fit(quick("expr", epochs=3, learning_rate=1e-3), train, held_out)
    reached = accuracy(decide("expr", predict(head, held_out.x)), held_out.y)
    possible = 0.8 + 0.2 / 8
    assert reached == pytest.approx(possible, abs=0.025)  # three standard deviations of the lot
    assert reached == pytest.approx(head.curve["val_accuracy"][head.best_epoch], abs=1e-3)


def test_a_rule_in_action_units_is_learnt():
    head = fit(quick("au", epochs=6), planted("au", 6400), planted("au", 640, seed=1))
    fresh = planted("au", 2000, seed=2)
    found = au_f1(decide("au", predict(head, fresh.x)), fresh.y)
    assert found.mean() > 0.93
    assert found.min() > 0.85


def test_a_rule_in_valence_and_arousal_is_learnt():
    head = fit(quick("va", epochs=8, l2=0.0), planted("va", 6400), planted("va", 640, seed=1))
    fresh = planted("va", 2000, seed=2)
    assert mean_ccc(predict(head, fresh.x), fresh.y) > 0.99


@pytest.mark.parametrize("task", ["expr", "au", "va"])
def test_two_fits_are_equal_to_the_bit_whatever_tensorflow_did_between(task):
    import tensorflow as tf

    train, held_out = planted(task, 192), planted(task, 64, seed=1)
    first = fit(quick(task), train, held_out)
    tf.random.set_seed(7)
    tf.keras.Sequential([tf.keras.layers.Dense(3)])(tf.random.normal((4, 5)))
    assert bits(fit(quick(task), train, held_out)) == bits(first)
    assert bits(fit(quick(task, seed=1), train, held_out)) != bits(first)


def test_heads_fitted_in_threads_at_once_are_the_same_heads():
    examples = {task: planted(task, 192) for task in ("expr", "va")}
    alone = {task: bits(fit(quick(task), rows, rows)) for task, rows in examples.items()}
    with ThreadPoolExecutor(3) as pool:
        at_once = {task: pool.submit(fit, quick(task), rows, rows) for task, rows in examples.items()}
        assert {task: bits(head.result()) for task, head in at_once.items()} == alone


def test_no_global_generator_is_touched():
    import tensorflow as tf

    def draws():
        return python_random.random(), np.random.random(), float(tf.random.uniform(()))

    def seed():
        python_random.seed(3)
        np.random.seed(3)
        tf.random.set_seed(3)

    seed()
    expected = draws()
    seed()
    fit(quick("va"), planted("va", 100), planted("va", 50))
    assert draws() == expected


SCRIPT = """
import json, sys
from tests.test_heads import bits, planted, quick
from models.heads.keras_mlp import FittedHead, fit, predict
import numpy as np
spec = quick("va")
untrained = {"dense_0_kernel": np.zeros((10, 2), np.float32), "dense_0_bias": np.zeros(2, np.float32)}
predict(FittedHead(spec, untrained, {}, 0), planted("va", 3).x)
light = not {"tensorflow", "keras"} & set(sys.modules)
wide = np.random.default_rng(0).normal(size=(768, 1280)).astype(np.float32)
from models.heads.examples import Examples
examples = Examples(wide, planted("au", 768).y)
print(json.dumps({"light": light, "head": bits(fit(quick("au", batch=256), examples, examples))}))
"""


def test_a_head_is_the_same_on_any_number_of_cores_and_predicting_needs_no_tensorflow():
    started = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, "TF_NUM_INTRAOP_THREADS": threads, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for threads in ("1", "5")
    ]
    one, five = (json.loads(process.communicate()[0]) for process in started)
    assert one == five
    assert one["light"]


@pytest.mark.parametrize(
    ("task", "measure", "best"), [("expr", "val_accuracy", np.argmax), ("va", "val_loss", np.argmin)]
)
def test_the_kept_epoch_is_the_best_on_validation_frames(task, measure, best):
    held_out = planted(task, 300, seed=1)
    spec = quick(task, epochs=6, learning_rate=0.3, l2=0.0, batch=300)  # so fast that later epochs may be worse
    head = fit(spec, planted(task, 300), held_out)
    assert head.best_epoch == best(head.curve[measure])
    assert {len(values) for values in head.curve.values()} == {6}
    output = predict(head, held_out.x)
    again = accuracy(decide(task, output), held_out.y) if task == "expr" else 1 - mean_ccc(output, held_out.y)
    assert again == pytest.approx(head.curve[measure][head.best_epoch], abs=1e-4)


def test_without_validation_the_last_epoch_is_kept():
    spec = without_validation(quick("expr"), epochs=3)
    head = fit(spec, planted("expr", 100))
    assert head.best_epoch == 2
    assert set(head.curve) == {"loss", "accuracy"}
    with pytest.raises(SpecError, match="best accuracy on validation frames, and there are none"):
        fit(quick("expr"), planted("expr", 100))


def test_a_class_that_is_absent_from_training_keeps_its_output():
    train = planted("expr", 400)
    train = Examples(train.x[train.y[:, 0] != 3], train.y[train.y[:, 0] != 3])
    head = fit(quick("expr"), train, planted("expr", 100, seed=1))
    scores = predict(head, train.x)
    assert scores.shape == (len(train), 8)
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-5)
    assert (scores.argmax(axis=1) != 3).all()


def test_a_last_batch_of_one_frame_does_no_harm():
    head = fit(quick("va", batch=64), planted("va", 65), planted("va", 65))
    assert all(np.isfinite(values).all() for values in head.curve.values())


def test_probabilities_of_extreme_scores_do_not_overflow():
    for task, rows in (("expr", 8), ("au", 12)):
        parameters = {
            "dense_0_kernel": np.eye(rows, 128, dtype=np.float32) * 1e4,
            "dense_0_bias": np.zeros(128, np.float32),
            "dense_1_kernel": np.eye(128, rows, dtype=np.float32) - np.eye(128, rows, 1, dtype=np.float32),
            "dense_1_bias": np.zeros(rows, np.float32),
        }
        output = predict(FittedHead(PAPER_HEADS[task], parameters, {}, 0), np.eye(rows, dtype=np.float32))
        assert np.isfinite(output).all()
        assert output.dtype == np.float32
        assert output.max() == 1


def test_what_cannot_be_learnt_from_says_why():
    train, held_out, spec = planted("expr", 50), planted("expr", 20, seed=1), quick("expr")
    with pytest.raises(AnnotationError, match=r"same label \(4\)"):
        fit(spec, Examples(train.x, np.full_like(train.y, 4)), held_out)
    with pytest.raises(AnnotationError, match=r"training label of the task 'expr' is not in \[0, 7\]"):
        fit(spec, Examples(train.x, train.y - 1), held_out)
    with pytest.raises(AnnotationError, match="no training example"):
        fit(spec, Examples(train.x[:0], train.y[:0]), held_out)
    with pytest.raises(AnnotationError, match="no validation example"):
        fit(spec, train, Examples(train.x[:0], train.y[:0]))
    with pytest.raises(SpecError, match="has 12 label columns"):
        fit(quick("au"), train, held_out)
    with pytest.raises(SpecError, match="of one width; found 10 and 9"):
        fit(spec, train, Examples(held_out.x[:, :9], held_out.y))
    for bad in (np.nan, np.inf):
        spoiled = train.x.copy()
        spoiled[7, 3] = bad
        with pytest.raises(SpecError, match="training example 7 hold NaN or infinity"):
            fit(spec, Examples(spoiled, train.y), held_out)


def test_a_training_that_diverges_is_said():
    train = planted("expr", 100)
    with pytest.raises(SpecError, match="diverged in epoch 1 of 2"):
        fit(quick("expr", learning_rate=1e38), train, train)


def test_a_head_takes_only_its_own_width_and_parameters():
    head = fit(quick("va", epochs=1), planted("va", 40), planted("va", 20))
    with pytest.raises(SpecError, match=r"takes features \(rows, 10\); found \(3, 9\)"):
        predict(head, np.zeros((3, 9), np.float32))
    assert predict(head, np.zeros((0, 10), np.float32)).shape == (0, 2)
    with pytest.raises(ArchitectureError, match=r"layers of \[128, 8\] units"):
        predict(replace(head, spec=EXPR_MLP), np.zeros((3, 10), np.float32))
