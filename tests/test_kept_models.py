"""Converted networks that are kept: the bits of converted ones, without what builds them, and never a wrong one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import openvino
import pytest

from affstore.models import fidelity as fidelities
from affstore.models.engines import kept_models
from affstore.models.extractors import registry
from affstore.models.extractors.audio.openl3_spec import RATE_HZ
from affstore.models.extractors.untrained import resolve_weights
from affstore.models.weights.folder import WeightsFolder
from affstore.tasks.extract import networks
from tests.parameters import usually

FACES = replace(registry.spec_of("emotieffnet_b0"), engine="openvino", precision="bfloat16")
SMALL = replace(registry.spec_of("fer2013_mini_xception"), engine="openvino", precision="float32")
QUICK = replace(registry.spec_of("mt_emotimobilefacenet"), engine="openvino", precision="bfloat16")
SPEECH = replace(registry.spec_of("wav2vec2_base_960h"), engine="openvino", precision="bfloat16")
MUSIC = replace(registry.spec_of("openl3_env_mel128_512"), engine="openvino", precision="float32")

ELSEWHERE = """
import sys
from pathlib import Path
import numpy as np
import openvino
from affstore.models.extractors import registry
from affstore.models.extractors.untrained import resolve_weights
from affstore.models.weights.folder import WeightsFolder
from affstore.tasks.extract import networks
from dataclasses import replace
spec = replace(registry.spec_of({name!r}), engine="openvino", precision={precision!r})
folder = WeightsFolder(Path({root!r}))
spec = replace(spec, weights=resolve_weights(folder, spec.weights, True))
build = networks.face_network if hasattr(spec, "size_px") else networks.sound_network
network = build(spec, folder.root, "cpu")
print(*sorted({{"torch", "timm", "transformers", {builder!r}}} & sys.modules.keys()))
"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> WeightsFolder:
    return WeightsFolder(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def heard():
    return {
        RATE_HZ: np.random.default_rng(0).standard_normal(RATE_HZ),
        16_000: fidelities._speech(16_000, "swresample"),
    }


@pytest.fixture(scope="module")
def faces():
    return faces_of(QUICK)


def faces_of(spec):
    return fidelities._faces(spec.size_px)[:5]


def resolved(spec, folder):
    return replace(spec, weights=resolve_weights(folder, spec.weights, untrained=True))


def embedded(spec, parameters, seen):
    build = registry.build_face if hasattr(spec, "size_px") else registry.build_sound
    return build(spec, parameters).embed(seen).embedding


def named(spec):
    return spec.name


def counting(monkeypatch):
    """How often a network was converted since."""
    made, real = [], kept_models._write
    monkeypatch.setattr(kept_models, "_write", lambda path, files: (made.append(path), real(path, files)))
    return made


@pytest.mark.parametrize("spec", usually([SMALL, MUSIC, FACES, SPEECH], [SMALL, MUSIC].__contains__), ids=named)
def test_a_kept_network_gives_the_bits_of_the_one_that_was_converted(weights, heard, spec, monkeypatch):
    spec = resolved(spec, weights)
    seen = faces_of(spec) if hasattr(spec, "size_px") else heard[spec.rate_hz][: spec.rate_hz]
    made = counting(monkeypatch)
    plain, first, second = (
        embedded(spec, parameters, seen)
        for parameters in (
            weights.load(spec.weights.sha256),
            weights.parameters(spec.weights.sha256),
            weights.parameters(spec.weights.sha256),
        )
    )
    assert len(made) == 1
    np.testing.assert_array_equal(first, plain)
    np.testing.assert_array_equal(second, plain)


@pytest.mark.parametrize("spec", usually([QUICK, FACES, SPEECH]), ids=named)
def test_a_process_that_finds_a_kept_network_imports_nothing_that_builds_one(weights, spec):
    embedded(
        resolved(spec, weights),
        weights.parameters(resolved(spec, weights).weights.sha256),
        np.zeros(16_000, np.float32) if spec is SPEECH else np.zeros((1, spec.size_px, spec.size_px, 3), np.uint8),
    )
    builder = {QUICK: "affstore.models.networks.mobilefacenet", FACES: "timm", SPEECH: "transformers"}[spec]
    assert builder in sys.modules
    script = ELSEWHERE.format(name=spec.name, precision=spec.precision, root=str(weights.root), builder=builder)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr[-2000:]


def kept_files(folder: WeightsFolder) -> list[Path]:
    return sorted((folder.root / "converted").glob("*.safetensors"))


@pytest.fixture(scope="module")
def faces_alone(tmp_path_factory):
    """A folder with the face network's parameters and the one converted network."""
    folder = WeightsFolder(tmp_path_factory.mktemp("faces") / "weights")
    spec = resolved(QUICK, folder)
    embedded(spec, folder.parameters(spec.weights.sha256), faces_of(spec))
    return folder.root, spec


@pytest.fixture(scope="module")
def unconverted(faces_alone, faces):
    """What that network says of the faces where nothing is kept."""
    root, spec = faces_alone
    return embedded(spec, WeightsFolder(root).load(spec.weights.sha256), faces)


@pytest.fixture
def alone(tmp_path, faces_alone):
    """A copy of that folder, to be damaged."""
    root, spec = faces_alone
    folder = WeightsFolder(shutil.copytree(root, tmp_path / "weights"))
    (file,) = kept_files(folder)
    return folder, spec, file


def test_a_damaged_file_and_half_a_file_are_no_network_and_made_again(alone, faces, unconverted):
    folder, spec, file = alone
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    assert kept_models._read(file) is None
    for at in (0.001, 0.999, 0.3):  # in the header, at the end, among the weights
        place = int(at * len(whole))
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        assert kept_models._read(file) is None, at
    np.testing.assert_array_equal(embedded(spec, folder.parameters(spec.weights.sha256), faces), unconverted)
    assert kept_models._read(file) is not None


def test_what_another_version_converted_is_not_taken(alone, faces, monkeypatch):
    folder, spec, file = alone
    monkeypatch.setattr(kept_models, "_made_by", lambda: "another openvino")
    made = counting(monkeypatch)
    for _ in range(2):
        embedded(spec, folder.parameters(spec.weights.sha256), faces)
    assert made == [file]
    assert kept_files(folder) == [file], "in place of the other"


def test_another_precision_and_other_parameters_are_kept_beside_it(alone, faces):
    folder, spec, _ = alone
    embedded(replace(spec, precision="float32"), folder.parameters(spec.weights.sha256), faces)
    assert len(kept_files(folder)) == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_only_slower(alone, faces):
    folder, spec, file = alone
    file.unlink()
    file.parent.chmod(0o500)
    embedded(spec, folder.parameters(spec.weights.sha256), faces)
    assert kept_files(folder) == []


def test_a_place_that_is_no_folder_is_only_slower(tmp_path, alone, faces, unconverted):
    folder, spec, file = alone
    file.unlink()
    file.parent.rmdir()
    file.parent.write_text("a file where the folder should be")
    np.testing.assert_array_equal(embedded(spec, folder.parameters(spec.weights.sha256), faces), unconverted)


def test_what_a_killed_process_left_half_made_is_removed_a_day_later(alone, faces):
    folder, spec, file = alone
    file.unlink()
    left, at_work = (file.parent / f".converting-{name}" for name in ("left", "at-work"))
    for one in (left, at_work):
        one.mkdir()
        (one / "model.bin").write_bytes(b"half")
    os.utime(left, (0, 0))
    embedded(spec, folder.parameters(spec.weights.sha256), faces)
    assert sorted(file.parent.glob(".converting-*")) == [at_work]
    assert kept_files(folder) == [file]


@pytest.mark.parametrize("name", ["emotieffnet_b0@cropped_aligned", "hubert_superb_er@blocks90", "timm/resnet18"])
def test_networks_in_a_variant_and_behind_a_prefix_are_kept_like_others(name, tmp_path):
    spec = registry.spec_of(name)
    spec = replace(spec, weights=replace(spec.weights, sha256="a" * 64))
    assert isinstance(networks._parameters(spec, tmp_path), kept_models.Parameters)


def test_networks_of_plugins_are_not_kept(alone, monkeypatch):
    folder, spec, _ = alone
    assert isinstance(networks._parameters(spec, folder.root), kept_models.Parameters)
    monkeypatch.setitem(registry.EXTRACTORS._origins, spec.name, "somebody-else 1.0")
    assert not isinstance(networks._parameters(spec, folder.root), kept_models.Parameters)


@pytest.mark.parametrize("part", ["model.bin", "model.xml"])
def test_what_a_full_disk_cut_off_is_not_kept(alone, faces, unconverted, monkeypatch, part):
    folder, spec, file = alone
    file.unlink()
    real = openvino.serialize

    def cut_off(model, xml, weights):
        real(model, xml, weights)
        half = xml.with_name(part)
        os.truncate(half, half.stat().st_size - 9)

    monkeypatch.setattr(openvino, "serialize", cut_off)
    np.testing.assert_array_equal(embedded(spec, folder.parameters(spec.weights.sha256), faces), unconverted)
    assert kept_files(folder) == []
