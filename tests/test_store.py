"""The transactional store: what it accepts, what it gives back, and what nobody may ever see."""

from __future__ import annotations

import datetime
import errno
import fcntl
import gc
import multiprocessing
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import zarr

from affstore import FeatureStore, FrameWindows, catalogue, content_digest, read_video
from affstore.store.contract.errors import (
    ConflictError,
    NewerSchemaError,
    NotFoundError,
    SchemaError,
    SpecError,
    StoreError,
    StoreUnavailableError,
    StoreUnreachableError,
    UnknownNameError,
)
from affstore.store.contract.files import locked
from affstore.store.contract.records import Address
from affstore.store.contract.windows import WindowSpec
from affstore.store.engine import listing
from affstore.store.engine.exporters.base import export
from affstore.store.engine.handles import kept_open
from affstore.store.engine.history import check_history
from affstore.store.engine.writers import marked_as_writing
from affstore.tasks.lineage.verify import verify
from tests.factories import CODE, commit, source, visual
from tests.parameters import usually


@pytest.fixture(params=["folder", "memory", "s3"])
def store(request, tmp_path):
    if request.param == "s3":
        return FeatureStore.create(request.getfixturevalue("s3_url"))
    return FeatureStore.create(str(tmp_path / "store") if request.param == "folder" else f"memory:{tmp_path.name}")


@pytest.fixture
def folder_store(tmp_path):
    return FeatureStore.create(str(tmp_path / "store"))


def test_what_is_committed_is_read_back_whole(store):
    artifact = visual("a")
    store = commit(store, source("a"), artifact)
    found = store.read(artifact.address)
    assert set(found) == {"embedding", "present"}
    np.testing.assert_array_equal(found["embedding"], artifact.arrays["embedding"])
    assert store.get(artifact.address).recipe == artifact.recipe


def test_a_reader_sees_nothing_of_a_draft_until_it_is_committed(store):
    draft = store.draft(CODE, "run")
    draft.put(source("a"))
    assert store.newest().records() == []
    store.commit([draft], "a")
    assert [record.address.video for record in store.newest().records()] == ["a"]
    assert store.records() == [], "an opened store stays at its snapshot"


def test_a_draft_travels_to_another_process_and_back(store):
    if store.url.startswith("memory:"):
        pytest.skip("a store in memory lives in one process")
    draft = pickle.loads(pickle.dumps(store.draft(CODE, "run")))
    draft.put(source("a"))
    store.commit([pickle.loads(pickle.dumps(draft))], "a")
    assert store.newest().find(Address("source", video="a")) is not None


def test_replacing_an_artifact_leaves_the_old_one_in_its_snapshot(store):
    before = commit(store, source("a"), visual("a", seed=0))
    before.tag("first")
    after = commit(store, visual("a", seed=1))
    address = visual("a").address
    assert after.get(address).digest != before.get(address).digest
    old = FeatureStore(store.url, at="first")
    np.testing.assert_array_equal(old.read(address)["embedding"], visual("a", seed=0).arrays["embedding"])


def test_two_runs_that_made_the_same_artifact_agree(store):
    first, second = store.draft(CODE, "one"), store.draft(CODE, "two")
    first.put(source("a"))
    second.put(source("a"))
    store.commit([first], "one")
    store.commit([second], "two")
    assert store.newest().get(Address("source", video="a")).run_id == "one"


def test_two_runs_that_made_different_artifacts_at_one_address_do_not_overwrite_each_other(store):
    store = commit(store, source("a"))
    first, second = store.draft(CODE, "one"), store.draft(CODE, "two")
    first.put(visual("a", seed=1))
    second.put(visual("a", seed=2))
    store.commit([first], "one")
    with pytest.raises(ConflictError, match="Another run changed 'visual/toy/a/main'"):
        store.commit([second], "two")


