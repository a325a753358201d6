"""The text files of the demonstration corpus, as Aff-Wild2 and its challenges write them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from affstore.models.demo.script import Script, au_labels, expr_labels, random_of, states, va_labels
from affstore.models.demo.shoot import Stage
from affstore.store.contract.labels import TASKS

TASK_FOLDERS = {
    "expr": "EXPR_Recognition_Challenge",
    "va": "VA_Estimation_Challenge",
    "au": "AU_Detection_Challenge",
}
SPLIT_FOLDERS = {"train": "Train_Set", "validation": "Validation_Set"}
TEST_LISTS = {task: f"CVPR_5th_ABAW_{task.upper()}_test_set_sample.txt" for task in TASKS}

_INVALID = {"expr": -1.0, "va": -5.0, "au": -1.0}
_LOST_S = 0.3  # length of the stretch that the annotators of valence or of action units left out


def header(task: str) -> str:
    """The first line of an annotation file."""
    return ",".join(TASKS[task].names)


def annotation(staged: Stage, subject: int, task: str) -> str:
    """A subject's annotation file: the header, then a line a frame."""
    rows = _labels(staged, subject, task)
    rows = np.concatenate([rows, np.repeat(rows[-1:], staged.take.surplus, 0)])
    digits = 3 if task == "va" else 0
    return "\n".join([header(task), *(",".join(_number(value, digits) for value in row) for row in rows)]) + "\n"


def sample_of_test_set(task: str, staged: list[Stage]) -> str:
    """The rows that a submission must have, in order; 1-based, each ending in a comma."""
    rows = [
        f"{take.take.name}/{frame:05d}.jpg,"
        for take in staged
        for frame in range(1, len(take.clock) + take.take.surplus + 1)
    ]
    return "\n".join([f"image_location,{header(task)}", *rows]) + "\n"


def _labels(staged: Stage, subject: int, task: str) -> NDArray[np.float64]:
    """`(frames, columns)` of the file, with what the annotators left out."""
    script, times_s = staged.scripts[subject], staged.clock.starts_s
    rows = _annotated(script, times_s, task)
    if staged.take.absence == "leaves":
        rows[staged.away > 0] = _INVALID[task]
    if task != "expr":
        random = random_of(staged.seed, staged.take.annotation_names[subject], task)
        lost_s = random.uniform(0.5, script.end_s - 0.5)
        rows[np.abs(times_s - lost_s) < _LOST_S / 2] = _INVALID[task]
    return rows


def _annotated(script: Script, times_s: NDArray[np.float64], task: str) -> NDArray[np.float64]:
    """What the face shows, as the task annotates it."""
    if task == "expr":
        return expr_labels(script, times_s)[:, None].astype(np.float64)
    state = states(script, times_s)
    return va_labels(state) if task == "va" else au_labels(state).astype(np.float64)


def _number(value: float, digits: int) -> str:
    """As the annotators write it: whole numbers without a point."""
    return f"{value:.{digits}f}".rstrip("0").rstrip(".") if digits else str(int(value))
