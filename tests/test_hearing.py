"""From a file's sound to what a network says of each frame: one decode, and features or a complaint for any sound."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import soundfile

from affstore.models import audio_pass as hearing
from affstore.models.extractors import registry
from affstore.models.extractors.audio.hubert import HUBERT_LARGE_LS960, HUBERT_SUPERB_ER
from affstore.models.extractors.audio.wav2vec2 import WAV2VEC2_BASE_960H, WAV2VEC2_LARGE_MSP_DIM
from affstore.models.extractors.base import SoundOutput
from affstore.models.media.resample import resampled
from affstore.models.media.sound import read_sound, sound_facts
from affstore.models.media.video import VideoFacts
from affstore.store.contract.clock import FrameClock
from affstore.store.contract.errors import MediaError
from affstore.store.contract.schema import family

SPEECH = (WAV2VEC2_BASE_960H, HUBERT_SUPERB_ER, WAV2VEC2_LARGE_MSP_DIM, HUBERT_LARGE_LS960)
OPENL3 = replace(WAV2VEC2_BASE_960H, name="other", rate_hz=48_000, resampler="resampy")


def facts_of(path, frames=50, declared=None):
    """Of a film of two seconds with that file's sound."""
    sound = sound_facts(path)
    return VideoFacts(FrameClock.uniform(25, frames), 64, 64, 0, Fraction(1), "none", declared, None, sound)


@pytest.fixture
def tone(tmp_path):
    """A second of sound that is not at any network's rate."""
    samples = 0.5 * np.sin(np.arange(22_050) / 10)
    soundfile.write(tmp_path / "tone.wav", samples, 22_050)
    return tmp_path / "tone.wav"


def said(spec, count):
    """Outputs whose rows can be told apart, as a network of that spec gives them."""
    column = np.arange(count, dtype=np.float32)[:, None]
    return SoundOutput(
        np.tile(column, spec.width),
        np.tile(column, len(spec.logits)) if spec.logits else None,
        np.tile(column, 3) if spec.affect else None,
    )


def test_all_networks_share_one_decode_and_one_waveform_a_rate(tone, monkeypatch):
    decodes, read = [], hearing.read_sounds
    monkeypatch.setattr(hearing, "read_sounds", lambda *asked: decodes.append(asked) or read(*asked))
    sounds = hearing.read_waveforms(tone, [*SPEECH, OPENL3], facts_of(tone))
    assert len(decodes) == 1
    assert set(sounds) == {(16_000, "swresample"), (48_000, "resampy")}
    np.testing.assert_array_equal(sounds[16_000, "swresample"].samples, read_sound(tone, 16_000).samples)
    wanted = resampled(read_sound(tone, 22_050).samples, 22_050, 48_000, "resampy")
    np.testing.assert_array_equal(sounds[48_000, "resampy"].samples, wanted)


def test_a_network_that_is_not_asked_for_costs_nothing(tone, monkeypatch):
    monkeypatch.setattr(hearing, "read_sounds", lambda *asked: pytest.fail("the sound was decoded for nobody"))
    assert hearing.read_waveforms(tone, [], facts_of(tone)) == {}
    assert hearing.read_waveforms(tone, SPEECH, replace(facts_of(tone), sound=None)) == {}


@pytest.mark.parametrize("spec", SPEECH, ids=lambda spec: spec.name)
@pytest.mark.parametrize("align", ["time", "notebook"])
def test_every_output_lies_on_the_frames_and_fits_the_store(tone, spec, align):
    facts, spec = facts_of(tone, declared=50), replace(spec, align=align)
    sound = hearing.read_waveforms(tone, [spec], facts)[hearing.waveform_format(spec)]
    arrays = hearing.align_to_frames(spec, said(spec, 49), sound, facts)
    heard = np.arange(25) * 2 if align == "time" else np.arange(50) * 49 // 51
    assert np.flatnonzero(arrays["present"]).tolist() == list(range(len(heard)))
    for name in set(arrays) - {"present"}:
        np.testing.assert_array_equal(arrays[name][: len(heard), 0], heard)
        assert not arrays[name][len(heard) :].any()
    attributes = {"frames": 50, "vectors": 49, "classes": None, "complaint": None}
    family("audio").check(arrays, attributes)
    assert ("logits" in arrays, "affect" in arrays) == (spec.logits is not None, spec.affect)


@pytest.mark.parametrize("spec", SPEECH, ids=lambda spec: spec.name)
def test_a_video_without_sound_has_rows_that_are_not_present(tone, spec):
    facts = replace(facts_of(tone), sound=None)
    arrays = hearing.align_to_frames(spec, said(spec, 0), None, facts)
    assert arrays["embedding"].shape == (50, spec.width)
    assert not arrays["present"].any()
    family("audio").check(arrays, {"frames": 50, "vectors": 0, "classes": None, "complaint": "none"})


def test_whatever_lies_about_gives_rows_or_a_complaint(shared):
    """The beginning of every odd file's sound, through a real network."""
    spec = WAV2VEC2_BASE_960H
    network = registry.build_sound(spec, registry.untrained(spec, 0))
    vectors, complaints = {}, {}
    for path in sorted((shared / "media/odd").iterdir()):
        try:
            facts = facts_of(path)
            sound = hearing.read_waveforms(path, [spec], facts).get(hearing.waveform_format(spec))
        except MediaError as error:
            complaints[path.name] = str(error)
            continue
        output = network.embed(sound.samples[:2000] if sound else np.empty(0, np.float32))
        arrays = hearing.align_to_frames(spec, output, sound, facts)
        assert np.isfinite(arrays["embedding"]).all(), path.name
        vectors[path.name] = len(output.embedding)
    assert {name for name, count in vectors.items() if count == 6} == {
        "malformed-join.mp3",
        "multiple-aac-tracks.mp4",
        "no_duration.webm",
        "rotate-buck-bunny.mp4",
        "with-attached-pic.mp3",
    }
    assert all("cannot be read" in reason for reason in complaints.values())
