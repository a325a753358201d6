"""The extractors by name. A new one is one file: a module of this package, or of a plugin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from affstore.models.engines.base import EngineName
from affstore.models.engines.footprint import PassBytes, Workload
from affstore.models.extractor_specs import (
    IMPORTED,
    ExtractorSpec,
    FaceExtractorSpec,
    ImportedFeatures,
    InputSpec,
    SoundExtractorSpec,
    split_variant,
)
from affstore.models.extractors.base import ExtractorKind, FaceExtractor, OneExtractor, SoundExtractor
from affstore.models.weights.entry import WeightsEntry
from affstore.store.contract.errors import DuplicateNameError, PluginError, UnknownNameError
from affstore.store.contract.registry import Registry

EXTRACTORS = Registry[ExtractorKind[Any]](
    "extractor", "affstore.models.extractors", "affstore.extractors", base=ExtractorKind
)
"""Every kind by its extractor's name, or by the prefix that it answers for. No module imports torch at the top."""


def register(*kinds: OneExtractor[Any]) -> None:
    """Make extractors known under the names in their specs.

    Raises:
        DuplicateNameError: a name is taken.
    """
    for kind in kinds:
        EXTRACTORS.register(kind.only.name, kind)


def names() -> tuple[str, ...]:
    """The name of every extractor that has one of its own, sorted; models behind a prefix are not listed."""
    return tuple(name for name in EXTRACTORS.names() if not name.endswith("/"))


def spec_of(name: str) -> ExtractorSpec:
    """The registered spec, or the variant of it that a name like `emotieffnet_b0@cropped` asks for.

    Its weights are not resolved yet.

    Raises:
        UnknownNameError: there is no such extractor; the message suggests the nearest.
        SpecError: there is no such variant, or the plugin that brought it does not work.
    """
    plain, variant = split_variant(name)
    spec = _kind_of(plain).spec(plain)
    if not isinstance(spec, ExtractorSpec) or spec.name != plain:
        found = f"a spec called '{spec.name}'" if isinstance(spec, ExtractorSpec) else f"a {type(spec).__name__}"
        raise PluginError(f"The extractor '{plain}' of {EXTRACTORS.origin(plain)} gives {found}, not its own spec.")
    return spec.varied(variant) if variant else spec


def input_spec_of(name: str) -> InputSpec:
    """What a head's input comes from by its name: an extractor, or features that were imported, as `imported/gaze`.

    Raises:
        UnknownNameError: there is no such extractor; the message suggests the nearest.
        SpecError: see `spec_of`.
    """
    return ImportedFeatures(name) if name.startswith(IMPORTED) else spec_of(name)


def build_face(spec: FaceExtractorSpec, parameters: Mapping[str, Any], device: str = "cpu") -> FaceExtractor:
    """The face network `spec.name` with these parameters, on that device."""
    extractor = _kind_of(spec.name).build(spec, parameters, device)
    if not isinstance(extractor, FaceExtractor):
        raise PluginError(
            f"The extractor '{spec.name}' builds a {type(extractor).__name__}, which is no FaceExtractor."
        )
    return extractor


def build_sound(spec: SoundExtractorSpec, parameters: Mapping[str, Any], device: str = "cpu") -> SoundExtractor:
    """The sound network `spec.name` with these parameters, on that device."""
    extractor = _kind_of(spec.name).build(spec, parameters, device)
    if not isinstance(extractor, SoundExtractor):
        raise PluginError(
            f"The extractor '{spec.name}' builds a {type(extractor).__name__}, which is no SoundExtractor."
        )
    return extractor


def untrained(spec: ExtractorSpec, seed: int) -> dict[str, Any]:
    """Seeded, untrained parameters for the network `spec.name`."""
    return _kind_of(spec.name).untrained(spec, seed)


def engines_of(spec: ExtractorSpec) -> Sequence[EngineName]:
    """The engines that run the network on a CPU."""
    return _kind_of(spec.name).engines(spec)


def pass_bytes(spec: ExtractorSpec, workload: Workload) -> PassBytes:
    """The memory that the network's forward passes need beside its parameters."""
    return _kind_of(spec.name).pass_bytes(spec, workload)


def entries() -> Mapping[str, WeightsEntry]:
    """Every entry by name, but those of extractors that answer for a prefix.

    Raises:
        DuplicateNameError: two extractors bring different entries of one name.
    """
    found: dict[str, WeightsEntry] = {}
    for name in EXTRACTORS.names():
        if name.endswith("/"):
            continue
        entry = EXTRACTORS.get(name).weights(name)
        if found.setdefault(entry.name, entry) != entry:
            raise DuplicateNameError(
                f"The weights '{entry.name}' that the extractor '{name}' brings are another extractor's. Rename them."
            )
    return MappingProxyType(found)


def entry_of(name: str) -> WeightsEntry:
    """The entry of that name.

    Raises:
        UnknownNameError: there is none; the message suggests the nearest.
    """
    known = entries()
    if name in known:
        return known[name]
    prefixes = [prefix for prefix in EXTRACTORS.names() if prefix.endswith("/") and name.startswith(prefix)]
    if not prefixes:
        raise UnknownNameError.of("weights entry", name, known)
    return EXTRACTORS.get(name).weights(name)


def _kind_of(name: str) -> ExtractorKind[Any]:
    plain, _ = split_variant(name)
    return EXTRACTORS.get(plain)
