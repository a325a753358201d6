"""`affstore diff`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from affstore.flows.commands import COMMANDS, Command
from affstore.flows.commands.options import DEFAULT_STORE, At, Flag, Json, Store, print_json, print_table
from affstore.flows.watch import to_terminal
from affstore.store.contract.errors import NotFoundError, SpecError
from affstore.store.contract.printable import some

if TYPE_CHECKING:
    from affstore import FeatureStore
    from affstore.tasks.lineage.differences import ArrayChange, ArtifactChange, Difference


def diff(
    before: str = "",
    after: str = "",
    part: str = "",
    /,
    *,
    store: Store = DEFAULT_STORE,
    at: At = None,
    frames: Flag = False,
    json: Json = False,
) -> int:
    """Compare two states of a store: which artifacts, what decided them, scores and, if asked, numbers frame by frame.

    The exit code is 0 whether or not something differs, 2 when --at and a second state are both named, and 4 when the
    store has no such state, or neither state has such a part.

    Example: affstore diff --store affstore-demo/store --frames

    Parameters
    ----------
    before
        A tag, a snapshot or a time (ISO 8601, in UTC; a day, minute or second is its end). Without it, what the newest
        commit, or the promotion of a generation, changed; of a generation, what readers see.
    after
        Another one; without it the state that --at names, or the newest.
    part
        Only what has this path or begins so, as `visual/emotieffnet_b0`, or is of this video.
    frames
        Read the arrays that differ, and say in which frames and by how much.
    """
    from affstore import FeatureStore
    from affstore.tasks.lineage.differences import difference

    if after and at is not None:
        raise SpecError(f"Both '{after}' and --at '{at}' name the later state. Leave one of them out.")
    newest = FeatureStore(store, after or at)
    earlier = newest.state(before) if before else _state_before(newest)
    found = difference(earlier, newest, part, frames)
    if json:
        print_json(found.as_document())
    else:
        _print(found)
    return 0


def _state_before(store: FeatureStore) -> FeatureStore:
    from affstore.store.engine.history import commits
    from affstore.store.engine.states import BEFORE, generation_on

    if generation_on(store.branch) is not None:
        return store.state(None)
    newest = store.history()[0].metadata
    if BEFORE in newest:
        return store.state(str(newest[BEFORE]))
    before = next(islice(commits(store), 1, None), None)
    if before is None or before.parent is None:
        raise NotFoundError(f"The history of the store at '{store.url}' has no state before {store.snapshot}.")
    return store.state(before.snapshot)


def _print(found: Difference) -> None:
    kinds = ("added", "removed", "changed", "rewritten")
    rows = [(family, *(str(counts[kind] or "") for kind in kinds)) for family, counts in found.counts().items()]
    title = f"from snapshot {found.before} to {found.after}"
    if not rows:
        to_terminal(f"{title}: nothing differs")
        return
    print_table(("family", *kinds), rows, title)
    for group in found.alike():
        to_terminal("", *_lines(group))


def _lines(alike: list[ArtifactChange]) -> Iterator[str]:
    """What is to be said of changes that are alike."""
    from affstore.tasks.lineage.differences import score_text

    first, paths = alike[0], [change.new.address.path for change in alike]
    yield some(paths)
    yield from (f"  {reason}" for reason in first.reasons)
    yield from (f"  {name}: {score_text(old)} → {score_text(new)}" for name, (old, new) in first.scores.items())
    yield from (f"  {_array_line(one, 'frames' in first.new.attributes)}" for one in first.arrays)


def _array_line(one: ArrayChange, has_frames: bool) -> str:
    if one.note:
        return f"{one.array} {one.note}"
    ranges = [str(first) if first == last else f"{first}–{last}" for first, last in one.ranges]
    of = f"{one.rows} of {one.of} {'frames' if has_frames else 'rows'}"
    return f"{one.array} differs in {of} ({some(ranges)}), by {one.largest:.3g} at most"


COMMANDS.register("diff", Command(diff))
