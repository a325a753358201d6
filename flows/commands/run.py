"""`affstore run`."""

from __future__ import annotations

from pathlib import Path

from affstore.flows.commands.options import DryRun, Json, Runner


def run(
    config: Path,
    /,
    *,
    runner: Runner | None = None,
    workers: int | None = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> int:
    """Run the whole DAG of a configuration: ingest, extract, train, predict, publish.

    What the store has already is not computed again.

    Example: affstore run deploy/configs/affwild2.yaml

    Parameters
    ----------
    config
        A YAML file; relative paths in it are relative to its folder.
    runner
        Instead of the configuration's: `threads` or `dask`.
    workers
        Instead of the configuration's.
    dry_run
        Check everything and show the plan, and do nothing.
    json
        Print one JSON document.
    """
    from affstore.flows.commands.running import run_and_tell
    from affstore.flows.config.run_config import read_config

    found = read_config(config)
    changes = {"kind": runner, "workers": workers}
    asked = found.runner.model_copy(update={name: value for name, value in changes.items() if value is not None})
    found = found.model_copy(update={"runner": asked})
    if dry_run:
        from affstore.flows.commands.plan import show_plan

        show_plan(found, json)
        return 0
    return run_and_tell(found, json).exit_code
