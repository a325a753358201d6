"""Weights: what is read, what is refused, what is kept, what is fetched."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest
import safetensors.torch
import torch

from affstore.models.extractor_specs import WeightsRef
from affstore.models.extractors import registry as extractors
from affstore.models.extractors.face.emotieffnet import B0 as EFFICIENTNET_B0
from affstore.models.extractors.face.emotieffnet import B2 as EFFICIENTNET_B2
from affstore.models.extractors.face.emotieffnet import EMOTIEFFNET_B0
from affstore.models.extractors.registry import entries, entry_of
from affstore.models.extractors.untrained import recipe_of, resolve_weights
from affstore.models.weights import architectures, folder
from affstore.models.weights.entry import WeightsEntry
from affstore.models.weights.folder import WeightsFolder, digest_parameters
from affstore.models.weights.untrained import SEED, draw
from affstore.models.weights.untrusted.archive import read_torch_file
from affstore.store.contract.errors import (
    ArchitectureError,
    SpecError,
    UnknownNameError,
    WeightsDigestError,
    WeightsError,
    WeightsMissingError,
)
from affstore.store.contract.keys import key_of

NAME = "enet_b0_8_best_vgaf"
REF = WeightsRef(NAME)


@pytest.fixture(scope="module")
def parameters() -> dict[str, torch.Tensor]:
    return draw(architectures.layout(EFFICIENTNET_B0, 8), seed=3)


@pytest.fixture(scope="module")
def published(tmp_path_factory, parameters) -> Path:
    """A file in a published layout: a whole module, its classifier in a Sequential."""
    network = architectures.build(EFFICIENTNET_B0, 8)
    network.load_state_dict(parameters, assign=True)
    network.classifier = torch.nn.Sequential(network.classifier)
    path = tmp_path_factory.mktemp("published") / entry_of(NAME).file
    torch.save(network, path)
    return path


@pytest.fixture
def kept(tmp_path) -> WeightsFolder:
    return WeightsFolder(tmp_path / "weights")


def blob_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def entry_for(path: Path, url: str = "") -> WeightsEntry:
    return dataclasses.replace(entry_of(NAME), git_blob_sha1=blob_id(path.read_bytes()), url=url)


# --- what is published -------------------------------------------------------------------------------------------


def test_every_entry_is_pinned_and_has_a_digest():
    assert len(entries()) >= 9
    for entry in entries().values():
        if entry.wheel:
            assert len(entry.wheel.sha256) == len(entry.sha256) == 64
            assert entry.wheel.member.endswith("/" + entry.file)
            continue
        if not entry.url:
            assert entry.where
            continue
        commit = entry.url.split("/")[6]
        assert entry.url.startswith("https://")
        assert len(commit) == 40
        assert int(commit, 16)
        assert entry.url.endswith("/" + entry.file)
        assert len(entry.git_blob_sha1) == 40 or len(entry.sha256) == 64
        assert entry.licence


def test_every_extractor_has_an_entry_for_its_weights():
    for name in extractors.names():
        assert extractors.spec_of(name).weights.name in entries()


def test_a_misspelt_entry_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'enet_b0_8_va_mtl'"):
        entry_of("enet_b0_va_mtl")


def test_listing_extractors_weights_and_their_status_imports_nothing_heavy(tmp_path):
    code = (
        "import sys, pathlib; from affstore.models.weights.folder import WeightsFolder; "
        "from affstore.models.extractors import registry; "
        "f = WeightsFolder(pathlib.Path(sys.argv[1])); "
        "[f.status(n) for n in registry.entries()]; registry.names(); "
        "print(sorted({'torch', 'timm', 'transformers', 'skimage', 'tensorflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- reading ------------------------------------------------------------------------------------------------------


def test_a_module_pickle_reads_as_its_state_dict(tmp_path):
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3),
        torch.nn.BatchNorm2d(4),
        torch.nn.Sequential(torch.nn.Linear(4, 2, dtype=torch.float64)),
    )
    network[1].register_buffer("scratch", torch.ones(2), persistent=False)
    network[0].weight.data = network[0].weight.data.to(memory_format=torch.channels_last)
    torch.save(network, tmp_path / "module.pt")
    torch.save(network.state_dict(), tmp_path / "state.pt")
    for file in ("module.pt", "state.pt"):
        found = read_torch_file(tmp_path / file)
        assert found.keys() == network.state_dict().keys()
        for name, tensor in network.state_dict().items():
            assert torch.equal(found[name], tensor)
            assert found[name].dtype == tensor.dtype


def test_tensors_that_view_one_storage_read_as_what_they_show(tmp_path):
    base = torch.arange(24.0)
    torch.save({"turned": base.view(4, 6).T, "part": base[5:9], "none": base[:0]}, tmp_path / "views.pt")
    found = read_torch_file(tmp_path / "views.pt")
    assert torch.equal(found["turned"], base.view(4, 6).T)
    assert torch.equal(found["part"], base[5:9])
    assert found["none"].shape == (0,)


def test_the_published_reference_layouts_read_without_their_classes(shared):
    found = read_torch_file(shared / "reference_outputs/mbf_va_mtl.pt")
    assert found["fc.weight"].shape == (10, 512)
    assert "mobilefacenet" not in sys.modules


# --- keeping ------------------------------------------------------------------------------------------------------


def test_a_published_file_is_kept_as_its_parameters(kept, published, parameters, monkeypatch):
    monkeypatch.setattr(extractors, "entry_of", lambda name: entry_for(published))
    status = kept.import_file(extractors.entry_of(NAME), published)
    assert status.present
    assert (status.record.official, status.record.trained) == (True, True)
    assert status.record.sha256 == digest_parameters(parameters)
    found = kept.load(status.record.sha256)
    assert all(torch.equal(found[name], tensor) for name, tensor in parameters.items())
    assert resolve_weights(kept, REF) == WeightsRef(NAME, status.record.sha256, trained=True)
    assert kept.verify(extractors.entry_of(NAME)) == status


def test_other_numbers_are_taken_on_purpose_only_and_the_record_says_so(kept, published):
    with pytest.raises(WeightsDigestError, match="is not the published file"):
        kept.import_file(extractors.entry_of(NAME), published)
    assert not kept.status(NAME).present
    record = kept.import_file(extractors.entry_of(NAME), published, any_digest=True).record
    assert (record.provenance, record.source) == ("unofficial", str(published))
    ref = resolve_weights(kept, REF)
    assert ref.provenance == "unofficial"
    assert key_of(ref) == key_of(dataclasses.replace(ref, official=True)), "equal parameters are equal numbers"


def test_a_user_may_say_which_file_it_has_to_be(kept, published):
    sha256 = hashlib.sha256(published.read_bytes()).hexdigest()
    with pytest.raises(WeightsDigestError, match=f"has the SHA-256 {sha256}, not {'0' * 64} as you asked for"):
        kept.import_file(extractors.entry_of(NAME), published, sha256="0" * 64)
    with pytest.raises(WeightsDigestError, match="as you asked for"):
        kept.import_file(extractors.entry_of(NAME), published, any_digest=True, sha256="0" * 64)
    record = kept.import_file(extractors.entry_of(NAME), published, sha256=sha256.upper()).record
    assert (record.official, record.file_sha256) == (False, sha256)


def test_the_digest_is_of_the_parameters_not_of_the_file(kept, published, parameters, tmp_path):
    torch.save(parameters, tmp_path / "state.pt")
    first = kept.import_file(extractors.entry_of(NAME), published, any_digest=True).record
    second = kept.import_file(extractors.entry_of(NAME), tmp_path / "state.pt", any_digest=True).record
    assert first.sha256 == second.sha256
    assert first.file_sha256 != second.file_sha256
    changed = {**parameters, "classifier.bias": parameters["classifier.bias"] + 1}
    assert digest_parameters(changed) != first.sha256


def test_missing_weights_say_what_to_type(kept):
    with pytest.raises(WeightsMissingError) as caught:
        resolve_weights(kept, REF)
    for command in (f"affstore weights pull {NAME}", f"affstore weights import {NAME} FILE", "--weights untrained"):
        assert command in str(caught.value)
    with pytest.raises(WeightsMissingError):
        kept.verify(extractors.entry_of(NAME))
    with pytest.raises(WeightsMissingError):
        resolve_weights(kept, WeightsRef(NAME, "0" * 64))
    with pytest.raises(WeightsMissingError):
        kept.import_file(extractors.entry_of(NAME), kept.root / "nowhere.pt")
    with pytest.raises(UnknownNameError):
        resolve_weights(kept, WeightsRef("enet_b9"))


def test_a_file_that_was_cut_short_is_refused_in_one_sentence(kept, published, tmp_path):
    short = tmp_path / "short.pt"
    short.write_bytes(published.read_bytes()[:-5000])
    with pytest.raises(WeightsDigestError, match="cut short"):
        kept.import_file(extractors.entry_of(NAME), short)
    with pytest.raises(WeightsError, match=r"short\.pt' is not a whole torch archive"):
        kept.import_file(extractors.entry_of(NAME), short, any_digest=True)


SAVE = {"torch_module_pickle": torch.save, "safetensors": safetensors.torch.save_file}


@pytest.fixture(params=sorted(SAVE))
def import_as(kept, tmp_path, monkeypatch, request):
    """Imports parameters that were written in each format."""
    entry = dataclasses.replace(entry_of(NAME), format=request.param)
    monkeypatch.setattr(extractors, "entry_of", lambda name: entry)

    def import_as(given: dict[str, torch.Tensor]):
        SAVE[request.param](given, tmp_path / "file")
        return kept.import_file(extractors.entry_of(NAME), tmp_path / "file", any_digest=True)

    return import_as


def test_every_format_holds_the_same_parameters(import_as, kept, parameters):
    record = import_as(parameters).record
    assert record.sha256 == digest_parameters(parameters)
    assert kept.load(record.sha256).keys() == parameters.keys()


def test_another_networks_parameters_are_refused_with_the_first_differences(import_as, parameters):
    with pytest.raises(ArchitectureError, match=r"efficientnet_b0 with 8 outputs, but .* superfluous.* and \d+ more"):
        import_as(draw(architectures.layout(EFFICIENTNET_B2, 8), 0))
    with pytest.raises(ArchitectureError, match=r"but bn1\.bias is missing\."):
        import_as({n: t for n, t in parameters.items() if n != "bn1.bias"})
    with pytest.raises(ArchitectureError, match=r"bn1\.weight is missing; bn1\.bias is missing; .* and 2 more"):
        import_as({n: t for n, t in sorted(parameters.items()) if not n.startswith("bn1")})
    with pytest.raises(ArchitectureError, match=r"but more\.weight is superfluous\."):
        import_as({**parameters, "more.weight": torch.ones(2)})
    with pytest.raises(ArchitectureError, match=r"classifier\.bias is float32 \[10\], not float32 \[8\]"):
        import_as({**parameters, "classifier.bias": torch.ones(10)})
    with pytest.raises(ArchitectureError, match=r"bn1\.bias is float32 \[32, 1\], not float32 \[32\]"):
        import_as({**parameters, "bn1.bias": torch.ones(32, 1)})
    with pytest.raises(ArchitectureError, match=r"two parameters 'classifier\.bias'"):
        import_as({**parameters, "classifier.0.bias": parameters["classifier.bias"].clone()})


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64", "int32", "bool"])
def test_parameters_of_another_kind_of_number_are_refused(import_as, parameters, kind):
    with pytest.raises(ArchitectureError, match=rf"bn1\.bias is {kind} \[32\], not float32 \[32\]"):
        import_as({**parameters, "bn1.bias": torch.ones(32, dtype=getattr(torch, kind))})


@pytest.mark.parametrize("odd", [torch.nan, torch.inf, -torch.inf])
def test_parameters_that_are_not_finite_are_refused(import_as, kept, parameters, odd):
    bias, variance = torch.zeros(32), torch.ones(32)
    bias[3] = variance[31] = odd
    with pytest.raises(WeightsError, match=r"NaN or infinity in bn1\.bias, bn1\.running_var\."):
        import_as({**parameters, "bn1.bias": bias, "bn1.running_var": variance})
    assert not kept.status(NAME).present


def test_a_file_that_holds_no_parameters_is_refused(kept, tmp_path):
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ArchitectureError, match="holds a list"):
        kept.import_file(extractors.entry_of(NAME), tmp_path / "list.pt", any_digest=True)
    torch.save({}, tmp_path / "none.pt")
    with pytest.raises(ArchitectureError, match="holds a dict"):
        kept.import_file(extractors.entry_of(NAME), tmp_path / "none.pt", any_digest=True)


def _nan(array):
    array[...] = np.nan


KERAS_FAULTS = {
    "holds NaN or infinity in": lambda file, group, name: _nan(group[name]),
    "should be a openl3 with 0 outputs, but .* is missing": lambda file, group, name: file.attrs.create(
        "layer_names", file.attrs["layer_names"][:-1]
    ),
    "claims .* bytes of arrays|is superfluous": lambda file, group, name: file.attrs.create(
        "layer_names", [*file.attrs["layer_names"], file.attrs["layer_names"][-1]]
    ),
    r"is float32 \[3\], not float32": lambda file, group, name: _replaced(group, name, np.ones(3, np.float32)),
    "is not a plain float32 array": lambda file, group, name: _replaced(group, name, np.ones(3, np.float64)),
}


def _replaced(group, name, array):
    del group[name]
    group[name] = array


@pytest.mark.parametrize("refusal", KERAS_FAULTS)
def test_faults_in_a_file_of_keras_are_named(kept, shared, tmp_path, refusal):
    whole = gzip.decompress((shared / "reference_outputs/openl3_audio_mel128_env.h5.gz").read_bytes())
    (tmp_path / "file.h5").write_bytes(whole)
    with h5py.File(tmp_path / "file.h5", "r+") as file:
        layer = next(layer for layer in file.attrs["layer_names"] if len(file[layer].attrs["weight_names"]))
        KERAS_FAULTS[refusal](file, file[layer], file[layer].attrs["weight_names"][0])
    (tmp_path / "file.h5.gz").write_bytes(gzip.compress((tmp_path / "file.h5").read_bytes(), 1))
    with pytest.raises(WeightsError, match=refusal):
        kept.import_file(extractors.entry_of("openl3_env_mel128"), tmp_path / "file.h5.gz", any_digest=True)


def test_damage_on_the_disk_is_found(kept, published):
    status = kept.import_file(extractors.entry_of(NAME), published, any_digest=True)
    (path,) = (kept.root / "parameters").glob("*.safetensors")
    whole = path.read_bytes()
    for damaged in (whole[:-1] + bytes([whole[-1] ^ 1]), whole[:-100], b""):
        path.write_bytes(damaged)
        with pytest.raises(WeightsDigestError, match="fetch the weights again"):
            kept.verify(extractors.entry_of(NAME))
    path.unlink()
    assert not kept.status(NAME).present
    with pytest.raises(WeightsMissingError):
        kept.load(status.record.sha256)


def test_a_folder_that_cannot_be_written_is_named(published, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(WeightsError, match="AFFSTORE_WEIGHTS"):
        WeightsFolder(tmp_path / "file").import_file(extractors.entry_of(NAME), published, any_digest=True)


def test_the_default_folder_is_the_one_the_environment_names(monkeypatch, tmp_path):
    monkeypatch.setenv("AFFSTORE_WEIGHTS", str(tmp_path))
    assert folder.default_folder().root == tmp_path
    monkeypatch.delenv("AFFSTORE_WEIGHTS")
    monkeypatch.setenv("AFFSTORE_CACHE", str(tmp_path / "cache"))
    assert folder.default_folder().root == tmp_path / "cache/weights"
    monkeypatch.delenv("AFFSTORE_CACHE")
    assert folder.default_folder().root == Path.home() / ".cache/affstore/weights"


def test_several_that_import_at_once_leave_one_whole_set(kept, published):
    with ThreadPoolExecutor(3) as pool:
        found = list(
            pool.map(lambda _: kept.import_file(extractors.entry_of(NAME), published, any_digest=True), range(3))
        )
    assert len({status.record.sha256 for status in found}) == 1
    kept.verify(extractors.entry_of(NAME))
    assert not [path for path in kept.root.rglob(".*") if path.suffix != ".lock"]


# --- untrained ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_untrained_parameters_are_the_same_in_every_process_and_thread_count(kept, tmp_path):
    here = resolve_weights(kept, REF, untrained=True)
    code = (
        "import sys, pathlib; from affstore.models.weights.folder import WeightsFolder; "
        "from affstore.models.extractor_specs import WeightsRef; "
        "from affstore.models.extractors.untrained import resolve_weights; "
        f"print(resolve_weights(WeightsFolder(pathlib.Path(sys.argv[1])), WeightsRef('{NAME}'), untrained=True).sha256)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "other"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
    )
    assert done.stdout.strip() == here.sha256
    assert not here.trained


def test_untrained_parameters_are_made_once_and_never_pass_for_trained(kept, monkeypatch):
    first = resolve_weights(kept, REF, untrained=True)
    monkeypatch.setattr(extractors, "untrained", lambda spec, seed: pytest.fail("made again"))
    assert resolve_weights(kept, REF, untrained=True) == first
    record = kept.status(NAME).record
    assert (record.trained, record.official, record.sha256) == (False, False, first.sha256)
    assert "seed 0" in record.source
    with pytest.raises(WeightsMissingError):
        resolve_weights(kept, REF)


def test_another_seed_gives_other_untrained_parameters():
    layout = architectures.layout(EFFICIENTNET_B0, 8)
    assert digest_parameters(draw(layout, 0)) == digest_parameters(draw(dict(reversed(layout.items())), 0))
    assert digest_parameters(draw(layout, 0)) != digest_parameters(draw(layout, 1))


def test_weights_that_no_extractor_runs_with_have_no_untrained_form():
    with pytest.raises(SpecError, match="No extractor runs with"):
        recipe_of("nobody_runs_with_this", SEED)


def test_untrained_batch_norms_know_their_inputs(kept):
    parameters = kept.load(resolve_weights(kept, EMOTIEFFNET_B0.weights, untrained=True).sha256)
    variances = torch.cat([tensor for name, tensor in parameters.items() if name.endswith("running_var")])
    assert (variances > 0).all()
    assert variances.std() > 0.1
