"""What an experiment chose to do to its heads' outputs, and who chose it: in a head's file, and behind a prediction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from affstore import FeatureStore
from affstore.models.ensembles.spec import heads_of
from affstore.models.heads.contract import HeadSpec
from affstore.store.contract.errors import SpecError
from affstore.store.contract.keys import key_of, plain
from affstore.store.contract.labels import SpaceKind, Task, task_space
from affstore.store.contract.records import Address, Record
from affstore.store.contract.schema import address_of
from affstore.tasks.lineage.recorded_specs import post_processing_from, spec_from
from affstore.tasks.lineage.stored_heads import POST_PROCESSING, FittedExperiment, result_of
from affstore.tasks.specs import TunedPostProcessing


def post_processing_of(store: FeatureStore, fitted: FittedExperiment) -> dict[str, Any]:
    """What `affstore predict` does to a head's outputs beyond the head itself; empty where that is nothing.

    Args:
        store: that has it.
        fitted: an experiment of one head, or a head; an imported one may have brought some.
    """
    if fitted.experiment is None or fitted.tuned is None or fitted.result is None:
        return dict(store.get(Address("head", fitted.heads[0].name)).made.get(POST_PROCESSING, {}))
    finish = TunedPostProcessing(fitted.experiment.evaluation.as_for_the_challenge(), fitted.tuned).as_recipe()
    document = {"finish": finish, "from": _origin(store, fitted.result, fitted.experiment.evaluation)}
    return {**document, "key": key_of(document)}


def _origin(store: FeatureStore, result: Record, evaluation: Any) -> dict[str, Any]:
    """Who chose it, on how many videos, and how it scored; no name of a video is in it."""
    honest = result.attributes["protocol"] == "honest"
    split = "train" if honest else "validation"
    labels = store.find_all(address_of(parent.path) for parent in result.parents if parent.path.startswith("label/"))
    kernel, thresholds = evaluation.smooth_frames, evaluation.thresholds
    searched = kernel.value is None or (honest and bool(kernel.grid))
    half, given = thresholds == "half", isinstance(thresholds, tuple) and not honest
    return {
        "experiment": result.attributes["row"],
        "protocol": result.attributes["protocol"],
        "result": {"path": result.address.path, "key": result.key, "digest": result.digest},
        "chosen_on": {
            "split": split,
            "videos": len({one.address.video for one in labels if one.attributes["split"] == split}),
        },
        "smoothing": "chosen" if searched and len(kernel.grid) > 1 else "given",
        "thresholds": "half" if half else "given" if given else "chosen",
        "scores": plain(dict(result.attributes["scores"])),
    }


def post_processing_behind(store: FeatureStore, prediction: Record) -> dict[str, Any]:
    """What was done to the outputs of heads for a prediction, and where that was chosen; empty where it was nothing.

    Args:
        store: that has the prediction.
        prediction: its record.

    Returns:
        `smooth_frames` on either side; `thresholds` by label, or None; `numbers`, the weights and the like that the
        experiment's method searched for; `never`, classes that are not predicted; and `from`, who chose it, by which
        result of the snapshot, on how many videos. That is None where the result is gone or chose otherwise since.
    """
    finish = prediction.recipe.get("finish", {})
    if "chosen" not in finish:
        return {}
    chosen = dict(finish["chosen"])
    smooth, thresholds = chosen.pop("smooth_frames", 0), chosen.pop("thresholds", None)
    names = prediction.attributes["labels"]
    return {
        "smooth_frames": smooth,
        "thresholds": None if thresholds is None else dict(zip(names, thresholds, strict=False)),
        "numbers": chosen,
        "never": list(finish["judging"].get("without") or ()),
        "from": _chosen_by(store, prediction),
    }


def _chosen_by(store: FeatureStore, prediction: Record) -> dict[str, Any] | None:
    """Who chose what was done for a prediction: an experiment of the store, or whoever exported its head."""
    result = result_of(store, prediction.address.producer)
    if result is not None:
        if not holds_what_was_chosen(prediction, result):
            return None
        try:
            origin = _origin(store, result, spec_from(result.recipe["asked"]["judging"]))
        except (SpecError, KeyError):  # of an affstore that had other fields: what of it was searched is not known
            return {"result": {"path": result.address.path, "key": result.key, "digest": result.digest}}
        return {name: value for name, value in origin.items() if name != "scores"}
    head = store.find(Address("head", prediction.address.producer))
    came = head.made.get(POST_PROCESSING) if head is not None else None
    return dict(came["from"]) if came and came["finish"] == prediction.recipe["finish"] else None


def holds_what_was_chosen(prediction: Record, result: Record) -> bool:
    """Whether what was done for a prediction is what the result of its experiment chose."""
    chosen, there = prediction.recipe.get("finish", {}).get("chosen"), result.attributes["chosen"]
    return chosen is not None and all(there.get(name) == value for name, value in chosen.items())


def checked_post_processing(document: Mapping[str, Any], task: Task) -> None:
    """See that what a file says is done to a head's outputs fits the head's task, and is what was written.

    Raises:
        SpecError: it does not, or it was changed.
        KeyError: a part of it is missing.
    """
    if document["key"] != key_of({part: document[part] for part in ("finish", "from")}):
        raise SpecError("The smoothing and thresholds in the file were changed. Get it again.")
    found = post_processing_from(document["finish"])
    smooth, thresholds, space = found.tuned.smooth_frames, found.tuned.thresholds, task_space(task)
    if type(smooth) is not int or smooth < 0:
        raise SpecError(f"The file smooths over {smooth!r} frames on either side, which is no number of frames.")
    if task_space(found.evaluation.task) != space or len(heads_of(found.tuned.method)) != 1:
        raise SpecError(f"The smoothing and thresholds in the file are not of one head of '{space}'. Get it again.")
    if thresholds is not None and not (
        space.kind is SpaceKind.UNITS
        and len(thresholds) == len(space)
        and all(isinstance(one, float) and 0 <= one <= 1 for one in thresholds)
    ):
        raise SpecError(f"The thresholds in the file are not {len(space)} numbers from 0 to 1. Get it again.")
    lines_of(document)


def lines_of(document: Mapping[str, Any]) -> list[str]:
    """What is done to a head's outputs and who chose it, a sentence a line."""
    found = post_processing_from(document["finish"])
    names, thresholds = task_space(found.evaluation.task).names, found.tuned.thresholds
    facts = {
        "smooth_frames": found.tuned.smooth_frames,
        "thresholds": None if thresholds is None else dict(zip(names, thresholds, strict=True)),
        "numbers": {},
        "never": found.evaluation.without,
    }
    return _lines(facts, document["from"])


