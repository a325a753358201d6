"""`affstore weights`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from affstore.flows.commands import COMMANDS, Command
from affstore.flows.commands.options import Flag, Json, print_json, print_table
from affstore.flows.commands.weights_view import (
    agree,
    bar,
    complain,
    document,
    licence,
    listed,
    origin,
    sentence,
    state,
)
from affstore.flows.watch import to_terminal
from affstore.store.contract.errors import SpecError, WeightsError, WeightsMissingError

if TYPE_CHECKING:
    from affstore.models.extractors.audio.hf_hub import HubModel
    from affstore.models.weights.entry import WeightsEntry
    from affstore.models.weights.folder import WeightsFolder

Mirror = Annotated[Path | None, Parameter(env_var="AFFSTORE_MIRROR")]
"""A folder with the published files, as `<name>/<file>` or `<file>`, instead of the network."""

app = App(
    name="weights",
    help="The networks' parameters: what is here, fetch, import, verify.\n\nExample: affstore weights list",
    result_action="return_value",
)


@app.command(name="list")
def list_(*, json: Json = False) -> int:
    """List every published weight file, whether it is on this machine, and its licence.

    Example: affstore weights list --json
    """
    from affstore.models.extractors.audio.hf_hub import described_models
    from affstore.models.extractors.registry import entries
    from affstore.models.weights.folder import default_folder

    folder = default_folder()
    known = [*(entry for _, entry in sorted(entries().items())), *(m.entry for m in described_models(folder.root))]
    if json:
        print_json([listed(entry, folder) for entry in known])
    else:
        rows = [(e.name, state(folder.status(e.name)), licence(e, folder), origin(e)) for e in known]
        print_table(("weights", "here", "licence", "from"), rows, f"Kept in {folder.root}")
    return 0


@app.command
def pull(
    *names: str,
    mirror: Mirror = None,
    accept_licence: Flag = False,
    any_digest: Flag = False,
    sha256: str = "",
    revision: str = "",
    dry_run: Flag = False,
    json: Json = False,
) -> int:
    """Fetch published weights, check their digests while they come, and convert them; a broken download goes on.

    Example: affstore weights pull enet_b0_8_best_vgaf

    Parameters
    ----------
    names
        Names from `affstore weights list`; all that are public without them.
    mirror
        A folder with the published files, as NAME/FILE or FILE, instead of the network.
    accept_licence
        Accept licences that limit the use of the weights; without it you are asked, once for each.
    any_digest
        Take what comes where it is not known to be the published file; every record then says `unofficial`.
    sha256
        Take the one file with this digest.
    revision
        The commit, in full, of an audio encoder on the hub: hf-audio/ORG/NAME --revision COMMIT.
    dry_run
        Say what would be fetched, and do nothing.
    """
    from affstore.models.extractors.audio import hf_hub
    from affstore.models.extractors.registry import entries, entry_of
    from affstore.models.weights.digests import Trust
    from affstore.models.weights.folder import default_folder

    folder = default_folder()
    model = _hub_model(names, revision, folder) if revision else None
    chosen = [model.entry] if model else [entry_of(name) for name in names or sorted(_public(entries()))]
    if sha256 and len(chosen) != 1:
        raise SpecError(f"--sha256 is the digest of one file, but {len(chosen)} are asked for. Name one.")
    trust = Trust(any_digest, sha256 or (model.sha256 if model else ""))

    def fetch(entry: WeightsEntry) -> dict[str, Any]:
        if dry_run:
            return {"from": str(mirror or origin(entry)), "licence": licence(entry, folder)}
        agree(entry, folder, accept_licence)
        with bar(entry.name) as on_progress:
            status = folder.pull(entry, mirror, on_progress, trust)
        if model:
            hf_hub.keep(model, folder.root)
        return {**document(status), "licence": entry.licence}

    return _each(chosen, fetch, json)


@app.command(name="import")
def import_(
    name: str,
    file: Path,
    /,
    *,
    accept_licence: Flag = False,
    any_digest: Flag = False,
    sha256: str = "",
    config_only: Flag = False,
    dry_run: Flag = False,
    json: Json = False,
) -> int:
    """Take in a weight file that was fetched by other means, or the folder of an audio encoder of transformers.

    Example: affstore weights import enet_b0_8_best_vgaf ~/Downloads/enet_b0_8_best_vgaf.pt

    Parameters
    ----------
    name
        The name from `affstore weights list`, or hf-audio/ORG/NAME.
    file
        The published file; of hf-audio/ORG/NAME, the folder with config.json, preprocessor_config.json and the weights.
    accept_licence
        Accept a licence that limits the use of the weights; without it you are asked, once.
    any_digest
        Take a file of the same layout with other numbers; every record then says `unofficial`.
    sha256
        Take the one file with this digest.
    config_only
        Of a folder, take the configurations alone, so that its network can be run with untrained parameters.
    dry_run
        Check the name and the file's presence only.
    """
    from affstore.models.extractors.audio import hf_hub
    from affstore.models.extractors.registry import entry_of
    from affstore.models.weights.folder import default_folder

    folder = default_folder()
    model: HubModel | None = None
    path: Path | None = file
    if name.startswith(hf_hub.PREFIX):
        model, path = hf_hub.read_folder(name, file, config_only)
    elif config_only:
        raise SpecError(f"'{name}' is no folder of transformers' format, so it has no configuration to take alone.")
    entry = model.entry if model else entry_of(name)
    if not (model or file.is_file()):
        raise WeightsMissingError(f"There is no file '{file}' to import '{name}' from. Check the path.")

    def take(entry: WeightsEntry) -> dict[str, Any]:
        if dry_run:
            return {"from": str(path), "licence": licence(entry, folder)}
        if model and (config_only or path is None):
            hf_hub.keep(model, folder.root)
            return {"configuration": str(file), "licence": entry.licence}
        agree(entry, folder, accept_licence)
        status = folder.import_file(entry, path or file, any_digest, sha256)
        if model:
            hf_hub.keep(model, folder.root)
        return {**document(status), "licence": entry.licence}

    return _each([entry], take, json)


@app.command
def verify(*names: str, json: Json = False) -> int:
    """Compute the digests of the weights on this machine again.

    Example: affstore weights verify

    Parameters
    ----------
    names
        Names from `affstore weights list`; all that are here without them.
    """
    from affstore.models.extractors.audio.hf_hub import described_models
    from affstore.models.extractors.registry import entries, entry_of
    from affstore.models.weights.folder import default_folder

    folder = default_folder()
    known = [*sorted(entries()), *(model.name for model in described_models(folder.root))]
    chosen = [entry_of(name) for name in names or [n for n in known if folder.status(n).present]]
    if not (chosen or json):
        to_terminal(f"There are no weights in {folder.root}.")
    return _each(chosen, lambda entry: {**document(folder.verify(entry)), "intact": True}, json)


def _public(known: Mapping[str, WeightsEntry]) -> list[str]:
    return [name for name, entry in known.items() if entry.public]


def _hub_model(names: Sequence[str], revision: str, folder: WeightsFolder) -> HubModel:
    """The one model that is asked for at a commit of the hub."""
    from affstore.models.extractors.audio import hf_hub

    if len(names) != 1 or not names[0].startswith(hf_hub.PREFIX):
        raise SpecError(f"--revision is a commit of one model hf-audio/ORG/NAME; found {', '.join(names) or 'none'}.")
    return hf_hub.read_hub(names[0], revision, folder.root / "downloads")


def _each(weights: Sequence[WeightsEntry], act: Callable[[WeightsEntry], dict[str, Any]], as_json: bool) -> int:
    """Act on every entry and show what came of it; where one of several fails, go on with the others.

    Returns:
        The exit code.
    """
    done: list[dict[str, Any]] = []
    code = 0
    for entry in weights:
        try:
            done.append({"name": entry.name, **act(entry)})
        except WeightsError as error:
            if len(weights) == 1:
                raise
            complain(error)
            done.append({"name": entry.name, "error": str(error)})
            code = error.exit_code
        else:
            if not as_json:
                to_terminal(sentence(done[-1]))
    if as_json:
        print_json(done)
    return code


COMMANDS.register("weights", Command(app))
