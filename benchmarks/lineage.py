"""How long `trace`, `impact` and `diff` take as commands on stores of Aff-Wild2's shape, and how that grows.

Every video has its source, a face, four embeddings, three labels and two predictions; two heads stand on half of them.
Videos are committed in 300 to 600 commits. Each command is a process of its own, as a user types it. Building the
largest store takes minutes: `--keep FOLDER` keeps the stores for next time.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from bench.clocks import spent, typical
from bench.large_store import put_heads, put_videos
from bench.workplace import Workplace

from affstore.flows.commands.options import print_table

EXTRACTORS = ("emotieffnet_b0", "emotieffnet_b0_afew", "mt_emotieffnet_b0", "wav2vec2_base_960h")
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


def command(place: Workplace, words: Sequence[str]) -> None:
    """A process of its own: what a user waits for."""
    whole = [sys.executable, "-m", "affstore.flows.cli", *words, "--store", place.context.store_url]
    done = subprocess.run(whole, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"affstore {' '.join(words)} ended with {done.returncode}: {done.stderr}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, action="append", help="sizes of stores; may be given several times")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="where the stores are built, and found again next time")
    asked = parser.parse_args(arguments)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for videos in asked.videos or VIDEOS:
            place = built((asked.keep or Path(temporary)) / str(videos), videos)
            store = place.store()
            size = (f"{videos:,}", f"{len(store.addresses()):,}", f"{len(store.history()):,}")
            for name, words in COMMANDS.items():
                took = typical(spent(lambda: command(place, words)) for _ in range(asked.rounds))  # noqa: B023
                rows.append((*size, name, f"{took.wall_s:.2f} s", f"{took.cpu_s:.2f} s"))
    print(f"Median of {asked.rounds} rounds; the bar is {BAR_S:.0f} s of wall time at 598 videos.")
    print_table(("videos", "artifacts", "commits", "command", "wall", "processor"), rows)


if __name__ == "__main__":
    main()
