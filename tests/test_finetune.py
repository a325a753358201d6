"""Fine-tuning a whole face network: what it learns, on which crops, and that nothing else changes its numbers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from affstore import FeatureStore
from affstore.models.demo.corpus import CorpusSpec, write_corpus
from affstore.models.evaluation.metrics import accuracy
from affstore.models.evaluation.thresholds import decide
from affstore.models.extractor_specs import FaceExtractorSpec
from affstore.models.extractors import registry
from affstore.models.extractors.face.emotieffnet import B0 as EFFICIENTNET_B0
from affstore.models.extractors.registry import entry_of
from affstore.models.faces.crop_folder import Listing
from affstore.models.faces.crops import cut, resized
from affstore.models.heads.class_weights import class_weights
from affstore.models.heads.finetuned.crops import looked_at
from affstore.models.heads.finetuned.fitted import Backbone, FittedFineTuned
from affstore.models.heads.finetuned.head import fit_finetuned, predict_finetuned
from affstore.models.heads.finetuned.network import smoothed_crossentropy
from affstore.models.heads.finetuned.sam import SharpnessAware
from affstore.models.heads.finetuned.spec import FineTuneSpec
from affstore.models.heads.finetuned.training import Training
from affstore.models.heads.trainer_options import TrainerOptions
from affstore.models.media.video import frames, probe
from affstore.models.networks.staged import Staged, chain
from affstore.models.weights import architectures
from affstore.models.weights.folder import WeightsFolder
from affstore.models.weights.untrained import draw
from affstore.store.contract.errors import (
    AnnotationError,
    ArchitectureError,
    ConflictError,
    DeviceMemoryError,
    MediaError,
    SpecError,
    StoreUnavailableError,
    WeightsError,
)
from affstore.store.contract.keys import digest_file
from affstore.store.contract.labels import EXPR
from affstore.store.contract.records import Address, Artifact
from affstore.tasks.ingest.sources import source_artifact
from affstore.tasks.training.crop_dataset import crops_of, store_crops
from affstore.tasks.training.examples import LabelledSubject
from tests.factories import MemoryCrops, commit
from tests.parameters import usually

SIDE, WIDTH = 16, 12
TOY = FaceExtractorSpec(
    "emotieffnet_b0", 1, WIDTH, SIDE, registry.spec_of("emotieffnet_b0").weights, mean=(0.5,) * 3, std=(0.25,) * 3
)
"""Takes the place of EfficientNet while a test runs."""
WEIGHTS = WeightsFolder(Path("no weights are needed"))


class Toy(nn.Module):
    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(3, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6)
        self.top, self.top_norm = nn.Conv2d(6, WIDTH, 3, 2, 1, bias=False), nn.BatchNorm2d(WIDTH)
        self.fc = nn.Linear(WIDTH, outputs)

    def staged(self) -> Staged:
        pooled = chain(self.top, self.top_norm, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        return Staged((chain(self.stem, self.stem_norm, nn.ReLU()), pooled), self.fc, WIDTH)


TOY_NETWORK = architectures.Architecture("toy", Toy, staged=lambda network: network.staged())


@pytest.fixture
def toy(monkeypatch):
    """The toy network stands where EfficientNet-B0 is looked up."""
    use_toy(monkeypatch.setitem)


def use_toy(put) -> None:
    for name in registry.names():
        kind = registry.EXTRACTORS.get(name)
        if kind.entry.architecture == EFFICIENTNET_B0:
            put(registry.EXTRACTORS._things, name, replace(kind, entry=replace(kind.entry, architecture=TOY_NETWORK)))


def colour_blind() -> dict[str, torch.Tensor]:
    """Pre-trained parameters that see the sum of red, green and blue."""
    state = draw(architectures.layout(TOY_NETWORK, 8), 0)
    state["stem.weight"] = state["stem.weight"].mean(1, keepdim=True).expand(-1, 3, -1, -1).clone()
    return state


def coloured(rows: int, seed: int, classes=(0, 3, 7)) -> MemoryCrops:
    """Grey noise tinted red, green or blue, whose sum says nothing of the tint."""
    random = np.random.default_rng(seed)
    y = random.choice(classes, (rows, 1)).astype(np.int8)
    grey = random.integers(90, 160, (rows, SIDE, SIDE, 1))
    tint = np.full((rows, 3), -15)
    tint[np.arange(rows), np.searchsorted(classes, y[:, 0])] = 30
    return MemoryCrops((grey + tint[:, None, None]).astype(np.uint8), y)


def quick(**changes) -> FineTuneSpec:
    return replace(FineTuneSpec("tuned", learning_rate=1e-2, batch=8, epochs=3, validation_stride=1), **changes)


def bits(head: FittedFineTuned) -> dict[str, bytes]:
    arrays = head.parameters | {f"curve {name}": values for name, values in head.curve.items()}
    return {name: array.tobytes() for name, array in arrays.items()}


def fit(spec: FineTuneSpec, train=None, validation=None, options=None) -> FittedFineTuned:
    train = coloured(40, 0) if train is None else train
    validation = coloured(20, 1) if validation is None else validation
    return fit_finetuned(spec, Backbone(TOY, colour_blind()), train, validation, options)


def said(head: FittedFineTuned, crops: MemoryCrops, extractor=TOY) -> np.ndarray:
    return predict_finetuned(head, extractor, [crops.crops])


# What it learns.


def test_it_learns_what_the_pre_trained_network_cannot_see(toy):
    train, held_out = coloured(160, 0), coloured(60, 1)
    blind = fit(quick(learning_rate=1e-9, epochs=1, start_epochs=50, rho=0.0), train, held_out)
    tuned = fit(quick(epochs=5), train, held_out)
    found = {name: accuracy(decide("expr", said(h, held_out)), held_out.y) for name, h in [("b", blind), ("t", tuned)]}
    # Of three classes: chance is .33, and its deviation on 60 rows .06.
    assert found["b"] < 0.55
    assert found["t"] > 0.95
    assert tuned.curve["loss"][-1] < tuned.curve["loss"][0]


def test_a_linear_start_is_fitted_on_what_the_pre_trained_network_sees(toy):
    random = np.random.default_rng(0)
    y = random.integers(0, 2, (64, 1)).astype(np.int8)
    light = random.integers(0, 100, (64, SIDE, SIDE, 3)) + 150 * y[:, :, None, None].astype(int)
    crops = MemoryCrops(light.astype(np.uint8), y)
    still = quick(learning_rate=1e-9, epochs=1, start_epochs=100, rho=0.0)
    starts = {
        start: accuracy(decide("expr", said(fit(replace(still, start=start), crops, crops), crops)), y)
        for start in ("linear", "random")
    }
    assert starts["linear"] > 0.95 > starts["random"]
    few = fit(replace(still, start_frames=8), crops, crops)
    assert bits(few) != bits(fit(still, crops, crops))


def test_every_layer_is_trained_and_the_given_parameters_stay_as_they_are(toy):
    pretrained, before = colour_blind(), colour_blind()
    head = fit_finetuned(quick(epochs=1), Backbone(TOY, pretrained), coloured(40, 0), coloured(20, 1))
    assert all(torch.equal(pretrained[name], tensor) for name, tensor in before.items())
    trained = {name for name in before if not name.endswith("num_batches_tracked")}
    assert set(head.parameters) == trained
    for name in trained:
        assert not np.array_equal(head.parameters[name], before[name].numpy())
        assert head.parameters[name].dtype == np.float32


def test_the_start_of_a_network_with_other_outputs_is_its_layers_without_its_classifier(toy):
    spec = replace(TOY, weights=registry.spec_of("mt_emotieffnet_b0").weights)
    parameters = draw(architectures.layout(TOY_NETWORK, 10), 0)
    head = fit_finetuned(quick(epochs=1), Backbone(spec, parameters), coloured(40, 0), coloured(20, 1))
    assert head.parameters["fc.weight"].shape == (8, WIDTH)
    with pytest.raises(ArchitectureError, match=r"with 10 outputs, but fc\.weight is .*\[8, 12\]"):
        fit_finetuned(quick(), Backbone(spec, colour_blind()), coloured(40, 0), coloured(20, 1))


def test_the_epoch_of_the_best_f1_is_kept_and_the_first_of_equal_ones(toy):
    held_out = coloured(20, 1)
    head = fit(quick(epochs=6, learning_rate=3e-3), validation=held_out)
    assert head.best_epoch == head.curve["val_f1"].argmax()
    assert set(head.curve) == {"loss", "val_loss", "val_accuracy", "val_f1"}
    found = accuracy(decide("expr", said(head, held_out)), held_out.y)
    assert found == pytest.approx(head.curve["val_accuracy"][head.best_epoch])


def test_without_validation_the_last_epoch_is_kept(toy):
    spec = quick(selection="last_epoch")
    head = fit_finetuned(spec, Backbone(TOY, colour_blind()), coloured(40, 0))
    assert head.best_epoch == 2
    assert set(head.curve) == {"loss"}
    with pytest.raises(SpecError, match="best f1 on validation frames, and there are none"):
        fit_finetuned(quick(), Backbone(TOY, colour_blind()), coloured(40, 0))


def test_only_every_so_many_frames_are_looked_at(toy):
    train, held_out = Watched(coloured(41, 0)), Watched(coloured(20, 1))
    fit(quick(train_stride=4, validation_stride=5), train, held_out)
    assert train.seen == set(range(0, 41, 4))
    assert held_out.seen == {3, 8, 13, 18}


class Watched(MemoryCrops):
    """Crops that know which of them were read."""

    __slots__ = ("seen",)

    def __init__(self, source: MemoryCrops) -> None:
        super().__init__(source.crops, source.y)
        object.__setattr__(self, "seen", set())

    def read(self, rows):
        self.seen.update(rows.tolist())
        return super().read(rows)


def test_a_linear_start_is_kept_small_by_its_penalty(toy):
    still = quick(learning_rate=1e-9, epochs=1, start_epochs=60, rho=0.0)
    free, kept = (fit(replace(still, start_l2=l2)).parameters["fc.weight"] for l2 in (0.0, FineTuneSpec("x").start_l2))
    assert FineTuneSpec("x").start_l2 == 1 / 256
    assert np.square(kept).sum() < np.square(free).sum()


@given(st.integers(1, 30), st.lists(st.integers(1, 60), min_size=1, max_size=4))
def test_frames_that_choose_the_epoch_are_those_of_the_notebook(stride, videos):
    class Crops:
        frame = np.concatenate([np.arange(frames) for frames in videos])

    lines = [line for frames in videos for line in range(1, frames + 1)]  # the notebook counts lines below the header
    kept = [row for row, line in enumerate(lines) if line % stride == stride - 1]
    assert looked_at(Crops(), stride).tolist() == kept


# The parts, against plain references.


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.floats(0, 0.9))
def test_the_loss_is_the_notebook_s(seed, rows, smoothing):
    random = np.random.default_rng(seed)
    scores, truth = random.normal(size=(rows, 8)).astype(np.float32) * 5, random.integers(0, 8, rows)
    weights = random.random(8).astype(np.float32) * 20
    expected = 0.0
    for row, label in zip(scores.astype(np.float64), truth, strict=True):
        logarithm = row - row.max() - np.log(np.exp(row - row.max()).sum())
        for c in range(8):
            q = (1 - smoothing if c == label else 0) + smoothing / 8
            expected -= weights[c] * q * logarithm[c] / rows
    found = smoothed_crossentropy(*map(torch.from_numpy, (scores, truth, weights)), smoothing)
    assert float(found) == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("rho", [0.0, 0.05, 2.0])
def test_sharpness_aware_steps_equal_a_plain_loop_on_a_quadratic(rho):
    random = np.random.default_rng(0)
    square = random.normal(size=(4, 4))
    curvature, w = square @ square.T, random.normal(size=4)
    parts = [nn.Parameter(torch.from_numpy(part.copy())) for part in (w[:1], w[1:])]  # one norm over all parameters
    optimiser = SharpnessAware(torch.optim.Adam(parts, 0.1), rho)
    first, second = np.zeros(4), np.zeros(4)
    for step in range(1, 8):
        gradient = curvature @ w
        worst = w + rho * gradient / np.linalg.norm(gradient)
        gradient, loss = curvature @ worst, w @ curvature @ w / 2
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        w = w - 0.1 * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)

        def quadratic():
            v = torch.cat(parts)
            return v @ torch.from_numpy(curvature) @ v / 2

        assert optimiser.step(quadratic) == pytest.approx(loss)
        np.testing.assert_allclose(torch.cat(parts).detach().numpy(), w, rtol=1e-9)


def test_the_class_weights_are_those_of_the_frames_in_use(toy):
    train = coloured(60, 0, classes=(0, 1, 2))
    training = Training(quick(train_stride=2), backbone(), (train, None), TrainerOptions())
    counts = np.bincount(train.y[::2, 0], minlength=8)
    np.testing.assert_allclose(training.weights.numpy(), class_weights(counts), rtol=1e-6)
    assert not training.weights[3:].any()


def backbone():
    return Backbone(TOY, colour_blind())


def test_order_and_flips_are_drawn_by_the_seed_anew_in_every_epoch(toy):
    def steps(epoch, **changes):
        training = Training(quick(**changes), backbone(), (coloured(41, 0), None), TrainerOptions())
        return training._steps(epoch)

    def drawn(found):
        return [np.concatenate(parts).tolist() for parts in zip(*found, strict=True)]

    order, mirrored = drawn(steps(0))
    assert sorted(order) == list(range(41))
    assert 8 < sum(mirrored) < 33
    assert [len(rows) for rows, _ in steps(0)] == [8, 8, 8, 8, 9], "no crop is left alone with its batch norms"
    assert drawn(steps(0)) == [order, mirrored]
    assert drawn(steps(0, seed=1)) != [order, mirrored] != drawn(steps(1))
    assert drawn(steps(0, flip=False)) == [order, [False] * 41]


def test_a_flip_mirrors_left_and_right_and_nothing_else(toy):
    train = coloured(41, 0)
    training = Training(quick(), backbone(), (train, None), TrainerOptions())
    for (rows, mirrored), (crops, classes) in zip(training._steps(0), training._read(training._steps(0)), strict=True):
        expected = np.where(mirrored[:, None, None, None], train.crops[rows][:, :, ::-1], train.crops[rows])
        np.testing.assert_array_equal(crops, expected)
        np.testing.assert_array_equal(classes, train.y[rows, 0])


@pytest.mark.parametrize(
    "name", usually(["mt_emotimobilefacenet", "emotieffnet_b0", "mt_emotimobilevit", "ddamfn_affectnet8"])
)
def test_every_face_network_of_the_papers_can_be_fine_tuned(name):
    spec = registry.spec_of(name)
    entry = entry_of(spec.weights.name)
    parameters = draw(architectures.layout(entry.architecture, entry.outputs), 0)
    random = np.random.default_rng(0)
    crops = MemoryCrops(
        random.integers(0, 256, (4, spec.size_px, spec.size_px, 3), np.uint8), np.arange(4, dtype=np.int8)[:, None]
    )
    tune = quick(batch=4, epochs=1, start="random", selection="last_epoch")
    head = fit_finetuned(tune, Backbone(spec, parameters), crops)
    assert np.isfinite(head.curve["loss"]).all()
    assert np.isfinite(np.concatenate([array.ravel() for array in head.parameters.values()])).all()
    kept = [n for n, array in head.parameters.items() if np.array_equal(array, parameters[n].numpy())]
    assert not kept, "every layer is trained"


def test_mixed_precision_rounds_and_no_more(toy):
    network = Training(quick(), backbone(), (coloured(20, 0), None), TrainerOptions()).network
    pictures = torch.randn(8, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    exact, rounded = network.scores(pictures, mixed=False), network.scores(pictures, mixed=True)
    assert rounded.dtype == torch.float32
    assert 0 < (exact - rounded).abs().max() < 0.05 * exact.std()


# What it says.


def test_a_row_depends_on_its_crop_alone_however_crops_are_batched(toy):
    head, crops = fit(quick(epochs=1)), coloured(70, 5)
    whole = said(head, crops)
    assert whole.shape == (70, 8)
    pieces = predict_finetuned(head, TOY, np.split(crops.crops, [1, 1, 34, 69]))
    assert pieces.tobytes() == whole.tobytes()
    shuffled = np.random.default_rng(0).permutation(70)
    assert predict_finetuned(head, TOY, [crops.crops[shuffled]]).tobytes() == whole[shuffled].tobytes()
    assert predict_finetuned(head, TOY, iter(())).shape == (0, 8)


def test_probabilities_are_the_softmax_of_the_logits(toy):
    logits = fit(quick(epochs=1))
    probabilities = FittedFineTuned(replace(logits.spec, gives="probabilities"), logits.parameters, {}, 0)
    crops = coloured(9, 5)
    powers = np.exp(said(logits, crops).astype(np.float64))
    np.testing.assert_allclose(said(probabilities, crops), powers / powers.sum(1, keepdims=True), rtol=1e-5)
    assert said(probabilities, crops).dtype == np.float32
    assert predict_finetuned(probabilities, TOY, []).shape == (0, 8)


def test_a_head_of_another_network_is_refused(toy):
    head = fit(quick(epochs=1))
    damaged = FittedFineTuned(head.spec, {n: a for n, a in head.parameters.items() if n != "top.weight"}, {}, 0)
    with pytest.raises(ArchitectureError, match=r"'tuned' should be .* but top\.weight is missing"):
        said(damaged, coloured(2, 0))


# Bad input.


@pytest.mark.parametrize(
    ("crops", "error", "message"),
    [
        (coloured(0, 0), AnnotationError, "no training example"),
        (coloured(20, 0, classes=(4,)), AnnotationError, "have the same label"),
        (MemoryCrops(coloured(4, 0).crops, np.full((4, 1), 8, np.int8)), AnnotationError, r"not in \[0, 7\]"),
        (MemoryCrops(coloured(20, 0).crops[:, 1:], coloured(20, 0).y), SpecError, r"found uint8 \(\d+, 15, 16, 3\)"),
        (MemoryCrops(coloured(20, 0).crops / np.float32(255), coloured(20, 0).y), SpecError, "found float32"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(toy, crops, error, message):
    for start in ("linear", "random"):
        with pytest.raises(error, match=message):
            fit(quick(start=start), crops)


def test_validation_crops_are_checked(toy):
    with pytest.raises(AnnotationError, match="no validation example"):
        fit(quick(), validation=coloured(0, 0))


def test_a_class_that_never_occurs_weighs_nothing_and_keeps_its_output(toy):
    head = fit(quick(), coloured(40, 0, classes=(0, 3)), coloured(20, 1))
    outputs = said(head, coloured(20, 1))
    assert np.isfinite(outputs).all()
    assert outputs.shape == (20, len(EXPR))


@pytest.mark.parametrize("spoilt", ["rate", "parameters"])
def test_training_that_diverges_says_so(toy, spoilt):
    parameters = colour_blind()
    if spoilt == "parameters":
        parameters["top.weight"][0] = np.nan
    spec = quick(learning_rate=1e30 if spoilt == "rate" else 1e-4)
    with pytest.raises(SpecError, match=r"'tuned' diverged in epoch 1 of 3 at learning rate .*nan"):
        fit_finetuned(spec, Backbone(TOY, parameters), coloured(40, 0), coloured(20, 1))


@pytest.mark.parametrize(
    "changes",
    [
        {"task": "au"},
        {"batch": 1},
        {"epochs": 0},
        {"start_frames": 0},
        {"train_stride": 0},
        {"validation_stride": 0},
        {"learning_rate": 0.0},
        {"learning_rate": float("inf")},
        {"rho": -1.0},
        {"label_smoothing": 1.0},
        {"seed": -1},
    ],
)
def test_a_spec_that_means_nothing_is_refused(changes):
    with pytest.raises(SpecError, match="'tuned'"):
        quick(**changes)


def test_a_gpu_without_room_says_what_to_do(toy, monkeypatch):
    def full(*_):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(SharpnessAware, "step", full)
    with pytest.raises(DeviceMemoryError, match=r"of head 'tuned' with 8 crops\. Stop what else .*smaller batch"):
        fit(quick())


# The same numbers every time.


def test_the_same_seed_gives_the_same_bits_whatever_else_is_drawn(toy):
    before = torch.random.get_rng_state()
    head = fit(quick())
    assert torch.equal(before, torch.random.get_rng_state())
    torch.rand(3), np.random.rand(3)
    assert bits(fit(quick())) == bits(head)
    for changes in ({"seed": 1}, {"flip": False}, {"rho": 0.0}, {"label_smoothing": 0.0}, {"start": "random"}):
        assert bits(fit(quick(**changes))) != bits(head)


class Interrupted(Exception):
    pass


class Fragile(MemoryCrops):
    """Crops that end the training when they were read so many times."""

    __slots__ = ("end", "last", "reads")

    def __init__(self, source: MemoryCrops, last: int, end) -> None:
        super().__init__(source.crops, source.y)
        for name, value in (("last", last), ("end", end), ("reads", 0)):
            object.__setattr__(self, name, value)

    def read(self, rows):
        if self.reads == self.last:
            self.end()
        object.__setattr__(self, "reads", self.reads + 1)
        return super().read(rows)


def interrupt() -> None:
    raise Interrupted


def test_a_training_that_broke_off_anywhere_ends_with_the_same_bits(toy, tmp_path):
    whole = fit(quick())
    # The start reads twice (40 crops by 32), an epoch 5 times; 2 batches are read ahead.
    for last in range(0, 2 + 3 * 5, 2):
        options = TrainerOptions(checkpoints=tmp_path / str(last), every_steps=1)
        with pytest.raises(Interrupted):
            fit(quick(), Fragile(coloured(40, 0), last, interrupt), options=options)
        assert bits(fit(quick(), options=options)) == bits(whole)
    done = Fragile(coloured(40, 0), 0, interrupt)
    assert bits(fit(quick(), done, options=options)) == bits(whole)
    assert done.reads == 0, "a training that is done is not done again"


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.test_finetune import TrainerOptions, Fragile, architectures, coloured, fit, quick, use_toy
use_toy(dict.__setitem__)
train = Fragile(coloured(40, 0), 60, lambda: os.kill(os.getpid(), signal.SIGKILL))
fit(quick(epochs=20), train, options=TrainerOptions(checkpoints=Path(sys.argv[1]), every_steps=2))
"""


