"""`affstore run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from affstore.flows.commands import COMMANDS, Command
from affstore.flows.commands.next_steps import applies, promotion_steps, step
from affstore.flows.commands.options import (
    DEFAULT_LIMITS,
    DEFAULT_RUNNER,
    Flag,
    Json,
    LimitOptions,
    Rehash,
    RunnerChoice,
)

if TYPE_CHECKING:
    from affstore.flows.request import RunResult


def run(
    config: Path,
    /,
    *,
    runner: RunnerChoice = DEFAULT_RUNNER,
    limits: LimitOptions = DEFAULT_LIMITS,
    generation: str = "",
    rehash: Rehash = False,
    dry_run: Flag = False,
    json: Json = False,
) -> int:
    """Run the whole DAG of a configuration: ingest, extract, train, predict, publish.

    What the store has already is not computed again. With --generation, readers of the store see nothing of the run
    until `affstore generation promote`.

    `affstore demo` writes the configuration of the example, which shows what one may hold.

    Example: affstore run affstore-demo/demo.yaml

    Parameters
    ----------
    config
        A YAML file; relative paths in it are relative to its folder.
    generation
        Write to the generation of this name, which begins with what readers see now, or goes on where it is. Nothing
        is published from it.
    dry_run
        Check everything and show the plan, and do nothing.
    """
    from affstore.flows.commands.running import run_and_tell
    from affstore.flows.config.run_config import read_config
    from affstore.flows.request import RunOptions
    from affstore.tasks.ingest.incoming_files import IngestOptions

    limited = limits.limits()
    found = read_config(config)
    found = found.model_copy(update={"runner": runner.changed(found.runner)})
    options = IngestOptions(rehash=rehash)
    if dry_run:
        from affstore.flows.commands.plan import show_plan
        from affstore.flows.run_plan import plan_of_run

        at = _begun(found.store, generation)
        show_plan(plan_of_run(found, at, limited.share is not None, limited.share, options), json)
        return 0
    return run_and_tell(found, json, RunOptions(options, True, limited, generation), _next).exit_code


def _begun(store: str, generation: str) -> str | None:
    """The generation, if it has begun; else a run would begin with the newest state.

    Raises:
        SpecError: it cannot begin under that name.
    """
    from affstore import FeatureStore
    from affstore.store.engine.generations import has_begun
    from affstore.store.engine.places import exists

    return generation if generation and exists(store) and has_begun(FeatureStore(store), generation) else None


def _next(result: RunResult) -> list[str]:
    """What to type after a run: what lies behind a published number, then how to predict with what was trained."""
    context = result.request.context
    if context.generation:
        return promotion_steps(context)
    published = [str(path) for path in result.published if path.suffix == ".txt"]
    trace = [step(context.store_url, "trace", f"{published[0]}:2")] if published else []
    trained = [one.experiment.name for one in result.experiments if one.results]
    applied = applies(context.store(), trained)
    return [*trace, *applied] or [step(context.store_url, "status")]


COMMANDS.register("run", Command(run))
