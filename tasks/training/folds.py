"""The heads of an experiment under each protocol: as published, or with all choices cross-validated."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from affstore import FeatureStore
from affstore.models.heads.kinds import kind_of
from affstore.models.heads.splits import Folds, SplitSpec, groups_of_videos
from affstore.store.contract.errors import AnnotationError, NotFoundError
from affstore.store.contract.labels import LabelSpace
from affstore.store.contract.records import Address
from affstore.tasks.specs import HeadRun
from affstore.tasks.training.examples import fold_of, labels_of


def folds_of(head_run: HeadRun, folds: Folds) -> tuple[HeadRun, ...]:
    """A head once for each fold: fitted on the other folds of its training videos, judged on that one."""
    return tuple(
        replace(
            head_run,
            name=f"{head_run.name}-fold{i + 1}of{folds.count}",
            division=SplitSpec(head_run.division.train, (), folds, i),
        )
        for i in range(folds.count)
    )


def folds_in_use(store: FeatureStore, head_run: HeadRun, folds: Folds) -> tuple[HeadRun, ...]:
    """Those of `folds_of` that hold out a labelled video; of few videos a fold may be empty.

    Without labelled validation videos the held-out ones are what is reported: then nothing is chosen on them, and each
    head is trained for the epochs that its spec says.

    Raises:
        AnnotationError: fewer than two folds have a video, a video lacks its group, or a group is in both splits.
    """
    labels = labels_of(store, head_run.space, head_run.division.train)
    check_groups(store, head_run.space, folds)
    videos = sorted({label.address.video for label in labels})
    in_use = {fold_of(store, folds, video) for video in videos}
    found = tuple(fold for fold in folds_of(head_run, folds) if fold.division.held_out in in_use)
    if len(found) < 2:
        raise AnnotationError(
            f"The {len(videos)} training videos with labels of the task '{head_run.task}' are in {len(found)} of "
            f"{folds.count} folds, and two at least are needed. Add videos or groups, or ask for more folds."
        )
    if scores_held_out(store, head_run.space):
        blind = kind_of(head_run.head).without_validation(head_run.head)
        return tuple(replace(fold, head=blind, division=replace(fold.division, blind=True)) for fold in found)
    return found


def scores_held_out(store: FeatureStore, space: LabelSpace) -> bool:
    """Whether `honest` reports the held-out training videos: no validation video has labels of the space."""
    return not labels_of(store, space, ("validation",))


def check_groups(store: FeatureStore, space: LabelSpace, folds: Folds) -> None:
    """See that no group is both trained on and reported.

    Args:
        store: an open store.
        space: what is predicted.
        folds: with the groups; maybe none.

    Raises:
        AnnotationError: one is.
    """
    found: dict[str, dict[str, str]] = {"train": {}, "validation": {}}
    of_videos = groups_of_videos(folds.groups)
    for split, groups in found.items():
        for label in labels_of(store, space, (split,)):
            names = (
                label.address.video,
                *store.get(Address("source", video=label.address.video)).attributes["aliases"],
            )
            groups |= {group: label.address.video for name in names for group in of_videos.get(name, ())}
    both = sorted(found["train"].keys() & found["validation"].keys())
    if both:
        trained, reported = (groups[both[0]] for groups in found.values())
        raise AnnotationError(
            f"The group '{both[0]}' is trained on ('{trained}') and reported ('{reported}'), so the score would not be "
            "of somebody new. Put a group's videos into one split, or have no validation videos: each fold is reported "
            "then."
        )


def shares_groups(store: FeatureStore, space: LabelSpace, folds: Folds) -> bool:
    """Whether a group is both trained on and reported; see `check_groups`."""
    try:
        check_groups(store, space, folds)
    except AnnotationError:
        return True
    return False


def with_fixed_epochs(store: FeatureStore, head_run: HeadRun, folds: Folds) -> HeadRun:
    """A head fitted on all of its training videos, for as many epochs as its folds' heads found best.

    The middle one of the folds' best epochs is taken; the lower of two.

    Raises:
        NotFoundError: a fold's head is not in the store.
        AnnotationError: see `folds_in_use`.
    """
    best = [
        int(store.get(Address("head", fold.name)).attributes["head"]["best_epoch"]) + 1
        for fold in folds_in_use(store, head_run, folds)
    ]
    return _fixed(head_run, sorted(best)[(len(best) - 1) // 2])


def cross_validated(store: FeatureStore, heads: Iterable[HeadRun], folds: Folds) -> list[HeadRun]:
    """The heads that `honest` fits: one a fold, and one on all videos.

    The latter's epochs are known once the folds' heads are in the store; until then they are those of the stored one.
    """
    found: list[HeadRun] = []
    for head in heads:
        try:
            found += folds_in_use(store, head, folds)
            found.append(with_fixed_epochs(store, head, folds))
        except (AnnotationError, NotFoundError):
            found.append(_fixed(head, _epochs_in_store(store, head)))
    return found


def _epochs_in_store(store: FeatureStore, head: HeadRun) -> int:
    """For how many epochs the stored head on all videos was fitted: what a plan goes by before the folds say."""
    stored = store.find(Address("head", cross_validated_name(head.name)))
    return 1 if stored is None else int(stored.attributes["head"]["best_epoch"]) + 1


def cross_validated_name(head: str) -> str:
    """How the head is called that is fitted without ever looking at the validation videos."""
    return f"{head}-honest"


def _fixed(head_run: HeadRun, epochs: int) -> HeadRun:
    division = replace(head_run.division, validation=())
    head = kind_of(head_run.head).without_validation(head_run.head, epochs)
    return replace(head_run, name=cross_validated_name(head_run.name), head=head, division=division)


def shortened(head_run: HeadRun) -> HeadRun:
    """A head whose training is cut short, only to see that it runs; its name says so."""
    head = kind_of(head_run.head).shortened(head_run.head)
    if head == head_run.head:
        return head_run
    return replace(head_run, name=f"{head_run.name}-brief", head=head)
