"""Sentences for a person about the provenance of the networks' parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from affstore.store.contract.records import Provenance

_WARNINGS: dict[Provenance, str] = {
    "untrained": "Untrained parameters were used for {}: the numbers say nothing about the published models.",
    "unofficial": "Weights that are not known to be the published files were used for {}: the numbers are theirs.",
}


def marked(provenance: Provenance | None) -> str:
    """A provenance as a table shows it: in capitals unless the parameters are the published ones."""
    return "" if provenance is None else provenance if provenance == "published" else provenance.upper()


def warnings(networks: Mapping[str, Provenance]) -> list[str]:
    """A sentence for each kind of parameters that are not the published ones.

    Args:
        networks: provenance by the network's name.
    """
    named = {kind: [name for name, found in networks.items() if found == kind] for kind in _WARNINGS}
    return [_WARNINGS[kind].format(", ".join(names)) for kind, names in named.items() if names]
