"""Weights: what is read, what is refused, what is kept, what is fetched."""

from __future__ import annotations

import contextlib
import copyreg
import dataclasses
import hashlib
import http.server
import os
import pickle
import re
import struct
import subprocess
import sys
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.extractors import registry as extractors
from models.extractors.emotieffnet import EMOTIEFFNET_B0
from models.extractors.specs import WeightsRef
from models.weights import architectures, folder
from models.weights.archive import read_torch_file
from models.weights.download import download
from models.weights.folder import WeightsFolder, digest_parameters
from models.weights.pickles import read_pickle
from models.weights.registry import WeightsEntry, entries, entry_of
from models.weights.untrained import draw
from store.contract.errors import (
    ArchitectureError,
    SpecError,
    UnknownNameError,
    UnsafePickleError,
    WeightsDigestError,
    WeightsError,
    WeightsMissingError,
)

NAME = "enet_b0_8_best_vgaf"
REF = WeightsRef(NAME)


@pytest.fixture(scope="module")
def parameters() -> dict[str, torch.Tensor]:
    return draw(architectures.layout("efficientnet_b0", 8), seed=3)


@pytest.fixture(scope="module")
def published(tmp_path_factory, parameters) -> Path:
    """A file in a published layout: a whole module, its classifier in a Sequential."""
    network = architectures.build("efficientnet_b0", 8)
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
        commit = entry.url.split("/")[6]
        assert entry.url.startswith("https://")
        assert len(commit) == 40
        assert int(commit, 16)
        assert entry.url.endswith("/" + entry.file)
        assert len(entry.git_blob_sha1) == 40 or len(entry.sha256) == 64
        assert entry.licence == "Apache-2.0"


def test_every_extractor_has_an_entry_for_its_weights():
    for name in extractors.names():
        assert extractors.spec_of(name).weights.name in entries()


def test_a_misspelt_entry_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'enet_b0_8_va_mtl'"):
        entry_of("enet_b0_va_mtl")


def test_listing_extractors_weights_and_their_status_imports_nothing_heavy(tmp_path):
    code = (
        "import sys, pathlib; from models.weights.folder import WeightsFolder; from models.extractors import registry; "
        "from models.weights.registry import entries; f = WeightsFolder(pathlib.Path(sys.argv[1])); "
        "[f.status(n) for n in entries()]; registry.names(); "
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


# --- hostile files ------------------------------------------------------------------------------------------------


class Calls:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments, state=None):
        self.call = (function, arguments, state) if state is not None else (function, arguments)

    def __reduce__(self):
        return self.call


