"""Videos and sounds as recorders, cameras and damage leave them."""

from __future__ import annotations

import ctypes
import hashlib
import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from PIL import Image

from affstore.models.media.sound import read_sound, sound_facts
from affstore.models.media.video import frames, probe
from affstore.store.contract.errors import MediaError
from affstore.tasks.ingest.sources import source_artifact
from tests.test_media import colours, decoded, quadrants, sine, write_sound, write_video

CORES = (1, 2, 4, 16)


def shades(count):
    """Pictures that say which they are."""
    return [np.full((48, 64, 3), 20 + 4 * i, np.uint8) for i in range(count)]


def order_of(pictures):
    """Which of `shades` each picture is."""
    return [round((picture.mean() - 20) / 4) for picture in pictures]


def write_shades(path, count=30, codec="libx264", options=None, pts=None, **facts):
    """`shades` as a video of 25 frames a second with B-frames, where the codec has them."""
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=25, options=options or {"bf": "3", "b-adapt": "0", "crf": "5"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.bit_rate = facts.get("bit_rate", 2_000_000)
        for i, shade in enumerate(shades(count)):
            frame = av.VideoFrame.from_ndarray(shade)
            frame.pts, frame.time_base = i if pts is None else pts[i], Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def rewritten(source, target, change):
    """A copy whose packets are what `change(packet, index)` makes of them; None drops one."""
    with av.open(source) as old, av.open(target, "w") as new:
        copy = new.add_stream_from_template(old.streams.video[0])
        for index, packet in enumerate(old.demux(video=0)):
            if packet.dts is not None and (packet := change(packet, index)) is not None:
                packet.stream = copy
                new.mux(packet)
    return target


def damaged(packet, content):
    """A packet with other content."""
    other = av.Packet(content)
    other.pts, other.dts, other.duration, other.time_base = (
        packet.pts, packet.dts, packet.duration, packet.time_base,
    )  # fmt: skip
    other.is_keyframe = packet.is_keyframe
    return other


def digest(path):
    """All that a file decodes to: facts, instants, pixels, sound."""
    found = hashlib.sha256()
    try:
        facts = probe(path)
    except MediaError as error:
        found.update(str(error).encode())
    else:
        found.update(repr((facts, facts.clock.pts.tolist())).encode())
        for picture in frames(path, facts):
            found.update(picture.tobytes())
    try:
        sound = read_sound(path, 16_000)
    except MediaError as error:
        found.update(str(error).encode())
    else:
        found.update(sound.samples.tobytes() + str(sound.complaint).encode() if sound else b"")
    return found.hexdigest()


@pytest.fixture
def force_cores():
    """Make FFmpeg believe that the machine has so many cores."""
    libraries = sorted((Path(av.__file__).parents[1] / "av.libs").glob("libavutil*"))
    if not libraries:
        pytest.skip("needs PyAV's own FFmpeg libraries, whose count of cores can be forced")
    library = ctypes.CDLL(str(libraries[0]))
    yield library.av_cpu_force_count
    library.av_cpu_force_count(-1)


def assert_alike(paths, force_cores):
    found = {}
    for cores in CORES:
        force_cores(cores)
        found[cores] = {path.name: digest(path) for path in paths}
    for path in paths:
        assert len({found[cores][path.name] for cores in CORES}) == 1, path.name


# On any number of cores


def test_damaged_and_whole_files_decode_alike_on_any_number_of_cores_and_every_time(tmp_path, force_cores):
    whole = write_shades(tmp_path / "whole.mp4", 40, options={"bf": "3", "g": "12", "slices": "4"})
    noise = np.random.default_rng(0)

    def scattered(packet, index):
        content = bytearray(bytes(packet))
        if index % 7 == 3:
            at = noise.integers(8, max(9, len(content)), 6)
            for place in at.tolist():
                content[min(place, len(content) - 1)] ^= 0xFF
        return damaged(packet, bytes(content))

    hurt = rewritten(whole, tmp_path / "hurt.mp4", scattered)
    stream = write_shades(tmp_path / "stream.ts", 40, options={"bf": "3", "g": "12"})
    open_start = tmp_path / "open.ts"
    open_start.write_bytes(stream.read_bytes()[188 * 20 :])
    sound = write_sound(tmp_path / "sound.flac", np.stack([sine(48_000, 2), sine(48_000, 2, 660)]), 48_000, "flac")
    cut = tmp_path / "cut.flac"
    content = bytearray(sound.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 400] = bytes(400)
    cut.write_bytes(content)
    assert_alike([whole, hurt, open_start, sound, cut], force_cores)


def test_known_troublemakers_decode_alike_on_any_number_of_cores(shared, force_cores):
    names = ("intra_first.ts", "psp_demo.pmp", "xavc_damaged.mp4")
    assert_alike([shared / "cases/files" / name for name in names], force_cores)
    assert len(probe(shared / "cases/files/intra_first.ts").clock) == 17
    assert len(probe(shared / "cases/files/xavc_damaged.mp4").clock) == 95


@pytest.mark.slow
def test_every_shared_file_decodes_alike_on_any_number_of_cores(shared, force_cores):
    files = [path for folder in ("media", "cases/files") for path in (shared / folder).rglob("*") if path.is_file()]
    assert len(files) > 80
    assert_alike(sorted(files), force_cores)


# Damage


@pytest.mark.parametrize(
    ("codec", "suffix", "content"),
    [
        ("libvpx", "webm", lambda old: old[:2]),
        ("libvpx-vp9", "webm", lambda old: b"\xff" * len(old)),
        ("mpeg4", "mp4", lambda old: bytes(len(old))),
        ("libx264", "mp4", lambda old: old[:4] + b"\xff" * (len(old) - 4)),
    ],
)
def test_one_damaged_packet_costs_one_frame(tmp_path, codec, suffix, content):
    options = {"bf": "0", "g": "10"} if codec == "libx264" else {"g": "10", "lag-in-frames": "0"}
    whole = write_shades(tmp_path / f"whole.{suffix}", 30, codec, options if codec != "mpeg4" else {"g": "10"})
    hurt = rewritten(
        whole, tmp_path / f"hurt.{suffix}", lambda p, i: damaged(p, content(bytes(p))) if i == 12 else p
    )  # fmt: skip
    facts, pictures = decoded(hurt)
    assert len(pictures) == 29
    assert "packets of pictures that cannot be decoded are missing: 1" in facts.complaint.lower()
    assert order_of(pictures)[-8:] == list(range(22, 30))
    assert facts.clock.starts_s[-1] - facts.clock.starts_s[0] == pytest.approx(29 / 25, abs=2e-3)


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
def test_a_recording_that_starts_between_key_frames_begins_at_the_next_one(tmp_path, codec):
    whole = write_shades(tmp_path / "whole.webm", 30, codec, {"g": "10", "keyint_min": "10", "lag-in-frames": "0"})
    late = rewritten(whole, tmp_path / "late.webm", lambda packet, index: packet if index >= 4 else None)
    facts, pictures = decoded(late)
    assert order_of(pictures) == list(range(10, 30))
    assert facts.complaint == (
        "The first 0.24 s have no picture, as the video does not begin with a key frame; "
        "packets of pictures that cannot be decoded are missing: 6."
    )


# Instants


def test_frames_of_an_avi_with_b_frames_are_in_order_from_the_first_instant_on(tmp_path):
    facts, pictures = decoded(write_shades(tmp_path / "a.avi"))
    assert order_of(pictures) == list(range(30))
    np.testing.assert_allclose(facts.clock.starts_s, np.arange(30) / 25)
    assert facts.complaint == (
        "The format keeps no presentation times, so frames play at the times of its packets in order."
    )


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_frames_before_a_hole_in_an_avi_are_before_it(tmp_path, codec):
    pts = [*range(15), *range(40, 55)]
    facts, pictures = decoded(write_shades(tmp_path / "a.avi", 30, codec, {"bf": "0"}, pts))
    assert order_of(pictures) == list(range(30))
    np.testing.assert_allclose(facts.clock.starts_s, np.array(pts) / 25)


def leaping(path, kind, at, shift_s):
    """Move the timestamp of one tag of an FLV file: `at` counts those of this kind, 8 sound and 9 pictures."""
    content, place, seen = bytearray(path.read_bytes()), 13, 0
    while place + 11 <= len(content):
        if content[place] == kind:
            if seen == at:
                low, high = int.from_bytes(content[place + 4 : place + 7], "big"), content[place + 7]
                moved = ((high << 24 | low) + round(1000 * shift_s)) & 0xFFFFFFFF
                content[place + 4 : place + 7], content[place + 7] = (moved & 0xFFFFFF).to_bytes(3, "big"), moved >> 24
            seen += 1
        place += 15 + int.from_bytes(content[place + 1 : place + 4], "big")
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("at", "shift_s"), [(12, 37_600), (12, 316), (28, -1.12), (0, 5)])
def test_one_wrong_presentation_time_costs_no_frame(tmp_path, at, shift_s):
    path = leaping(write_shades(tmp_path / "a.flv", 30, "flv", {"g": "10"}), 9, at, shift_s)
    facts, pictures = decoded(path)
    assert order_of(pictures) == list(range(30))
    np.testing.assert_allclose(np.diff(facts.clock.starts_s), 1 / 25, atol=2e-3)
    assert "1 timestamp was missing, repeated or out of order, and repaired" in facts.complaint


