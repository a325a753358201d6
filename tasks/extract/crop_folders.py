"""Take in a crop folder and embed it by every network that is due on it, in one reading."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from affstore import FeatureStore
from affstore.models.extractor_specs import FaceExtractorSpec
from affstore.models.face_pass import Face, embed_faces
from affstore.models.faces.crop_pictures import CropPictures
from affstore.store.contract.errors import MediaError, SourceError
from affstore.store.contract.keys import key_of
from affstore.store.contract.names import MAIN, video_name
from affstore.store.contract.records import Address, Artifact, Record, rows
from affstore.store.engine.draft import Draft
from affstore.tasks import recipes
from affstore.tasks.cancellation import report_frames
from affstore.tasks.extract.features import put_feature, run_facts, visual_artifact
from affstore.tasks.extract.jobs import CropJob
from affstore.tasks.extract.networks import face_network
from affstore.tasks.ingest.sources import lift_quarantine, place_of, quarantine_artifact
from affstore.tasks.outcomes import PartOutcome
from affstore.tasks.retries import raise_what_passes
from affstore.tasks.specs import WorkerContext


def write_crops(
    context: WorkerContext, store: FeatureStore, crop: CropJob, source: Record, draft: Draft
) -> list[PartOutcome]:
    """Put a crop folder's face, and the embeddings that are due on it, into a draft.

    A folder that cannot be used is quarantined as it is; it is tried again when a file in it changes.
    """
    stage, name = recipes.crop_stage(crop.kind), video_name(crop.folder.name)
    try:
        pictures = CropPictures(crop.folder, int(source.attributes["frames"]))
    except MediaError as error:
        raise_what_passes(error)
        return [PartOutcome("failed", str(error))]
    try:
        complaint, beyond_float16 = _Reading(context, store, crop, source, pictures).write(draft)
    except SourceError as error:
        raise_what_passes(error)
        draft.put(quarantine_artifact(stage, name, crop.folder, pictures.signature, str(error)))
        return [PartOutcome("quarantined", str(error))]
    lift_quarantine(store, draft, stage, name=name)
    return [PartOutcome("done", " ".join(text for text in (complaint, crop.note) if text)), *beyond_float16]


@dataclass(frozen=True, slots=True)
class _Reading:
    """One crop folder being read."""

    context: WorkerContext
    store: FeatureStore
    crop: CropJob
    source: Record
    pictures: CropPictures

    def write(self, draft: Draft) -> tuple[str, list[PartOutcome]]:
        """Read the folder if anything in it is due.

        Returns:
            What is wrong with the folder, or an empty text; and what float16 cannot hold.
        """
        stored = self.store.find(self._address)
        unchanged = stored is not None and self._unchanged(stored)
        specs = [spec for spec in self.crop.extractors if not (unchanged and stored and self._has(spec, stored))]
        if unchanged and stored and not specs:
            # Only its files' times or its place are others: numbers, key and descendants stay.
            noted = {**stored.attributes, **self._noted}
            draft.put(
                Artifact(
                    stored.address, stored.recipe, self.store.read(stored.address), noted, stored.parents, stored.made
                )
            )
            return "", []
        refused = self._embed(draft, specs)
        return f"{self.crop.kind}: {self.pictures.complaint}" if self.pictures.complaint else "", refused

    @property
    def _address(self) -> Address:
        return Address("face", self.crop.kind, self.source.address.video, self.crop.subject)

    @property
    def _noted(self) -> dict[str, Any]:
        return {
            "location": place_of(self.crop.folder),
            "signature": self.pictures.signature,
            "counts_from": self.pictures.counts_from,
        }

    def _recipe(self, digest: str) -> dict[str, Any]:
        return recipes.cropped_face(digest, self.source.key, self.crop.subject)

    def _unchanged(self, stored: Record) -> bool:
        """Whether the folder's bytes are those that the stored face was read from."""
        digest = str(stored.recipe["crops"])
        if (
            stored.key != key_of(self._recipe(digest))
            or stored.attributes.get("counts_from", 1) != self.pictures.counts_from
        ):
            return False
        return stored.attributes["signature"] == self.pictures.signature or self.pictures.digest_alone() == digest

    def _has(self, spec: FaceExtractorSpec, face: Record) -> bool:
        stored = self.store.find(Address("visual", spec.name, face.address.video, face.address.subject))
        return stored is not None and stored.key == key_of(recipes.feature(spec, face.key))

    def _embed(self, draft: Draft, specs: Sequence[FaceExtractorSpec]) -> list[PartOutcome]:
        networks = {spec.name: face_network(spec, self.context.weights, self.context.device) for spec in specs}
        started = time.perf_counter()
        embedded = embed_faces(self._faces(), networks)
        elapsed_s = round(time.perf_counter() - started, 3)
        face = self._face(elapsed_s)
        stored = self.store.find(face.address)
        unchanged = (
            stored is not None
            and stored.key == key_of(face.recipe)
            and self._noted.items() <= stored.attributes.items()
        )
        record = stored if stored is not None and unchanged else draft.put(face)
        refused: list[PartOutcome] = []
        for spec in specs:
            arrays = embedded[spec.name].of((self.crop.subject,), len(self.pictures.present))
            how = run_facts(spec, self.context.device, elapsed_s)
            artifact = visual_artifact(spec, self.source, record, arrays, how)
            refused += put_feature(self.store, draft, spec, artifact, self.crop.folder)
        return refused

    def _faces(self) -> Iterator[Face]:
        """The folder's faces; frames without one count as done, too."""
        passed = 0
        for frame, picture in self.pictures:
            report_frames(frame + 1 - passed)
            passed = frame + 1
            yield Face(self.crop.subject, frame, picture)
        report_frames(len(self.pictures.present) - passed)

    def _face(self, elapsed_s: float) -> Artifact:
        """The folder's face. How prominent it is beside another one no box says: the plain name stands for it."""
        present = self.pictures.present
        return Artifact(
            self._address,
            self._recipe(self.pictures.digest),
            {"present": present},
            {
                "frames": len(present),
                "prominent": self.crop.subject == MAIN,
                "complaint": self.pictures.complaint,
                **self._noted,
            },
            (self.source.as_parent(),),
            {"engine": "pillow", "device": "cpu", "elapsed_s": elapsed_s, "faces": rows(present)},
        )