def test_a_store_that_is_handed_to_another_process_stays_at_its_snapshot_and_can_be_asked_for_the_newest(store):
    held = commit(store, source("a"))
    later = commit(store, source("b"))
    again = pickle.loads(pickle.dumps(held))
    assert (again.snapshot, again.at, again.branch) == (held.snapshot, None, held.branch)
    assert again.newest().snapshot == later.snapshot


def test_a_store_is_opened_by_a_path_too_and_an_unknown_family_is_refused_with_the_nearest(tmp_path):
    commit(FeatureStore.create(tmp_path / "store"), source("a"))
    store = FeatureStore(tmp_path / "store")
    assert store.url == str(tmp_path / "store")
    with pytest.raises(UnknownNameError, match="mean 'visual'"):
        store.records("visuals")


def test_a_store_is_opened_at_a_time_of_its_history(store):
    commit(store, source("a"))
    middle = store.newest()
    later = commit(store, source("b"))
    written = {info.id: info.written_at for info in later.history()}
    assert FeatureStore(store.url, written[middle.snapshot].isoformat()).snapshot == middle.snapshot
    assert FeatureStore(store.url, written[later.snapshot].date().isoformat()).snapshot == later.snapshot
    local = written[middle.snapshot].astimezone(datetime.timezone(datetime.timedelta(hours=9)))
    assert FeatureStore(store.url, local.isoformat()).snapshot == middle.snapshot
    assert FeatureStore(store.url, local.isoformat()).addresses() == [Address("source", video="a")]


def test_a_state_that_the_history_does_not_have_is_one_sentence(store):
    first = store.history()[0]
    earlier = (first.written_at - datetime.timedelta(microseconds=1)).isoformat()
    for at in ("2001-01-01", "1999-12-31T23:59+01:00", earlier):
        begins = re.escape(f"its history begins at {first.written_at.isoformat()}")
        with pytest.raises(NotFoundError, match=rf"no tag, generation, snapshot or time '.*{begins}"):
            FeatureStore(store.url, at)
    for at in ("2026-13-01", "v9", "", first.id[:4], "x" * 5000):
        with pytest.raises(NotFoundError, match=r"no tag, generation, snapshot or time '.*named by its whole id"):
            FeatureStore(store.url, at)


def test_a_time_in_whole_seconds_or_minutes_means_their_end(store):
    later = commit(store, source("a"))
    written = later.history()[0].written_at
    zoned = written.astimezone(datetime.timezone(datetime.timedelta(hours=-3)))
    for time in (written, zoned, written.replace(tzinfo=None)):
        for timespec in ("hours", "minutes", "seconds", "microseconds"):
            assert FeatureStore(store.url, time.isoformat(timespec=timespec)).snapshot == later.snapshot
    begun = store.history()[0].written_at.strftime("%Y%m%dT%H%M%SZ")
    assert FeatureStore(store.url, begun).snapshot in {info.id for info in later.history()}


def test_what_the_history_begins_with_is_no_state_and_says_so(store):
    first = store.history()[-1]
    with pytest.raises(NotFoundError, match=f"In snapshot {first.id}, with which .* the store was not made yet"):
        store.state(first.id)


def test_a_tag_is_never_moved(store):
    store = commit(store, source("a"))
    store.tag("v1")
    store.tag("v1")
    later = commit(store, source("b"))
    with pytest.raises(StoreError, match="never moved"):
        later.tag("v1")


