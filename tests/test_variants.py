"""Variants of an extractor by name."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affstore.models.extractor_specs import FaceExtractorSpec, Segmenting
from affstore.models.extractors.registry import names, spec_of
from affstore.store.contract.errors import SpecError, UnknownNameError


@pytest.mark.parametrize("kind", ["cropped", "cropped_aligned", "my_crops2"])
def test_a_face_network_takes_its_faces_from_the_kind_of_folder_that_it_names(kind):
    plain, varied = spec_of("emotieffnet_b0"), spec_of(f"emotieffnet_b0@{kind}")
    assert varied == replace(plain, name=f"emotieffnet_b0@{kind}", faces=kind)


@given(st.integers(1, 999))
def test_sound_is_cut_as_the_name_says(length):
    varied = spec_of(f"wav2vec2_base_960h@blocks{length}+notebook")
    assert (varied.segments, varied.align) == (Segmenting("blocks", length, length), "notebook")
    windows = spec_of(f"hubert_superb_er@windows{length + 1}-{length}")
    assert windows.segments == Segmenting("windows", length + 1, length)


def test_openl3_has_words_of_its_own():
    varied = spec_of("openl3_env_mel128_512@uncentred+hop0.5+blocks60")
    assert (varied.hop_s, varied.centre, varied.segments.length_s) == (Fraction(1, 2), False, 60)
    assert varied.first_s == Fraction(1, 4)


def test_openl3_can_resample_as_versions_of_resampy_did_that_its_requirements_ask_for():
    now, before = spec_of("openl3_env_mel128_512"), spec_of("openl3_env_mel128_512@resampy0.2")
    assert (now.resampler, before.resampler) == ("resampy", "resampy_0.2")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("emotieffnet_b0@Bad!", "kind of crop folder"),
        ("wav2vec2_base_960h@loud", "blocks90, windows20-10 and notebook"),
        ("wav2vec2_base_960h@blocks0", "at least 1 s"),
        ("wav2vec2_base_960h@windows10-10", "shorter"),
        ("wav2vec2_base_960h@package", "no variant"),
        ("openl3_env_mel128_512@windows20-10", "whole sound"),
        ("openl3_env_mel128_512@hop0", "positive"),
        ("openl3_env_mel128_512@package+resampy0.2", "openl3"),
    ],
)
def test_what_is_no_variant_is_refused_in_one_sentence(name, told):
    with pytest.raises(SpecError, match=told):
        spec_of(name)


def test_the_package_openl3_says_how_it_is_installed_where_it_is_not(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SpecError, match=r"pip install -e '\.\[openl3\]'"):
        spec_of("openl3_env_mel128_512@package")


def test_a_variant_of_nothing_is_unknown():
    with pytest.raises(UnknownNameError, match="Did you mean 'emotieffnet_b0'"):
        spec_of("emotieffnet_b00@cropped")


@pytest.mark.parametrize("name", names())
def test_a_registered_extractor_is_its_own_name(name):
    spec = spec_of(name)
    assert spec.name == name
    assert not isinstance(spec, FaceExtractorSpec) or spec.faces == "mtcnn"
