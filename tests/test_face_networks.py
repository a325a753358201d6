"""Every face network of the papers: against the public implementations' numbers, layouts and class orders."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zlib
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from affstore.models.extractor_specs import FaceExtractorSpec
from affstore.models.extractors import registry
from affstore.models.extractors.face.ddamfn import NETWORK as DDAMFN_NETWORK
from affstore.models.extractors.registry import entry_of
from affstore.models.extractors.untrained import resolve_weights
from affstore.models.weights import architectures
from affstore.models.weights.calibration import pictures
from affstore.models.weights.convert import read_published
from affstore.models.weights.entry import WeightsEntry
from affstore.models.weights.folder import WeightsFolder
from affstore.models.weights.untrained import SEED
from affstore.store.contract.errors import ArchitectureError, SpecError, WeightsError, WeightsMissingError
from affstore.store.contract.labels import AFFECTNET_8, AFFECTNET_8_NUMBERED, EXPR
from tests.parameters import usually

SPECS = [
    spec
    for spec in map(registry.spec_of, registry.names())
    if isinstance(spec, FaceExtractorSpec) and entry_of(spec.weights.name).wheel is None
]
"""The papers' face networks: those of the package index are held to their own packages elsewhere."""
NEW = ("ddamfn_affectnet8", "mbf_va_mtl", "mobilevit_va_mtl")
"""A weights entry of each network that came after EfficientNet."""

REFERENCES = {
    "emotieffnet_b0": "enet_b0_8_best_vgaf",
    "mt_emotieffnet_b0": "enet_b0_8_va_mtl",
    "emotieffnet_b2_8": "enet_b2_8",
    "mt_emotimobilefacenet": "mbf_va_mtl",
    "mt_emotimobilevit": "mobilevit_va_mtl",
}
"""The extractors EmotiEffLib has too, and its names for them."""


LIGHT = ("emotieffnet_b0", "mt_emotimobilefacenet")


def one_a_network() -> list[FaceExtractorSpec]:
    """One registered extractor of each architecture: the others compute the same with other parameters."""
    return list({entry_of(spec.weights.name).architecture: spec for spec in SPECS}.values())


def light_ones_first() -> list[Any]:
    """The same as parameters of a test; the heavy ones are in the slow suite."""
    one_each = {
        entry_of(spec.weights.name).architecture: spec for spec in sorted(SPECS, key=lambda one: one.name in LIGHT)
    }
    return [
        pytest.param(spec, marks=[] if spec.name in LIGHT else [pytest.mark.slow], id=spec.name)
        for spec in one_each.values()
    ]


@cache
def untrained_parameters(name: str):
    return registry.untrained(registry.spec_of(name), SEED)


@cache
def untrained(name: str):
    """An extractor with untrained parameters, and what it says of 33 pictures: one more than a batch takes."""
    spec = registry.spec_of(name)
    network = registry.build_face(spec, untrained_parameters(name))
    crops = pictures(33, spec.size_px, seed=1)
    return network, crops, network.embed(crops)


def faces_of(shared: Path, size_px: int) -> np.ndarray:
    """The four faces of the reference, as EmotiEffLib sees them."""
    crops = []
    for face in json.loads((shared / "reference_outputs/emotiefflib_reference.json").read_text())["faces"]:
        left, top, right, bottom = face["box_left_top_right_bottom"]
        picture = np.asarray(Image.open(shared / "media" / face["file"]).convert("RGB"))[top:bottom, left:right]
        crops.append(np.asarray(Image.fromarray(picture).resize((size_px, size_px), Image.Resampling.BILINEAR)))
    return np.stack(crops)


