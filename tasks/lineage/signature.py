"""Signed publications: an in-toto statement of what was published, in a DSSE envelope beside the files.

Both are open formats (https://in-toto.io/Statement/v1, https://github.com/secure-systems-lab/dsse), so that anybody can
check a signature without affstore and without a network.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from affstore import FeatureStore, content_digest
from affstore.store.contract.errors import SignatureError, SpecError
from affstore.store.contract.files import replacing
from affstore.store.contract.keys import digest_file, key_of
from affstore.store.contract.records import Record
from affstore.tasks.lineage.graph import leaves_of, with_ancestors
from affstore.tasks.lineage.publication import NOTE, check_published, opened_at, published_state, read_note

ENVELOPE = "publication.dsse.json"
"""How the envelope is called; it is in the publication's folder."""

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:affstore:publication:1"

PrivateKey = Ed25519PrivateKey | EllipticCurvePrivateKey
PublicKey = Ed25519PublicKey | EllipticCurvePublicKey


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


def sign(store_url: str, folder: Path, key: Path) -> Path:
    """Sign a published folder.

    Args:
        store_url: of the store that it was published from.
        folder: as a publication left it, with its note.
        key: PEM file of an Ed25519 or ECDSA P-256 private key.

    Returns:
        The envelope, in the folder.

    Raises:
        SpecError: the key cannot be used, or the folder is no publication of one snapshot.
        SignatureError: a file has other bytes than were published.
        NotFoundError: the store has not the snapshot that was published.
    """
    private = _private_key(key)
    payload = json.dumps(statement_of(store_url, folder), sort_keys=True, ensure_ascii=False).encode()
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [
            {
                "keyid": key_id(private.public_key()),
                "sig": base64.b64encode(_signature(private, _signed(payload))).decode(),
            }
        ],
    }
    with replacing(folder / ENVELOPE) as new:
        new.write_text(json.dumps(envelope, indent=2) + "\n", encoding="utf-8")
    return folder / ENVELOPE


def check_signature(folder: Path, key: Path) -> SignedPublication:
    """Check a publication's signature and the digest of each of its files; no store and no network is needed.

    Args:
        folder: of the published files and the envelope.
        key: PEM file of the signer's public key.

    Raises:
        SpecError: the key cannot be used.
        SignatureError: there is no signature, it is not one by this key, or a file is missing or was changed.
    """
    public = _public_key(key)
    payload, signatures = _read_envelope(folder / ENVELOPE)
    if not any(_is_by(public, signature, payload) for _, signature in signatures):
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
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return SignedPublication(statement, len(names), tuple(sorted(there - names - {ENVELOPE})))


def key_id(public: PublicKey) -> str:
    """The id of a public key, as securesystemslib and the tools of in-toto and TUF derive it."""
    if isinstance(public, Ed25519PublicKey):
        kind, scheme, text = "ed25519", "ed25519", public.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
    else:
        kind, scheme = "ecdsa", "ecdsa-sha2-nistp256"
        text = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    # Their canonical JSON leaves the ends of lines as they are.
    whole = f'{{"keytype":"{kind}","keyval":{{"public":"{text}"}},"scheme":"{scheme}"}}'
    return hashlib.sha256(whole.encode()).hexdigest()


# What is signed


def statement_of(store_url: str, folder: Path) -> dict[str, Any]:
    """What a signature of a published folder states; see `sign` for what it raises."""
    noted = read_note(folder)
    snapshot, tag = published_state(folder, noted)
    for name, one in noted.items():
        check_published(folder, name, one.sha256)
    store = opened_at(store_url, folder, next(iter(noted.values())))
    files = [{"name": name, "digest": {"sha256": one.sha256}} for name, one in sorted(noted.items())]
    note = {"name": NOTE, "digest": {"sha256": digest_file(folder / NOTE)}}
    content = {"name": f"affstore:snapshot:{snapshot}", "digest": {"sha256": content_digest(store)}}
    experiments = sorted({one.producer for one in noted.values()})
    return {
        "_type": STATEMENT_TYPE,
        "subject": [*files, note, content],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "snapshot": snapshot,
            "tag": tag,
            "experiments": [_experiment(store, name) for name in experiments],
        },
    }