def archive(path: Path, data: bytes, entries: dict[str, bytes] | None = None, compression: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("module/data.pkl", data)
        for name, content in (entries or {}).items():
            file.writestr(name, content)
    return path


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def hostile(canary: Path) -> dict[str, bytes]:
    """Attacks, by what the refusal has to say."""
    touch, create = f"touch {canary}", f"open({str(canary)!r}, 'w')"
    module = b"\x80\x02ctorch.nn.modules.container\nSequential\n"
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K\x04tQ"
    return {
        "asks for 'posix.system'": pickle.dumps(Calls(os.system, touch), 2),
        "asks for 'builtins.eval'": pickle.dumps(Calls(eval, create), 4),
        "asks for '__builtin__.exec'": pickle.dumps({"weight": [Calls(exec, create)]}, 2),
        "asks for '__builtin__.getattr'": pickle.dumps(Calls(getattr, "text", "format"), 2),
        "asks for 'functools.partial'": b"\x80\x02cfunctools\npartial\ncos\nsystem\n\x85R.",
        "asks for 'operator.attrgetter'": b"\x80\x02coperator\nattrgetter\n" + text("system") + b"\x85R.",
        "asks for 'torch.load'": b"\x80\x02ctorch\nload\n" + text(str(canary)) + b"\x85R.",
        "asks for 'torch.nn.functional.relu'": b"\x80\x02ctorch.nn.functional\nrelu\n)R.",
        "asks for 'timm.models.os.system'": b"\x80\x02ctimm.models.os\nsystem\n" + text(touch) + b"\x85R.",
        "asks for 'torch.storage._load_from_bytes'": b"\x80\x02ctorch.storage\n_load_from_bytes\n.",
        "asks for 'torch.nn.modules.container.Sequential.__init__": (
            b"\x80\x04" + text("torch.nn.modules.container") + text("Sequential.__init__.__globals__") + b"\x93."
        ),
        "asks for something whose name is not text": b"\x80\x04K\x01K\x02\x93.",
        "uses the opcode INST": b"(" + text(touch) + b"ios\nsystem\n.",
        "uses the opcode OBJ": b"(ctorch.nn.modules.container\nSequential\n" + text(touch) + b"o.",
        "uses the opcode EXT1": b"\x80\x02\x82\x01" + text(touch) + b"\x85R.",
        "uses the opcode EXT4": b"\x80\x02\x84\x01\x00\x00\x00" + text(touch) + b"\x85R.",
        "uses the opcode NEWOBJ_EX": module + b")}\x92.",
        "uses the opcode PERSID": b"P0\n.",
        "uses the opcode SHORT_BINBYTES": pickle.dumps(b"pickle in a pickle", 3),
        "sets attributes of 'torch.nn.modules.container.Sequential'": module + b"}" + text("__setstate__") + b"Nsb.",
        "sets attributes of a list": b"\x80\x02]}" + text("append") + b"Nsb.",
        "sets odd attributes of": module + b")\x81" + text(touch) + b"b.",
        "sets odd attributes of 'torch.nn": module + b")\x81}" + text("a") + b"Nsb}" + text("b") + b"Nsb.",
        "sets items of": module + text("a") + text("b") + b"s.",
        "adds items to": module + text("a") + b"a.",
        "uses a tuple as a key": b"\x80\x02})\x85Ns.",
        "refers to an outside object": b"\x80\x02" + text("module") + b"Q.",
        "calls a str": b"\x80\x02" + text("os.system") + text(touch) + b"\x85R.",
        "calls a ModuleRecord": module + b")\x81" + text(touch) + b"\x85R.",
        "arguments torch never writes": (
            b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00" + text("shape") + b")tR."
        ),
    }


@pytest.mark.parametrize("refusal", hostile(Path("canary")))
def test_a_hostile_pickle_is_refused_by_name_and_nothing_is_run(tmp_path, refusal):
    canary = tmp_path / "canary"
    path = archive(tmp_path / "hostile.pt", hostile(canary)[refusal])
    copyreg.add_extension("os", "system", 1)  # what an extension code would stand for
    try:
        with pytest.raises(UnsafePickleError, match=re.escape(refusal)):
            read_torch_file(path)
    finally:
        copyreg.remove_extension("os", "system", 1)
    assert not canary.exists()


def test_the_canary_does_die_in_an_ordinary_reader(tmp_path):
    canary = tmp_path / "canary"
    pickle.loads(hostile(canary)["asks for 'posix.system'"])
    assert canary.exists()


def test_a_name_that_only_looks_like_a_network_stays_text(tmp_path):
    data = (
        b"\x80\x02ctimm.models.evil\nModel\n(" + text(f"touch {tmp_path / 'canary'}") + b"t\x81}" + text("a") + b"Nsb."
    )
    record = read_pickle(data)
    assert (record.kind, record.state) == ("timm.models.evil Model", {"a": None})
    assert "timm.models.evil" not in sys.modules
    assert read_torch_file(archive(tmp_path / "empty.pt", data)) == {}


def _tensor_pickle(numel: int, shape: bytes, stride: bytes, offset: bytes = b"K\x00") -> bytes:
    storage = (
        b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"J" + struct.pack("<i", numel)
    )
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"tQ" + offset + shape + stride + b"\x89ccollections\n"
    return b"\x80\x02}" + text("weight") + tensor + b"OrderedDict\n)RtRs."


