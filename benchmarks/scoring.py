"""How long all of Aff-Wild2's validation frames take to smooth, to find thresholds for, to decide and to score.

Action units: 445,836 frames of 105 videos, averaged over 11 frames, a threshold searched for each of 12 units on
unsmoothed scores. Expressions: 280,532 frames of 70 videos, averaged over 101 frames. Beside it the same as the papers'
notebooks do it: a loop over frames, and scikit-learn. Both must say the same. Scores and labels are drawn by lot; the
lengths are those of Aff-Wild2's videos where a table of them is found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bench.arguments import parser_of
from bench.clocks import Spent, spent, typical
from bench.files import frame_counts
from sklearn.metrics import f1_score

from affstore.flows.commands.options import print_table
from affstore.models.ensembles.spec import HeadOutput, SearchedValue
from affstore.models.evaluation.evaluate import EvaluationSpec, EvaluationVideo, evaluate
from affstore.models.evaluation.thresholds import GRID
from affstore.models.evaluation.tune import choose
from affstore.store.contract.labels import task_space

SHAPE = Path(__file__).resolve().parents[2] / "shared" / "corpus_shape" / "affwild2_shape.csv"
BAR_S = 1.0


@dataclass(frozen=True, slots=True)
class Part:
    """Validation frames of a task.

    Attributes:
        evaluation: what is done to them.
        videos: how many.
        frames: of all of them.
    """

    evaluation: EvaluationSpec
    videos: int
    frames: int


PARTS = (
    Part(EvaluationSpec("au", HeadOutput("head"), SearchedValue(5, ()), "tuned"), 105, 445_836),
    Part(EvaluationSpec("expr", HeadOutput("head"), SearchedValue(50, ())), 70, 280_532),
)


def lengths(part: Part, table: Path) -> list[int]:
    """As many lengths as there are videos, with the given sum, in the proportions of real ones."""
    random = np.random.default_rng(0)
    if table.is_file():
        drawn = random.choice([*frame_counts(table).values()], part.videos, replace=False)
    else:
        drawn = random.lognormal(8, 1, part.videos)
    ends = np.round(drawn.cumsum() / drawn.sum() * part.frames).astype(int)
    return np.diff(ends, prepend=0).tolist()


def drawn(part: Part, table: Path) -> list[EvaluationVideo]:
    """Scores that know something of labels that last a while."""
    random = np.random.default_rng(1)
    space = task_space(part.evaluation.task)
    columns = space.columns
    videos = []
    for number, frames in enumerate(lengths(part, table)):
        value = random.integers(0, 8 if columns == 1 else 2, (frames // 25 + 1, columns), np.int8)
        value = value.repeat(25, axis=0)[:frames]
        scores = random.random((frames, len(space)), np.float32)
        scores += np.eye(8, dtype=np.float32)[value[:, 0]] / 5 if columns == 1 else value / np.float32(5)
        known = np.ones(value.shape, bool)
        videos.append(EvaluationVideo(f"video{number}", {"head": scores / np.float32(1.2)}, value, known))
    return videos


def ours(evaluation: EvaluationSpec, videos: Sequence[EvaluationVideo]) -> float:
    return evaluate(evaluation, choose(evaluation, videos, search=False), videos).value


def plain(evaluation: EvaluationSpec, videos: Sequence[EvaluationVideo]) -> float:
    """The notebooks' way."""
    delta = int(evaluation.smooth_frames.value or 0)
    smoothed = np.concatenate([smooth(video.outputs["head"], delta) for video in videos])
    value = np.concatenate([video.value for video in videos])
    if evaluation.task == "expr":
        return float(f1_score(value[:, 0], smoothed.argmax(axis=1), average="macro", zero_division=0.0))
    raw = np.concatenate([video.outputs["head"] for video in videos])
    found = []
    for k in range(value.shape[1]):
        tried = [f1_score(value[:, k], raw[:, k] >= np.float32(t), zero_division=0.0) for t in GRID]
        found.append(f1_score(value[:, k], smoothed[:, k] >= np.float32(GRID[int(np.argmax(tried))])))
    return float(np.mean(found))


def smooth(values: np.ndarray, delta: int) -> np.ndarray:
    frames = range(len(values))
    return np.array([values[max(0, i - delta) : i + delta + 1].mean(axis=0, dtype=np.float64) for i in frames], "f4")


def timed(
    way: Callable[[EvaluationSpec, Sequence[EvaluationVideo]], float],
    evaluation: EvaluationSpec,
    videos: Sequence[EvaluationVideo],
) -> tuple[float, Spent]:
    said: list[float] = []
    took = spent(lambda: said.append(way(evaluation, videos)))
    return said[0], took


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__, rounds=5)
    parser.add_argument("--share", type=float, default=1.0, help="of the frames; less measures nothing")
    parser.add_argument("--lengths", type=Path, default=SHAPE, help="a table with a column `frames`")
    asked = parser.parse_args(arguments)
    rows, total_s = [], 0.0
    for part in PARTS:
        fewer = Part(part.evaluation, part.videos, max(part.videos, int(part.frames * asked.share)))
        videos = drawn(fewer, asked.lengths)
        values, took = zip(*(timed(ours, part.evaluation, videos) for _ in range(asked.rounds)), strict=True)
        expected, loop = timed(plain, part.evaluation, videos)
        if not np.allclose(values, expected, atol=1e-4):
            raise SystemExit(f"Ours says {values[0]}, scikit-learn {expected}, for the task '{part.evaluation.task}'.")
        one = typical(took)
        total_s += one.wall_s
        shape = f"{fewer.frames:,} × {len(task_space(part.evaluation.task))}"
        times = (f"{one.wall_s:.2f} s", f"{one.cpu_s:.2f} s", f"{loop.wall_s:.1f} s", f"{loop.wall_s / one.wall_s:.0f}")
        rows.append((part.evaluation.task, shape, *times))
    found = "the lengths of Aff-Wild2's videos" if asked.lengths.is_file() else "lengths by lot"
    print(f"Median of {asked.rounds} rounds, {found}. Together {total_s:.2f} s; the bar is {BAR_S:.0f} s.")
    print_table(("task", "frames", "wall", "processor", "plain loop", "times as fast"), rows)


if __name__ == "__main__":
    main()
