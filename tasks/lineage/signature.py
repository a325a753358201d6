"""Signed publications: an in-toto statement of what was published, in a DSSE envelope beside the files.

Both are open formats (https://in-toto.io/Statement/v1, https://github.com/secure-systems-lab/dsse), so that anybody can
check a signature without affstore and without a network.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affstore import FeatureStore, content_digest
from affstore.store.contract.errors import SignatureError
from affstore.store.contract.files import write_text
from affstore.store.contract.keys import digest_file, key_of
from affstore.store.contract.records import Record
from affstore.tasks.lineage.graph import leaves_of, with_ancestors
from affstore.tasks.lineage.publication import (
    NOTE,
    check_folder,
    check_published,
    published_state,
)
from affstore.tasks.lineage.published_rows import opened_publication
from affstore.tasks.lineage.signing_keys import PublicKey, is_by, key_id, private_key, public_key, signature_of

ENVELOPE = "publication.dsse.json"
"""How the envelope is called; it is in the publication's folder."""

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:affstore:publication:1"


@dataclass(frozen=True, slots=True)
class SignedPublication:
    """A publication whose signature and files were checked.

    Attributes:
        statement: what was signed.
        files: how many files have the bytes that were signed.
        unsigned: files in the folder of which the statement says nothing.
    """

    statement: Mapping[str, Any]
    files: int
    unsigned: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Signed:
    """What was signed, or would be.

    Attributes:
        envelope: in the publication's folder.
        statement: what is signed.
        unsigned: files in the folder of which the statement says nothing.
        signatures: how many the envelope has, with those of the same statement by other keys.
        replaces: whether there was an envelope of another statement, or one that cannot be read.
    """

    envelope: Path
    statement: Mapping[str, Any]
    unsigned: tuple[str, ...]
    signatures: int
    replaces: bool


def sign(store_url: str, folder: Path, key: Path, dry_run: bool = False) -> Signed:
    """Sign a published folder, beside whoever signed the same before.

    Args:
        store_url: of the store that it was published from; the files are compared with it.
        folder: as a publication left it, with its note.
        key: PEM file of an Ed25519 or ECDSA P-256 private key.
        dry_run: whether nothing is written.

    Raises:
        SpecError: the key cannot be used, or the folder is no publication of one snapshot.
        SignatureError: a file has other bytes than were published or says other than the store, or the note names a
            tag or experiment that the snapshot has not.
        NotFoundError: the store has not the snapshot that was published.
    """
    private = private_key(key)
    statement = statement_of(store_url, folder)
    payload = json.dumps(statement, sort_keys=True, ensure_ascii=False).encode()
    path = folder / ENVELOPE
    kept = _kept_signatures(path, payload, private.public_key())
    made = signature_of(private, _signed(payload))
    own = {"keyid": key_id(private.public_key()), "sig": base64.b64encode(made).decode()}
    signatures = [*(kept or ()), own]
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": signatures,
    }
    replaces = kept is None and path.exists()
    if not dry_run:
        write_text(path, json.dumps(envelope, indent=2) + "\n")
    return Signed(path, statement, unsigned_files(folder, statement), len(signatures), replaces)


def _kept_signatures(path: Path, payload: bytes, own: PublicKey) -> list[Any] | None:
    """The signatures of a payload by other keys that an envelope has; None where there is none of that payload."""
    try:
        signed, signatures = _read_envelope(path)
    except SignatureError:
        return None
    if signed != payload:
        return None
    found = json.loads(path.read_text(encoding="utf-8"))["signatures"]
    return [one for one, (_, made) in zip(found, signatures, strict=True) if not is_by(own, made, _signed(payload))]


def check_signature(folder: Path, key: Path) -> SignedPublication:
    """Check a publication's signature and the digest of each of its files; no store and no network is needed.

    Args:
        folder: of the published files and the envelope.
        key: PEM file of the signer's public key.

    Raises:
        SpecError: the key cannot be used.
        NotFoundError: there is no such folder.
        SignatureError: there is no signature, it is not one by this key, or a file is missing or was changed.
    """
    public = public_key(key)
    check_folder(folder)
    payload, signatures = _read_envelope(folder / ENVELOPE)
    if not any(is_by(public, signature, _signed(payload)) for _, signature in signatures):
        own = key_id(public)
        if own in {keyid for keyid, _ in signatures}:
            raise SignatureError(
                f"The signature of '{folder / ENVELOPE}' does not fit what it says: one of the two was changed after "
                "signing. Get the publication anew."
            )
        others = ", ".join(sorted({keyid[:16] or "a key without an id" for keyid, _ in signatures}))
        raise SignatureError(
            f"'{folder}' is not signed by the key in '{key}', which is {own[:16]}, but by {others or 'nobody'}. Ask "
            "the signer for the public key."
        )
    statement = _read_statement(payload, folder / ENVELOPE)
    names = _check_files(folder, statement["subject"])
    return SignedPublication(statement, len(names), unsigned_files(folder, statement))


