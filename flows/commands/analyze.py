"""`affstore analyze`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from affstore.flows.commands import COMMANDS, Command
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
    print_json,
    print_table,
)
from affstore.flows.watch import to_terminal

if TYPE_CHECKING:
    from affstore.flows.analysis import Analysis
    from affstore.flows.config.run_config import RunConfig
    from affstore.models.weights.folder import WeightsFolder
    from affstore.tasks.analysis.frame_table import AnalysisNetworks


def analyze(
    paths: Annotated[tuple[str, ...], Parameter(negative="", allow_leading_hyphen=False)],
    /,
    *,
    out: Path = Path("affstore-analysis"),
    store: Store = DEFAULT_STORE,
    pull: Flag = False,
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
        Gets index.html, summary.csv, episodes.csv, and a table (CSV and Parquet) and a page a video in videos/.
    pull
        Fetch networks that are missing: the papers' with valence and arousal, else small ones from the package index.
    names
        `folder` calls videos by their folders too, so that s1/00001.mp4 and s2/00001.mp4 become s1_00001 and s2_00001.
    """
    from affstore.flows.analysis import networks_at_hand, require_networks
    from affstore.flows.config.run_config import checked
    from affstore.models.weights.folder import default_folder

    weights = default_folder()
    found = networks_at_hand(weights) if dry_run else None
    if found is None:
        _fetch(weights, pull)
        found = require_networks(weights)
    document = {"store": store, "sources": paths, "names": names, "extractors": found.names, "runner": runner.spec()}
    config = checked({**document, **asdict(engine)}, "analyze")
    if dry_run:
        networks = ", ".join(found.names) or "no network: none is here, --pull would fetch one"
        sentence = f"would analyze {', '.join(paths)} with {networks}, and write to {out}"
        print_json({"networks": found.names, "out": str(out)}) if json else to_terminal(sentence)
        return 0
    return _analyze(config, found, out, json)


def _fetch(weights: WeightsFolder, pull: bool) -> None:
    """Fetch what is missing if that was asked for, or a person at the terminal says so."""
    from affstore.flows.analysis import networks_at_hand, pull_networks

    def tell(sentence: str) -> None:
        sys.stderr.write(f"{sentence}\n")

    asks = not pull and not networks_at_hand(weights).expression and sys.stdin.isatty() and sys.stderr.isatty()
    if asks:
        sys.stderr.write("No trained network of expressions is on this machine. Fetch one now? [y/N] ")
        sys.stderr.flush()
        pull = sys.stdin.readline().strip().lower() in ("y", "yes")
    if pull:
        pull_networks(weights, tell)


def _analyze(config: RunConfig, networks: AnalysisNetworks, out: Path, as_json: bool) -> int:
    from affstore import FeatureStore
    from affstore.flows.analysis import write_analysis
    from affstore.flows.commands.running import as_document, run, tell
    from affstore.flows.pipeline import named_videos

    result = run(config, as_json, everything=False)
    stored = FeatureStore(config.store)
    videos = named_videos(stored, result.request, result.outcomes)
    notes = (
        []
        if networks.affect
        else ["No network with valence and arousal is on this machine; these columns are left out."]
    )
    if not networks.speech:
        notes.append("No network of speech is on this machine: `affstore weights pull silero_vad` brings one.")
    analysis = write_analysis(stored, videos, networks, out, notes)
    if as_json:
        print_json({**as_document(result), "analysis": _document(analysis, networks)})
    else:
        tell(result)
        _tell(analysis, notes)
    return result.exit_code


def _document(analysis: Analysis, networks: AnalysisNetworks) -> dict[str, Any]:
    return {
        "folder": str(analysis.folder),
        "networks": networks.names,
        "written": analysis.written,
        "videos": [asdict(entry) for entry in analysis.entries],
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
        "",
        f"analysis  {analysis.folder / 'index.html'}  ({len(analysis.written)} of {len(rows)} videos written anew)",
    )


COMMANDS.register("analyze", Command(analyze))
