"""Videos and sounds as they are, not as their headers say."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affstore.models.media.container import Decoding
from affstore.models.media.sound import SOUND, read_sound, read_sounds, sound_facts
from affstore.models.media.video import DECODE, frames, probe
from affstore.store.contract.clock import FrameClock
from affstore.store.contract.errors import MediaError
from affstore.store.contract.keys import plain
from tests.parameters import usually

RED, GREEN, BLUE, WHITE = (220, 30, 30), (30, 200, 30), (30, 30, 220), (230, 230, 230)
NOT_VIDEOS = {
    "odd/chunk_out_of_range.mp4": "cannot be read",
    "odd/invalid_userdata.mp4": "declares 5544 frames, but not one frame can be decoded",
    "odd/zero_empty_stsc.mp4": "declares 1040 frames, but not one frame can be decoded",
    "odd/malformed-join.mp3": "a cover picture or a still picture, but no video",
    "odd/with-attached-pic.mp3": "a cover picture or a still picture, but no video",
    "odd/multiple-aac-tracks.mp4": "has sound but no video",
    "photo/portrait.jpg": "is a still picture, not a video",
    "photo/astronaut.png": "is a still picture, not a video",
    "photo/truncated.jpg": "is a still picture, not a video",
    "photo/testing_with_face_landmarks.xml": "cannot be read",
    "speech/jfk.wav": "has sound but no video",
}


def quadrants(width=64, height=48):
    """Red, green over blue, white."""
    picture = np.empty((height, width, 3), np.uint8)
    top, left = height // 2, width // 2
    picture[:top, :left], picture[:top, left:] = RED, GREEN
    picture[top:, :left], picture[top:, left:] = BLUE, WHITE
    return picture


def write_video(path, pictures, pts=None, time_base=Fraction(1, 25), *, codec="libx264", **stream_facts):
    """Write pictures at these instants; `display=(degrees, hflip)` and `aspect` go into the container."""
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=25, options={"preset": "ultrafast", "crf": "10"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = time_base
        if "aspect" in stream_facts:
            stream.codec_context.sample_aspect_ratio = stream_facts["aspect"]
        if "display" in stream_facts:
            stream.set_display_rotation(*stream_facts["display"])
        for i, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture)
            frame.pts, frame.time_base = i if pts is None else pts[i], time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_sound(path, channels, rate_hz, codec="pcm_f32le", pts=None, block=1024):
    """Write channels `(channels, samples)` in blocks; block `i` at `pts[i]` samples."""
    kind = {"pcm_u8": "u8", "pcm_s16le": "s16", "pcm_s32le": "s32", "pcm_f32le": "flt", "pcm_f64le": "dbl"}
    layout = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}[len(channels)]
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=rate_hz, layout=layout)
        converter = av.AudioResampler(kind.get(codec, "fltp"), layout, rate_hz)
        for i in range(0, channels.shape[1], block):
            part = channels[:, i : i + block].astype(np.float32)
            frame = av.AudioFrame.from_ndarray(part.T.reshape(1, -1), "flt", layout)
            frame.sample_rate, frame.time_base = rate_hz, Fraction(1, rate_hz)
            frame.pts = i if pts is None else pts[i // block]
            for converted in converter.resample(frame):
                container.mux(stream.encode(converted))
        container.mux(stream.encode())
    return path


def sine(rate_hz, seconds=1.0, hz=440):
    return np.sin(2 * np.pi * hz * np.arange(round(rate_hz * seconds)) / rate_hz).astype(np.float32)


def decoded(path):
    facts = probe(path)
    return facts, list(frames(path, facts))


def colours(picture):
    """The four corners' colours, by name."""
    names = dict(zip("RGBW", (RED, GREEN, BLUE, WHITE), strict=True))
    height, width = picture.shape[:2]
    corners = [picture[y, x] for y in (height // 4, 3 * height // 4) for x in (width // 4, 3 * width // 4)]
    return "".join(min(names, key=lambda n: np.abs(corner - np.array(names[n])).sum()) for corner in corners)


# Videos


def manifest(shared):
    return {entry["file"]: entry for entry in json.loads((shared / "media" / "manifest.json").read_text())}


USUAL_VIDEOS = (
    "face_video/yes.mkv",
    "face_video/nasa_13013.mp4",
    "odd/corrupted.mp4",
    "odd/unordered.mov",
    "odd/video_rotation_90.mp4",
    "odd/h265_10bits.mp4",
)
"""A late beginning without a declared length, several streams, damage, packets out of order, turned, another codec."""


@pytest.mark.parametrize("which", usually(["usual", "other"]))
def test_every_real_video_has_the_frames_instants_and_pictures_that_a_full_decode_finds(shared, which):
    videos = {
        name: entry["probe"]["video"]
        for name, entry in manifest(shared).items()
        if name.startswith(("face_video/", "odd/")) and name not in NOT_VIDEOS
    }
    assert len(videos) == 22
    for name in [name for name in videos if (name in USUAL_VIDEOS) == (which == "usual")]:
        found = videos[name]
        path = shared / "media" / name
        facts = probe(path)
        if len(facts.clock) * facts.width * facts.height < 1e8:  # the others would take long
            shapes = [picture.shape for picture in frames(path, facts)]
            assert shapes == [(facts.height, facts.width, 3)] * len(facts.clock), name
        assert facts.rotation_deg == found["rotation"], name
        assert facts.clock.starts_s[0] == pytest.approx(found["first_pts_s"], abs=1e-3), name
        if name != "face_video/nasa_13013.mp4":  # the manifest looked at its first video stream
            if name == "odd/corrupted.mp4":
                found |= {"frames_decoded": 49, "avg_fps": 9.8}  # the manifest's decode ended at the damaged packet
            assert len(facts.clock) == found["frames_decoded"], name
            assert facts.clock.rate_hz == pytest.approx(found["avg_fps"], rel=1e-2), name
            assert facts.declared_frames == (found["frames_declared"] or None), name
        assert (facts.complaint is None) == (name != "odd/corrupted.mp4"), facts.complaint


@pytest.mark.parametrize(("name", "why"), NOT_VIDEOS.items())
def test_what_is_not_a_video_is_refused_in_one_sentence_that_says_why(shared, name, why):
    with pytest.raises(MediaError, match=why):
        probe(shared / "media" / name)


def test_of_several_streams_the_largest_picture_and_the_richest_sound_are_taken(shared):
    facts = probe(shared / "media/face_video/nasa_13013.mp4")
    assert (facts.width, facts.height, len(facts.clock)) == (480, 270, 390)
    assert (facts.sound.rate_hz, facts.sound.channels) == (16_000, 2)


def test_frames_an_edit_list_hides_are_not_missing(shared):
    facts = probe(shared / "media/face_video/no_face.mp4")
    assert (len(facts.clock), facts.declared_frames, facts.complaint) == (95, 98, None)


def test_a_damaged_packet_costs_one_frame_and_is_said(shared):
    facts = probe(shared / "media/odd/corrupted.mp4")
    assert len(facts.clock) == 49
    assert facts.complaint == (
        "49 frames decode although 50 are declared; packets of pictures that cannot be decoded are missing: 1; "
        "1 frame is damaged."
    )


def test_a_decode_that_stops_early_is_marked(shared):
    facts = probe(shared / "cases/files/rv30_truncated.rm")
    assert len(facts.clock) == 876
    assert facts.complaint.startswith("Decoding stopped after 876 frames (Invalid data")
    assert "The sound stops after" in facts.complaint


def test_a_video_cut_short_is_marked(shared, tmp_path):
    whole = (shared / "media/face_video/yes.mkv").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) // 3])
    facts, pictures = decoded(tmp_path / "cut.mkv")
    assert 0 < len(pictures) < 65
    assert "although the file claims 2.20 s" in facts.complaint


def test_variable_frame_rates_and_late_starts_are_kept(shared):
    late = probe(shared / "media/face_video/1.mp4").clock
    assert late.starts_s[0] == pytest.approx(0.033, abs=1e-3)
    assert set(np.diff(late.pts)) == {512, 1024}


@pytest.mark.parametrize("name", ["nothing.mp4", "a folder"])
def test_what_is_no_file_is_refused(tmp_path, name):
    (tmp_path / "a folder").mkdir()
    with pytest.raises(MediaError, match="is not a file"):
        probe(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("empty.mp4", b"", "is empty"),
        ("noise.mp4", b"\x93" * 5000, "cannot be read"),
        ("notes.txt", b"a line\n" * 500, "is a text or a list of files"),
        ("list.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\na.mp4\n#EXT-X-ENDLIST\n", "is a text|cannot be"),
        ("list.ffconcat", b"ffconcat version 1.0\nfile a.mp4\n", "cannot be read|is a text"),
    ],
)
def test_texts_and_lists_are_not_opened_as_videos(tmp_path, name, content, why):
    write_video(tmp_path / "a.mp4", [quadrants()] * 3)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MediaError, match=why):
        probe(tmp_path / name)


