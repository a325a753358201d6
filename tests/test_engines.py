"""Engines: how close they come to torch in float32, which one is taken, and what a GPU without memory does."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from affstore.flows.engines import EngineRequest, detector_of, with_engine
from affstore.models import fidelity as fidelities
from affstore.models.engines.base import Choice
from affstore.models.engines.cuda_graph import Tape
from affstore.models.engines.openvino_engine import OpenVinoForward
from affstore.models.engines.torch_engine import TorchForward
from affstore.models.extractors import registry
from affstore.models.extractors.audio.wav2vec2 import WAV2VEC2_BASE_960H
from affstore.models.extractors.base import FaceOutput
from affstore.models.extractors.face.emotieffnet import EMOTIEFFNET_B0
from affstore.models.faces.specs import DetectorSpec, TrackingSpec
from affstore.models.fidelity import Fidelity, Measuring, best_choice, candidates, fidelity, measured
from affstore.models.networks.staged import Staged
from affstore.models.weights.folder import WeightsFolder
from affstore.models.weights.untrained import SEED
from affstore.store.contract.errors import DeviceMemoryError, SpecError
from affstore.store.contract.keys import canonical, plain
from affstore.store.contract.records import Address, Artifact
from affstore.store.engine.feature_store import FeatureStore
from affstore.tasks import recipes
from tests.factories import commit, source
from tests.parameters import usually

REFERENCE = Choice("torch", "float32")
CHOICES = candidates("cpu")[:-1]
TINY = replace(EMOTIEFFNET_B0, size_px=4, float32_stages=0)


@pytest.fixture(scope="module")
def parameters():
    return registry.untrained(EMOTIEFFNET_B0, SEED)


@pytest.fixture(scope="module")
def faces():
    return fidelities._faces(EMOTIEFFNET_B0.size_px)[:37]


@pytest.fixture(scope="module", params=usually(CHOICES), ids=str)
def engine(request, parameters):
    spec = replace(EMOTIEFFNET_B0, engine=request.param.engine, precision=request.param.precision)
    return registry.build_face(spec, parameters)


@pytest.fixture(scope="module")
def whole(engine, faces):
    return engine.embed(faces)


@pytest.fixture(scope="module")
def reference(parameters, faces):
    return registry.build_face(EMOTIEFFNET_B0, parameters).embed(faces)


def test_an_engine_computes_the_same_network(engine, whole, reference):
    exact = engine.spec.precision == "float32"
    assert fidelity(whole, reference).cosine > (0.999999 if exact else 0.999)
    if exact:
        np.testing.assert_allclose(whole.embedding, reference.embedding, atol=1e-4)
        np.testing.assert_allclose(whole.logits, reference.logits, atol=1e-4)


@pytest.mark.parametrize("count", [1, 2, 15, 16, 17])
def test_a_row_depends_on_its_crop_alone_to_the_bit(engine, whole, faces, count):
    found = engine.embed(faces[-count:])
    np.testing.assert_array_equal(found.embedding, whole.embedding[-count:])
    np.testing.assert_array_equal(found.logits, whole.logits[-count:])


def test_threads_that_share_an_engine_get_their_own_rows(engine, whole, faces):
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda row: engine.embed(faces[row : row + 1]).embedding[0], range(len(faces))))
    np.testing.assert_array_equal(np.stack(found), whole.embedding)


def test_fidelity_is_the_least_cosine_and_the_share_of_equal_expressions():
    rows = np.eye(3, dtype=np.float32)
    tilted = rows.copy()
    tilted[2] = [0.6, 0, 0.8]
    found = fidelity(FaceOutput(tilted, logits=tilted[:, ::-1]), FaceOutput(rows, logits=rows))
    assert found.cosine == pytest.approx(0.8)
    assert found.same_class == pytest.approx(1 / 3)
    assert fidelity(FaceOutput(rows), FaceOutput(3 * rows)) == Fidelity(pytest.approx(1.0), 1.0)
    assert fidelity(FaceOutput(0 * rows), FaceOutput(rows)).cosine == 0


def test_fidelity_covers_valence_and_arousal_in_parts_of_their_range():
    rows, affect = np.eye(3, dtype=np.float32), np.array([[-1, 0.5], [0, 0.25], [1, -0.5]], np.float32)
    for scale, off in ((1, 0.0078), (100, 0.78)):
        reference = FaceOutput(rows, logits=rows, valence_arousal=scale * affect)
        found = FaceOutput(rows, logits=rows, valence_arousal=scale * affect + np.float32([[0, 0], [0, off], [0, 0]]))
        assert fidelity(found, reference).affect_off == pytest.approx(0.0078, rel=1e-3)
        assert not fidelity(found, reference).enough
        assert fidelity(reference, reference).enough


@pytest.mark.parametrize(
    ("cosine", "same", "off", "enough"),
    [(0.9999, 0.995, 0.002, True), (0.99989, 1, 0, False), (1, 0.994, 0, False), (1, 1, 0.0021, False)],
)
def test_an_engine_is_offered_only_when_it_is_faithful(cosine, same, off, enough):
    assert Fidelity(cosine, same, off).enough is enough


@pytest.mark.slow
def test_the_first_faithful_engine_is_taken_and_measured_once(parameters, tmp_path, monkeypatch):
    monkeypatch.setattr(fidelities, "_FACES", 20)
    loads = []

    def load():
        loads.append(1)
        return parameters

    told = []
    measuring = Measuring("cpu", tmp_path, told.append)
    taken = best_choice(EMOTIEFFNET_B0, load, candidates("cpu"), measuring)
    said = len(told)
    known = {c: measured(EMOTIEFFNET_B0, load, c, measuring) for c in CHOICES[: CHOICES.index(taken) + 1]}
    assert [found.enough for found in known.values()] == [choice == taken for choice in known]
    assert len(loads) == len(known)
    assert best_choice(EMOTIEFFNET_B0, pytest.fail, candidates("cpu"), measuring) == taken
    assert "measuring how close emotieffnet_b0 on" in told[0]
    assert told[-1].endswith("it is taken")
    assert len(told) == said == 2 * len(known), "what is in the notes is not measured, and nothing is said"


def test_where_no_engine_is_faithful_the_reference_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(fidelities, "measured", lambda *_: Fidelity(0.5, 1))
    assert best_choice(EMOTIEFFNET_B0, pytest.fail, candidates("cpu"), Measuring("cpu", tmp_path)) == REFERENCE


def test_a_gpu_is_never_offered_an_engine_of_processors():
    assert {choice.engine for choice in candidates("cuda")} == {"torch"}
    with pytest.raises(SpecError, match="Choose torch"):
        OpenVinoForward(lambda: Staged((), torch.nn.Linear(1, 1), 1), EMOTIEFFNET_B0, {}, "cuda")


def test_what_is_named_is_taken_and_what_is_left_open_is_chosen_within_it(tmp_path):
    weights = WeightsFolder(tmp_path)
    named = with_engine(EMOTIEFFNET_B0, EngineRequest("torch", "bfloat16"), weights, None)
    assert (named.engine, named.precision) == ("torch", "bfloat16")
    open_ = with_engine(EMOTIEFFNET_B0, EngineRequest("torch"), weights, None)
    assert (open_.engine, open_.precision) == ("torch", "float32")
    assert with_engine(WAV2VEC2_BASE_960H, EngineRequest("torch"), weights, None) == WAV2VEC2_BASE_960H


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_a_store_keeps_the_engine_its_embeddings_were_made_with(tmp_path, engine):
    made = replace(EMOTIEFFNET_B0, engine=engine)
    artifact = Artifact(
        Address("visual", made.name, "v", "main"),
        {"extractor": plain(made), "face": "f"},
        {"embedding": np.zeros((2, 1280), np.float32), "present": np.ones(2, bool)},
        {"frames": 2, "classes": None},
    )
    store = commit(FeatureStore.create(f"memory:{tmp_path.name}-{engine}"), source("v", frames=2), artifact)
    assert with_engine(EMOTIEFFNET_B0, EngineRequest(), WeightsFolder(tmp_path), store).engine == engine


def with_face(name, spec):
    box = {"box": np.zeros((2, 4), np.float32), "present": np.ones(2, bool)}
    face = Artifact(
        Address("face", "mtcnn", "v", "main"),
        recipes.face(spec, TrackingSpec(), "s", "main"),
        box,
        {"frames": 2, "prominent": True},
    )
    return commit(FeatureStore.create(f"memory:{name}"), source("v", frames=2), face)


def test_faces_are_found_by_the_fastest_engine_unless_one_is_named(tmp_path):
    assert detector_of(EngineRequest(), None).engine == "openvino"
    assert detector_of(EngineRequest(device="cuda"), None).engine == "torch"
    assert detector_of(EngineRequest("torch"), None).engine == "torch"


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_a_store_keeps_the_engine_that_its_faces_were_found_with(tmp_path, engine):
    store = with_face(f"{tmp_path.name}-{engine}", DetectorSpec(engine=engine))
    assert detector_of(EngineRequest(), store).engine == engine
    assert detector_of(EngineRequest(device="cuda"), store).engine == "torch"


def test_faces_of_an_older_version_do_not_bind_the_engine(tmp_path):
    store = with_face(tmp_path.name, DetectorSpec(version=1))
    assert detector_of(EngineRequest(), store).engine == "openvino"


@pytest.mark.parametrize(("engine", "stored"), [("torch", "float32"), ("openvino", "float16")])
def test_a_store_without_embeddings_takes_the_engine_that_an_imported_head_was_fitted_on(tmp_path, engine, stored):
    here = replace(EMOTIEFFNET_B0, weights=replace(EMOTIEFFNET_B0.weights, sha256="5" * 64))
    made = replace(here, engine=engine, stored=stored)
    attributes = {"task": "expr", "labels": [], "head": {}, "scores": None}
    parameters = {"parameter_prior": np.full(8, 1 / 8, np.float32)}
    head = Artifact(Address("head", "theirs"), {}, parameters, attributes, made={"networks": [canonical(made)]})
    store = commit(FeatureStore.create(f"memory:{tmp_path.name}-{engine}"), head)
    assert with_engine(here, EngineRequest(), WeightsFolder(tmp_path), store) == made
    asked = with_engine(here, EngineRequest("torch", "bfloat16"), WeightsFolder(tmp_path), store)
    assert (asked.engine, asked.precision) == ("torch", "bfloat16")


def test_a_gpu_that_runs_out_of_memory_gets_half_the_batch_and_goes_on():
    """The GPU is a stage that refuses large batches, as a GPU does; the rest is what a real one runs through."""
    asked = []

    def stage(pictures):
        asked.append(len(pictures))
        if len(pictures) > 64:
            raise torch.cuda.OutOfMemoryError("no memory")
        return pictures.mean((2, 3))

    forward = TorchForward(Staged((stage,), torch.nn.Linear(3, 2), 3), replace(EMOTIEFFNET_B0, size_px=4), "cpu")
    crops = np.random.default_rng(0).integers(0, 256, (256, 4, 4, 3), np.uint8)
    first = forward._pieces.run(lambda piece: (forward._pass(piece),), crops)[0]
    assert asked == [256, 128, 64, 64, 64, 64]
    again = forward._pieces.run(lambda piece: (forward._pass(piece),), crops)[0]
    np.testing.assert_array_equal(again, first)
    assert asked[6:] == [64] * 4


def test_a_gpu_without_memory_for_the_smallest_batch_is_a_clear_error():
    def stage(_):
        raise torch.cuda.OutOfMemoryError("no memory")

    forward = TorchForward(Staged((stage,), torch.nn.Linear(3, 2), 3), replace(EMOTIEFFNET_B0, size_px=4), "cpu")
    with pytest.raises(DeviceMemoryError, match="not even for 16 crops"):
        forward._pieces.run(lambda piece: (forward._pass(piece),), np.zeros((32, 4, 4, 3), np.uint8))


# A GPU's passes are recorded once and played back. Here the recorder is one that a CPU can play.


def mean_colour(pictures):
    return pictures.mean((2, 3))


def recorder(log, room=1000, broken=False):
    """Records as a GPU would: one input, one output; `room` is how many rows it has memory for."""

    def record(step, seen):
        log.append(len(seen))
        if len(seen) > room:
            raise torch.cuda.OutOfMemoryError("no memory")
        if broken:
            raise RuntimeError("operation not permitted when stream is capturing")
        said = step(seen).clone()
        return Tape(seen, said, lambda: said.copy_(step(seen)))

    return record


def forward_with(record):
    return TorchForward(Staged((mean_colour,), torch.nn.Linear(3, 2), 3), TINY, "cpu", record)


@pytest.fixture(scope="module")
def tiny_batches():
    return np.random.default_rng(0).integers(0, 256, (6, 32, 4, 4, 3), np.uint8)


def colours(batch):
    scaled = batch.astype(np.float32) / 255
    return ((scaled - np.float32(TINY.mean)) / np.float32(TINY.std)).mean((1, 2))


def test_a_pass_is_recorded_once_and_played_for_every_batch(tiny_batches):
    log = []
    forward = forward_with(recorder(log))
    found = [forward(batch) for batch in tiny_batches]
    assert log == [32]
    for batch, rows in zip(tiny_batches, found, strict=True):
        np.testing.assert_allclose(rows[:, :3], colours(batch), atol=1e-5)  # not those of the batch played last


def test_threads_that_share_a_recorded_pass_get_their_own_rows(tiny_batches):
    forward = forward_with(recorder([]))
    alone = [forward(batch) for batch in tiny_batches]
    with ThreadPoolExecutor(4) as threads:
        for _ in range(5):
            for rows, mine in zip(threads.map(forward, tiny_batches), alone, strict=True):
                np.testing.assert_array_equal(rows, mine)


def test_a_recording_without_memory_is_made_anew_for_half_the_batch(tiny_batches):
    log = []
    forward = forward_with(recorder(log, room=16))
    found = [forward(batch) for batch in tiny_batches]
    assert log == [32, 16]
    for batch, rows in zip(tiny_batches, found, strict=True):
        np.testing.assert_allclose(rows[:, :3], colours(batch), atol=1e-5)
    with pytest.raises(DeviceMemoryError, match="not even for 16 crops"):
        forward_with(recorder([], room=8))(tiny_batches[0])


def test_what_cannot_be_recorded_runs_kernel_by_kernel(tiny_batches):
    log = []
    forward = forward_with(recorder(log, broken=True))
    with pytest.warns(UserWarning, match="cannot be recorded .*stream is capturing"):
        first = forward(tiny_batches[0])
    np.testing.assert_allclose(first[:, :3], colours(tiny_batches[0]), atol=1e-5)
    forward(tiny_batches[1])
    assert log == [32], "it is tried once"


@pytest.mark.slow
def test_a_recorded_step_says_what_the_step_itself_says(parameters, faces):
    """With the real network: nothing in its step reads the host's memory or depends on the last batch."""
    reference = registry.build_face(EMOTIEFFNET_B0, parameters)._forward
    record = recorder([])
    forward = TorchForward(reference._staged, EMOTIEFFNET_B0, "cpu", record)
    for batch in (faces[:32], faces[5:37]):
        np.testing.assert_array_equal(forward(batch), reference(batch))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU on this machine")