@pytest.mark.parametrize("tag", ["", "..", "a/b", "ü", "a\nb", "-v"])
def test_a_tag_that_no_folder_could_be_called_is_refused(store, tag):
    with pytest.raises(SpecError, match="cannot be tagged"):
        store.tag(tag)
    assert not store.tags()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"arrays": {"embedding": np.zeros((40, 8), np.float64)}},
            "visual.embedding' must be float32 or float16; found float64",
        ),
        ({"arrays": {"present": np.ones(39, bool)}}, "visual.present' must have 40 along 'frame'; found 39"),
        ({"arrays": {"embedding": np.zeros(40, np.float32)}}, "visual.embedding' has the axes"),
        ({"arrays": {"smile": np.zeros(40, np.float32)}}, "'visual' has no array 'smile'"),
        ({"arrays": {"embedding": np.full((40, 8), np.nan, np.float32)}}, "visual.embedding' has 320 values"),
        ({"drop": "present"}, "'visual' needs the array 'present'"),
        ({"attributes": {}}, "'visual' needs the attribute 'frames'"),
        ({"address": Address("visual", "toy", "a")}, "is no address of family 'visual'"),
    ],
)
def test_what_breaks_the_schema_is_refused_with_the_field_named(folder_store, change, message):
    from dataclasses import replace

    good = visual("a")
    arrays = {**good.arrays, **change.get("arrays", {})}
    arrays.pop(change.get("drop", ""), None)
    bad = replace(
        good,
        arrays=arrays,
        attributes=change.get("attributes", good.attributes),
        address=change.get("address", good.address),
    )
    store = commit(folder_store, source("a"))
    with pytest.raises(SchemaError, match=message.replace("(", r"\(")):
        store.draft(CODE, "run").put(bad)


def test_rows_that_are_not_the_videos_frames_are_refused(folder_store):
    store = commit(folder_store, source("a", frames=41))
    with pytest.raises(SchemaError, match="has 40 rows, but its video has 41 frames"):
        store.draft(CODE, "run").put(visual("a", frames=40))
    with pytest.raises(SchemaError, match="Add the video first"):
        store.draft(CODE, "run").put(visual("b"))


def test_a_group_that_affstore_did_not_write_is_named_on_reading(folder_store):
    import icechunk

    session = folder_store.repository.writable_session("main")
    zarr.open_group(session.store, mode="a").create_group("source/stranger")
    session.commit("by hand", rebase_with=icechunk.ConflictDetector())
    with pytest.raises(SchemaError, match="'source/stranger' is damaged: its record is missing"):
        folder_store.newest().records()


def test_a_store_of_a_newer_layout_is_refused(folder_store):
    session = folder_store.repository.writable_session("main")
    zarr.open_group(session.store, mode="a").attrs["affstore"] = {"layout": 99}
    session.commit("from the future")
    with pytest.raises(NewerSchemaError, match="layout 99"):
        folder_store.newest()


def test_no_store_is_said_so_and_not_made(tmp_path):
    with pytest.raises(NotFoundError, match="There is no store at"):
        FeatureStore(str(tmp_path / "nowhere"))
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(SpecError, match="A store cannot be at 'ftp://x/y'"):
        FeatureStore("ftp://x/y")


def test_a_place_that_cannot_be_written_is_said_so(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreUnavailableError, match="cannot be written"):
        FeatureStore.create(str(tmp_path / "file" / "store"))
    with pytest.raises(StoreUnavailableError, match="cannot be written"):
        FeatureStore.create("/proc/affstore")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to mount a small file system")
def test_a_place_where_locks_do_not_hold_is_refused(tmp_path, monkeypatch):
    def without_locks(file, how):
        raise OSError(errno.ENOLCK, "No locks available")

    for flock, sentence in ((lambda file, how: None, "two processes can hold"), (without_locks, "it has no locks")):
        monkeypatch.setattr(fcntl, "flock", flock)
        with pytest.raises(StoreUnavailableError, match=f"{sentence}.* NFS of version 4 .* or s3://"):
            FeatureStore.create(str(tmp_path / "store"))
    assert not any((tmp_path / "store").iterdir())


