"""Weight files that attack their reader: every one is refused by name, nothing is run, and little memory is taken."""

from __future__ import annotations

import contextlib
import copyreg
import os
import pickle
import re
import resource
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from affstore.models.extractors.registry import entry_of
from affstore.models.weights.untrusted.archive import read_torch_file
from affstore.models.weights.untrusted.keras_files import read_gzipped_keras
from affstore.models.weights.untrusted.pickles import read_pickle
from affstore.models.weights.untrusted.safetensors_file import read_safetensors
from affstore.store.contract.errors import UnsafePickleError, WeightsError
from tests import fuzz_weights
from tests.hostile import archives, pickles, tensor_files, tensors
from tests.hostile.archives import PICKLE, STORAGE, WHOLE, zip_of
from tests.hostile.pickles import number, numbers, state, storage, tensor, text

PICKLES = {
    **pickles.CALLS,
    **pickles.NAMES,
    **pickles.OBJECTS,
    **pickles.MACHINE,
    **tensors.TENSORS,
    **tensors.TREES,
}
_MORE_BYTES = 1 << 30
_HARMLESS = {"builtins.id", "gc.get_objects"}
_heard: list[tuple[str, tuple[object, ...]]] | None = None


def _listen(event: str, arguments: tuple[object, ...]) -> None:
    if _heard is not None:
        _heard.append((event, arguments))


@contextlib.contextmanager
def watched(path: Path):
    """Nothing happens in here but that `path` is read, and less than 1 GiB more memory is taken.

    Python reports every import, `exec`, `open`, process, socket and change of a file to audit hooks.
    """
    global _heard
    if not hasattr(sys, "_affstore_listens"):
        sys._affstore_listens = True  # a hook can never be taken away
        sys.addaudithook(_listen)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + _MORE_BYTES, limit[1]))
    modules = set(sys.modules)
    _heard = []
    try:
        yield
    finally:
        heard, _heard = _heard, None
        resource.setrlimit(resource.RLIMIT_AS, limit)
    assert set(sys.modules) == modules
    reads = [("open", (str(path), "r"))] * len(heard)
    seen = [(event, (str(what[0]), what[1])) if event == "open" else event for event, what in heard]
    assert [event for event in seen if event not in _HARMLESS and event not in reads] == []


@pytest.fixture(scope="module", autouse=True)
def warm(tmp_path_factory):
    """What the readers import on first use is imported before anything is watched."""
    folder = tmp_path_factory.mktemp("warm")
    assert read_torch_file(write(folder / "a.pt", zip_of(*WHOLE)))["weight"].tolist() == [0, 1, 2, 3]
    found = read_safetensors(write(folder / "a.safetensors", tensor_files.safetensors_of({"a": tensor_files.slot()})))
    assert found["a"].tolist() == [0, 1, 2, 3]
    with pytest.raises(WeightsError):
        read_gzipped_keras(write(folder / "a.h5.gz", tensor_files.KERAS["HDF5 that Keras did not write"][0]()))


@pytest.fixture(autouse=True)
def extension_code():
    """What an extension code would stand for in an ordinary reader."""
    copyreg.add_extension("os", "system", 1)
    yield
    copyreg.remove_extension("os", "system", 1)


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def refuse(path: Path, read, refusal: str) -> None:
    with watched(path), pytest.raises(WeightsError, match=refusal) as caught:
        read(path)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 600


def test_the_corpus_is_large():
    kinds = (PICKLES, archives.ARCHIVES, tensor_files.SAFETENSORS, tensor_files.KERAS)
    assert sum(map(len, kinds)) >= 260


@pytest.mark.parametrize("case", PICKLES)
def test_a_hostile_pickle_is_refused_by_name_and_nothing_is_run(tmp_path, case):
    build, refusal = PICKLES[case]
    canary = tmp_path / "canary"
    path = write(tmp_path / "hostile.pt", zip_of(replace(PICKLE, data=build(canary)), STORAGE))
    refuse(path, read_torch_file, refusal)
    assert not canary.exists()
    assert "CANARY" not in os.environ


@pytest.mark.parametrize("case", archives.ARCHIVES)
def test_a_hostile_archive_is_refused_by_name_and_nothing_is_unpacked(tmp_path, case, monkeypatch):
    build, refusal = archives.ARCHIVES[case]
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "hostile.pt", build())
    refuse(path, read_torch_file, refusal)
    assert [found.name for found in tmp_path.rglob("*")] == ["hostile.pt"]


