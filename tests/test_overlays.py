"""Videos with faces and predictions drawn into them keep their instants and their sound."""

from __future__ import annotations

import weakref
from fractions import Fraction

import av
import numpy as np
import pytest

from affstore import FeatureStore
from affstore.flows.cli import call
from affstore.models.demo.film import Pictures, Recording, write_film
from affstore.models.faces.drawing import DrawnPerson, drawn
from affstore.models.media.encoding import encoder, write_video
from affstore.models.media.video import probe
from affstore.store.contract.clock import FrameClock
from affstore.store.contract.labels import AU, EXPR, VA, space_of
from affstore.store.contract.records import Address, Artifact
from affstore.store.engine.exporters.base import Written, export
from affstore.tasks.exporters.overlay import in_words
from affstore.tasks.ingest.sources import source_artifact
from tests.factories import commit, decisions_of

SIZE = (96, 80)
UNEVEN = FrameClock(np.cumsum([0, 40, 40, 80, 17, 63, 40, 40, 200, 40]).astype(np.int64), Fraction(1, 1000), 600)
COUNT = len(UNEVEN)
SOUND = Recording(np.sin(np.arange(9600) / 8).astype(np.float32) / 2, 16_000)


def grey(count=COUNT, size=SIZE):
    return [np.full((size[1], size[0], 3), 40 + 4 * index, np.uint8) for index in range(count)]


def filmed(path, recording=SOUND, suffix=".mp4"):
    """A film of even greys at uneven instants, as it lies in a store."""
    file = path.with_suffix(suffix)
    write_film(file, Pictures(grey(), SIZE, UNEVEN), recording)
    return source_artifact(path.name, file, "0" * 64, probe(file))


def face(video, present):
    box = np.where(present[:, None], np.float32([20, 30, 60, 70]), 0).astype(np.float32)
    landmark = np.zeros((COUNT, 5, 2), np.float32)
    arrays = {"box": box, "landmark": landmark, "score": present.astype(np.float32), "present": present}
    address = Address("face", "mtcnn", video, "main")
    return Artifact(address, {"of": video}, arrays, {"frames": COUNT, "prominent": True})


def decoded(path):
    """The pictures, their instants, and the sound of a file."""
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        base = Fraction(video.time_base)
        pictures = [(frame.pts * base, frame.to_ndarray(format="rgb24")) for frame in container.decode(video)]
    with av.open(str(path)) as container:
        heard = [frame.to_ndarray() for frame in container.decode(audio=0)] if container.streams.audio else []
    return [at for at, _ in pictures], [one for _, one in pictures], np.concatenate(heard, axis=1) if heard else None


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> FeatureStore:
    """A video with sound in which a face is there in the first five frames, and one whose file is gone."""
    folder = tmp_path_factory.mktemp("films")
    there = np.arange(COUNT) < 5
    artifacts = [filmed(folder / "here"), face("here", there), filmed(folder / "gone"), face("gone", there)]
    predicted = decisions_of(EXPR, "expr-mlp", "here", np.full(COUNT, 4), present=there)
    (folder / "gone.mp4").unlink()
    return commit(FeatureStore.create(str(folder / "store")), *artifacts, predicted)


@pytest.fixture(scope="module")
def overlay(store, tmp_path_factory):
    """Of the video that is there: its own file, and that with what is drawn."""
    folder = tmp_path_factory.mktemp("overlays") / "out"
    (path,) = export(store, store.records(video="here"), folder, "overlay")
    return store.get(Address("source", video="here")).attributes["location"], path


def test_instants_and_sound_are_those_of_the_video(overlay):
    before, after = map(decoded, overlay)
    assert after[0] == before[0] == [pts * UNEVEN.time_base for pts in UNEVEN.pts.tolist()]
    np.testing.assert_array_equal(after[2], before[2])


def test_a_face_is_drawn_where_it_is_and_nothing_where_it_is_not(overlay):
    _, before, _ = decoded(overlay[0])
    _, after, _ = decoded(overlay[1])
    apart = [np.abs(one.astype(int) - other).max(axis=2) for one, other in zip(before, after, strict=True)]
    for frame in range(5):
        assert apart[frame][40:68, 20].min() > 40, "the left edge of the box"
        assert apart[frame][72:, 66:].max() < 20, "right of and below the face"
    assert max(one.max() for one in apart[5:]) < 20


