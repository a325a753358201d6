"""Heads on sequences: real training on planted rules, against independent references, and against themselves."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from affstore.models.evaluation.metrics import accuracy
from affstore.models.evaluation.thresholds import decide
from affstore.models.heads.checkpoints import Progress, read_checkpoint, save_checkpoint
from affstore.models.heads.class_weights import class_weights
from affstore.models.heads.contract import last_epoch
from affstore.models.heads.examples import Examples
from affstore.models.heads.mlp.keras_mlp import fit
from affstore.models.heads.mlp.keras_mlp import predict as predict_frames
from affstore.models.heads.mlp.spec import EXPR_MLP
from affstore.models.heads.sequence.dataset import Labels, MemorySequences, Piece, Streams, merge
from affstore.models.heads.sequence.fitted import FittedSequence
from affstore.models.heads.sequence.head import TrainerOptions, fit_sequence, predict_sequence
from affstore.models.heads.sequence.labelled_videos import LabelledVideos
from affstore.models.heads.sequence.losses import Objective, activated, concordance_loss
from affstore.models.heads.sequence.moments import moments_of
from affstore.models.heads.sequence.parts import EncoderSpec, OptimiserSpec, TcnSpec, usual_channels
from affstore.models.heads.sequence.spec import (
    AU_SEQUENCE,
    EXPR_SEQUENCE,
    PAPER_SEQUENCES,
    VA_SEQUENCE,
    SequenceSpec,
    as_ctyunai,
)
from affstore.models.heads.sequence.tcn import Stream
from affstore.models.heads.sequence.tcn_transformer import EncoderLayer, build, initialise, load_arrays, to_arrays
from affstore.models.heads.sequence.windows import outputs_of, stack
from affstore.store.contract.errors import AnnotationError, ArchitectureError, SpecError, WeightsError
from affstore.store.contract.keys import digest_arrays, key_of
from affstore.store.contract.windows import WindowSpec, window_starts
from tests.factories import mean_ccc

CPU = torch.device("cpu")
WIDTHS = (6, 3)


def tiny(task: str = "expr", **changes) -> SequenceSpec:
    """The papers' head with few, narrow layers, so that a test takes seconds."""
    small = {
        "tcn": TcnSpec(channels=((8, 8), (4,)), kernel=3, deviation=0.1),
        "encoder": EncoderSpec(width=8, layers=2, heads=2, feedforward=8),
        "hidden": 8,
        "window": WindowSpec(20, 12),
        "optimiser": OptimiserSpec(learning_rate=1e-2),
        "batch": 3,
        "epochs": 2,
        "evaluations": 2,
    }
    return replace(PAPER_SEQUENCES[task], **{**small, **changes})


def piece(source: MemorySequences, video: int, start: int, stop: int) -> Streams:
    return source.read([Piece(video, start, stop)])[0]


def videos(task: str = "expr", frames=(45, 20, 7, 31), seed: int = 0) -> MemorySequences:
    """Videos with two streams, gaps in both, and some unknown labels."""
    random = np.random.default_rng(seed)
    made = []
    for i, n in enumerate(frames):
        x = tuple(random.normal(size=(n, width)).astype(np.float32) for width in WIDTHS)
        present = random.random((n, 2)) < 0.8
        for stream, array in enumerate(x):
            array[~present[:, stream]] = np.nan
        first = np.nan_to_num(x[0])
        value = {
            "expr": (first[:, :1] > 0).astype(np.int8) * 3,
            "au": (random.random((n, 12)) < 0.3).astype(np.int8),
            "va": np.tanh(first[:, :2]),
        }[task]
        made.append((f"video {i}", Streams(x, present), Labels(value, random.random(n) < 0.9)))
    return MemorySequences(made)


def network_of(spec: SequenceSpec, widths=WIDTHS, seed: int = 0):
    network = build(spec, widths)
    initialise(network, torch.Generator().manual_seed(seed))
    return network.eval()


