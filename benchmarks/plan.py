"""How long `affstore plan` takes on a large store: 600 videos with eleven artifacts each, all of them fresh.

Every video has its source, a face, four embeddings, three labels and two predictions, with the records that real ones
have and arrays of a few rows, because planning reads no array. A process of its own plans it, as a user types it; then
the parts of that are timed in this process. Building the store takes minutes: `--keep FOLDER` keeps it for next time.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.clocks import Spent, spent, typical
from bench.large_store import put_heads, put_videos
from bench.workplace import Workplace

from affstore.flows.commands.options import print_table
from affstore.tasks.planning.plan import plan

EXTRACTORS = ("emotieffnet_b0", "emotieffnet_b0_afew", "mt_emotieffnet_b0", "wav2vec2_base_960h")
BAR_S = 3.0


def command(place: Workplace, extractors: Sequence[str]) -> None:
    """A process of its own: what a user waits for."""
    named = [word for name in extractors for word in ("-e", name)]
    words = ["plan", "--store", place.context.store_url, "--weights", "untrained", *named]
    done = subprocess.run(
        [sys.executable, "-m", "affstore.flows.cli", *words], capture_output=True, text=True, check=False
    )
    if done.returncode:  # 10 would say that something is not fresh
        raise SystemExit(f"affstore {' '.join(words)} ended with {done.returncode}: {done.stderr}")


def parts(place: Workplace) -> dict[str, Spent]:
    """The steps of the same in this process, which has imported everything."""
    took: dict[str, Spent] = {}
    store = place.store()
    took["open the store"] = spent(place.store)
    took["list its artifacts"] = spent(store.addresses)
    took["read their records"] = spent(store.records)
    records = store.records()
    took["plan"] = spent(lambda: plan(records, place.profile))
    return took


def imports() -> dict[str, Spent]:
    """What a process needs before it can begin."""

    def python(code: str) -> Spent:
        return spent(lambda: subprocess.run([sys.executable, "-c", code], check=True))

    return {
        "python by itself": python("pass"),
        "… with the command line": python("import affstore.flows.cli"),
        "… with the store": python("import affstore.flows.cli, affstore.store.engine.feature_store"),
        "… with all that planning imports": python(
            "import affstore.flows.cli, affstore.flows.config.run_config, affstore.store.engine.feature_store, "
            "affstore.tasks.planning.plan, affstore.tasks.planning.head_runs"
        ),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--extractor", action="append", help="all four if none is named")
    parser.add_argument("--keep", type=Path, help="where the store is built, and found again next time")
    asked = parser.parse_args(arguments)
    extractors = asked.extractor or EXTRACTORS
    with tempfile.TemporaryDirectory() as temporary:
        place = Workplace.at(asked.keep or Path(temporary), extractors)
        put_videos(place, asked.videos, a_commit=50)
        put_heads(place)
        rounds = [
            {"affstore plan": spent(lambda: command(place, extractors)), **imports(), **parts(place)}
            for _ in range(asked.rounds)
        ]
        artifacts = len(place.store().records())
    took = {name: typical(one[name] for one in rounds) for name in rounds[0]}
    print(f"{asked.videos} videos, {artifacts} artifacts; median of {asked.rounds} rounds; the bar is {BAR_S:.0f} s.")
    rows = [(name, f"{one.wall_s:.2f} s", f"{one.cpu_s:.2f} s") for name, one in took.items()]
    print_table(("step", "wall", "processor"), rows)


if __name__ == "__main__":
    main()