# --- EmotiEffLib's networks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "theirs"),
    [pytest.param(*one, marks=() if one[0] in LIGHT else pytest.mark.slow) for one in REFERENCES.items()],
)
def test_it_computes_what_emotiefflib_computes(shared, name, theirs):
    spec, entry = registry.spec_of(name), entry_of(theirs)
    assert spec.weights.name == theirs
    parameters = read_published(shared / "reference_outputs" / f"{theirs}.pt", entry)
    found = registry.build_face(spec, parameters).embed(faces_of(shared, spec.size_px))
    reference = np.load(shared / "reference_outputs/emotiefflib_reference.npz")
    wanted = reference[f"{theirs}/embedding"]
    np.testing.assert_allclose(found.embedding, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
    # The reference's scores are logits (negative, not adding up to one), with raw valence and arousal after them.
    scores = reference[f"{theirs}/scores"]
    assert scores.min() < 0
    np.testing.assert_allclose(found.logits, scores[:, :8], rtol=0, atol=1e-5 * np.abs(scores).max())
    if spec.valence_arousal:
        np.testing.assert_allclose(found.valence_arousal, scores[:, 8:], rtol=0, atol=1e-5 * np.abs(scores).max())
    else:
        assert found.valence_arousal is None
        assert scores.shape == (4, 8)


@pytest.mark.parametrize(
    ("name", "numbers", "constants"),
    [
        ("enet_b0_8_best_vgaf", 3_996_789, 1),
        ("enet_b0_8_va_mtl", 3_999_351, 1),
        ("enet_b2_7", 7_677_074, 1),
        ("enet_b2_8", 7_678_483, 1),
        ("mbf_va_mtl", 2_054_282, 0),
        ("mobilevit_va_mtl", 9_821_779, 0),
    ],
)
def test_it_has_as_many_parameters_as_the_published_onnx_file(name, numbers, constants):
    # There, a convolution's norm has become its bias: two numbers a channel are one; the norm after a linear layer has
    # stayed, with its two statistics. The networks that pad as TensorFlow does hold one constant more.
    network = architectures.build(entry_of(name).architecture, entry_of(name).outputs)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    folded = sum(module.num_features for module in network.modules() if isinstance(module, nn.BatchNorm2d))
    kept = sum(2 * module.num_features for module in network.modules() if isinstance(module, nn.BatchNorm1d))
    assert parameters - folded + kept + constants == numbers


# --- the author's DDAMFN ------------------------------------------------------------------------------------------

_LAYOUTS = {
    7: "e588c5dde9ffa62487acf33283f88a5362a21352501fa86ce166f6b5e1e8bfa2",
    8: "a7d4ce4112fcad73cfc1820885947372dcfca1dae85d9041589a7df828d279c0",
    10: "4b193356fb459896df1b00851bfcbef95cd41bde2798ae6a810f09077891323a",
}
"""SHA-256 of the lines `name (shape)`, sorted, of the state dict of the author's network at the pinned commit."""

_INNER = {"2": 128, "4": 256, "6": 1024}
_INNER |= {f"3.model.{i}": 128 for i in range(9)} | {f"5.model.{i}": 256 for i in range(16)}
_INNER |= {f"7.model.{i}": 512 for i in range(6)}
"""Channels inside each block with mixed kernels."""


def leftovers(outputs: int) -> dict[str, tuple[int, ...]]:
    """What the author's checkpoints hold and nothing is computed with."""

    def norm(prefix: str, width: int) -> dict[str, tuple[int, ...]]:
        vectors = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (width,))
        return {f"{prefix}.{name}": shape for name, shape in {**vectors, "num_batches_tracked": ()}.items()}

    found = norm("bn", outputs)
    for head in ("cat_head0", "cat_head1"):
        found |= {f"{head}.CoordAtt.Linear.conv.weight": (512, 1, 7, 7), **norm(f"{head}.CoordAtt.Linear.bn", 512)}
    for block, width in _INNER.items():
        prefix = f"features.{block}.conv_dw"
        found |= {f"{prefix}.prelu.weight": (width,), **norm(f"{prefix}.bn", width)}
    return found


def ddamfn_shapes(outputs: int) -> dict[str, tuple[int, ...]]:
    """The author's whole layout, from ours."""
    ours = {name: slot.shape for name, slot in architectures.layout(DDAMFN_NETWORK, outputs).items()}
    assert not ours.keys() & leftovers(outputs).keys()
    return ours | leftovers(outputs)