@pytest.mark.parametrize("case", tensor_files.SAFETENSORS)
def test_a_hostile_file_of_safetensors_is_refused_by_name(tmp_path, case):
    build, refusal = tensor_files.SAFETENSORS[case]
    refuse(write(tmp_path / "hostile.safetensors", build()), read_safetensors, refusal)


@pytest.mark.parametrize("case", tensor_files.KERAS)
def test_a_hostile_file_of_keras_is_refused_by_name(tmp_path, case):
    build, refusal = tensor_files.KERAS[case]
    refuse(write(tmp_path / "hostile.h5.gz", build()), read_gzipped_keras, refusal)


@pytest.mark.parametrize("read", [read_torch_file, read_safetensors, read_gzipped_keras])
def test_what_is_no_file_at_all_is_refused_in_one_sentence(tmp_path, read):
    for path in (tmp_path, tmp_path / "nowhere", Path("/dev/null")):
        with pytest.raises(WeightsError, match=r"(F|f)etch it again|cannot be read"):
            read(path)


def test_the_canary_does_die_in_an_ordinary_reader(tmp_path):
    canary = tmp_path / "canary"
    for case in ("reduce system", "reduce eval", "protocol 0 as text", "inst", "extension code of one byte"):
        build, _ = PICKLES[case]
        pickle.loads(build(canary))
        assert canary.exists()
        canary.unlink()


def test_the_watch_does_notice(tmp_path):
    for act in (lambda: os.system("true"), lambda: exec("1"), lambda: (tmp_path / "x").touch(), lambda: bytes(1 << 31)):
        with pytest.raises((AssertionError, MemoryError)), watched(tmp_path / "file"):
            act()


# --- what is admitted -----------------------------------------------------------------------------------------------


def test_a_name_that_only_looks_like_a_network_stays_text(tmp_path):
    data = pickles.PROTOCOL + b"ctimm.models.evil\nModel\n(" + text(f"touch {tmp_path / 'canary'}") + b"t\x81}"
    data += text("a") + b"Nsb."
    record = read_pickle(data)
    assert (record.kind, record.state) == ("timm.models.evil Model", {"a": None})
    assert "timm.models.evil" not in sys.modules
    assert read_torch_file(write(tmp_path / "empty.pt", zip_of(replace(PICKLE, data=data)))) == {}


@pytest.mark.parametrize(
    ("view", "shown"),
    [
        (tensor(), [0, 1, 2, 3]),
        (tensor(numbers(2, 2), numbers(1, 2)), [[0, 2], [1, 3]]),
        (tensor(numbers(2), numbers(2), number(1)), [1, 3]),
        (tensor(numbers(), numbers(), number(3)), 3),
        (tensor(numbers(2, 2), numbers(0, 1)), [[0, 1], [0, 1]]),
        (tensor(numbers(0, 5), numbers(5, 1)), []),
        (tensor(numbers(1, 4), numbers(4, 1)), [[0, 1, 2, 3]]),
    ],
)
def test_a_view_inside_its_numbers_shows_what_it_should(tmp_path, view, shown):
    found = read_torch_file(write(tmp_path / "view.pt", zip_of(replace(PICKLE, data=state(view)), STORAGE)))
    assert found["weight"].tolist() == shown


def test_a_storage_with_many_views_is_read_once(tmp_path, monkeypatch):
    views = b"".join(text(f"v{place}") + tensor(numbers(1), offset=number(place % 4)) for place in range(500))
    data = pickles.PROTOCOL + b"}(" + views + b"u."
    reads, read = [], zipfile.ZipFile.read
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *given: reads.append(given[1].filename) or read(*given))
    found = read_torch_file(write(tmp_path / "views.pt", zip_of(replace(PICKLE, data=data), STORAGE)))
    assert [found[f"v{place}"].item() for place in range(500)] == [place % 4 for place in range(500)]
    assert reads.count("module/data/0") == 1


def test_the_largest_honest_shapes_are_read(tmp_path):
    many = np.arange(1 << 16, dtype=np.float32)
    view = tensor(numbers(1, 256, 256, 1), numbers(1 << 16, 1, 256, 1), of=storage(number(1 << 16)))
    path = write(tmp_path / "a.pt", zip_of(replace(PICKLE, data=state(view)), replace(STORAGE, data=many.tobytes())))
    assert read_torch_file(path)["weight"].numpy().tobytes() == many.reshape(256, 256).T.tobytes()


