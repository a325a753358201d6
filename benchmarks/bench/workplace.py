"""A store with videos on it and untrained networks, worked on by the bodies of the tasks: all but Prefect."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from affstore import FeatureStore
from affstore.flows.config.run_config import checked, profile_of
from affstore.models.extractors.registry import spec_of
from affstore.models.weights.folder import default_folder
from affstore.store.contract.keys import digest_file
from affstore.store.contract.records import Record
from affstore.tasks.extract.jobs import VideoJob, jobs
from affstore.tasks.extract.videos import extract
from affstore.tasks.ingest.incoming_files import IncomingFile
from affstore.tasks.ingest.videos import ingest
from affstore.tasks.outcomes import Outcome
from affstore.tasks.planning.plan import plan
from affstore.tasks.specs import Profile, WorkerContext
from bench.real_clips import take_in_reference_weights

SEVEN = (
    "emotieffnet_b0",
    "emotieffnet_b2",
    "mt_emotieffnet_b0",
    "mt_emotimobilefacenet",
    "mt_emotimobilevit",
    "ddamfn",
    "mt_ddamfn",
)
"""The face networks of the papers."""
EXTRACTORS = ("emotieffnet_b0", "emotieffnet_b0_afew", "mt_emotieffnet_b0", "wav2vec2_base_960h")
"""Of a store of many videos."""


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where a benchmark works.

    Attributes:
        context: as every task gets it.
        profile: the extractors, with their untrained parameters resolved.
    """

    context: WorkerContext
    profile: Profile

    @classmethod
    def at(
        cls,
        folder: Path,
        extractors: Sequence[str],
        reference: Path | None = None,
        engine: str = "auto",
        precision: str = "auto",
    ) -> Workplace:
        """An empty store in `folder`; the weights are kept there too, unless `AFFSTORE_WEIGHTS` names a place.

        Args:
            folder: for all of it.
            extractors: by name.
            reference: folder with published weight files, used where there are some; others are untrained.
            engine: of the face networks.
            precision: of the forward passes.
        """
        os.environ.setdefault("AFFSTORE_WEIGHTS", str(folder / "weights"))
        weights = default_folder()
        known = take_in_reference_weights(weights, reference) if reference else []
        specs = {name: spec_of(name).weights.name in known for name in extractors}
        profiles = [
            profile_of(
                checked(
                    {
                        "extractors": tuple(name for name in specs if specs[name] is official),
                        "weights": "official" if official else "untrained",
                        "engine": engine,
                        "precision": precision,
                    },
                    "benchmark",
                ),
                weights,
            )
            for official in (True, False)
        ]
        both = tuple(sorted((spec for one in profiles for spec in one.extractors), key=lambda spec: spec.name))
        url = FeatureStore.create(str(folder / "store")).url
        return cls(WorkerContext(url, "benchmark", weights.root), replace(profiles[0], extractors=both))

    def store(self) -> FeatureStore:
        """The store as it is now."""
        return self.context.store()

    def add(self, path: Path, name: str = "") -> Record:
        """Take a video in."""
        incoming = IncomingFile(path, name or path.stem, digest_file(path), "new")
        self.commit(ingest(self.context, incoming))
        return next(record for record in self.store().records("source") if record.address.video == incoming.name)

    def commit(self, *outcomes: Outcome) -> None:
        """Make what was written readable."""
        drafts = [outcome.draft for outcome in outcomes if outcome.draft is not None]
        self.store().commit(drafts, "benchmark")

    def job(self, video: str) -> VideoJob:
        """What a video lacks."""
        records = self.store().records()
        return next(job for job in jobs(records, self.profile, plan(records, self.profile)) if job.video == video)

    def again(self, video: str) -> VideoJob:
        """The job of embedding a video anew with the faces that are stored."""
        return replace(self.job(video), find_faces=False, extractors=self.profile.extractors)

    def extract(self, job: VideoJob) -> Outcome:
        """Do a job; nothing is committed."""
        return extract(self.context, job, self.profile)
