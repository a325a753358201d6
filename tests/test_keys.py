"""Keys: what a number depends on, as one digest that stays while specs grow."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from fractions import Fraction

import pytest

import affstore
from affstore.models.extractors import registry
from affstore.store.contract.errors import SpecError
from affstore.store.contract.keys import canonical, changes, key_of


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