# What is signed


def statement_of(store_url: str, folder: Path) -> dict[str, Any]:
    """What a signature of a published folder states; see `sign` for what it raises."""
    store, noted, behind = opened_publication(store_url, folder)
    snapshot, tag = published_state(folder, noted)
    files = [{"name": name, "digest": {"sha256": one.sha256}} for name, one in sorted(noted.items())]
    note = {"name": NOTE, "digest": {"sha256": digest_file(folder / NOTE)}}
    content = {"name": f"affstore:snapshot:{snapshot}", "digest": {"sha256": content_digest(store)}}
    return {
        "_type": STATEMENT_TYPE,
        "subject": [*files, note, content],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "snapshot": snapshot,
            "tag": tag,
            "experiments": [_experiment(store, name, records) for name, records in sorted(behind.items())],
        },
    }


def unsigned_files(folder: Path, statement: Mapping[str, Any]) -> tuple[str, ...]:
    """The files in a folder of which a statement says nothing, by their names in it, sorted."""
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return tuple(sorted(there - {one["name"] for one in statement["subject"]} - {ENVELOPE}))


def _experiment(store: FeatureStore, name: str, records: Sequence[Record]) -> dict[str, Any]:
    """The digests that an experiment's or an analysis' published numbers stand on; no video is named."""
    behind = with_ancestors(store, records)
    weights = {leaf.digest: leaf for record in behind for leaf in leaves_of(record) if leaf.kind == "weights"}
    of_experiment = all(record.address.family == "prediction" for record in records)
    return {
        "name": name,
        "predictions" if of_experiment else "artifacts": {"count": len(records), "sha256": _together(records)},
        "heads": [
            {"name": record.address.producer, "key": record.key, "sha256": record.digest}
            for record in sorted(behind, key=lambda record: record.address)
            if record.address.family == "head"
        ],
        "weights": [
            {"name": leaf.name, "sha256": leaf.digest, "provenance": leaf.provenance or None}
            for leaf in sorted(weights.values(), key=lambda leaf: (leaf.name, leaf.digest))
        ],
    }


def _together(records: Iterable[Record]) -> str:
    """One digest over the keys and digests of artifacts."""
    return key_of(sorted([record.key, record.digest] for record in records))


# What is checked


def _check_files(folder: Path, subjects: Iterable[Mapping[str, Any]]) -> set[str]:
    """See that the files that were signed have their bytes; gives their names."""
    names = {one["name"]: one["digest"]["sha256"] for one in subjects if not one["name"].startswith("affstore:")}
    for name, digest in names.items():
        check_published(folder, name, digest)
    return set(names)


def _read_envelope(path: Path) -> tuple[bytes, list[tuple[str, bytes]]]:
    """The payload and the signatures, each with the id of its key, which is empty where the signer gave none."""
    try:
        envelope = json.loads(path.read_text(encoding="utf-8"))
        signatures = [(str(one.get("keyid") or ""), _from_base64(one["sig"])) for one in envelope["signatures"]]
        payload, kind = _from_base64(envelope["payload"]), envelope["payloadType"]
    except FileNotFoundError as error:
        raise SignatureError(f"There is no '{path}': nobody signed the publication. `affstore sign` does.") from error
    except KeyError as error:
        raise SignatureError(f"'{path}' is no DSSE envelope: it has no {error}. Get the publication anew.") from error
    except OSError as error:
        raise SignatureError(f"'{path}' cannot be read: {error.strerror}. Get the publication anew.") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise SignatureError(
            f"'{path}' is no DSSE envelope, which is JSON with a payload and signatures in base64. Get the publication "
            "anew."
        ) from error
    if kind != PAYLOAD_TYPE:
        raise SignatureError(f"'{path}' holds '{kind}', not an in-toto statement ({PAYLOAD_TYPE}).")
    return payload, signatures


def _from_base64(text: str) -> bytes:
    """Bytes from either of the two alphabets of base64; DSSE leaves to the signer which."""
    return base64.b64decode(text.translate(str.maketrans("-_", "+/")), validate=True)


def _read_statement(payload: bytes, path: Path) -> dict[str, Any]:
    try:
        statement: dict[str, Any] = json.loads(payload)
        found = statement.get("_type"), statement.get("predicateType")
    except (ValueError, AttributeError) as error:
        raise SignatureError(f"'{path}' is signed, but holds no statement. Get the publication anew.") from error
    if found != (STATEMENT_TYPE, PREDICATE_TYPE):
        raise SignatureError(f"'{path}' is signed, but states {found[1]!r} and no publication of affstore.")
    return statement


def _signed(payload: bytes) -> bytes:
    """The bytes that a DSSE signature is of."""
    return b"DSSEv1 %d %b %d %b" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)