def test_a_full_disk_loses_nothing_that_was_stored(tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(small)], check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        store = commit(FeatureStore.create(str(small / "store")), source("a", 4000))
        draft = store.draft(CODE, "run")
        with pytest.raises(StoreUnavailableError, match="disk is full"):
            draft.put(visual("a", frames=4000, width=1280))
        draft.release()
        assert [record.address.path for record in store.newest().records()] == ["source/a"]
        np.testing.assert_array_equal(store.newest().read(Address("source", video="a"))["pts"][:2], [0, 40])
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_store_that_is_moved_away_meanwhile_is_not_made_anew_and_goes_on_where_it_is_put_back(tmp_path):
    place, elsewhere = tmp_path / "store", tmp_path / "elsewhere"
    store = commit(FeatureStore.create(str(place)), source("a", 4000))
    draft, wide = store.draft(CODE, "run"), visual("a", frames=4000, width=1280)
    place.rename(elsewhere)
    for write in (lambda: draft.put(wide), lambda: store.commit([draft], "run")):
        with pytest.raises(StoreUnreachableError, match=r"The folder of the store at .* is not there any more"):
            write()
        assert not place.exists()
    elsewhere.rename(place)
    draft.put(wide)
    store.commit([draft], "run")
    assert [record.address.family for record in store.newest().records()] == ["source", "visual"]


def _write(url, process, queue, videos):
    store = FeatureStore(url)
    for number in range(videos):
        name = f"v{process}-{number}"
        draft = store.draft(CODE, f"process {process}")
        draft.put(source(name))
        draft.put(visual(name))
        queue.put(draft)


@pytest.mark.slow
@pytest.mark.parametrize("videos", [4, 25])
def test_eight_processes_writing_videos_through_one_committer_lose_none(folder_store, videos):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    workers = [context.Process(target=_write, args=(folder_store.url, i, queue, videos)) for i in range(8)]
    for worker in workers:
        worker.start()
    waiting = []
    for _ in range(8 * videos):
        waiting.append(queue.get(timeout=120))
        if len(waiting) == 8:
            folder_store.commit(waiting, "eight videos")
            waiting = []
    for worker in workers:
        worker.join()
    assert not waiting
    store = folder_store.newest()
    assert len(store.records("source")) == len(store.records("visual")) == 8 * videos
    assert all(store.read(record.address)["present"].all() for record in store.records("visual")[::8])


def _coordinate(url, coordinator, workers, videos):
    """Eight processes write videos; this one commits them in fours, as they come."""
    context = multiprocessing.get_context("spawn")
    queue, store = context.Queue(), FeatureStore(url)
    writers = [context.Process(target=_write, args=(url, f"{coordinator}{i}", queue, videos)) for i in range(workers)]
    for writer in writers:
        writer.start()
    for _ in range(workers * videos // 4):
        store.commit([queue.get(timeout=300) for _ in range(4)], f"four videos of coordinator {coordinator}")
    for writer in writers:
        writer.join()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_sixteen_processes_of_two_coordinators_on_an_object_store_lose_none(s3_url):
    FeatureStore.create(s3_url)
    workers, videos = 8, 6
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=_coordinate, args=(s3_url, name, workers, videos)) for name in "ab"]
    for coordinator in both:
        coordinator.start()
    for coordinator in both:
        coordinator.join()
    assert [coordinator.exitcode for coordinator in both] == [0, 0]
    store = FeatureStore(s3_url)
    expected = {f"v{name}{i}-{number}" for name in "ab" for i in range(workers) for number in range(videos)}
    for family in ("source", "visual"):
        assert {record.address.video for record in store.records(family)} == expected
    assert all(store.read(record.address)["present"].all() for record in store.records("visual"))
    assert {commit.state for commit in check_history(store)} == {"whole"}
    # These embeddings were computed from nothing; nothing else is wrong.
    assert {finding.fault for finding in verify(store).findings} == {"unexplained"}


def _commit(url, process, times):
    store = FeatureStore(url)
    for number in range(times):
        commit(store, source(f"v{process}-{number}"))


@pytest.mark.parametrize("times", [3, pytest.param(10, marks=pytest.mark.slow)])
def test_four_processes_that_each_commit_to_one_folder_lose_none(folder_store, times):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_commit, args=(folder_store.url, i, times)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(folder_store.newest().records("source")) == 4 * times


def _create_10(urls, together, queue):
    for url in urls:
        together.wait(240)
        try:
            queue.put(FeatureStore.create(url).layout)
        except Exception as error:  # noqa: BLE001
            queue.put(repr(error))


