"""Engines of sound networks: held to torch in float32, and to the same bits for the same sound."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from affstore.flows.engines import EngineRequest, is_decided, with_engine
from affstore.models import fidelity as fidelities
from affstore.models.extractor_specs import blocks
from affstore.models.extractors import registry
from affstore.models.extractors.base import SoundOutput
from affstore.models.fidelity import candidates, fidelity
from affstore.models.heads.examples import Examples
from affstore.models.heads.mlp.keras_mlp import fit, predict
from affstore.models.heads.mlp.spec import PAPER_HEADS
from affstore.models.networks.spectrogram import openl3_spectrogram, quick_spectrogram, spectrogram
from affstore.models.networks.speech import Features, channel_norm
from affstore.models.weights.folder import WeightsFolder
from affstore.store.contract.errors import SpecError
from affstore.store.contract.keys import plain
from affstore.store.contract.records import Address, Artifact
from affstore.store.engine.feature_store import FeatureStore
from tests.factories import commit, source
from tests.parameters import usually

RATE = 16_000
CHOICES = candidates("cpu")[:-1]
NAMES = ("wav2vec2_base_960h", "hubert_superb_er", "wav2vec2_large_msp_dim", "hubert_large_ls960")
LIGHT = ("wav2vec2_base_960h", "openl3_env_mel128_512")


@pytest.fixture(scope="module")
def speech():
    """Five seconds as they are, and the same quieter: what engines are measured on."""
    return fidelities._speech(RATE, "swresample")[: 10 * RATE]


@pytest.fixture(scope="module")
def parameters():
    return {name: registry.untrained(registry.spec_of(name), 0) for name in LIGHT}


def built(name, parameters, choice):
    """In blocks of a second, so that there are several."""
    spec = replace(registry.spec_of(name), segments=blocks(1), engine=choice.engine, precision=choice.precision)
    return registry.build_sound(spec, parameters)


@pytest.fixture(scope="module", params=usually(CHOICES), ids=str)
def base(request, parameters):
    return built(LIGHT[0], parameters[LIGHT[0]], request.param)


def check_same_network(name, parameters, choice, wave):
    found = built(name, parameters, choice).embed(wave)
    reference = built(name, parameters, candidates("cpu")[-1]).embed(wave)
    close = fidelity(found, reference)
    assert close.same_class == 1
    assert close.affect_off < 0.01
    assert close.cosine > (0.99999 if choice.precision == "float32" else 0.998)


@pytest.mark.parametrize("choice", usually(CHOICES), ids=str)
def test_an_engine_computes_the_same_network(parameters, speech, choice):
    check_same_network(LIGHT[0], parameters[LIGHT[0]], choice, speech[: 5 * RATE // 2])


@pytest.mark.parametrize("choice", usually(CHOICES), ids=str)
def test_openl3_on_an_engine_is_the_same_network(parameters, speech, choice):
    check_same_network(LIGHT[1], parameters[LIGHT[1]], choice, np.repeat(speech[: RATE // 2], 3).astype(np.float64))


@pytest.mark.slow
@pytest.mark.parametrize("choice", CHOICES, ids=str)
@pytest.mark.parametrize("name", NAMES[1:])
def test_an_engine_computes_every_speech_network(speech, name, choice):
    check_same_network(name, registry.untrained(registry.spec_of(name), 0), choice, speech[: 5 * RATE // 2])


@pytest.mark.parametrize("samples", [400, 800, RATE, 5 * RATE // 2])
def test_a_block_has_the_same_bits_beside_any_others_and_in_any_thread(base, speech, samples):
    whole = base.embed(speech[: 4 * RATE]).embedding
    alone = base.embed(speech[:samples]).embedding
    assert len(alone) == (samples - 400) // 320 + 1
    same = max(0, 50 * (len(alone) // 50 - 1))  # what is left over joins the last block
    np.testing.assert_array_equal(alone[:same], whole[:same])
    with ThreadPoolExecutor(3) as threads:
        for again in threads.map(lambda _: base.embed(speech[:samples]).embedding, range(4)):
            np.testing.assert_array_equal(again, alone)


def test_sound_shorter_than_a_vector_has_none_on_an_engine(base):
    assert base.embed(np.zeros(399, np.float32)).embedding.shape == (0, 768)


def test_an_openl3_window_has_the_same_bits_beside_any_others(parameters):
    network = built(LIGHT[1], parameters[LIGHT[1]], CHOICES[0])
    wave = np.random.default_rng(0).standard_normal(48_000)
    whole = network.embed(wave).embedding
    few = network.embed(wave[: 24_000 + 2 * 4_800]).embedding
    np.testing.assert_array_equal(few, whole[:3])


def test_a_channel_is_normalised_as_over_all_of_the_sound(speech):
    layer = torch.nn.Module()
    layer.conv = torch.nn.Conv1d(1, 8, 10, stride=5, bias=False)
    layer.layer_norm = torch.nn.GroupNorm(8, 8)
    torch.nn.init.normal_(layer.layer_norm.weight)
    torch.nn.init.normal_(layer.layer_norm.bias)
    wave = speech[: 3 * RATE]
    with torch.inference_mode():
        signal = layer.conv(torch.from_numpy(wave)[None, None])
        wanted = layer.layer_norm(signal).numpy()
        scale, shift = channel_norm(layer).scales(wave)
    np.testing.assert_allclose(signal.numpy() * scale + shift, wanted, atol=1e-4)
    assert channel_norm(torch.nn.Linear(1, 1)) is None


@pytest.mark.parametrize("front_end", ["kapre", "librosa"])
@pytest.mark.parametrize("representation", ["linear", "mel128", "mel256"])
def test_a_quick_spectrogram_is_the_spectrogram(speech, representation, front_end):
    spec = openl3_spectrogram(representation, front_end, 48_000)
    second = np.repeat(speech[:RATE], 3)
    found, wanted = quick_spectrogram(second, spec), spectrogram(second, spec)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, atol=1e-3)


def planted(pieces, piece_s, rate_hz, seed):
    """Pieces of speech, noise, or one of two tones after one another, over a little noise; and which each is."""
    random = np.random.default_rng(seed)
    samples = round(piece_s * rate_hz)
    at = np.arange(samples) / rate_hz
    spoken = np.repeat(fidelities._speech(RATE, "swresample"), rate_hz // RATE)
    kinds = random.integers(0, 4, pieces)
    starts = random.integers(0, len(spoken) - samples, pieces)
    makes = (
        lambda start: spoken[start : start + samples],
        lambda _: 0.1 * random.standard_normal(samples),
        lambda _: 0.1 * np.sin(2 * np.pi * 300 * at),
        lambda _: 0.1 * np.sin(2 * np.pi * 2400 * at),
    )
    parts = [makes[kind](start) for kind, start in zip(kinds, starts, strict=True)]
    wave = np.concatenate(parts) + 0.01 * random.standard_normal(pieces * samples)
    return wave, kinds


def labelled(network, seed):
    """Rows of a network over planted sound, and their labels."""
    spec = network.spec
    # A window of OpenL3 hears a whole second, so most of its windows are to lie within one piece.
    pieces, piece_s = (20, 2.0) if spec.name == LIGHT[1] else (40, 0.5)
    wave, kinds = planted(pieces, piece_s, spec.rate_hz, seed)
    rows = network.embed(wave.astype(np.float32)).embedding
    at_s = np.arange(len(rows)) / float(spec.vectors_hz)
    return Examples(rows, kinds[np.minimum((at_s / piece_s).astype(int), len(kinds) - 1)][:, None].astype(np.int8))


@pytest.mark.slow
@pytest.mark.parametrize("name", LIGHT)
def test_heads_say_the_same_on_every_engine_that_is_faithful(parameters, name):
    """A head that has learned a planted task from one engine's embeddings is given another's of sound new to it."""
    reference = built(name, parameters[name], candidates("cpu")[-1])
    train, test = labelled(reference, 1), labelled(reference, 2)
    head = fit(replace(PAPER_HEADS["expr"], batch=64, epochs=20, learning_rate=1e-3), train, train)
    wanted = predict(head, test.x).argmax(1)
    assert (wanted == test.y[:, 0]).mean() > 0.7, "the task can be learned"
    tried = 0
    for choice in CHOICES:
        found = labelled(built(name, parameters[name], choice), 2)
        if not fidelity(SoundOutput(found.x), SoundOutput(test.x)).enough:
            continue
        tried += 1
        assert (predict(head, found.x).argmax(1) == wanted).mean() >= 0.995
    assert tried


# Which engine is taken


def test_fidelity_covers_classes_and_affect_of_a_sound():
    rows = np.eye(3, dtype=np.float32)
    reference = SoundOutput(rows, logits=rows, affect=rows)
    assert fidelity(reference, reference).enough
    assert not fidelity(SoundOutput(rows, logits=rows[:, ::-1], affect=rows), reference).enough
    assert fidelity(SoundOutput(rows, logits=rows, affect=rows + 0.01), reference).affect_off == pytest.approx(0.01)


def test_engines_are_measured_on_real_speech_at_each_networks_rate():
    for rate_hz, resampler in ((RATE, "swresample"), (48_000, "resampy")):
        wave = fidelities._speech(rate_hz, resampler)
        assert len(wave) == 4 * fidelities._SPEECH_S * rate_hz
        assert 0.01 < np.abs(wave[:rate_hz]).mean() < 0.5


@pytest.mark.parametrize("name", ["silero_vad", "openl3_env_mel128_512"])
def test_a_network_that_only_torch_or_a_package_runs_stays_there(tmp_path, name):
    spec = registry.spec_of(name)
    spec = replace(spec, engine="openl3") if name.startswith("openl3") else spec
    assert with_engine(spec, EngineRequest("openvino"), WeightsFolder(tmp_path), None) == spec


def test_what_is_asked_for_a_sound_network_is_taken(tmp_path):
    spec = registry.spec_of("wav2vec2_base_960h")
    found = with_engine(spec, EngineRequest("openvino", "bfloat16"), WeightsFolder(tmp_path), None)
    assert (found.engine, found.precision) == ("openvino", "bfloat16")
    assert with_engine(spec, EngineRequest("torch"), WeightsFolder(tmp_path), None) == spec


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_a_store_keeps_the_engine_its_sounds_were_embedded_with(tmp_path, engine):
    made = replace(registry.spec_of("wav2vec2_base_960h"), engine=engine)
    artifact = Artifact(
        Address("audio", made.name, "v"),
        {"extractor": plain(made), "source": "s"},
        {"embedding": np.zeros((2, 768), np.float32), "present": np.ones(2, bool)},
        {"frames": 2, "vectors": 2, "classes": None, "complaint": None},
    )
    store = commit(FeatureStore.create(f"memory:{tmp_path.name}-{engine}"), source("v", frames=2), artifact)
    asked = registry.spec_of("wav2vec2_base_960h")
    assert with_engine(asked, EngineRequest(), WeightsFolder(tmp_path), store).engine == engine
    assert is_decided(asked, EngineRequest(), store)
    others = replace(asked, weights=replace(asked.weights, sha256="f" * 64))
    assert not is_decided(others, EngineRequest(), store), "with other weights it is measured"
    assert not is_decided(registry.spec_of("hubert_large_ls960"), EngineRequest(), store)
    assert is_decided(others, EngineRequest("torch", "float32"), store)


def test_openvino_is_for_processors(parameters):
    spec = replace(registry.spec_of("openl3_env_mel128_512"), engine="openvino")
    with pytest.raises(SpecError, match="Choose torch"):
        registry.build_sound(spec, parameters[LIGHT[1]], "cuda")


def test_the_convolutions_are_found_in_every_speech_network():
    for name in NAMES:
        entry = registry.EXTRACTORS.get(name).entry
        network = entry.architecture.make
        with torch.device("meta"):
            parts = [type(part) for part in network(entry.outputs).modules()]
        assert parts.count(Features) == 1
