"""`affstore head`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cyclopts import App

from affstore.flows.commands import COMMANDS, Command
from affstore.flows.commands.options import DEFAULT_STORE, DryRun, Flag, Json, Store, print_json, print_table
from affstore.flows.watch import to_terminal

app = App(
    name="head",
    help="Fitted heads: what a store has, and files to give them to others and take theirs.\n\n"
    "Example: affstore head list --store affstore-demo/store",
    result_action="return_value",
)


@app.command(name="list")
def list_(*, store: Store = DEFAULT_STORE, json: Json = False) -> int:
    """List the fitted heads of a store: what each predicts, from which networks, how it scored, and whose it is.

    Example: affstore head list --store affstore-demo/store
    """
    from affstore import FeatureStore
    from affstore.tasks.lineage.stored_heads import networks_of

    opened = FeatureStore(store)
    found = [
        {
            "head": record.address.producer,
            "predicts": record.attributes["task"],
            "kind": record.recipe["fit"]["head"]["kind"],
            "networks": [str(one["name"]) for one in networks_of(opened, record)],
            "scores": record.attributes["scores"],
            "weights": record.provenance,
            "corpus": record.made.get("corpus", ""),
            "licence": record.made.get("licence", ""),
        }
        for record in opened.records("head")
    ]
    if json:
        print_json(found)
        return 0
    head = ("head", "predicts", "kind", "networks", "on its validation frames", "corpus", "licence")
    rows = [
        (
            str(one["head"]),
            str(one["predicts"]),
            str(one["kind"]),
            ", ".join(one["networks"]),
            _score(one["scores"]),
            str(one["corpus"]),
            str(one["licence"]),
        )
        for one in found
    ]
    print_table(head, rows, f"{len(rows)} heads")
    return 0


def _score(scores: Any) -> str:
    return f"{scores['headline']} {scores['value']:.3f}" if scores else ""


@app.command
def export(
    name: str,
    file: Path,
    /,
    *,
    licence: str,
    corpus: str,
    store: Store = DEFAULT_STORE,
    dry_run: DryRun = False,
    json: Json = False,
) -> int:
    """Write a head into one file: its parameters, spec and record, for a lab that has not its training corpus.

    The file is safetensors with a JSON document; no name of a video is in it, and nothing in it is executed.

    Example: affstore head export expr-mlp expr-mlp.safetensors --licence CC0-1.0 --corpus demo
    --store affstore-demo/store

    Parameters
    ----------
    name
        The head, as `affstore head list` shows it; or an experiment of one head.
    file
        Gets it.
    licence
        Under which you give it on; the licence of the corpus may say which.
    corpus
        What it was fitted on, in words.
    """
    from affstore import FeatureStore
    from affstore.store.contract.errors import SpecError
    from affstore.tasks.lineage.head_files import write_head
    from affstore.tasks.lineage.stored_heads import fitted_experiment

    opened = FeatureStore(store)
    heads = fitted_experiment(opened, name).heads
    if len(heads) > 1:
        names = ", ".join(head.name for head in heads)
        raise SpecError(f"'{name}' is an experiment of several heads: {names}. Export each of them.")
    head = heads[0].name
    if dry_run:
        to_terminal(f"would write the head '{head}' to {file}")
        return 0
    about = write_head(opened, head, file, licence, corpus)
    if json:
        print_json({"file": str(file), **{fact: about[fact] for fact in ("name", "key", "digest")}})
    else:
        to_terminal(f"{file}: the head '{head}', digest {about['digest'][:12]}, licence {licence}, fitted on {corpus}")
    return 0


@app.command(name="import")
def import_(
    file: Path,
    /,
    *,
    name: str = "",
    store: Store = DEFAULT_STORE,
    replace: Flag = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> int:
    """Take in a head that `affstore head export` wrote; its digests are compared, and nothing in it is executed.

    Example: affstore head import expr-mlp.safetensors --name theirs

    Parameters
    ----------
    file
        The file.
    name
        What the head is called in this store; as in the file without it.
    replace
        Another head of that name may go.
    """
    from affstore import FeatureStore
    from affstore.store.contract.errors import NotFoundError
    from affstore.tasks.lineage.head_files import import_head, is_new_head, read_head
    from affstore.tasks.lineage.stored_heads import NETWORKS
    from affstore.tasks.specs import code_versions

    artifact = read_head(file, name)
    if dry_run:
        try:
            new = is_new_head(FeatureStore(store), artifact, replace)
        except NotFoundError:  # the store would be made
            new = True
    else:
        new = import_head(FeatureStore.create(store), artifact, replace, code_versions())
    called, made = artifact.address.producer, artifact.made
    networks = [str(one["name"]) for one in made[NETWORKS]]
    if json:
        facts = {"licence": made["licence"], "corpus": made["corpus"]}
        print_json({"head": called, "new": new, "networks": networks, **facts})
        return 0
    did = "in the store already" if not new else "would be imported" if dry_run else "imported"
    to_terminal(
        f"{called}: {did}; licence {made['licence']}, fitted on {made['corpus']}, networks {', '.join(networks)}",
        f"next      affstore predict {called} VIDEO",
    )
    return 0


COMMANDS.register("head", Command(app))
