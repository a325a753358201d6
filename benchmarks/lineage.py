"""How long `trace`, `impact` and `diff` take as commands on stores of Aff-Wild2's shape, and how that grows.

Every video has its source, a face, four embeddings, three labels and two predictions; two heads stand on half of them.
Videos are committed in 300 to 600 commits. Each command is a process of its own, as a user types it. Building the
largest store takes minutes: `--keep FOLDER` keeps the stores for next time.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path

from bench.arguments import parser_of
from bench.clocks import spent, typical
from bench.command import affstore
from bench.large_store import put_heads, put_videos
from bench.workplace import EXTRACTORS, Workplace

from affstore.flows.commands.options import print_table

VIDEOS = (150, 598, 2_400)
BAR_S = 1.0
_COMMITS = 300
_VIDEO = "001-30-1280x720"

COMMANDS: Mapping[str, Sequence[str]] = {
    "trace a prediction of one embedding": ("trace", f"expr-mlp/{_VIDEO}/3"),
    "trace a prediction of four": ("trace", f"prediction/au-mlp/{_VIDEO}/main"),
    "trace a result": ("trace", "result/expr-mlp@papers"),
    "trace an embedding": ("trace", f"visual/emotieffnet_b0/{_VIDEO}/main/3"),
    "impact of a video": ("impact", _VIDEO),
    "impact of an extractor": ("impact", "emotieffnet_b0"),
    "impact of weights": ("impact", "enet_b0_8_best_vgaf"),
    "impact of a package": ("impact", f"numpy=={version('numpy')}"),
    "diff of the newest commit": ("diff",),
    "diff of half the history": ("diff", "half"),
}


def built(folder: Path, videos: int) -> Workplace:
    """A store of that size, with a tag on the state that has half of its videos."""
    place = Workplace.at(folder, EXTRACTORS)
    a_commit = max(1, videos // _COMMITS)
    if not place.store().tags():
        put_videos(place, videos // 2, a_commit)
        place.store().tag("half")
    if not place.store().addresses("head"):
        put_videos(place, videos, a_commit)
        put_heads(place)
    return place


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__, rounds=5)
    parser.add_argument("--videos", type=int, action="append", help="sizes of stores; may be given several times")
    parser.add_argument("--keep", type=Path, help="where the stores are built, and found again next time")
    asked = parser.parse_args(arguments)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for videos in asked.videos or VIDEOS:
            place = built((asked.keep or Path(temporary)) / str(videos), videos)
            store = place.store()
            size = (f"{videos:,}", f"{len(store.addresses()):,}", f"{len(store.history()):,}")
            for name, words in COMMANDS.items():
                command = partial(affstore, *words, "--store", place.context.store_url)
                took = typical(spent(command) for _ in range(asked.rounds))
                rows.append((*size, name, f"{took.wall_s:.2f} s", f"{took.cpu_s:.2f} s"))
    print(f"Median of {asked.rounds} rounds; the bar is {BAR_S:.0f} s of wall time at 598 videos.")
    print_table(("videos", "artifacts", "commits", "command", "wall", "processor"), rows)


if __name__ == "__main__":
    main()
