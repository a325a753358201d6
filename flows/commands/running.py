"""What the commands that run the DAG share: run it, then print the outcomes."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from affstore.flows.commands.next_steps import tell_next_of
from affstore.flows.commands.options import print_json, print_table
from affstore.flows.environment import USUAL_GARBAGE_THRESHOLD
from affstore.flows.provenance import warnings
from affstore.flows.watch import Screen, Watcher, to_terminal, using_watcher

if TYPE_CHECKING:
    from affstore.flows.config.run_config import RunConfig
    from affstore.flows.request import RunOptions, RunResult
    from affstore.tasks.experiments import ExperimentOutcome, ExperimentResult


_MOST_REMARKS = 20
"""What is shown of a run; a corpus of hundreds of videos would fill screens."""


def run_and_tell(
    config: RunConfig,
    as_json: bool,
    options: RunOptions | None = None,
    then: Callable[[RunResult], Sequence[str]] = lambda result: (),
) -> RunResult:
    """Run a configuration and print the outcomes, or one document; `then` gives what to type next where all is well."""
    result = run(config, as_json, options)
    if as_json:
        print_json(as_document(result))
    else:
        tell(result)
        tell_next_of(result, then(result))
    return result


def run(config: RunConfig, as_json: bool, options: RunOptions | None = None) -> RunResult:
    """Run a configuration under the screen and print nothing of its outcomes; see `request_of`."""

    def carry_out(watcher: Watcher) -> RunResult:
        from affstore.flows.execution import run_pipeline
        from affstore.flows.memory_needs import estimate_memory
        from affstore.flows.planned import Planned
        from affstore.flows.request import RunOptions, request_of

        request = request_of(config, options or RunOptions())
        planned = Planned.of(request)
        watcher.memory(estimate_memory(request, config.runner, planned))
        return run_pipeline(request, config.runner, watcher, planned)

    return run_under_screen(as_json, carry_out)


def run_under_screen[Result](as_json: bool, run: Callable[[Watcher], Result]) -> Result:
    """Run something while a person watches it; for programs, nothing is shown."""
    watcher = Watcher() if as_json else Screen()
    gc.set_threshold(*USUAL_GARBAGE_THRESHOLD)
    with watcher.showing(), using_watcher(watcher):
        # The libraries that a run imports take seconds.
        watcher.step("reading the inputs, checking networks and weights")
        return run(watcher)


def tell(result: RunResult) -> None:
    """Print what a run did, for a person."""
    from affstore.tasks.remarks import summary

    counts = Counter((outcome.stage, outcome.status) for outcome in result.outcomes)
    for stage in dict.fromkeys(outcome.stage for outcome in result.outcomes):
        statuses = ", ".join(f"{n} {status}" for (of, status), n in sorted(counts.items()) if of == stage)
        to_terminal(f"{stage:9} {statuses}")
    for kind in result.request.inputs.left_alone:
        to_terminal(f"left alone {kind}")
    if result.remarks:
        to_terminal(f"to know   {summary(result.remarks)}")
    bad = [(o.stage, o.subject, o.reason) for o in result.outcomes if o.status in ("quarantined", "failed")]
    if bad:
        to_terminal("")
        print_table(("stage", "what", "why it could not be used"), bad)
    _tell_left(result)
    _tell_remarks(result)
    if result.experiments:
        to_terminal("")
        print_table(*experiment_table(result.experiments))
    for note in result.request.notes:
        to_terminal("", note)
    for text in warnings(result.request.profile.provenance):
        to_terminal("", text)
    context = result.request.context
    of = f"generation {context.generation}, " if context.generation else ""
    to_terminal("", f"store     {context.store_url}  ({of}snapshot {result.snapshot})")
    if any(one.experiment.paper for one in result.experiments):
        to_terminal(
            "The papers' numbers are of Aff-Wild2 and of the published weights; other corpora and weights differ."
        )
    if result.published:
        tag = f"  (tag {result.tag})" if result.tag else ""
        to_terminal(f"published {result.published[0].parent}{tag}")
    to_terminal(f"report    {result.report}")


def _tell_left(result: RunResult) -> None:
    if result.partial:
        left = result.count("postponed")
        to_terminal("", f"Partial: the run's time was over with {left} units of work left. The next run goes on there.")


def _tell_remarks(result: RunResult) -> None:
    if result.remarks:
        to_terminal("")
        print_table(("video", "to know"), [(remark.video, remark.text) for remark in result.remarks[:_MOST_REMARKS]])
    if len(result.remarks) > _MOST_REMARKS:
        to_terminal(f"and {len(result.remarks) - _MOST_REMARKS} more; `affstore status --json` has them all")


def as_document(result: RunResult) -> dict[str, Any]:
    """A run's result for other programs."""
    return {
        "run_id": result.request.context.run_id,
        "store": result.request.context.store_url,
        "generation": result.request.context.generation or None,
        "snapshot": result.snapshot,
        "tag": result.tag,
        "published": [str(path) for path in result.published],
        "report": str(result.report),
        "weights": result.request.profile.provenance,
        "exit_code": result.exit_code,
        "partial": result.partial,
        "left_alone": [kind.as_document() for kind in result.request.inputs.left_alone],
        "remarks": [remark.as_document() for remark in result.remarks],
        "notes": list(result.request.notes),
        "experiments": [experiment_document(one) for one in result.experiments],
        "outcomes": [
            {
                "stage": o.stage,
                "what": o.subject,
                "file": o.file or None,
                "status": o.status,
                "reason": o.reason,
                "frames": o.frames,
            }
            for o in result.outcomes
        ],
    }


