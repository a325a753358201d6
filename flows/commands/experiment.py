"""`affstore experiment`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from affstore.flows.commands import COMMANDS, Command
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
    print_json,
    print_table,
)
from affstore.flows.commands.running import run_under_screen
from affstore.flows.provenance import warnings
from affstore.flows.watch import Watcher, to_terminal
from affstore.store.contract.errors import SpecError

if TYPE_CHECKING:
    from affstore.flows.config.run_config import RunConfig
    from affstore.flows.experiment import ExperimentsResult
    from affstore.flows.experiment_request import ExperimentsOptions
    from affstore.tasks.experiments import Experiment, ExperimentOutcome, ExperimentResult

app = App(
    name="experiment",
    help="Run rows of the papers' tables by name, on any corpus, beside the papers' numbers.\n\n"
    "Example: affstore experiment abaw6/table5/emotieffnet-smoothed",
    result_action="return_value",
)


@app.command(name="list")
def list_(*patterns: str, json: Json = False) -> int:
    """List the rows: what each is called, what the paper's table has, and its number.

    Example: affstore experiment list abaw6/table5

    Parameters
    ----------
    patterns
        A row, a table, a paper, or a pattern such as `abaw6/*/*smoothed`; all rows without one.
    """
    from affstore.flows.config.experiments import find_experiments

    rows = find_experiments(patterns or ("*",))
    if json:
        print_json([_listed(row) for row in rows])
    else:
        lines = [(row.name, row.task, row.source, row.title, _numbers(row.paper)) for row in rows]
        print_table(("row", "task", "source", "method", "the paper's number"), lines, f"{len(rows)} rows")
    return 0


@app.default
def experiment(
    *names: str,
    all_: Annotated[bool, Parameter(name="--all", negative="")] = False,
    source: Annotated[tuple[str, ...], Parameter(name="--source", negative="")] = (),
    store: Store = DEFAULT_STORE,
    crops: Crops = (),
    protocol: Literal["papers", "honest"] = "papers",
    folds: int = 5,
    groups: Path | None = None,
    brief: Flag = False,
    sample: Annotated[tuple[str, ...], Parameter(name="--sample", negative="")] = (),
    networks: NetworkOptions = DEFAULT_NETWORKS,
    runner: RunnerChoice = DEFAULT_RUNNER,
    dry_run: Flag = False,
    json: Json = False,
) -> int:
    """Run rows of the papers' tables: extract what they need, fit their heads, score them, and draw it.

    Rows share every embedding, head and prediction that they have in common, and nothing is computed twice. The table
    that is printed has our number, its 95 % interval, and the paper's. The exit code is 3 when a row has no number.

    Example: affstore experiment abaw6/table5 --source affwild2/ --crops cropped=affwild2_cropped/ --protocol honest

    Parameters
    ----------
    names
        Rows, tables, papers or patterns, as for `affstore experiment list`; or files of your own rows, written as
        those in `flows/experiments`.
    all_
        Every row of both papers.
    source
        Videos and annotations to take in first; none are needed where the store has them.
    crops
        KIND=FOLDER of face pictures, as for `affstore add`. Without `cropped` ones, faces are cut from the videos.
    protocol
        `papers`: epoch, thresholds, kernel and weights as the papers', or chosen on the validation videos that are
        reported. `honest`: chosen by cross-validation over whole videos of train as well, and both numbers are shown.
    folds
        Of the protocol `honest`. A video's fold depends on its bytes alone: more videos move no other.
    groups
        CSV file with the columns `video` and `group`: videos of one group, as of one person, are in one fold.
    brief
        Cut trainings of the slow heads short, only to see that everything runs; the table and the records say so.
    sample
        TASK=FILE: the official list that a challenge file must follow, for rows of the test set.
    dry_run
        Say what would be run and shared, and do nothing.
    """
    from affstore.flows.config.run_config import checked
    from affstore.flows.experiment_request import ExperimentsOptions
    from affstore.models.heads.splits import Folds, read_groups

    rows = _asked(names, all_)
    document = {
        "store": store,
        "sources": source,
        "crops": crops_by_kind(crops),
        "runner": runner.spec(),
        **asdict(networks),
    }
    config = checked(document, "experiment")
    if groups and protocol != "honest":
        raise SpecError("--groups says which videos are in one fold, and only --protocol honest has folds. Add it.")
    cut = Folds(folds, read_groups(groups) if groups else {})
    choice = ExperimentsOptions(
        ("papers", "honest") if protocol == "honest" else ("papers",), cut, brief, _samples(sample)
    )
    if dry_run:
        return _dry(rows, json)
    return _run_and_tell(config, rows, choice, json).exit_code


def _asked(names: tuple[str, ...], every: bool) -> tuple[Experiment, ...]:
    from affstore.flows.config.experiments import find_experiments

    if not (names or every):
        raise SpecError("Which rows? Name some, as abaw6/table5, or say --all. `affstore experiment list` lists them.")
    return find_experiments((*(("*",) if every else ()), *names))


def _samples(given: tuple[str, ...]) -> dict[str, Path]:
    from affstore.models.challenge_file import read_sample

    found = {}
    for text in given:
        task, equals, path = text.partition("=")
        if not (equals and path):
            raise SpecError(f"--sample takes TASK=FILE, as --sample expr=list.txt; found '{text}'.")
        found[task] = Path(path)
        read_sample(found[task], task)
    return found


def _dry(rows: tuple[Experiment, ...], as_json: bool) -> int:
    from affstore.flows.config.experiments import extractors_of

    heads = {head.name for row in rows for head in row.heads}
    document = {"rows": [row.name for row in rows], "extractors": extractors_of(rows), "heads": sorted(heads)}
    if as_json:
        print_json(document)
    else:
        to_terminal(f"{len(rows)} rows share {len(heads)} heads on {len(document['extractors'])} extractors:")
        print_table(("row", "heads"), [(row.name, ", ".join(head.name for head in row.heads)) for row in rows])
    return 0


def _run_and_tell(
    config: RunConfig, rows: tuple[Experiment, ...], choice: ExperimentsOptions, as_json: bool
) -> ExperimentsResult:
    result = run_under_screen(as_json, lambda watcher: _run(config, rows, choice, watcher))
    if as_json:
        print_json(as_document(result))
    else:
        tell(result)
    return result


def _run(
    config: RunConfig, rows: tuple[Experiment, ...], choice: ExperimentsOptions, watcher: Watcher
) -> ExperimentsResult:
    from affstore.flows.execution import with_server_and_runner
    from affstore.flows.experiment_request import experiments_request
    from affstore.flows.memory_needs import estimate_memory

    request = experiments_request(config, rows, choice)

    def work() -> ExperimentsResult:
        from affstore.flows.experiment import experiment as stage

        return stage(request)

    watcher.memory(estimate_memory(request.run, config.runner))
    return with_server_and_runner(request.run, config.runner, watcher, work)


def tell(result: ExperimentsResult) -> None:
    """Print each row's number beside the paper's, for a person."""
    bad = [(o.stage, o.subject, o.reason) for o in result.outcomes if o.status in ("quarantined", "failed")]
    if bad:
        print_table(("stage", "what", "why it could not be used"), bad)
        to_terminal("")
    print_table(
        ("row", "measure", "ours", "95 % of draws", "honest", "95 % of draws", "the paper"),
        [_line(row) for row in result.rows],
    )
    for note in result.request.notes:
        to_terminal("", f"{note}")
    if result.request.choice.brief:
        to_terminal("", "Trainings were cut short, only to see that every row runs: these numbers are no results.")
    for text in warnings(result.request.run.profile.provenance):
        to_terminal("", text)
    to_terminal(
        "", "The papers' numbers are of Aff-Wild2 and of the published weights; other corpora and weights differ."
    )
    to_terminal(f"store     {result.request.run.context.store_url}")
    for path in result.files:
        to_terminal(f"file      {path}")
    to_terminal(f"report    {result.report}")


def _line(row: ExperimentOutcome) -> tuple[str, ...]:
    by_protocol = {one.protocol: one for one in row.shown}
    papers, honest = by_protocol.get("papers"), by_protocol.get("honest")
    if papers is None:
        return (row.row.name, "failed", row.reason, "", "", "", _numbers(row.row.paper))
    seen = " (trained on)" if papers.seen else ""
    return (
        row.row.name,
        papers.scores.headline,
        f"{papers.scores.value:.3f}{seen}",
        _interval(papers),
        f"{honest.scores.value:.3f}" if honest else "",
        _interval(honest),
        _numbers(row.row.paper),
    )


def _interval(shown: ExperimentResult | None) -> str:
    return f"{shown.interval[0]:.3f} – {shown.interval[1]:.3f}" if shown else ""


def _numbers(paper: Any) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in paper.items())


def _listed(row: Experiment) -> dict[str, Any]:
    return {
        "row": row.name,
        "task": row.task,
        "source": row.source,
        "title": row.title,
        "status": row.status,
        "cell": row.cell,
        "paper": dict(row.paper),
        "note": row.note,
    }


def as_document(result: ExperimentsResult) -> dict[str, Any]:
    """A run's rows for other programs."""
    return {
        "run_id": result.request.run.context.run_id,
        "store": result.request.run.context.store_url,
        "notes": list(result.request.notes),
        "weights": result.request.run.profile.provenance,
        "report": str(result.report),
        "files": [str(path) for path in result.files],
        "exit_code": result.exit_code,
        "rows": [
            {
                **_listed(row.row),
                "status": row.status,
                "reason": row.reason,
                "results": [
                    {
                        "protocol": one.protocol,
                        "measure": one.scores.headline,
                        "value": one.scores.value,
                        "interval": list(one.interval),
                        "details": dict(one.scores.details),
                        "chosen": dict(one.chosen),
                        "trained_on": one.seen,
                        "weights": one.provenance,
                    }
                    for one in row.shown
                ],
            }
            for row in result.rows
        ],
    }


COMMANDS.register("experiment", Command(app))
