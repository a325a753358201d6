"""wav2vec 2.0 held to `transformers` itself, on untrained parameters."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from models.extractors import registry
from models.extractors.wav2vec2 import WAV2VEC2_BASE_960H as SPEC
from models.extractors.wav2vec2 import Wav2Vec2, _blocks
from models.media.sound import read_sound
from store.contract.errors import ArchitectureError, SpecError

RATE = 16_000
PINNED = [0.0007401971961371601, 0.009910309687256813, 0.0027475529350340366]
GAIN, DIRECTION = (f"encoder.pos_conv_embed.conv.parametrizations.weight.original{i}" for i in (0, 1))


@pytest.fixture(scope="module")
def parameters():
    return Wav2Vec2.untrained(SPEC, seed=0)


@pytest.fixture(scope="module")
def extractor(parameters):
    return registry.build_sound(replace(SPEC, segments=blocks(1)), parameters)


@pytest.fixture(scope="module")
def reference(parameters):
    """`transformers` as anyone would call it; its own defaults are base-960h but for the training mask."""
    network = Wav2Vec2Model(Wav2Vec2Config(mask_time_prob=0.0, attn_implementation="sdpa"))
    network.load_state_dict(parameters)
    processor = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=False)

    def embed(wave):
        values = processor(wave, sampling_rate=RATE, return_tensors="pt").input_values
        with torch.inference_mode():
            return network.eval()(values).last_hidden_state[0].numpy()

    return embed


@pytest.fixture(scope="module")
def jfk(shared):
    return read_sound(shared / "media/speech/jfk.wav", RATE).samples


def noise(samples, seed=0):
    return np.random.default_rng(seed).standard_normal(samples).astype(np.float32)


def test_it_is_registered_with_the_numbers_of_the_paper():
    spec = registry.spec_of("wav2vec2_base_960h")
    assert (spec.width, spec.rate_hz, spec.vectors_hz, spec.normalise) == (768, RATE, Fraction(50), True)


@pytest.fixture(scope="module")
def half_second(jfk):
    return jfk[3 * RATE : 3 * RATE + RATE // 2]


@pytest.fixture(scope="module")
def embedded(extractor, half_second):
    return extractor.embed(half_second)


def test_each_block_equals_transformers_to_the_bit_and_no_vector_is_lost_at_a_seam(extractor, reference, jfk):
    """2.5 s in blocks of 1 s: the first with the 80 samples after it, the second with the short remainder."""
    wave = jfk[: 2 * RATE + RATE // 2]
    embedded = extractor.embed(wave)
    assert len(embedded) == (len(wave) - 80) // 320 == 124
    np.testing.assert_array_equal(embedded[:50], reference(wave[: RATE + 80]))
    np.testing.assert_array_equal(embedded[50:], reference(wave[RATE : 320 * 124 + 80]))


@given(st.integers(0, 400 * RATE), st.integers(1, 90))
def test_blocks_hold_every_vector_once(samples, block_s):
    cut = _blocks(samples, replace(SPEC, segments=blocks(block_s)))
    counts = [(end - begin - 80) // 320 for begin, end in blocks]
    assert sum(counts) == max(0, (samples - 80) // 320)
    assert [begin for begin, _ in blocks] == [320 * sum(counts[:i]) for i in range(len(blocks))]
    assert all(end <= samples for _, end in blocks)
    assert all(count == 50 * block_s for count in counts[:-1])
    assert all(50 <= count < 50 * block_s + 50 for count in counts[-1:] if len(counts) > 1)


@pytest.mark.parametrize("samples", [0, 1, 399])
def test_sound_shorter_than_a_window_gives_nothing(extractor, samples):
    assert extractor.embed(noise(samples)).shape == (0, 768)


def test_a_vector_stands_for_its_own_fiftieth_of_a_second(extractor):
    """A click in the middle of moment 20 changes the features of that moment most."""
    hiss = 0.01 * noise(RATE + 80)
    click = hiss.copy()
    click[320 * 20 + 160] += 1
    with torch.inference_mode():
        without, with_click = (
            extractor._network.feature_extractor(torch.from_numpy(w)[None])[0] for w in (hiss, click)
        )
    changed = (with_click - without).abs().amax(0)
    assert without.shape[1] == 50
    assert int(changed.argmax()) == 20


def test_embeddings_depend_on_the_sound_and_on_the_moment(extractor, embedded, shared):
    other = extractor.embed(read_sound(shared / "media/face_video/lwbsza.mpg", RATE).samples[RATE : RATE + RATE // 2])
    assert np.abs(embedded.mean(0) - other.mean(0)).mean() > 0.1
    assert embedded.std(0).mean() > 0.3
    moments = np.corrcoef(embedded)
    assert moments[np.triu_indices(len(moments), 1)].mean() < 0.6


def test_loudness_does_not_matter_when_blocks_are_normalised(parameters, extractor, embedded, half_second):
    np.testing.assert_allclose(extractor.embed(half_second * 0.25), embedded, atol=2e-3)
    raw = registry.build_sound(replace(SPEC, normalise=False), parameters)
    assert np.abs(raw.embed(half_second * 0.01) - embedded).max() > 1e-2


def test_silence_is_finite(extractor):
    assert np.isfinite(extractor.embed(np.zeros(4000, np.float32))).all()


def test_bfloat16_is_near_and_is_not_float32(parameters, embedded, half_second):
    near = registry.build_sound(replace(SPEC, precision="bfloat16"), parameters).embed(half_second)
    assert near.dtype == np.float32
    assert 1e-4 < np.abs(near - embedded).mean() < 0.05


def test_published_names_give_the_same_network(parameters, embedded, half_second):
    published = {f"wav2vec2.{name}": tensor for name, tensor in parameters.items()}
    published["wav2vec2.encoder.pos_conv_embed.conv.weight_g"] = published.pop(f"wav2vec2.{GAIN}")
    published["wav2vec2.encoder.pos_conv_embed.conv.weight_v"] = published.pop(f"wav2vec2.{DIRECTION}")
    published |= {"lm_head.weight": torch.zeros(32, 768), "lm_head.bias": torch.zeros(32)}
    published["wav2vec2.masked_spec_embed"] = torch.zeros(768)
    np.testing.assert_array_equal(registry.build_sound(SPEC, published).embed(half_second), embedded)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"encoder.layer_norm.bias": None}, "encoder.layer_norm.bias is missing"),
        ({"quantizer.codevectors": torch.zeros(1)}, "quantizer.codevectors is superfluous"),
        ({"encoder.layer_norm.bias": torch.zeros(1024)}, r"has shape \(1024,\), not \(768,\)"),
    ],
)
def test_another_networks_parameters_are_refused(parameters, change, why):
    changed = {name: tensor for name, tensor in (parameters | change).items() if tensor is not None}
    with pytest.raises(ArchitectureError, match=why):
        registry.build_sound(SPEC, changed)


def test_untrained_parameters_are_these_and_depend_on_the_seed(parameters):
    """Other numbers under the same seed would be other parameters under the same key: raise `spec.version` then."""
    drawn = parameters["encoder.layers.0.attention.q_proj.weight"][0, :3]
    np.testing.assert_allclose(drawn, PINNED, rtol=1e-6)
    assert not torch.equal(Wav2Vec2.untrained(SPEC, seed=1)[DIRECTION], parameters[DIRECTION])


@pytest.mark.parametrize("wave", [np.zeros(800), np.zeros((2, 800), np.float32)])
def test_only_mono_float32_is_heard(extractor, wave):
    with pytest.raises(SpecError, match="hears float32"):
        extractor.embed(wave)


@pytest.mark.parametrize(
    "change",
    [{"width": 1024}, {"rate_hz": 8000}, {"vectors_hz": Fraction(25)}, {"segments": Segmenting("windows", 20, 10)}],
)
def test_a_spec_it_cannot_honour_is_refused(parameters, change):
    with pytest.raises(SpecError, match="gives 768 numbers at 50 Hz"):
        registry.build_sound(replace(SPEC, **change), parameters)