def drawn(network, seed: int = 1):
    """Other values for what starts at zero, so that a test sees whether it has an influence."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for stream in network.streams:
            stream.missing.normal_(generator=generator)
            stream.mean.normal_(generator=generator)
    return network


def predict(network, streams: Streams) -> np.ndarray:
    """Scores of one window of exactly these frames."""
    batch = stack([streams], len(streams), 1)
    with torch.inference_mode():
        return network(batch.streams, batch.present, batch.real).numpy()


def bits(head: FittedSequence) -> str:
    return digest_arrays({**head.parameters, **head.curve, "best": np.array([head.best, head.best_epoch])})


# What is published.


def test_the_papers_heads_are_as_published():
    assert usual_channels(1280) == usual_channels(1024) == (512, 256, 128)
    assert (usual_channels(512), usual_channels(256)) == ((256, 128), (128,))
    assert (usual_channels(768), usual_channels(8)) == ((512, 256, 128), (128,))
    for spec in PAPER_SEQUENCES.values():
        assert (spec.window.length, spec.window.stride) == (300, 200)
        assert (spec.encoder.layers, spec.encoder.heads, spec.encoder.feedforward) == (8, 4, 512)
        assert (spec.optimiser.name, spec.optimiser.learning_rate) == ("adam", 1e-4)
        assert (spec.tcn.kernel, spec.tcn.dropout, spec.tcn.activation, spec.batch) == (5, 0.3, "prelu", 32)
    assert as_ctyunai(VA_SEQUENCE).epochs == 40
    kinds = [*PAPER_SEQUENCES.values(), as_ctyunai(AU_SEQUENCE), last_epoch(EXPR_SEQUENCE, 3)]
    assert len({key_of(spec) for spec in kinds}) == len(kinds)


def test_the_papers_network_has_the_papers_shapes():
    with torch.device("meta"):
        from affstore.models.heads.sequence.tcn_transformer import TcnTransformer

        network = TcnTransformer(EXPR_SEQUENCE, (1280, 1024, 512, 256))
    channels = [[level.second.weight.shape[0] for level in stream.levels] for stream in network.streams]
    assert channels == [[512, 256, 128], [512, 256, 128], [256, 128], [128]]
    assert network.projection.weight.shape == (512, 512)
    assert len(network.encoder) == 8
    assert [module.weight.shape[0] for module in network.perceptrons[0] if hasattr(module, "weight")] == [256, 256, 8]


@pytest.mark.parametrize("steps", [1, 7])
def test_the_rate_rises_and_falls_with_every_step_as_in_ctyunais_solver(steps):
    spec = as_ctyunai(EXPR_SEQUENCE)
    rates = [spec.optimiser.rate(step, steps, spec.epochs) for step in range(spec.epochs * steps)]
    reference = torch.optim.AdamW(torch.nn.Linear(1, 1).parameters(), 3e-5)
    cosine = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(reference, spec.epochs - 2 + 1, 2, 1e-8)
    rate, expected = 1e-8, []
    for epoch in range(spec.epochs):
        for step in range(steps):
            expected.append(rate)
            if epoch >= 2:
                cosine.step(epoch - 2 + step / steps)
                rate = reference.param_groups[0]["lr"]
            else:
                rate = 1e-8 + 3e-5 * (epoch * steps + step + 1) / (2 * steps)
    assert rates == pytest.approx(expected, rel=1e-12)
    assert rates[0] == 1e-8
    assert max(rates) == rates[2 * steps]


def test_a_training_moves_by_the_rate_of_each_step(monkeypatch):
    optimiser = OptimiserSpec("adamw", 1e-3, 0.0, "warmup_cosine", warmup_epochs=1, lowest_rate=1e-8)
    asked = []

    def noted(self, step, steps, epochs):
        asked.append((step, steps, epochs))
        return 0.0

    monkeypatch.setattr(OptimiserSpec, "rate", noted)
    still = fit_sequence(tiny(optimiser=optimiser, selection="last_epoch"), videos())
    steps = asked[0][1]
    assert asked == [(step, steps, still.spec.epochs) for step in range(steps * still.spec.epochs)]
    assert steps > 1
    longer = replace(still.spec, epochs=still.spec.epochs + 1)
    for name, array in fit_sequence(longer, videos()).parameters.items():
        if "running" not in name:
            np.testing.assert_array_equal(array, still.parameters[name])


def test_convolutions_start_as_the_reference_s_do_in_effect():
    network = build(EXPR_SEQUENCE, (1280,))
    initialise(network, torch.Generator().manual_seed(0))
    levels = network.streams[0].levels
    found = [(level.first.weight.std().item(), level.second.weight.std().item()) for level in levels]
    assert np.array(found) == pytest.approx(np.array([[0.0072, 0.0114], [0.0114, 0.0161], [0.0161, 0.0228]]), rel=0.02)
    for level in levels:
        assert level.residual.weight.std().item() == pytest.approx(0.01, rel=0.02)
        for convolution in (level.first, level.second):
            torchs = torch.nn.Conv1d(convolution.weight.shape[1], convolution.weight.shape[0], 5)
            assert convolution.weight.std().item() == pytest.approx(torchs.weight.std().item(), rel=0.02)
            assert convolution.weight.abs().max().item() <= 1 / math.sqrt(convolution.weight[0].numel())
            lengths = torch.linalg.vector_norm(convolution.weight, dim=(1, 2), keepdim=True)
            torch.testing.assert_close(convolution.gain, lengths)


def test_without_weight_norm_kernels_start_from_the_normal_distribution():
    network = build(replace(EXPR_SEQUENCE, tcn=TcnSpec(weight_norm=False)), (1280,))
    initialise(network, torch.Generator().manual_seed(0))
    assert network.streams[0].levels[0].first.weight.std().item() == pytest.approx(0.01, rel=0.02)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: replace(VA_SEQUENCE, weighting="balanced"), "the weighting is one of none"),
        (lambda: replace(AU_SEQUENCE, selection="best_accuracy"), "the selection one of best_f1"),
        (lambda: replace(EXPR_SEQUENCE, batch=0), "1 or more"),
        (lambda: TcnSpec(channels=((),)), "a level or more"),
        (lambda: TcnSpec(kernel=1), "2 frames or more"),
        (lambda: TcnSpec(dropout=1.0), r"in \[0, 1\)"),
        (lambda: EncoderSpec(width=510), "cannot have 4 heads"),
        (lambda: OptimiserSpec(weight_decay=1e-5), "only 'adamw'"),
        (lambda: OptimiserSpec(warmup_epochs=2), "belong to the schedule"),
        (lambda: OptimiserSpec(learning_rate=float("nan")), "finite"),
        (lambda: build(tiny(), (6, 3, 2)), "given for 2 streams; there are 3"),
        (lambda: build(tiny(encoder=EncoderSpec(width=0, heads=5)), WIDTHS), "cannot have 5 heads"),
    ],
)
def test_a_spec_that_makes_no_sense_is_refused(make, said):
    with pytest.raises(SpecError, match=said):
        make()


# The network.


@pytest.mark.parametrize(("kernel", "levels"), [(2, 1), (3, 2), (5, 1), (5, 3)])
def test_convolutions_see_exactly_the_receptive_field(kernel, levels):
    spec = TcnSpec(channels=((4,) * levels,), kernel=kernel, deviation=0.5, activation="prelu")
    reach = 1 + 2 * (kernel - 1) * (2**levels - 1)
    stream = Stream(3, (4,) * levels, spec).eval()
    generator = torch.Generator().manual_seed(0)
    for module in stream.modules():
        if hasattr(module, "initialise"):
            module.initialise(spec.deviation, generator)
    with torch.no_grad():
        stream.mean.zero_(), stream.deviation.fill_(1), stream.missing.zero_()
    frames, at = 2 * reach + 10, 5
    x = torch.randn(1, frames, 3, generator=generator)
    other = x.clone()
    other[0, at] += 1
    present = torch.ones(1, frames, dtype=torch.bool)
    with torch.inference_mode():
        changed = (stream(x, present) != stream(other, present))[0].any(dim=1).nonzero()[:, 0].tolist()
    assert (changed[0], changed[-1]) == (at, at + reach - 1)


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_an_encoder_layer_computes_what_torchs_own_does(norm):
    spec = EncoderSpec(width=16, heads=4, feedforward=24, norm=norm)
    ours = EncoderLayer(16, spec).eval()
    theirs = torch.nn.TransformerEncoderLayer(16, 4, 24, batch_first=True, norm_first=norm == "pre").eval()
    names = {
        "queries_keys_values.weight": "self_attn.in_proj_weight",
        "queries_keys_values.bias": "self_attn.in_proj_bias",
        "attended": "self_attn.out_proj",
        "wide": "linear1",
        "narrow": "linear2",
        "norm_attention": "norm1",
        "norm_wide": "norm2",
    }
    state = {}
    for name, tensor in ours.state_dict().items():
        module, _, kind = name.partition(".")
        state[names.get(name) or f"{names[module]}.{kind}"] = tensor
    theirs.load_state_dict(state)
    x, hidden = torch.randn(2, 9, 16), torch.zeros(2, 9, dtype=torch.bool)
    hidden[0, 6:] = hidden[1, 2] = True
    with torch.no_grad():
        np.testing.assert_allclose(ours(x, hidden)[~hidden], theirs(x, src_key_padding_mask=hidden)[~hidden], atol=1e-5)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(1, 24), st.sampled_from(["none", "sinusoidal"]))
def test_what_stands_where_nothing_is_present_changes_nothing(seed, frames, position):
    random = np.random.default_rng(seed)
    network = drawn(network_of(tiny(encoder=EncoderSpec(8, 2, 2, 8, position=position)), seed=seed % 7))
    present = random.random((frames, 2)) < 0.5
    x = [random.normal(size=(frames, width)).astype(np.float32) for width in WIDTHS]
    other = [array.copy() for array in x]
    for i, array in enumerate(other):
        array[~present[:, i]] = random.choice([np.nan, np.inf, 1e30, -7])
    said, again = (predict(network, Streams(tuple(values), present)) for values in (x, other))
    assert np.isfinite(said).all()
    np.testing.assert_array_equal(said, again)


def test_what_is_present_changes_something_and_so_does_presence():
    network = drawn(network_of(tiny()))
    streams = piece(videos(frames=(20,)), 0, 0, 20)
    frame = int(np.flatnonzero(streams.present[:, 0])[3])
    louder = tuple(array.copy() for array in streams.values)
    louder[0][frame] += 1
    hidden = streams.present.copy()
    hidden[frame, 0] = False
    said = predict(network, streams)
    assert (predict(network, Streams(louder, streams.present)) != said).any()
    assert (predict(network, Streams(streams.values, hidden)) != said).any()


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.integers(1, 3))
def test_padding_changes_nothing(seed, frames, windows):
    random = np.random.default_rng(seed)
    network = drawn(network_of(tiny(), seed=seed % 7))
    x = tuple(random.normal(size=(frames, width)).astype(np.float32) for width in WIDTHS)
    streams = Streams(x, random.random((frames, 2)) < 0.5)
    batch = stack([streams], 20, windows)
    with torch.inference_mode():
        padded = network(batch.streams, batch.present, batch.real).numpy()
        loud = [torch.where(batch.real[:, :, None], values, 1e3) for values in batch.streams]
        louder = network(loud, batch.present | ~batch.real[:, :, None], batch.real).numpy()
    np.testing.assert_allclose(padded, predict(network, streams), atol=1e-5)
    np.testing.assert_array_equal(padded, louder)


def test_frames_without_anything_are_not_attended_to():
    network = drawn(network_of(tiny()))
    streams = piece(videos(frames=(20,)), 0, 0, 20)
    streams.present[12:] = False
    np.testing.assert_allclose(predict(network, streams)[:12], predict(network, streams.cut(0, 12)), atol=1e-5)
    blind = predict(network, Streams(streams.values, np.zeros((20, 2), bool)))
    assert np.isfinite(blind).all()


def test_padding_changes_no_gradient_and_no_statistic():
    spec = tiny(tcn=TcnSpec(((8,), (4,)), dropout=0.0), encoder=EncoderSpec(8, 1, 2, 8, dropout=0.0))
    seen = piece(videos(frames=(15,)), 0, 0, 15)
    results = []
    for length, loud in ((15, 0), (20, 0), (20, 100)):
        network = network_of(spec).double().train()
        batch = stack([seen], length, 1)
        values = [torch.where(batch.real[:, :, None], x.double(), float(loud)) for x in batch.streams]
        network(values, batch.present | ~batch.real[:, :, None], batch.real).square().sum().backward()
        gradients = {f"gradient {name}": p.grad.numpy() for name, p in network.named_parameters()}
        results.append(to_arrays(network) | gradients)
    for other in results[1:]:
        for name, array in results[0].items():
            np.testing.assert_allclose(array, other[name], atol=1e-5, rtol=1e-5, err_msg=name)


def test_a_batch_of_one_frame_can_be_trained_on():
    network = network_of(tiny()).train()
    batch = stack([piece(videos(frames=(1,)), 0, 0, 1)], 20, 1)
    assert torch.isfinite(network(batch.streams, batch.present, batch.real)).all()


def test_half_precision_gives_nearly_the_same():
    network = drawn(network_of(tiny()))
    batch = stack([piece(videos(frames=(20,)), 0, 0, 20)], 20, 1)
    exact = network(batch.streams, batch.present, batch.real)
    with torch.autocast("cpu", torch.bfloat16):
        rough = network(batch.streams, batch.present, batch.real)
    rough.square().sum().backward()
    assert rough.dtype == torch.float32
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())
    assert 0 < float((exact - rough).detach().abs().max()) < 0.1


def test_parameters_travel_as_arrays():
    network = drawn(network_of(tiny()))
    other = network_of(tiny(), seed=5)
    arrays = to_arrays(network)
    load_arrays(other, {name: array.copy() for name, array in reversed(arrays.items())})
    streams = piece(videos(frames=(20,)), 0, 0, 20)
    np.testing.assert_array_equal(predict(network, streams), predict(other, streams))
    assert all(array.dtype == np.float32 and name.isidentifier() for name, array in arrays.items())
    with pytest.raises(ArchitectureError, match=r"'perceptrons_0_0_bias' should be .* and is absent"):
        load_arrays(other, {name: array for name, array in arrays.items() if name != "perceptrons_0_0_bias"})
    with pytest.raises(ArchitectureError, match="other parameters"):
        load_arrays(build(tiny(hidden=9), WIDTHS), arrays)


# Windows.


@settings(max_examples=100)
@given(st.integers(1, 90), st.integers(1, 30), st.data())
def test_merging_says_the_mean_of_every_frame_once(frames, length, data):
    spec = WindowSpec(length, data.draw(st.integers(1, length)))
    starts = window_starts(spec, frames)
    random = np.random.default_rng(frames)
    outputs = [random.normal(size=(length, 2)).astype(np.float32) for _ in starts]
    expected = np.zeros((frames, 2))
    for frame in range(frames):
        holding = [out[frame - s] for s, out in zip(starts, outputs, strict=True) if 0 <= frame - s < length]
        assert holding
        expected[frame] = np.mean(np.array(holding, np.float64), axis=0)
    np.testing.assert_allclose(merge(frames, starts, outputs), expected, rtol=1e-6, atol=1e-6)


def test_windows_that_leave_frames_out_are_refused():
    with pytest.raises(SpecError, match="do not cover 10 frames"):
        merge(10, np.array([0]), [np.zeros((9, 1), np.float32)])
    with pytest.raises(SpecError, match="do not cover"):
        merge(0, np.array([], np.int64), [])


@settings(max_examples=15)
@given(st.integers(1, 70))
def test_a_prediction_is_that_of_its_windows(frames):
    spec = tiny(window=WindowSpec(20, 13))
    network = drawn(network_of(spec))
    streams = piece(videos(frames=(frames,)), 0, 0, frames)
    head = FittedSequence(spec, to_arrays(network), {}, 0, 0)
    said = predict_sequence(head, streams)
    assert said.shape == (frames, 8)
    np.testing.assert_allclose(said.sum(axis=1), 1, atol=1e-5)
    starts = window_starts(spec.window, frames)
    parts = [activated(spec, torch.from_numpy(predict(network, streams.cut(s, s + 20)))).numpy() for s in starts]
    np.testing.assert_allclose(said, merge(frames, starts, parts), atol=1e-6)


def test_how_many_windows_make_a_pass_changes_no_more_than_rounding(monkeypatch):
    network = drawn(network_of(tiny()))
    streams = piece(videos(frames=(75,)), 0, 0, 75)

    def run():
        return outputs_of(network, lambda starts: [streams.cut(start, start + 20) for start in starts], 75, CPU)

    alone = run()
    monkeypatch.setattr("affstore.models.heads.sequence.windows._WINDOWS_A_PASS", {"cpu": 4})
    np.testing.assert_allclose(run(), alone, atol=1e-6)


def test_moments_are_those_of_all_present_frames():
    source = videos()
    labelled = LabelledVideos.of("expr", source, "training")
    for i, moments in enumerate(moments_of(labelled, 6)):
        streams = source.read([Piece(v, 0, 99) for v in range(4)])
        rows = np.concatenate([s.values[i][s.present[:, i]] for s in streams]).astype(np.float64)
        np.testing.assert_allclose(moments.mean, rows.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(moments.deviation, rows.std(axis=0), rtol=1e-12)
        assert moments.count == len(rows)


# Losses.


def test_losses_are_the_papers_equations():
    random = np.random.default_rng(0)
    scores = torch.from_numpy(random.normal(size=(50, 8)))
    truth = random.integers(0, 3, (50, 1)).astype(np.int8)
    found = Objective(EXPR_SEQUENCE, truth, CPU)(scores.float(), torch.from_numpy(truth.astype(np.float32)))
    probability = scores.softmax(dim=1).numpy()
    weights = class_weights(np.bincount(truth[:, 0], minlength=8))
    assert float(found) == pytest.approx(
        np.mean([-weights[y] * np.log(p[y]) for y, p in zip(truth[:, 0], probability, strict=True)])
    )

    units = (random.random((50, 12)) < 0.2).astype(np.int8)
    scores = torch.from_numpy(random.normal(size=(50, 12)))
    found = Objective(AU_SEQUENCE, units, CPU)(scores.float(), torch.from_numpy(units.astype(np.float32)))
    p, positive = scores.sigmoid().numpy(), units.sum(axis=0)
    w0, w1 = 50 / 2 / (50 - positive), 50 / 2 / positive
    assert float(found) == pytest.approx(-(w1 * units * np.log(p) + w0 * (1 - units) * np.log(1 - p)).mean(), rel=1e-5)

    values, truth = random.uniform(-1, 1, (2, 50, 2))
    loss = float(concordance_loss(torch.from_numpy(values), torch.from_numpy(truth)))
    assert loss == pytest.approx(1 - mean_ccc(values, truth), abs=1e-6)


@pytest.mark.parametrize("task", ["expr", "au", "va"])
def test_the_loss_of_outputs_is_that_of_their_scores(task):
    random = np.random.default_rng(1)
    spec = PAPER_SEQUENCES[task]
    truth = videos(task).labels(0).value
    scores = torch.from_numpy(random.normal(size=(len(truth), spec.outputs)).astype(np.float32))
    objective, labels = Objective(spec, truth, CPU), torch.from_numpy(truth.astype(np.float32))
    outputs = activated(spec, scores)
    assert float(objective.of_outputs(outputs, labels)) == pytest.approx(float(objective(scores, labels)), rel=1e-4)
    certain = objective.of_outputs(torch.zeros_like(outputs), labels)
    assert torch.isfinite(certain)


# Training.

DELAY = 100


def echoes(count: int, seed: int) -> list[tuple[str, Streams, Labels]]:
    """Videos whose class is what was seen 100 frames ago, drawn by lot every 25 frames: today's frame tells nothing."""
    made = []
    for i in range(count):
        random = np.random.default_rng([seed, i])
        drawn = np.repeat(random.integers(0, 2, 26), 25)[random.integers(25) :][:600]
        x = (np.eye(2)[drawn] + 0.3 * random.normal(size=(600, 2))).astype(np.float32)
        labels = Labels(np.roll(drawn, DELAY)[:, None].astype(np.int8), np.arange(600) >= DELAY)
        made.append((f"{seed}/{i}", Streams((x,), np.ones((600, 1), bool)), labels))
    return made


