"""wav2vec 2.0 and HuBERT held to `transformers` itself, on untrained parameters."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    HubertConfig,
    HubertForSequenceClassification,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
)

from affstore.models.extractor_specs import Segmenting, blocks, whole
from affstore.models.extractors import registry
from affstore.models.extractors.registry import entry_of
from affstore.models.extractors.untrained import resolve_weights
from affstore.models.media.sound import read_sound
from affstore.models.networks.speech import Features, speech
from affstore.models.weights import architectures
from affstore.models.weights.folder import default_folder
from affstore.store.contract.errors import ArchitectureError, DeviceMemoryError, SpecError
from tests.factories import odd_sounds
from tests.parameters import usually

RATE = 16_000
PINNED = [0.0007401971961371601, 0.009910309687256813, 0.0027475529350340366]
DIRECTION = "encoder.pos_conv_embed.conv.parametrizations.weight.original1"
SPEC = registry.spec_of("wav2vec2_base_960h")
OFFICIAL = default_folder()
"""The user's own weights, before the tests are given a folder of theirs."""

BASE = {"mask_time_prob": 0.0, "attn_implementation": "sdpa"}
LARGE = BASE | {
    "hidden_size": 1024,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "feat_extract_norm": "layer",
    "conv_bias": True,
    "do_stable_layer_norm": True,
}
NAMES = ("wav2vec2_base_960h", "hubert_superb_er", "wav2vec2_large_msp_dim", "hubert_large_ls960")


@dataclass
class Case:
    """A network of ours in blocks of a second, and `transformers` called directly with the same parameters."""

    spec: Any
    parameters: dict[str, torch.Tensor]
    extractor: Any
    reference: Any


def reference_of(name, parameters):
    """The model of `transformers`, as anyone would configure it, with these parameters."""
    if name == "wav2vec2_large_msp_dim":
        parameters = {n.removeprefix("wav2vec2."): t for n, t in parameters.items() if n.startswith("wav2vec2.")}
    with torch.device("meta"):
        if name == "wav2vec2_base_960h":
            network = Wav2Vec2Model(Wav2Vec2Config(**BASE))
        elif name == "hubert_large_ls960":
            network = HubertModel(HubertConfig(**LARGE, num_hidden_layers=24))
        elif name == "hubert_superb_er":
            config = HubertConfig(**BASE)
            config.use_weighted_layer_sum, config.num_labels = True, 4
            network = HubertForSequenceClassification(config)
        else:
            network = Wav2Vec2Model(Wav2Vec2Config(**LARGE, num_hidden_layers=12))
    network.load_state_dict(parameters, assign=True)
    return network.eval()


def direct(name, network, parameters, wave):
    """Embeddings, and what the head says, of one segment."""
    processor = Wav2Vec2FeatureExtractor(do_normalize=name != "hubert_superb_er", return_attention_mask=False)
    values = processor(wave, sampling_rate=RATE, return_tensors="pt").input_values
    kept = []
    with torch.inference_mode():
        if name == "hubert_superb_er":
            hook = network.projector.register_forward_hook(lambda module, given, made: kept.append(made))
            logits = network(values).logits[0].numpy()
            hook.remove()
            return kept[0][0].numpy(), logits
        states = network(values).last_hidden_state[0]
        if name != "wav2vec2_large_msp_dim":
            return states.numpy(), None
        weight, bias = parameters["classifier.dense.weight"], parameters["classifier.dense.bias"]
        dense = torch.tanh(torch.nn.functional.linear(states[None].mean(1), weight, bias))
        weight, bias = parameters["classifier.out_proj.weight"], parameters["classifier.out_proj.bias"]
        return states.numpy(), torch.nn.functional.linear(dense, weight, bias)[0].numpy()


def made(name):
    spec = registry.spec_of(name)
    parameters = registry.untrained(spec, 0)
    network = reference_of(name, parameters)
    extractor = registry.build_sound(replace(spec, segments=blocks(1)), parameters)
    return Case(spec, parameters, extractor, lambda wave: direct(name, network, parameters, wave))


@pytest.fixture(scope="module")
def base():
    return made("wav2vec2_base_960h")


@pytest.fixture(scope="module", params=usually(NAMES, lambda name: name in NAMES[:3]))
def case(request):
    return request.getfixturevalue("base") if request.param == SPEC.name else made(request.param)


