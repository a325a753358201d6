"""Stored bytes that are not what was written, and stores of older versions: no wrong number, always one sentence."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import icechunk
import numpy as np
import pytest
import zarr

from affstore import FeatureStore, FrameWindows, content_digest
from affstore.flows.cli import call
from affstore.store.contract.errors import ConflictError, SchemaError, StoreError
from affstore.store.contract.records import Address
from affstore.store.contract.schema import layout_version
from affstore.store.contract.windows import WindowSpec
from affstore.store.engine.exporters.base import export
from affstore.store.engine.upgrade import plan_upgrade, upgrade
from affstore.store.engine.writers import marked_as_writing
from tests.factories import commit, source, visual

OLD_STORE = Path(__file__).parent / "fixtures" / "store_layout1.tar.xz"
"""Written by icechunk 1.1.21, zarr 3.1.6 and affstore as of layout 1: two videos, three artifacts of them, a head, a
quarantined file, and a tag on an earlier snapshot."""
OLD_DIGEST = "14f6ba6c3ed11d86861f5991bf703a0430972f5b7d900f2ac423b7b023b6dfa1"


@pytest.fixture
def old_url(tmp_path) -> str:
    with tarfile.open(OLD_STORE) as archive:
        archive.extractall(tmp_path, filter="data")
    return str(tmp_path / "store")


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """A store of one video with a chunk of every kind: in blocks, packed, and of a mask."""
    folder = tmp_path_factory.mktemp("damage") / "store"
    rng = np.random.default_rng(0)
    face = visual("a", 1300, 16)
    arrays = {"present": rng.random(1300) < 0.6, "logits": rng.standard_normal((1300, 4)).astype(np.float32)}
    commit(FeatureStore.create(str(folder)), source("a", 1300), replace(face, arrays={**face.arrays, **arrays}))
    return folder


def everything(url: str) -> dict[str, bytes]:
    """All numbers of a store by every way of reading: whole, in windows, and as xarray and plain zarr do."""
    store = FeatureStore(url)
    found = {}
    for record in store.records():
        found[str(record.address)] = str(asdict(record)).encode()
        for name, array in store.read(record.address).items():
            found[f"{record.address}/{name}"] = array.tobytes()
    windows = FrameWindows(FeatureStore(url), store.records("visual"), WindowSpec())
    for number, window in enumerate(windows.__getitems__(list(range(len(windows))))):
        found[f"window {number}"] = window.embedding.numpy().tobytes() + window.present.numpy().tobytes()
    return found


@contextmanager
def flipped(path: Path, bit: int) -> Iterator[None]:
    """A file with one of its bits turned."""
    was = path.read_bytes()
    damaged = bytearray(was)
    damaged[bit // 8] ^= 1 << bit % 8
    path.write_bytes(damaged)
    yield
    path.write_bytes(was)


def random_flips(folder: Path, kind: str, count: int) -> Iterator[tuple[Path, int]]:
    """So many bits of the files of a kind, each bit as likely as any other."""
    files = sorted(path for path in (folder / kind).rglob("*") if path.is_file())
    ends = np.cumsum([8 * path.stat().st_size for path in files])
    for bit in np.random.default_rng(len(kind)).integers(0, ends[-1], count):
        place = int(np.searchsorted(ends, bit, side="right"))
        yield files[place], int(bit - (ends[place - 1] if place else 0))


def outcomes(folder: Path, kind: str, count: int) -> dict[str, int]:
    """What becomes of reading everything after one flip, `count` times."""
    right = everything(str(folder))
    tally = {"found": 0, "right": 0, "wrong": 0, "without a name": 0}
    for path, bit in random_flips(folder, kind, count):
        with flipped(path, bit):
            try:
                tally["right" if everything(str(folder)) == right else "wrong"] += 1
            except StoreError as error:
                names_it = str(error).startswith(("'visual/toy/a/main", "'source/a"))
                tally["found" if names_it or kind != "chunks" else "without a name"] += 1
    return tally


@pytest.mark.parametrize("count", [40, pytest.param(500, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
def test_every_flipped_bit_of_a_chunk_is_found(written, count):
    assert outcomes(written, "chunks", count) == {"found": count, "right": 0, "wrong": 0, "without a name": 0}


@pytest.mark.parametrize("kind", ["manifests", "snapshots", "transactions"])
@pytest.mark.parametrize("count", [15, pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
def test_a_flipped_bit_of_what_leads_to_the_chunks_gives_no_wrong_number(written, kind, count):
    assert outcomes(written, kind, count)["wrong"] == 0


@pytest.mark.parametrize("way", ["zarr", "parquet", "plain zarr"])
def test_damage_is_found_by_exports_and_by_plain_zarr_and_names_the_artifact(written, way, tmp_path):
    folder = tmp_path / "store"
    shutil.copytree(written, folder)
    largest = max((folder / "chunks").iterdir(), key=lambda path: path.stat().st_size)
    damaged = bytearray(largest.read_bytes())
    damaged[3000] ^= 1
    largest.write_bytes(damaged)
    store = FeatureStore(str(folder))
    if way == "plain zarr":
        with pytest.raises(ValueError, match="checksum do not match"):
            store.group(Address("visual", "toy", "a", "main"))["embedding"][...]
    else:
        with pytest.raises(StoreError, match=r"'visual/toy/a/main/embedding' is damaged: the checksum of its bytes"):
            export(store, store.records(), tmp_path / "out", way)


def test_a_chunk_that_is_gone_is_damage_and_not_zeros(written, tmp_path):
    folder = tmp_path / "store"
    shutil.copytree(written, folder)
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(folder)))
    for number, name in enumerate(("embedding/c/0/0", "logits/c/0/0")):
        session = repository.writable_session("main")
        zarr.core.sync.sync(session.store.delete(f"visual/toy/a/main/{name}"))
        session.commit("by another program")
        with pytest.raises(StoreError, match=r"'visual/toy/a/main/(embedding|logits)' is damaged"):
            FeatureStore(str(folder)).read(Address("visual", "toy", "a", "main"), [name.split("/")[0]], slice(3, 9))
        assert number < 2


def altered(url: str, path: str, change, *, fresh_checksum: bool) -> None:
    """Another program rewrites the attributes of a group."""
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(url))
    session = repository.writable_session("main")
    group = zarr.open_group(session.store, mode="a")[path]
    attributes = dict(group.attrs)
    change(attributes)
    if fresh_checksum and isinstance(attributes.get("affstore"), dict):
        attributes["affstore"].pop("checksum", None)
    group.attrs.put(attributes)
    session.commit("by another program")


DAMAGES = {
    "version as text": ("source/a", lambda a: a["affstore"].update(version="1"), "'version' of its record is '1'"),
    "frames as text": ("source/a", lambda a: a.update(frames="40"), "needs a whole number .* 'frames'; found '40'"),
    "aliases null": ("source/a", lambda a: a.update(aliases=None), "a list of texts as attribute 'aliases'"),
    "sha256 missing": ("source/a", lambda a: a.pop("sha256"), "needs the attribute 'sha256'"),
    "10^15 frames": ("visual/toy/a/main", lambda a: a.update(frames=10**15), "'frames'; found 1000000000000000"),
    "no record": ("source/a", lambda a: a.pop("affstore"), "its record is missing"),
    "record a list": ("source/a", lambda a: a.update(affstore=[1]), "its record is missing"),
    "parents a number": ("visual/toy/a/main", lambda a: a["affstore"].update(parents=[3]), "'parents' .* holds 3"),
    "digest null": ("visual/toy/a/main", lambda a: a["affstore"].update(digest=None), "'digest' of its record is None"),
    "record of another": (
        "source/a",
        lambda a: a["affstore"].update(path="source/b"),
        "its record is that of 'source/b'",
    ),
    "time base of zero": ("source/a", lambda a: a.update(time_base=[1, 0]), "two whole numbers .* 'time_base'"),
}


PLAN = ("plan", "--weights", "untrained")


@pytest.mark.parametrize(
    "command", [("status",), ("export", "--to", "parquet"), pytest.param(PLAN, marks=[pytest.mark.slow])]
)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_record_is_one_sentence_in_every_command(damage, command, tmp_path, capsys):
    url = str(tmp_path / "store")
    commit(FeatureStore.create(url), source("a"), visual("a"))
    path, change, message = DAMAGES[damage]
    altered(url, path, change, fresh_checksum=True)
    with pytest.raises(SchemaError, match=f"'{path}' is damaged: .*{message}"):
        FeatureStore(url).records()
    words = [str(tmp_path / "out")] if command[0] == "export" else []
    capsys.readouterr()
    assert call([*command, *words, "--store", url]) == 4
    *before, said = capsys.readouterr().err.splitlines()
    assert said.startswith(f"affstore: '{path}' is damaged")
    assert before in ([], ["comparing the store with what is asked …"])


def test_a_record_that_another_program_changed_is_not_believed(tmp_path):
    url = str(tmp_path / "store")
    commit(FeatureStore.create(url), source("a"))
    altered(url, "source/a", lambda attributes: attributes.update(end_pts=7), fresh_checksum=False)
    with pytest.raises(SchemaError, match="'source/a' is damaged: the checksum of its record differs"):
        FeatureStore(url).records()


@pytest.mark.parametrize("path", ["visual/t/y/a/main", "vistal/toy/a/main", "visual/toy/a"])
def test_an_artifact_does_not_vanish_from_a_list_with_a_turned_bit(path, tmp_path):
    url = str(tmp_path / "store")
    commit(FeatureStore.create(url), source("a"))
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(url))
    session = repository.writable_session("main")
    zarr.open_group(session.store, mode="a").require_group(path).create_array("embedding", shape=(2,), dtype="f4")
    session.commit("as if its path had been another")
    for ask in (FeatureStore.records, FeatureStore.addresses, lambda store: store.get(visual("a").address)):
        with pytest.raises(StoreError, match=rf"damaged.*'{path}.*' is where no artifact can be"):
            ask(FeatureStore(url))


def test_windows_of_a_record_with_other_frames_than_its_rows_are_refused(tmp_path):
    url = str(tmp_path / "store")
    commit(FeatureStore.create(url), source("a"), visual("a"))
    altered(url, "visual/toy/a/main", lambda attributes: attributes.update(frames=400), fresh_checksum=True)
    store = FeatureStore(url)
    with pytest.raises(SchemaError, match="must have 400 along 'frame'; found 40"):
        FrameWindows(store, store.records("visual"))[0]


def test_a_store_of_layout_1_is_read_as_it_is(old_url):
    store = FeatureStore(old_url)
    assert store.layout == 1
    assert content_digest(store) == OLD_DIGEST
    for record in store.records():
        store.read(record.address)
    windows = FrameWindows(store, store.records("visual"), WindowSpec(length=64, stride=50))
    whole = store.read(windows.records[0].address)["embedding"]
    np.testing.assert_array_equal(windows[3].embedding.numpy(), whole[150:214])
    earlier = FeatureStore(old_url, "first")
    assert len(earlier.records()) == 2
    later = commit(store, source("c"), visual("c"))
    assert later.layout == 1, "it can be written to as well"
    assert len(later.read(visual("c").address)["embedding"]) == 40


def test_a_damaged_chunk_of_an_old_store_is_found_when_it_is_read_whole(old_url):
    for path in Path(old_url, "chunks").iterdir():
        damaged = bytearray(path.read_bytes())
        damaged[len(damaged) // 2] ^= 16
        path.write_bytes(damaged)
    store = FeatureStore(old_url)
    with pytest.raises(StoreError, match="'visual/toy/a/main' is damaged: the digest of its arrays"):
        store.read(Address("visual", "toy", "a", "main"))
    with pytest.raises(StoreError, match="is damaged"):
        upgrade(old_url)
    assert FeatureStore(old_url).layout == 1


def test_no_store_is_upgraded_under_a_run(old_url, capsys):
    with marked_as_writing(old_url):
        assert call(["upgrade", old_url]) == 4
    assert "Another run is writing to the store" in capsys.readouterr().err
    assert plan_upgrade(old_url).is_needed
    draft = FeatureStore(old_url).draft({}, "run")
    with pytest.raises(ConflictError, match="Wait until it has ended"):
        upgrade(old_url)
    draft.release()
    assert call(["upgrade", old_url]) == 0


def test_an_upgrade_keeps_every_number_key_and_tag_and_gives_every_chunk_a_checksum(old_url, capsys):
    before = FeatureStore(old_url)
    numbers = {record.address: before.read(record.address) for record in before.records()}
    assert call(["upgrade", old_url, "--dry-run"]) == 0
    assert "layout 1 would be brought to 2, 6 artifacts" in capsys.readouterr().out.replace("\n", " ")
    assert FeatureStore(old_url).layout == 1
    assert call(["upgrade", old_url]) == 0
    store = FeatureStore(old_url)
    assert store.layout == layout_version()
    assert content_digest(store) == OLD_DIGEST
    assert before.records() == store.records()
    for address, arrays in numbers.items():
        for name, array in store.read(address).items():
            np.testing.assert_array_equal(array, arrays[name])
    assert len(FeatureStore(old_url, "first").records()) == 2
    assert not plan_upgrade(old_url).is_needed
    assert call(["upgrade", old_url]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert outcomes(Path(old_url), "snapshots", 3)["wrong"] == 0
    names = {
        name
        for r in store.records()
        for name, array in store.group(r.address).arrays()
        if "affstore" not in array.attrs
    }
    assert names == set()


KILLED = """
import os, signal, sys
from affstore.store.engine import upgrade
import icechunk

moment, url = sys.argv[1:]
owner, name = {"writing": (upgrade, "write_record"), "committed": (icechunk.Session, "commit")}[moment]
real, calls = getattr(owner, name), []

def until_killed(*arguments, **options):
    calls.append(real(*arguments, **options))
    if moment == "committed" or len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)

setattr(owner, name, until_killed)
upgrade.upgrade(url)
"""


@pytest.mark.parametrize(("moment", "layout"), [("writing", 1), ("committed", 2)])
def test_a_killed_upgrade_leaves_the_old_state_or_the_new_one(old_url, moment, layout):
    assert subprocess.run([sys.executable, "-c", KILLED, moment, old_url], check=False).returncode == -signal.SIGKILL
    store = FeatureStore(old_url)
    assert (store.layout, content_digest(store)) == (layout, OLD_DIGEST)
    upgrade(old_url)
    assert not plan_upgrade(old_url).is_needed
    assert content_digest(FeatureStore(old_url)) == OLD_DIGEST
