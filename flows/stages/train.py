"""Fit the heads of all experiments."""

from __future__ import annotations

from collections.abc import Sequence

from affstore.flows.commits import commit_finished
from affstore.flows.stage import stage
from affstore.flows.watch import watching
from affstore.tasks.outcomes import Outcome
from affstore.tasks.specs import HeadRun, WorkerContext
from affstore.tasks.training.memory import side_by_side
from affstore.tasks.training.train import train_head


@stage("train")
def train(context: WorkerContext, heads: Sequence[HeadRun]) -> list[Outcome]:
    """One task a head, side by side as far as memory goes; a head whose data is as it was is shown as Cached."""
    watching().stage("train", len(heads))
    outcomes: list[Outcome] = []
    for group in side_by_side(context.store(), heads):
        units = {head.name: (context, head) for head in group}
        outcomes += commit_finished(context, train_head, units, context.uses_gpu)
    return outcomes