BIG = b"J" + struct.pack("<i", 1 << 30)


@pytest.mark.parametrize(
    ("case", "data", "error"),
    [
        ("whole", _tensor_pickle(4, b"K\x04\x85", b"K\x01\x85"), None),
        ("repeated without end", _tensor_pickle(4, BIG + BIG + b"\x86", b"K\x00K\x00\x86"), UnsafePickleError),
        ("behind its storage", _tensor_pickle(4, b"K\x04\x85", b"K\x02\x85"), UnsafePickleError),
        ("before its storage", _tensor_pickle(4, b"K\x01\x85", b"K\x01\x85", b"J\xff\xff\xff\xff"), UnsafePickleError),
        ("without its numbers", _tensor_pickle(5, b"K\x05\x85", b"K\x01\x85"), WeightsError),
    ],
)
def test_a_tensor_must_lie_inside_its_numbers(tmp_path, case, data, error):
    path = archive(tmp_path / "sizes.pt", data, {"module/data/0": np.arange(4, dtype=np.float32).tobytes()})
    if error is None:
        assert read_torch_file(path)["weight"].tolist() == [0, 1, 2, 3]
    else:
        with pytest.raises(error, match=r"'weight'|claims"):
            read_torch_file(path)


def test_a_module_that_holds_itself_is_refused(tmp_path):
    module = b"\x80\x02ctorch.nn\nModule\n)\x81q\x00}" + text("_modules") + b"}" + text("a") + b"h\x00ssb."
    with pytest.raises(UnsafePickleError, match="has no end"):
        read_torch_file(archive(tmp_path / "endless.pt", module))


