"""Generations: states that are written on a branch of their own, and that readers see once they are promoted."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace

import icechunk

from affstore.store.contract.errors import ConflictError, NotFoundError, SpecError, StoreError
from affstore.store.contract.moments import moment_of
from affstore.store.contract.names import tag_fault
from affstore.store.contract.printable import excerpt
from affstore.store.contract.records import Address, Record
from affstore.store.contract.schema import layout_version
from affstore.store.engine.committing import commit_session, session_at
from affstore.store.engine.copying import State, write_state
from affstore.store.engine.feature_store import FeatureStore
from affstore.store.engine.history import ChangedArtifacts, changed_between
from affstore.store.engine.ledger import note_update
from affstore.store.engine.merging import merged
from affstore.store.engine.places import committer_lock, translate_errors
from affstore.store.engine.states import (
    BEFORE,
    BRANCH,
    branch_of,
    forebears,
    note_dropped,
    note_kept,
    open_generations,
    where_parted,
)
from affstore.store.engine.tombstones import Tombstones
from affstore.store.engine.writers import alone_in, marked_as_writing

_TRIES = 5
_NAME = "generation"
"""Metadata of the commit by which a generation is promoted: its name."""
_LONGEST_NAME = 50
"""Shorter than a tag may be: a tag is called `before-` and the name."""


@dataclass(frozen=True, slots=True)
class Generation:
    """A generation that is neither promoted nor dropped.

    Attributes:
        name: what it is called.
        snapshot: its newest state.
        base: the snapshot that it began from.
        since: when something was committed to it first, ISO 8601 UTC; empty if nothing was.
        changes: how it differs from what it began from.
    """

    name: str
    snapshot: str
    base: str
    since: str
    changes: ChangedArtifacts

    @property
    def videos(self) -> int:
        """How many videos have something that differs."""
        changed = (*self.changes.written, *self.changes.removed)
        return len({one.video for one in changed if one.video and one.family != "quarantine"})


@dataclass(frozen=True, slots=True)
class Promotion:
    """What a promotion does, or has done.

    Attributes:
        generation: the generation as it was before.
        before: what readers saw.
        after: the artifacts that they see then, by their addresses and in their order.
        taken_over: how many of these are newer in what readers saw, and stay as they are there.
        tag: that names what readers saw.
        snapshot: that they see then; empty as long as it is not made.
    """

    generation: Generation
    before: FeatureStore
    after: dict[Address, Record]
    taken_over: int
    tag: str
    snapshot: str = ""

    @property
    def ends(self) -> tuple[str, str]:
        """What its branch ends with, if nothing else is committed to it."""
        return self.snapshot, self.generation.snapshot


def generations(store: FeatureStore) -> list[Generation]:
    """The open generations of a store, in the order of their names."""
    with translate_errors(store.url, "Reading"):
        repository = store.repository.reopen()
        names = open_generations(repository)
        return [_generation(store, repository, name) for name in names]


def check_none_open(store: FeatureStore, what: str) -> None:
    """See that no generation is open.

    Args:
        store: the store.
        what: that cannot be done else, as the beginning of a sentence.

    Raises:
        ConflictError: one is; the message names all of them.
    """
    with translate_errors(store.url, "Reading"):
        names = open_generations(store.repository.reopen())
    if names:
        raise ConflictError(
            f"{what} while generations are open ({', '.join(names)}). `affstore generation promote` or "
            "`affstore generation drop` each first; nothing was changed."
        )


def has_begun(store: FeatureStore, name: str) -> bool:
    """Whether a generation is open.

    Raises:
        SpecError: it is not, and cannot begin under that name.
        StoreError: it is not, and none can begin in this store.
    """
    with translate_errors(store.url, "Reading"):
        is_open = name in open_generations(store.repository.reopen())
    if not is_open:
        check_new_name(store, name)
    return is_open


def begin(store: FeatureStore, name: str) -> FeatureStore:
    """Open a generation to go on with it; where there is none of that name, it begins with what readers see now.

    Raises:
        SpecError: the name is no good, or taken by a tag or a video.
        StoreError: the store is of an older format.
    """
    if has_begun(store, name):
        return store.state(name)
    with translate_errors(store.url, "Writing to"), marked_as_writing(store.url), committer_lock(store.url):
        repository = store.repository.reopen()
        # On an object store, or a moment ago, another process may have begun it.
        if name not in open_generations(repository):
            with suppress(icechunk.ConflictError, icechunk.AlreadyExistsError):
                repository.create_branch(branch_of(name), repository.lookup_branch(BRANCH))
                note_update(store.url, repository)
    return store.state(name)


def check_new_name(store: FeatureStore, name: str) -> None:
    """See that a generation can begin under a name.

    Raises:
        SpecError: the name is no good, or taken by a tag or a video.
        StoreError: the store is of an older format.
    """
    fault = tag_fault(name)
    if fault is None and len(name) > _LONGEST_NAME:
        fault = f"it is longer than {_LONGEST_NAME} characters"
    if fault is None and moment_of(name) is not None:
        fault = "it is a time, at which a store can be read as it was then"
    if fault:
        raise SpecError(f"A generation cannot be called {excerpt(name)}: {fault.replace('a tag is', 'its name is')}.")
    tags = {*store.tags(), *(one.tag for one in Tombstones.of(store).retracted)}
    taken = {name, _tag_before(name)} & tags
    if taken:
        raise SpecError(
            f"A generation cannot be called '{name}': the store has, or had, a tag '{min(taken)}', and tags are never "
            "moved. Use another name."
        )
    if store.find(Address("source", video=name)) is not None:
        raise SpecError(f"A generation cannot be called '{name}': a video is called so. Use another name.")
    old_engine = store.repository.spec_version < icechunk.SpecVersion.current()
    if old_engine or store.layout < layout_version():
        raise StoreError(
            f"The store at '{store.url}' is of an older format, in which no generation can begin. Run `affstore "
            "upgrade` first; nothing was changed."
        )


def plan_promotion(store: FeatureStore, name: str) -> Promotion:
    """What `promote` would do; nothing is changed.

    Raises:
        NotFoundError: there is no such generation.
        SpecError: it differs in nothing from what it began from.
    """
    with translate_errors(store.url, "Reading"):
        return _planned(store, name)[0]


def promote(store: FeatureStore, name: str) -> Promotion:
    """Let readers see a generation, in one step, and tag what they saw until then.

    What was committed meanwhile to what they saw is taken over first, as one commit to the generation. Killed at any
    moment, it is finished by the next call.

    Raises:
        NotFoundError: there is no such generation.
        SpecError: it differs in nothing from what it began from.
        ConflictError: a run is writing, or others commit all the time; readers see what they saw.
        StoreError: an artifact that would be taken over is damaged, by its name; readers see what they saw.
    """
    with translate_errors(store.url, "Committing to"), alone_in(store.url), committer_lock(store.url):
        for _ in range(_TRIES):
            plan, generation = _planned(store, name)
            with suppress(icechunk.ConflictError):  # others committed to the generation
                plan = plan if plan.snapshot else _taken_over(plan, generation)
                if _moved(plan):
                    return plan
    raise ConflictError(
        f"The generation '{name}' was not promoted: others commit to the store at '{store.url}' all the time. Run the "
        "command again when they have ended."
    )


def _moved(plan: Promotion) -> bool:
    """Tag what readers see and let them see the generation; whether nobody committed to what they see meanwhile."""
    url, repository, before = plan.before.url, plan.before.repository.reopen(), plan.before.snapshot
    try:
        if plan.snapshot != plan.generation.base:
            if plan.tag not in repository.list_tags():
                repository.create_tag(plan.tag, snapshot_id=before)
                note_update(url, repository)
            repository.reset_branch(BRANCH, plan.snapshot, from_snapshot_id=before)
            note_update(url, repository)
    except (icechunk.ConflictError, icechunk.AlreadyExistsError):
        return False
    _delete(url, repository, plan.generation.name, plan.ends)  # else a run in a bucket goes on with it
    return True


def drop(store: FeatureStore, name: str) -> Generation:
    """Let go of a generation; what it alone held is removed by the next `affstore gc`.

    Raises:
        NotFoundError: there is no such generation.
        ConflictError: a run is writing; the generation is as that left it.
    """
    with translate_errors(store.url, "Writing to"), alone_in(store.url), committer_lock(store.url):
        repository = store.repository.reopen()
        found = _found(store, repository, name)
        noted = note_dropped(repository, name)
        note_update(store.url, repository)
        if not _delete(store.url, repository, name, (found.snapshot,)):
            note_kept(repository.reopen(), noted)
            note_update(store.url, repository.reopen())
            raise ConflictError(
                f"The generation '{name}' of the store at '{store.url}' was not dropped: a run committed to it "
                "meanwhile. Wait until it has ended, and run the command again."
            )
    return found


def open_generation(store: FeatureStore, name: str) -> Generation:
    """A generation as it is.

    Raises:
        NotFoundError: there is none of that name.
    """
    return _found(store, store.repository, name)


def _found(store: FeatureStore, repository: icechunk.Repository, name: str) -> Generation:
    known = open_generations(repository)
    if name not in known:
        raise NotFoundError.of(store.url, "generation", name, known, "`affstore generation list` lists those it has.")
    return _generation(store, repository, name)


def _generation(store: FeatureStore, repository: icechunk.Repository, name: str) -> Generation:
    base, since = where_parted(repository, name), ""
    for info in repository.ancestry(branch=branch_of(name)):
        if info.id == base.id:
            break
        since = info.written_at.isoformat(timespec="seconds")
    snapshot = repository.lookup_branch(branch_of(name))
    changes = changed_between(store, base.id, snapshot) if snapshot != base.id else ChangedArtifacts()
    return Generation(name, snapshot, base.id, since, changes)


def _planned(store: FeatureStore, name: str) -> tuple[Promotion, FeatureStore]:
    found = _found(store, store.repository.reopen(), name)
    newest, generation = store.state(None), store.state(name)
    own, is_new = _records(generation), bool(found.changes.written or found.changes.removed)
    about = newest.repository.lookup_snapshot(found.base).metadata
    if not is_new and about.get(_NAME) == name:  # readers see it, and the rest of it was not done
        before = newest.state(str(about[BEFORE]))
        tag = next(tag for tag, snapshot in newest.tags().items() if snapshot == before.snapshot)
        return Promotion(found, before, own, 0, tag, found.base), generation
    if not is_new:
        raise SpecError(
            f"The generation '{name}' holds nothing but what it began with. Write to it first, with `affstore run "
            f"CONFIG --generation {name}`, or let go of it with `affstore generation drop {name}`."
        )
    base = newest.state(_last_met(newest.repository, newest.snapshot, generation.snapshot))
    after = merged(_records(base), _records(newest), own)
    taken = sum(own.get(address) != record for address, record in after.items())
    tag, named = _tag_before(name), newest.tags()
    while named.get(tag, newest.snapshot) != newest.snapshot:  # a promotion was killed, and others committed since
        tag = f"{tag}-again"
    return Promotion(found, newest, after, taken, tag), generation


def _records(store: FeatureStore) -> dict[Address, Record]:
    return {record.address: record for record in store.records()}


def _last_met(repository: icechunk.Repository, main: str, generation: str) -> str:
    """The newest snapshot that both have taken in: where they parted, or what an unfinished promotion took over."""
    shared = forebears(repository, main)
    for info in repository.ancestry(snapshot_id=generation):
        for one in (info.id, info.metadata.get(BEFORE)):
            if one in shared:
                return str(one)
    raise StoreError("A generation has no history in common with the store. `affstore verify` says what is wrong.")


def _taken_over(plan: Promotion, generation: FeatureStore) -> Promotion:
    """The same, once what is to be taken over is committed to the generation, and which snapshot it takes the place of.

    Raises:
        icechunk.ConflictError: another run committed to the generation meanwhile.
        NotFoundError: the generation was promoted or dropped meanwhile.
    """
    name, before = plan.generation.name, plan.before
    try:
        session = session_at(generation.repository, generation.branch, generation.snapshot)
        wanted = State(before, (), tuple(plan.after.values()))
        content = write_state(session, wanted, State(generation, (), tuple(generation.records())))
        counts = len(content.written) + len(content.removed)
        content = replace(content, message=f"promote: {counts}", metadata={_NAME: name, BEFORE: before.snapshot})
        snapshot = commit_session(before.url, generation.repository, session, content)
        return replace(plan, snapshot=snapshot)
    except icechunk.IcechunkError:
        _found(before, before.repository.reopen(), name)
        raise


def _delete(url: str, repository: icechunk.Repository, name: str, ends: Collection[str]) -> bool:
    """Delete the branch of a generation if it ends with one of some snapshots; whether it is gone.

    The engine deletes a branch wherever it ends. What it ended with is told by the engine's own list of updates: if a
    run in a bucket committed between the look and the deletion, the branch is put back as that left it.
    """
    branch, repository = branch_of(name), repository.reopen()
    if branch not in repository.list_branches():
        return True
    if repository.lookup_branch(branch) not in ends:
        return False
    repository.delete_branch(branch)
    last = _end_of_deleted(repository.reopen(), branch)
    if last and last not in ends:
        with suppress(icechunk.AlreadyExistsError):  # another process began a generation of that name meanwhile
            repository.create_branch(branch, last)
    note_update(url, repository)
    return not last or last in ends


def _end_of_deleted(repository: icechunk.Repository, branch: str) -> str:
    """The snapshot that a branch ended with when it was deleted last; empty if the engine does not say so any more."""
    for update in repository.inspect_repo_info()["latest_updates"]:
        what = update["update_type"]
        if what["type"] == "BranchDeletedUpdate" and what["name"] == branch:
            return str(what["previous_snap_id"])
    return ""


def _tag_before(name: str) -> str:
    return f"before-{name}"
