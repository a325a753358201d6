"""Audio encoders of transformers by name: their numbers are transformers' own, and their clock is measured."""

from __future__ import annotations

import json
import threading
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as hf

from affstore.flows.cli import call
from affstore.models.extractors import registry
from affstore.models.extractors.audio import hf_clock, hf_hub
from affstore.models.extractors.untrained import resolve_weights
from affstore.models.weights.calibration_sounds import sounds
from affstore.models.weights.folder import default_folder
from affstore.store.contract.errors import SpecError, WeightsMissingError
from affstore.store.contract.keys import key_of
from tests.parameters import usually

SMALL = {
    **{"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
    **{"conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2, "vocab_size": 32},
}
BERT = {name: value for name, value in SMALL.items() if "conv" not in name}
AST = {**{name: SMALL[name] for name in tuple(SMALL)[:4]}, "max_length": 312, "num_mel_bins": 32}
WHISPER = {
    **{"d_model": 32, "encoder_layers": 2, "decoder_layers": 1, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64},
    **{"encoder_attention_heads": 2, "decoder_attention_heads": 2, "vocab_size": 40, "max_source_positions": 200},
    **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"), 0),
}
LAYERED = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}
MODELS = {
    "wav2vec2": (hf.Wav2Vec2Model, hf.Wav2Vec2Config(**SMALL), hf.Wav2Vec2FeatureExtractor()),
    "hubert": (hf.HubertModel, hf.HubertConfig(**SMALL), hf.Wav2Vec2FeatureExtractor(do_normalize=False)),
    "wavlm": (
        hf.WavLMModel,
        hf.WavLMConfig(**SMALL | LAYERED),
        hf.Wav2Vec2FeatureExtractor(return_attention_mask=True),
    ),
    "unispeech": (hf.UniSpeechModel, hf.UniSpeechConfig(**SMALL), hf.Wav2Vec2FeatureExtractor()),
    "unispeech-sat": (hf.UniSpeechSatModel, hf.UniSpeechSatConfig(**SMALL), hf.Wav2Vec2FeatureExtractor()),
    "data2vec": (hf.Data2VecAudioModel, hf.Data2VecAudioConfig(**SMALL), hf.Wav2Vec2FeatureExtractor()),
    "w2v-bert": (hf.Wav2Vec2BertModel, hf.Wav2Vec2BertConfig(**BERT), hf.SeamlessM4TFeatureExtractor()),
    "whisper": (hf.WhisperModel, hf.WhisperConfig(**WHISPER), hf.WhisperFeatureExtractor(chunk_length=4)),
    "ast": (hf.ASTModel, hf.ASTConfig(**AST), hf.ASTFeatureExtractor(max_length=312, num_mel_bins=32)),
}
CLOCKS = {
    "w2v-bert": hf_clock.Clock(320, 0, 560, hears=560),
    "whisper": hf_clock.Clock(320, -519, 520, steps=200),
    "ast": hf_clock.Clock(1600, 0, 2800, steps=30),
}
QUICK = ("wavlm", "w2v-bert", "ast")
EVERY = usually(MODELS, QUICK.__contains__)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A weights folder of this module's own."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("weights")
        patch.setenv("AFFSTORE_WEIGHTS", str(folder))
        yield folder


@pytest.fixture(scope="module")
def saved(tmp_path_factory, weights):
    """Gives the folder of a model as `save_pretrained` writes it, imported as a user does it."""
    folders: dict[str, Path] = {}

    def folder_of(name: str) -> Path:
        if name not in folders:
            folder = tmp_path_factory.mktemp(name)
            model, config, prepare = MODELS[name]
            torch.manual_seed(1)
            model(config).eval().save_pretrained(folder)
            prepare.save_pretrained(folder)
            assert call(["weights", "import", f"hf-audio/test/{name}", str(folder)]) == 0
            folders[name] = folder
        return folders[name]

    return folder_of


def sound(seed: int, length_s: int = 2, more: int = 123) -> np.ndarray:
    return np.concatenate(sounds(length_s + 1, 16_000, seed))[: length_s * 16_000 + more]


def network(name: str, variant: str = "", untrained: bool = False):
    spec = registry.spec_of(f"hf-audio/test/{name}{variant}")
    ref = resolve_weights(default_folder(), spec.weights, untrained=untrained)
    return registry.build_sound(spec, default_folder().load(ref.sha256))


def theirs(folder: Path, name: str, wave: np.ndarray, layer: str) -> np.ndarray:
    """What transformers itself says: its own preprocessing and its own call."""
    model, _, _ = MODELS[name]
    loaded = model.from_pretrained(folder).eval()
    encoder = loaded.encoder if name == "whisper" else loaded
    inputs = hf.AutoFeatureExtractor.from_pretrained(folder)(wave, sampling_rate=16_000, return_tensors="pt")
    with torch.inference_mode():
        output = encoder(**inputs, output_hidden_states=True)
        states = {"last": output.last_hidden_state, "mean": torch.stack(output.hidden_states).mean(0)}
        found = states[layer] if layer in states else output.hidden_states[int(layer)]
    if name == "ast":
        found = found[:, 2:].reshape(1, 2, 30, -1).mean(1)
    return found[0].numpy()


@pytest.mark.parametrize("name", EVERY)
def test_an_embedding_is_transformers_own_to_the_bit(saved, name):
    folder, wave = saved(name), sound(0)
    for layer in ("last", "mean", "1"):
        ours = network(name, f"@{layer}").embed(wave).embedding
        assert len(ours) in (99, 100, 101, 20)
        wanted = theirs(folder, name, wave, layer)
        kept = min(len(wanted), len(ours))
        np.testing.assert_array_equal(ours[:kept], wanted[:kept], err_msg=layer)
    spec = registry.spec_of(f"hf-audio/test/{name}")
    assert hf_hub.described_model(spec.name, default_folder().root).clock == CLOCKS.get(
        name, hf_clock.Clock(320, 0, 400, hears=400)
    )
    assert resolve_weights(default_folder(), spec.weights).trained


@pytest.mark.parametrize("name", EVERY)
def test_untrained_parameters_depend_on_the_sound_and_on_the_moment(saved, name):
    saved(name)
    quick = network(name, untrained=True)
    one, other = (quick.embed(sound(seed)).embedding for seed in (1, 2))
    size = np.linalg.norm(one, axis=1).mean()
    assert np.linalg.norm(one - other, axis=1).min() > 0.01 * size, "two sounds have nearly one embedding"
    assert np.linalg.norm(one - one.mean(0), axis=1).mean() > 0.05 * size, "all moments have nearly one embedding"


def test_a_vector_stands_for_one_stride_around_the_middle_of_what_it_depends_on(saved):
    saved("whisper")
    saved("w2v-bert")
    whisper, bert = (registry.spec_of(f"hf-audio/test/{name}") for name in ("whisper", "w2v-bert"))
    assert (whisper.vectors_hz, whisper.first_s) == (50, Fraction(-319, 32_000))
    assert (bert.vectors_hz, bert.first_s) == (50, Fraction(240, 32_000))
    assert (whisper.window_s, whisper.segments.length_s, bert.segments.length_s) == (4, 4, 60)


def test_an_encoder_with_a_window_hears_a_longer_sound_in_blocks_of_it(saved):
    saved("whisper")
    encoder, wave = network("whisper"), sound(3, 9, 0)
    found = encoder.embed(wave).embedding
    assert len(found) == 450
    for first in (0, 4, 8):
        alone = encoder.embed(wave[16_000 * first : 16_000 * (first + 4)]).embedding
        np.testing.assert_array_equal(found[50 * first : 50 * (first + 4)], alone)
    assert encoder.embed(wave[:0]).embedding.shape == (0, 32)
    assert len(encoder.embed(wave[:100]).embedding) == 1


def test_layers_have_keys_of_their_own_and_names_of_their_own(saved):
    saved("whisper")
    names = [f"hf-audio/test/whisper{variant}" for variant in ("", "@0", "@2", "@mean", "@mean+blocks2+notebook")]
    specs = [registry.spec_of(name) for name in names]
    assert [spec.name for spec in specs] == names
    assert len({key_of(spec) for spec in specs}) == len(names)
    assert (specs[-1].layer, specs[-1].segments.length_s, specs[-1].align) == ("mean", 2, "notebook")


@pytest.mark.parametrize(
    ("name", "error", "told"),
    [
        ("hf-audio/whisper", SpecError, "hf-audio/ORG/NAME"),
        ("hf-audio/../../etc", SpecError, "names no model of the hub"),
        ("hf-audio/test/nowhere", WeightsMissingError, "weights import hf-audio/test/nowhere FOLDER"),
        ("hf-audio/test/whisper@3", SpecError, "hidden states 0 to 2, and no 3"),
        ("hf-audio/test/whisper@first", SpecError, "a layer's number up to 2, last and mean"),
        ("hf-audio/test/whisper@blocks5", SpecError, "hears 4 s at once"),
    ],
)
def test_a_name_that_says_nothing_is_refused_in_one_sentence(saved, name, error, told):
    saved("whisper")
    with pytest.raises(error, match=told):
        registry.spec_of(name)


def test_a_folder_without_weights_is_one_clear_error_and_can_be_run_untrained(saved, weights, tmp_path, capsys):
    source = saved("ast")
    for file in (hf_hub.CONFIG, hf_hub.PREPROCESSOR):
        (tmp_path / file).write_bytes((source / file).read_bytes())
    words = ["weights", "import", "hf-audio/test/bare", str(tmp_path)]
    assert call(words) == 5
    said = capsys.readouterr().err
    assert "holds no parameters of 'hf-audio/test/bare' in model.safetensors or pytorch_model.bin" in said
    assert "--config-only" in said
    assert call([*words, "--config-only"]) == 0
    spec = registry.spec_of("hf-audio/test/bare")
    with pytest.raises(WeightsMissingError, match="not in"):
        resolve_weights(default_folder(), spec.weights)
    assert not resolve_weights(default_folder(), spec.weights, untrained=True).trained


def test_a_pickled_file_gives_the_same_parameters_under_todays_names(saved, tmp_path):
    source = saved("wavlm")
    for file in (hf_hub.CONFIG, hf_hub.PREPROCESSOR):
        (tmp_path / file).write_bytes((source / file).read_bytes())
    state = MODELS["wavlm"][0].from_pretrained(source).state_dict()
    older = (("parametrizations.weight.original0", "weight_g"), ("parametrizations.weight.original1", "weight_v"))
    renamed = {}
    for name, tensor in state.items():
        for new, old in older:
            name = name.replace(new, old)
        renamed[f"wavlm.{name}"] = tensor
    torch.save(renamed | {"lm_head.weight": torch.zeros(3, 32)}, tmp_path / "pytorch_model.bin")
    assert call(["weights", "import", "hf-audio/test/pickled", str(tmp_path)]) == 0
    records = [default_folder().status(f"hf-audio/test/{name}").record for name in ("pickled", "wavlm")]
    assert records[0].sha256 == records[1].sha256


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"model_type": "bert"}, "type 'bert'; affstore runs audio-spectrogram-transformer"),
        ({"patch_size": 0}, "cannot be built from its config.json"),
        ({"num_mel_bins": "many"}, "cannot be built from its config.json"),
    ],
)
def test_a_configuration_of_something_else_is_refused(saved, tmp_path, capsys, change, told):
    source = saved("ast")
    for file in source.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / hf_hub.CONFIG).read_text())
    (tmp_path / hf_hub.CONFIG).write_text(json.dumps(config | change))
    assert call(["weights", "import", "hf-audio/test/odd", str(tmp_path)]) == 2
    assert told in capsys.readouterr().err


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(saved, tmp_path, monkeypatch):
    """A hub on this machine that holds one model at one commit."""
    import hashlib

    source = saved("ast")
    for how in ("raw", "resolve"):
        folder = tmp_path / "org" / "model" / how / COMMIT
        folder.mkdir(parents=True)
        for file in source.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A model\n")
    digest = hashlib.sha256((source / "model.safetensors").read_bytes()).hexdigest()
    pointer = tmp_path / "org" / "model" / "raw" / COMMIT / "model.safetensors"
    pointer.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize 1\n")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield tmp_path / "org" / "model"
    server.shutdown()


