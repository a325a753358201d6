"""How long `affstore plan` takes on a large store: 600 videos with eleven artifacts each, all of them fresh.

Every video has its source, a face, four embeddings, three labels and two predictions, with the records that real ones
have and arrays of a few rows, because planning reads no array. A process of its own plans it, as a user types it; then
the parts of that are timed in this process. Building the store takes minutes: `--keep FOLDER` keeps it for next time.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.arguments import parser_of
from bench.clocks import Spent, spent, typical
from bench.command import affstore
from bench.large_store import put_heads, put_videos
from bench.workplace import EXTRACTORS, Workplace

from affstore.flows.commands.options import print_table
from affstore.tasks.planning.plan import plan

BAR_S = 3.0


def command(place: Workplace, extractors: Sequence[str]) -> None:
    """See that all is fresh: else it ends with 10."""
    named = [word for name in extractors for word in ("-e", name)]
    affstore("plan", "--store", place.context.store_url, "--weights", "untrained", *named)


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
    parser = parser_of(__doc__, "keep", rounds=5)
    parser.add_argument("--videos", type=int, default=600)
    parser.add_argument("--extractor", action="append", help="all four if none is named")
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
