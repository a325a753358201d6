"""EmotiEffNet-B0 as any face network: rows, threads, precision, refusals."""

from __future__ import annotations

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from affstore.models.extractors import registry
from affstore.models.extractors.face.emotieffnet import EMOTIEFFNET_B0, MT_EMOTIEFFNET_B0
from affstore.models.extractors.registry import entry_of
from affstore.models.weights.calibration import pictures
from affstore.models.weights.convert import read_published
from affstore.models.weights.untrained import SEED
from affstore.store.contract.errors import ArchitectureError, SpecError


@pytest.fixture(scope="module")
def parameters():
    return registry.untrained(EMOTIEFFNET_B0, SEED)


@pytest.fixture(scope="module")
def network(parameters):
    return registry.build_face(EMOTIEFFNET_B0, parameters)


@pytest.fixture(scope="module")
def crops():
    return pictures(33, EMOTIEFFNET_B0.size_px, seed=1)


@pytest.fixture(scope="module")
def whole(network, crops):
    return network.embed(crops)


@pytest.fixture(scope="module")
def faces(shared):
    """The four faces of the reference, as EmotiEffLib sees them."""
    found = json.loads((shared / "reference_outputs/emotiefflib_reference.json").read_text())["faces"]
    crops = []
    for face in found:
        left, top, right, bottom = face["box_left_top_right_bottom"]
        picture = np.asarray(Image.open(shared / "media" / face["file"]).convert("RGB"))[top:bottom, left:right]
        crops.append(np.asarray(Image.fromarray(picture).resize((224, 224), Image.Resampling.BILINEAR)))
    return np.stack(crops)


def published(shared: Path, name: str, precision: str = "float32"):
    spec = registry.spec_of(name)
    weights = spec.weights.name
    parameters = read_published(shared / "reference_outputs" / f"{weights}.pt", entry_of(weights))
    reference = np.load(shared / "reference_outputs/emotiefflib_reference.npz")
    built = registry.build_face(dataclasses.replace(spec, precision=precision), parameters)
    return built, reference[f"{weights}/embedding"], reference[f"{weights}/scores"]


@pytest.mark.slow
def test_in_bfloat16_embeddings_point_the_same_way(shared, faces):
    built, embedding, _ = published(shared, "emotieffnet_b0", "bfloat16")
    found = built.embed(faces).embedding
    assert found.dtype == np.float32
    cosine = (found * embedding).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(embedding, axis=1)
    assert cosine.min() > 0.995
    assert not np.array_equal(found, embedding)


def test_a_row_depends_on_its_crop_alone_to_the_bit(network, crops, whole):
    order = np.random.default_rng(0).permutation(len(crops))
    shuffled = network.embed(crops[order])
    np.testing.assert_array_equal(shuffled.embedding, whole.embedding[order])
    np.testing.assert_array_equal(shuffled.logits, whole.logits[order])
    alone = network.embed(crops[7:8])
    np.testing.assert_array_equal(alone.embedding[0], whole.embedding[7])
    np.testing.assert_array_equal(alone.logits[0], whole.logits[7])


def test_threads_that_share_a_network_do_not_disturb_each_other(network, crops, whole):
    with ThreadPoolExecutor(2) as pool:
        parts = list(pool.map(lambda start: network.embed(crops[start : start + 8]).embedding, (0, 8)))
    np.testing.assert_array_equal(np.concatenate(parts), whole.embedding[:16])


def test_no_crops_give_no_rows(network):
    found = network.embed(np.empty((0, 224, 224, 3), np.uint8))
    assert (found.embedding.shape, found.logits.shape, found.valence_arousal) == ((0, 1280), (0, 8), None)


def test_crops_of_another_size_or_type_are_refused(network):
    for crops in (np.zeros((1, 112, 112, 3), np.uint8), np.zeros((1, 224, 224, 3), np.float32)):
        with pytest.raises(SpecError, match="224, 224, 3"):
            network.embed(crops)


def test_untrained_embeddings_tell_pictures_apart_and_stay_in_range(whole):
    lengths = np.linalg.norm(whole.embedding, axis=1)
    assert whole.embedding.std(0).mean() / np.sqrt((whole.embedding**2).mean()) > 0.2
    assert lengths.max() < 3 * lengths.min()
    assert whole.logits.std(0).min() > 0.01
    spectrum = np.linalg.svd(whole.embedding - whole.embedding.mean(0), compute_uv=False) ** 2
    assert spectrum[0] / spectrum.sum() < 0.6


def test_untrained_embeddings_tell_faces_apart(network, faces):
    embedding = network.embed(faces).embedding
    assert embedding.std(0).mean() / np.sqrt((embedding**2).mean()) > 0.1


def test_changing_one_corner_of_the_picture_changes_the_embedding(network, crops, whole):
    changed = crops[:1].copy()
    changed[:, :40, :40] = 255 - changed[:, :40, :40]
    difference = np.abs(network.embed(changed).embedding[0] - whole.embedding[0]).max()
    assert difference > 1e-3


def test_options_that_cannot_be_run_are_refused(parameters):
    for change in ({"engine": "onnx"}, {"precision": "int8"}, {"width": 512}, {"valence_arousal": True}):
        with pytest.raises(SpecError, match="emotieffnet_b0"):
            registry.build_face(dataclasses.replace(EMOTIEFFNET_B0, **change), parameters)
    for device in ("cuda:99", "abacus", "meta"):
        with pytest.raises(SpecError, match=device):
            registry.build_face(EMOTIEFFNET_B0, parameters, device)


def test_parameters_of_another_network_are_refused(parameters):
    with pytest.raises(ArchitectureError, match=r"classifier.weight is float32 \[8, 1280\], not float32 \[10, 1280\]"):
        registry.build_face(MT_EMOTIEFFNET_B0, parameters)
