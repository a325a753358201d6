"""How long the papers' heads take to be fitted and applied, one after another and as many at once as there are cores.

Every experiment of both papers, `--brief`, without Prefect. `--store` names a store that has embeddings and labels, as
that of `affstore demo` after `affstore experiment --all --brief --weights untrained`. It is copied, and the copies are
without heads, predictions and results.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.arguments import parser_of
from bench.clocks import spent

from affstore import FeatureStore
from affstore.flows.commands.options import print_table
from affstore.flows.config.experiments import find_experiments
from affstore.flows.config.run_config import checked
from affstore.flows.request import request_of
from affstore.flows.runners.base import RunnerSpec
from affstore.flows.server import Server
from affstore.flows.stage import run_on
from affstore.flows.stages.predict import predict
from affstore.flows.stages.train import train

_MADE = ("head", "prediction", "result")


def without_heads(store: Path, folder: Path) -> str:
    """A copy of a store that has nothing of what heads made."""
    url = str(shutil.copytree(store, folder))
    opened = FeatureStore(url)
    draft = opened.draft({}, "benchmark")
    for address in opened.addresses(*_MADE):
        draft.remove(address)
    opened.commit([draft], "without heads")
    return url


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--names", nargs="*", default=["*"], help="experiments, as for `affstore experiment`")
    asked = parser.parse_args(arguments)
    cores = len(os.sched_getaffinity(0))
    rows: list[tuple[str, ...]] = []
    first: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for workers in (cores, 1):
            url = without_heads(asked.store, Path(temporary) / str(workers))
            document = {
                "store": url,
                "extractors": (),
                "experiments": find_experiments(asked.names),
                "brief": True,
                "weights": "untrained",
            }
            request = request_of(checked(document, "benchmark"))
            with RunnerSpec.of("threads", workers=workers).start() as runner, run_on(Server(""), runner):
                for stage, work in (("fit", train), ("apply", predict)):
                    took = spent(lambda: work(request.context, request.heads))  # noqa: B023
                    beside = first.setdefault(stage, took.wall_s)
                    rows.append(
                        (
                            f"{stage} {len(request.heads)} heads, {workers} at once",
                            f"{took.wall_s:.0f} s",
                            f"{took.cpu_s:.0f} s",
                            f"{took.wall_s / beside:.2f}",
                        )
                    )
    print_table(("what", "wall", "processor", f"of {cores} at once"), rows, "Heads of both papers; the bar is 1.6")


if __name__ == "__main__":
    main()