def experiment_table(experiments: Sequence[ExperimentOutcome]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Each experiment's number with its interval, beside chance and the paper's; without empty columns."""
    head = ("experiment", "measure", "ours", "95 % of draws", "honest", "95 % of draws", "by chance", "the paper")
    lines = [_line(one) for one in experiments]
    columns = [i for i in range(len(head)) if i < 2 or any(line[i] for line in lines)]
    return tuple(head[i] for i in columns), [tuple(line[i] for i in columns) for line in lines]


def _line(outcome: ExperimentOutcome) -> tuple[str, ...]:
    by_protocol = {one.protocol: one for one in outcome.results}
    papers, honest = by_protocol.get("papers"), by_protocol.get("honest")
    name, paper = outcome.experiment.name, numbers(outcome.experiment.paper)
    first = papers or honest
    if first is None:
        return (name, "failed", outcome.reason, "", "", "", "", paper)
    trained_on = " (trained on)" if papers and papers.trained_on else ""
    return (
        name,
        first.scores.headline,
        f"{papers.scores.value:.3f}{trained_on}" if papers else "",
        _interval(papers),
        f"{honest.scores.value:.3f}" if honest else "",
        _interval(honest),
        "" if first.by_chance is None else f"{first.by_chance:.3f}",
        paper,
    )


def _interval(result: ExperimentResult | None) -> str:
    return f"{result.interval[0]:.3f} – {result.interval[1]:.3f}" if result else ""


def numbers(paper: Mapping[str, float]) -> str:
    """A paper's numbers, in words."""
    return ", ".join(f"{name} {value:g}" for name, value in paper.items())


def experiment_document(outcome: ExperimentOutcome) -> dict[str, Any]:
    """An experiment's results for other programs."""
    return {
        "experiment": outcome.experiment.name,
        "task": outcome.experiment.task,
        "paper": dict(outcome.experiment.paper),
        "status": outcome.status,
        "reason": outcome.reason,
        "results": [
            {
                "protocol": one.protocol,
                "measure": one.scores.headline,
                "value": one.scores.value,
                "interval": list(one.interval),
                "chance": one.by_chance,
                "details": dict(one.scores.details),
                "frames": one.scores.frames,
                "chosen": dict(one.chosen),
                "trained_on": one.trained_on,
                "weights": one.provenance,
            }
            for one in outcome.results
        ],
    }
