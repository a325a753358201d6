"""`affstore quarantine`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from affstore.flows.commands import COMMANDS, Command
from affstore.flows.commands.options import (
    DEFAULT_EXTRACTORS,
    DEFAULT_NETWORKS,
    DEFAULT_STORE,
    At,
    Extractors,
    Json,
    NetworkOptions,
    Store,
    answer,
    print_json,
    print_table,
)
from affstore.store.contract.errors import NotFoundError, SourceError, SpecError

if TYPE_CHECKING:
    from affstore import FeatureStore
    from affstore.store.contract.records import Record

Entries = Annotated[tuple[str, ...], Parameter(negative="", allow_leading_hyphen=False)]
"""Entries by their number, their file, or the name of their video."""

All = Annotated[bool, Parameter(name="--all", negative="")]
"""Every entry."""

app = App(
    name="quarantine",
    help="What could not be used and why: list it, try it again, or drop it.\n\nExample: affstore quarantine list",
    result_action="return_value",
)


@app.command(name="list")
def list_(*, store: Store = DEFAULT_STORE, at: At = None, json: Json = False) -> int:
    """List what is in quarantine: its number, the stage that refused it, the file and the reason.

    The exit code is 4 when there is no such store or state.

    Example: affstore quarantine list --store affstore-data
    """
    from affstore import FeatureStore

    entries = FeatureStore(store, at).records("quarantine")
    if not entries:
        return _nothing(json)
    if json:
        print_json([_document(entry) for entry in entries])
    else:
        rows = [tuple(str(value) for value in _document(entry).values()) for entry in entries]
        print_table(("number", "stage", "name", "file", "why"), rows)
    return 0


@app.command
def drop(entries: Entries = (), /, *, store: Store = DEFAULT_STORE, everything: All = False, json: Json = False) -> int:
    """Forget entries. The files are not touched, and are tried again when they are added again.

    Example: affstore quarantine drop --all --store affstore-data

    Parameters
    ----------
    entries
        Numbers, files or names, as `affstore quarantine list` shows them.
    everything
        Drop all of them.
    """
    from affstore import FeatureStore
    from affstore.tasks.specs import code_versions

    opened = FeatureStore(store)
    meant = _meant(opened, entries, everything)
    if not meant:
        return _nothing(json)
    draft = opened.draft(code_versions(), "quarantine")
    for entry in meant:
        draft.remove(entry.address)
    opened.commit([draft], "dropped from quarantine")
    lines = [f"dropped {entry.attributes['location']}" for entry in meant]
    answer([_document(entry) for entry in meant], lines, json)
    return 0


@app.command
def retry(
    entries: Entries = (),
    /,
    *,
    store: Store = DEFAULT_STORE,
    everything: All = False,
    extractors: Extractors = DEFAULT_EXTRACTORS,
    networks: NetworkOptions = DEFAULT_NETWORKS,
    json: Json = False,
) -> int:
    """Try entries again, as `affstore add --retry` does with their files.

    Example: affstore quarantine retry --all --store affstore-data

    Parameters
    ----------
    entries
        Numbers, files or names, as `affstore quarantine list` shows them.
    everything
        Try all of them.
    extractors
        A face or sound network for what can be used now; may be given several times.
    """
    from affstore import FeatureStore
    from affstore.flows.commands.next_steps import tell_next_of
    from affstore.flows.commands.running import as_document, run, tell
    from affstore.flows.config.run_config import checked
    from affstore.flows.request import RunOptions
    from affstore.flows.watch import to_terminal
    from affstore.tasks.ingest.incoming_files import IngestOptions

    opened = FeatureStore(store)
    meant = _meant(opened, entries, everything)
    if not meant:
        return _nothing(json)
    files, videos = _apart(opened, meant)
    left_out = {entry.address: reason for entry in files if (reason := _not_known_how(entry))}
    if left_out and (entries or len(left_out) == len(files) + len(videos)):
        raise SpecError(next(iter(left_out.values())))
    files = [entry for entry in files if entry.address not in left_out]
    config = checked({"store": store, **_inputs_of(files), "extractors": extractors, **asdict(networks)}, "quarantine")
    options = RunOptions(IngestOptions(retry=True), everything=False, videos=tuple(videos))
    result = run(config, json, options)
    exit_code = result.exit_code or (SourceError.exit_code if left_out else 0)
    if json:
        print_json(as_document(result) | {"exit_code": exit_code, "not_tried": list(left_out.values())})
    else:
        tell(result)
        to_terminal(*(f"not tried: {reason}" for reason in left_out.values()))
        tell_next_of(result, ())
    return exit_code


def _nothing(as_json: bool) -> int:
    answer([], ["Nothing is in quarantine."], as_json)
    return 0


def _document(entry: Record) -> dict[str, Any]:
    about = entry.attributes
    return {
        "number": entry.address.video,
        "stage": entry.address.producer,
        "name": about["name"],
        "file": about["location"],
        "reason": about["reason"],
    }


def _meant(store: FeatureStore, entries: Sequence[str], everything: bool) -> list[Record]:
    """The entries that a user names.

    Raises:
        SpecError: none is named.
        NotFoundError: one is not in quarantine.
    """
    known = store.records("quarantine")
    if not (entries or everything):
        raise SpecError("Name entries of the quarantine by number, file or name, or give --all.")
    found: dict[str, Record] = {}
    for text in entries:
        fits = [entry for entry in known if _is_meant(entry, text)]
        if not fits:
            raise NotFoundError(f"There is no '{text}' in quarantine. `affstore quarantine list` shows what is.")
        found |= {entry.address.path: entry for entry in fits}
    return known if everything else list(found.values())


def _is_meant(entry: Record, text: str) -> bool:
    from affstore.store.contract.names import video_name
    from affstore.tasks.ingest.sources import place_of

    location = entry.attributes["location"]
    names = (entry.address.video, entry.attributes["name"], location, Path(location).name)
    return text in names or video_name(text) == entry.attributes["name"] or place_of(Path(text)) == location


def _apart(store: FeatureStore, entries: Sequence[Record]) -> tuple[list[Record], list[str]]:
    """Entries whose files are taken in again, and the stored videos whose pictures or sound are tried again.

    Raises:
        SourceError: nothing that they are of is there any more.
    """
    from affstore.store.contract.names import split_subject
    from affstore.store.engine.reading import video_names
    from affstore.tasks.recipes import is_of_stored_video

    there = [entry for entry in entries if Path(entry.attributes["location"]).exists()]
    if not there:
        raise SourceError("None of these files is there any more. `affstore quarantine drop` forgets them.")
    of_videos = [entry for entry in there if is_of_stored_video(entry.address.producer)]
    names = video_names(store) if of_videos else {}
    videos = {split_subject(entry.attributes["name"], names)[0] for entry in of_videos}
    return [entry for entry in there if not is_of_stored_video(entry.address.producer)], sorted(videos)


def _inputs_of(entries: Sequence[Record]) -> dict[str, Any]:
    """What a run is to take in to try entries again."""
    from affstore.tasks.recipes import crop_kind

    sources: list[str] = []
    crops: dict[str, tuple[str, ...]] = {}
    for entry in entries:
        location, kind = entry.attributes["location"], crop_kind(entry.address.producer)
        if kind:
            crops[kind] = (*crops.get(kind, ()), location)
        else:
            sources.append(location)
    return {"sources": tuple(dict.fromkeys(sources)), "crops": crops}


def _not_known_how(entry: Record) -> str:
    """Why it cannot be told from an entry alone how it was taken in; empty where it can."""
    from affstore.models.labels.base import label_file_at
    from affstore.store.contract.names import video_name

    location, stage = entry.attributes["location"], entry.address.producer
    if stage == "ingest" and entry.attributes["name"] != video_name(Path(location).stem):
        return f"'{location}' was added with --names folder. Add its folder again with --names folder --retry."
    if stage == "annotate" and label_file_at(Path(location)) is None:
        return (
            f"'{location}' does not say by its place what its labels are of. Run the configuration that names it "
            "again, or `affstore add --labels FORMAT:SPACE=FOLDER`: its labels are then read again."
        )
    return ""


COMMANDS.register("quarantine", Command(app))
