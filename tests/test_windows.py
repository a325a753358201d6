"""Windows over several embeddings with labels, as a torch loader reads them."""

from __future__ import annotations

import pickle
import tracemalloc
from dataclasses import replace
from uuid import uuid4

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from affstore import FeatureStore, FrameWindows, WindowSpec
from affstore.store.contract.errors import NotFoundError, SpecError
from affstore.store.contract.labels import AU, EXPR, VA
from affstore.store.contract.records import Address, Artifact
from affstore.store.engine import windows as windows_module
from affstore.store.engine.windows import UNKNOWN
from tests.factories import commit, label, source, visual

LENGTHS = (1, 7, 16, 23, 40, 64)


def face(video: int, frames: int, extractor: str = "faces", subject: str = "main") -> Artifact:
    """An embedding whose rows say of which video and frame they are."""
    found = visual(str(video), frames, width=2, extractor=extractor)
    rows = np.stack([np.full(frames, video), np.arange(frames)], axis=1).astype(np.float32)
    address = replace(found.address, subject=subject)
    return replace(found, address=address, arrays={**found.arrays, "embedding": rows})


def sound(video: int, frames: int) -> Artifact:
    """Three numbers a frame; the first frame is silent."""
    rows = np.random.default_rng(video).normal(size=(frames, 3)).astype(np.float32)
    rows[0] = 0
    present = np.arange(frames) > 0
    attributes = {"frames": frames, "vectors": 1, "complaint": None}
    arrays = {"embedding": rows, "present": present}
    return Artifact(Address("audio", "sounds", str(video)), {"of": video}, arrays, attributes)


def classes(video: int, frames: int) -> np.ndarray:
    """A class a frame; every third is not known."""
    return np.where(np.arange(frames) % 3 == 2, np.nan, (np.arange(frames) + video) % 8)[:, None]


@pytest.fixture(scope="module")
def store() -> FeatureStore:
    artifacts = [source(str(video), frames) for video, frames in enumerate(LENGTHS)]
    artifacts += [face(video, frames) for video, frames in enumerate(LENGTHS)]
    artifacts += [sound(video, frames) for video, frames in enumerate(LENGTHS) if video != 2]
    artifacts += [label(str(v), EXPR, classes(v, frames)) for v, frames in enumerate(LENGTHS) if v != 3]
    artifacts += [label("4", VA, np.full((40, 2), [0.5, np.nan]))]
    return commit(FeatureStore.create(f"memory:{uuid4().hex}"), *artifacts)


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_windows_with_a_stride_hold_every_frame_of_every_video_and_never_two_videos(store, data):
    length = data.draw(st.integers(1, 70))
    spec = WindowSpec(length, data.draw(st.integers(1, length)))
    faces = store.records("visual")
    chosen = data.draw(st.lists(st.sampled_from(range(len(faces))), min_size=1, unique=True))
    windows = FrameWindows(store, [*(faces[i] for i in chosen), *store.records("audio", video="4")], spec, ["expr"])
    seen: dict[str, set[int]] = {}
    for window in windows.__getitems__(range(len(windows))):
        video, _ = windows.videos[window.video]
        there = window.masks["faces"].numpy()
        rows = window.embeddings["faces"].numpy()[there]
        assert (rows[:, 0] == int(video)).all()
        assert rows[:, 1].tolist() == list(range(window.start, window.start + len(rows)))
        assert not there[len(rows) :].any()
        seen.setdefault(video, set()).update(rows[:, 1].astype(int).tolist())
        if video == "3":
            assert not window.known["expr"].any()
        else:
            truth = classes(int(video), LENGTHS[int(video)])[window.start : window.start + length, 0]
            known = window.known["expr"].numpy()[: len(truth), 0]
            np.testing.assert_array_equal(known, np.isfinite(truth))
            np.testing.assert_array_equal(window.labels["expr"].numpy()[: len(truth), 0][known], truth[known])
    for number in chosen:
        assert seen[str(number)] == set(range(LENGTHS[number]))


def test_a_window_has_face_and_sound_by_name_and_side_by_side(store):
    windows = FrameWindows(store, store.records("visual", "audio"), WindowSpec(16, 8), ["expr", "va"])
    assert windows.extractors == ("sounds", "faces")
    for window in windows:
        video, subject = windows.videos[window.video]
        assert subject == "main"
        assert window.embedding.shape == (16, 5)
        assert torch.equal(window.embedding, torch.cat([window.embeddings[name] for name in windows.extractors], -1))
        assert torch.equal(window.present, window.masks["faces"] & window.masks["sounds"])
        stop = window.start + 16
        if video == "2":
            assert not window.masks["sounds"].any()
            assert not window.embeddings["sounds"].any()
        else:
            stored = store.read(Address("audio", "sounds", video), rows=slice(window.start, stop))
            np.testing.assert_array_equal(window.embeddings["sounds"][: len(stored["present"])], stored["embedding"])
            np.testing.assert_array_equal(window.masks["sounds"][: len(stored["present"])], stored["present"])


