"""`affstore generation`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from cyclopts import App

from affstore.flows.commands import COMMANDS, Command
from affstore.flows.commands.options import DEFAULT_STORE, DryRun, Json, NoAt, Store, print_json, print_table, refuse_at
from affstore.flows.watch import to_terminal
from affstore.store.contract.printable import counted

if TYPE_CHECKING:
    from affstore.store.contract.records import Address
    from affstore.store.engine.generations import Generation, Promotion

_EXTRACTED = ("face/", "visual/", "audio/")
"""What a run makes of every video."""

app = App(
    name="generation",
    help="What runs wrote with --generation, and readers do not see yet: list it, let them see it, or drop "
    "it.\n\nExample: affstore generation list",
    result_action="return_value",
)


@app.command(name="list")
def list_(*, store: Store = DEFAULT_STORE, at: NoAt = None, json: Json = False) -> int:
    """List the open generations: since when each is written to, and how it differs from what it began with.

    The exit code is 4 when there is no such store.

    Example: affstore generation list --store affstore-demo/store
    """
    from affstore import FeatureStore
    from affstore.store.engine.generations import generations

    refuse_at(at, "the generations that are open now are listed. Leave it out.")
    found = [as_document(one) for one in generations(FeatureStore(store))]
    if json:
        print_json(found)
    elif found:
        head = ("generation", "since", "videos", "added", "replaced", "removed", "snapshot")
        rows = [
            (
                one["generation"],
                one["since"] or "nothing yet",
                str(one["videos"]),
                *(_counts(one["changes"][change]) for change in ("added", "replaced", "removed")),
                one["snapshot"],
            )
            for one in found
        ]
        print_table(head, rows)
    else:
        to_terminal("No generation is open.")
    return 0


@app.command
def promote(name: str, /, *, store: Store = DEFAULT_STORE, dry_run: DryRun = False, json: Json = False) -> int:
    """Let readers see a generation, in one step; what they saw until then is tagged `before-NAME`.

    What was committed meanwhile to what they saw, as by `affstore add`, is taken over first. Where both changed the
    same artifact, the generation's version is kept; videos that are not there any more are not brought back.
    `affstore rollback before-NAME` undoes it. Killed at any moment, it is finished by running it again.

    The exit code is 2 if the generation holds nothing new, and 4 if there is none of that name, a run is writing, or
    something that has to be taken over is damaged; readers then see what they saw.

    Example: affstore generation promote models-2 --store affstore-demo/store --dry-run

    Parameters
    ----------
    name
        A generation, as `affstore generation list` shows it.
    """
    from affstore import FeatureStore
    from affstore.flows.commands.next_steps import step, tell_next
    from affstore.store.engine.generations import plan_promotion
    from affstore.store.engine.generations import promote as carry_out

    opened = FeatureStore(store)
    done = plan_promotion(opened, name) if dry_run else carry_out(opened, name)
    document = _promotion_document(done)
    if json:
        print_json({**document, "done": not dry_run})
        return 0
    would = "would be " if dry_run else ""
    lines = [f"{_counts(counts)} {would}{change}." for change, counts in document["changes"].items() if counts]
    for place, counts in document["part_replaced"].items():
        lines.append(
            f"Of {counted(counts['replaced'] + counts['unchanged'], 'artifact', 'artifacts')} of {place}, "
            f"{counts['unchanged']} {would or 'were '}left as they were: a run that stopped early is to be run again "
            "before its generation is promoted."
        )
    if done.taken_over:
        artifacts = counted(done.taken_over, "artifact", "artifacts")
        lines.append(f"{artifacts} that came meanwhile {would or 'were '}taken over.")
    lines.append(f"What readers saw {would or 'is '}tagged '{done.tag}'.")
    to_terminal(*lines)
    if not dry_run:
        tell_next([step(store, "rollback", done.tag, "--dry-run")])
    return 0


@app.command
def drop(name: str, /, *, store: Store = DEFAULT_STORE, dry_run: DryRun = False, json: Json = False) -> int:
    """Let go of a generation that readers are not to see; `affstore gc` then removes what it alone held.

    The exit code is 4 if there is none of that name, or a run is writing.

    Example: affstore generation drop models-2 --store affstore-data

    Parameters
    ----------
    name
        A generation, as `affstore generation list` shows it.
    """
    from affstore import FeatureStore
    from affstore.store.engine.generations import drop as let_go
    from affstore.store.engine.generations import open_generation

    opened = FeatureStore(store)
    dropped = as_document(open_generation(opened, name) if dry_run else let_go(opened, name))
    if json:
        print_json({**dropped, "done": not dry_run})
    else:
        artifacts = counted(
            sum(sum(counts.values()) for counts in dropped["changes"].values()), "artifact", "artifacts"
        )
        to_terminal(
            f"{'Would drop' if dry_run else 'Dropped'} the generation '{name}', in which {artifacts} differ. `affstore "
            "gc` removes what a dropped one held."
        )
    return 0


def as_document(generation: Generation) -> dict[str, Any]:
    """A generation for other programs."""
    from affstore.tasks.lineage.graph import by_family

    changes = generation.changes
    return {
        "generation": generation.name,
        "since": generation.since or None,
        "videos": generation.videos,
        "changes": {
            "added": by_family(changes.added),
            "replaced": by_family(changes.replaced),
            "removed": by_family(changes.removed),
        },
        "base": generation.base,
        "snapshot": generation.snapshot,
    }


def generation_line(document: dict[str, Any]) -> str:
    """A line of a store's status that says that a generation is open."""
    name, since = document["generation"], document["since"]
    what = f"{_artifacts(document)}, since {since}" if since else "nothing is written to it yet"
    return f"generation {name} is open: {what}"


def _artifacts(document: dict[str, Any]) -> str:
    count = sum(sum(counts.values()) for counts in document["changes"].values())
    differ = f"{counted(count, 'artifact', 'artifacts')} of {counted(document['videos'], 'video', 'videos')}"
    return f"{differ} {'differs' if count == 1 else 'differ'} from what it began with"


def _promotion_document(done: Promotion) -> dict[str, Any]:
    from affstore.tasks.lineage.graph import by_family

    now, then = {record.address: record for record in done.before.records()}, done.after
    replaced = [address for address in then if address in now and now[address] != then[address]]
    return {
        "generation": done.generation.name,
        "changes": {
            "added": by_family(address for address in then if address not in now),
            "replaced": by_family(replaced),
            "removed": by_family(address for address in now if address not in then),
        },
        "part_replaced": _part_replaced(replaced, then),
        "taken_over": done.taken_over,
        "tag": done.tag,
        "snapshot": done.snapshot or None,
    }


def _part_replaced(replaced: Iterable[Address], then: Iterable[Address]) -> dict[str, dict[str, int]]:
    """The networks and detectors of which some artifacts are replaced and others stay, with how many."""
    new, whole = Counter(map(_place, replaced)), Counter(map(_place, then))
    return {
        place: {"replaced": new[place], "unchanged": whole[place] - new[place]}
        for place in sorted(new)
        if place.startswith(_EXTRACTED) and whole[place] > new[place]
    }


def _place(address: Address) -> str:
    return f"{address.family}/{address.producer}"


def _counts(families: dict[str, int]) -> str:
    return ", ".join(f"{count} {family}" for family, count in families.items())


COMMANDS.register("generation", Command(app))