def echo_spec(levels: int) -> SequenceSpec:
    return replace(
        EXPR_SEQUENCE,
        tcn=TcnSpec(channels=((12,) * levels,), dropout=0.0, deviation=0.1),
        encoder=EncoderSpec(width=0, layers=0),
        hidden=16,
        window=WindowSpec(300, 100),
        optimiser=OptimiserSpec(learning_rate=1e-2),
        batch=8,
        epochs=5,
        evaluations=1,
    )


@pytest.mark.slow
def test_what_lies_100_frames_back_is_learnt_by_convolutions_and_by_no_frame_level_head():
    train, held_out = echoes(20, 0), echoes(6, 1)
    truth = np.concatenate([labels.value[labels.known] for _, _, labels in held_out])
    scores = {}
    for levels in (3, 4):  # which see 57 and 121 frames
        head = fit_sequence(echo_spec(levels), MemorySequences(train), MemorySequences(held_out))
        said = [predict_sequence(head, streams)[labels.known] for _, streams, labels in held_out]
        scores[levels] = accuracy(decide("expr", np.concatenate(said)), truth)
    frames = Examples(
        np.concatenate([streams.values[0][labels.known] for _, streams, labels in train]),
        np.concatenate([labels.value[labels.known] for _, _, labels in train]),
    )
    mlp = fit(replace(EXPR_MLP, epochs=3, selection="last_epoch"), frames)
    x = np.concatenate([streams.values[0][labels.known] for _, streams, labels in held_out])
    scores["mlp"] = accuracy(decide("expr", predict_frames(mlp, x)), truth)
    # 6 videos hold some 120 draws by lot: chance is .5 ± .05.
    assert scores[4] > 0.95
    assert 0.3 < scores[3] < 0.7
    assert 0.3 < scores["mlp"] < 0.7


