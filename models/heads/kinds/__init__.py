"""The kinds of heads by name: one module each in this package, and those that plugins bring."""

from __future__ import annotations

from typing import Any

from affstore.models.heads.contract import HeadKind, HeadSpec
from affstore.store.contract.errors import PluginError
from affstore.store.contract.registry import Registry

HEADS: Registry[HeadKind[Any, Any, Any]] = Registry("head", __name__, "affstore.heads", base=HeadKind)


def head_kind(name: str) -> HeadKind[Any, Any, Any]:
    """The kind of head of that name.

    Raises:
        UnknownNameError: there is none; the message suggests the nearest.
        PluginError: the plugin that brings it does not work.
    """
    kind = HEADS.get(name)
    if kind.name != name or getattr(kind.spec_type, "KIND", "") != name:
        raise PluginError(
            f"The head '{name}' of {HEADS.origin(name)} cannot be used: its `name`, and the KIND of its `spec_type`, "
            f"must be '{name}'. Update the package."
        )
    return kind


def kind_of(spec: HeadSpec) -> HeadKind[Any, Any, Any]:
    """The kind of a head that is specified so."""
    return head_kind(spec.KIND)