# Sizes


def join(path, *parts):
    """Videos one after the other in one stream, whatever their sizes."""
    with av.open(path, "w") as new:
        copy, shift = None, 0
        for part in parts:
            with av.open(part) as old:
                copy = copy or new.add_stream_from_template(old.streams.video[0])
                for packet in old.demux(video=0):
                    if packet.dts is not None:
                        packet.pts += shift
                        packet.dts += shift
                        packet.stream = copy
                        new.mux(packet)
            shift += 400
    return path


def vp8(path, picture):
    return write_video(path, [picture] * 10, codec="libvpx")


def test_a_recording_that_begins_small_is_shown_at_its_largest_size(tmp_path):
    small, large = vp8(tmp_path / "1.webm", quadrants(64, 48)), vp8(tmp_path / "2.webm", quadrants(256, 192))
    facts, pictures = decoded(join(tmp_path / "a.webm", small, large))
    assert {picture.shape for picture in pictures} == {(192, 256, 3)}
    assert (facts.width, facts.height) == (256, 192)
    assert {colours(picture) for picture in pictures} == {"RGBW"}
    assert facts.complaint == "10 frames are smaller than 256x192 px, and fitted into it."


def test_a_recording_that_turns_is_never_stretched(tmp_path):
    wide, tall = vp8(tmp_path / "1.webm", quadrants(128, 96)), vp8(tmp_path / "2.webm", quadrants(96, 128))
    facts, pictures = decoded(join(tmp_path / "a.webm", wide, tall))
    assert (facts.width, facts.height, len(pictures)) == (128, 128, 20)
    assert colours(pictures[0][16:112]) == colours(pictures[-1][:, 16:112]) == "RGBW"
    assert pictures[0][:16].max() == pictures[-1][:, :16].max() == 0


