"""How an artifact that was computed again compares with what is stored: to the bit, or as engines may differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from affstore import FeatureStore
from affstore.models.fidelity import LEAST_SAME_CLASS, MOST_AFFECT_OFF
from affstore.store.contract.errors import AffstoreError
from affstore.store.contract.records import Record
from affstore.store.contract.schema import family
from affstore.tasks.specs import OPTIONAL_PACKAGES, package_versions

Verdict = Literal["equal", "close", "other", "not computed"]
"""The same bits; within the tolerance of its spec, where device or versions are others than then; other numbers; could
not be computed."""


@dataclass(frozen=True, slots=True)
class Reproduction:
    """What became of computing one artifact again.

    Attributes:
        path: the artifact's.
        verdict: how it compares with what is stored.
        reason: a sentence; empty where there is nothing to say.
    """

    path: str
    verdict: Verdict
    reason: str = ""


def compared(store: FeatureStore, record: Record, found: Mapping[str, NDArray[Any]], device: str) -> Reproduction:
    """Compare an artifact's arrays, computed again on a device, with those that a store holds."""
    path = record.address.path
    if family(record.address.family).has_digest(found, record.digest):
        return Reproduction(path, "equal")
    elsewhere = _elsewhere(record, device)
    try:
        stored = store.read(record.address)
    except AffstoreError as error:
        return Reproduction(path, "other", f"The digest is another one, and what is stored cannot be read: {error}")
    off = _difference(stored, found)
    if elsewhere and not off:
        return Reproduction(path, "close", f"Recorded {elsewhere}; within the tolerance of engines here.")
    where = f" Recorded {elsewhere}." if elsewhere else " Device and versions are those of then."
    return Reproduction(path, "other", f"{off or 'Its last bits are others.'}{where}")


def _elsewhere(record: Record, device: str) -> str:
    """On what an artifact was computed that is not here; empty if it was here."""
    now, then = package_versions(), {name: version for name, version in record.code.items() if name != "commit"}
    may_matter = record.address.family in ("head", "prediction")
    others = [
        f"{name} {version}"
        for name, version in then.items()
        if now.get(name) != version and (may_matter or name not in OPTIONAL_PACKAGES)
    ]
    recorded = str(record.made.get("device", "cpu"))
    return " and ".join(
        ([f"on {recorded}"] if recorded != device else []) + ([f"with {', '.join(others)}"] if others else [])
    )


def _difference(stored: Mapping[str, NDArray[Any]], found: Mapping[str, NDArray[Any]]) -> str:
    """What is off by more than engines may differ; empty if nothing is."""
    if stored.keys() != found.keys():
        return f"It has the arrays {', '.join(sorted(found))}; stored are {', '.join(sorted(stored))}."
    for name, was in stored.items():
        now = found[name]
        if was.shape != now.shape:
            return f"'{name}' has the shape {now.shape}; stored is {was.shape}."
        if was.dtype.kind != "f":
            same = float(np.mean(was == now)) if was.size else 1.0
            if same < LEAST_SAME_CLASS:
                return f"{100 * (1 - same):.1f} % of '{name}' are others."
        elif was.size:
            a, b = was.astype(np.float64).reshape(len(was), -1), now.astype(np.float64).reshape(len(now), -1)
            off = float(np.abs(a - b).max() / max(1.0, np.abs(a).max()))
            if off > MOST_AFFECT_OFF:
                return f"'{name}' is off by {off:.1e} of its largest number."
    return ""