def _experiment(store: FeatureStore, name: str) -> dict[str, Any]:
    """The digests that an experiment's published numbers stand on; no video is named."""
    of_it = [address for address in store.addresses("prediction") if address.producer == name]
    predictions = store.find_all(of_it)
    behind = with_ancestors(store, predictions)
    weights = {leaf.digest: leaf for record in behind for leaf in leaves_of(record) if leaf.kind == "weights"}
    return {
        "name": name,
        "predictions": {"count": len(predictions), "sha256": _together(predictions)},
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
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise SignatureError(f"'{path}' is no DSSE envelope: {error}. Get the publication anew.") from error
    if kind != PAYLOAD_TYPE:
        raise SignatureError(f"'{path}' holds '{kind}', not an in-toto statement ({PAYLOAD_TYPE}).")
    return payload, signatures


def _from_base64(text: str) -> bytes:
    """Bytes from either of the two alphabets of base64; DSSE leaves to the signer which."""
    return base64.b64decode(text.translate(str.maketrans("-_", "+/")), validate=True)


def _read_statement(payload: bytes, path: Path) -> dict[str, Any]:
    statement: dict[str, Any] = json.loads(payload)
    found = statement.get("_type"), statement.get("predicateType")
    if found != (STATEMENT_TYPE, PREDICATE_TYPE):
        raise SignatureError(f"'{path}' is signed, but states {found[1]!r} and no publication of affstore.")
    return statement


# Keys


def _signed(payload: bytes) -> bytes:
    """The bytes that a DSSE signature is of."""
    return b"DSSEv1 %d %b %d %b" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def _signature(private: PrivateKey, signed: bytes) -> bytes:
    return private.sign(signed) if isinstance(private, Ed25519PrivateKey) else private.sign(signed, ECDSA(SHA256()))


def _is_by(public: PublicKey, signature: bytes, payload: bytes) -> bool:
    """Whether a signature of a payload is one by this key; the id that stands with it is a hint and proves nothing."""
    try:
        if isinstance(public, Ed25519PublicKey):
            public.verify(signature, _signed(payload))
        else:
            public.verify(signature, _signed(payload), ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def _private_key(path: Path) -> PrivateKey:
    try:
        found: Any = load_pem_private_key(_read_key(path), None)
    except (ValueError, TypeError) as error:
        reason = "it is locked by a password" if isinstance(error, TypeError) else "it is none in PEM"
        raise SpecError(f"'{path}' cannot be used as a private key: {reason}. {_WANTED}") from error
    if isinstance(found, Ed25519PrivateKey) or _is_p256(found):
        return found
    raise SpecError(f"'{path}' holds a key of another kind, {type(found).__name__.strip('_')}. {_WANTED}")


def _public_key(path: Path) -> PublicKey:
    try:
        found: Any = load_pem_public_key(_read_key(path))
    except ValueError as error:
        raise SpecError(f"'{path}' cannot be used as a public key: it is none in PEM. {_WANTED}") from error
    if isinstance(found, Ed25519PublicKey) or _is_p256(found):
        return found
    raise SpecError(f"'{path}' holds a key of another kind, {type(found).__name__.strip('_')}. {_WANTED}")


_WANTED = (
    "Signatures are by Ed25519 or ECDSA P-256: `openssl genpkey -algorithm ed25519 -out key.pem`, then "
    "`openssl pkey -in key.pem -pubout -out key.pub`."
)


def _is_p256(key: Any) -> bool:
    return isinstance(key, EllipticCurvePrivateKey | EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1)


def _read_key(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SpecError(f"The key '{path}' cannot be read: {error.strerror}.") from error
