"""Heads: real Keras against planted rules, an independent Keras run, and themselves."""

from __future__ import annotations

import json
import os
import random as python_random
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affstore.models.evaluation.metrics import accuracy, au_f1
from affstore.models.evaluation.thresholds import decide
from affstore.models.heads.class_weights import class_weights, unit_weights
from affstore.models.heads.contract import last_epoch
from affstore.models.heads.examples import Examples, check
from affstore.models.heads.frame_dataset import in_batches
from affstore.models.heads.mlp.keras_mlp import FittedHead, fit, predict
from affstore.models.heads.mlp.spec import AU_MLP, EXPR_MLP, PAPER_HEADS, VA_MLP, MlpSpec
from affstore.models.heads.shuffle_buffer import Shuffled
from affstore.models.heads.trainer_options import TrainerOptions
from affstore.store.contract.errors import AnnotationError, ArchitectureError, SpecError, WeightsError
from affstore.store.contract.keys import digest_arrays, key_of
from tests.factories import mean_ccc
from tests.parameters import usually

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
    assert len({key_of(spec) for spec in (*PAPER_HEADS.values(), last_epoch(EXPR_MLP, 1))}) == 4


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


@pytest.mark.parametrize("task", usually(["expr", "au", "va"]))
def test_training_is_what_keras_fit_does(task):
    import keras

    from affstore.models.heads.mlp.keras_network import initial_parameters

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
    order = np.random.default_rng([spec.seed, 1]).permutation(len(train))
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
from affstore.models.heads.mlp.keras_mlp import FittedHead, fit, predict
import numpy as np
spec = quick("va")
untrained = {"dense_0_kernel": np.zeros((10, 2), np.float32), "dense_0_bias": np.zeros(2, np.float32)}
predict(FittedHead(spec, untrained, {}, 0), planted("va", 3).x)
light = not {"tensorflow", "keras"} & set(sys.modules)
wide = np.random.default_rng(0).normal(size=(768, 1280)).astype(np.float32)
from affstore.models.heads.examples import Examples
examples = Examples(wide, planted("au", 768).y)
print(json.dumps({"light": light, "head": bits(fit(quick("au", batch=256), examples, examples))}))
"""


@pytest.mark.slow
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
    spec = last_epoch(quick("expr"), 3)
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


class Pieces:
    """Examples in blocks of their own sizes, that count their reads, and break off at one if asked to."""

    def __init__(self, examples: Examples, sizes, last: int = -1, stop=None) -> None:
        self.examples, self.blocks, self.reads, self.last, self.stop = examples, list(sizes), 0, last, stop
        assert sum(self.blocks) == len(examples)
        self.y, self.width = examples.y, examples.width

    def __len__(self) -> int:
        return len(self.examples)

    def read(self, block: int):
        if self.reads == self.last:
            self.stop()
        self.reads += 1
        first = sum(self.blocks[:block])
        return self.examples.x[first : first + self.blocks[block]]

    def name_of(self, row: int) -> str:
        return f"frame {row % 100} of video 'v{row // 100}'"


def numbered(sizes) -> Pieces:
    """Rows that hold their own numbers."""
    rows = sum(sizes)
    return Pieces(Examples(np.arange(rows, dtype=np.float32)[:, None], np.zeros((rows, 1), np.int8)), sizes)


@settings(max_examples=200)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(1, 30), st.integers(1, 300), st.integers(0, 3)
)
def test_every_row_is_seen_exactly_once_an_epoch_whatever_the_blocks(sizes, batch, most, epoch):
    shuffled = Shuffled(numbered(sizes), batch, most)
    for _ in range(2):  # the second time, with what is held from the first
        taken = [(x.copy(), rows.copy()) for x, rows in shuffled.epoch(5, epoch)]
        rows = np.concatenate([rows for _, rows in taken])
        assert sorted(rows) == list(range(sum(sizes)))
        np.testing.assert_array_equal(np.concatenate([x[:, 0] for x, _ in taken]), rows)
        assert {len(part) for _, part in taken[:-1]} <= {batch}
    again = np.concatenate([rows for _, rows in Shuffled(numbered(sizes), batch, most).epoch(5, epoch)])
    assert again.tolist() == rows.tolist()  # the order of an epoch does not depend on those before it


@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(1, 30))
def test_batches_in_order_do_not_care_where_blocks_end(sizes, batch):
    taken = [rows for _, rows in in_batches(numbered(sizes), range(len(sizes)), batch, "validation")]
    assert np.concatenate(taken).tolist() == list(range(sum(sizes)))
    assert {len(rows) for rows in taken[:-1]} <= {batch}


def test_rows_are_mixed_far_beyond_their_blocks_and_in_another_order_each_epoch():
    shuffled = Shuffled(numbered([100] * 100), 50, 1000)
    orders = [np.concatenate([rows for _, rows in shuffled.epoch(0, epoch)]) for epoch in range(2)]
    assert (orders[0] != orders[1]).mean() > 0.99
    blocks = [len(set(batch // 100)) for batch in np.split(orders[0], 200)]
    assert np.median(blocks) > 15  # of 50 rows; were blocks not mixed it would be 1


def test_any_row_may_come_first():
    first = [next(iter(Shuffled(numbered([4] * 5), 1, 20).epoch(seed, 0)))[1][0] for seed in range(2000)]
    counts = np.bincount(first, minlength=20)
    assert ((counts - 100) ** 2 / 100).sum() < 43.8  # chi squared, 19 degrees of freedom, one in a thousand


@pytest.mark.parametrize("task", usually(["expr", "au", "va"]))
def test_rows_read_in_blocks_give_the_bits_of_rows_in_memory(task):
    train, held_out = planted(task, 300), planted(task, 150, seed=1)
    pieces = Pieces(train, [1, 99, 64, 130, 6]), Pieces(held_out, [140, 10])
    assert bits(fit(quick(task, epochs=3), *pieces)) == bits(fit(quick(task, epochs=3), train, held_out))
    assert pieces[0].reads == 5  # they fit, so they are read once


def test_rows_that_do_not_fit_are_read_anew_and_a_rule_is_learnt_all_the_same():
    train, held_out = planted("expr", 6400), planted("expr", 800, seed=1)
    train = Examples(train.x[np.argsort(train.y[:, 0])], np.sort(train.y, axis=0))  # class after class
    pieces = Pieces(train, [100] * 64)
    head = fit(quick("expr", shuffle_rows=1000), pieces, held_out)
    assert pieces.reads == 2 * 64
    assert accuracy(decide("expr", predict(head, held_out.x)), held_out.y) > 0.99
    assert bits(fit(quick("expr", shuffle_rows=1000), Pieces(train, [100] * 64), held_out)) == bits(head)


def test_the_concordance_of_noisy_labels_reaches_what_no_squared_error_can():
    random = np.random.default_rng(0)
    weights = random.normal(size=(WIDTH, 2)) * 0.1 / np.sqrt(WIDTH)
    parts = []
    for rows in (20480, 4096, 20480):
        x = random.normal(size=(rows, WIDTH))
        noise = random.normal(size=(rows, 2)) * 4 / 3 * np.linalg.norm(weights, axis=0)
        parts.append(Examples(x.astype(np.float32), (x @ weights + noise).clip(-1, 1).astype(np.float32)))
    train, held_out, fresh = parts
    head = fit(quick("va", epochs=8, l2=0.0, batch=256, learning_rate=3e-3), train, held_out)
    said = predict(head, fresh.x)
    # The best concordance is the correlation, .6, by outputs as spread as the labels. The best squared error has
    # outputs that are .6 times as spread, and a concordance of 2 x .36 / 1.36.
    assert mean_ccc(said, fresh.y) == pytest.approx(0.6, abs=0.015)
    np.testing.assert_allclose(said.std(axis=0) / fresh.y.std(axis=0), 1, atol=0.05)


@pytest.mark.parametrize("most", [1000, 100])
def test_a_feature_that_is_no_number_is_named_by_its_video_and_frame(most):
    train, held_out = planted("expr", 300), planted("expr", 300, seed=1)
    spoiled = Examples(train.x.copy(), train.y)
    spoiled.x[234, 3] = np.nan
    spec = quick("expr", shuffle_rows=most)
    with pytest.raises(SpecError, match=r"features of training frame 34 of video 'v2' hold NaN or infinity"):
        fit(spec, Pieces(spoiled, [100, 100, 100]), held_out)
    with pytest.raises(SpecError, match=r"features of validation frame 34 of video 'v2' hold NaN"):
        fit(spec, held_out, Pieces(spoiled, [150, 150]))
    with pytest.raises(SpecError, match="training example 234 hold NaN"):
        check("expr", spoiled, "training")
    fine = Examples(np.full((8192, 4), 2e38, np.float32), np.zeros((8192, 1), np.int8))
    check("expr", fine, "training")  # their sum is not finite, they are


def test_blocks_of_another_width_are_refused():
    class Wider(Pieces):
        def read(self, block):
            return np.hstack([super().read(block)] * (1 + block))

    with pytest.raises(SpecError, match=r"from frame 50 of video 'v0' on should be \(50, 10\); found \(50, 20\)"):
        fit(quick("va"), Wider(planted("va", 100), [50, 50]), planted("va", 50))


class Interrupted(Exception):
    pass


def interrupt() -> None:
    raise Interrupted


LONG = {"epochs": 6, "shuffle_rows": 100}


@pytest.mark.slow
def test_a_training_that_broke_off_anywhere_ends_with_the_same_bits(tmp_path):
    train, held_out, spec = planted("expr", 320), planted("expr", 100, seed=1), quick("expr", **LONG)
    whole = bits(fit(spec, Pieces(train, [32] * 10), held_out))
    for last in (3, 17, 59):
        options = TrainerOptions(checkpoints=tmp_path / str(last))
        with pytest.raises(Interrupted):
            fit(spec, Pieces(train, [32] * 10, last, interrupt), held_out, options)
        assert bits(fit(spec, Pieces(train, [32] * 10), held_out, options)) == whole
    done = Pieces(train, [32] * 10, 0, interrupt)
    assert bits(fit(spec, done, held_out, options)) == whole  # a training that is done is not done again


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.test_heads import LONG, TrainerOptions, Pieces, fit, planted, quick
train = Pieces(planted("va", 320), [32] * 10, 35, lambda: os.kill(os.getpid(), signal.SIGKILL))
fit(quick("va", **LONG), train, planted("va", 100, seed=1), TrainerOptions(checkpoints=Path(sys.argv[1])))
"""