@pytest.mark.parametrize("place", usually(["folder", "s3"]))
def test_processes_that_create_one_store_at_the_same_moment_all_open_it_ten_times_over(place, request, tmp_path):
    root = request.getfixturevalue("s3_url") if place == "s3" else str(tmp_path)
    urls = [f"{root}/{number}" for number in range(10)]
    context = multiprocessing.get_context("spawn")
    together, queue = context.Barrier(3), context.Queue()
    workers = [context.Process(target=_create_10, args=(urls, together, queue)) for _ in range(3)]
    for worker in workers:
        worker.start()
    layouts = {queue.get(timeout=240) for _ in range(3 * len(urls))}
    for worker in workers:
        worker.join()
    assert {FeatureStore(url).layout for url in urls} == layouts
    assert {len(FeatureStore(url).history()) for url in urls} == {2}


def test_the_content_digest_depends_on_what_is_stored_and_not_on_when_or_by_whom(tmp_path):
    one = FeatureStore.create(str(tmp_path / "one"))
    two = FeatureStore.create(str(tmp_path / "two"))
    one = commit(one, source("a"), source("b"), visual("a"), run_id="x")
    for artifact in (source("b"), source("a"), visual("a")):
        two = commit(two, artifact, run_id="y")
    assert content_digest(one) == content_digest(two)
    assert content_digest(commit(two, visual("a", seed=3))) != content_digest(one)


def test_the_catalogue_is_a_polars_frame_with_a_row_an_artifact(folder_store):
    frame = catalogue(commit(folder_store, source("a"), visual("a")))
    assert isinstance(frame, pl.DataFrame)
    assert frame.select("family", "producer", "video", "frames", "provenance").rows() == [
        ("source", "", "a", 40, None),
        ("visual", "toy", "a", 40, "untrained"),
    ]


def test_a_video_is_read_by_its_name_or_its_alias_with_its_clock_and_mask(folder_store):
    store = commit(folder_store, source("a", aliases=["copy of a"]), visual("a"))
    video = read_video(store, "copy of a", "toy")
    assert video.embedding.shape == (40, 8)
    assert video.present.all()
    assert video.clock.starts_s[1] == 0.04
    with pytest.raises(NotFoundError, match="no video 'b'"):
        read_video(store, "b", "toy")
    with pytest.raises(NotFoundError, match="It has: visual/toy/a/main"):
        read_video(store, "a", "toys")


def test_windows_cover_every_frame_of_every_video_and_pad_short_ones(folder_store):
    import torch

    store = commit(folder_store, source("a", 40), visual("a", 40), source("b", 7), visual("b", 7, seed=4))
    windows = FrameWindows(store, store.records("visual"), WindowSpec(length=16, stride=10))
    loaded = list(torch.utils.data.DataLoader(windows, batch_size=None, num_workers=0))
    assert [(window.video, window.start) for window in loaded] == [(0, 0), (0, 10), (0, 20), (0, 24), (1, 0)]
    np.testing.assert_array_equal(loaded[3].embedding, visual("a").arrays["embedding"][24:])
    assert loaded[4].present.tolist() == [True] * 7 + [False] * 9
    again = pickle.loads(pickle.dumps(windows))
    assert torch.equal(again[4].embedding, loaded[4].embedding)


@pytest.fixture
def sigchld():
    """torch leaves its own handler for the ends of children, in which this process crashed hundreds of tests later."""
    before = signal.getsignal(signal.SIGCHLD)
    yield
    signal.signal(signal.SIGCHLD, before)


@pytest.mark.usefixtures("sigchld")
def test_workers_of_a_loader_read_windows_and_forked_ones_say_how_they_could(folder_store):
    import torch

    store = commit(folder_store, source("a", 40), visual("a", 40))
    windows = FrameWindows(store, store.records("visual"), WindowSpec(length=16, stride=10))

    def starts(context: str) -> list[int]:
        workers = {"num_workers": 1, "multiprocessing_context": context, "timeout": 120}
        return [one.start for one in torch.utils.data.DataLoader(windows, batch_size=None, **workers)]

    assert starts("spawn") == [0, 10, 20, 24]
    with pytest.raises(SpecError, match=r"forked from one that used a store.*spawn"):
        starts("fork")