def test_concordance_training_reaches_the_best_that_noise_allows():
    """With `y = s + n` the best CCC is the correlation ρ, had by `s / ρ`; least squares, `s`, has 2ρ² / (1 + ρ²)."""
    random = np.random.default_rng(0)
    made = []
    for i in range(12):
        signal = random.normal(scale=0.12, size=(400, 2))
        truth = (signal + random.normal(scale=0.16, size=(400, 2))).clip(-1, 1).astype(np.float32)
        streams = Streams((signal.astype(np.float32),), np.ones((400, 1), bool))
        made.append((str(i), streams, Labels(truth, np.ones(400, bool))))
    convolutions = TcnSpec(((8,),), kernel=2, dropout=0.0, deviation=0.3)
    spec = tiny("va", tcn=convolutions, encoder=EncoderSpec(0, 0), window=WindowSpec(100, 100), epochs=20)
    head = fit_sequence(spec, MemorySequences(made[:8]), MemorySequences(made[8:]))
    said = np.concatenate([predict_sequence(head, streams) for _, streams, _ in made[8:]])
    truth = np.concatenate([labels.value for _, _, labels in made[8:]])
    signal = np.concatenate([streams.values[0] for _, streams, _ in made[8:]])
    best = np.mean([np.corrcoef(signal[:, k], truth[:, k])[0, 1] for k in range(2)])
    assert mean_ccc(said, truth) > best - 0.02
    assert mean_ccc(said, truth) > mean_ccc(signal, truth) + 0.03
    assert 1 - head.curve["val_loss"][head.best] == pytest.approx(mean_ccc(said, truth), abs=1e-5)