def filled(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Lively parameters, each from a generator seeded by its name."""
    parameters = {}
    for name, shape in shapes.items():
        random = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
        if len(shape) > 1:
            values = random.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        elif name.endswith(("weight", "running_var")):
            values = random.uniform(0.2, 0.8, shape)
        else:
            values = random.normal(0, 0.1, shape)
        kind = np.float32 if shape else np.int64
        parameters[name] = torch.from_numpy(np.asarray(values).astype(kind))
    return parameters


def checkpoint(path: Path, parameters: dict[str, torch.Tensor]) -> Path:
    """A file as the author's training writes it."""
    head = nn.Parameter(parameters["fc.weight"].clone())
    optimiser = torch.optim.Adam([head], lr=1e-5)
    head.sum().backward()
    optimiser.step()
    assert optimiser.state_dict()["state"]
    document = {"iter": 25, "model_state_dict": parameters, "optimizer_state_dict": optimiser.state_dict()}
    torch.save(document, path)
    return path


@pytest.mark.parametrize("outputs", _LAYOUTS)
def test_ddamfn_and_what_is_left_out_of_it_are_the_authors_layout(outputs):
    shapes = ddamfn_shapes(outputs)
    lines = "\n".join(sorted(f"{name} {shape}" for name, shape in shapes.items()))
    assert len(shapes) == 1190
    assert hashlib.sha256(lines.encode()).hexdigest() == _LAYOUTS[outputs]
    assert shapes["features.2.conv_dw.mixed_depthwise_conv.2.weight"] == (32, 1, 7, 7)
    assert shapes["features.5.model.15.CA.conv2.weight"] == (256, 8, 1, 1)
    assert shapes["cat_head1.CoordAtt.Linear_w.conv.weight"] == (512, 1, 7, 1)
    assert shapes["fc.weight"] == (outputs, 512)


def test_ddamfn_computes_what_the_authors_network_computes():
    # The numbers below are what the author's own code at the pinned commit gives, in float64, for these parameters.
    network = architectures.build(DDAMFN_NETWORK, 8)
    network.load_state_dict(architectures.rename(DDAMFN_NETWORK, filled(ddamfn_shapes(8))), assign=True)
    ramp = np.linspace(-1, 1, 112)
    picture = np.stack(
        [ramp[:, None] * ramp, np.sin(5 * ramp)[:, None] + 0 * ramp, np.cos(9 * ramp)[None] * ramp[:, None]]
    )
    two = torch.from_numpy(np.stack([picture, picture[:, ::-1] ** 2]).astype(np.float32))
    staged = architectures.staged(DDAMFN_NETWORK, network)
    with torch.inference_mode():
        embedding = staged.run(two)
        logits = staged.classifier(embedding)
        torch.testing.assert_close(network(two), logits, rtol=0, atol=0)
    head = [[-3.7804207, -0.0582367, 0.0208676, 0.1249066], [-3.0739220, 0.0492072, 0.0250246, 0.1309823]]
    np.testing.assert_allclose(embedding[:, :4], head, rtol=0, atol=1e-4)
    expected = [
        [-1.2383751, -0.1548237, -0.7878245, -0.2055014, -0.6374122, -0.4740966, -0.5819221, 0.4603522],
        [-1.3383985, -0.2268424, -0.9564333, 0.0576613, -0.7492857, -0.4298073, -0.5371428, 0.8277353],
    ]
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)


def test_a_checkpoint_of_the_authors_is_imported_and_runs(tmp_path):
    folder, name = WeightsFolder(tmp_path / "weights"), "ddamfn"
    published = filled(ddamfn_shapes(8))
    record = folder.import_file(entry_of(name), checkpoint(tmp_path / "checkpoint.pth", published)).record
    assert (record.trained, record.official) == (True, False)
    kept = folder.load(resolve_weights(folder, registry.spec_of(name).weights).sha256)
    assert kept.keys() == architectures.layout(DDAMFN_NETWORK, 8).keys()
    assert all(torch.equal(kept[parameter], published[parameter]) for parameter in kept)
    crops = pictures(2, 112, seed=3)
    found = registry.build_face(registry.spec_of(name), kept).embed(crops)
    assert np.isfinite(found.embedding).all()
    assert not np.array_equal(found.logits[0], found.logits[1])


def test_what_nothing_is_computed_with_does_not_count(tmp_path):
    whole = filled(ddamfn_shapes(10))
    bare = {name: tensor for name, tensor in whole.items() if name not in leftovers(10)}
    folder = WeightsFolder(tmp_path / "weights")
    digests = set()
    for parameters in (whole, bare):
        digests.add(
            folder.import_file(entry_of("mt_ddamfn"), checkpoint(tmp_path / "one.pth", parameters)).record.sha256
        )
    assert len(digests) == 1


def test_a_public_checkpoint_with_other_bytes_is_not_the_published_one(tmp_path):
    path = checkpoint(tmp_path / "checkpoint.pth", filled(ddamfn_shapes(8)))
    entry = entry_of("ddamfn_affectnet8")
    assert not read_published(path, entry).keys() & leftovers(8).keys()
    with pytest.raises(WeightsError):
        WeightsFolder(tmp_path / "weights").import_file(entry, path)


