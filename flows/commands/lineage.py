"""`affstore lineage`."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App

from affstore.flows.commands import COMMANDS, Command
from affstore.flows.commands.options import DEFAULT_STORE, At, DryRun, Json, NoAt, Store, answer, refuse_at

app = App(
    name="lineage",
    help="Give lineage to other tools: OpenLineage events, an RO-Crate, or a paragraph for a paper.\n\n"
    "Example: affstore lineage openlineage events.jsonl --store affstore-demo/store",
    result_action="return_value",
)


@app.command
def openlineage(
    to: str,
    run: str = "",
    /,
    *,
    store: Store = DEFAULT_STORE,
    at: At = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> int:
    """Write OpenLineage events, a START and a COMPLETE for each producer of each run, into a file or to a server.

    The exit code is 2 when that is neither a file nor an address of a server, and 4 when the store has no such run or
    state, or the server does not take them.

    Example: affstore lineage openlineage events.jsonl --store affstore-demo/store

    Parameters
    ----------
    to
        A file, which gets a line an event; or http(s)://HOST, to whose /api/v1/lineage they are posted, or a whole
        address. OPENLINEAGE_API_KEY is sent along.
    run
        Only of that run.
    """
    from affstore import FeatureStore
    from affstore.store.engine.places import check_output
    from affstore.tasks.lineage.openlineage import events, give_events

    if "://" not in to:
        check_output(store, Path(to))
    found = events(FeatureStore(store, at), run)
    give_events(found, to, dry_run)
    line = f"{len(found)} events of {len(found) // 2} jobs{' would be given' if dry_run else ''}: {to}"
    answer({"to": to, "events": found}, [line], json)
    return 0


@app.command(name="ro-crate")
def ro_crate(
    folder: Path,
    /,
    *,
    store: Store = DEFAULT_STORE,
    at: NoAt = None,
    license: str = "",
    author: str = "",
    organization: str = "",
    dry_run: DryRun = False,
    json: Json = False,
) -> int:
    """Describe a published folder as an RO-Crate 1.1 of the Process Run Crate profile.

    The exit code is 2 when the folder is no publication, 4 when there is no such folder, the store lacks the snapshot
    that was published, or the publication was retracted, and 7 when a file is not as it was published or says other
    than the store.

    Example: affstore lineage ro-crate affstore-demo/published/* --store affstore-demo/store

    Parameters
    ----------
    folder
        One publication: the folder that is called as its tag.
    license
        Address or SPDX identifier of the licence of the published files; without it, that nobody else may use them.
    author
        Who ran it and answers for it: a name, or a name and an address, as `Ada Lovelace <https://orcid.org/...>`.
    organization
        Where the author works, and who publishes it, likewise.
    """
    from affstore.tasks.lineage.ro_crate import METADATA, CrateTerms, crate_of, write_crate

    refuse_at(at, "the folder's note says from which snapshot it was published. Leave it out.")
    document = crate_of(store, folder, CrateTerms(license, author, organization))
    path = folder / METADATA if dry_run else write_crate(document, folder)
    answer(document, [f"{'would be ' if dry_run else ''}described in {path}"], json)
    return 0


@app.command
def methods(experiment: str, /, *, store: Store = DEFAULT_STORE, at: At = None, json: Json = False) -> int:
    """Print a paragraph for the methods of a paper: all that decides an experiment's numbers, with the digests.

    The exit code is 4 when the store has no predictions of such an experiment, or no such state.

    Example: affstore lineage methods expr-mlp --store affstore-demo/store

    Parameters
    ----------
    experiment
        As the store calls its predictions.
    """
    from affstore import FeatureStore
    from affstore.tasks.lineage.methods import methods_paragraph

    paragraph = methods_paragraph(FeatureStore(store, at), experiment)
    answer({"experiment": experiment, "methods": paragraph}, [paragraph], json)
    return 0


COMMANDS.register("lineage", Command(app))
