"""`affstore experiment`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from affstore.flows.commands import COMMANDS, Command
from affstore.flows.commands.next_steps import applies, step
from affstore.flows.commands.options import (
    DEFAULT_NETWORKS,
    DEFAULT_RUNNER,
    DEFAULT_STORE,
    Crops,
    Flag,
    Json,
    NetworkOptions,
    RunnerChoice,
    Store,
    crops_by_kind,
    pairs,
    print_json,
    print_table,
)
from affstore.flows.commands.running import numbers, run_and_tell
from affstore.flows.watch import to_terminal
from affstore.store.contract.errors import SpecError

if TYPE_CHECKING:
    from affstore.flows.request import RunResult
    from affstore.tasks.experiments import Experiment

app = App(
    name="experiment",
    help="Run experiments of the papers by name, or of your own files, beside the papers' numbers.\n\n"
    "Example: affstore experiment abaw6/table5/emotieffnet-smoothed",
    result_action="return_value",
)


@app.command(name="list")
def list_(*patterns: str, json: Json = False) -> int:
    """List the experiments: what each is called, what the paper's table has, and its number.

    Example: affstore experiment list abaw6/table5

    Parameters
    ----------
    patterns
        An experiment, a table, a paper, or a pattern such as `abaw6/*/*smoothed`; all experiments without one.
    """
    from affstore.flows.config.experiments import find_experiments

    found = find_experiments(patterns or ("*",))
    if json:
        print_json([_listed(one) for one in found])
    else:
        lines = [(one.name, one.task, one.source, one.title, numbers(one.paper)) for one in found]
        head = ("experiment", "task", "source", "method", "the paper's number")
        print_table(head, lines, f"{len(found)} experiments")
    return 0


@app.default
def experiment(
    *names: str,
    all_: Annotated[bool, Parameter(name="--all", negative="")] = False,
    source: Annotated[tuple[str, ...], Parameter(name="--source", negative="")] = (),
    store: Store = DEFAULT_STORE,
    crops: Crops = (),
    protocol: Literal["papers", "honest"] = "papers",
    folds: int | Literal["groups"] = 5,
    groups: Path | None = None,
    brief: Flag = False,
    sample: Annotated[tuple[str, ...], Parameter(name="--sample", negative="")] = (),
    networks: NetworkOptions = DEFAULT_NETWORKS,
    runner: RunnerChoice = DEFAULT_RUNNER,
    dry_run: Flag = False,
    json: Json = False,
) -> int:
    """Run experiments: extract what they need, fit their heads, score them, and draw it.

    Experiments share every embedding, head and prediction that they have in common, and nothing is computed twice. The
    table that is printed has our number, its 95 % interval, and the paper's. The exit code is 3 when one has no number.

    Example: affstore experiment abaw6/table5 --source affwild2/ --crops cropped=affwild2_cropped/ --protocol honest

    Parameters
    ----------
    names
        Experiments, tables, papers or patterns, as for `affstore experiment list`; or files of your own, written as
        those in `flows/experiments`.
    all_
        Every experiment of both papers.
    source
        Videos and annotations to take in first; none are needed where the store has them.
    crops
        KIND=FOLDER of face pictures, as for `affstore add`. Without `cropped` ones, faces are cut from the videos.
    protocol
        `papers`: epoch, thresholds, kernel and weights as the papers', or chosen on the validation videos that are
        reported. `honest`: chosen by cross-validation over whole videos of train as well, and both numbers are shown.
    folds
        Of the protocol `honest`. A video's fold depends on its bytes alone: more videos move no other. `groups` holds
        each group out once (leave one group out).
    groups
        Table with a column `video` and one of groups, called `group`, `participant` or as FILE:COLUMN says: videos of
        one group, as of one person, are in one fold.
    brief
        Cut trainings of the slow heads short, only to see that everything runs; the table and the records say so.
    sample
        TASK=FILE: the official list that a challenge file must follow, for experiments on the test set.
    dry_run
        Say what would be run and shared, and do nothing.
    """
    from affstore.flows.config.run_config import checked
    from affstore.models.heads.splits import read_groups

    experiments = _experiments(names, all_)
    if groups and protocol != "honest":
        raise SpecError("--groups says which videos are in one fold, and only --protocol honest has folds. Add it.")
    if groups:
        read_groups(groups)
    document = {
        "store": store,
        "sources": source,
        "crops": crops_by_kind(crops),
        "extractors": (),
        "experiments": experiments,
        "protocol": protocol,
        "folds": folds,
        "groups": groups,
        "brief": brief,
        "publish": {"samples": _samples(sample)},
        "runner": runner.spec(),
        **asdict(networks),
    }
    config = checked(document, "experiment")
    if dry_run:
        return _dry(experiments, json)
    return run_and_tell(config, json, then=_next).exit_code


def _next(result: RunResult) -> list[str]:
    """What to type after experiments: how to predict with the first that has a number, and the page of the store."""
    context = result.request.context
    scored = [one.experiment.name for one in result.experiments if one.results]
    return [*applies(context.store(), scored), step(context.store_url, "report")]


def _experiments(names: tuple[str, ...], every: bool) -> tuple[Experiment, ...]:
    from affstore.flows.config.experiments import find_experiments

    if not (names or every):
        raise SpecError(
            "Which experiments? Name some, as abaw6/table5, or say --all. `affstore experiment list` lists them."
        )
    return find_experiments((*(("*",) if every else ()), *names))


def _samples(given: tuple[str, ...]) -> dict[str, Path]:
    from affstore.models.challenge_file import read_sample

    found = {task: Path(path) for task, path in pairs("--sample", "TASK=FILE, as --sample expr=list.txt", given)}
    for task, path in found.items():
        read_sample(path, task)
    return found


def _dry(experiments: tuple[Experiment, ...], as_json: bool) -> int:
    from affstore.flows.config.experiments import extractors_of

    heads = {head.name for one in experiments for head in one.heads}
    networks = extractors_of(experiments)
    if as_json:
        names = [one.name for one in experiments]
        print_json({"experiments": names, "extractors": networks, "heads": sorted(heads)})
    else:
        to_terminal(f"{len(experiments)} experiments share {len(heads)} heads on {len(networks)} extractors:")
        lines = [(one.name, ", ".join(head.name for head in one.heads)) for one in experiments]
        print_table(("experiment", "heads"), lines)
    return 0


def _listed(experiment: Experiment) -> dict[str, Any]:
    return {
        "experiment": experiment.name,
        "task": experiment.task,
        "source": experiment.source,
        "title": experiment.title,
        "status": experiment.status,
        "cell": experiment.cell,
        "paper": dict(experiment.paper),
        "note": experiment.note,
    }


COMMANDS.register("experiment", Command(app))
