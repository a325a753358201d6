"""Which labelled videos a head is fitted on, and which choose its epoch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from affstore.store.contract.errors import AnnotationError, SpecError
from affstore.store.contract.names import split_subject

SPLITS = ("train", "validation")


@dataclass(frozen=True, slots=True)
class Division:
    """Which labelled videos a head is fitted on, and which choose its epoch.

    Attributes:
        train: the splits it is fitted on.
        validation: the splits that choose its epoch, and are measured; none where its epochs are fixed.
        folds: into how many parts the videos of `train` are cut, subjects of one video together; 0 for no folds.
            With folds, the part `held_out` takes the place of `validation`, and the head sees the others.
        held_out: which part, from 0.
        seed: of the cut.
    """

    train: tuple[str, ...] = ("train",)
    validation: tuple[str, ...] = ("validation",)
    folds: int = 0
    held_out: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = sorted({*self.train, *self.validation} - set(SPLITS))
        if unknown or not self.train:
            raise SpecError(f"A head is fitted on {' or '.join(SPLITS)}; found {', '.join(unknown) or 'nothing'}.")
        if self.folds and not (self.folds > 1 and 0 <= self.held_out < self.folds):
            raise SpecError(f"Of {self.folds} folds number {self.held_out} cannot be held out; 2 folds at least.")
        if not self.folds and set(self.train) & set(self.validation):
            raise SpecError("A split cannot both train a head and choose its epoch.")


_SHOWN = 5


def fold_of(videos: Sequence[str], folds: int, seed: int) -> dict[str, int]:
    """Cut videos into parts whose numbers of videos differ by one at most; subjects of one video stay together.

    A part depends on the set of names and the seed alone, not on the order in which they come.

    Args:
        videos: names, with or without a subject's suffix.
        folds: how many parts.
        seed: another one gives another cut.

    Returns:
        For each name, its part, from 0.

    Raises:
        SpecError: fewer than 2 parts were asked for.
        AnnotationError: there are fewer videos than parts.
    """
    if folds < 2:
        raise SpecError(f"Videos are cut into 2 folds at least; {folds} were asked for.")
    whole = {split_subject(name)[0] for name in videos}
    if len(whole) < folds:
        raise AnnotationError(
            f"{folds} folds need as many labelled videos; there are {len(whole)}. Ask for fewer folds, or add videos."
        )
    shuffled = sorted(whole, key=lambda video: (hashlib.sha256(f"{seed}:{video}".encode()).digest(), video))
    part = {video: place % folds for place, video in enumerate(shuffled)}
    return {name: part[split_subject(name)[0]] for name in videos}


def check_leak(splits: Mapping[str, Iterable[tuple[str, str]]]) -> None:
    """See to it that no video, and no video's bytes, are in two splits.

    Args:
        splits: of each, its videos: name (with or without a subject's suffix) and SHA-256 of the bytes.

    Raises:
        AnnotationError: there are such; up to five are named.
    """
    held = {split: {(split_subject(name)[0], sha256) for name, sha256 in videos} for split, videos in splits.items()}
    found: list[str] = []
    for first, second in combinations(held, 2):
        found += _same_name(first, second, held) + _same_bytes(first, second, held)
    if found:
        more = f" – and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        said = "; ".join(found[:_SHOWN])
        raise AnnotationError(f"Splits share videos: {said}{more}. Keep the annotations of one split only.")


_Held = Mapping[str, set[tuple[str, str]]]


def _same_name(first: str, second: str, held: _Held) -> list[str]:
    both = {name for name, _ in held[first]} & {name for name, _ in held[second]}
    return [f"'{name}' is in {first} and in {second}" for name in sorted(both)]


def _same_bytes(first: str, second: str, held: _Held) -> list[str]:
    """Videos of two names whose bytes are equal."""
    by_digest: dict[str, list[str]] = {}
    for name, sha256 in sorted(held[second]):
        by_digest.setdefault(sha256, []).append(name)
    return [
        f"'{name}' of {first} and '{other}' of {second} have the same bytes (SHA-256 {sha256[:12]}…)"
        for name, sha256 in sorted(held[first])
        for other in by_digest.get(sha256, [])
        if other != name
    ]
