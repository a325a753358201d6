"""One run, from configuration to report: what the command line and a deployment both call."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flows.config import PublishConfig, RunConfig, profile_of
from flows.inputs import Inputs, gather
from flows.runners import RunnerSpec, task_runner
from flows.server import prefect_server
from flows.watch import Watcher, shown_by
from models.weights.folder import default_folder
from store import FeatureStore
from store.contract.errors import SpecError
from store.engine.places import is_local, local_folder
from tasks.evaluate import Evaluation
from tasks.outcomes import Outcome
from tasks.specs import Bench, ExperimentSpec, Profile


@dataclass(frozen=True, slots=True)
class Request:
    """Everything a run does, resolved and checked before any work.

    Attributes:
        bench: where it works.
        inputs: videos and annotations to take in.
        profile: what is extracted from every video of the store.
        experiments: heads to train and apply.
        publish: where to, or None.
        replace_taken: whether a known name with other bytes is a new version of its video.
        runs_folder: gets Prefect's database and the reports.
    """

    bench: Bench
    inputs: Inputs
    profile: Profile
    experiments: tuple[ExperimentSpec, ...] = ()
    publish: PublishConfig | None = None
    replace_taken: bool = False
    runs_folder: Path = Path()


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run did.

    Attributes:
        request: what was asked.
        outcomes: of every video, head and file, in the order they finished.
        evaluations: of every experiment that could be scored.
        snapshot: of the store at its end.
        tag: that names it, or empty.
        published: files that were written.
        report: the page that says all this.
    """

    request: Request
    outcomes: tuple[Outcome, ...]
    evaluations: tuple[Evaluation, ...] = ()
    snapshot: str = ""
    tag: str = ""
    published: tuple[Path, ...] = field(default=())
    report: Path | None = None

    @property
    def exit_code(self) -> int:
        """0 when all went well, 3 when something was quarantined or could not be done."""
        return 3 if any(outcome.status in ("quarantined", "failed") for outcome in self.outcomes) else 0

    def count(self, *statuses: str, stages: Sequence[str] = ()) -> int:
        """How many outcomes have one of these statuses."""
        return sum(o.status in statuses and (not stages or o.stage in stages) for o in self.outcomes)


def request_of(config: RunConfig, replace_taken: bool = False) -> Request:
    """Check a configuration against this machine: inputs, names, weights, store, device.

    Raises:
        AffstoreError: something is wrong; nothing was started.
    """
    experiments = config.specs()
    inputs = gather(config.sources) if config.sources else Inputs((), ())
    weights = default_folder()
    profile = profile_of(config, weights)
    FeatureStore.create(config.store)
    bench = Bench(config.store, _run_id(), weights.root, _device(config.device))
    return Request(bench, inputs, profile, experiments, config.publish, replace_taken, runs_folder(config.store))


def execute(request: Request, runner: RunnerSpec, watcher: Watcher) -> RunResult:
    """Run the DAG, on a Prefect server of its own unless `PREFECT_API_URL` names one.

    Args:
        request: what to do.
        runner: how to fan out.
        watcher: told what happens.
    """
    if runner.kind == "dask" and request.bench.store_url.startswith("memory:"):
        raise SpecError("A store in memory lives in one process; Dask's workers need a folder or s3://bucket/prefix.")
    with prefect_server(request.runs_folder / "prefect") as api:
        watcher.server(api)
        from flows.pipeline import pipeline

        with task_runner(runner) as runs_on, shown_by(watcher):
            return pipeline.with_options(task_runner=runs_on)(request, runs_on)


def runs_folder(store_url: str) -> Path:
    """Where what belongs to runs, and not to the store, is kept: beside a local store, else in the cache folder."""
    if is_local(store_url):
        folder = local_folder(store_url)
        return folder.with_name(f"{folder.name}.runs")
    name = "".join(character if character.isalnum() else "-" for character in store_url).strip("-")
    return Path("~/.cache/affstore").expanduser() / f"{name}.runs"


def _run_id() -> str:
    return secrets.token_hex(4)


def _device(wanted: str) -> str:
    """The device to work on.

    Raises:
        SpecError: CUDA was asked for and there is none.
    """
    if wanted == "cpu":
        return "cpu"
    import torch

    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise SpecError("The device cuda was asked for, but torch finds no GPU here. Use --device cpu or auto.")
    return "cuda" if available else "cpu"
