"""Compute artifacts again from what their records say that they were computed from, and compare."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from affstore import FeatureStore
from affstore.models.engines.torch_network import device_of
from affstore.models.ensembles.spec import heads_of
from affstore.models.extractor_specs import IMPORTED
from affstore.models.faces.specs import DetectorSpec, TrackingSpec
from affstore.models.heads.splits import Folds, SplitSpec
from affstore.models.labels.base import LabelFile
from affstore.models.weights.folder import WeightsFolder
from affstore.store.contract.errors import (
    AffstoreError,
    AnnotationError,
    NotFoundError,
    SchemaError,
    SpecError,
    StoreError,
)
from affstore.store.contract.keys import digest_file, key_of
from affstore.store.contract.names import join_subject
from affstore.store.contract.records import Address, Artifact, Record
from affstore.store.contract.schema import address_of
from affstore.store.engine.reading import find_address
from affstore.tasks.evaluation.experiment_scores import result_artifact
from affstore.tasks.experiments import Experiment
from affstore.tasks.extract.jobs import CropJob, VideoJob
from affstore.tasks.extract.videos import extract
from affstore.tasks.ingest.annotations import store_labels
from affstore.tasks.ingest.sources import source_artifact
from affstore.tasks.lineage.graph import LineageGraph, leaves_of
from affstore.tasks.lineage.recorded_specs import extractor_from, post_processing_from, spec_from
from affstore.tasks.lineage.reproduction import Reproduction, compared
from affstore.tasks.lineage.stored_heads import head_run_of
from affstore.tasks.outcomes import Outcome
from affstore.tasks.predict.experiments import experiment_predictions
from affstore.tasks.predict.videos import store_predictions
from affstore.tasks.specs import HeadRun, Profile, TunedPostProcessing, WorkerContext
from affstore.tasks.training.train import HELD_OUT, head_recipe, train


def addresses_named(store: FeatureStore, names: Iterable[str]) -> list[Address]:
    """The addresses of artifacts by their paths.

    Raises:
        NotFoundError: there is no such artifact; the message suggests the nearest.
    """
    known = {address.path: address for address in store.addresses() if address.family != "quarantine"}
    found = []
    for name in names:
        with suppress(SchemaError):
            name = name if name in known else find_address(store, name).path
        if name not in known:
            raise NotFoundError.of(store.url, "artifact", name, known, "`affstore show` lists what there is.")
        found.append(known[name])
    return found


def reproduce(
    store: FeatureStore, addresses: Iterable[Address], weights: WeightsFolder, device: str = "cpu"
) -> Iterator[Reproduction]:
    """Compute artifacts again on a scratch store, each from its parents as the store has them, and compare digests.

    Args:
        store: the snapshot; nothing is written to it.
        addresses: of the artifacts.
        weights: where the networks' parameters are.
        device: where networks run.

    Raises:
        SpecError: this machine has no such device; that is said although nothing that is computed may need it.
    """
    if device != "cpu":  # which is always here, and asking about others takes long
        device_of(device)
    graph = LineageGraph(store.records())
    for address in addresses:
        record = graph.records[address.path]
        try:
            artifact = recomputed(store, graph, record, WorkerContext("", "reproduce", weights.root, device))
        except DifferentNumbersError as error:
            yield Reproduction(address.path, "other", str(error))
        except AffstoreError as error:
            yield Reproduction(address.path, "not computed", str(error))
        else:
            yield compared(store, record, artifact, device)


def recomputed(
    store: FeatureStore, graph: LineageGraph, record: Record, context: WorkerContext
) -> Mapping[str, NDArray[Any]]:
    """An artifact's arrays, computed again.

    Args:
        store: with its parents.
        graph: of the store's records.
        record: the artifact's.
        context: with what to compute; its store is not used.

    Raises:
        AffstoreError: something that it was computed from is not there, or is not what it was.
    """
    _check_parents(graph, record)
    compute = None if "imported" in record.made else _COMPUTE.get(record.address.family)
    if compute is None:
        raise SpecError(f"'{record.address}' was not computed here, but taken in as it is.")
    with _scratch(store, graph, record) as scratch:
        return compute(_Again(scratch, record, replace(context, store_url=scratch.url), graph, store))


def _check_parents(graph: LineageGraph, record: Record) -> None:
    for link in graph.links(record):
        if link.state == "missing":
            raise NotFoundError(
                f"'{link.parent.path}', which '{record.address}' was computed from, is not in the store."
            )
        if link.state == "replaced":
            raise NotFoundError(
                f"'{link.parent.path}' was replaced after '{record.address}' was computed from it. Name the snapshot "
                "in which it was not by --at; `affstore log` lists them."
            )


@dataclass(frozen=True, slots=True)
class _Again:
    """One artifact that is computed again.

    Attributes:
        scratch: a store with what it was computed from, and without itself.
        record: its own.
        context: where to compute.
        graph: of the store that it is in.
        store: that it is in.
    """

    scratch: FeatureStore
    record: Record
    context: WorkerContext
    graph: LineageGraph
    store: FeatureStore

    @property
    def video(self) -> Record:
        """The record of its video."""
        return self.scratch.get(Address("source", video=self.record.address.video))

    def arrays_of(self, outcome: Outcome) -> Mapping[str, NDArray[Any]]:
        """The arrays that a task wrote at its address."""
        draft = outcome.draft
        written = {} if draft is None else {one.address: one for one in draft.records}
        if draft is None or self.record.address not in written:
            raise NotFoundError(f"'{self.record.address}' was not computed: {outcome.reason}")
        self.scratch.commit([draft], "computed again")
        return self.scratch.newest().read(self.record.address)


@contextmanager
def _scratch(store: FeatureStore, graph: LineageGraph, record: Record) -> Iterator[FeatureStore]:
    """A store of its own with everything that an artifact was computed from."""
    needed = {path: one for path, one in graph.upstream([record]).items() if one.address.family != "quarantine"}
    videos = {one.address.video for one in (record, *needed.values())} - {""}
    beside = {
        path: one
        for path, one in graph.records.items()
        if (one.address.family in ("source", "face", "label") or one.address.producer.startswith(IMPORTED))
        and one.address.video in videos
        and path != record.address.path
    }
    direct = {parent.path for parent in record.parents}
    # A result says of the head on all videos how many epochs it had, also where only the folds' predictions count.
    folds = {one.address.producer.rpartition("-fold")[0] for one in needed.values()} - {""}
    beside |= {
        path: one
        for path, one in graph.records.items()
        if one.address.family == "head" and one.address.producer.removesuffix("-honest") in folds
    }
    copied = beside | {path: one for path, one in needed.items() if path in direct or one.address.family == "head"}
    with tempfile.TemporaryDirectory(prefix="affstore-reproduce-") as folder:
        scratch = FeatureStore.create(f"{folder}/store")
        draft = scratch.draft({}, "reproduce")
        for path in sorted(copied, key=lambda path: (not path.startswith("source/"), path)):
            one = copied[path]
            draft.copy(one, store.read(one.address), _version_of(store, one))
        scratch.commit([draft], "inputs")
        yield scratch.newest()


def _version_of(store: FeatureStore, record: Record) -> int:
    """Of its family, by which an artifact was written."""
    own: Any = store.group(record.address).attrs["affstore"]
    return int(own["version"])


def _source(again: _Again) -> Mapping[str, NDArray[Any]]:
    from affstore.models.media.video import probe

    path = _file_of(again.record, "video")
    return _checked_key(
        again.record, source_artifact(again.record.address.video, path, _digest(again.record), probe(path))
    )


def _digest(record: Record) -> str:
    return str(record.attributes["sha256"])


def _file_of(record: Record, kind: str) -> Path:
    """The file that an artifact was read from, whose bytes are as they were.

    Raises:
        NotFoundError: it is not there, or other bytes are.
    """
    (leaf,) = (leaf for leaf in leaves_of(record) if leaf.kind == kind)
    path = Path(leaf.name)
    if not path.is_file():
        raise NotFoundError(f"The {kind} '{path}' is not there any more. Put it back, or add it from where it is now.")
    if digest_file(path) != leaf.digest:
        raise NotFoundError(f"The {kind} '{path}' has other bytes than when it was added. Restore it.")
    return path


def _checked_key(record: Record, artifact: Artifact) -> Mapping[str, NDArray[Any]]:
    if key_of(artifact.recipe) != record.key:
        raise SpecError(f"This affstore computes '{record.address}' by another recipe than the one that is recorded.")
    return artifact.arrays


def _face(again: _Again) -> Mapping[str, NDArray[Any]]:
    recipe, address = again.record.recipe, again.record.address
    if "crops" in recipe:
        return _on_crops(again, again.record, ())
    profile = Profile(spec_from(recipe["detector"]), spec_from(recipe["tracking"]), (), (address.producer,))
    return again.arrays_of(extract(again.context, _video_job(again, find_faces=True), profile))


def _visual(again: _Again) -> Mapping[str, NDArray[Any]]:
    spec = extractor_from(again.record.recipe["extractor"])
    face = again.scratch.get(Address("face", spec.faces, again.record.address.video, again.record.address.subject))
    if "crops" in face.recipe:
        return _on_crops(again, face, (spec,))
    profile = Profile(spec_from(face.recipe["detector"]), spec_from(face.recipe["tracking"]), (spec,))
    return again.arrays_of(extract(again.context, _video_job(again, extractors=(spec,)), profile))


def _audio(again: _Again) -> Mapping[str, NDArray[Any]]:
    spec = extractor_from(again.record.recipe["extractor"])
    profile = Profile(DetectorSpec(), TrackingSpec(), (spec,))
    return again.arrays_of(extract(again.context, _video_job(again, extractors=(spec,)), profile))


def _video_job(again: _Again, **wanted: Any) -> VideoJob:
    _file_of(again.video, "video")
    return _job(again, **wanted)


def _job(again: _Again, **wanted: Any) -> VideoJob:
    source = again.video
    return VideoJob(
        source.address.video,
        str(source.attributes["location"]),
        _digest(source),
        frames=int(source.attributes["frames"]),
        **{"find_faces": False, "extractors": (), **wanted},
    )


def _on_crops(again: _Again, face: Record, specs: Any) -> Mapping[str, NDArray[Any]]:
    folder = Path(str(face.attributes["location"]))
    if not folder.is_dir():
        raise NotFoundError(f"The crop folder '{folder}' is not there any more. Put it back.")
    crop = CropJob(face.address.producer, face.address.subject, folder, specs)
    profile = Profile(DetectorSpec(), TrackingSpec(), specs)
    return again.arrays_of(extract(again.context, _job(again, crops=(crop,)), profile))


def _label(again: _Again) -> Mapping[str, NDArray[Any]]:
    recipe, address = again.record.recipe, again.record.address
    path = _file_of(again.record, "annotation")
    split, form = str(recipe["split"]), str(recipe.get("format", "abaw"))
    within = str(recipe.get("within", ""))
    name = join_subject(address.video, address.subject)
    found = LabelFile(spec_from(recipe["task"]), split, address.video, address.subject, path, form, within)  # type: ignore[arg-type]
    return again.arrays_of(store_labels(again.context, name, [found]))


def _head(again: _Again) -> Mapping[str, NDArray[Any]]:
    run = head_run_of(again.scratch, again.record)
    return again.arrays_of(train(again.context, replace(run, division=_division(again, run))))


def _division(again: _Again, run: HeadRun) -> SplitSpec:
    """The division of videos by which the recorded key comes about."""
    for division in _divisions(again):
        try:
            if key_of(head_recipe(again.scratch, replace(run, division=division))) == again.record.key:
                return division
        except AnnotationError:
            continue
    raise SpecError(f"'{again.record.address}' was fitted on a division of videos that its record does not name.")


def _divisions(again: _Again) -> Iterator[SplitSpec]:
    """How the videos that a head has seen may have been divided; the scratch store has no others."""
    yield SplitSpec()
    yield SplitSpec(validation=())  # also of a fold that nothing was chosen on
    yield SplitSpec(("train", "validation"), ())
    if held_out := _held_out(again):
        videos = [address.video for address in again.scratch.addresses("source")]
        yield SplitSpec(
            validation=(), folds=Folds.by_group({one: "" if one in held_out else "trained on" for one in videos})
        )


def _held_out(again: _Again) -> set[str]:
    """The videos that chose the epoch of a fold's head; those that it predicted, if its record names none."""
    predicted = again.graph.downstream([again.record]).values() if HELD_OUT not in again.record.made else ()
    own = {one.address.video for one in predicted if one.address.producer == again.record.address.producer}
    return own | {*again.record.made.get(HELD_OUT, ())}


