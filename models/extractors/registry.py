"""The extractors by name. A new extractor is one file in this folder; nothing else changes."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar

import affstore.models.extractors
from affstore.models.extractor_specs import ExtractorSpec, FaceExtractorSpec, SoundExtractorSpec
from affstore.models.extractors.base import FaceExtractor, SoundExtractor
from affstore.models.extractors.variants import split_variant, variant_of
from affstore.store.contract.errors import DuplicateNameError, UnknownNameError

Extractor = FaceExtractor | SoundExtractor
_Class = TypeVar("_Class", bound=type[Any])

_CLASSES: dict[str, type[Any]] = {}
_SPECS: dict[str, ExtractorSpec] = {}
_FAMILIES: dict[str, tuple[Callable[[str], ExtractorSpec], type[Any]]] = {}


def register(*specs: ExtractorSpec) -> Callable[[_Class], _Class]:
    """Class decorator: make the class available under each spec's name.

    Raises:
        DuplicateNameError: a name is taken.
    """

    def enter(extractor: _Class) -> _Class:
        for spec in specs:
            if spec.name in _SPECS:
                raise DuplicateNameError(f"Two extractors are called '{spec.name}'. Rename one of them.")
            _SPECS[spec.name], _CLASSES[spec.name] = spec, extractor
        return extractor

    return enter


def register_family(prefix: str, spec_for: Callable[[str], ExtractorSpec]) -> Callable[[_Class], _Class]:
    """Class decorator: make the class available under every name `prefix/…` that `spec_for` knows.

    Args:
        prefix: e.g. `timm`.
        spec_for: gives the spec of a whole name such as `timm/vit_base_patch16_224`; raises `UnknownNameError`.

    Raises:
        DuplicateNameError: the prefix is taken.
    """

    def enter(extractor: _Class) -> _Class:
        if prefix in _FAMILIES:
            raise DuplicateNameError(f"Two families of extractors are called '{prefix}/'. Rename one of them.")
        _FAMILIES[prefix] = (spec_for, extractor)
        return extractor

    return enter


def names() -> tuple[str, ...]:
    """The name of every extractor that has one of its own, sorted; a family's models are not listed."""
    _scan()
    return tuple(sorted(_SPECS))


def spec_of(name: str) -> ExtractorSpec:
    """The registered spec, or the variant of it that a name like `emotieffnet_b0@cropped` asks for.

    Its weights are not resolved yet.

    Raises:
        UnknownNameError: there is no such extractor; the message suggests the nearest.
        SpecError: there is no such variant.
    """
    _scan()
    registered, variant = split_variant(name)
    prefix, slash, _ = registered.partition("/")
    if slash and prefix in _FAMILIES:
        spec = _FAMILIES[prefix][0](registered)
    elif registered in _SPECS:
        spec = _SPECS[registered]
    else:
        raise UnknownNameError.of("extractor", registered, [*_SPECS, *(f"{prefix}/…" for prefix in _FAMILIES)])
    return variant_of(spec, variant) if variant else spec


def build_face(spec: FaceExtractorSpec, parameters: Mapping[str, Any], device: str = "cpu") -> FaceExtractor:
    """The face network `spec.name` with these parameters, on that device."""
    extractor: FaceExtractor = _class_of(spec)(spec, parameters, device)
    return extractor


def build_sound(spec: SoundExtractorSpec, parameters: Mapping[str, Any], device: str = "cpu") -> SoundExtractor:
    """The sound network `spec.name` with these parameters, on that device."""
    extractor: SoundExtractor = _class_of(spec)(spec, parameters, device)
    return extractor


def untrained(spec: ExtractorSpec, seed: int) -> dict[str, Any]:
    """Seeded, untrained parameters for the network `spec.name`, by its class's `untrained(spec, seed)`."""
    parameters: dict[str, Any] = _class_of(spec).untrained(spec, seed)
    return parameters


def _class_of(spec: ExtractorSpec) -> type[Any]:
    spec_of(spec.name)
    name = split_variant(spec.name)[0]
    return _CLASSES[name] if name in _CLASSES else _FAMILIES[name.partition("/")[0]][1]


@cache
def _scan() -> None:
    """Import every module of this package, so that its specs are known. None of them imports torch at the top."""
    for module in pkgutil.walk_packages(affstore.models.extractors.__path__, "affstore.models.extractors."):
        importlib.import_module(module.name)
