"""`affstore log`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from affstore.flows.commands import COMMANDS, Command
from affstore.flows.commands.options import DEFAULT_STORE, At, Flag, Json, Store, print_json, print_table
from affstore.store.contract.errors import SpecError
from affstore.store.contract.printable import counted, lasting

if TYPE_CHECKING:
    from collections.abc import Mapping

    from affstore import FeatureStore
    from affstore.store.engine.history import Commit


def log(
    *,
    store: Store = DEFAULT_STORE,
    at: At = None,
    number: Annotated[int, Parameter(name=["--number", "-n"])] = 20,
    videos: Flag = False,
    runs: Flag = False,
    json: Json = False,
) -> int:
    """Tell a store's history, newest first: when, which stage of which run, and what was added, replaced or removed.

    With `--runs`, tell of each run when it began, how long it took, how it ended, what it wrote and reused, and by
    which command it was begun.

    Of what was forgotten on request it says how many artifacts and which publications, and no name.

    The exit code is 4 when the store has no such state.

    Example: affstore log -n 5 --store affstore-demo/store

    Parameters
    ----------
    number
        How many commits, or runs; 0 tells all.
    videos
        Name the videos, too: they are looked up in the snapshots, no commit message holds them.
    runs
        Tell runs, a line each, with those that found everything in the store and made no commit; of an earlier state,
        those that had begun by then, and what they had written.
    """
    from itertools import islice

    from affstore import FeatureStore
    from affstore.store.engine.history import commits

    if number < 0:
        raise SpecError(f"--number counts commits, from 0 for all of them; found {number}.")
    if runs and videos:
        raise SpecError("--videos is told of commits, not of runs. Leave out one of --runs and --videos.")
    opened = FeatureStore(store, at)
    if runs:
        return _tell_runs(opened, number or None, json)
    tags = opened.tags()
    entries = [_entry(opened, one, tags, videos) for one in islice(commits(opened), number or None)]
    if json:
        print_json(entries)
        return 0
    head = ("time", "stage", "what", *(("videos",) if videos else ()), "run", "snapshot", "tags")
    rows = [
        (
            one["time"],
            "" if one["stage"] in _WHOLE_STORE else one["stage"],
            one["what"],
            *((", ".join(one["videos"]),) if videos else ()),
            one["run_id"],
            one["snapshot"],
            ", ".join(one["tags"]),
        )
        for one in entries
    ]
    print_table(head, rows)
    return 0


_WHOLE_STORE = {
    "Repository initialized": "the history begins",
    "an empty affstore": "the store was made, with nothing in it",
    "older history is let go": "the history before was let go",
}
"""Commits that are of no stage and change no artifact, by their messages."""

_FIRST_WORDS = {
    "rollback": "went back to an earlier state",
    "copy": "copied a state of another store",
    "promote": "readers saw a generation from then on",
    "repaired": "computed again what was broken",
    "layout": "wrote all artifacts anew in a newer layout",
}
"""What some stages do, said before what they changed."""

_FAMILIES = {
    "source": ("video", "videos"),
    "face": ("face track", "face tracks"),
    "visual": ("visual embedding", "visual embeddings"),
    "audio": ("sound embedding", "sound embeddings"),
    "label": ("label track", "label tracks"),
    "quarantine": ("entry in quarantine", "entries in quarantine"),
}
"""One and several of a family, where its own name with an s would not do."""


def _tell_runs(store: FeatureStore, most: int | None, json: bool) -> int:
    from affstore.flows.runs_folder import runs_folder
    from affstore.tasks.lineage.run_index import runs_of

    entries = runs_of(store, runs_folder(store.url), most)
    if json:
        print_json([one.as_document() for one in entries])
        return 0
    head = ("began", "took", "ended", "wrote", "reused", "command", "run")
    rows = [
        (
            one.note.began,
            "" if one.note.seconds is None else lasting(one.note.seconds),
            f"{one.note.state}: {one.note.reason}" if one.note.reason else one.note.state,
            _listed(one.written) or "nothing",
            "" if one.reused is None else _listed(one.reused) or "nothing",
            one.note.command,
            one.note.run_id,
        )
        for one in entries
    ]
    print_table(head, rows)
    return 0


def _entry(store: FeatureStore, commit: Commit, tags: dict[str, str], videos: bool) -> dict[str, Any]:
    from affstore.store.engine.history import changes_by
    from affstore.tasks.lineage.graph import by_family

    changed, stage = changes_by(store, commit), _stage_of(commit)
    kinds = {"added": changed.added, "replaced": changed.replaced, "removed": changed.removed}
    document: dict[str, Any] = {
        "time": commit.time,
        "stage": stage,
        "run_id": commit.run_id,
        "snapshot": commit.snapshot,
        "parent": commit.parent,
        "tags": [tag for tag, snapshot in tags.items() if snapshot == commit.snapshot],
        "artifacts": {kind: by_family(addresses) for kind, addresses in kinds.items() if addresses},
    }
    if stage == "forget":
        document |= _forgotten(store, commit)
    document["what"] = _in_words(document)
    if videos:
        touched = [address for addresses in kinds.values() for address in addresses if address.family != "quarantine"]
        document["videos"] = sorted({address.video for address in touched} - {""})
    return document


def _stage_of(commit: Commit) -> str:
    """The stage that a commit's message names: `extract` of `extract: 3`, and `layout` of `layout 3`."""
    return commit.message.partition(":")[0].rstrip(" 0123456789")


def _forgotten(store: FeatureStore, commit: Commit) -> dict[str, Any]:
    """How many artifacts were forgotten, as the message says; their list is gone, as is the history that had them.

    A retraction has a date and no snapshot, so what was retracted by two deletions of one day stands with both.
    """
    from affstore.store.engine.tombstones import Tombstones

    count = commit.message.partition(":")[2].strip()
    retracted = [one for one in Tombstones.of(store).retracted if one.date == commit.time[: len(one.date)]]
    return {
        "forgotten": int(count) if count.isdecimal() else None,
        "retracted": [{"tag": one.tag, "artifacts": one.artifacts} for one in retracted],
    }


def _in_words(entry: dict[str, Any]) -> str:
    """What a commit did, as a line of a diary."""
    stage = entry["stage"]
    if stage in _WHOLE_STORE:
        return _WHOLE_STORE[stage]
    parts = [_FIRST_WORDS[stage]] if stage in _FIRST_WORDS else []
    if stage == "forget":
        of = counted(entry["forgotten"], "artifact", "artifacts") if entry["forgotten"] is not None else "artifacts"
        parts.append(f"forgot {of} on request")
        parts += [f"publication {one['tag']} was retracted that day" for one in entry["retracted"]]
    else:
        parts += [f"{kind} {_listed(counts)}" for kind, counts in entry["artifacts"].items()]
    return "; ".join(parts) or "no artifact changed"


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(counted(count, *_FAMILIES.get(name, (name, f"{name}s"))) for name, count in counts.items())


COMMANDS.register("log", Command(log))
