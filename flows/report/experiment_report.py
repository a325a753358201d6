"""Experiments on one offline page: our numbers beside the papers', what was chosen, and every figure."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affstore.flows.provenance import warnings
from affstore.flows.report.comparison import comparison, legend
from affstore.flows.report.experiment_sections import section
from affstore.flows.report.pages import Script, render
from affstore.store.contract.extras import is_installed
from affstore.store.contract.records import Provenance
from affstore.tasks.experiments import ExperimentOutcome

if TYPE_CHECKING:
    from affstore.flows.report.figure_parts import Picture

_KNOWN_FACTS = frozenset(("store", "snapshot", "weights", "brief", "corpus", "papers_corpus", "notes", "code"))


def write_experiment_report(
    outcomes: Sequence[ExperimentOutcome], folder: Path, about: Mapping[str, Any], more: Mapping[str, Any] | None = None
) -> Path:
    """Write `folder/report.html`, which holds all it shows, and its figures as `folder/figures/EXPERIMENT/*.png`.

    Equal arguments give equal bytes: when and where a run was is told by its record, never by the clock.

    Args:
        outcomes: in the order in which they are shown.
        folder: made if need be; figures that an earlier run drew of the same experiments are replaced.
        about: what was run, each optional: `store` (its address), `snapshot`, `weights` (provenance of each
            network's parameters by its name), `brief` (whether trainings were cut short), `corpus` (its name, or a list
            of names and paths), `papers_corpus` (whether it is the papers'; leave it out where that is not known),
            `notes` (sentences, e.g. on faces that were replaced), `code` (package to version). Whatever else there is,
            is listed as it is.
        more: of a run: `title` of the page, `tag`, files that were `published`, a table of `outcomes`,
            `circumstances` (a sentence on when and where it was), and `faces` of some videos with a `faces_note`.

    Returns:
        The page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "report.html"
    text = render(
        "experiments.html",
        of_papers=any(one.experiment.paper for one in outcomes),
        store=str(about.get("store", "")),
        snapshot=str(about.get("snapshot") or ""),
        notices=_notices(outcomes, about),
        comparison=comparison(outcomes, about),
        legend=legend(outcomes, about),
        sections=[section(one, _drawn(one, folder / "figures" / one.experiment.producer)) for one in outcomes],
        details=_details(about),
        script=Script.of("tables.js"),
        **{
            "title": "Experiments",
            "tag": "",
            "published": (),
            "outcomes": None,
            "circumstances": "",
            "faces_note": "",
            "faces": (),
            **(more or {}),
        },
    )
    path.write_bytes(text.encode("utf-8", "replace"))
    return path.resolve()


def _notices(outcomes: Sequence[ExperimentOutcome], about: Mapping[str, Any]) -> list[str]:
    """The notices that a reader of the numbers must see first."""
    networks: Mapping[str, Provenance] = about.get("weights", {})
    behind = {*networks.values(), *(result.provenance for one in outcomes for result in one.results)}
    found = list(warnings(networks))
    if any(one.experiment.paper or one.experiment.paper_curve for one in outcomes):
        found.insert(0, _differing(about.get("papers_corpus"), behind <= {"published", None}))
    if about.get("brief"):
        found.append("Trainings were cut short, only to see that everything runs: these numbers are no results.")
    failed = sum(one.status == "failed" for one in outcomes)
    if failed:
        found.append(f"{failed} of {len(outcomes)} experiments failed; the table says why.")
    if failed < len(outcomes) and not is_installed("matplotlib"):
        found.append("There are no figures: they need matplotlib, which the extra `heads` installs.")
    return [text for text in [*found, *map(str, about.get("notes", ()))] if text]


def _differing(same_corpus: bool | None, same_weights: bool) -> str:
    what = [name for name, same in (("corpus", same_corpus is not False), ("weights", same_weights)) if not same]
    if same_corpus is None and not same_weights:
        what = ["corpus", "weights"]
    if what:
        verb = "differ" if what != ["corpus"] else "differs"
        start = f"{' and '.join(what)} {verb}".capitalize()
        return f"{start} from the papers': these numbers say nothing about the papers."
    return (
        "" if same_corpus else "The papers' numbers are of Aff-Wild2; on any other corpus ours say nothing about them."
    )


def _details(about: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """The corpus, the versions, and whatever else `about` has: titles, and the lines below each."""
    corpus = about.get("corpus", ())
    named = [("Corpus", [corpus] if isinstance(corpus, str) else [str(part) for part in corpus])]
    named.append(("Code", [f"{name} {version}" for name, version in sorted(about.get("code", {}).items())]))
    named.append(("Else", [f"{name}: {value}" for name, value in about.items() if name not in _KNOWN_FACTS]))
    return [(title, texts) for title, texts in named if texts]


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
