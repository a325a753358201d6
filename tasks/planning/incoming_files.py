"""What of a configuration's videos and annotation files the store does not have yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from affstore import FeatureStore
from affstore.models.labels.base import LabelFile
from affstore.store.contract.keys import digest_of_unchanged, key_of
from affstore.store.contract.names import split_subject, subject_called
from affstore.store.contract.records import Address
from affstore.store.engine.reading import video_names
from affstore.tasks import recipes
from affstore.tasks.extract.memory_estimate import VideoSize
from affstore.tasks.ingest.annotations import withdrawn_labels
from affstore.tasks.ingest.crop_assignment import CropAssignment
from affstore.tasks.ingest.incoming_files import IncomingFile
from affstore.tasks.plan_rows import PlanRow
from affstore.tasks.specs import Profile


def arrival_rows(
    store: FeatureStore,
    arriving: Iterable[IncomingFile],
    annotations: Iterable[LabelFile],
    told_of_refused: bool = False,
) -> list[PlanRow]:
    """Rows for videos and annotation files that a run would take in.

    Args:
        store: as it is now.
        arriving: the video files of the run.
        annotations: its files of labels.
        told_of_refused: whether the store's own rows of what is in quarantine are listed beside these.
    """
    rows = []
    for incoming in arriving:
        if incoming.verdict in ("new", "alias", "moved"):
            rows.append(PlanRow(Address("source", video=incoming.name), "missing", f"to take in: {incoming.file}"))
        elif incoming.verdict != "known" and not (incoming.verdict == "refused" and told_of_refused):
            rows.append(PlanRow(Address("source", video=incoming.name), "quarantined", incoming.reason))
    names = video_names(store)
    for found in annotations:
        video, subject = subject_called(found.name, names)
        source = store.find(Address("source", video=names.get(video, video)))
        address = Address("label", str(found.task), names.get(video, video), subject)
        if found.fault:
            rows.append(PlanRow(address, "quarantined", found.fault))
            continue
        stored = store.find(address)
        key = source and key_of(recipes.label(found, digest_of_unchanged(found.path), source.key, subject))
        if source is not None and (stored is None or stored.key != key) and not _unusable(store, found):
            rows.append(PlanRow(address, "missing" if stored is None else "stale", f"to read: {found.path}"))
    return rows


def withdrawn_rows(
    store: FeatureStore, annotations: Sequence[LabelFile], of_test: Sequence[LabelFile] = ()
) -> list[PlanRow]:
    """Rows for the stored labels that a run would remove, as their files have nothing of them any more.

    Args:
        store: as it is now.
        annotations: all that the run's files of labels hold.
        of_test: what of them is passed over.
    """
    withdrawn = withdrawn_labels(store, annotations, of_test)
    reason = "its file has none of it any more: a run removes it"
    return [PlanRow(address, "stale", reason) for video in sorted(withdrawn) for address in withdrawn[video]]


def unmatched_crop_rows(given: CropAssignment, arriving: Iterable[IncomingFile]) -> list[PlanRow]:
    """Rows for crop folders of videos that the store does not have: some arrive in the same run."""
    names = {incoming.name for incoming in arriving if incoming.verdict in ("new", "alias", "moved")}
    rows = []
    for folder, reason in given.unmatched:
        video, subject = split_subject(folder.name, names)
        comes = video in names
        address = Address("face", folder.kind, video, subject)
        rows.append(PlanRow(address, "missing", f"to read: {folder.path}" if comes else reason, requested=comes))
    return rows


def extraction_rows(
    profile: Profile, arriving: Iterable[IncomingFile], sizes: Mapping[str, VideoSize]
) -> list[PlanRow]:
    """Rows for what a run would extract from videos that it takes in, as far as their containers say.

    Args:
        profile: what is wanted of every video.
        arriving: the files of the run.
        sizes: by name, what their containers say.
    """
    rows = []
    for incoming in arriving:
        if incoming.verdict != "new":
            continue
        size = sizes.get(incoming.name)
        frames = size.frames if size else 0
        addresses = [Address("face", profile.detector.name, incoming.name)] if profile.finds_faces else []
        addresses += [Address("visual", spec.name, incoming.name) for spec in profile.faces_from(profile.detector.name)]
        if size is None or size.sound_hz:
            addresses += [Address("audio", spec.name, incoming.name) for spec in profile.sounds]
        rows += [PlanRow(address, "missing", "once the video is taken in", frames) for address in addresses]
    return rows


def named_videos(arriving: Iterable[IncomingFile], given: CropAssignment) -> set[str]:
    """The videos that the files and crop folders of a run are of, as far as they are in the store or come into it."""
    usable = (incoming for incoming in arriving if incoming.verdict in ("new", "known", "alias", "moved"))
    return {incoming.stored_as or incoming.name for incoming in usable} | {video for _, video in given.folders}


def _unusable(store: FeatureStore, found: LabelFile) -> bool:
    """Whether an annotation file is in quarantine."""
    sha256 = digest_of_unchanged(found.path)
    return store.find(Address("quarantine", "annotate", key_of([found.in_quarantine, sha256])[:16])) is not None
