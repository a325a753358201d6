"""What `affstore predict` runs: heads and experiments that a store has fitted, applied to other videos."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from affstore import FeatureStore
from affstore.flows.config.run_config import RunConfig
from affstore.models.weights.folder import WeightsFolder
from affstore.store.contract.errors import AffstoreError, SpecError
from affstore.store.contract.files import writing_fault
from affstore.store.contract.names import video_name
from affstore.store.contract.records import Address
from affstore.store.engine.reading import find_source, video_names
from affstore.tasks.analysis.frame_table import PLACE_COLUMNS, AnalysisNetworks, frame_table, write_table
from affstore.tasks.lineage.publication import write_note
from affstore.tasks.lineage.stored_heads import FittedExperiment, best_of, fitted_experiment

if TYPE_CHECKING:
    from affstore.flows.watch import Watcher


@dataclass(frozen=True, slots=True)
class PredictedSubject:
    """What was predicted for a person of a video, in short.

    Attributes:
        video: its name.
        subject: whose.
        frames: of the video.
        present: the share of frames that were predicted from the frame itself.
        labels: of classes, each predicted class with its share of these frames, the most frequent first; of units, the
            share in which each is shown; of values, their means.
    """

    video: str
    subject: str
    frames: int
    present: float
    labels: dict[str, float]


def weights_of(fitted: Iterable[FittedExperiment]) -> str:
    """`untrained` where a head was fitted on an untrained network, which a configuration then has to say."""
    networks = [spec for one in fitted for spec in one.networks.values()]
    return "official" if all(spec.weights.trained for spec in networks) else "untrained"


def split_videos(store: FeatureStore, named: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What was named: files, folders and globs; and names of videos that the store has."""
    names = video_names(store)
    known = {text: names[video_name(text)] for text in named if not os.path.exists(text) and video_name(text) in names}
    return tuple(text for text in named if text not in known), tuple(known.values())


def run_with_fitted(
    config: RunConfig, fitted: Sequence[FittedExperiment], videos: Sequence[str], watcher: Watcher
) -> Any:
    """Take in the configuration's videos, extract what the heads need, and predict.

    Returns:
        The run's result.
    """
    from affstore.flows.execution import run_pipeline
    from affstore.flows.request import RunOptions, request_of, with_fitted

    request = request_of(config, RunOptions(everything=False, videos=tuple(videos)))
    return run_pipeline(with_fitted(request, fitted), config.runner, watcher)


def applicable(store: FeatureStore, task: str, weights: WeightsFolder) -> FittedExperiment | None:
    """The best experiment or head of a task whose networks are trained, see the video itself, and are here."""
    for name in best_of(store, task):
        try:
            fitted = fitted_experiment(store, name)
        except (AffstoreError, KeyError):  # of an affstore that had other heads or fields, or its head was removed
            continue
        if any(head.imported for head in fitted.heads):
            continue  # a video that is only analyzed has no such features
        if all(spec.weights.trained and spec.faces in ("", "mtcnn") for spec in fitted.networks.values()) and all(
            (here := weights.status(spec.weights.name).record) is not None and here.sha256 == spec.weights.sha256
            for spec in fitted.networks.values()
        ):
            return fitted
    return None


def predicted(store: FeatureStore, fitted: FittedExperiment, videos: Iterable[str]) -> list[PredictedSubject]:
    """What the store has predicted for some videos."""
    there = [address for video in sorted(videos) for address in store.addresses("prediction", video=video)]
    return [_in_short(store, address, fitted) for address in there if address.producer == fitted.producer]


def _in_short(store: FeatureStore, address: Address, fitted: FittedExperiment) -> PredictedSubject:
    arrays = store.read(address, ["prediction", "present"])
    rows, names = arrays["prediction"][arrays["present"]], fitted.space.names
    count, frames = len(rows), len(arrays["present"])
    if rows.shape[1] < len(names):
        labels = {names[label]: number / count for label, number in Counter(rows[:, 0].tolist()).most_common()}
    else:
        labels = dict(zip(names, np.asarray(rows, np.float64).mean(0).tolist(), strict=True)) if count else {}
    return PredictedSubject(address.video, address.subject, frames, count / frames if frames else 0.0, labels)


def write_predictions(
    store: FeatureStore, fitted: FittedExperiment, videos: Iterable[str], folder: Path
) -> tuple[list[Path], dict[str, str]]:
    """Write a table a video: a row a frame and subject, with times, and empty cells where nothing is known.

    Returns:
        The tables, and by video why others could not be written.

    Raises:
        SpecError: the folder cannot be written.
    """
    written, unwritten = list[Path](), dict[str, str]()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for video in sorted(videos):
            source = find_source(store, video).address.video
            table = frame_table(store, source, AnalysisNetworks(heads=(fitted.producer,)))
            kept = [name for name in table.column_names if name not in ("face_score", *PLACE_COLUMNS)]
            path = folder / f"{source}.csv"
            try:
                write_table(table.select(kept), path)
            except OSError as error:
                unwritten[source] = f"Its table cannot be written: {writing_fault(error)}."
            else:
                written.append(path)
        if written:
            write_note(folder, [(path, fitted.producer) for path in written], store.snapshot)
    except OSError as error:
        raise SpecError(f"'{folder}' cannot be written: {error.strerror or error}. Name another --out.") from error
    return written, unwritten