@pytest.fixture(scope="module")
def jfk(shared):
    return read_sound(shared / "media/speech/jfk.wav", RATE).samples


@pytest.fixture(scope="module")
def half_second(jfk):
    return jfk[3 * RATE : 3 * RATE + RATE // 2]


def noise(samples, seed=0):
    return np.random.default_rng(seed).standard_normal(samples).astype(np.float32)


def test_they_are_registered_with_the_numbers_of_the_papers():
    specs = [registry.spec_of(name) for name in NAMES]
    assert [spec.width for spec in specs] == [768, 256, 1024, 1024]
    assert [spec.normalise for spec in specs] == [True, False, True, True]
    assert [spec.segments.length_s for spec in specs] == [60, 90, 90, 60]
    assert {(spec.rate_hz, spec.vectors_hz, spec.first_s) for spec in specs} == {(RATE, Fraction(50), Fraction(0))}
    assert specs[1].logits.names == ("Neutral", "Happiness", "Anger", "Sadness")
    assert [spec.affect for spec in specs] == [False, False, True, False]


# Each network


def test_each_block_equals_transformers_to_the_bit_and_no_vector_is_lost_at_a_seam(case, jfk):
    """2.5 s in blocks of 1 s: the first with the 80 samples after it, the second with the short remainder."""
    wave = jfk[: 2 * RATE + RATE // 2]
    output = case.extractor.embed(wave)
    assert len(output.embedding) == (len(wave) - 80) // 320 == 124
    said = output.logits if output.affect is None else output.affect
    for rows, samples in ((slice(0, 50), wave[: RATE + 80]), (slice(50, 124), wave[RATE : 320 * 124 + 80])):
        vectors, head = case.reference(samples)
        np.testing.assert_array_equal(output.embedding[rows], vectors)
        assert (said is None) == (head is None)
        if head is not None:
            np.testing.assert_array_equal(said[rows], np.tile(head, (len(vectors), 1)))


def test_embeddings_depend_on_the_sound_and_on_the_moment(case, half_second, shared):
    embedded = case.extractor.embed(half_second).embedding
    mpeg = read_sound(shared / "media/face_video/lwbsza.mpg", RATE).samples
    other = case.extractor.embed(mpeg[RATE : RATE + RATE // 2]).embedding
    assert np.abs(embedded.mean(0) - other.mean(0)).mean() > 0.1
    assert embedded.std(0).mean() > 0.3
    moments = np.corrcoef(embedded)
    assert moments[np.triu_indices(len(moments), 1)].mean() < 0.7


@pytest.mark.parametrize("samples", [0, 1, 399])
def test_sound_shorter_than_a_vector_gives_rows_of_no_length_for_every_output(case, samples):
    output = case.extractor.embed(noise(samples))
    assert output.embedding.shape == (0, case.spec.width)
    assert (output.logits is None) == (case.spec.logits is None)
    assert (output.affect is None) == (not case.spec.affect)
    assert [len(rows) for rows in (output.logits, output.affect) if rows is not None] in ([], [0])


def test_odd_sound_gives_finite_numbers(case, tmp_path):
    for path in odd_sounds(tmp_path):
        sound = read_sound(path, RATE)
        output = case.extractor.embed(sound.samples)
        assert len(output.embedding) == (0 if path.name == "brief.wav" else 4), path.name
        outputs = [rows for rows in (output.embedding, output.logits, output.affect) if rows is not None]
        assert all(np.isfinite(rows).all() for rows in outputs), path.name
        assert (sound.complaint is not None) == (path.name == "holes.wav")


# Features in pieces, windows, batches


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_features_in_pieces_are_the_features_of_the_whole_to_the_bit(norm):
    torch.manual_seed(0)
    config = Wav2Vec2Config(num_hidden_layers=1, feat_extract_norm=norm, conv_bias=norm == "layer")
    theirs = Wav2Vec2Model(config).feature_extractor.eval()
    ours = Features(theirs.conv_layers)
    with torch.inference_mode():
        for vectors in (1, 199, 201, 228):
            wave = torch.randn(1, 320 * vectors + 80 + 7)
            assert ours(wave).shape == (1, 512, vectors)
            assert torch.equal(ours(wave), theirs(wave)), vectors


@pytest.mark.slow
def test_each_vector_of_overlapping_windows_comes_from_the_window_in_whose_middle_it_lies(base, jfk):
    """4.1 s in windows of 2 s every second: three whole ones, and one to the end."""
    extractor = registry.build_sound(replace(SPEC, segments=Segmenting("windows", 2, 1)), base.parameters)
    wave = jfk[: 4 * RATE + RATE // 10]
    embedded = extractor.embed(wave).embedding
    assert len(embedded) == 204
    taken = [(0, 100, 0, 75), (50, 150, 75, 125), (100, 200, 125, 175), (150, 204, 175, 204)]
    for begin, end, first, last in taken:
        vectors, _ = base.reference(wave[320 * begin : 320 * end + 80])
        np.testing.assert_array_equal(embedded[first:last], vectors[first - begin : last - begin])
    shorter = extractor.embed(wave[: 3 * RATE + 80]).embedding
    np.testing.assert_array_equal(shorter[:125], embedded[:125])


def test_a_block_longer_than_a_piece_equals_transformers_to_the_bit(base, jfk):
    extractor = registry.build_sound(SPEC, base.parameters)
    wave = jfk[: 320 * 230 + 80]
    np.testing.assert_array_equal(extractor.embed(wave).embedding, base.reference(wave)[0])


def test_a_gpu_without_memory_for_a_batch_gets_half_of_it(base, monkeypatch):
    waves = np.stack([noise(RATE // 10, seed) for seed in range(5)])
    wanted, whole_pass, sizes = base.extractor._forward._pass(waves)[0], base.extractor._forward._pass, []

    pieces = base.extractor._forward._pieces

    def short_of_memory(waves, room):
        sizes.append(len(waves))
        if len(waves) > room:
            raise torch.cuda.OutOfMemoryError("no room")
        return whole_pass(waves)

    monkeypatch.setattr(base.extractor._forward, "_pass", lambda waves: short_of_memory(waves, 2))
    np.testing.assert_allclose(pieces.run(base.extractor._forward._pass, waves)[0], wanted, atol=1e-5)
    assert sizes == [5, 2, 2, 1]
    monkeypatch.setattr(base.extractor._forward, "_pass", lambda waves: short_of_memory(waves, 0))
    with pytest.raises(DeviceMemoryError, match="no memory for one segment"):
        pieces.run(base.extractor._forward._pass, waves)


# What is particular to one


def test_a_vector_stands_for_its_own_fiftieth_of_a_second(base):
    """A click in the middle of moment 20 changes the features of that moment most."""
    hiss = 0.01 * noise(RATE + 80)
    click = hiss.copy()
    click[320 * 20 + 160] += 1
    features = base.extractor._forward._network.feature_extractor
    with torch.inference_mode():
        without, with_click = (features(torch.from_numpy(w)[None])[0] for w in (hiss, click))
    changed = (with_click - without).abs().amax(0)
    assert without.shape[1] == 50
    assert int(changed.argmax()) == 20


def test_loudness_does_not_matter_when_blocks_are_normalised(base, half_second):
    embedded = base.extractor.embed(half_second).embedding
    np.testing.assert_allclose(base.extractor.embed(half_second * 0.25).embedding, embedded, atol=2e-3)
    raw = registry.build_sound(replace(SPEC, normalise=False), base.parameters)
    assert np.abs(raw.embed(half_second * 0.01).embedding - embedded).max() > 1e-2


def test_bfloat16_is_near_and_is_not_float32(base, half_second):
    near = registry.build_sound(replace(SPEC, precision="bfloat16"), base.parameters).embed(half_second).embedding
    assert near.dtype == np.float32
    assert 1e-4 < np.abs(near - base.extractor.embed(half_second).embedding).mean() < 0.05


def test_the_affect_of_silence_is_what_its_authors_publish():
    """The model card's own check: a second of zeros."""
    held = OFFICIAL.status("wav2vec2_large_msp_dim").record
    if held is None or not held.official:
        pytest.skip(f"needs the official weights: `affstore weights pull wav2vec2_large_msp_dim` ({OFFICIAL.root})")
    spec = registry.spec_of("wav2vec2_large_msp_dim")
    ref = resolve_weights(OFFICIAL, spec.weights)
    extractor = registry.build_sound(replace(spec, weights=ref), OFFICIAL.load(ref.sha256))
    affect = extractor.embed(np.zeros(RATE, np.float32)).affect
    np.testing.assert_allclose(affect[0], [0.5460754, 0.6062266, 0.40431657], atol=1e-4)


def test_untrained_parameters_are_these_and_depend_on_the_seed(base):
    """Other numbers under the same seed would be other parameters under the same key: raise `spec.version` then."""
    drawn = base.parameters["encoder.layers.0.attention.q_proj.weight"][0, :3]
    np.testing.assert_allclose(drawn, PINNED, rtol=1e-6)
    assert not torch.equal(registry.untrained(SPEC, 1)[DIRECTION], base.parameters[DIRECTION])


# Names, and what is refused


PUBLISHED = {
    "wav2vec2_base_960h": "wav2vec2.",
    "hubert_superb_er": "",
    "wav2vec2_large_msp_dim": "",
    "hubert_large_ls960": "hubert.",
}
"""What published names begin with and ours do not."""


@pytest.mark.parametrize(("name", "inside"), PUBLISHED.items())
def test_published_names_become_ours(name, inside):
    """The old names of the weight norm, the prefix, a recogniser's last layer, the training mask."""
    entry = entry_of(name)
    ours = architectures.layout(entry.architecture, entry.outputs)
    old = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    published = {}
    for parameter in ours:
        front, dot, end = parameter.partition("parametrizations.")
        published[inside + front + old[dot + end] if dot else inside + parameter] = parameter
    published |= {"lm_head.weight": None, "lm_head.bias": None, f"{inside or 'hubert.'}masked_spec_embed": None}
    assert {old: new for old in published if (new := speech(entry.architecture.name).rename(old)) is not None} == {
        old: new for old, new in published.items() if new is not None
    }


def test_the_layouts_fill_the_published_files():
    """The size in bytes of audeering's file, header and all; the number of tensors in HuBERT's, with what we leave."""
    entry = entry_of("wav2vec2_large_msp_dim")
    shapes = {name: slot.shape for name, slot in architectures.layout(entry.architecture, entry.outputs).items()}
    for name in [name for name in shapes if "parametrizations" in name]:
        shapes[name.replace("parametrizations.weight.original", "weight_")] = shapes.pop(name)
    shapes["wav2vec2.masked_spec_embed"] = (1024,)
    tensors = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    end, header = 0, {"__metadata__": {"format": "pt"}}
    for name in sorted(tensors):
        begin, end = end, end + 4 * tensors[name].numel()
        header[name] = {"dtype": "F32", "shape": list(shapes[name]), "data_offsets": [begin, end]}
    written = len(json.dumps(header, separators=(",", ":")))
    assert 8 + written + -written % 8 + end == 661_375_508
    entry = entry_of("hubert_large_ls960")
    assert (
        len(architectures.layout(entry.architecture, entry.outputs))
        + len(["lm_head.weight", "lm_head.bias", "masked_spec_embed"])
        == 424
    )


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"encoder.layer_norm.bias": None}, "encoder.layer_norm.bias is missing"),
        ({"quantizer.codevectors": torch.zeros(1)}, "quantizer.codevectors is superfluous"),
        ({"encoder.layer_norm.bias": torch.zeros(1024)}, r"float32 \[1024\], not float32 \[768\]"),
    ],
)
def test_another_networks_parameters_are_refused(base, change, why):
    changed = {name: tensor for name, tensor in (base.parameters | change).items() if tensor is not None}
    with pytest.raises(ArchitectureError, match=why):
        registry.build_sound(SPEC, changed)


@pytest.mark.parametrize("wave", [np.zeros(800), np.zeros((2, 800), np.float32)])
def test_only_mono_float32_is_heard(base, wave):
    with pytest.raises(SpecError, match="hears float32"):
        base.extractor.embed(wave)


@pytest.mark.parametrize(
    "change",
    [
        {"width": 1024},
        {"rate_hz": 8000},
        {"vectors_hz": Fraction(25)},
        {"first_s": Fraction(1, 2)},
        {"affect": True},
        {"resampler": "resampy"},
        {"segments": whole()},
    ],
)
def test_a_spec_it_cannot_honour_is_refused(base, change):
    with pytest.raises(SpecError, match="gives 768 numbers and 0 outputs, 50 times a second"):
        registry.build_sound(replace(SPEC, **change), base.parameters)