@pytest.mark.parametrize("name", ["ddamfn", "mt_ddamfn"])
def test_a_file_that_is_not_public_is_asked_for_in_one_sentence(tmp_path, name):
    folder, entry = WeightsFolder(tmp_path), entry_of(name)
    assert (entry.url, entry.git_blob_sha1, entry.sha256) == ("", "", "")
    with pytest.raises(WeightsMissingError, match=rf"is not public \(.+`affstore weights import {name} FILE`\.$") as no:
        folder.pull(entry)
    assert str(no.value).count(". ") == 0
    with pytest.raises(WeightsMissingError, match=rf"import {name} FILE.*--weights untrained"):
        resolve_weights(folder, registry.spec_of(name).weights)


def test_the_public_checkpoints_lie_where_the_authors_tree_has_them():
    for name, file in (("8", "affecnet8_epoch25_acc0.6469.pth"), ("7", "affecnet7_epoch19_acc0.671.pth")):
        entry = entry_of(f"ddamfn_affectnet{name}")
        commit = "cebfe5c5969b7d1fd64ecd775e318d3834ca76bb"
        path = f"{commit}/DDAMFN%2B%2B/checkpoints_ver2.0/{file}"
        assert entry.url == f"https://github.com/SainingZhang/DDAMFN/raw/{path}"
        assert len(entry.git_blob_sha1) == 40


# --- all face extractors ------------------------------------------------------------------------------------------


def test_the_papers_face_networks_are_all_there():
    found = {spec.name: (spec.width, spec.size_px, len(spec.logits), spec.valence_arousal) for spec in SPECS}
    assert found == {
        "ddamfn": (512, 112, 8, False),
        "ddamfn_affectnet7": (512, 112, 7, False),
        "ddamfn_affectnet8": (512, 112, 8, False),
        "emotieffnet_b0": (1280, 224, 8, False),
        "emotieffnet_b0_afew": (1280, 224, 8, False),
        "emotieffnet_b2": (1408, 260, 8, False),
        "emotieffnet_b2_7": (1408, 260, 7, False),
        "emotieffnet_b2_8": (1408, 260, 8, False),
        "mt_ddamfn": (512, 112, 8, True),
        "mt_emotieffnet_b0": (1280, 224, 8, True),
        "mt_emotimobilefacenet": (512, 112, 8, True),
        "mt_emotimobilevit": (768, 224, 8, True),
    }
    assert {spec.name for spec in SPECS if spec.mean == spec.std == (0.5, 0.5, 0.5)} == {"mt_emotimobilefacenet"}


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_a_spec_says_what_its_weights_are(spec):
    entry = entry_of(spec.weights.name)
    assert entry.outputs == len(spec.logits) + (2 if spec.valence_arousal else 0)
    staged = architectures.staged(entry.architecture, architectures.build(entry.architecture, entry.outputs))
    assert staged.classifier.weight.shape == (entry.outputs, spec.width)
    assert staged.width == spec.width
    assert spec.weights.sha256 == ""


def test_only_the_authors_own_checkpoints_number_the_classes_as_affectnet_does():
    assert AFFECTNET_8_NUMBERED.names[:3] == ("Neutral", "Happiness", "Sadness")
    for spec in SPECS:
        numbered = spec.name.startswith("ddamfn_affectnet")
        kind = AFFECTNET_8_NUMBERED if numbered else AFFECTNET_8
        assert spec.logits.names == tuple(name for name in kind.names if name in spec.logits.names)
        assert ("Contempt" in spec.logits.names) == (len(spec.logits) == 8)


def test_either_order_of_the_classes_leads_to_the_same_expressions():
    # EXPR has no Contempt: the papers put it where Other is.
    for space in (AFFECTNET_8, AFFECTNET_8_NUMBERED):
        order = [space.names.index(name) for name in EXPR.names[:7]]
        logits = np.array([[float(EXPR.names.index(n)) if n in EXPR.names else 7.0 for n in space.names]])
        assert logits[:, order].tolist() == [[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]]
    assert AFFECTNET_8.order_of(AFFECTNET_8_NUMBERED).tolist() == [6, 7, 5, 4, 1, 0, 2, 3]


