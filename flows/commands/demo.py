"""`affstore demo`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from affstore.flows.commands import COMMANDS, Command
from affstore.flows.commands.options import DEFAULT_RUNNER, DryRun, Json, RunnerChoice, print_json
from affstore.flows.watch import to_terminal

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
    computes nothing again.

    Example: affstore demo

    Parameters
    ----------
    folder
        Where corpus, store and publication go.
    """
    if dry_run:
        sentence = f"would write a corpus, a store and a publication under {folder.resolve()}"
        print_json({"folder": str(folder.resolve())}) if json else to_terminal(sentence)
        return 0
    from affstore.flows.commands.running import run_and_tell
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
    result = run_and_tell(found.model_copy(update={"runner": runner.changed(found.runner)}), json)
    if not json:
        to_terminal(*_next(folder, found.store))
    # The corpus holds a damaged film on purpose; that it is quarantined is the demo working.
    return 0 if not result.count("failed") else result.exit_code


def _next(folder: Path, store: str) -> tuple[str, ...]:
    # `make demo` calls a program that need not be on the PATH of the shell it was typed in.
    program = "affstore" if shutil.which("affstore") else sys.argv[0]
    return (
        "",
        "Next:",
        f"  {program} status --store {store}",
        f"  {program} show --store {store}",
        f"  {program} plan {folder / 'demo.yaml'}",
        f"  {program} add my_videos/ --store affstore-data --weights untrained",
        f"  {program} weights list        # the published networks",
    )


COMMANDS.register("demo", Command(demo))