def lines_behind(facts: Mapping[str, Any]) -> list[str]:
    """What was done for a prediction and where that was chosen, as `post_processing_behind` gives it, a line each."""
    if not facts:
        return []
    origin = facts["from"]
    place = f"as in {origin['result']['path']}, key {origin['result']['key'][:_SHORT]}" if origin else _NOWHERE
    return [*_lines(facts, origin), place]


_SHORT = 12
_NOWHERE = "the result that this was chosen in is not in this snapshot as it was"


def _lines(facts: Mapping[str, Any], origin: Mapping[str, Any] | None) -> list[str]:
    """What was done, a sentence a line, with who chose it as far as that is known."""
    delta = facts["smooth_frames"]
    told = [
        ("smoothing", f"over {2 * delta + 1} frames ({delta} on either side)" if delta else "none"),
        ("thresholds", _numbers(facts["thresholds"] or {})),
        ("searched numbers", _numbers(facts["numbers"])),
        ("never predicted:", ", ".join(facts["never"])),
    ]
    if origin is None or origin.keys() == {"result"}:
        return [f"{what} {values}" for what, values in told if values]
    said = ("smoothing", "thresholds")
    return [
        f"{what} {values}{f', {_by(origin, origin[what])}' if what in said else ''}" for what, values in told if values
    ]


def _numbers(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in values.items())


def _by(origin: Mapping[str, Any], how: str) -> str:
    count, split = origin["chosen_on"]["videos"], origin["chosen_on"]["split"]
    videos = f"{count} {'training' if split == 'train' else split} video{'' if count == 1 else 's'}"
    where = f" on {videos}" if how == "chosen" else ""
    return f"{how} by the experiment '{origin['experiment']}' ({origin['protocol']}){where}"


def line_without(head: HeadSpec, thresholds: str) -> str:
    """What it means for a head's predictions that nothing of the kind comes with it.

    Args:
        head: its spec.
        thresholds: see `PostProcessing`.
    """
    if task_space(head.task).kind is not SpaceKind.UNITS:
        return "no smoothing comes with it: each frame is predicted by itself"
    if thresholds == "tuned":
        return "no smoothing comes with it: each frame is decided by itself, at the head's own thresholds"
    return "no smoothing and no thresholds come with it: each frame is decided by itself, at 0.5"