# What is said of the end


def write_both(path, seconds_of_sound, first_s=0):
    """One second of video and so much sound, both from `first_s` on."""
    with av.open(path, "w") as container:
        pictures = container.add_stream("libx264", rate=25)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream("aac", rate=48_000, layout="mono")
        for i in range(25):
            frame = av.VideoFrame.from_ndarray(quadrants())
            frame.pts, frame.time_base = i + 25 * first_s, Fraction(1, 25)
            container.mux(pictures.encode(frame))
        container.mux(pictures.encode())
        wave = sine(48_000, seconds_of_sound)
        for at in range(0, len(wave) - 1023, 1024):
            frame = av.AudioFrame.from_ndarray(wave[None, at : at + 1024], "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = 48_000, at + 48_000 * first_s, Fraction(1, 48_000)
            container.mux(sound.encode(frame))
        container.mux(sound.encode())
    return path


@pytest.mark.parametrize("first_s", [0, 100])
def test_pictures_that_end_before_the_file_does_are_marked_wherever_it_begins(tmp_path, first_s):
    assert "although the file claims" in probe(write_both(tmp_path / "a.ts", 4, first_s)).complaint


@pytest.mark.parametrize("first_s", [100, 95_443])
def test_a_whole_file_is_not_marked_wherever_its_clock_begins_or_wraps(tmp_path, first_s):
    facts = probe(write_both(tmp_path / "a.ts", 1, first_s))
    assert (len(facts.clock), facts.complaint) == (25, None)


# Sound


def test_sound_that_changes_its_sample_rate_goes_on(tmp_path):
    first = write_sound(tmp_path / "1.mp2", sine(48_000, 1)[None], 48_000, "mp2")
    second = write_sound(tmp_path / "2.mp2", sine(44_100, 1)[None], 44_100, "mp2")
    both = tmp_path / "both.mp2"
    both.write_bytes(first.read_bytes() + second.read_bytes())
    sound = read_sound(both, 16_000)
    assert sound.duration_s == pytest.approx(2, abs=0.1)
    late = sound.samples[20_000:28_000]
    assert np.abs(np.fft.rfft(late)).argmax() / len(late) * 16_000 == pytest.approx(440, abs=3)
    assert sound.complaint.startswith("The sound changes its sample rate, and ")


def test_channels_that_cancel_each_other_are_heard_by_one_of_them(tmp_path):
    wave = sine(16_000)
    path = write_sound(tmp_path / "a.wav", np.stack([0.5 * wave, -0.5 * wave]), 16_000)
    facts, sound = sound_facts(path), read_sound(path, 16_000)
    assert (facts.channel, facts.channels) == (0, 2)
    np.testing.assert_array_equal(sound.samples, np.float32(0.5) * wave)
    assert facts.complaint == sound.complaint == (
        "The 2 channels of sound cancel each other, so only the loudest is heard: channel 1."
    )  # fmt: skip


@pytest.mark.parametrize("other", [1.0, 0.0, -0.3])
def test_other_channels_are_averaged(tmp_path, other):
    wave = sine(16_000)
    sound = read_sound(write_sound(tmp_path / "a.wav", np.stack([wave, other * wave]), 16_000), 16_000)
    np.testing.assert_allclose(sound.samples, wave * (1 + other) / 2, atol=1e-6)
    assert sound.complaint is None


def test_the_track_that_was_filmed_is_heard_and_not_the_commentary(tmp_path):
    with av.open(tmp_path / "a.mkv", "w") as container:
        voice = container.add_stream("pcm_f32le", rate=16_000, layout="mono")
        comment = container.add_stream("pcm_f32le", rate=48_000, layout="stereo")
        comment.disposition, voice.disposition = Disposition.comment, Disposition(0)
        for stream, wave in ((voice, sine(16_000)[None]), (comment, np.repeat(sine(48_000, 1, 1000), 2)[None])):
            frame = av.AudioFrame.from_ndarray(wave, "flt", stream.layout)
            frame.sample_rate, frame.pts, frame.time_base = stream.rate, 0, Fraction(1, stream.rate)
            container.mux(stream.encode(frame))
            container.mux(stream.encode())
    facts = sound_facts(tmp_path / "a.mkv")
    assert (facts.stream, facts.rate_hz) == (0, 16_000)
    np.testing.assert_array_equal(read_sound(tmp_path / "a.mkv", 16_000).samples, sine(16_000))


@pytest.mark.parametrize(("at", "shift_s"), [(12, 3700), (12, 316), (24, -2), (0, 5)])
def test_one_wrong_time_of_sound_costs_no_sound(tmp_path, at, shift_s):
    wave = sine(44_100, 3)
    path = write_sound(tmp_path / "a.flv", wave[None], 44_100, "pcm_s16le", block=4410)
    whole = read_sound(path, 44_100)
    sound = read_sound(leaping(path, 8, at, shift_s), 44_100)
    np.testing.assert_array_equal(sound.samples, whole.samples)
    assert (sound.start_s, whole.complaint) == (whole.start_s, None)
    assert sound.complaint == "Timestamps of sound that leap away and back are passed over: 1."


def test_a_damaged_header_of_sound_costs_the_sound_alone(tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(path, "w") as container:
        pictures, sound = container.add_stream("mpeg4", rate=25), container.add_stream("flac", rate=48_000)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        for shade in shades(3):
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(shade)))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 2 * 4608), np.int16), "s16", "stereo")
        frame.sample_rate, frame.pts = 48_000, 0
        for packet in (*pictures.encode(), *sound.encode(frame), *sound.encode()):
            container.mux(packet)
    whole = path.read_bytes()
    begin = whole.index(b"fLaC") + 4
    complaints = set()
    for at in range(begin, begin + 26):
        path.write_bytes(whole[:at] + b"\0" + whole[at + 1 :])
        facts = probe(path)
        assert len(facts.clock) == 3
        complaints.add(facts.complaint)
    assert "The file has sound, but nothing of it can be decoded." in complaints