def test_on_a_gpu_a_graph_says_what_its_kernels_say_and_both_are_near_the_cpu(parameters, faces, reference):
    """What the recorder above stands in for."""
    on_gpu = registry.build_face(EMOTIEFFNET_B0, parameters, "cuda")
    played = on_gpu.embed(faces)
    assert on_gpu._forward._recorded._tape is not None, "it was recorded"
    on_gpu._forward._recorded._tape, on_gpu._forward._recorded._recordable = None, False
    np.testing.assert_array_equal(on_gpu.embed(faces).embedding, played.embedding)
    assert fidelity(played, reference).cosine > 0.99999


def test_an_engine_opens_no_connection_and_starts_no_process_that_could(tmp_path):
    """OpenVINO would tell Google Analytics of its import, from a forked process."""
    code = """
import sys
told = []
def watch(event, _):
    if event.startswith(("socket.connect", "os.fork", "subprocess.Popen")):
        told.append(event)
from dataclasses import replace
from affstore.models.extractors import registry
spec = replace(registry.spec_of("mt_emotimobilefacenet"), engine="openvino")
parameters = registry.untrained(spec, 0)
sys.addaudithook(watch)
registry.build_face(spec, parameters)
assert not told, told
"""
    environment = os.environ | {"HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], env=environment, check=True, timeout=120)
    assert not (tmp_path / "intel").exists(), "where it would note under which number it tells"