@pytest.mark.parametrize("task", ["expr", "au", "va"])
def test_the_same_seed_gives_the_same_bits_whatever_else_is_drawn(task):
    spec = tiny(task)
    head = fit_sequence(spec, videos(task), videos(task, (33, 5), seed=1))
    torch.rand(7), np.random.rand(7)
    before = torch.random.get_rng_state()
    again = fit_sequence(spec, videos(task), videos(task, (33, 5), seed=1))
    assert torch.equal(before, torch.random.get_rng_state())
    assert bits(head) == bits(again)
    assert bits(fit_sequence(replace(spec, seed=1), videos(task), videos(task, (33, 5), seed=1))) != bits(head)
    assert len(head.curve["loss"]) == 4
    assert head.best_epoch == head.best // 2
    measures = {"expr": {"val_accuracy", "val_f1"}, "au": {"val_f1"}, "va": set()}[task]
    assert set(head.curve) == {"loss", "val_loss"} | measures
    assert predict_sequence(head, piece(videos(task), 2, 0, 7)).shape == (7, spec.outputs)


@pytest.mark.parametrize("selection", ["best_accuracy", "best_f1", "lowest_loss", "last_epoch"])
def test_the_selected_evaluation_is_kept(selection):
    held_out = videos(frames=(40,), seed=3)
    head = fit_sequence(tiny(selection=selection, epochs=4), videos(), held_out)
    curve = head.curve
    best = {
        "best_accuracy": lambda: curve["val_accuracy"].argmax(),
        "best_f1": lambda: curve["val_f1"].argmax(),
        "lowest_loss": lambda: curve["val_loss"].argmin(),
        "last_epoch": lambda: 7,
    }[selection]()
    assert (head.best, head.best_epoch) == (best, best // 2)
    labels = held_out.labels(0)
    said = decide("expr", predict_sequence(head, piece(held_out, 0, 0, 40)))
    assert accuracy(said, labels.value, labels.known[:, None]) == pytest.approx(curve["val_accuracy"][best])


def test_features_are_standardised_unless_told_otherwise():
    source = videos()
    head = fit_sequence(tiny(), source, videos(seed=1))
    expected = moments_of(LabelledVideos.of("expr", source, "training"), 20)[0]
    np.testing.assert_array_equal(head.parameters["streams_0_mean"], expected.mean.astype(np.float32))
    np.testing.assert_array_equal(head.parameters["streams_0_deviation"], expected.deviation.astype(np.float32))
    raw = fit_sequence(tiny(standardise=False), source, videos(seed=1))
    assert not raw.parameters["streams_0_mean"].any()


def test_unknown_labels_and_features_that_are_not_present_teach_nothing():
    def changed(source: MemorySequences) -> MemorySequences:
        made = []
        for i, name in enumerate(source.names):
            labels, streams = source.labels(i), piece(source, i, 0, 99)
            values = tuple(np.where(streams.present[:, k, None], x, 9) for k, x in enumerate(streams.values))
            value = np.where(labels.known[:, None], labels.value, -1).astype(np.int8)
            made.append((name, Streams(values, streams.present), Labels(value, labels.known)))
        return MemorySequences(made)

    assert bits(fit_sequence(tiny(), videos(), videos(seed=1))) == bits(
        fit_sequence(tiny(), changed(videos()), changed(videos(seed=1)))
    )


@pytest.mark.parametrize("changes", [{"clip_norm": 1e-3}, {"name": "adamw", "weight_decay": 1.0}])
def test_every_option_of_the_optimiser_matters(changes):
    plain = fit_sequence(tiny(selection="last_epoch"), videos())
    spec = tiny(selection="last_epoch", optimiser=OptimiserSpec(learning_rate=1e-2, **changes))
    other = fit_sequence(spec, videos())
    assert set(other.curve) == {"loss"}
    assert bits(other) != bits(plain)


# Bad input.


def spoilt(what: str) -> tuple[MemorySequences, MemorySequences]:
    train, held_out = videos(), videos(seed=1)
    one = [(name, piece(train, i, 0, 99), train.labels(i)) for i, name in enumerate(train.names)]
    name, streams, labels = one[1]
    if what == "nan":
        streams.values[1][np.flatnonzero(streams.present[:, 1])[2], 0] = np.nan
    elif what == "unknown":
        one = [(name, s, Labels(labels.value, np.zeros(len(s), bool))) for name, s, labels in one]
    elif what == "one label":
        one = [(name, s, Labels(np.zeros_like(labels.value), labels.known)) for name, s, labels in one]
    elif what == "no class":
        one[1] = (name, streams, Labels(np.full_like(labels.value, 8), labels.known))
    elif what == "columns":
        one[1] = (name, streams, Labels(np.zeros((20, 12), np.int8), labels.known))
    elif what == "nothing present":
        one = [(name, Streams(s.values, np.zeros_like(s.present)), labels) for name, s, labels in one]
    elif what == "other streams":
        held_out = MemorySequences([("held out", Streams((streams.values[0],), streams.present[:, :1]), labels)])
    return MemorySequences(one), held_out


@pytest.mark.parametrize(
    ("what", "error", "said"),
    [
        ("nan", SpecError, "Stream 1 of video 'video 1' holds NaN or infinity in frame"),
        ("unknown", AnnotationError, "No frame of 4 training videos has a known label"),
        ("one label", AnnotationError, "have the same label"),
        ("no class", AnnotationError, r"video 'video 1' has the label \[8\], not in \[0, 7\]"),
        ("columns", SpecError, "has 1 label columns; those of video 'video 1' have 12"),
        ("nothing present", AnnotationError, "nothing is present"),
        ("other streams", SpecError, r"validation set has streams of widths \[6\]; needed are \[6, 3\]"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(what, error, said):
    with pytest.raises(error, match=said):
        fit_sequence(tiny(), *spoilt(what))


def test_videos_of_other_widths_or_lengths_are_refused():
    streams, labels = piece(videos(frames=(9,)), 0, 0, 9), videos(frames=(9,)).labels(0)
    with pytest.raises(SpecError, match=r"Video 'b' has streams of widths \[3, 6\]; needed are \[6, 3\]"):
        MemorySequences([("a", streams, labels), ("b", Streams(streams.values[::-1], streams.present), labels)])
    with pytest.raises(SpecError, match="9 frames and 8 labels"):
        MemorySequences([("a", streams, Labels(labels.value[:8], labels.known[:8]))])
    with pytest.raises(SpecError, match="mask"):
        Streams(streams.values, streams.present[:, :1])
    head = FittedSequence(tiny(), to_arrays(network_of(tiny())), {}, 0, 0)
    with pytest.raises(SpecError, match=r"widths \[6\]"):
        predict_sequence(head, Streams(streams.values[:1], streams.present[:, :1]))
    assert predict_sequence(head, streams.cut(0, 0)).shape == (0, 8)
    with pytest.raises(ArchitectureError, match="Fit it again"):
        predict_sequence(FittedSequence(tiny(), {}, {}, 0, 0), streams)


def test_an_absent_class_weighs_nothing_and_keeps_its_output():
    head = fit_sequence(tiny(), videos(), videos(seed=1))  # of 8 classes two occur
    said = predict_sequence(head, piece(videos(), 0, 0, 45))
    assert said.shape == (45, 8)
    assert np.isfinite(said).all()


def test_a_device_that_is_not_there_and_missing_validation_are_refused():
    with pytest.raises(SpecError, match="there are none"):
        fit_sequence(tiny(), videos())
    if not torch.cuda.is_available():
        with pytest.raises(SpecError, match="no device 'cuda'"):
            fit_sequence(tiny(), videos(), videos(seed=1), TrainerOptions(device="cuda"))


def test_training_that_diverges_says_so():
    optimiser = OptimiserSpec(learning_rate=1e30)
    with pytest.raises(SpecError, match="diverged in epoch 1 of 2 at learning rate 1e\\+30"):
        fit_sequence(tiny(optimiser=optimiser, hidden_norm=False), videos(), videos(seed=1))


# Checkpoints and logs.


class Interrupted(Exception):
    pass


class Fragile(MemorySequences):
    """Videos that end the training when so many windows have been read."""

    reads = 0

    def __init__(self, source: MemorySequences, last: int, end) -> None:
        super().__init__([(name, piece(source, i, 0, 99), source.labels(i)) for i, name in enumerate(source.names)])
        self.last, self.end = last, end

    def read(self, pieces):
        if self.reads <= self.last < self.reads + len(pieces):
            self.end()
        self.reads += len(pieces)
        return super().read(pieces)


def interrupt() -> None:
    raise Interrupted


def test_a_training_that_broke_off_anywhere_ends_with_the_same_bits(tmp_path):
    spec = tiny(epochs=3)
    whole = fit_sequence(spec, videos(), videos(seed=1))
    # 7 reads find the moments, 8 make an epoch.
    for last in range(9, 7 + 3 * 8, 5):
        options = TrainerOptions(checkpoints=tmp_path / str(last), every_steps=1)
        with pytest.raises(Interrupted):
            fit_sequence(spec, Fragile(videos(), last, interrupt), videos(seed=1), options)
        assert bits(fit_sequence(spec, videos(), videos(seed=1), options)) == bits(whole)
    done = Fragile(videos(), 0, interrupt)
    assert bits(fit_sequence(spec, done, videos(seed=1), options)) == bits(whole)
    assert done.reads == 0  # a training that is done is not done again


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_sequence_head import TrainerOptions, Fragile, fit_sequence, tiny, videos
train = Fragile(videos(), 150, lambda: os.kill(os.getpid(), signal.SIGKILL))
fit_sequence(tiny(epochs=30), train, videos(seed=1), TrainerOptions(checkpoints=Path(sys.argv[1]), every_steps=2))
"""


@pytest.mark.slow
def test_a_killed_process_that_is_started_again_ends_with_the_same_bits(tmp_path):
    tests = os.path.dirname(os.path.abspath(__file__))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", KILLED.format(tests=tests), str(tmp_path)]
    assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL
    again = Fragile(videos(), -1, interrupt)
    head = fit_sequence(tiny(epochs=30), again, videos(seed=1), TrainerOptions(checkpoints=tmp_path, every_steps=2))
    assert 30 * 8 - 150 < again.reads < 30 * 8  # it went on, and did not begin anew
    assert bits(head) == bits(fit_sequence(tiny(epochs=30), videos(), videos(seed=1)))


def test_a_checkpoint_of_another_training_or_a_damaged_one_is_refused(tmp_path):
    options = TrainerOptions(checkpoints=tmp_path)
    fit_sequence(tiny(), videos(), videos(seed=1), options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["training.safetensors"]
    for spec, train in ((tiny(seed=4), videos()), (tiny(), videos(seed=4))):
        with pytest.raises(SpecError, match="is of another head, other labels"):
            fit_sequence(spec, train, videos(seed=1), options)
    path = tmp_path / "training.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="is damaged"):
        fit_sequence(tiny(), videos(), videos(seed=1), options)
    assert read_checkpoint(tmp_path / "none", "") is None


def test_a_checkpoint_has_every_array_as_it_was(tmp_path):
    """Keras has numbers without any axis; a view of another array lies in other bytes than it is read."""
    arrays = {"rate": np.array(0.5, np.float32), "turned": np.arange(6, dtype=np.float32).reshape(2, 3).T}
    save_checkpoint(tmp_path, "of this", arrays, Progress())
    found, _ = read_checkpoint(tmp_path, "of this")
    assert {name: one.shape for name, one in found.items()} == {name: one.shape for name, one in arrays.items()}
    for name, one in arrays.items():
        np.testing.assert_array_equal(found[name], one)