def _prediction(again: _Again) -> Mapping[str, NDArray[Any]]:
    finish, address = again.record.recipe["finish"], again.record.address
    chosen = post_processing_from(finish) if "judging" in finish else None
    if chosen and any(parent.path.startswith("prediction/") for parent in again.record.parents):
        return _experiment_prediction(again, chosen)
    head = again.scratch.get(Address("head", address.producer))
    run = replace(head_run_of(again.scratch, head, again.record.parents), chosen=chosen)
    run = run if chosen else replace(run, finish=spec_from(finish))
    return again.arrays_of(store_predictions(again.context, address.video, [run]))


def _experiment_prediction(again: _Again, chosen: TunedPostProcessing) -> Mapping[str, NDArray[Any]]:
    experiment = _experiment(again, chosen.evaluation, again.record.address.producer)
    for artifact in experiment_predictions(again.scratch, experiment, chosen.tuned):
        if artifact.address == again.record.address:
            return artifact.arrays
    raise NotFoundError(f"'{again.record.address}' was not computed: a head's prediction is missing.")


def _experiment(again: _Again, evaluation: Any, name: str, requires: str = "", sweep: Any = None) -> Experiment:
    """The experiment that a record speaks of, as far as its numbers depend on it."""
    fitted = {
        address.producer: again.graph.records[Address("head", address.producer).path]
        for parent in again.record.parents
        if (address := address_of(parent.path)).family == "prediction"
    }
    # Without validation videos there are the folds' heads alone.
    whole = {name: head for name, head in fitted.items() if "-fold" not in name} or fitted
    meant = heads_of(evaluation.method)  # a prediction names heads as they are, a result by their experiment's names
    heads = {name if name in meant else _base(name): head for name, head in whole.items()}
    predictions = {
        address_of(p.path).producer: self for p in again.record.parents if (self := again.graph.records.get(p.path))
    }
    runs = tuple(
        replace(head_run_of(again.store, head, predictions[head.address.producer].parents), name=base)
        for base, head in heads.items()
    )
    return Experiment(name, name, "", runs, evaluation, requires, sweep=sweep)


