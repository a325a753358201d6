"""Keys: what a number depends on, as one digest that stays while specs grow."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

import affstore
from affstore.flows.config.experiments import read_experiment
from affstore.models.extractor_specs import WeightsRef
from affstore.models.extractors import registry
from affstore.models.faces.specs import DetectorSpec, TrackingSpec
from affstore.models.labels.base import LabelFile
from affstore.store.contract.errors import SpecError
from affstore.store.contract.keys import canonical, changes, key_of
from affstore.store.contract.schema import families
from affstore.tasks import recipes
from affstore.tasks.evaluation.experiment_scores import result_recipe_fields
from affstore.tasks.specs import PostProcessing
from affstore.tasks.training.train import fit_of

PINNED = {
    "source": "441fd02f13e8c30e",
    "face": "f35ffb9144e4a961",
    "face of crops": "da8fb9753615b8dd",
    "visual": "e19f39bee4060887",
    "audio": "54a58204afd365bb",
    "audio by OpenL3": "14becf342ea325cc",
    "label": "0e89ad7383e033d1",
    "label of one of two people": "f5257a7c8b20b202",
    "head": "8ca47745d9445aba",
    "prediction": "0dd266285837fc53",
    "result": "269012694b1e08e6",
    "quarantine": "59139fed87621ba7",
}


def spec_classes() -> list[type]:
    """Every dataclass of the package that keys are made of: those with a constant KIND."""
    modules = [module.name for module in pkgutil.walk_packages(affstore.__path__, "affstore.")]
    values = [
        value
        for module in modules
        if ".commands." not in module and not module.endswith("_search")
        for value in vars(importlib.import_module(module)).values()
    ]
    kinds = {value for value in values if isinstance(value, type) and dataclasses.is_dataclass(value)}
    return sorted((kind for kind in kinds if "KIND" in vars(kind)), key=lambda kind: kind.__name__)


SPECS = spec_classes()


def an_instance(kind: type) -> object:
    """A value of a class without its own checks: every field without a default holds a text of its own."""
    value = object.__new__(kind)
    for field in dataclasses.fields(kind):
        if field.default is not dataclasses.MISSING:
            content = field.default
        elif field.default_factory is not dataclasses.MISSING:
            content = field.default_factory()
        else:
            content = f"the {field.name}"
        object.__setattr__(value, field.name, content)
    return value


@pytest.mark.parametrize("kind", SPECS, ids=lambda kind: kind.__name__)
def test_a_new_field_with_a_default_changes_no_key(kind):
    grown = dataclasses.make_dataclass(
        f"Renamed{kind.__name__}", [("added", int, dataclasses.field(default=7))], bases=(kind,), frozen=True
    )
    before, after = an_instance(kind), an_instance(grown)
    assert key_of(after) == key_of(before)
    object.__setattr__(after, "added", 8)
    assert key_of(after) != key_of(before)


@pytest.mark.parametrize("kind", SPECS, ids=lambda kind: kind.__name__)
def test_every_field_of_a_spec_decides_its_key_but_those_that_no_number_depends_on(kind):
    plain_key = key_of(an_instance(kind))
    for field in dataclasses.fields(kind):
        changed = an_instance(kind)
        object.__setattr__(changed, field.name, "something else")
        decides = field.metadata.get("in_keys", True)
        assert (key_of(changed) != plain_key) == decides, field.name


def test_every_kind_of_spec_has_a_name_of_its_own():
    kinds = [vars(kind)["KIND"] for kind in SPECS]
    assert len(set(kinds)) == len(kinds) > 20


def test_a_class_without_a_kind_makes_no_key():
    @dataclasses.dataclass(frozen=True)
    class Unnamed:
        rate: Fraction = Fraction(1, 2)

    with pytest.raises(SpecError, match="Unnamed has no constant KIND"):
        key_of(Unnamed())


def test_true_is_not_taken_for_one():
    assert key_of({"a": True}) != key_of({"a": 1})


def test_a_version_is_in_every_key_that_has_one():
    for name in registry.names():
        assert canonical(registry.spec_of(name))["version"] >= 1


def test_a_change_from_a_default_names_the_default():
    spec = registry.spec_of("emotieffnet_b0")
    recipes = ({"extractor": canonical(dataclasses.replace(spec, precision=p))} for p in ("float32", "bfloat16"))
    assert changes(*recipes) == ["extractor.precision: float32 → bfloat16"]


def recipes_of_today():
    """A recipe of each family, from fixed digests, and from what a user gets who changes nothing."""
    weights = WeightsRef("w", sha256="5" * 64)
    face = replace(registry.spec_of("emotieffnet_b0@cropped"), weights=weights)
    speech = replace(registry.spec_of("wav2vec2_base_960h"), weights=weights)
    openl3 = replace(registry.spec_of("openl3_env_mel128_512"), weights=weights)
    row = read_experiment("abaw5/table2/emotieffnet-embeddings-logits-smoothed")
    head = row.heads[0]
    return {
        "source": recipes.source("1" * 64),
        "face": recipes.face(DetectorSpec(), TrackingSpec(), "2" * 64, "left"),
        "face of crops": recipes.cropped_face("3" * 64, "2" * 64, "main"),
        "visual": recipes.feature(face, "4" * 64),
        "audio": recipes.feature(speech, "2" * 64),
        "audio by OpenL3": recipes.feature(openl3, "2" * 64),
        "label": recipes.label(LabelFile("expr", "train", "v", "main", Path("v.txt")), "6" * 64, "2" * 64, "main"),
        "label of one of two people": recipes.label(
            LabelFile("expr", "train", "v", "left", Path("v_left.txt")), "6" * 64, "2" * 64, "left"
        ),
        "head": recipes.head(fit_of(head), ["7" * 64], ["8" * 64]),
        "prediction": recipes.prediction(PostProcessing(50), "9" * 64, ["4" * 64]),
        "result": recipes.result(result_recipe_fields(row, "papers", 0), ["a" * 64]),
        "quarantine": recipes.quarantine("ingest", "video", "1" * 64),
    }


@pytest.mark.parametrize("family", PINNED)
def test_a_key_is_what_it_was(family):
    """Where this fails, every store holds artifacts that count as stale from now on: is that what you mean?"""
    assert key_of(recipes_of_today()[family])[:16] == PINNED[family]


def test_a_key_of_every_family_is_pinned():
    assert {family.split()[0] for family in PINNED} == set(families())
    assert set(PINNED) == set(recipes_of_today())