def test_an_export_to_zarr_opens_with_plain_zarr(folder_store, tmp_path):
    store = commit(folder_store, source("a"), visual("a"))
    export(store, store.records(), tmp_path / "out.zarr", "zarr")
    group = zarr.open_group(str(tmp_path / "out.zarr"), mode="r")
    np.testing.assert_array_equal(group["visual/toy/a/main/embedding"][:], visual("a").arrays["embedding"])
    assert group["visual/toy/a/main"].attrs["affstore"]["key"] == store.get(visual("a").address).key
    with pytest.raises(SpecError, match="not empty"):
        export(store, store.records(), tmp_path / "out.zarr", "zarr")


def test_an_export_to_parquet_has_a_row_a_frame(folder_store, tmp_path):
    store = commit(folder_store, source("a"), visual("a"), source("b", 7), visual("b", 7, seed=4))
    files = export(store, store.records("visual"), tmp_path / "out", "parquet")
    frame = pl.read_parquet(files[0])
    assert frame.columns == ["video", "subject", "frame", "time_s", "embedding", "present"]
    assert frame.height == 47
    np.testing.assert_array_equal(
        np.stack(frame.filter(pl.col("video") == "b")["embedding"].to_list()),
        visual("b", 7, seed=4).arrays["embedding"],
    )


def test_the_store_opens_with_plain_zarr_and_xarray_through_icechunk(folder_store):
    import icechunk
    import xarray as xr

    commit(folder_store, source("a"), visual("a"))
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(folder_store.url))
    session = repository.readonly_session("main")
    dataset = xr.open_zarr(session.store, group="visual/toy/a/main", consolidated=False)
    assert dataset["embedding"].dims == ("frame", "feature")
    np.testing.assert_array_equal(dataset["embedding"].values, visual("a").arrays["embedding"])


def test_drafts_that_begin_before_any_video_of_a_network_merge_and_no_group_is_there_twice(store):
    store = commit(store, source("a"), source("b"), source("c"))
    drafts = [store.draft({}, "run") for _ in "abc"]
    for draft, video in zip(drafts, "abc", strict=True):
        draft.put(visual(video))
    store.commit(drafts[:2], "two at once")
    store.commit(drafts[2:], "one that began before them")
    newest = FeatureStore(store.url)
    paths = [path for path, _ in zarr.open_group(newest.session.store, mode="r").members(max_depth=None)]
    assert len(paths) == len(set(paths))
    assert {record.address.video for record in newest.records("visual")} == {"a", "b", "c"}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="counts threads as Linux lists them")
def test_many_drafts_that_wait_for_their_commit_need_no_thread_each(folder_store):
    videos = [f"v{number}" for number in range(40)]
    store = commit(folder_store, *map(source, videos))
    drafts = [store.draft(CODE, "run") for _ in videos]
    for draft, video in zip(drafts, videos, strict=True):
        draft.put(visual(video))
    before, most = len(os.listdir("/proc/self/task")), 0
    for draft in drafts:
        store.commit([draft], "one more")
        most = max(most, len(os.listdir("/proc/self/task")))
    assert most - before < len(drafts) / 2
    assert len(store.newest().records("visual")) == len(videos)


def test_committers_without_a_lock_may_make_the_same_groups_at_once(s3_url):
    store = commit(FeatureStore.create(s3_url), *map(source, "abcd"))
    drafts = [store.draft({}, "run") for _ in "abcd"]
    for draft, video in zip(drafts, "abcd", strict=True):
        draft.put(visual(video))
    together = threading.Barrier(len(drafts))

    def committed(draft):
        together.wait()
        return FeatureStore(s3_url).commit([draft], "one of four")

    with ThreadPoolExecutor(len(drafts)) as threads:
        assert len(set(threads.map(committed, drafts))) == len(drafts)
    newest = FeatureStore(s3_url)
    paths = [path for path, _ in zarr.open_group(newest.session.store, mode="r").members(max_depth=None)]
    assert len(paths) == len(set(paths))
    assert {record.address.video for record in newest.records("visual")} == set("abcd")