@pytest.mark.slow
def test_a_killed_process_that_is_started_again_ends_with_the_same_bits(toy, tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL
    again = Fragile(coloured(40, 0), -1, interrupt)
    head = fit(quick(epochs=20), again, options=TrainerOptions(checkpoints=tmp_path, every_steps=2))
    assert 0 < again.reads < 102 - 50, "it went on, and did not begin anew"
    assert bits(head) == bits(fit(quick(epochs=20)))


def test_a_checkpoint_of_another_training_or_a_damaged_one_is_refused(toy, tmp_path):
    options = TrainerOptions(checkpoints=tmp_path)
    fit(quick(), options=options)
    for spec, train in ((quick(seed=4), None), (quick(), coloured(40, 4))):
        with pytest.raises(SpecError, match="is of another head, other labels"):
            fit(spec, train, options=options)
    other = colour_blind() | {"top.weight": torch.ones(WIDTH, 6, 3, 3)}
    with pytest.raises(SpecError, match="is of another head"):
        fit_finetuned(quick(), Backbone(TOY, other), coloured(40, 0), coloured(20, 1), options)
    path = tmp_path / "training.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="is damaged"):
        fit(quick(), options=options)


# Crops of a store.


VIDEO = "6-20-480x240"
BOXES = {"left": (40.5, 30, 160, 170), "right": (280, 20, 425.9, 180)}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A video of two people."""
    folder = tmp_path_factory.mktemp("corpus")
    (path,) = write_corpus(folder, CorpusSpec(only=(VIDEO,), episode_s=0.5))
    return path


def tracks(count: int) -> dict[str, dict[str, np.ndarray]]:
    """Two faces that wander, and are away now and then."""
    random = np.random.default_rng(0)
    made = {}
    for side, box in BOXES.items():
        present = random.random(count) < 0.8
        moved = np.array(box, np.float32) + random.integers(-9, 9, (count, 1)).astype(np.float32)
        landmark, score = np.zeros((count, 5, 2), np.float32), present.astype(np.float32)
        made[side] = {"box": moved * present[:, None], "landmark": landmark, "score": score, "present": present}
    return made


@pytest.fixture(scope="module")
def pictures(corpus):
    return list(frames(corpus, probe(corpus)))


@pytest.fixture
def store(corpus, pictures, tmp_path):
    """The video with its faces by a detector and from folders, what a network made of them, and labels."""
    path = tmp_path / corpus.name
    path.write_bytes(corpus.read_bytes())
    found = commit(
        FeatureStore.create(str(tmp_path / "store")),
        source_artifact(VIDEO, path, digest_file(path), probe(path)),
    )
    taken = found.get(Address("source", video=VIDEO))
    count, artifacts = len(pictures), []
    for side, track in tracks(count).items():
        folder = write_folder(tmp_path / "cropped" / f"{VIDEO}_{side}", pictures, track)
        noted = {"location": str(folder), "signature": Listing.of(folder).signature}
        for kind, arrays, more in (("mtcnn", track, {}), ("cropped", {"present": track["present"]}, noted)):
            artifacts.append(
                Artifact(
                    Address("face", kind, VIDEO, side),
                    {"of": side},
                    arrays,
                    {"frames": count, "prominent": True} | more,
                    (taken.as_parent(),),
                )
            )
        artifacts.append(label_of(side, count))
    found = commit(found, *artifacts)
    return commit(found, *(feature_of(found, kind, side) for kind in ("mtcnn", "cropped") for side in BOXES))


def write_folder(folder, pictures, track):
    """Lossless crops in the layout of Aff-Wild2; the first has a second file beside it, which does not count."""
    folder.mkdir(parents=True)
    seen_at = np.flatnonzero(track["present"])
    for i in seen_at:
        x0, y0, x1, y1 = track["box"][i].astype(int)
        Image.fromarray(pictures[i][y0:y1, x0:x1]).save(folder / f"{i + 1:05d}.jpg", "PNG")
    Image.new("RGB", (9, 9)).save(folder / f"{seen_at[0] + 1:05d}.jpeg")
    return folder


def feature_of(found: FeatureStore, kind: str, side: str) -> Artifact:
    face = found.get(Address("face", kind, VIDEO, side))
    present = found.read(face.address)["present"]
    producer = "emotieffnet_b0" if kind == "mtcnn" else "emotieffnet_b0@cropped"
    arrays = {"embedding": np.zeros((len(present), 2), np.float32), "present": present}
    attributes = {"frames": len(present), "classes": None}
    return Artifact(
        Address("visual", producer, VIDEO, side), {"face": face.key}, arrays, attributes, (face.as_parent(),)
    )


def label_of(side: str, count: int) -> Artifact:
    random = np.random.default_rng(len(side))
    arrays = {"value": random.integers(0, 8, (count, 1)).astype(np.int8), "known": random.random((count, 1)) < 0.7}
    attributes = {"frames": count, "task": "expr", "labels": list(EXPR.names), "split": "train"}
    return Artifact(
        Address("label", "expr", VIDEO, side), {"side": side}, arrays, attributes | {"location": "", "complaint": None}
    )


def seen(found: FeatureStore, producer: str, sides=("left", "right")) -> list[LabelledSubject]:
    return [
        LabelledSubject(
            found.get(Address("label", "expr", VIDEO, s)), (found.get(Address("visual", producer, VIDEO, s)),)
        )
        for s in sides
    ]


PRODUCERS = ("emotieffnet_b0", "emotieffnet_b0@cropped")


@pytest.mark.parametrize("producer", PRODUCERS)
def test_labelled_crops_are_those_that_the_network_saw(store, pictures, tmp_path, producer):
    expected, labels, frames = [], [], []
    for side, track in tracks(len(pictures)).items():
        label = store.read(Address("label", "expr", VIDEO, side))
        for i in np.flatnonzero(track["present"] & label["known"][:, 0]):
            expected.append(resized(cut(pictures[i], track["box"][i]), SIDE))
            labels.append(label["value"][i])
            frames.append(i)
    with store_crops(store, seen(store, producer), TOY, WEIGHTS, tmp_path / "scratch") as crops:
        assert len(crops) == len(expected) > 20
        np.testing.assert_array_equal(crops.y, labels)
        assert crops.frame.tolist() == frames
        rows = np.random.default_rng(0).permutation(len(crops))
        np.testing.assert_array_equal(crops.read(rows), np.array(expected)[rows])
        assert type(crops.read(rows)) is np.ndarray
        assert crops.read(rows[:0]).shape == (0, SIDE, SIDE, 3)
    assert not (tmp_path / "scratch").exists() or not list((tmp_path / "scratch").iterdir())


@pytest.mark.parametrize("producer", PRODUCERS)
def test_the_crops_of_a_subject_are_all_its_frames_with_a_face(store, pictures, producer):
    track = tracks(len(pictures))["right"]
    rows, batches = crops_of(store, store.get(Address("visual", producer, VIDEO, "right")), TOY)
    assert rows.tolist() == np.flatnonzero(track["present"]).tolist()
    np.testing.assert_array_equal(
        np.concatenate(list(batches)), [resized(cut(pictures[i], track["box"][i]), SIDE) for i in rows]
    )


def test_a_network_is_fine_tuned_on_a_store(toy, store, tmp_path):
    with store_crops(store, seen(store, PRODUCERS[0]), TOY, WEIGHTS, tmp_path / "scratch") as train:
        head = fit_finetuned(quick(epochs=1), Backbone(TOY, colour_blind()), train, train)
    rows, batches = crops_of(store, seen(store, PRODUCERS[0])[0].features[0], TOY)
    assert predict_finetuned(head, TOY, batches).shape == (len(rows), 8)
    arrays = {f"parameter_{name}": array for name, array in head.parameters.items()}
    attributes = {"task": "expr", "labels": [], "head": {}, "scores": {}}
    held = commit(store, Artifact(Address("head", "tuned"), {"of": "a test"}, arrays, attributes))
    found = held.read(Address("head", "tuned"))
    assert {name: array.tobytes() for name, array in found.items()} == {n: a.tobytes() for n, a in arrays.items()}


def test_where_nothing_is_labelled_or_seen_no_file_is_needed(store, tmp_path):
    (tmp_path / f"{VIDEO}.mp4").unlink()
    label = label_of("left", len(store.read(Address("source", video=VIDEO))["pts"]))
    label.arrays["known"][:] = False
    found = commit(store, label)
    with store_crops(found, seen(found, PRODUCERS[0], ["left"]), TOY, WEIGHTS, tmp_path / "scratch") as crops:
        assert len(crops) == 0
        assert crops.y.shape == (0, 1)
    with store_crops(found, [], TOY, WEIGHTS, tmp_path / "scratch") as crops:
        assert len(crops) == 0


def test_a_video_that_is_gone_or_another_is_named(store, tmp_path):
    path = tmp_path / f"{VIDEO}.mp4"
    content = path.read_bytes()
    path.write_bytes(content + b"\0")
    with pytest.raises(MediaError, match=rf"'{path}' is not the file that was added\. Restore it"):
        opened(store, PRODUCERS[0], tmp_path)
    path.unlink()
    with pytest.raises(MediaError, match=rf"'{path}' is not there any more, .*'{VIDEO}'.*add the video again"):
        opened(store, PRODUCERS[0], tmp_path)
    _, batches = crops_of(store, seen(store, PRODUCERS[0])[0].features[0], TOY)
    with pytest.raises(MediaError, match="is not there any more"):
        list(batches)


def opened(found, producer, tmp_path):
    with store_crops(found, seen(found, producer), TOY, WEIGHTS, tmp_path / "scratch") as crops:
        return crops.read(np.arange(len(crops)))


def test_a_crop_folder_that_is_gone_or_another_is_named(store, tmp_path):
    folder = tmp_path / "cropped" / f"{VIDEO}_left"
    with store_crops(store, seen(store, PRODUCERS[1]), TOY, WEIGHTS, tmp_path / "scratch") as crops:
        first = sorted(folder.glob("*.jpg"))[0]
        content = first.read_bytes()
        first.write_bytes(b"")
        with pytest.raises(MediaError, match=rf"'{first}' cannot be read any more: it is empty"):
            crops.read(np.arange(len(crops)))
    with pytest.raises(MediaError, match=rf"The files in '{folder}' are not those .*--crops cropped=FOLDER"):
        opened(store, PRODUCERS[1], tmp_path)
    first.write_bytes(content)
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(MediaError, match=rf"'{folder}' with the faces of '{VIDEO}_left' cannot be read: .*Put it back"):
        opened(store, PRODUCERS[1], tmp_path)


def test_features_of_no_face_or_of_an_older_one_are_refused(store, tmp_path):
    face = Address("face", "mtcnn", VIDEO, "left")
    record = store.get(face)
    changed = commit(store, Artifact(face, {"of": "another"}, store.read(face), record.attributes))
    with pytest.raises(ConflictError, match=r"older 'face/mtcnn/.*/left'\. Run the extraction again"):
        opened(changed, PRODUCERS[0], tmp_path)
    one = seen(store, PRODUCERS[0])[0]
    sound = replace(one, features=(replace(one.features[0], parents=()),))
    with (
        pytest.raises(SpecError, match=r"of faces; 'visual/.*' is of none"),
        store_crops(store, [sound], TOY, WEIGHTS, tmp_path / "scratch"),
    ):
        pass


def test_a_full_disk_is_met_before_the_first_crop_is_cut(store, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StoreUnavailableError, match=r"labelled frames take 0\.0 GiB under '.*scratch': No space left"):
        opened(store, PRODUCERS[0], tmp_path)
