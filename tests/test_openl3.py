"""OpenL3 held to the outputs of its authors' package, and the pieces it is made of to plain computations."""

from __future__ import annotations

import gzip
import json
import sys
from dataclasses import replace
from fractions import Fraction
from itertools import product
from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affstore.models.extractor_specs import Segmenting, blocks, whole
from affstore.models.extractors import registry
from affstore.models.extractors.audio.align import vectors_clock
from affstore.models.extractors.audio.openl3 import plan_windows
from affstore.models.extractors.audio.openl3_spec import NETWORK as OPENL3_NETWORK
from affstore.models.extractors.audio.openl3_spec import OPENL3, openl3_spec
from affstore.models.extractors.registry import entry_of
from affstore.models.media.resample import FILTERS, resampled
from affstore.models.media.sound import read_sound, sound_facts
from affstore.models.networks.spectrogram import _hann, mel_filters, openl3_spectrogram, spectrogram
from affstore.models.weights.architectures import layout
from affstore.models.weights.convert import read_published
from affstore.models.weights.untrained import draw
from affstore.store.contract.errors import ArchitectureError, SpecError, WeightsError
from tests.factories import odd_sounds

RATE = 48_000
SPEC = openl3_spec("env", "mel128", 512, "kapre")
GZ = "reference_outputs/openl3_audio_mel128_env.h5.gz"
FILES = ("speech/jfk.wav", "speech/LJ002-0020.wav", "chirp_44k.wav", "silence.wav")
SETTINGS = ("kapre/512/hop0.1/center1", "kapre/512/hop0.5/center0", "kapre/6144/hop0.1/center1")
KEYS = tuple(product((*SETTINGS, "librosa/512/hop0.1/center1"), FILES))
USUAL = (*product(SETTINGS[:1], FILES), ("librosa/512/hop0.1/center1", FILES[0]))
BAR = 1e-5
"""As a share of the largest number."""


def noise(seconds, seed=0):
    return np.random.default_rng(seed).standard_normal(int(seconds * RATE)).astype(np.float32)


