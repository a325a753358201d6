"""The keys that publications are signed and checked with: Ed25519 or ECDSA P-256, in PEM files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
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

from affstore.store.contract.errors import SpecError

PrivateKey = Ed25519PrivateKey | EllipticCurvePrivateKey
PublicKey = Ed25519PublicKey | EllipticCurvePublicKey


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


def signature_of(private: PrivateKey, signed: bytes) -> bytes:
    """A signature of bytes by a key."""
    return private.sign(signed) if isinstance(private, Ed25519PrivateKey) else private.sign(signed, ECDSA(SHA256()))


def is_by(public: PublicKey, signature: bytes, signed: bytes) -> bool:
    """Whether a signature of bytes is one by this key; the id that stands with it is a hint and proves nothing."""
    try:
        if isinstance(public, Ed25519PublicKey):
            public.verify(signature, signed)
        else:
            public.verify(signature, signed, ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def private_key(path: Path) -> PrivateKey:
    """The private key in a PEM file.

    Raises:
        SpecError: there is none that can be used.
    """
    content = _read_key(path)
    if b"PUBLIC KEY-----" in content and b"PRIVATE KEY-----" not in content:
        raise SpecError(f"'{path}' holds a public key, and what signs is the private one of the pair. {_WANTED}")
    try:
        found: Any = load_pem_private_key(content, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        reason = "it is locked by a password" if isinstance(error, TypeError) else "it is none in PEM"
        raise SpecError(f"'{path}' cannot be used as a private key: {reason}. {_WANTED}") from error
    if isinstance(found, Ed25519PrivateKey) or _is_p256(found):
        return found
    raise SpecError(f"'{path}' holds a key of another kind, {type(found).__name__.strip('_')}. {_WANTED}")


def public_key(path: Path) -> PublicKey:
    """The public key in a PEM file.

    Raises:
        SpecError: there is none that can be used.
    """
    content = _read_key(path)
    if b"PRIVATE KEY-----" in content:
        raise SpecError(f"'{path}' holds a private key, and what checks is the public one of the pair. {_WANTED}")
    try:
        found: Any = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm) as error:
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
    if path.is_dir():
        raise SpecError(f"The key '{path}' is a folder. Name the PEM file with --key.")
    if not path.exists():
        raise SpecError(f"There is no key file '{path}'. Name the PEM file with --key.")
    try:
        return path.read_bytes()
    except OSError as error:
        raise SpecError(f"The key '{path}' cannot be read: {error.strerror}. Name another with --key.") from error
