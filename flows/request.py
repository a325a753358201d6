"""What a run is asked to do, checked against this machine before any work, and what it did."""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from affstore import FeatureStore
from affstore.flows.config.run_config import PublishConfig, RunConfig, profile_of, rooted
from affstore.flows.engines import is_decided
from affstore.flows.inputs import Inputs, check_kinds, gather
from affstore.flows.limits import RunLimits
from affstore.flows.runnable import runnable
from affstore.flows.runs_folder import runs_folder
from affstore.models.challenge_file import read_sample
from affstore.models.heads.splits import Folds, read_groups
from affstore.models.weights.folder import WeightsFolder, default_folder
from affstore.store.contract.errors import SourceError, SpecError
from affstore.store.engine.generations import begin, has_begun
from affstore.tasks.experiments import Experiment, ExperimentOutcome, Protocol
from affstore.tasks.ingest.incoming_files import IngestOptions
from affstore.tasks.lineage.stored_heads import FittedExperiment
from affstore.tasks.outcomes import Outcome
from affstore.tasks.remarks import Remark
from affstore.tasks.specs import HeadRun, Profile, WorkerContext
from affstore.tasks.training.folds import cross_validated, scores_held_out, shares_groups


@dataclass(frozen=True, slots=True)
class Request:
    """Everything a run does, resolved and checked before any work.

    Attributes:
        context: where it works.
        inputs: videos and annotations to take in.
        profile: what is extracted from the videos.
        experiments: what is trained, applied and scored; heads that several have in common are trained once.
        refused: experiments that cannot run here, with the reason.
        protocols: by which experiments are scored.
        folds: of the protocol `honest`.
        notes: what differs from what was asked, as a person should read it.
        brief: whether trainings are cut short.
        publish: where to, or None.
        options: what is tried although the store knows better.
        everything: whether all videos of the store are brought up to date, or only those that the inputs name.
        runs_folder: gets Prefect's database and the reports.
        fitted: experiments and heads of the store that are applied to the videos, and not fitted.
        videos: names of stored videos that are meant beside the inputs.
        limits: how much of all this the run does.
        begun_at_s: when it was asked for, in seconds since 1970.
    """

    context: WorkerContext
    inputs: Inputs
    profile: Profile
    experiments: tuple[Experiment, ...] = ()
    refused: tuple[ExperimentOutcome, ...] = ()
    protocols: tuple[Protocol, ...] = ("papers",)
    folds: Folds = field(default_factory=Folds)
    notes: tuple[str, ...] = ()
    brief: bool = False
    publish: PublishConfig | None = None
    options: IngestOptions = field(default_factory=IngestOptions)
    everything: bool = True
    runs_folder: Path = Path()
    fitted: tuple[FittedExperiment, ...] = ()
    videos: tuple[str, ...] = ()
    limits: RunLimits = field(default_factory=RunLimits)
    begun_at_s: float = field(default_factory=time.time, compare=False)

    @property
    def heads(self) -> tuple[HeadRun, ...]:
        """Every head of the experiments once."""
        return heads_of(self.experiments)

    @property
    def fitted_heads(self) -> tuple[HeadRun, ...]:
        """The heads that are applied and not fitted."""
        return tuple(head for one in self.fitted for head in one.heads)

    @property
    def report_folder(self) -> Path:
        """Gets the report, its figures, and the files of experiments on the test set."""
        return self.runs_folder / self.context.run_id

    def heads_on(self, store: FeatureStore) -> list[HeadRun]:
        """Every head that the experiments' protocols fit on a store, as far as it can be said before."""
        return heads_of_protocols(store, self.experiments, self.protocols, self.folds)


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run did.

    Attributes:
        request: what was asked.
        outcomes: of every video, head and file, in the order they finished.
        experiments: the outcome of each, with its numbers.
        snapshot: of the store at its end.
        tag: that names it, or empty.
        published: files that were written.
        report: the page that says all this.
        remarks: what to know of the videos that it was about.
    """

    request: Request
    outcomes: tuple[Outcome, ...]
    experiments: tuple[ExperimentOutcome, ...] = ()
    snapshot: str = ""
    tag: str = ""
    published: tuple[Path, ...] = field(default=())
    report: Path | None = None
    remarks: tuple[Remark, ...] = ()

    @property
    def partial(self) -> bool:
        """Whether the run's time was over before all of its work was begun."""
        return any(outcome.status == "postponed" for outcome in self.outcomes)

    @property
    def exit_code(self) -> int:
        """0 when all went well, 3 when something was quarantined, failed or left, or an experiment has no number."""
        bad = any(outcome.status in ("quarantined", "failed") for outcome in self.outcomes)
        return 3 if bad or self.partial or any(one.status == "failed" for one in self.experiments) else 0

    def count(self, *statuses: str, stages: Sequence[str] = ()) -> int:
        """How many outcomes have one of these statuses."""
        return sum(o.status in statuses and (not stages or o.stage in stages) for o in self.outcomes)


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What a run is told beside its configuration.

    Attributes:
        ingest: what is tried although the store knows better.
        everything: bring all videos of the store up to date, not only those of the configuration's sources and crops.
        limits: how much of it is done; a share takes in files and extracts from them, and nothing is trained.
        generation: that all of it is read from and written to, which begins here if it has not; empty for what readers
            of the store see.
        videos: names of stored videos that are meant beside the configuration's files.
    """

    ingest: IngestOptions = field(default_factory=IngestOptions)
    everything: bool = True
    limits: RunLimits = field(default_factory=RunLimits)
    generation: str = ""
    videos: tuple[str, ...] = ()


def request_of(config: RunConfig, options: RunOptions = RunOptions()) -> Request:
    """Check a configuration against this machine: inputs, names, weights, store, device.

    Raises:
        AffstoreError: something is wrong; nothing was started.
    """
    if not config.runner.kind.in_process:
        config = rooted(config, Path.cwd())  # workers may have been started in another folder
    inputs, limits, generation = _inputs(config), options.limits, options.generation
    if limits.share is not None:
        inputs = limits.share.of(inputs)
        config = config.without_training()
    weights = default_folder()
    _check_samples(config.publish)
    store = FeatureStore.create(config.store)
    if generation and has_begun(store, generation):
        store = store.state(generation)
    if limits.share is not None:
        _check_engines_decided(config, weights, store)
    found = runnable(config, store)
    config = config.model_copy(update={"experiments": found.experiments})
    profile = profile_of(config, weights, store)
    experiments = tuple(
        one.with_heads(lambda head: replace(head, extractors=profile.extractors)) for one in found.experiments
    )
    check_kinds(profile, config.crops, store)
    runs = runs_folder(config.store)
    context = WorkerContext(
        config.store,
        _run_id(),
        weights.root,
        config.device_in_use,
        runs / "trainings",
        ends_at=limits.ends_at,
        retries=config.retries,
        generation=generation,
    )
    if generation:
        begin(store, generation)
    return Request(
        context,
        inputs,
        profile,
        experiments,
        found.refused,
        _protocols(config),
        _folds(config),
        (*found.notes, *_not_published(config, generation)),
        config.brief,
        config.publish,
        options.ingest,
        options.everything and limits.share is None,
        runs,
        videos=options.videos,
        limits=limits,
    )


def _not_published(config: RunConfig, generation: str) -> Sequence[str]:
    if not generation or config.publish is None or config.publish.folder is None:
        return ()
    return (f"Nothing is published from a generation: run again without it once '{generation}' is promoted.",)


def heads_asked(store: FeatureStore, config: RunConfig) -> list[HeadRun]:
    """Every head that a configuration's experiments need on a store, as far as it can be said before.

    Raises:
        SpecError: see `_folds`.
    """
    return heads_of_protocols(store, config.experiments, _protocols(config), _folds(config))


def _protocols(config: RunConfig) -> tuple[Protocol, ...]:
    """The protocols by which a configuration's experiments are scored."""
    return ("papers", "honest") if config.protocol == "honest" else ("papers",)


