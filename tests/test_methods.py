"""Methods against loops over frames, and what a pre-trained network says against the papers' own map."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affstore.models.ensembles.combine import combined, ruled_out
from affstore.models.ensembles.spec import (
    Blend,
    ConfidenceGate,
    HeadOutput,
    SearchedValue,
    TwoStageOther,
    heads_of,
    searched_values,
    streams,
    with_heads_renamed,
    with_values,
)
from affstore.models.heads.pretrained import NEVER, PretrainedSpec, pretrained_scores, softmax
from affstore.store.contract.errors import SpecError, UnknownNameError
from affstore.store.contract.labels import AFFECTNET_7, AFFECTNET_8, AFFECTNET_8_NUMBERED, EXPR, IEMOCAP_4

seeds = st.integers(0, 2**32 - 1)
SPEC = PretrainedSpec("own", "expr")
LOGITS = PretrainedSpec("own", "expr", gives="logits")
THREE = Blend(
    Blend(HeadOutput("mlp"), HeadOutput("tuned"), SearchedValue(0.75, ())),
    HeadOutput("logits"),
    SearchedValue(0.8, (0.5, 0.8)),
)


def scores(random, frames=30, width=8):
    """Rows of few different numbers, so that there are ties."""
    return random.choice(np.arange(-3, 4), (frames, width)).astype(np.float32) / 4


def probabilities(random, frames=30):
    return softmax(random.normal(size=(frames, 8)).astype(np.float32) * 3)


def given_value(value):
    return SearchedValue(value, ())


def first_of_the_largest(row):
    return max(range(len(row)), key=lambda k: row[k])


# Weighted blends


@given(st.integers(0, 20), seeds)
def test_a_blend_is_the_weighted_sum_whatever_the_units(twentieths, seed):
    random = np.random.default_rng(seed)
    first, second, weight = scores(random, width=2), 100 * scores(random, width=2), twentieths / 20
    found = combined(Blend(HeadOutput("a"), HeadOutput("b"), given_value(weight)), {"a": first, "b": second})
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, weight * first + (1 - weight) * second, rtol=1e-6, atol=1e-5)


def test_three_are_blended_by_a_blend_of_a_blend():
    random = np.random.default_rng(0)
    said = {name: scores(random) for name in ("mlp", "tuned", "logits")}
    expected = 0.6 * said["mlp"] + 0.2 * said["tuned"] + 0.2 * said["logits"]
    np.testing.assert_allclose(combined(THREE, said), expected, atol=1e-6)


def test_numbers_are_named_from_the_outside_in_and_can_be_settled():
    assert heads_of(THREE) == ("mlp", "tuned", "logits")
    assert {name: number.value for name, number in searched_values(THREE).items()} == {"weight": 0.8, "weight_2": 0.75}
    rule = ConfidenceGate(HeadOutput("own"), THREE, SearchedValue(None, (0.7,)))
    found = with_values(rule, {"threshold": 0.9, "weight": 0.1, "weight_2": 0.2})
    assert found == ConfidenceGate(
        HeadOutput("own"),
        Blend(
            Blend(HeadOutput("mlp"), HeadOutput("tuned"), SearchedValue(0.2, ())),
            HeadOutput("logits"),
            SearchedValue(0.1, THREE.weight.grid),
        ),
        SearchedValue(0.9, (0.7,)),
    )
    assert list(searched_values(rule)) == ["threshold", "weight", "weight_2"]
    blend = Blend(HeadOutput("b"), HeadOutput("a"), SearchedValue(None, (0, 1)))
    step = with_values(TwoStageOther(HeadOutput("a"), blend), {"weight": 1})
    assert step == TwoStageOther(HeadOutput("a"), replace(blend, weight=SearchedValue(1, (0, 1))))
    three = TwoStageOther(HeadOutput("a"), blend, THREE)
    assert list(searched_values(three)) == ["weight", "weight_2", "weight_3"]
    assert heads_of(with_heads_renamed(three, {"mlp": "A", "b": "B"})) == ("a", "A", "tuned", "logits", "B")
    with pytest.raises(SpecError, match="has the numbers threshold, weight, weight_2; values were given for weight"):
        with_values(rule, {"weight": 1})


# Rules


@given(st.sampled_from([0, 0.3, 0.5, 0.9, 1]), seeds)
def test_the_threshold_blend_is_its_rule_frame_by_frame(threshold, seed):
    random = np.random.default_rng(seed)
    own, other = probabilities(random), probabilities(random)
    own[0], other[0] = np.eye(8)[3], np.eye(8)[5]  # sure to the last bit: above every threshold but 1
    expected = []
    for p, q in zip(own, other, strict=True):
        c = first_of_the_largest(p[:7])
        expected.append(c if p[c] > np.float32(threshold) else first_of_the_largest(q))
    rule = ConfidenceGate(HeadOutput("own"), HeadOutput("mlp"), given_value(threshold))
    assert combined(rule, {"own": own, "mlp": other}).argmax(axis=1).tolist() == expected


def test_the_threshold_itself_is_not_enough_and_contempt_takes_its_share():
    own = np.array([[0.7, 0.3, 0, 0, 0, 0, 0, 0], [0.35, 0.05, 0, 0, 0, 0, 0, 0.6]], np.float32)
    mlp = np.tile(np.eye(8, dtype=np.float32)[4], (2, 1))

    def said(threshold):
        rule = ConfidenceGate(HeadOutput("own"), HeadOutput("mlp"), given_value(threshold))
        return combined(rule, {"own": own, "mlp": mlp}).argmax(axis=1).tolist()

    assert said(0.7) == [4, 4]
    assert said(0.69) == [0, 4]
    assert said(0.3) == [0, 0]  # Other is likelier, and never taken from the pre-trained network


@given(st.sampled_from([0, 0.1, 0.2, 0.5, 1]), seeds, st.sampled_from(["eight_before", "seven_after"]))
def test_the_other_step_is_its_rule_frame_by_frame_with_eight_columns_or_with_seven(weight, seed, variant):
    random = np.random.default_rng(seed)
    mlp, logits = scores(random), scores(random)
    columns = 8 if variant == "eight_before" else 7
    expected = []
    for p, z in zip(mlp, logits, strict=True):
        mixed = np.float32(weight) * z[:columns] + np.float32(1 - weight) * p[:columns]
        expected.append(7 if first_of_the_largest(p) == 7 else first_of_the_largest(mixed))
    blend = Blend(HeadOutput("logits"), HeadOutput("mlp"), given_value(weight))
    step = TwoStageOther(HeadOutput("mlp"), blend, variant=f"{variant}_smoothing")
    assert combined(step, {"mlp": mlp, "logits": logits}).argmax(axis=1).tolist() == expected


def test_what_counts_where_a_frame_is_other_may_be_another_method():
    random = np.random.default_rng(5)
    said = {name: scores(random) for name in ("mlp", "tuned", "logits")}
    inner = Blend(HeadOutput("tuned"), HeadOutput("logits"), given_value(0.5))
    step = TwoStageOther(
        HeadOutput("mlp"),
        Blend(HeadOutput("mlp"), inner, given_value(0.6)),
        Blend(HeadOutput("mlp"), HeadOutput("tuned"), given_value(0.8)),
    )
    other = said["mlp"].argmax(axis=1) == 7
    expected = 0.6 * said["mlp"] + 0.2 * said["tuned"] + 0.2 * said["logits"]
    expected[other] = (0.8 * said["mlp"] + 0.2 * said["tuned"])[other]
    np.testing.assert_allclose(combined(step, said), expected, atol=1e-6)
    assert other.any()


def test_a_rule_that_comes_before_smoothing_is_smoothed_itself_and_one_that_comes_after_is_not():
    before = TwoStageOther(HeadOutput("mlp"), HeadOutput("logits"))
    after = replace(before, variant="seven_after_smoothing")
    blend = Blend(before, HeadOutput("sound"), given_value(0.5))
    assert list(streams(blend)) == [str(before), "sound"]
    assert list(streams(replace(blend, first=after))) == ["mlp", "logits", "sound"]
    said = {"sound": scores(np.random.default_rng(6)), str(before): scores(np.random.default_rng(7))}
    np.testing.assert_array_equal(combined(blend, said), (said[str(before)] + said["sound"]) / 2)


def test_rules_nest():
    random = np.random.default_rng(1)
    said = {name: probabilities(random) for name in ("own", "face", "sound")}
    blend = Blend(HeadOutput("face"), HeadOutput("sound"), given_value(0.5))
    whole = combined(ConfidenceGate(HeadOutput("own"), blend, given_value(0.7)), said)
    apart = combined(
        ConfidenceGate(HeadOutput("own"), HeadOutput("both"), given_value(0.7)),
        {"own": said["own"], "both": combined(blend, said)},
    )
    np.testing.assert_array_equal(whole, apart)


# Classes that are never said


@given(st.floats(-1e6, 1e6, width=32), seeds)
def test_a_class_that_is_ruled_out_is_never_likeliest(level, seed):
    random = np.random.default_rng(seed)
    said = scores(random) + np.float32(level)
    said[0] = level  # all alike
    ruled = ruled_out(said, ("Other", "Neutral"))
    assert ruled.argmax(axis=1).tolist() == (said[:, 1:7].argmax(axis=1) + 1).tolist()
    np.testing.assert_array_equal(ruled[:, 1:7], said[:, 1:7])
    assert np.isfinite(ruled).all()


def test_ruling_out_nothing_changes_nothing_and_everything_is_refused():
    said = scores(np.random.default_rng(2))
    assert ruled_out(said, ()) is said
    with pytest.raises(SpecError, match="Every class"):
        ruled_out(said, EXPR.names)
    with pytest.raises(UnknownNameError, match="Did you mean 'Other'"):
        ruled_out(said, ("other",))


# What does not fit


def test_parts_of_different_label_spaces_are_both_named():
    said = {"eight": np.zeros((3, 8), np.float32), "twelve": np.zeros((3, 12), np.float32)}
    with pytest.raises(SpecError, match="'eight' with 8 and 'twelve' with 12"):
        combined(Blend(HeadOutput("eight"), HeadOutput("twelve"), given_value(0.5)), said)
    with pytest.raises(SpecError, match="Only classes are chosen by a rule"):
        combined(ConfidenceGate(HeadOutput("twelve"), HeadOutput("twelve"), given_value(0.5)), said)


def test_parts_of_different_frames_missing_heads_and_open_numbers_are_refused():
    said = {"a": np.zeros((3, 8), np.float32), "b": np.zeros((4, 8), np.float32)}
    with pytest.raises(SpecError, match="'a' and 'b' have 3 and 4"):
        combined(Blend(HeadOutput("a"), HeadOutput("b"), given_value(0.5)), said)
    with pytest.raises(SpecError, match="'c' says; there is a, b"):
        combined(HeadOutput("c"), said)
    with pytest.raises(SpecError, match="no value"):
        combined(Blend(HeadOutput("a"), HeadOutput("a"), SearchedValue(None, (0.5,))), said)


def test_nan_is_refused_with_the_name_of_its_head():
    said = {"a": np.full((3, 8), np.nan, np.float32)}
    with pytest.raises(SpecError, match="'a' says holds NaN"):
        combined(HeadOutput("a"), said)


# What a network itself says


def test_contempt_stands_for_other_in_the_papers_map():
    logits = np.random.default_rng(3).normal(size=(20, 8)).astype(np.float32)
    papers = [5, 0, 2, 3, 4, 6, 7, 1]
    np.testing.assert_array_equal(pretrained_scores(LOGITS, AFFECTNET_8.names, logits), logits[:, papers])
    own = pretrained_scores(SPEC, AFFECTNET_8.names, logits)
    powers = np.exp(logits.astype(np.float64))
    np.testing.assert_allclose(own, (powers / powers.sum(axis=1, keepdims=True))[:, papers], rtol=1e-5)


def test_the_order_of_a_networks_classes_does_not_matter():
    logits = np.random.default_rng(4).normal(size=(20, 8)).astype(np.float32)
    numbered = logits[:, AFFECTNET_8_NUMBERED.order_of(AFFECTNET_8)]
    for spec in (SPEC, LOGITS, PretrainedSpec("own", "expr", contempt="dropped")):
        expected = pretrained_scores(spec, AFFECTNET_8.names, logits)
        np.testing.assert_allclose(pretrained_scores(spec, AFFECTNET_8_NUMBERED.names, numbered), expected, rtol=1e-5)


@pytest.mark.parametrize("spec", [SPEC, LOGITS, PretrainedSpec("own", "expr", contempt="dropped")])
def test_without_contempt_other_is_never_said(spec):
    logits = np.random.default_rng(5).normal(size=(20, 8)).astype(np.float32) * 9
    seven = np.delete(logits, 1, axis=1)
    said = pretrained_scores(spec, AFFECTNET_7.names, seven)
    assert np.isfinite(said).all()
    assert (said[:, 7] == (0 if spec.gives == "probabilities" else NEVER)).all()
    assert said.argmax(axis=1).tolist() == seven[:, [4, 0, 1, 2, 3, 5, 6]].argmax(axis=1).tolist()
    if spec.contempt == "dropped":
        np.testing.assert_array_equal(pretrained_scores(spec, AFFECTNET_8.names, logits), said)


def test_rows_far_below_another_are_still_probabilities():
    logits = np.array([[5000.0] + [0] * 7, [-5000.0, -5001.0] + [-6000] * 6], np.float32)
    own = pretrained_scores(SPEC, AFFECTNET_8.names, logits)
    np.testing.assert_allclose(own.sum(axis=1), 1, rtol=1e-6)
    assert own[1, 1] == pytest.approx(1 / (1 + np.exp(-1)), rel=1e-6)


def test_a_frame_that_holds_nothing_changes_no_other():
    logits = np.random.default_rng(6).normal(size=(4, 8)).astype(np.float32)
    spoiled = logits.copy()
    spoiled[2] = np.nan
    others = [0, 1, 3]
    expected = pretrained_scores(SPEC, AFFECTNET_8.names, logits)[others]
    np.testing.assert_array_equal(pretrained_scores(SPEC, AFFECTNET_8.names, spoiled)[others], expected)


def test_valence_and_arousal_are_as_they_are():
    affect = np.array([[1.5, -0.25]], np.float32)
    assert pretrained_scores(PretrainedSpec("va", "va"), (), affect) is affect


def test_networks_of_other_classes_are_refused():
    with pytest.raises(SpecError, match="no column for Disgust, Fear, Surprise"):
        pretrained_scores(SPEC, IEMOCAP_4.names, np.zeros((2, 4), np.float32))
    with pytest.raises(SpecError, match="needs 8 numbers a frame"):
        pretrained_scores(SPEC, AFFECTNET_8.names, np.zeros((2, 10), np.float32))
    with pytest.raises(SpecError, match="needs 2 numbers a frame"):
        pretrained_scores(PretrainedSpec("va", "va"), (), np.zeros((2, 8), np.float32))