@pytest.fixture(scope="module")
def reference(shared):
    with np.load(shared / "reference_outputs/openl3_reference.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def published(shared):
    return read_published(shared / GZ, entry_of("openl3_env_mel128"))


@pytest.fixture(scope="module")
def drawn():
    return draw(layout(OPENL3_NETWORK, 0), 0)


@pytest.fixture(scope="module")
def extractor(drawn):
    return registry.build_sound(SPEC, drawn)


@pytest.fixture(scope="module")
def heard(shared):
    """A file as the pipeline hears it: decoded at its own rate, then resampled as OpenL3 does."""

    def hear(file):
        path = shared / "media/speech" / file.removeprefix("speech/")
        own_hz = sound_facts(path).rate_hz
        return resampled(read_sound(path, own_hz).samples, own_hz, RATE, SPEC.resampler)

    return hear


def spec_at(setting):
    front_end, width, hop, centre = setting.split("/")
    spec = openl3_spec("env", "mel128", int(width), front_end)
    return spec.windowed(Fraction(hop.removeprefix("hop")), centre == "center1")


def test_every_network_is_registered_at_both_widths_behind_both_front_ends():
    assert len(OPENL3) == len({spec.name for spec in OPENL3}) == 24
    assert set(OPENL3) <= set(map(registry.spec_of, registry.names()))
    paper = registry.spec_of("openl3_env_mel128_512")
    assert (paper.content, paper.representation, paper.front_end, paper.width) == ("env", "mel128", "kapre", 512)
    assert (paper.hop_s, paper.centre, paper.segments, paper.hop) == (Fraction(1, 10), True, whole(), 4800)
    assert registry.spec_of("openl3_env_mel128_512@blocks60").segments == blocks(60)


# Parity


def test_the_references_are_the_ones_that_are_checked(reference):
    assert {key.rpartition("/")[0] for key in reference} == {f"{setting}/{file}" for setting, file in KEYS}


def rows_of(reference, setting, file, every):
    """Some rows of a reference, and a spec and a length of wave that give them."""
    wanted = reference[f"{setting}/{file}/embedding"]
    spec = spec_at(setting)
    samples = (len(wanted) - 1) * spec.hop + (RATE // 2 if spec.centre else RATE)
    return wanted[::every], spec.windowed(spec.hop_s * every, spec.centre), samples


@pytest.mark.parametrize(
    ("setting", "file"), [pytest.param(*key, marks=() if key in USUAL else pytest.mark.slow) for key in KEYS]
)
def test_embeddings_are_those_of_the_package(reference, published, heard, setting, file):
    """Of those that are a tenth of a second apart only some; the slow test below takes all."""
    every = {"0.1": 8 if file == "speech/jfk.wav" else 2, "0.5": 1}[setting.split("/")[2].removeprefix("hop")]
    wanted, spec, samples = rows_of(reference, setting, file, every)
    found = registry.build_sound(spec, published).embed(heard(file)[:samples]).embedding[: len(wanted)]
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() < BAR * np.abs(wanted).max()


@pytest.mark.slow
@pytest.mark.parametrize(("setting", "file"), KEYS)
def test_every_row_is_that_of_the_package(reference, published, heard, setting, file):
    wanted, spec, samples = rows_of(reference, setting, file, 1)
    found = registry.build_sound(spec, published).embed(heard(file)[:samples]).embedding
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() < BAR * np.abs(wanted).max()


@pytest.mark.parametrize(("setting", "file"), KEYS)
def test_there_are_as_many_windows_as_the_package_makes_at_its_timestamps(reference, heard, setting, file):
    """A centred vector stands around its timestamp; one that is not stands around half a second after it."""
    timestamps, spec = reference[f"{setting}/{file}/timestamps"], spec_at(setting)
    np.testing.assert_array_equal(timestamps, np.arange(len(timestamps)) * float(spec.hop_s))
    vectors = len(plan_windows(len(heard(file)), spec)[1])
    assert len(timestamps) == (min(vectors, 12) if spec.width == 6144 else vectors)
    clock = vectors_clock(spec, Fraction(0), len(timestamps))
    middles = [int(pts) * clock.time_base + spec.hop_s / 2 for pts in clock.pts]
    first = Fraction(0) if spec.centre else Fraction(1, 2)
    assert [middle - first for middle in middles] == [Fraction(t).limit_denominator(1000) for t in timestamps]


def test_the_package_itself_says_the_same(heard, drawn):
    pytest.importorskip("openl3", reason="needs the package openl3, which is not installed with affstore")
    wave = heard("chirp_44k.wav")[:RATE]
    for name in ("openl3_env_mel128_512", "openl3_env_mel128_512_librosa"):
        spec = registry.spec_of(name)
        ours = registry.build_sound(spec, drawn).embed(wave).embedding
        theirs = registry.build_sound(replace(spec, engine="openl3"), drawn).embed(wave).embedding
        assert np.abs(ours - theirs).max() < BAR * np.abs(theirs).max()


# Windows


@settings(max_examples=60)
@given(st.integers(1, 40 * RATE), st.sampled_from([1, 2, 5, 10, 25]), st.booleans(), st.integers(0, 7))
def test_windows_are_counted_as_the_package_counts_them_in_each_block(samples, vectors_hz, centre, block_s):
    spec = replace(SPEC.windowed(Fraction(1, vectors_hz), centre), segments=blocks(block_s) if block_s else whole())
    windows, nearest = plan_windows(samples, spec)
    begins = range(0, samples, block_s * RATE) if block_s else [0]
    middles = []
    for begin in begins:
        end = min(begin + block_s * RATE, samples) if block_s else samples
        length = end - begin + (RATE // 2 if centre else 0)
        count = 1 if length <= RATE else 1 + ceil((length - RATE) / spec.hop)
        mine = windows.begin == begin
        starts = begin - (RATE // 2 if centre else 0) + spec.hop * np.arange(count)
        np.testing.assert_array_equal(windows.start[mine], starts)
        assert set(windows.end[mine].tolist()) == {end}
        middles += [begin // spec.hop + place for place in range(count)]
    assert len(nearest) == middles[-1] + 1
    distances = np.abs(np.array(middles)[nearest] - np.arange(len(nearest)))
    assert all(distances[i] == min(abs(m - i) for m in middles) for i in range(0, len(nearest), 7))
    if not block_s:
        np.testing.assert_array_equal(nearest, np.arange(len(middles)))


@pytest.mark.slow
def test_each_block_is_embedded_as_if_it_were_all_there_is(drawn, extractor):
    wave = noise(2.4)
    cut = registry.build_sound(replace(SPEC, segments=blocks(1)), drawn).embed(wave).embedding
    assert len(cut) == 21  # two full blocks of ten, and one vector around the beginning of the last
    for block in range(2):
        alone = extractor.embed(wave[block * RATE : (block + 1) * RATE]).embedding
        np.testing.assert_array_equal(cut[10 * block : 10 * block + len(alone)], alone)
        assert len(alone) == 6
    # The block's windows end at 0.5 s: 0.6 and 0.7 are nearer to that one, 0.8 and 0.9 to the next block's first.
    np.testing.assert_array_equal(cut[[6, 7, 8, 9]], cut[[5, 5, 10, 10]])


@pytest.mark.slow
def test_a_row_does_not_depend_on_its_neighbours_or_its_place(drawn, extractor):
    wave = noise(2)
    together = extractor.embed(wave).embedding
    np.testing.assert_array_equal(extractor.embed(wave[: RATE + RATE // 2]).embedding, together[:11])
    later = registry.build_sound(SPEC.windowed(SPEC.hop_s, centre=False), drawn).embed(wave[3 * SPEC.hop :]).embedding
    np.testing.assert_array_equal(later[:8], together[8:16])


@pytest.mark.parametrize("samples", [1, 100, RATE // 2, RATE // 2 + 1])
def test_sound_shorter_than_a_window_is_filled_up_with_silence(extractor, samples):
    wave = noise(1)[:samples]
    rows = 1 + (samples > RATE // 2)
    filled = np.pad(wave, (0, RATE // 2 - samples)) if rows == 1 else wave
    assert extractor.embed(wave).embedding.shape == (rows, 512)
    np.testing.assert_array_equal(extractor.embed(wave).embedding, extractor.embed(filled).embedding)


def test_no_sound_gives_no_vector(extractor):
    assert extractor.embed(np.empty(0, np.float32)).embedding.shape == (0, 512)


def test_silence_has_one_finite_embedding(extractor):
    embedded = extractor.embed(np.zeros(RATE, np.float32)).embedding
    assert np.isfinite(embedded).all()
    assert len(np.unique(embedded, axis=0)) == 1


@pytest.mark.parametrize("wave", [np.zeros((2, RATE), np.float32), np.zeros(RATE, np.int16)])
def test_what_is_no_waveform_is_refused(extractor, wave):
    with pytest.raises(SpecError, match=r"float32 or float64 \(samples,\)"):
        extractor.embed(wave)


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(spec, id=spec.name, marks=() if spec.name.endswith("_512") else pytest.mark.slow)
        for spec in OPENL3
        if spec.front_end == "kapre"
    ],
)
def test_every_network_gives_embeddings_of_its_width(drawn, spec):
    embedded = registry.build_sound(spec, drawn).embed(noise(0.55)).embedding
    assert embedded.shape == (2, spec.width)
    assert embedded.dtype == np.float32
    assert np.isfinite(embedded).all()
    assert np.abs(embedded[0] - embedded[1]).max() > 0


# Pieces


@pytest.mark.parametrize(("mels", "fft"), [(128, 2048), (256, 2048), (40, 512)])
def test_mel_filters_are_slaneys(mels, fft):
    """One triangle after the other: 200/3 Hz a mel up to 1 kHz, then 27 mels for each factor of 6.4."""

    def hz(mel):
        return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)

    top = 15 + 27 * np.log(RATE / 2 / 1000) / np.log(6.4)
    edges = [hz(top * i / (mels + 1)) for i in range(mels + 2)]
    found = mel_filters(mels, fft, RATE)
    for band, (low, middle, high) in enumerate(zip(edges, edges[1:], edges[2:], strict=False)):
        expected = np.interp(np.arange(fft // 2 + 1) * RATE / fft, [low, middle, high], [0, 2 / (high - low), 0])
        np.testing.assert_allclose(found[band], expected, atol=1e-7)
    librosa = pytest.importorskip("librosa", reason="needs librosa, as the second reference")
    np.testing.assert_allclose(found, librosa.filters.mel(sr=RATE, n_fft=fft, n_mels=mels), atol=1e-8)


@pytest.mark.parametrize(("representation", "shape"), [("linear", (257, 197)), ("mel128", (128, 199))])
@pytest.mark.parametrize("front_end", ["kapre", "librosa"])
def test_spectrograms_are_decibels_of_magnitudes_below_the_loudest(representation, front_end, shape):
    """A tone and one a hundred times quieter are 20 dB apart: dB of the magnitude, not of its square."""
    at = np.arange(RATE) / RATE
    wave = np.sin(2 * np.pi * 3000 * at) + 0.01 * np.sin(2 * np.pi * 9000 * at)
    seen = spectrogram(wave, openl3_spectrogram("linear", front_end, RATE))
    assert (seen.min(), seen.max()) == (-80, 0)
    assert seen[32, 100] - seen[96, 100] == pytest.approx(20, abs=0.01)
    assert spectrogram(wave, openl3_spectrogram(representation, front_end, RATE)).shape == shape


def test_the_front_ends_see_a_click_half_a_frame_apart():
    click = np.zeros(RATE)
    click[RATE // 2] = 1
    kapre, librosa = (spectrogram(click, openl3_spectrogram("mel128", name, RATE)) for name in ("kapre", "librosa"))
    shift = np.argmax(librosa.sum(0)) - np.argmax(kapre.sum(0))
    assert shift == round(1024 / 242)


def test_the_float32_window_is_tensorflows():
    tensorflow = pytest.importorskip("tensorflow")
    for length in (512, 2048):
        np.testing.assert_allclose(_hann(length, "float32"), tensorflow.signal.hann_window(length), atol=6e-8)
        np.testing.assert_allclose(_hann(length, "float32"), _hann(length, "float64"), atol=3e-7)


@settings(max_examples=15)
@given(st.integers(4_000, 200_000), st.integers(0, 400), st.sampled_from(sorted(FILTERS)))
def test_resampling_is_a_sum_of_windowed_sincs(from_hz, samples, name):
    wave = np.random.default_rng(samples).standard_normal(samples).astype(np.float32)
    found = resampled(wave, from_hz, RATE, name)
    assert len(found) == samples * RATE // from_hz
    if from_hz >= RATE:
        return  # resampy rounds the step through its table then; held to resampy itself below
    chosen = FILTERS[name]
    apart = np.arange(len(found))[:, None] * from_hz / RATE - np.arange(samples)
    taper = np.i0(chosen.beta * np.sqrt(np.maximum(0, 1 - (apart / chosen.zeros) ** 2))) / np.i0(chosen.beta)
    weights = taper * chosen.rolloff * np.sinc(chosen.rolloff * apart) * (np.abs(apart) < chosen.zeros)
    np.testing.assert_allclose(found, weights @ wave, atol=2e-4 if name == "resampy_0.2" else 1e-5)


@pytest.mark.parametrize("from_hz", [8_000, 11_025, 16_000, 22_050, 44_100, 44_101, 96_000, 192_000])
def test_resampling_is_resampys_to_the_last_bits(from_hz):
    resampy = pytest.importorskip("resampy", minversion="0.3", reason="needs resampy as the reference")
    wave = np.random.default_rng(0).standard_normal(from_hz // 2 + 17).astype(np.float32)
    wanted = resampy.resample(wave.astype(np.float64), from_hz, RATE, filter="kaiser_best")
    np.testing.assert_allclose(resampled(wave, from_hz, RATE, "resampy"), wanted, rtol=0, atol=1e-13)


def test_sound_at_the_networks_own_rate_is_not_touched():
    np.testing.assert_array_equal(resampled(noise(1), RATE, RATE, "resampy"), noise(1))
    with pytest.raises(SpecError, match="no resampling filter 'sox'"):
        resampled(noise(1), 44_100, RATE, "sox")


# Specs and engines


@pytest.mark.parametrize(
    "change",
    [
        {"width": 1024},
        {"rate_hz": 44_100},
        {"content": "speech"},
        {"representation": "mel64"},
        {"front_end": "torchaudio"},
        {"normalise": True},
        {"centre": False},
        {"vectors_hz": Fraction(7)},
        {"first_s": Fraction(0)},
        {"segments": Segmenting("windows", 20, 10)},
    ],
    ids=str,
)
def test_a_spec_that_openl3_cannot_be_is_refused(change):
    with pytest.raises(SpecError, match="openl3_env_mel128_512"):
        replace(SPEC, **change)


@pytest.mark.parametrize("hop_s", [Fraction(0), Fraction(-1, 10), Fraction(1, 7 * RATE)])
def test_windows_that_do_not_begin_on_samples_are_refused(hop_s):
    with pytest.raises(SpecError, match="windows"):
        SPEC.windowed(hop_s)


def test_blocks_that_are_no_whole_number_of_hops_are_refused():
    with pytest.raises(SpecError, match="whole number of hops"):
        replace(SPEC.windowed(Fraction(3, 10)), segments=blocks(1))


def test_the_engine_openl3_says_what_to_install(drawn, monkeypatch):
    monkeypatch.setitem(sys.modules, "openl3", None)
    with pytest.raises(SpecError, match=r"pip install -e '\.\[openl3\]'.*internet"):
        registry.build_sound(replace(SPEC, engine="openl3"), drawn)
    with pytest.raises(SpecError, match="float32 on the CPU; found bfloat16"):
        registry.build_sound(replace(SPEC, engine="openl3", precision="bfloat16"), drawn)
    with pytest.raises(SpecError, match="found 'onnx'"):
        registry.build_sound(replace(SPEC, engine="onnx"), drawn)


def test_bfloat16_is_close_to_float32(drawn, extractor):
    rounded = registry.build_sound(replace(SPEC, precision="bfloat16"), drawn).embed(noise(0.4)).embedding
    exact = extractor.embed(noise(0.4)).embedding
    assert 0 < np.abs(rounded - exact).max() < 0.05 * np.abs(exact).max()


# Parameters


def test_the_published_files_are_pinned():
    entries = [
        entry_of(f"openl3_{content}_{kind}") for content, kind in {(s.content, s.representation) for s in OPENL3}
    ]
    assert len({entry.git_blob_sha1 for entry in entries}) == 6
    for entry in entries:
        assert entry.url.endswith(f"/c2321e8c1e68213357431f1868380a0ef224ce03/{entry.file}")
        assert (entry.licence, entry.architecture, entry.format) == ("CC-BY-4.0", OPENL3_NETWORK, "keras_h5_gz")
    assert {spec.weights.name for spec in OPENL3} == {entry.name for entry in entries}


def test_a_published_file_is_read_in_the_order_of_its_layers(published, shared):
    h5py = pytest.importorskip("h5py")
    said = json.loads((shared / "reference_outputs/openl3_reference.json").read_text())["weights"]
    assert said["file"] == GZ.rpartition("/")[2]
    with gzip.open(shared / GZ) as file, h5py.File(file) as kept:
        kernel = kept["conv2d_6/conv2d_6/kernel:0"][()]
        variance = kept["batch_normalization_7/batch_normalization_7/moving_variance:0"][()]
    np.testing.assert_array_equal(published["conv4a.weight"], kernel.transpose(3, 2, 0, 1))
    np.testing.assert_array_equal(published["norm4a.running_var"], variance)


def test_a_file_that_was_cut_or_is_anothers_is_refused(published, shared, tmp_path):
    whole_file = (shared / GZ).read_bytes()
    (tmp_path / "cut.h5.gz").write_bytes(whole_file[: len(whole_file) // 2])
    with pytest.raises(WeightsError, match="not a whole gzip file"):
        read_published(tmp_path / "cut.h5.gz", entry_of("openl3_env_mel128"))
    (tmp_path / "bomb.h5.gz").write_bytes(gzip.compress(bytes(80 << 20)))
    with pytest.raises(WeightsError, match="unpacks to more than 64 MiB"):
        read_published(tmp_path / "bomb.h5.gz", entry_of("openl3_env_mel128"))
    lacking = {name: tensor for name, tensor in published.items() if name != "conv4a.bias"}
    with pytest.raises(ArchitectureError, match=r"conv4a\.bias is missing"):
        registry.build_sound(SPEC, lacking)


@pytest.mark.slow
def test_untrained_embeddings_depend_on_the_sound_and_on_the_moment(heard):
    parameters = registry.untrained(SPEC, 0)
    untrained = registry.build_sound(SPEC, parameters)
    speech = untrained.embed(heard("speech/jfk.wav")[2 * RATE : 3 * RATE]).embedding
    other = untrained.embed(heard("chirp_44k.wav")[:RATE]).embedding
    assert np.abs(speech.mean(0) - other.mean(0)).mean() > 0.1
    assert speech.std(0).mean() > 0.1
    assert np.corrcoef(speech.mean(0), other.mean(0))[0, 1] < 0.9
    again = registry.untrained(openl3_spec("env", "mel128", 6144, "librosa"), 0)
    assert all(np.array_equal(again[name], tensor) for name, tensor in parameters.items())


def test_odd_sound_gives_finite_numbers(extractor, tmp_path):
    for path in odd_sounds(tmp_path):
        sound = read_sound(path, SPEC.rate_hz)
        embedded = extractor.embed(sound.samples).embedding
        assert embedded.shape == (1, SPEC.width), path.name
        assert np.isfinite(embedded).all(), path.name
        assert (sound.complaint is not None) == (path.name == "holes.wav")