@pytest.mark.slow
def test_a_killed_process_that_is_started_again_ends_with_the_same_bits(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL
    train, held_out, spec = planted("va", 320), planted("va", 100, seed=1), quick("va", **LONG)
    again = Pieces(train, [32] * 10)
    head = fit(spec, again, held_out, TrainerOptions(checkpoints=tmp_path))
    assert again.reads == 30  # three epochs of six were done
    assert bits(head) == bits(fit(spec, Pieces(train, [32] * 10), held_out))


def test_a_checkpoint_of_another_training_or_a_damaged_one_is_refused(tmp_path):
    options, train = TrainerOptions(checkpoints=tmp_path), planted("va", 100)
    fit(quick("va"), train, train, options)
    assert [path.name for path in tmp_path.iterdir()] == ["training.safetensors"]
    for spec, rows in ((quick("va", seed=4), train), (quick("va"), planted("va", 100, seed=4))):
        with pytest.raises(SpecError, match="is of another head, other labels"):
            fit(spec, rows, train, options)
    path = tmp_path / "training.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="is damaged"):
        fit(quick("va"), train, train, options)


def test_a_gpu_that_is_not_there_is_done_without():
    train = planted("va", 100)
    assert bits(fit(quick("va"), train, train, TrainerOptions("cuda:7"))) == bits(fit(quick("va"), train, train))


@pytest.mark.slow
def test_torch_can_train_in_a_process_in_which_keras_has_trained_first():
    script = """
import numpy as np
from dataclasses import replace
from pathlib import Path
from affstore.models.heads.examples import Examples
from affstore.models.heads.mlp.keras_mlp import fit
from affstore.models.heads.mlp.spec import EXPR_MLP
x = np.eye(8, dtype=np.float32)
examples = Examples(x, np.arange(8, dtype=np.int8)[:, None])
fit(replace(EXPR_MLP, epochs=1, hidden=2), examples, examples)
import torchvision
import torch
torch.optim.Adam([torch.zeros(1, requires_grad=True)])
print("both")
"""
    command = [sys.executable, "-W", "ignore", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1], check=False)
    assert done.stdout.split() == ["both"], done.stderr[-500:]