@pytest.mark.parametrize(
    ("entries", "compression"),
    [
        ({"module/../../escape": b"x"}, 0),
        ({"/etc/canary": b"x"}, 0),
        ({"other/data/0": b"x"}, 0),
        ({"module/code/model.py": b"x"}, 0),
        ({"module/inner.zip": b"PK"}, 0),
        ({"module/data/0": bytes(1 << 20)}, zipfile.ZIP_DEFLATED),
        ({"module/data.pkl": b"."}, 0),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_with_other_entries_than_torchs_is_refused(tmp_path, entries, compression):
    path = archive(tmp_path / "odd.pt", pickle.dumps({}, 2), entries, compression)
    with pytest.raises(UnsafePickleError, match=r"odd\.pt"):
        read_torch_file(path)


def test_a_pickle_of_an_absurd_size_is_refused_before_it_is_read(tmp_path):
    with pytest.raises(UnsafePickleError, match="at most"):
        read_torch_file(archive(tmp_path / "large.pt", b"\x80\x02" + b"N0" * (2 << 20)))


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_bytes_at_all_are_a_value_or_a_refusal(data):
    # Any other error would end the test.
    with contextlib.suppress(WeightsError):
        read_pickle(b"\x80\x02" + data + b".")


@given(st.integers(0, 100), st.data())
@settings(max_examples=100, deadline=None)
def test_a_valid_pickle_with_changed_bytes_is_a_value_or_a_refusal(count, drawn):
    data = bytearray(_tensor_pickle(4, b"K\x04\x85", b"K\x01\x85"))
    for _ in range(count % 5):
        data[drawn.draw(st.integers(0, len(data) - 1))] = drawn.draw(st.integers(0, 255))
    with contextlib.suppress(WeightsError):
        read_pickle(bytes(data))


def test_an_archive_with_changed_bytes_is_read_or_refused(tmp_path):
    torch.save(torch.nn.Linear(2, 3), tmp_path / "whole.pt")
    whole, random = (tmp_path / "whole.pt").read_bytes(), np.random.default_rng(0)
    directory, refused = whole.find(b"PK\x01\x02"), 0
    for _ in range(300):
        data = bytearray(whole)
        for place in (random.integers(len(data)), random.integers(directory, len(data))):
            data[place] = random.integers(256)
        (tmp_path / "changed.pt").write_bytes(data)
        try:
            read_torch_file(tmp_path / "changed.pt")
        except WeightsError:
            refused += 1
    assert refused > 100


# --- keeping ------------------------------------------------------------------------------------------------------


def test_a_published_file_is_kept_as_its_parameters(kept, published, parameters, monkeypatch):
    monkeypatch.setattr(folder, "entry_of", lambda name: entry_for(published))
    status = kept.import_file(NAME, published)
    assert status.present
    assert (status.record.official, status.record.trained) == (True, True)
    assert status.record.sha256 == digest_parameters(parameters)
    found = kept.load(status.record.sha256)
    assert all(torch.equal(found[name], tensor) for name, tensor in parameters.items())
    assert kept.resolve(REF) == WeightsRef(NAME, status.record.sha256, trained=True)
    assert kept.verify(NAME) == status


def test_other_numbers_are_taken_on_purpose_only_and_the_record_says_so(kept, published):
    with pytest.raises(WeightsDigestError, match="is not the published file"):
        kept.import_file(NAME, published)
    assert not kept.status(NAME).present
    record = kept.import_file(NAME, published, any_digest=True).record
    assert (record.official, record.source) == (False, str(published))


def test_the_digest_is_of_the_parameters_not_of_the_file(kept, published, parameters, tmp_path):
    torch.save(parameters, tmp_path / "state.pt")
    first = kept.import_file(NAME, published, any_digest=True).record
    second = kept.import_file(NAME, tmp_path / "state.pt", any_digest=True).record
    assert first.sha256 == second.sha256
    assert first.file_sha256 != second.file_sha256
    changed = {**parameters, "classifier.bias": parameters["classifier.bias"] + 1}
    assert digest_parameters(changed) != first.sha256


def test_missing_weights_say_what_to_type(kept):
    with pytest.raises(WeightsMissingError) as caught:
        kept.resolve(REF)
    for command in (f"affstore weights pull {NAME}", f"affstore weights import {NAME} FILE", "--weights untrained"):
        assert command in str(caught.value)
    with pytest.raises(WeightsMissingError):
        kept.verify(NAME)
    with pytest.raises(WeightsMissingError):
        kept.resolve(WeightsRef(NAME, "0" * 64))
    with pytest.raises(WeightsMissingError):
        kept.import_file(NAME, kept.root / "nowhere.pt")
    with pytest.raises(UnknownNameError):
        kept.resolve(WeightsRef("enet_b9"))


def test_a_file_that_was_cut_short_is_refused_in_one_sentence(kept, published, tmp_path):
    short = tmp_path / "short.pt"
    short.write_bytes(published.read_bytes()[:-5000])
    with pytest.raises(WeightsDigestError, match="cut short"):
        kept.import_file(NAME, short)
    with pytest.raises(WeightsError, match=r"short\.pt' is not a whole torch archive"):
        kept.import_file(NAME, short, any_digest=True)


def test_another_networks_file_is_refused_with_the_first_differences(kept, tmp_path, parameters):
    torch.save(draw(architectures.layout("efficientnet_b2", 8), 0), tmp_path / "b2.pt")
    with pytest.raises(ArchitectureError, match=r"efficientnet_b0 with 8 outputs, but .* superfluous.* and \d+ more"):
        kept.import_file(NAME, tmp_path / "b2.pt", any_digest=True)
    torch.save({n: t for n, t in parameters.items() if n != "bn1.bias"}, tmp_path / "less.pt")
    with pytest.raises(ArchitectureError, match=r"but bn1\.bias is missing\."):
        kept.import_file(NAME, tmp_path / "less.pt", any_digest=True)
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ArchitectureError, match="holds a list"):
        kept.import_file(NAME, tmp_path / "list.pt", any_digest=True)


def test_parameters_that_are_not_numbers_are_refused(kept, tmp_path, parameters):
    torch.save({**parameters, "bn1.bias": torch.full((32,), torch.nan)}, tmp_path / "nan.pt")
    with pytest.raises(WeightsError, match=r"NaN or infinity in bn1\.bias"):
        kept.import_file(NAME, tmp_path / "nan.pt", any_digest=True)


def test_damage_on_the_disk_is_found(kept, published):
    status = kept.import_file(NAME, published, any_digest=True)
    (path,) = (kept.root / "parameters").glob("*.safetensors")
    whole = path.read_bytes()
    for damaged in (whole[:-1] + bytes([whole[-1] ^ 1]), whole[:-100], b""):
        path.write_bytes(damaged)
        with pytest.raises(WeightsDigestError, match="fetch the weights again"):
            kept.verify(NAME)
    path.unlink()
    assert not kept.status(NAME).present
    with pytest.raises(WeightsMissingError):
        kept.load(status.record.sha256)


def test_a_folder_that_cannot_be_written_is_named(published, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(WeightsError, match="AFFSTORE_WEIGHTS"):
        WeightsFolder(tmp_path / "file").import_file(NAME, published, any_digest=True)


def test_the_default_folder_is_the_one_the_environment_names(monkeypatch, tmp_path):
    monkeypatch.setenv("AFFSTORE_WEIGHTS", str(tmp_path))
    assert folder.default_folder().root == tmp_path
    monkeypatch.delenv("AFFSTORE_WEIGHTS")
    assert folder.default_folder().root == Path.home() / ".cache/affstore/weights"


def test_several_that_import_at_once_leave_one_whole_set(kept, published):
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: kept.import_file(NAME, published, any_digest=True), range(3)))
    assert len({status.record.sha256 for status in found}) == 1
    kept.verify(NAME)
    assert not [path for path in kept.root.rglob(".*") if path.suffix != ".lock"]