def test_what_is_wrong_with_the_sound_stands_in_the_record_of_the_video(tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(path, "w") as container:
        pictures = container.add_stream("libx264", rate=25)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=16_000, layout="stereo")
        for _ in range(25):
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(quadrants())))
        container.mux(pictures.encode())
        wave = (sine(16_000) * 10_000).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(np.stack([wave, -wave]).T.reshape(1, -1).copy(), "s16", "stereo")
        frame.sample_rate, frame.pts, frame.time_base = 16_000, 0, Fraction(1, 16_000)
        container.mux(sound.encode(frame))
        container.mux(sound.encode())
    facts = probe(path)
    record = source_artifact("a", path, "0" * 64, facts).attributes
    assert record["complaint"] == record["sound"]["complaint"] == facts.complaint
    assert "cancel each other" in facts.complaint
    assert (record["sound"]["stream"], record["sound"]["channel"]) == (1, 0)


# What cameras put into frames


def test_pictures_with_exif_are_read(tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    with av.open(tmp_path / "a.mov", "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for i in range(5):
            picture = io.BytesIO()
            Image.fromarray(quadrants()).save(picture, "JPEG", exif=exif, quality=95)
            packet = av.Packet(picture.getvalue())
            packet.pts = packet.dts = i
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, 25), stream, True
            container.mux(packet)
    facts, pictures = decoded(tmp_path / "a.mov")
    assert len(pictures) == 5
    assert {colours(picture) for picture in pictures} == {"RGBW"}
    assert facts.complaint is None


def test_spatial_video_is_read(shared):
    facts = probe(shared / "cases/files/spatial_mvhevc.mp4")
    assert (len(facts.clock), facts.complaint) == (11, None)