def test_a_model_is_pulled_from_the_hub_at_a_commit_and_is_the_published_one(hub, weights, capsys):
    words = ["weights", "pull", "hf-audio/org/model", "--revision", COMMIT, "--json"]
    assert call(words) == 0
    (document,) = json.loads(capsys.readouterr().out)
    assert (document["provenance"], document["licence"]) == ("published", "apache-2.0")
    assert document["source"].endswith(f"/org/model/resolve/{COMMIT}/model.safetensors")
    assert registry.spec_of("hf-audio/org/model@mean").width == 32
    assert call(["weights", "list", "--json"]) == 0
    assert "hf-audio/org/model" in {each["name"] for each in json.loads(capsys.readouterr().out)}
    (hub / "resolve" / COMMIT / "model.safetensors").write_bytes(b"other bytes")
    assert call(words) == 0, "what is here already is not fetched again"


@pytest.mark.parametrize(
    ("words", "spoil", "told"),
    [
        (["hf-audio/org/model", "--revision", "main"], None, "takes a commit in full"),
        (["hf-audio/org/other", "--revision", COMMIT], None, "has no config.json"),
        (["enet_b2_8", "--revision", COMMIT], None, "--revision is a commit of one model hf-audio/ORG/NAME"),
        (["hf-audio/org/model", "--revision", COMMIT], "model.safetensors", "holds no parameters"),
    ],
)
def test_what_the_hub_does_not_hold_is_one_clear_error(hub, capsys, words, spoil, told):
    if spoil:
        for how in ("raw", "resolve"):
            (hub / how / COMMIT / spoil).unlink()
    assert call(["weights", "pull", *words]) != 0
    assert told in capsys.readouterr().err