def protocols_on(
    store: FeatureStore, experiment: Experiment, asked: Collection[Protocol], folds: Folds
) -> tuple[Protocol, ...]:
    """The protocols of an experiment on a store.

    `honest` is none of one whose heads are fitted on the validation videos. `papers` is none where `honest` is asked
    and nothing validates, or a group is both trained on and reported: its number would be of people whom it knows.
    """
    if "honest" not in asked or any("validation" in head.division.train for head in experiment.heads):
        return ("papers",)
    if scores_held_out(store, experiment.space) or shares_groups(store, experiment.space, folds):
        return ("honest",)
    return ("papers", "honest")


def heads_of_protocols(
    store: FeatureStore, experiments: Iterable[Experiment], asked: Collection[Protocol], folds: Folds
) -> list[HeadRun]:
    """Every head that experiments need on a store by their protocols, as far as it can be said before."""
    runs = [(one, protocols_on(store, one, asked, folds)) for one in experiments]
    honest = heads_of(one for one, protocols in runs if "honest" in protocols)
    return [*heads_of(one for one, protocols in runs if "papers" in protocols), *cross_validated(store, honest, folds)]


def _folds(config: RunConfig) -> Folds:
    """The folds of `honest`.

    Raises:
        SpecError: the groups cannot be read, there are none to hold out, or the protocol has no folds.
    """
    if config.experiments and (config.groups or config.folds == "groups") and config.protocol != "honest":
        raise SpecError(
            "`groups` says which videos are in one fold, and only `protocol: honest` has folds. Add it, or leave the "
            "groups out."
        )
    groups = read_groups(config.groups) if config.groups else {}
    return Folds.by_group(groups) if config.folds == "groups" else Folds(config.folds, groups)


