"""What of the faces in crop folders, and of the networks on them, is fresh, missing or stale."""

from __future__ import annotations

from affstore.models.faces.crop_folder import CropFolder, counts_from
from affstore.store.contract.keys import changes, key_of
from affstore.store.contract.names import in_order
from affstore.store.contract.records import Address, Record
from affstore.tasks import recipes
from affstore.tasks.ingest.crop_assignment import CropAssignment
from affstore.tasks.plan_rows import PlanRow, StoredRecords, feature_row
from affstore.tasks.specs import Profile


def crop_rows(source: Record, stored: StoredRecords, profile: Profile, given: CropAssignment) -> list[PlanRow]:
    """The rows of one video's crop folders: those that are given, and those that the profile takes faces from."""
    rows: list[PlanRow] = []
    for kind in sorted(profile.crop_kinds | given.kinds(source.address.video)):
        rows += _kind_rows(source, kind, stored, profile, given)
    return rows


def _kind_rows(
    source: Record, kind: str, stored: StoredRecords, profile: Profile, given: CropAssignment
) -> list[PlanRow]:
    video, frames = source.address.video, int(source.attributes["frames"])
    folders = given.of(kind, video)
    subjects = in_order({*folders, *stored.subjects(kind, video)})
    if not subjects:
        reason = f"'{video}' has no folder of {kind} faces; give it with --crops {kind}=FOLDER"
        networks = profile.faces_from(kind)
        return [PlanRow(Address("visual", n.name, video), "missing", reason, frames, requested=False) for n in networks]
    rows = []
    for subject in subjects:
        address = Address("face", kind, video, subject)
        rows += _subject_rows(source, address, stored, profile, folders.get(subject))
    return rows


def _subject_rows(
    source: Record, address: Address, stored: StoredRecords, profile: Profile, folder: CropFolder | None
) -> list[PlanRow]:
    """A subject's face, and every face network on it."""
    networks = profile.faces_from(address.producer)
    visual = {spec: Address("visual", spec.name, address.video, address.subject) for spec in networks}
    refused = _refused(folder, stored)
    if refused:
        return [PlanRow(at, "quarantined", refused) for at in (address, *visual.values())]
    face, key = _face_row(source, address, stored, folder)
    if key:
        return [face, *(feature_row(at, stored, spec, key, source) for spec, at in visual.items())]
    rows = [face]
    for at in visual.values():
        stale = stored.at(at) is not None
        reason = f"its {face.address} is {face.status}" if stale else "not computed yet"
        rows.append(PlanRow(at, "stale" if stale else "missing", reason, face.frames))
    return rows


def _refused(folder: CropFolder | None, stored: StoredRecords) -> str:
    """Why a folder is in quarantine, as it is now, or an empty text."""
    if folder is None:
        return ""
    recipe = recipes.quarantine(recipes.crop_stage(folder.kind), folder.name, folder.signature)
    return stored.refused.get(key_of(recipe), "")


def _face_row(
    source: Record, address: Address, stored: StoredRecords, folder: CropFolder | None
) -> tuple[PlanRow, str]:
    """The row of a face, and its key; without one while the folder's bytes are not known."""
    record, frames = stored.at(address), int(source.attributes["frames"])
    if record is None:
        return PlanRow(address, "missing", f"to read: {folder.path}" if folder else "not computed yet", frames), ""
    source_key = key_of(recipes.source(source.attributes["sha256"]))
    recipe = recipes.cropped_face(record.recipe["crops"], source_key, address.subject)
    if record.key != key_of(recipe):
        return PlanRow(address, "stale", "; ".join(changes(record.recipe, recipe)), frames), ""
    if folder is not None and folder.signature != record.attributes["signature"]:
        return PlanRow(address, "stale", f"its folder was changed: {folder.path}", frames), ""
    if folder is not None and counts_from(folder.numbers, frames) != record.attributes.get("counts_from", 1):
        return PlanRow(address, "stale", f"its pictures were counted in another way: {folder.path}", frames), ""
    return PlanRow(address, "fresh"), record.key
