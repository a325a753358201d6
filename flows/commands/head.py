"""`affstore head`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cyclopts import App

from affstore.flows.commands import COMMANDS, Command
from affstore.flows.commands.next_steps import step, tell_next
from affstore.flows.commands.options import DEFAULT_STORE, At, DryRun, Flag, Json, Store, print_json, print_table
from affstore.flows.watch import to_terminal
from affstore.store.contract.errors import NotFoundError, SpecError

app = App(
    name="head",
    help="Fitted heads: what a store has, and files to give them to others and take theirs.\n\n"
    "Example: affstore head list --store affstore-demo/store",
    result_action="return_value",
)


@app.command(name="list")
def list_(*, store: Store = DEFAULT_STORE, at: At = None, json: Json = False) -> int:
    """List the fitted heads of a store: what each predicts, from which networks, how it scored, and whose it is.

    The exit code is 4 when there is no such store or state.

    Example: affstore head list --store affstore-demo/store
    """
    from affstore import FeatureStore
    from affstore.tasks.lineage.stored_heads import POST_PROCESSING, networks_of

    opened = FeatureStore(store, at)
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
            "post_processing": record.made.get(POST_PROCESSING),
        }
        for record in opened.records("head")
    ]
    if json:
        print_json(found)
        return 0
    head = ("head", "predicts", "kind", "networks", "on its validation frames", "corpus", "licence", "came with")
    rows = [
        (
            str(one["head"]),
            str(one["predicts"]),
            str(one["kind"]),
            ", ".join(one["networks"]),
            _score(one["scores"]),
            str(one["corpus"]),
            str(one["licence"]),
            _came_with(one["post_processing"]),
        )
        for one in found
    ]
    print_table(head, rows, f"{len(rows)} heads")
    return 0


def _score(scores: Any) -> str:
    return f"{scores['headline']} {scores['value']:.3f}" if scores else ""


def _came_with(post_processing: Mapping[str, Any] | None) -> str:
    """What an imported head brought beside itself, in short."""
    chosen = post_processing["finish"]["chosen"] if post_processing else {}
    smooth = [f"smoothing over {2 * chosen['smooth_frames'] + 1} frames"] if chosen.get("smooth_frames") else []
    return ", ".join(smooth + (["thresholds"] if "thresholds" in chosen else []))


@app.command
def export(
    name: str,
    file: Path,
    /,
    *,
    licence: str,
    corpus: str,
    store: Store = DEFAULT_STORE,
    at: At = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> int:
    """Write a head into one file: its parameters, spec and record, for a lab that has not its training corpus.

    By an experiment's name, the smoothing and thresholds go with it that `affstore predict` applies under that name,
    and where they came from; by a head's own name, nothing but the head. The file is safetensors with a JSON document;
    no name of a video is in it, and nothing in it is executed.

    The exit code is 2 when it cannot be exported or written, and 4 when the store has no such head or state.

    Example: affstore head export expr-mlp expr-mlp.safetensors --licence CC0-1.0 --corpus demo
    --store affstore-demo/store

    Parameters
    ----------
    name
        An experiment of one head (NAME@honest for what was tuned under that protocol); or a head, as `affstore head
        list` shows it.
    file
        Gets it.
    licence
        Under which you share it; the licence of the corpus may say which.
    corpus
        What it was fitted on, in words.
    """
    from affstore import FeatureStore
    from affstore.store.contract.records import Address
    from affstore.store.engine.places import check_output
    from affstore.tasks.lineage.head_files import only_head, write_head
    from affstore.tasks.lineage.head_post_processing import post_processing_of
    from affstore.tasks.lineage.stored_heads import POST_PROCESSING, experiments_on

    for option, value in {"--licence": licence, "--corpus": corpus}.items():
        if not value.strip():
            raise SpecError(f"{option} is empty, and whoever takes the head needs to know it. Say it in words.")
    check_output(store, file)
    opened = FeatureStore(store, at)
    fitted = only_head(opened, name)
    head = fitted.heads[0].name
    if dry_run:
        record = opened.get(Address("head", head))
        finish = post_processing_of(opened, fitted)
        facts = {"name": head, "key": record.key, "digest": record.digest}
        would = [f"would write the head '{head}' to {file}", *_post_processing_lines(finish, record.recipe)]
    else:
        about = write_head(opened, name, file, licence, corpus)
        facts, finish, would = {fact: about[fact] for fact in ("name", "key", "digest")}, about[POST_PROCESSING], []
    if json:
        print_json({"file": str(file), **facts, "post_processing": finish or None, "done": not dry_run})
        return 0
    if dry_run:
        to_terminal(*would)
        return 0
    chose = [] if fitted.experiment or about[POST_PROCESSING] else experiments_on(opened, head)
    to_terminal(
        f"{file}: the head '{head}', digest {about['digest'][:12]}, licence {licence}, fitted on {corpus}",
        *_post_processing_lines(about[POST_PROCESSING], about["recipe"]),
        *(
            f"  `affstore head export {shlex.quote(one)}` also writes what the experiment '{one}' does to its outputs"
            for one in chose
        ),
    )
    return 0


def _post_processing_lines(post_processing: Mapping[str, Any], recipe: Mapping[str, Any]) -> list[str]:
    """What is done to a head's outputs, as its file says it, or that it says nothing."""
    from affstore.tasks.lineage.head_post_processing import line_without, lines_of
    from affstore.tasks.lineage.recorded_specs import head_from

    fit = recipe["fit"]
    lines = lines_of(post_processing) if post_processing else [line_without(head_from(fit["head"]), fit["thresholds"])]
    return [f"  {line}" for line in lines]


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

    Smoothing and thresholds that came with it are applied by `affstore predict` and `analyze`, as in the store that it
    is from; where none came, the command says so.

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
    from affstore.tasks.lineage.head_files import import_head, is_new_head, read_head
    from affstore.tasks.lineage.stored_heads import NETWORKS, POST_PROCESSING
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
        facts = {"licence": made["licence"], "corpus": made["corpus"], "post_processing": made.get(POST_PROCESSING)}
        print_json({"head": called, "new": new, "networks": networks, **facts})
        return 0
    did = "in the store already" if not new else "would be imported" if dry_run else "imported"
    to_terminal(
        f"{called}: {did}; licence {made['licence']}, fitted on {made['corpus']}, networks {', '.join(networks)}",
        *(_post_processing_lines(made.get(POST_PROCESSING, {}), artifact.recipe) if new else ()),
    )
    tell_next([step(store, "predict", called, "VIDEO")])
    return 0


COMMANDS.register("head", Command(app))