def test_a_name_is_never_taken_for_a_protocol_or_an_option(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = write_video(tmp_path / "a.mp4", [quadrants()] * 3)
    for name in ("concat:a.mp4", "-a.mp4", "http:a.mp4", "a%03d.mp4", "ä b.mp4"):
        shutil.copy(made, name)
        assert len(probe(Path(name)).clock) == 3


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, -90])
def test_pictures_are_upright_however_the_camera_was_held(tmp_path, degrees, mirrored):
    path = write_video(tmp_path / "a.mp4", [quadrants()] * 2, display=(degrees, mirrored))
    facts, pictures = decoded(path)
    expected = np.rot90(quadrants(), degrees // 90)
    expected = expected[:, ::-1] if mirrored else expected
    assert colours(pictures[0]) == colours(expected)
    assert pictures[0].shape == expected.shape == (facts.height, facts.width, 3)
    assert pictures[0].flags.c_contiguous
    turned = np.rot90(quadrants(), facts.rotation_deg // 90)
    assert colours(turned[:, ::-1] if mirrored else turned) == colours(expected)


@pytest.mark.parametrize(("aspect", "size"), [((2, 1), (128, 48)), ((1, 2), (64, 96)), ((4, 3), (85, 48))])
def test_pixels_become_square_and_none_is_lost(tmp_path, aspect, size):
    path = write_video(tmp_path / "a.mp4", [quadrants()] * 2, aspect=Fraction(*aspect))
    facts, pictures = decoded(path)
    assert (facts.width, facts.height) == size
    assert colours(pictures[1]) == "RGBW"


def test_colours_are_those_that_were_filmed(tmp_path):
    path = write_video(tmp_path / "a.mp4", [quadrants()] * 2)
    _, pictures = decoded(path)
    np.testing.assert_allclose(pictures[0][12, 16], RED, atol=6)
    np.testing.assert_allclose(pictures[0][36, 48], WHITE, atol=6)


def test_frames_come_in_the_order_of_their_instants(tmp_path):
    """With B-frames, packets and frames are stored in another order than they play."""
    shades = [np.full((48, 64, 3), 20 + 6 * i, np.uint8) for i in range(30)]
    with av.open(tmp_path / "a.mp4", "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "3", "b-adapt": "0", "crf": "5"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for shade in shades:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shade)))
        container.mux(stream.encode())
    facts, pictures = decoded(tmp_path / "a.mp4")
    np.testing.assert_allclose([p.mean() for p in pictures], [s.mean() for s in shades], atol=3)
    np.testing.assert_array_equal(np.diff(facts.clock.starts_s).round(6), 0.04)
    assert facts.clock.duration_s == pytest.approx(30 / 25)


def test_repeated_timestamps_are_repaired_and_move_no_other_frame(tmp_path):
    """Matroska keeps milliseconds: two frames 0.2 ms apart get one timestamp."""
    pts = [0, 400, 402, 800, 1200]
    path = write_video(tmp_path / "a.mkv", [quadrants()] * 5, pts, Fraction(1, 10_000))
    facts, pictures = decoded(path)
    assert facts.clock.pts.tolist() == [0, 40, 41, 80, 120]
    assert facts.complaint.startswith("1 timestamp was missing, repeated or out of order")
    assert len(pictures) == 5


def test_missing_timestamps_are_a_step_apart(tmp_path):
    """A raw H.264 stream has no clock at all."""
    path = write_video(tmp_path / "a.h264", [quadrants()] * 10)
    facts, pictures = decoded(path)
    assert facts.complaint.startswith("10 timestamps were missing")
    assert np.unique(np.diff(facts.clock.starts_s).round(6)).tolist() == [0.04]
    assert len(pictures) == 10


def test_a_pause_between_frames_is_said_and_one_that_is_their_usual_step_is_not(tmp_path):
    pictures = [quadrants()] * 12
    paused = probe(write_video(tmp_path / "a.mkv", pictures, [*range(6), *range(35, 41)]))
    assert paused.complaint == "No new picture comes for 1.20 s from 0.20 s on."
    assert probe(write_video(tmp_path / "b.mkv", pictures, [30 * i for i in range(12)])).complaint is None


def test_films_glued_together_end_where_the_clock_jumps_back(tmp_path):
    first = write_video(tmp_path / "a.ts", [quadrants()] * 60)
    (tmp_path / "b.ts").write_bytes(first.read_bytes() * 2)
    facts, pictures = decoded(tmp_path / "b.ts")
    assert len(pictures) == len(facts.clock) == 60
    assert facts.complaint.startswith("Decoding stopped after 60 frames (its clock jumps back")


def test_smaller_frames_are_enlarged_and_marked(tmp_path):
    small = write_video(tmp_path / "a.h264", [quadrants()] * 5).read_bytes()
    large = write_video(tmp_path / "b.h264", [quadrants(128, 96)] * 5).read_bytes()
    (tmp_path / "c.h264").write_bytes(small + large)
    facts, pictures = decoded(tmp_path / "c.h264")
    assert [p.shape for p in pictures] == [(96, 128, 3)] * 10
    assert facts.complaint.endswith("5 frames are smaller than 128x96 px, and fitted into it.")
    assert {colours(p) for p in pictures} == {"RGBW"}


def test_a_file_that_changed_after_it_was_examined_is_refused(tmp_path):
    path = write_video(tmp_path / "a.mp4", [quadrants()] * 10)
    facts = probe(path)
    for other in (9, 11):
        write_video(path, [quadrants()] * other)
        with pytest.raises(MediaError, match="has changed"):
            list(frames(path, facts))


def test_decoding_twice_gives_the_same_pixels(shared):
    path = shared / "media/face_video/single_face.mp4"
    facts = probe(path)
    for one, other in zip(frames(path, facts), frames(path, facts), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_long_video_does_not_stay_in_memory(tmp_path):
    """1500 pictures of 320x240 are 346 MB; a process of its own keeps other tests' memory out of it."""
    write_video(tmp_path / "a.mp4", [quadrants(320, 240)] * 1500)
    script = (
        "import resource, sys\nfrom pathlib import Path\nfrom affstore.models.media.video import frames, probe\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "path = Path(sys.argv[1])\nfacts = probe(path)\nbefore = None\n"
        "for i, picture in enumerate(frames(path, facts)):\n    before = peak() if i == 100 else before\n"
        "print(i + 1, peak() - before)"
    )
    made = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "a.mp4"], capture_output=True, check=True, text=True
    )
    count, grown_kib = map(int, made.stdout.split())
    assert count == 1500
    assert grown_kib < 60_000


# Sounds


def test_real_sound_lasts_as_long_and_starts_when_the_manifest_says(shared):
    checked = 0
    for name, entry in manifest(shared).items():
        audio = (entry.get("probe") or {}).get("audio")
        if not audio or audio["error"] or not audio["seconds"] or "nasa" in name:
            continue
        sound = read_sound(shared / "media" / name, 16_000)
        # The manifest is of PyAV 18, which gave the last packet whole even where the container ends it earlier.
        assert -1024 / audio["rate"] - 2e-3 < sound.duration_s - audio["seconds"] < 2e-3, name
        assert float(sound.start_s) == pytest.approx(audio["first_pts_s"], abs=1e-3), name
        assert sound.complaint is None, name
        checked += 1
    assert checked >= 15


@pytest.mark.parametrize("name", ["face_video/yes.mkv", "face_video/carphone_pristine.mp4", "odd/invalid_userdata.mp4"])
def test_a_video_without_sound_has_none(shared, name):
    assert read_sound(shared / "media" / name, 16_000) is None
    assert sound_facts(shared / "media" / name) is None


def test_sound_that_starts_late_stays_late(shared):
    path = shared / "media/face_video/face_noface.mov"
    sound, facts = read_sound(path, 16_000), probe(path)
    assert sound.start_s == facts.sound.start_s == Fraction(107164, 44100)


def test_channels_are_averaged_not_summed(tmp_path):
    left = 0.8 * sine(16_000)
    path = write_sound(tmp_path / "a.wav", np.stack([left, np.zeros_like(left)]), 16_000)
    np.testing.assert_array_equal(read_sound(path, 16_000).samples, left / 2)
    both = write_sound(tmp_path / "b.wav", np.stack([left, left]), 16_000)
    np.testing.assert_array_equal(read_sound(both, 16_000).samples, left)


@pytest.mark.parametrize("channels", [1, 2, 6, 8])
@pytest.mark.parametrize("codec", ["pcm_u8", "pcm_s16le", "pcm_s32le", "pcm_f32le", "pcm_f64le"])
def test_every_kind_of_sample_means_the_same(tmp_path, codec, channels):
    wave = 0.5 * sine(16_000, 0.25)
    path = write_sound(tmp_path / "a.wav", np.tile(wave, (channels, 1)), 16_000, codec)
    np.testing.assert_allclose(read_sound(path, 16_000).samples, wave, atol=1.01 / 128 if codec == "pcm_u8" else 4e-5)


def test_eight_planes_of_sound_are_read(tmp_path):
    """PyAV itself reads outside such frames."""
    waves = np.tile(sine(48_000) / 2, (8, 1))
    waves[3] = 0  # the low-frequency channel keeps no 440 Hz
    sound = read_sound(write_sound(tmp_path / "a.mp4", waves, 48_000, "aac"), 48_000)
    heard, expected = sound.samples[4800:43_200], waves[0, 4800:43_200] * 7 / 8
    assert np.corrcoef(heard, expected)[0, 1] > 0.99
    assert heard.std() == pytest.approx(expected.std(), rel=0.05)


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_resampling_keeps_pitch_loudness_and_time(tmp_path, rate_hz):
    path = write_sound(tmp_path / "a.wav", sine(rate_hz)[None], rate_hz)
    for wanted, sound in read_sounds(path, [16_000, 48_000]).items():
        assert len(sound.samples) == wanted
        np.testing.assert_allclose(sound.samples[500:-500], sine(wanted)[500:-500], atol=1e-4)


def test_several_rates_from_one_decode_are_those_of_several_decodes(shared):
    path = shared / "media/face_video/2.mp4"
    together = read_sounds(path, [16_000, 48_000, 44_100])
    for rate, sound in together.items():
        np.testing.assert_array_equal(sound.samples, read_sound(path, rate).samples)
        assert sound.rate_hz == rate


def test_an_encoders_priming_is_not_heard(tmp_path):
    """AAC puts 1024 samples in front; the container says so and they are gone."""
    random = np.random.default_rng(0)
    wave = np.convolve(random.standard_normal(44_100), np.ones(8) / 8, "same").astype(np.float32) * 0.3
    sound = read_sound(write_sound(tmp_path / "a.mp4", wave[None], 44_100, "aac"), 44_100)
    heard = sound.samples[: len(wave)]
    shifts = np.fft.irfft(np.fft.rfft(heard, 131_072) * np.fft.rfft(wave, 131_072).conj())
    assert int(np.argmax(shifts)) + round(sound.start_s * 44_100) == 0


def test_a_gap_in_the_timestamps_is_silence_and_what_follows_is_in_time(tmp_path):
    wave = np.ones((1, 6400), np.float32) / 2
    path = write_sound(tmp_path / "a.mkv", wave, 16_000, "pcm_f32le", pts=[0, 1600, 40_000, 41_600], block=1600)
    sound = read_sound(path, 16_000)
    expected = np.concatenate([np.full(3200, 0.5), np.zeros(36_800), np.full(3200, 0.5)])
    np.testing.assert_array_equal(sound.samples, expected)
    assert sound.complaint == "2.30 s of sound are missing between packets and silent."
    assert sound.holes == ((Fraction(1, 5), Fraction(5, 2)),)


@pytest.mark.parametrize("rate_hz", [16_000, 48_000])
@settings(max_examples=30)
@given(st.lists(st.sampled_from([0, 0, 0, 704, 6400, 8016, 30_000]), min_size=1, max_size=12))
def test_frames_hear_a_sound_from_its_beginning_to_its_end_but_for_holes_of_half_a_second(
    tmp_path_factory, rate_hz, gaps
):
    pts = 16_000 + np.cumsum([0, *(1600 + gap for gap in gaps)])
    wave = np.ones((1, 1600 * len(pts)), np.float32) / 2
    path = write_sound(tmp_path_factory.mktemp("holes") / "a.mkv", wave, 16_000, pts=pts.tolist(), block=1600)
    sound = read_sound(path, rate_hz)
    frames = FrameClock.uniform(25, 250)
    holes = [(end + 1600, end + 1600 + gap) for end, gap in zip(pts[:-1].tolist(), gaps, strict=True) if gap > 8000]
    at = [frame * 16_000 / 25 for frame in range(250)]
    wanted = [16_000 <= t < pts[-1] + 1600 and not any(begin <= t < end for begin, end in holes) for t in at]
    assert sound.plays_at(frames).tolist() == wanted
    assert (sound.complaint is not None) == (sum(gaps) > 8000)


def test_overlapping_sound_is_cut(tmp_path):
    wave = np.arange(6400, dtype=np.float32)[None] / 6400
    path = write_sound(tmp_path / "a.mkv", wave, 16_000, "pcm_f32le", pts=[0, 1600, 2240, 3840], block=1600)
    heard = read_sound(path, 16_000).samples
    assert len(heard) == 5440
    np.testing.assert_array_equal(heard, np.concatenate([wave[0, :3200], wave[0, 4160:]]))


def test_timestamps_that_are_only_rounded_change_nothing(tmp_path):
    wave = sine(44_100)[None]
    jitter = [i * 1024 + (-1) ** i * 300 for i in range(44)]
    path = write_sound(tmp_path / "a.mkv", wave, 44_100, "pcm_f32le", pts=jitter)
    np.testing.assert_array_equal(read_sound(path, 44_100).samples, wave[0])
    assert SOUND.tolerance_s > Fraction(600, 44_100)


def test_samples_that_are_not_numbers_are_silent_and_said_so(tmp_path):
    wave = sine(16_000)
    wave[[100, 200, 300]] = np.nan, np.inf, -np.inf
    sound = read_sound(write_sound(tmp_path / "a.wav", wave[None], 16_000), 16_000)
    assert np.isfinite(sound.samples).all()
    assert sound.samples[[100, 200, 300]].tolist() == [0, 0, 0]
    assert sound.complaint == "Samples that are not finite, or absurdly loud, are silent: 3."


def test_damaged_packets_are_silent_and_the_rest_is_kept(shared):
    sound = read_sound(shared / "media/odd/malformed-join.mp3", 16_000)
    assert sound.duration_s > 8
    assert sound.complaint == "Packets of sound that cannot be decoded are silent: 5."


def test_the_recipes_can_go_into_keys_and_cannot_be_chosen():
    assert (plain(DECODE)["version"], plain(SOUND)["version"]) == (3, 4)
    with pytest.raises(TypeError):
        type(DECODE)(version=3)


@pytest.mark.parametrize(("codec", "ending"), [("libx264", "mp4"), ("libx265", "mp4"), ("libvpx-vp9", "webm")])
def test_a_video_is_said_to_hold_the_same_whether_its_pictures_are_smoothed_or_not(
    codec, ending, tmp_path, monkeypatch
):
    noise = np.random.default_rng(0)
    pictures = [noise.integers(0, 255, (96, 128, 3), np.uint8) // 4 + 3 * number for number in range(40)]
    whole = write_video(tmp_path / f"whole.{ending}", pictures, codec=codec).read_bytes()
    films = [tmp_path / f"whole.{ending}"]
    for number in range(12):
        turned = np.frombuffer(whole, np.uint8).copy()
        turned[noise.integers(len(whole) // 4, len(whole), 20)] ^= 0x55
        films.append(tmp_path / f"{number}.{ending}")
        films[-1].write_bytes(turned[: len(whole) - 97 * number * (number % 2)].tobytes())
    quick = [said_of(film) for film in films]
    begun = Decoding.__init__
    monkeypatch.setattr(
        Decoding, "__init__", lambda self, container, stream, looked_at=True: begun(self, container, stream)
    )
    assert [said_of(film) for film in films] == quick
    assert len(set(quick)) > 1, "the damage shows"


def said_of(film):
    try:
        facts = probe(film)
    except MediaError as error:
        return str(error)
    return facts.clock.pts.tobytes(), facts.width, facts.height, facts.declared_frames, facts.complaint