# --- fetching -----------------------------------------------------------------------------------------------------


class Server:
    """A real HTTP server on this machine that serves one file, with ranges, and breaks the first connections."""

    def __init__(self, data: bytes, breaks: int = 0, ranges: bool = True) -> None:
        self.requests: list[str | None] = []
        served = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                wanted = self.headers["Range"]
                served.requests.append(wanted)
                start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and ranges else 0
                if self.path != "/file.pt" or start >= len(data):
                    self.send_error(416 if start else 404)
                    return
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(data) - start))
                self.end_headers()
                broken = len(served.requests) <= breaks
                part = data[start : start + (len(data) // 3)] if broken and ranges else data[start:]
                if broken and not ranges:
                    part = data[: len(data) * len(served.requests) // 4]
                self.wfile.write(part)

            def log_message(self, *_) -> None:
                """Quiet."""

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/file.pt"

    def __enter__(self) -> Server:
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.http.shutdown()
        self.http.server_close()


def test_a_broken_download_goes_on_where_it_stopped(kept, published, parameters):
    data, seen = published.read_bytes(), []
    with Server(data, breaks=2) as server:
        status = kept.pull(entry_for(published, server.url), on_progress=lambda done, total: seen.append((done, total)))
        assert kept.pull(entry_for(published, server.url)) == status
    third = len(data) // 3
    assert server.requests == [None, f"bytes={third}-", f"bytes={2 * third}-"]
    assert seen[-1] == (len(data), len(data))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert (status.record.official, status.record.sha256) == (True, digest_parameters(parameters))
    assert not list((kept.root / "downloads").glob("*.part"))


def test_a_server_without_ranges_sends_everything_again(tmp_path):
    data = bytes(range(256)) * 4000
    with Server(data, breaks=2, ranges=False) as server:
        download(server.url, tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == data
    assert len(server.requests) == 3


def test_a_part_left_by_an_earlier_process_is_gone_on_from(kept, published):
    data = published.read_bytes()
    part = kept.root / "downloads" / f"{NAME}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(data[:1000])
    with Server(data) as server:
        assert kept.pull(entry_for(published, server.url)).record.official
    assert server.requests == ["bytes=1000-"]


def test_a_part_longer_than_the_file_is_thrown_away(tmp_path):
    (tmp_path / "part").write_bytes(bytes(100))
    with Server(b"abc") as server:
        download(server.url, tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == b"abc"
    assert server.requests == ["bytes=100-", None]


def test_another_file_than_the_published_one_is_not_kept(kept, published):
    with Server(published.read_bytes()[:-1] + b"x") as server, pytest.raises(WeightsDigestError, match=NAME):
        kept.pull(entry_for(published, server.url))
    assert not kept.status(NAME).present
    assert not list((kept.root / "downloads").glob("*.part"))


def test_a_server_that_does_not_answer_or_does_not_have_it_is_named(kept, published):
    with Server(b"abc") as server:
        with pytest.raises(WeightsError, match="404"):
            kept.pull(entry_for(published, server.url + "x"))
        url = server.url
    with pytest.raises(WeightsError, match="broke after 0 bytes"):
        kept.pull(entry_for(published, url))


def test_a_mirror_folder_takes_the_place_of_the_network(kept, published, tmp_path):
    status = kept.pull(entry_for(published, "http://127.0.0.1:9/none"), mirror=published.parent)
    assert (status.record.official, status.record.source) == (True, "http://127.0.0.1:9/none")
    with pytest.raises(WeightsMissingError, match=r"enet_b0_8_best_vgaf\.pt"):
        kept.pull(entry_for(published), mirror=tmp_path)


def test_nothing_is_fetched_for_a_network_affstore_does_not_have(kept):
    with pytest.raises(ArchitectureError, match="no network 'mobilefacenet' yet"):
        kept.pull(entry_of("mbf_va_mtl"))


# --- untrained ----------------------------------------------------------------------------------------------------


def test_untrained_parameters_are_the_same_in_every_process_and_thread_count(kept, tmp_path):
    here = kept.resolve(REF, untrained=True)
    code = (
        "import sys, pathlib; from models.weights.folder import WeightsFolder; "
        "from models.extractors.specs import WeightsRef; "
        f"print(WeightsFolder(pathlib.Path(sys.argv[1])).resolve(WeightsRef('{NAME}'), untrained=True).sha256)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "other"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.stdout.strip() == here.sha256
    assert not here.trained


def test_untrained_parameters_are_made_once_and_never_pass_for_trained(kept, monkeypatch):
    first = kept.resolve(REF, untrained=True)
    monkeypatch.setattr(extractors, "untrained", lambda spec, seed: pytest.fail("made again"))
    assert kept.resolve(REF, untrained=True) == first
    record = kept.status(NAME).record
    assert (record.trained, record.official, record.sha256) == (False, False, first.sha256)
    assert "seed 0" in record.source
    with pytest.raises(WeightsMissingError):
        kept.resolve(REF)


def test_another_seed_gives_other_untrained_parameters():
    layout = architectures.layout("efficientnet_b0", 8)
    assert digest_parameters(draw(layout, 0)) == digest_parameters(draw(dict(reversed(layout.items())), 0))
    assert digest_parameters(draw(layout, 0)) != digest_parameters(draw(layout, 1))


def test_weights_that_no_extractor_runs_with_have_no_untrained_form(kept):
    with pytest.raises(SpecError, match="No extractor runs with"):
        kept.resolve(WeightsRef("enet_b2_7"), untrained=True)


def test_untrained_batch_norms_know_their_inputs(kept):
    parameters = kept.load(kept.resolve(EMOTIEFFNET_B0.weights, untrained=True).sha256)
    variances = torch.cat([tensor for name, tensor in parameters.items() if name.endswith("running_var")])
    assert (variances > 0).all()
    assert variances.std() > 0.1
