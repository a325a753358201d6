"""Fit the heads of every experiment."""

from __future__ import annotations

from collections.abc import Sequence

from affstore.flows.commits import commit_finished
from affstore.flows.stage import stage
from affstore.flows.watch import watching
from affstore.tasks.outcomes import Outcome
from affstore.tasks.specs import HeadRun, WorkerContext
from affstore.tasks.training.train import train_head


@stage("train")
def train(context: WorkerContext, experiments: Sequence[HeadRun]) -> list[Outcome]:
    """One task a head; a head whose embeddings and labels are as they were is shown as Cached."""
    watching().stage("train", len(experiments))
    outcomes: list[Outcome] = []
    for experiment in experiments:  # one at a time: each holds its whole training set in memory
        outcomes += commit_finished(context, train_head, {experiment.name: (context, experiment)})
    return outcomes