@pytest.mark.parametrize(
    "spec",
    [pytest.param(one, id=one.name, marks=() if one.name == LIGHT[1] else pytest.mark.slow) for one in one_a_network()],
)
def test_a_row_does_not_depend_on_its_neighbours_to_the_bit(spec):
    network, crops, among = untrained(spec.name)
    alone = network.embed(crops[7:8])
    np.testing.assert_array_equal(alone.embedding[0], among.embedding[7])
    np.testing.assert_array_equal(alone.logits[0], among.logits[7])
    assert not np.array_equal(among.embedding[7], among.embedding[8])


@pytest.mark.parametrize("spec", light_ones_first())
def test_untrained_embeddings_tell_pictures_apart_and_stay_in_range(spec):
    _, _, found = untrained(spec.name)
    lengths = np.linalg.norm(found.embedding, axis=1)
    assert lengths.max() < 4 * lengths.min()
    assert np.abs(found.logits).max() < 20
    assert found.embedding.std(0).mean() / np.sqrt((found.embedding**2).mean()) > 0.2
    assert found.logits.std(0).min() > 0.01
    spectrum = np.linalg.svd(found.embedding - found.embedding.mean(0), compute_uv=False) ** 2
    assert spectrum[0] / spectrum.sum() < 0.6


@pytest.mark.parametrize("spec", light_ones_first())
def test_untrained_networks_see_two_faces_as_two(shared, spec):
    network, _, _ = untrained(spec.name)
    found = network.embed(faces_of(shared, spec.size_px))
    rows = found.embedding / np.linalg.norm(found.embedding, axis=1, keepdims=True)
    assert (rows @ rows.T)[np.triu_indices(4, 1)].max() < 0.95
    assert np.ptp(found.logits, axis=0).min() > 0.01


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("name", usually(NEW, lambda name: name == NEW[1]))
def test_each_stage_can_be_traced_and_gives_the_same_numbers(name):
    entry = entry_of(name)
    spec = next(spec for spec in one_a_network() if entry_of(spec.weights.name).architecture == entry.architecture)
    entry = entry_of(spec.weights.name)
    network = architectures.build(entry.architecture, entry.outputs)
    network.load_state_dict(untrained_parameters(spec.name), assign=True)
    network.requires_grad_(False)
    staged = architectures.staged(entry.architecture, network)
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 3, spec.size_px, spec.size_px, generator=generator)
    with torch.inference_mode():
        whole = network(maps)
        for stage in staged.stages:
            traced = torch.jit.trace(stage, torch.zeros_like(maps), check_trace=False)
            torch.testing.assert_close(traced(maps), maps := stage(maps), rtol=0, atol=1e-5)
            assert maps.isfinite().all()
        torch.testing.assert_close(staged.classifier(maps), whole, rtol=0, atol=1e-5)
    assert maps.shape == (2, spec.width)
    assert len(staged.stages) >= 7


def test_changing_one_corner_of_the_picture_changes_the_embedding():
    network, crops, whole = untrained(LIGHT[1])
    changed = crops[:1].copy()
    changed[:, :20, :20] = 255 - changed[:, :20, :20]
    assert np.abs(network.embed(changed).embedding[0] - whole.embedding[0]).max() > 1e-3


def test_no_crops_give_no_rows():
    network, _, _ = untrained(LIGHT[1])
    found = network.embed(np.empty((0, 112, 112, 3), np.uint8))
    assert (found.embedding.shape, found.logits.shape, found.valence_arousal.shape) == ((0, 512), (0, 8), (0, 2))


def test_crops_of_another_size_or_type_are_refused():
    network, _, _ = untrained(LIGHT[1])
    for crops in (np.zeros((1, 224, 224, 3), np.uint8), np.zeros((1, 112, 112, 3), np.float32)):
        with pytest.raises(SpecError, match="112, 112, 3"):
            network.embed(crops)


def test_options_that_cannot_be_run_are_refused():
    spec, parameters = registry.spec_of(LIGHT[1]), untrained_parameters(LIGHT[1])
    for change in ({"engine": "onnx"}, {"precision": "int8"}, {"width": 1280}, {"valence_arousal": False}):
        with pytest.raises(SpecError, match=LIGHT[1]):
            registry.build_face(dataclasses.replace(spec, **change), parameters)
    for device in ("cuda:99", "abacus", "meta"):
        with pytest.raises(SpecError, match=device):
            registry.build_face(spec, parameters, device)


