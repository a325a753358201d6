"""How much memory the fits of heads take, and which of them may run at the same time."""

from __future__ import annotations

from collections.abc import Sequence

from affstore import FeatureStore
from affstore.models.heads.kinds import kind_of
from affstore.store.contract.usable import usable_cores, usable_memory_bytes
from affstore.tasks.specs import HeadRun
from affstore.tasks.training.examples import labels_of

_SHARE = 0.5
"""Part of the machine's memory that heads at work may take; libraries and the page cache need the rest."""


def side_by_side(store: FeatureStore, heads: Sequence[HeadRun]) -> list[list[HeadRun]]:
    """The heads in groups that are fitted one after the other; those of a group are submitted together.

    However many of a group run at once, they fit into the memory: one for each core at most is at work.

    Args:
        store: with labels.
        heads: any; their order is kept within a group.
    """
    cores = usable_cores()
    room = int(_SHARE * usable_memory_bytes())
    needs = {head.name: fit_bytes(store, head) for head in heads}
    large = [head for head in heads if needs[head.name] > room // cores]
    small = [head for head in heads if needs[head.name] <= room // cores]
    return [*([small] if small else []), *([head] for head in large)]


def fit_bytes(store: FeatureStore, head: HeadRun) -> int:
    """About how much memory fitting a head takes, from the labels and the widths of its inputs."""
    splits = {*head.division.train, *head.division.validation}
    rows = sum(int(label.attributes["frames"]) for label in labels_of(store, head.space, splits))
    width = sum(head.spec_of(part).width if part.array == "embedding" else 8 for part in head.inputs)
    return kind_of(head.head).memory_bytes(head.head, rows, width)