def test_a_process_keeps_few_stores_open_and_finds_each_of_many_as_it_is_now(tmp_path):
    urls = [FeatureStore.create(str(tmp_path / f"store{number}")).url for number in range(10)]
    repositories = [weakref.ref(kept_open(url).repository) for url in urls]
    gc.collect()
    assert [repository() is not None for repository in repositories] == [False] * 6 + [True] * 4
    assert kept_open(urls[-1]).repository is repositories[-1](), "one in use is not opened again"
    for url in urls:
        before = kept_open(url)
        before.tag("first")
        commit(FeatureStore(url), source("a"))
        assert (len(kept_open(url).records()), kept_open(url, "first").records()) == (1, [])


def test_a_snapshot_s_records_are_read_once_by_all_who_ask_for_its_newest_state(tmp_path, monkeypatch):
    url = FeatureStore.create(str(tmp_path / "store")).url
    commit(kept_open(url), source("a"), source("b"))
    read, real = [], listing.read_documents

    def noted(session, paths):
        read.extend(path for path in paths if path)  # the root's, which tells the layout, is no record
        return real(session, paths)

    monkeypatch.setattr(listing, "read_documents", noted)
    for _ in range(3):
        assert len(kept_open(url).records()) == len(kept_open(url).newest().records()) == 2
    assert sorted(read) == ["source/a", "source/b"]
    commit(kept_open(url), source("c"))
    read.clear()  # a commit reads what it wrote
    for _ in range(2):
        assert len(kept_open(url).records()) == 3
    assert read == ["source/c"], "what the commit left as it was is known"
    old = kept_open(url)
    old.tag("old")
    commit(old, replace(source("a"), recipe={"bytes": "others"}))
    read.clear()
    assert kept_open(url).get(Address("source", video="a")).key != old.get(Address("source", video="a")).key
    assert kept_open(url, "old").records() == old.records()
    assert read == ["source/a"]


def test_threads_that_open_stores_at_once_each_get_the_one_they_asked_for(tmp_path):
    urls = [FeatureStore.create(str(tmp_path / f"store{number}")).url for number in range(6)]
    with ThreadPoolExecutor(4) as threads:
        assert [store.url for store in threads.map(kept_open, urls * 10)] == urls * 10


def test_a_relative_address_is_that_of_the_working_folder(tmp_path, monkeypatch):
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        commit(FeatureStore.create("a-store"), source(folder))
        assert [one.address.video for one in kept_open("a-store").records()] == [folder]
    whole = str(tmp_path / "here" / "a-store")
    commit(kept_open(whole), visual("here"))  # which a handle with the address `a-store` would not find from there
    assert len(kept_open(whole).records()) == 2


def test_a_store_is_written_where_shared_locks_need_a_file_that_can_be_read(tmp_path, monkeypatch):
    """The rule of Linux's client of NFS version 4, in `nfs4_proc_lock`."""
    lock = fcntl.flock

    def of_nfs(file, kind):
        mode = fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE
        if mode == (os.O_WRONLY if kind & fcntl.LOCK_SH else os.O_RDONLY):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        lock(file, kind)

    monkeypatch.setattr(fcntl, "flock", of_nfs)
    store = commit(FeatureStore.create(str(tmp_path / "store")), source("a"))
    with marked_as_writing(store.url):
        assert [one.video for one in commit(store, source("b")).addresses()] == ["a", "b"]


def test_a_lock_is_let_go_though_a_process_that_was_forked_meanwhile_lives(tmp_path):
    with locked(tmp_path / "lock"):
        child = os.fork()
        if not child:
            signal.pause()
            os._exit(0)
    try:
        with (tmp_path / "lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
