"""`affstore status`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from affstore.flows.commands import COMMANDS, Command
from affstore.flows.commands.generation import as_document, generation_line
from affstore.flows.commands.options import DEFAULT_STORE, At, Json, Store, print_json, print_table
from affstore.flows.provenance import marked
from affstore.flows.watch import to_terminal

if TYPE_CHECKING:
    from affstore import FeatureStore
    from affstore.store.contract.records import Record
    from affstore.tasks.remarks import Remark


_MOST_ROWS = 20
"""Videos, and files in quarantine, that a person is shown."""


def status(*, store: Store = DEFAULT_STORE, at: At = None, json: Json = False) -> int:
    """Say what a store holds: every video with its outcome, the extractors, what is quarantined and why, the tags.

    Of each video it is said what is damaged or missing, also imported features that one of the store's heads takes. A
    person is shown 20 videos, those with something to know first; --json has all.

    The exit code is 4 when there is no such store or state.

    Example: affstore status --store affstore-data
    """
    from affstore import FeatureStore

    document = _document(FeatureStore(store, at))
    if json:
        print_json(document)
    else:
        _print(document)
    return 0


def _document(store: FeatureStore) -> dict[str, Any]:
    from dataclasses import asdict

    from affstore import content_digest
    from affstore.store.engine.generations import generations
    from affstore.store.engine.tombstones import Tombstones
    from affstore.tasks.imported_inputs import without_features
    from affstore.tasks.lineage.stored_heads import heads_on_imported_features
    from affstore.tasks.remarks import remarks_of, summary

    records, tombstones = store.records(), Tombstones.of(store)
    remarks = [*remarks_of(store), *without_features(store, heads_on_imported_features(store))]
    by_video: dict[str, list[Remark]] = {}
    for remark in remarks:
        by_video.setdefault(remark.video, []).append(remark)
    quarantined = [_quarantined(record) for record in records if record.address.family == "quarantine"]
    counts = [f"{len(quarantined)} quarantined"] if quarantined else []
    return {
        "store": store.url,
        "snapshot": store.snapshot,
        "content_digest": content_digest(store),
        "tags": store.tags(),
        "generations": [as_document(one) for one in generations(store)],
        "retracted": [asdict(one) for one in tombstones.retracted],
        "unfinished_deletions": len(tombstones.unfinished),
        "videos": [
            _video(store, record, by_video.get(record.address.video, []))
            for record in records
            if record.address.family == "source"
        ],
        "producers": _producers(records),
        "quarantined": quarantined,
        "summary": ", ".join([*counts, summary(remarks)]).strip(", "),
    }


def _video(store: FeatureStore, source: Record, remarks: Sequence[Remark]) -> dict[str, Any]:
    from affstore.tasks.remarks import subject_text

    own = store.records(video=source.address.video)
    return {
        "video": source.address.video,
        "frames": source.attributes["frames"],
        "aliases": source.attributes["aliases"],
        "complaint": " ".join(remark.text for remark in remarks if remark.is_complaint) or None,
        "remarks": [remark.as_document() for remark in remarks],
        "faces": {subject_text(r.address): r.made.get("faces") for r in own if r.address.family == "face"},
        "features": sorted({r.address.producer for r in own if r.address.family in ("visual", "audio")}),
        "heard_frames": max((r.made.get("frames_heard", 0) for r in own if r.address.family == "audio"), default=None),
        "labels": sorted({r.address.producer for r in own if r.address.family == "label"}),
        "predictions": sorted({r.address.producer for r in own if r.address.family == "prediction"}),
    }


def _producers(records: list[Record]) -> list[dict[str, Any]]:
    from affstore.store.contract.records import least_trusted

    found: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if record.address.family not in ("source", "quarantine"):
            found.setdefault((record.address.family, record.address.producer), []).append(record)
    return [
        {
            "family": family,
            "producer": producer,
            "artifacts": len(group),
            "rows": sum(int(record.attributes.get("frames", 0)) for record in group),
            "provenance": least_trusted(record.provenance for record in group),
        }
        for (family, producer), group in sorted(found.items())
    ]


def _quarantined(record: Record) -> dict[str, Any]:
    attributes = record.attributes
    return {"stage": record.address.producer, "file": attributes["location"], "reason": attributes["reason"]}


def _first_to_know(videos: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As many videos as a screen holds: those with complaints before those with remarks, and these before others."""
    if len(videos) <= _MOST_ROWS:
        return videos
    ranked = sorted(videos, key=lambda video: (not video["complaint"], not video["remarks"], video["video"]))
    return sorted(ranked[:_MOST_ROWS], key=lambda video: str(video["video"]))


def _print(document: dict[str, Any]) -> None:
    rows = [
        (
            video["video"],
            str(video["frames"]),
            ", ".join(f"{subject} {faces}" for subject, faces in video["faces"].items()) or "-",
            "-" if video["heard_frames"] is None else str(video["heard_frames"]),
            ", ".join(video["features"]) or "-",
            ", ".join(video["labels"]) or "-",
            " ".join(remark["text"] for remark in video["remarks"]),
        )
        for video in _first_to_know(document["videos"])
    ]
    print_table(("video", "frames", "with a face", "with sound", "features", "labels", "to know"), rows)
    more = len(document["videos"]) - len(rows)
    if more:
        to_terminal(f"and {more} more videos; `affstore show` lists all of them, and --json has all there is to know")
    if document["summary"]:
        to_terminal("", document["summary"])
    if document["producers"]:
        to_terminal("")
        cells = [
            (p["family"], p["producer"], str(p["artifacts"]), str(p["rows"]), marked(p["provenance"]))
            for p in document["producers"]
        ]
        print_table(("family", "by", "artifacts", "rows", "weights"), cells)
    if document["quarantined"]:
        to_terminal("")
        bad = [(q["stage"], q["file"], q["reason"]) for q in document["quarantined"]]
        print_table(("quarantined in", "file", "why"), bad[:_MOST_ROWS])
        if len(bad) > _MOST_ROWS:
            to_terminal(f"and {len(bad) - _MOST_ROWS} more; `affstore quarantine list` has them all")
    to_terminal("", f"snapshot {document['snapshot']}, content {document['content_digest'][:16]}")
    for tag, snapshot in document["tags"].items():
        to_terminal(f"tag {tag} = {snapshot}")
    for one in document["generations"]:
        to_terminal(generation_line(one))
    for one in document["retracted"]:
        to_terminal(f"tag {one['tag']} was retracted on {one['date']}: {one['artifacts']} artifacts were forgotten")
    if document["unfinished_deletions"]:
        to_terminal("A deletion was interrupted. Run `affstore forget` again with the name of its video.")


COMMANDS.register("status", Command(status))
