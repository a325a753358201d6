"""The facial action units that the demonstration corpus is drawn from."""

from __future__ import annotations

from affstore.store.contract.labels import AU

UNITS = (*AU.names, "AU5", "AU9", "AU20")
"""The twelve annotated action units, then three that are drawn but, as in Aff-Wild2, not annotated."""

COLUMN = {unit: column for column, unit in enumerate(UNITS)}
"""Where each unit's intensity stands in a state `(units,)`."""
