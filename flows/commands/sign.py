"""`affstore sign` and `affstore signature`."""

from __future__ import annotations

from pathlib import Path

from affstore.flows.commands import COMMANDS, Command
from affstore.flows.commands.options import DEFAULT_STORE, DryRun, Json, NoAt, Store, answer, refuse_at
from affstore.store.contract.printable import counted


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
    `affstore signature` and the tools of in-toto check offline. Every line and table is compared with the store first.
    Who signs what others have signed adds to their signatures. Files that are not covered, as pages, are named.

    The exit code is 2 when the folder is no publication or the key cannot be used, 4 when there is no such folder, the
    store lacks the snapshot or the publication was retracted, and 7 when a file is not as it was published or says
    other than the store, or the note names a tag or an experiment that the snapshot has not.

    Example: affstore sign affstore-demo/published/* --key key.pem --store affstore-demo/store

    Parameters
    ----------
    folder
        One publication: the folder that is called as its tag, or one of `predict` or `analyze`.
    key
        PEM file of an Ed25519 or ECDSA P-256 private key without a password.
    """
    from affstore.tasks.lineage.signature import sign as signed

    refuse_at(at, "the folder's note says from which snapshot it was published. Leave it out.")
    done = signed(store, folder, key, dry_run)
    document = {
        "envelope": str(done.envelope),
        "statement": dict(done.statement),
        "unsigned": list(done.unsigned),
        "signatures": done.signatures,
        "done": not dry_run,
    }
    would = "would be " if dry_run else ""
    beside = f", beside {counted(done.signatures - 1, 'signature', 'signatures')} by others"
    more = beside if done.signatures > 1 else ""
    lines = [f"{len(done.statement['subject'])} digests {would}signed in {done.envelope}{more}"]
    if done.replaces:
        lines.append(f"What was signed there before was something else; it {would or 'is '}replaced.")
    answer(document, [*lines, *(f"'{name}' is not covered" for name in done.unsigned)], json)
    return 0


def signature(folder: Path, /, *, key: Path, json: Json = False) -> int:
    """Check the signature of a published folder and the digest of each of its files, without a store or a network.

    The exit code is 2 when the key cannot be used, 4 when there is no such folder, and 7 when there is no signature,
    none is by this key, or it or a file was changed.

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
    document = {"files": found.files, "unsigned": list(found.unsigned), "statement": dict(found.statement)}
    stated = found.statement["predicate"]
    names = ", ".join(one["name"] for one in stated["experiments"])
    line = f"{found.files} files are as they were signed; they hold {names}, of snapshot {stated['snapshot']}"
    answer(document, [line, *(f"'{name}' is not signed" for name in found.unsigned)], json)
    return 0


COMMANDS.register("sign", Command(sign))
COMMANDS.register("signature", Command(signature))
