"""`affstore sign` and `affstore signature`."""

from __future__ import annotations

from pathlib import Path

from affstore.flows.commands import COMMANDS, Command
from affstore.flows.commands.options import DEFAULT_STORE, DryRun, Json, NoAt, Store, print_json, refuse_at
from affstore.flows.watch import to_terminal


def sign(
    folder: Path,
    /,
    *,
    key: Path,
    store: Store = DEFAULT_STORE,
    at: NoAt = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> int:
    """Sign a published folder: the digests of its files, of the store's content, and of heads and weights behind them.

    Writes `publication.dsse.json` into the folder, a DSSE envelope over an in-toto statement, which
    `affstore signature` and the tools of in-toto check offline.

    The exit code is 2 when the folder is no publication or the key cannot be used, 4 when the store lacks the snapshot
    or the publication was retracted, and 7 when a file is not as it was published.

    Example: affstore sign affstore-demo/published/* --key key.pem --store affstore-demo/store

    Parameters
    ----------
    folder
        One publication: the folder that is called as its tag.
    key
        PEM file of an Ed25519 or ECDSA P-256 private key without a password.
    """
    from affstore.tasks.lineage.signature import ENVELOPE, statement_of
    from affstore.tasks.lineage.signature import sign as signed

    refuse_at(at, "the folder's note says from which snapshot it was published. Leave it out.")
    statement = statement_of(store, folder)
    envelope = folder / ENVELOPE if dry_run else signed(store, folder, key)
    if json:
        print_json({"envelope": str(envelope), "statement": statement})
    else:
        to_terminal(f"{len(statement['subject'])} digests {'would be ' if dry_run else ''}signed in {envelope}")
    return 0


def signature(folder: Path, /, *, key: Path, json: Json = False) -> int:
    """Check the signature of a published folder and the digest of each of its files, without a store or a network.

    The exit code is 2 when the key cannot be used, and 7 when there is no signature, none is by this key, or it or a
    file was changed.

    Example: affstore signature affstore-demo/published/* --key key.pub

    Parameters
    ----------
    folder
        One publication, wherever it was published.
    key
        PEM file of the signer's public key.
    """
    from affstore.tasks.lineage.signature import check_signature

    found = check_signature(folder, key)
    if json:
        print_json({"files": found.files, "unsigned": list(found.unsigned), "statement": dict(found.statement)})
        return 0
    stated = found.statement["predicate"]
    names = ", ".join(one["name"] for one in stated["experiments"])
    to_terminal(f"{found.files} files are as they were signed; they hold {names}, of snapshot {stated['snapshot']}")
    to_terminal(*(f"'{name}' is not signed" for name in found.unsigned))
    return 0


COMMANDS.register("sign", Command(sign))
COMMANDS.register("signature", Command(signature))