def test_a_label_that_is_not_known_is_what_losses_ignore_or_nan_and_never_a_class(store):
    windows = FrameWindows(store, store.records("visual"), WindowSpec(16, 16), ["expr", "va"])
    for window in windows:
        assert window.labels["expr"].dtype == torch.int64
        assert (window.labels["expr"][~window.known["expr"]] == UNKNOWN).all()
        assert torch.isnan(window.labels["va"][~window.known["va"]]).all()
        assert window.known["va"].any() == (windows.videos[window.video][0] == "4")
    batch = next(iter(DataLoader(windows, batch_size=len(windows))))
    logits = torch.zeros(len(windows), 16, 8)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch.labels["expr"].flatten())
    assert loss.item() == pytest.approx(np.log(8))


def test_a_batch_of_a_loader_has_the_names_of_a_window_and_its_rows(store):
    windows = FrameWindows(store, store.records("visual", "audio"), WindowSpec(16, 8), "expr")
    batches = list(DataLoader(windows, batch_size=4))
    for of in (lambda one: one.embedding, lambda one: one.present, lambda one: one.labels["expr"]):
        assert torch.equal(torch.cat([of(batch) for batch in batches]), torch.stack([of(window) for window in windows]))
    assert torch.cat([one.start for one in batches]).tolist() == [window.start for window in windows]
    again = pickle.loads(pickle.dumps(windows))
    assert torch.equal(again[5].embedding, windows[5].embedding)
    assert torch.equal(again[5].labels["expr"], windows[5].labels["expr"])


def test_sound_stands_beside_each_subject_of_its_video_and_alone_where_no_face_is(store):
    two = commit(store, face(4, 40, subject="left"), label("4", AU, np.ones((40, 12)), subject="left"))
    windows = FrameWindows(two, [*two.records("visual", video="4"), *two.records("audio")], WindowSpec(40, 40), ["au"])
    assert windows.videos[:2] == (("4", "left"), ("4", "main"))
    assert torch.equal(windows[0].embeddings["sounds"], windows[1].embeddings["sounds"])
    assert (windows[0].known["au"].all(), windows[1].known["au"].any()) == (True, False)
    assert ("5", "main") in windows.videos
    assert not windows[len(windows) - 1].masks["faces"].any()


def test_what_cannot_be_walked_over_is_refused_before_anything_is_read(store):
    faces = store.records("visual")
    with pytest.raises(NotFoundError, match=r"None of the 6 videos has labels of 'au'. The store's labels: expr, va"):
        FrameWindows(store, faces, labels=["au"])
    with pytest.raises(SpecError, match=r"'source/0' has no embedding"):
        FrameWindows(store, store.records("source"))
    with pytest.raises(SpecError, match=r"'1' has two embeddings by 'faces' among the records"):
        FrameWindows(store, [*faces, faces[1]])
    longer = commit(store, source("4", 41), label("4", EXPR, classes(4, 41)))
    with pytest.raises(SpecError, match=r"'label/expr/4/main' has 41 frames, and others of '4' have 40"):
        FrameWindows(longer, faces, labels=["expr"])


def test_what_is_kept_of_masks_and_labels_has_a_limit_and_changes_nothing(store, monkeypatch):
    whole = FrameWindows(store, store.records("visual"), WindowSpec(16, 8), ["expr"])
    expected = [window.labels["expr"] for window in whole]
    monkeypatch.setattr(windows_module, "_MOST_BYTES", 100)
    bounded = FrameWindows(store, store.records("visual"), WindowSpec(16, 8), ["expr"])
    order = np.random.default_rng(0).permutation(len(bounded))
    for index in order:
        assert torch.equal(bounded[int(index)].labels["expr"], expected[index])
        assert bounded._whole.bytes <= 100
    assert whole._whole.bytes > 100


def test_a_walk_over_all_windows_holds_a_batch_and_not_the_store():
    frames, videos = 1000, 10
    artifacts = [visual(f"v{number}", frames, width=512) for number in range(videos)]
    store = FeatureStore.create(f"memory:{uuid4().hex}")
    store = commit(store, *(source(f"v{number}", frames) for number in range(videos)), *artifacts)
    windows = FrameWindows(store, store.records("visual"), WindowSpec(50, 50))
    del artifacts
    tracemalloc.start()
    for batch in DataLoader(windows, batch_size=8):
        assert batch.embedding.shape == (8, 50, 512)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < frames * videos * 512 * 4 / 2  # a batch of 0.8 MB several times over, and nothing of 20 MB


def test_windows_and_a_window_are_shown_in_one_line(store):
    windows = FrameWindows(store, store.records("visual", "audio"), WindowSpec(16, 8), ["expr"])
    what = "16 frames, every 8, of 6 videos or subjects: sounds, faces; labels: expr"
    assert repr(windows) == f"<FrameWindows: {len(windows)} windows of {what}>"
    assert repr(windows[0]) == "<Window of video 0 from frame 0: sounds (16, 3), faces (16, 2), expr (16, 1)>"
    (batch,) = DataLoader(windows, batch_size=len(windows))
    assert len(repr(batch)) < 150
