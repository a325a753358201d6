"""What a run of rows does, resolved and checked before any work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from affstore import FeatureStore
from affstore.flows.config.experiments import extractors_of
from affstore.flows.config.heads import named
from affstore.flows.config.run_config import RunConfig
from affstore.flows.request import Request, request_of
from affstore.models.ensembles.spec import with_heads_renamed
from affstore.models.extractors.registry import spec_of
from affstore.models.extractors.untrained import resolve_weights
from affstore.models.faces.specs import DetectorSpec
from affstore.models.heads.splits import Folds
from affstore.models.weights.folder import default_folder
from affstore.store.contract.errors import WeightsError
from affstore.store.contract.extras import require_extra
from affstore.tasks.experiments import Experiment, ExperimentOutcome, Protocol
from affstore.tasks.specs import HeadRun
from affstore.tasks.training.folds import shortened


@dataclass(frozen=True, slots=True)
class ExperimentsOptions:
    """How rows are run.

    Attributes:
        protocols: `papers`, and `honest` beside it.
        folds: of `honest`.
        brief: whether trainings are cut short.
        samples: task to the official sample list that a challenge file must follow.
    """

    protocols: tuple[Protocol, ...] = ("papers",)
    folds: Folds = field(default_factory=Folds)
    brief: bool = False
    samples: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExperimentsRequest:
    """A run of rows.

    Attributes:
        run: store, inputs, networks, and every head of the rows once.
        rows: what is scored.
        choice: how they are run.
        report: the folder that gets the page, its figures and the challenge files.
        notes: what differs from the papers, as a person should read it.
        refused: rows that cannot run here, with the reason: the weights of a network are missing.
    """

    run: Request
    rows: tuple[Experiment, ...]
    choice: ExperimentsOptions
    report: Path
    notes: tuple[str, ...] = ()
    refused: tuple[ExperimentOutcome, ...] = ()

    @property
    def cross_validated_heads(self) -> tuple[HeadRun, ...]:
        """The heads of the rows that the protocol `honest` is for."""
        return _heads(row for row in self.rows if "honest" in self.protocols_of(row))

    def protocols_of(self, row: Experiment) -> tuple[Protocol, ...]:
        """The protocols of a row: one whose heads were fitted on the validation videos cannot be judged honestly."""
        seen = any("validation" in head.division.train for head in row.heads)
        return tuple(protocol for protocol in self.choice.protocols if not (seen and protocol == "honest"))


def experiments_request(
    config: RunConfig, rows: Sequence[Experiment], choice: ExperimentsOptions
) -> ExperimentsRequest:
    """Check rows against this machine and a store.

    Where a corpus has no crop folders of the kind that the papers used, faces are cut from its videos instead.

    Args:
        config: store, inputs, weights, engine, device; its extractors and experiments are the rows' own.
        rows: as their files have them.
        choice: how they are run.

    Raises:
        AffstoreError: something is wrong; nothing was started.
    """
    require_extra("heads", "The report of experiments")
    kinds = {address.producer for address in FeatureStore.create(config.store).addresses("face")} | set(config.crops)
    missing = sorted(_kinds(rows) - kinds)
    notes = [
        f"There are no '{kind}' faces here: faces are found in the videos by {DetectorSpec().name} instead."
        for kind in missing
    ]
    rows = [_on_detected_faces(row, missing) for row in rows]
    if choice.brief:
        rows = [changed(row, shortened) for row in rows]
    rows, refused = _with_weights(rows, untrained=config.weights == "untrained")
    run = request_of(config.model_copy(update={"extractors": extractors_of(rows), "experiments": ()}))
    rows = [changed(row, lambda head: replace(head, extractors=run.profile.extractors)) for row in rows]
    heads = _heads(rows)
    wanted = tuple(sorted({row.requires for row in rows} - {""}))
    run = replace(run, experiments=heads, profile=replace(run.profile, wanted_faces=wanted))
    report = run.runs_folder / "experiments" / run.context.run_id
    return ExperimentsRequest(run, tuple(rows), choice, report, tuple(notes), refused)


def _with_weights(
    rows: Sequence[Experiment], untrained: bool
) -> tuple[list[Experiment], tuple[ExperimentOutcome, ...]]:
    """The rows whose networks have their weights here, and the others with the reason.

    Raises:
        WeightsMissingError: no row could run; the message is that of the first.
    """
    folder, faults = default_folder(), dict[str, WeightsError]()
    for name in extractors_of(rows):
        try:
            resolve_weights(folder, spec_of(name).weights, untrained=untrained)
        except WeightsError as error:
            faults[name] = error
    lacking = {row.name: fault for row in rows if (fault := _fault(row, faults)) is not None}
    if len(lacking) == len(rows):
        raise next(iter(lacking.values()))
    refused = tuple(ExperimentOutcome(row, "failed", str(lacking[row.name])) for row in rows if row.name in lacking)
    return [row for row in rows if row.name not in lacking], refused


def _fault(row: Experiment, faults: Mapping[str, WeightsError]) -> WeightsError | None:
    names = [part.extractor for head in row.heads for part in head.inputs]
    return next((faults[name] for name in names if name in faults), None)


def changed(row: Experiment, change: Callable[[HeadRun], HeadRun]) -> Experiment:
    """A row whose heads are changed; its method follows their names."""
    new = {head.name: change(head) for head in row.heads}
    names = {old: head.name for old, head in new.items()}
    heads = {head.name: head for head in new.values()}
    return replace(row, heads=tuple(heads.values()), method=with_heads_renamed(row.method, names))


def _on_detected_faces(row: Experiment, kinds: Sequence[str]) -> Experiment:
    """A row that takes no face from folders of these kinds."""
    found = changed(row, lambda head: _without_folders(head, kinds))
    return replace(found, requires=DetectorSpec().name) if row.requires in kinds else found


def _without_folders(head: HeadRun, kinds: Iterable[str]) -> HeadRun:
    """A head whose inputs take no face from folders of these kinds."""
    inputs = tuple(
        replace(part, extractor=part.extractor.removesuffix(f"@{kind}"))
        if (kind := part.extractor.partition("@")[2]) in kinds
        else part
        for part in head.inputs
    )
    if inputs == head.inputs:
        return head
    return named(replace(head, inputs=inputs))


def _kinds(rows: Iterable[Experiment]) -> set[str]:
    """The kinds of crop folders that rows want."""
    required = {row.requires for row in rows} - {""}
    specs = (spec_of(part.extractor) for row in rows for head in row.heads for part in head.inputs)
    faces = {spec.faces for spec in specs}
    return (faces | required) - {DetectorSpec().name, ""}


def _heads(rows: Iterable[Experiment]) -> tuple[HeadRun, ...]:
    """Every head of some rows once."""
    return tuple({head.name: head for row in rows for head in row.heads}.values())
