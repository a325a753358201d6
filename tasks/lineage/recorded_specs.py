"""Specs read back from the recipes of records: what `canonical` wrote, as the values that it was written of."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any, get_args, get_type_hints

from affstore.models.ensembles.spec import (
    Blend,
    ConfidenceGate,
    HeadOutput,
    SearchedValue,
    TwoStageOther,
    with_values,
)
from affstore.models.evaluation.evaluate import EvaluationSpec, TunedParameters
from affstore.models.extractor_specs import ExtractorSpec, ImportedFeatures, InputSpec, WeightsRef
from affstore.models.extractors.registry import spec_of
from affstore.models.faces.specs import DetectorSpec, TrackingSpec
from affstore.models.heads.contract import HeadSpec
from affstore.models.heads.kinds import head_kind
from affstore.store.contract.errors import SpecError
from affstore.store.contract.keys import canonical, changes
from affstore.store.contract.labels import SpaceKind, space_from_fields
from affstore.tasks.experiments import Sweep
from affstore.tasks.specs import Input, PostProcessing, TunedPostProcessing

_SPECS: tuple[Any, ...] = (
    Blend,
    ConfidenceGate,
    DetectorSpec,
    EvaluationSpec,
    HeadOutput,
    ImportedFeatures,
    Input,
    PostProcessing,
    SearchedValue,
    Sweep,
    TrackingSpec,
    TwoStageOther,
    WeightsRef,
)


def spec_from(recipe: Any, also: Iterable[Any] = ()) -> Any:
    """The spec that a part of a recipe was written of.

    Args:
        recipe: that part.
        also: classes of specs that it may hold, beside those of this module.

    Raises:
        SpecError: this affstore has no such spec, or would write another recipe of it.
    """
    known = {one.KIND: one for one in (*_SPECS, *also)}
    spec = _value(recipe, known)
    if canonical(spec) != recipe:
        raise SpecError(f"This affstore understands it in another way: {'; '.join(changes(recipe, canonical(spec)))}.")
    return spec


def extractor_from(recipe: Mapping[str, Any]) -> ExtractorSpec:
    """The network that a recipe names, with the weights, engine, precision and stored type that it had then.

    Raises:
        SpecError: there is no such network any more, or it is another one by now.
    """
    spec = spec_of(str(recipe["name"]))
    weights = recipe["weights"]
    spec = dataclasses.replace(
        spec,
        weights=WeightsRef(weights["name"], weights["sha256"], weights.get("trained", True)),
        engine=recipe.get("engine", spec.engine),
        precision=recipe.get("precision", spec.precision),
        stored=recipe.get("stored", spec.stored),
    )
    if canonical(spec) != recipe:
        raise SpecError(f"'{spec.name}' is another network today: {'; '.join(changes(recipe, canonical(spec)))}.")
    return spec


def input_spec_from(recipe: Mapping[str, Any]) -> InputSpec:
    """What an input of a head came from: the network that a recipe names, or imported features.

    Raises:
        SpecError: see `extractor_from`.
    """
    if recipe.get("kind") == ImportedFeatures.KIND:
        found: ImportedFeatures = spec_from(recipe)
        return found
    return extractor_from(recipe)


def head_from(recipe: Mapping[str, Any]) -> HeadSpec:
    """The head that a recipe names.

    Raises:
        SpecError: there is no such kind of head, or it is another one by now.
    """
    spec_type = head_kind(str(recipe["kind"])).spec_type
    spec: HeadSpec = spec_from(recipe, [spec_type, *_parts_of(spec_type)])
    return spec


def post_processing_from(recipe: Mapping[str, Any]) -> TunedPostProcessing:
    """What an experiment does to the outputs of its heads, as the recipe of a prediction names it.

    Raises:
        SpecError: see `spec_from`; or a number of the method is missing.
    """
    evaluation, chosen = spec_from(recipe["judging"]), dict(recipe["chosen"])
    smooth, thresholds = chosen.pop("smooth_frames"), chosen.pop("thresholds", None)
    tuned = TunedParameters(
        with_values(evaluation.method, chosen), smooth, None if thresholds is None else tuple(thresholds)
    )
    return TunedPostProcessing(evaluation, tuned)


def _parts_of(spec_type: Any) -> list[Any]:
    """The specs within a spec, by the types of its fields."""
    hints = get_type_hints(spec_type).values()
    found = [part for hint in hints for part in (hint, *get_args(hint)) if hasattr(part, "KIND")]
    return found + [inner for part in found for inner in _parts_of(part)]


def _value(value: Any, known: Mapping[str, Any], hint: Any = None) -> Any:
    if isinstance(value, Mapping) and value.get("kind") in set(SpaceKind):
        return space_from_fields(value)
    if isinstance(value, Mapping) and "kind" in value:
        spec_type = known.get(str(value["kind"]))
        if spec_type is None:
            raise SpecError(f"This affstore has no '{value['kind']}'.")
        hints = get_type_hints(spec_type)
        unknown = sorted(value.keys() - hints.keys() - {"kind"})
        if unknown:
            raise SpecError(f"This affstore knows no '{unknown[0]}' of a '{value['kind']}'.")
        return spec_type(**{name: _value(one, known, hints[name]) for name, one in value.items() if name != "kind"})
    if isinstance(value, list):
        return tuple(_value(one, known) for one in value)
    return Fraction(value) if hint is Fraction else value
