"""`affstore run`."""

from __future__ import annotations

from pathlib import Path

from affstore.flows.commands import COMMANDS, Command
from affstore.flows.commands.options import (
    DEFAULT_LIMITS,
    DEFAULT_RUNNER,
    Flag,
    Json,
    LimitOptions,
    Rehash,
    RunnerChoice,
)


def run(
    config: Path,
    /,
    *,
    runner: RunnerChoice = DEFAULT_RUNNER,
    limits: LimitOptions = DEFAULT_LIMITS,
    rehash: Rehash = False,
    dry_run: Flag = False,
    json: Json = False,
) -> int:
    """Run the whole DAG of a configuration: ingest, extract, train, predict, publish.

    What the store has already is not computed again.

    `affstore demo` writes the configuration of the example, which shows what one may hold.

    Example: affstore run affstore-demo/demo.yaml

    Parameters
    ----------
    config
        A YAML file; relative paths in it are relative to its folder.
    dry_run
        Check everything and show the plan, and do nothing.
    """
    from affstore.flows.commands.running import run_and_tell
    from affstore.flows.config.run_config import read_config
    from affstore.tasks.ingest.incoming_files import IngestOptions

    limited = limits.limits()
    found = read_config(config)
    found = found.model_copy(update={"runner": runner.changed(found.runner)})
    options = IngestOptions(rehash=rehash)
    if dry_run:
        from affstore.flows.commands.plan import show_plan

        show_plan(found, json, named_only=limited.share is not None, share=limited.share, options=options)
        return 0
    return run_and_tell(found, json, options, limits=limited).exit_code


COMMANDS.register("run", Command(run))