@pytest.mark.slow
@pytest.mark.parametrize("first", ["", "import tensorflow\n"])
def test_what_needs_torch_s_compiler_can_be_imported_after_the_network_of_keras(first):
    script = f"{first}from affstore.models.heads.mlp import keras_network\nimport timm\nprint('both')"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["both"], done.stderr[-500:]


@pytest.mark.slow
def test_a_head_is_the_same_in_a_process_in_which_tensorflow_was_used_first():
    script = """
import sys
from affstore.flows.environment import prepare
prepare()
if sys.argv[1:]:
    import tensorflow as tf
    float(tf.reduce_sum(tf.random.normal((4000, 400))))
import numpy as np
from dataclasses import replace
from affstore.models.heads.examples import Examples
from affstore.models.heads.mlp.keras_mlp import fit
from affstore.models.heads.mlp.spec import EXPR_MLP
from affstore.store.contract.keys import digest_arrays
r = np.random.default_rng(0)
rows = Examples(r.standard_normal((3000, 1280), np.float32), r.integers(0, 8, (3000, 1)).astype(np.int8))
print(digest_arrays(dict(fit(replace(EXPR_MLP, epochs=1), rows, rows).parameters)))
"""
    environment = {name: value for name, value in os.environ.items() if name != "TF_NUM_INTRAOP_THREADS"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    command = [sys.executable, "-W", "ignore", "-c", script]
    alone, after = (
        subprocess.run([*command, *more], env=environment, capture_output=True, text=True, check=True).stdout
        for more in ([], ["used"])
    )
    assert alone == after != ""