@pytest.mark.slow
def test_in_bfloat16_embeddings_point_the_same_way(shared):
    spec, theirs = registry.spec_of("emotieffnet_b0"), REFERENCES["emotieffnet_b0"]
    parameters = read_published(shared / "reference_outputs" / f"{theirs}.pt", entry_of(theirs))
    network = registry.build_face(dataclasses.replace(spec, precision="bfloat16"), parameters)
    found = network.embed(faces_of(shared, spec.size_px)).embedding
    wanted = np.load(shared / "reference_outputs/emotiefflib_reference.npz")[f"{theirs}/embedding"]
    assert found.dtype == np.float32
    cosine = (found * wanted).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(wanted, axis=1)
    assert cosine.min() > 0.995
    assert not np.array_equal(found, wanted)


# --- bad files ----------------------------------------------------------------------------------------------------


def zeros(entry: WeightsEntry) -> dict[str, torch.Tensor]:
    """Parameters of an entry's network that are all zero."""
    slots = architectures.layout(entry.architecture, entry.outputs)
    return {name: torch.zeros(slot.shape, dtype=getattr(torch, slot.dtype)) for name, slot in slots.items()}


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """Writes parameters of an entry's network with one thing changed."""
    folder, number = tmp_path_factory.mktemp("broken"), count()

    def write(name: str, change) -> Path:
        parameters = zeros(entry_of(name))
        change(parameters)
        path = folder / f"{next(number)}.pt"
        torch.save(parameters, path)
        return path

    return write


def a_kernel(parameters: dict[str, torch.Tensor]) -> str:
    return next(name for name, tensor in parameters.items() if tensor.ndim == 4)


@pytest.mark.parametrize("name", NEW)
def test_missing_superfluous_and_nan_parameters_are_named(broken, name):
    entry = entry_of(name)
    assert read_published(broken(name, lambda parameters: None), entry)
    with pytest.raises(ArchitectureError, match=rf"'{name}' should be a {entry.architecture.name} .* is missing"):
        read_published(broken(name, lambda parameters: parameters.pop(a_kernel(parameters))), entry)
    with pytest.raises(ArchitectureError, match=r"dreams\.weight is superfluous"):
        read_published(broken(name, lambda parameters: parameters.update({"dreams.weight": torch.zeros(2)})), entry)
    with pytest.raises(ArchitectureError, match=r"is float64 \[.*, not float32 \["):
        read_published(broken(name, lambda p: p.update({a_kernel(p): p[a_kernel(p)].double()})), entry)
    with pytest.raises(WeightsError, match="NaN or infinity"):
        read_published(broken(name, lambda parameters: parameters[a_kernel(parameters)].fill_(np.nan)), entry)


@pytest.mark.parametrize("name", NEW)
def test_another_networks_parameters_are_refused(broken, name):
    other = next(entry for entry in NEW if entry != name)
    with pytest.raises(ArchitectureError, match="are another network's parameters"):
        read_published(broken(other, lambda parameters: None), entry_of(name))


def test_parameters_with_other_outputs_are_refused():
    parameters = zeros(entry_of(registry.spec_of("emotieffnet_b0").weights.name))
    with pytest.raises(ArchitectureError, match=r"classifier.weight is float32 \[8, 1280\], not float32 \[10, 1280\]"):
        registry.build_face(registry.spec_of("mt_emotieffnet_b0"), parameters)


def test_a_checkpoint_without_parameters_is_no_network(tmp_path):
    torch.save({"iter": 25, "model_state_dict": {}, "optimizer_state_dict": {}}, tmp_path / "empty.pth")
    with pytest.raises(ArchitectureError, match="neither a network nor a state dict"):
        read_published(tmp_path / "empty.pth", entry_of("ddamfn"))


def test_an_eight_class_checkpoint_is_no_multi_task_one(tmp_path):
    path = checkpoint(tmp_path / "eight.pth", filled(ddamfn_shapes(8)))
    with pytest.raises(ArchitectureError, match=r"fc.weight is float32 \[8, 512\], not float32 \[10, 512\]"):
        read_published(path, entry_of("mt_ddamfn"))
    spec = dataclasses.replace(registry.spec_of("ddamfn"), valence_arousal=True)
    parameters = architectures.rename(DDAMFN_NETWORK, filled(ddamfn_shapes(8)))
    with pytest.raises(SpecError, match=r"\(512, 10\)"):
        registry.build_face(spec, parameters)
