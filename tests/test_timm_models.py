"""Any model of timm by name: its numbers are timm's own, and depend on the picture even when it is untrained."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from affstore import FeatureStore, open_xarray
from affstore.models.engines.torch_network import normalised
from affstore.models.extractors import registry
from affstore.models.extractors.registry import entry_of
from affstore.models.extractors.untrained import resolve_weights
from affstore.models.weights.calibration import pictures
from affstore.models.weights.folder import WeightsFolder
from affstore.store.contract.errors import AffstoreError, ArchitectureError, SpecError, UnknownNameError
from affstore.store.contract.records import Address
from affstore.store.contract.schema import address_of
from tests.factories import commit, source, visual
from tests.parameters import usually

QUICK = ("convnext_atto", "mobilenetv4_conv_small")
MANY = (
    *("resnet18", "vit_tiny_patch16_224"),
    *("beit_base_patch16_224", "beitv2_base_patch16_224", "vit_small_patch14_dinov2", "vit_small_patch16_dinov3"),
    *("vit_base_patch16_siglip_224", "vit_base_patch16_clip_224", "vit_base_patch16_224.mae", "eva02_tiny_patch14_224"),
    *("convnextv2_atto", "swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256", "deit3_small_patch16_224"),
    *("cait_xxs24_224", "xcit_nano_12_p16_224", "resmlp_12_224", "mixer_s32_224", "poolformer_s12", "caformer_s18"),
    *("maxvit_tiny_tf_224", "coatnet_nano_rw_224", "levit_128s", "edgenext_xx_small", "efficientvit_b0"),
    *("fastvit_t8", "repvit_m0_9", "regnety_002", "densenet121", "hrnet_w18_small", "mobilevit_xxs", "tinynet_e"),
)


def untrained(name: str):
    spec = registry.spec_of(f"timm/{name}")
    return spec, registry.untrained(spec, 0)


def check_against_timm(name: str) -> None:
    spec, parameters = untrained(name)
    crops = pictures(5, spec.size_px, 3)
    network = registry.build_face(spec, parameters)
    ours = network.embed(crops).embedding
    theirs = timm.create_model(name.partition(".")[0], num_classes=0).eval().to(memory_format=torch.channels_last)
    theirs.load_state_dict(parameters)
    batch = np.pad(crops, ((0, network.batch - 5), (0, 0), (0, 0), (0, 0)), "edge")
    with torch.inference_mode():
        wanted = theirs(normalised(batch, spec, torch.device("cpu")))[:5].numpy()
    assert ours.shape == (5, spec.width)
    np.testing.assert_array_equal(ours, wanted)
    centred = ours - ours.mean(axis=0)
    spread = np.linalg.norm(centred, axis=1) / np.linalg.norm(ours, axis=1)
    assert spread.min() > 0.01, f"five pictures have nearly one embedding: {spread}"


@pytest.mark.parametrize("name", usually(reversed(QUICK)))
def test_an_embedding_is_timms_own_and_depends_on_the_picture(name):
    check_against_timm(name)


def test_a_model_without_published_weights_is_known_by_the_tag_that_timm_gives_it():
    spec = registry.spec_of("timm/mixer_s32_224")
    assert spec.weights.name == "timm/mixer_s32_224.untrained"
    assert entry_of(spec.weights.name).url == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", MANY)
def test_an_embedding_of_any_architecture_is_timms_own_and_depends_on_the_picture(name):
    check_against_timm(name)


def test_preprocessing_is_that_of_timms_configuration():
    spec = registry.spec_of("timm/vit_small_patch14_dinov2.lvd142m@cropped")
    config = timm.models.get_pretrained_cfg("vit_small_patch14_dinov2.lvd142m")
    assert (spec.size_px, spec.mean, spec.std) == (config.input_size[1], config.mean, config.std)
    assert (spec.resize, spec.width, spec.faces) == (f"pil_{config.interpolation}", 384, "cropped")


def test_a_name_without_a_tag_names_its_weights_with_one():
    assert registry.spec_of("timm/resnet18").weights.name == "timm/resnet18.a1_in1k"


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("timm/vit_tinny_patch16_224", UnknownNameError, "Did you mean 'vit_tiny_patch16_224'"),
        ("timm/resnet18.nowhere", UnknownNameError, "set of weights of timm's resnet18"),
        ("timm/", UnknownNameError, "No model of timm is called ''"),
        ("timm/../../etc", UnknownNameError, "No model of timm"),
        ("timm/resnet18/a1_in1k", UnknownNameError, "No model of timm is called 'resnet18/a1_in1k'"),
        ("tinm/resnet18", UnknownNameError, "No extractor is called"),
        ("timm/test_vit.r160_in1k@two/words", SpecError, "kind of crop folder"),
    ],
)
def test_a_name_that_timm_does_not_have_is_refused_in_one_sentence(name, error, message):
    with pytest.raises(error, match=message):
        registry.spec_of(name)


def test_published_weights_are_imported_without_their_classifier(tmp_path):
    whole = timm.create_model("resnet18", num_classes=1000).state_dict()
    save_file(whole, tmp_path / "model.safetensors")
    folder = WeightsFolder(tmp_path / "weights")
    record = folder.import_file(
        entry_of("timm/resnet18.a1_in1k"), tmp_path / "model.safetensors", any_digest=True
    ).record
    parameters = folder.load(record.sha256)
    assert not record.official
    assert set(whole) - set(parameters) == {"fc.weight", "fc.bias"}
    ref = resolve_weights(folder, registry.spec_of("timm/resnet18").weights)
    assert ref.sha256 == record.sha256


def test_weights_of_another_model_are_refused(tmp_path):
    save_file(timm.create_model("resnet34", num_classes=10).state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(ArchitectureError, match="resnet26"):
        WeightsFolder(tmp_path).import_file(entry_of("timm/resnet26"), tmp_path / "model.safetensors", any_digest=True)


def test_a_name_with_a_slash_has_one_place_in_the_store():
    address = Address("visual", "timm/resnet18.a1_in1k@cropped", "video", "main")
    assert address.path == "visual/timm%2Fresnet18.a1_in1k@cropped/video/main"
    assert address_of(address.path) == address


@pytest.mark.parametrize("name", ["timm/resnet18.a1_in1k@cropped", "hf-audio/org/name@9+blocks30"])
def test_a_name_with_slashes_is_written_to_a_store_and_read_from_it(name):
    store = commit(FeatureStore.create(f"memory:{name.replace('/', '-')}"), source("a"), visual("a", extractor=name))
    assert [address.producer for address in store.addresses("visual")] == [name]
    for asked in (name, f"visual/{name}"):
        assert open_xarray(store, "a", asked).sizes["frame"] == 40


def test_what_gives_no_vector_is_refused(monkeypatch):
    from affstore.models.networks import timm_models

    monkeypatch.setattr(timm_models, "network", lambda model: torch.nn.Conv2d(3, 4, 3))
    timm_models.width_of.cache_clear()
    with pytest.raises(AffstoreError, match="gives no vector a picture"):
        timm_models.width_of("a-picture-to-picture-model", 32)
