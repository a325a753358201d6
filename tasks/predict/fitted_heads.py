"""The fitted heads of a store, which a process reads once and not for every video."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affstore import FeatureStore
from affstore.models.heads.contract import Fitted
from affstore.store.contract.records import Record

_KEPT_BYTES = 512 << 20


@dataclass(frozen=True, slots=True)
class StoredHead:
    """A head as the store has it.

    Attributes:
        fitted: its parameters, and what its fit showed.
        prior: `(outputs,)`: what is predicted where nothing is known.
        thresholds: `(outputs,)` of action units; None where it has none.
    """

    fitted: Fitted
    prior: NDArray[Any]
    thresholds: NDArray[Any] | None

    @property
    def nbytes(self) -> int:
        """The memory that its parameters take."""
        return self.fitted.blob.nbytes + sum(array.nbytes for array in self.fitted.parameters.values())


_kept: OrderedDict[tuple[str, str, str, str], StoredHead] = OrderedDict()
_lock = threading.Lock()


def stored_head(store: FeatureStore, record: Record) -> StoredHead:
    """The head of a record; the last ones, of half a GiB at most, are kept.

    Raises:
        StoreError: it is damaged.
    """
    which = (store.url, record.address.producer, record.key, record.digest)
    with _lock:
        if which in _kept:
            _kept.move_to_end(which)
            return _kept[which]
    head = _head_of(record, store.read(record.address))
    with _lock:
        _kept[which] = head
        while sum(one.nbytes for one in _kept.values()) > _KEPT_BYTES and len(_kept) > 1:
            _kept.popitem(last=False)
    return head


def _head_of(record: Record, arrays: Mapping[str, NDArray[Any]]) -> StoredHead:
    parameters, curve = _named("parameter_", arrays), _named("curve_", arrays)
    prior, thresholds = parameters.pop("prior"), parameters.pop("thresholds", None)
    facts = record.attributes["head"]
    blob = arrays.get("blob_model", np.empty(0, np.uint8))
    return StoredHead(Fitted(parameters, curve, facts["best_epoch"], blob, facts.get("report", {})), prior, thresholds)


def _named(start: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The arrays whose names begin so, by what follows."""
    return {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}
