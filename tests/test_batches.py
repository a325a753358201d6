"""Batches that several videos fill together."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affstore.models.batches import SharedNetwork
from affstore.models.extractor_specs import FaceExtractorSpec, WeightsRef
from affstore.models.extractors.base import FaceExtractor, FaceOutput
from affstore.store.contract.errors import DeviceMemoryError

SPEC = FaceExtractorSpec("mean_colour", 1, 3, 2, WeightsRef("none"))


class MeanColour(FaceExtractor):
    """A network whose embedding is the mean colour, so that every row says whose it is."""

    def __init__(self, batch=4, gate=None, fails=False):
        self.spec, self.batch, self.gate, self.fails = SPEC, batch, gate, fails
        self.passes = []

    def embed(self, crops):
        if self.gate is not None:
            assert self.gate.wait(10)
        if self.fails:
            raise DeviceMemoryError("no memory")
        self.passes.append(len(crops))
        return FaceOutput(crops.reshape(len(crops), 4, 3).mean(1, dtype=np.float32))


def crop(colour):
    return np.full((2, 2, 3), colour, np.uint8)


def shared(network, threads=2):
    return SharedNetwork(network, ThreadPoolExecutor(threads), threads)


def placed(pieces):
    rows = np.concatenate([piece.rows for piece in pieces])
    return np.concatenate([piece.output.embedding for piece in pieces])[np.argsort(rows)]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 23), min_size=1, max_size=6), st.integers(1, 7), st.integers(1, 3))
def test_every_video_gets_its_own_rows_whoever_fills_the_batches_with_it(lengths, batch, threads):
    network = shared(MeanColour(batch), threads)

    def video(number):
        with network.feed() as feed:
            for row in range(lengths[number]):
                feed.add(crop(10 * number + row))
            return placed(feed.finish())

    with ThreadPoolExecutor(len(lengths)) as videos:
        for number, rows in enumerate(videos.map(video, range(len(lengths)))):
            np.testing.assert_array_equal(rows[:, 0], 10 * number + np.arange(lengths[number]))


def test_short_videos_share_a_batch():
    gate = threading.Event()
    network = MeanColour(batch=4, gate=gate)
    through = shared(network, threads=1)
    with through.feed() as first, through.feed() as second, ThreadPoolExecutor(2) as waiting:
        for row in range(4):
            first.add(crop(row))  # a full batch, held back by the gate
        first.add(crop(4))
        for row in range(3):
            second.add(crop(100 + row))
        found = [waiting.submit(feed.finish) for feed in (first, second)]
        gate.set()
        assert [len(placed(future.result(10))) for future in found] == [5, 3]
    assert network.passes == [4, 4]


def test_a_lone_video_does_not_wait_for_company():
    network = MeanColour(batch=64)
    through = shared(network)
    with through.feed() as feed, through.feed():
        feed.add(crop(7))
        assert placed(feed.finish()).tolist() == [[7, 7, 7]]
    assert network.passes == [1]


def test_a_video_without_faces_gets_no_rows_of_the_right_width():
    with shared(MeanColour()).feed() as feed:
        assert placed(feed.finish()).shape == (0, 3)


def test_who_brings_too_many_crops_waits_for_the_network():
    gate = threading.Event()
    through = shared(MeanColour(batch=2, gate=gate), threads=1)
    given = []

    def video():
        with through.feed() as feed:
            for row in range(50):
                feed.add(crop(row))
                given.append(row)
            return placed(feed.finish())

    with ThreadPoolExecutor(1) as videos:
        found = videos.submit(video)
        while len(given) < 8:  # one pass of 2 held by the gate, 6 waiting
            threading.Event().wait(0.001)
        assert not found.done()
        assert len(given) == 8
        gate.set()
        assert len(found.result(10)) == 50


def test_a_pass_that_breaks_is_told_to_every_video_in_it_and_to_nobody_else():
    network = MeanColour(batch=2, fails=True)
    through = shared(network, threads=1)
    with through.feed() as first:
        first.add(crop(1))
        with pytest.raises(DeviceMemoryError):
            first.finish()
    network.fails = False
    with through.feed() as second:
        second.add(crop(2))
        assert placed(second.finish()).tolist() == [[2, 2, 2]]


def test_a_video_that_gives_up_leaves_no_crops_behind():
    network = MeanColour(batch=4)
    through = shared(network)
    with through.feed() as feed:
        feed.add(crop(1))
    with through.feed() as feed:
        feed.add(crop(2))
        feed.finish()
    assert network.passes == [1]
