"""How committing, listing and planning grow with a store: up to 10,000 videos of eleven artifacts each.

The store is built as a run builds it: a draft a video, committed whenever `CommitPace` says. Extraction itself is not
done: a clock that the pace reads goes on by `--seconds` for each video (a cheap extractor on one worker), and by what
the real commits take. At each size a commit of one video more is measured, with the bytes of the list of nodes that it
writes; then `affstore plan`, as a process of its own, and its parts. `--keep FOLDER` keeps the store, and `--plot FILE`
draws the table. At last the history is folded, as `affstore gc --expire-older-than 0s` does.

Arrays have a few rows, because neither committing nor planning reads them; what a real corpus would weigh is computed
from Aff-Wild2's mean of 5,169 frames a video.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from bench.arguments import parser_of
from bench.clocks import spent
from bench.files import folder_bytes
from bench.large_store import put_video
from bench.workplace import EXTRACTORS, Workplace
from plan import command

from affstore.flows.commands.options import print_table
from affstore.flows.commits import CommitPace
from affstore.store.engine.draft import Draft
from affstore.store.engine.erasing import collect_garbage
from affstore.store.engine.places import local_folder
from affstore.store.engine.writers import alone_in
from affstore.tasks.planning.plan import plan

SIZES = (150, 600, 2_400, 10_000)
SECONDS = ("a commit", "put a video", "listing", "records", "planning", "affstore plan")
_FRAMES = 5_169
_BYTES_A_FRAME = 4 * (3 * 1_280 + 768)
_MOST_DRAFTS = 256


@dataclass(slots=True)
class Growing:
    """A store that grows by a draft a video.

    Attributes:
        place: the store.
        seconds_a_video: what extraction takes of the pace's clock.
        now_s: that clock.
        commit_s: seconds of all commits up to now.
        commits: how many there were.
        put_s: seconds of writing the drafts, by the size of the store.
    """

    place: Workplace
    seconds_a_video: float
    now_s: float = 0.0
    commit_s: float = 0.0
    commits: int = 0
    put_s: list[float] = field(default_factory=list)

    def to(self, videos: int) -> None:
        """Add videos until there are so many."""
        pace = CommitPace(clock=lambda: self.now_s)
        waiting = []
        for number in range(len(self.place.store().addresses("source")), videos):
            begun = time.perf_counter()
            draft = self.place.store().draft({}, self.place.context.run_id)
            put_video(draft, f"{number:05}-30-1280x720", self.place.profile)
            self.put_s.append(time.perf_counter() - begun)
            waiting.append(draft)
            self.now_s += self.seconds_a_video
            if number + 1 == videos or pace.is_due() or len(waiting) >= _MOST_DRAFTS:
                with pace.measured():
                    self.commit(waiting)
                waiting = []

    def commit(self, drafts: Sequence[Draft]) -> None:
        """Commit drafts."""
        begun = time.perf_counter()
        self.place.store().commit(drafts, f"extract: {len(drafts)}", {"run_id": self.place.context.run_id})
        took = time.perf_counter() - begun
        self.now_s, self.commit_s, self.commits = self.now_s + took, self.commit_s + took, self.commits + 1


def newest_bytes(folder: Path) -> int:
    """The size of the newest list of nodes, which the engine calls a snapshot."""
    return max((folder / "snapshots").iterdir(), key=lambda path: path.stat().st_mtime_ns).stat().st_size


def measured(growing: Growing, videos: int) -> dict[str, float]:
    """What things take in a store of so many videos."""
    place, folder = growing.place, local_folder(growing.place.context.store_url)
    store = place.store()
    took = {
        "commits": growing.commits,
        "commits %": 100 * growing.commit_s / (videos * growing.seconds_a_video),
        "put a video": sum(growing.put_s[-100:]) / max(1, len(growing.put_s[-100:])),
        "lists": folder_bytes(folder / "snapshots"),
        "list": newest_bytes(folder),
        "listing": spent(store.addresses).wall_s,
        "records": spent(store.records).wall_s,
    }
    records = store.records()
    took["planning"] = spent(lambda: plan(records, place.profile)).wall_s
    took["affstore plan"] = spent(lambda: command(place, EXTRACTORS)).wall_s
    draft = store.draft({}, place.context.run_id)
    put_video(draft, "one more", place.profile)
    begun = time.perf_counter()
    store.commit([draft], "extract: 1", {"run_id": place.context.run_id})
    return took | {"a commit": time.perf_counter() - begun}


def drawn(path: Path, rows: dict[int, dict[str, float]]) -> None:
    """Draw seconds over videos, both as logarithms: what is linear is a line of slope 1."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for name in SECONDS:
        axes.loglog(list(rows), [row[name] for row in rows.values()], marker="o", label=name)
    axes.set(xlabel="videos", ylabel="seconds")
    axes.legend()
    figure.savefig(path, metadata={"Date": None})


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__, "keep")
    parser.add_argument("--videos", type=int, action="append", help="sizes, in order; may be given several times")
    parser.add_argument("--seconds", type=float, default=2.0, help="what extraction of a video takes")
    parser.add_argument("--plot", type=Path, help="an SVG file")
    asked = parser.parse_args(arguments)
    rows: dict[int, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        place = Workplace.at(asked.keep or Path(temporary), EXTRACTORS)
        growing = Growing(place, asked.seconds)
        for videos in asked.videos or SIZES:
            growing.to(videos)
            rows[videos] = measured(growing, videos)
            print(videos, {name: round(value, 3) for name, value in rows[videos].items()}, flush=True)
        folder = local_folder(place.context.store_url)
        with alone_in(place.context.store_url):
            folding = spent(lambda: collect_garbage(place.store(), timedelta(0), timedelta(0)))
        left = folder_bytes(folder / "snapshots")
    largest = max(rows)
    corpus = largest * _FRAMES * _BYTES_A_FRAME
    print(f"Extraction of a video is taken to last {asked.seconds:g} s, on one worker.")
    print_table(
        ("videos", "commits", "of extraction", "list of nodes", "all lists", *SECONDS),
        [
            (
                *(f"{videos:,}", f"{row['commits']:,}", f"{row['commits %']:.1f} %"),
                *(f"{row['list'] / 1e6:.2f} MB", f"{row['lists'] / 1e6:.0f} MB"),
                *(f"{row[name]:.2f} s" for name in SECONDS),
            )
            for videos, row in rows.items()
        ],
    )
    print(
        f"Folding the history took {folding}; lists of nodes then weigh {left / 1e6:.1f} MB, "
        f"{100 * left / corpus:.4f} % of a corpus of {corpus / 1e9:,.0f} GB in float32."
    )
    if asked.plot:
        drawn(asked.plot, rows)


if __name__ == "__main__":
    main()