def test_pixels_are_changed_only_by_what_is_drawn():
    picture = np.full((200, 300, 3), 90, np.uint8)
    box = np.float32([[100, 120, 180, 190], [np.nan] * 4])
    person = DrawnPerson("left", np.array([True, False]), box, said=(["Happiness", None],))
    seen = drawn(picture, [person], 0)
    changed = (seen != picture).any(axis=2)
    assert changed[120:190, 100].all()
    assert changed[190, 100:181].all()
    assert not changed[125:185, 105:175].any()
    assert changed[92:119, 102:114].all(), "two lines of text above the face"
    assert not changed[:85].any()
    assert (picture == 90).all()
    np.testing.assert_array_equal(drawn(picture, [person], 1), picture)


def test_who_has_no_box_is_named_in_the_corner_one_below_the_other():
    picture = np.full((200, 300, 3), 90, np.uint8)
    people = [DrawnPerson(name, np.ones(1, bool)) for name in ("left", "right")]
    first, both = (np.flatnonzero((drawn(picture, people[:n], 0) != 90).any(axis=(1, 2))) for n in (1, 2))
    assert first[0] == both[0] == 2
    assert len(both) == 2 * len(first)


def test_a_video_whose_file_is_gone_is_left_out_and_the_others_are_written(store, tmp_path, capsys):
    assert call(["export", str(tmp_path / "out"), "--store", store.url, "--to", "overlay"]) == 3
    printed = capsys.readouterr()
    said = [line for line in (printed.out + printed.err).splitlines() if "not drawn" in line]
    assert len(said) == 1
    assert "'gone' was not drawn. '" in said[0]
    assert "is not a file" in said[0]
    assert f"Pictures were encoded by {encoder()}." in printed.out + printed.err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["here.mp4"]


@pytest.mark.parametrize("count", [COUNT, COUNT - 4])
def test_a_file_that_is_another_by_now_leaves_no_half_of_a_video(tmp_path, count):
    artifact = filmed(tmp_path / "film")
    store = commit(FeatureStore.create(str(tmp_path / "store")), artifact, face("film", np.ones(COUNT, bool)))
    clock = FrameClock.uniform(25, count)
    write_film(tmp_path / "film.mp4", Pictures(grey(count), SIZE, clock), None)
    written = export(store, store.records(), tmp_path / "out", "overlay")
    assert isinstance(written, Written)
    assert written == []
    assert "has changed" in written.left_out[0]
    assert list((tmp_path / "out").iterdir()) == []


def test_sound_that_an_mp4_cannot_hold_is_encoded_anew(tmp_path):
    with av.open(str(tmp_path / "pcm.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        wave = (SOUND.wave * 32_000).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(wave[None], "s16", "mono")
        frame.sample_rate, frame.pts = 16_000, 0
        container.mux([*stream.encode(frame), *stream.encode(None)])
    write_video(tmp_path / "out.mp4", grey(), UNEVEN, tmp_path / "pcm.mkv")
    _, _, heard = decoded(tmp_path / "out.mp4")
    assert heard.shape[1] == pytest.approx(len(SOUND.wave), abs=2048)
    assert np.corrcoef(np.sort(heard[0, :9000]), np.sort(SOUND.wave[:9000]))[0, 1] > 0.99


def test_pictures_with_odd_sides_get_a_row_and_a_column(tmp_path):
    write_video(tmp_path / "odd.mp4", grey(size=(65, 49)), UNEVEN, None)
    instants, pictures, sound = decoded(tmp_path / "odd.mp4")
    assert (len(instants), pictures[0].shape, sound) == (COUNT, (50, 66, 3), None)


def test_no_picture_is_kept_after_it_was_encoded(tmp_path):
    alive, most = set(), 0
    clock = FrameClock.uniform(25, 60)

    def pictures():
        nonlocal most
        for index in range(60):
            picture = np.full((48, 64, 3), index, np.uint8)
            alive.add(index)
            weakref.finalize(picture, alive.discard, index)
            most = max(most, len(alive))
            yield picture
            del picture

    write_video(tmp_path / "long.mp4", pictures(), clock, None)
    assert most <= 4


@pytest.mark.parametrize(
    ("space", "row", "text"),
    [
        (EXPR, [4], "Happiness"),
        (AU, [1, 0, 1] + [0] * 9, "AU1 AU4"),
        (AU, [0] * 12, "none"),
        (VA, [0.25, -0.5], "valence +0.25 arousal -0.50"),
        (space_of("facs", {"kind": "units", "names": ["AU1", "AU2"], "range": [0, 5]}), [0, 3], "AU2 3"),
    ],
)
def test_a_decision_is_written_in_words(space, row, text):
    assert in_words(space, np.array(row)) == text