# --- cut short ------------------------------------------------------------------------------------------------------


def boundaries(data: bytes) -> list[int]:
    """Where the parts of a zip archive begin."""
    return sorted(
        {found.start() for found in re.finditer(rb"PK(\x01\x02|\x03\x04|\x05\x06|\x06\x06|\x06\x07)", data)}
        | {len(data)}
    )


def test_a_torch_archive_cut_at_any_boundary_is_refused(tmp_path):
    torch.save(torch.nn.Linear(8, 3), tmp_path / "whole.pt")
    whole = (tmp_path / "whole.pt").read_bytes()
    places = {place + by for place in boundaries(whole) for by in (-64, -22, -1, 0, 1, 4, 30)}
    cuts = sorted(place for place in places if 0 <= place < len(whole))
    assert len(cuts) > 60
    for cut in cuts:
        path = write(tmp_path / "cut.pt", whole[:cut])
        refuse(path, read_torch_file, r"cut\.pt' is not a whole torch archive")
        refuse(write(path, whole[cut:] if cut else b""), read_torch_file, r"cut\.pt'")


def test_a_file_of_safetensors_cut_anywhere_is_refused(tmp_path):
    whole = tensor_files.safetensors_of({"a": tensor_files.slot()})
    for cut in range(len(whole)):
        refuse(write(tmp_path / "cut", whole[:cut]), read_safetensors, "is not a whole safetensors file")


def test_a_file_of_keras_cut_anywhere_is_refused(tmp_path):
    whole = tensor_files.hdf5(lambda root: tensor_files.layer(root).create_dataset("w", data=np.ones(4, np.float32)))
    assert read_gzipped_keras(write(tmp_path / "whole", whole))["0.w"].tolist() == [1, 1, 1, 1]
    for cut in range(0, len(whole), 7):
        refuse(write(tmp_path / "cut", whole[:cut]), read_gzipped_keras, "is not a whole")


def test_a_refused_file_leaves_nothing_behind(tmp_path, monkeypatch):
    from affstore.models.weights.folder import WeightsFolder

    folder = WeightsFolder(tmp_path / "weights")
    build, refusal = PICKLES["reduce system"]
    path = write(tmp_path / "a.pt", zip_of(replace(PICKLE, data=build(tmp_path / "canary")), STORAGE))
    with pytest.raises(UnsafePickleError, match=refusal):
        folder.import_file(entry_of("enet_b0_8_best_vgaf"), path, any_digest=True)
    assert not folder.status("enet_b0_8_best_vgaf").present
    assert not (tmp_path / "canary").exists()
    assert not list((tmp_path / "weights").rglob("*.safetensors"))


# --- changed at random ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory) -> dict[str, fuzz_weights.Subject]:
    return fuzz_weights.subjects(tmp_path_factory.mktemp("whole"))


changes = st.lists(
    st.builds(
        fuzz_weights.Change,
        st.sampled_from(fuzz_weights.KINDS + fuzz_weights.ENTRIES),
        st.floats(0, 1, exclude_max=True),
        st.integers(1, 200),
        st.integers(0, 255),
    ),
    max_size=3,
)


@pytest.mark.parametrize("name", ["module", "state dict", "safetensors", "keras"])
def test_a_changed_file_is_read_as_what_it_was_or_refused(whole_files, name, tmp_path_factory):
    path, seen = tmp_path_factory.mktemp("changed") / "file", set()

    @given(changes)
    @settings(max_examples=250, deadline=None)
    def check(drawn):
        data = fuzz_weights.changed(whole_files[name].data, drawn)
        seen.add(fuzz_weights.outcome(whole_files[name], data, drawn, path))

    check()
    assert {"right", "refused"} <= seen


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_bytes_at_all_are_a_value_or_a_refusal(data):
    # Any other error would end the test.
    with contextlib.suppress(WeightsError):
        read_pickle(b"\x80\x02" + data + b".")


@pytest.mark.slow
def test_real_layouts_with_changed_bytes_are_read_as_they_were_or_refused(shared):
    path = shared / "reference_outputs/mbf_va_mtl.pt"
    found = subprocess.run(
        [sys.executable, "-m", "tests.fuzz_weights", "60", path], capture_output=True, text=True, check=True
    )
    assert "mbf_va_mtl.pt" in found.stdout
