"""Experiments on one offline page: our numbers beside the papers', what was chosen, and every figure."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from affstore.flows.provenance import warnings
from affstore.flows.report.comparison import comparison, legend
from affstore.flows.report.experiment_sections import section
from affstore.flows.report.faces import NOTE, VideoFaces
from affstore.flows.report.pages import Script, Table, render
from affstore.store.contract.extras import is_installed
from affstore.store.contract.records import Provenance
from affstore.tasks.experiments import ExperimentOutcome

if TYPE_CHECKING:
    from affstore.flows.report.figure_parts import Picture

_OTHER_CORPUS = "The papers' numbers are of Aff-Wild2; on any other corpus ours say nothing about them."
_OTHER_CORPUS_AND_WEIGHTS = "Corpus and weights differ from the papers': these numbers say nothing about the papers."


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What the page of a run says beside its experiments.

    Attributes:
        title: of the page.
        store: its address.
        snapshot: of the store at the run's end.
        tag: that names the snapshot, or empty.
        weights: provenance of each network's parameters by its name.
        corpus: folders of the videos.
        code: package to version.
        brief: whether trainings were cut short.
        notes: sentences, e.g. on faces that were replaced.
        published: files that were written.
        outcomes: of every video, head and file.
        circumstances: a sentence on when and where it was.
        faces: of some videos.
    """

    title: str
    store: str
    snapshot: str
    tag: str
    weights: Mapping[str, Provenance]
    corpus: Sequence[str]
    code: Mapping[str, str]
    brief: bool
    notes: Sequence[str]
    published: Sequence[str]
    outcomes: Table
    circumstances: str
    faces: Sequence[VideoFaces]


def write_experiment_report(outcomes: Sequence[ExperimentOutcome], folder: Path, run: RunFacts) -> Path:
    """Write `folder/report.html`, which holds all it shows, and its figures as `folder/figures/EXPERIMENT/*.png`.

    Equal arguments give equal bytes: when and where a run was is told by its record, never by the clock.

    Args:
        outcomes: in the order in which they are shown.
        folder: made if need be; figures that an earlier run drew of the same experiments are replaced.
        run: what they are of.

    Returns:
        The page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "report.html"
    text = render(
        "experiments.html",
        title=run.title,
        run=run,
        of_papers=any(one.experiment.paper for one in outcomes),
        notices=_notices(outcomes, run),
        comparison=comparison(outcomes, run.brief),
        legend=legend(outcomes, run.brief),
        sections=[section(one, _drawn(one, folder / "figures" / one.experiment.producer)) for one in outcomes],
        faces_note=NOTE,
        code=[f"{name} {version}" for name, version in sorted(run.code.items())],
        script=Script.of("tables.js"),
    )
    path.write_bytes(text.encode("utf-8", "replace"))
    return path.resolve()


def _notices(outcomes: Sequence[ExperimentOutcome], run: RunFacts) -> list[str]:
    """The notices that a reader of the numbers must see first."""
    behind = {*run.weights.values(), *(result.provenance for one in outcomes for result in one.results)}
    found = warnings(run.weights)
    if any(one.experiment.paper or one.experiment.paper_curve for one in outcomes):
        found.insert(0, _OTHER_CORPUS if behind <= {"published", None} else _OTHER_CORPUS_AND_WEIGHTS)
    failed = sum(one.status == "failed" for one in outcomes)
    if failed:
        found.append(f"{failed} of {len(outcomes)} experiments failed; the table says why.")
    if failed < len(outcomes) and not is_installed("matplotlib"):
        found.append("There are no figures: they need matplotlib, which the extra `heads` installs.")
    return [*found, *run.notes]


def _drawn(outcome: ExperimentOutcome, folder: Path) -> tuple[Picture, ...]:
    """Draw the figures of an experiment, and write each as a file."""
    for old in folder.glob("*.png"):
        old.unlink()
    if not outcome.results or not is_installed("matplotlib"):
        return ()
    # A first import says on stderr that it makes a cache of fonts.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from affstore.flows.report.figures import pictures_of

    pictures = pictures_of(outcome)
    folder.mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        (folder / f"{picture.name}.png").write_bytes(picture.png)
    return pictures