def with_fitted(request: Request, fitted: Iterable[FittedExperiment]) -> Request:
    """A request that applies what the store has fitted, too.

    Raises:
        SpecError: a network has other parameters here than the heads were fitted on.
    """
    return replace(request, fitted=tuple(one.on(request.profile.extractors) for one in fitted))


def heads_of(experiments: Iterable[Experiment]) -> tuple[HeadRun, ...]:
    """Every head of some experiments once."""
    return tuple({head.name: head for experiment in experiments for head in experiment.heads}.values())


def _inputs(config: RunConfig) -> Inputs:
    """What the configuration's paths hold.

    Raises:
        SourceError: they hold nothing that can be used.
    """
    inputs = gather(config.sources, config.crops, config.names, config.label_folders())
    if inputs.refused and not (inputs.videos or inputs.annotations or inputs.crops):
        raise SourceError(" ".join(refusal.reason for refusal in inputs.refused))
    return inputs


def _check_engines_decided(config: RunConfig, weights: WeightsFolder, store: FeatureStore) -> None:
    """See that all shares of a run will choose the same engines: each would measure on the machine that it is on.

    Raises:
        WeightsMissingError: weights are not on this machine.
        SpecError: a network's engine is neither named nor known from its embeddings in the store.
    """
    networks = profile_of(config, weights, store, measured=False).extractors
    undecided = [spec.name for spec in networks if not is_decided(spec, config.engine_request, store)]
    if undecided:
        raise SpecError(
            f"Shares of a run must not each choose the engine of '{undecided[0]}'. Name `engine` and `precision`, as "
            "openvino and float32, or add one video to the store before: the others follow it."
        )


def _check_samples(publish: PublishConfig | None) -> None:
    """See that the sample lists can be read, before the work whose end they are."""
    for task, sample in publish.samples.items() if publish else ():
        read_sample(sample, task)


def _run_id() -> str:
    return secrets.token_hex(4)