def _base(name: str) -> str:
    """How a head is called without what a protocol adds: `-honest`, or `-fold1of5`."""
    return name.rpartition("-fold")[0] or name.removesuffix("-honest")


def _folds_of(result: Record, count: int) -> Folds:
    """The cut into folds of a result, by whose predictions its folds' heads judged; how it was made is not recorded."""
    predictions = [one for parent in result.parents if (one := address_of(parent.path)).family == "prediction"]
    fold = {one.video: one.producer.rpartition("-fold")[2] for one in predictions if "-fold" in one.producer}
    empty = {f" {number}": str(number) for number in range(1, count + 1)}  # a fold may have nobody who was judged
    found = empty | {video: number.partition("of")[0] for video, number in fold.items()}
    return Folds.by_group({video: number.zfill(6) for video, number in found.items()})


def _result(again: _Again) -> Mapping[str, NDArray[Any]]:
    asked, record = again.record.recipe["asked"], again.record
    sweep = spec_from(asked["sweep"]) if asked["sweep"] else None
    evaluation = spec_from(asked["judging"])
    experiment = _experiment(again, evaluation, str(record.attributes["row"]), asked.get("requires", ""), sweep)
    folds = _folds_of(record, int(asked["folds"])) if "folds" in asked else Folds()
    together = asked.get("drawn_together", ())
    artifact, _ = result_artifact(again.scratch, experiment, record.attributes["protocol"], folds, together)
    found = _numbers_of(artifact.attributes)
    for name, value in _numbers_of(record.attributes).items():
        if repr(found.get(name)) != repr(value):
            raise DifferentNumbersError(f"Its {name} is {found.get(name)}; recorded is {value}.")
    # The cut is the recorded one, whether or not each group was a fold of its own.
    said = {name: value for name, value in artifact.recipe["asked"].items() if name in asked or name != "each_group"}
    return _checked_key(record, replace(artifact, recipe={**artifact.recipe, "asked": said}))


def _numbers_of(result: Mapping[str, Any]) -> dict[str, Any]:
    """What a result says in numbers beside its arrays: scores, their interval, and what was chosen."""
    said = json.loads(json.dumps({part: result[part] for part in ("scores", "interval", "chosen")}))
    chosen = {f"chosen {name}": value for name, value in said["chosen"].items()}
    return {**said["scores"], "interval": said["interval"], **chosen}


class DifferentNumbersError(StoreError):
    """What was computed again is not what is recorded."""


_COMPUTE: Mapping[str, Callable[[_Again], Mapping[str, NDArray[Any]]]] = {
    "source": _source,
    "face": _face,
    "visual": _visual,
    "audio": _audio,
    "label": _label,
    "head": _head,
    "prediction": _prediction,
    "result": _result,
}
