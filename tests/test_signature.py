"""Publications are signed in open formats, and whatever was changed afterwards is found, by us and by stock tools."""

from __future__ import annotations

import base64
import json
import shutil

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_public_key,
)

from affstore import FeatureStore, content_digest
from affstore.flows.cli import call
from affstore.store.contract.keys import digest_file
from affstore.store.contract.records import Address
from affstore.tasks.lineage.publication import write_note
from tests.lineage_store import NETWORK_WEIGHTS, whole_chain

KINDS = {
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
}


def write_keys(folder, name, private, password=None):
    secret, public = folder / f"{name}.pem", folder / f"{name}.pub"
    secret.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, password or NoEncryption()))
    public.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return secret, public


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A store, two pairs of keys, and a publication of it that is signed by the first."""
    folder = tmp_path_factory.mktemp("signed")
    store = whole_chain(str(folder / "store"), folder)
    store.tag("v1")
    (folder / "v1" / "parquet").mkdir(parents=True)
    files = [folder / "v1" / "expr-mlp.txt", folder / "v1" / "parquet" / "expr-mlp.parquet"]
    for path in files:
        path.write_text(f"what {path.name} says", encoding="utf-8")
    write_note(folder / "v1", [(path, "expr-mlp") for path in files], store.snapshot, "v1")
    for name, generate in KINDS.items():
        write_keys(folder, name, generate())
    assert call(["sign", str(folder / "v1"), "--key", str(folder / "ed25519.pem"), "--store", store.url]) == 0
    return folder


@pytest.fixture
def copied(place, tmp_path):
    """The publication somewhere else, without its store, for a test to change."""
    shutil.copytree(place / "v1", tmp_path / "elsewhere")
    return tmp_path / "elsewhere"


def envelope_of(folder):
    return json.loads((folder / "publication.dsse.json").read_text(encoding="utf-8"))


def test_a_publication_is_checked_where_its_store_is_not(place, copied, capsys):
    assert call(["signature", str(copied), "--key", str(place / "ed25519.pub")]) == 0
    assert "3 files are as they were signed; they hold expr-mlp" in capsys.readouterr().out
    (copied / "read me.txt").write_text("more", encoding="ascii")
    assert call(["signature", str(copied), "--key", str(place / "ed25519.pub"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["unsigned"] == ["read me.txt"]


def test_the_statement_names_files_content_heads_and_weights_and_no_video(place):
    store = FeatureStore(str(place / "store"), "v1")
    payload = base64.b64decode(envelope_of(place / "v1")["payload"])
    statement = json.loads(payload)
    subjects = {one["name"]: one["digest"]["sha256"] for one in statement["subject"]}
    assert subjects["expr-mlp.txt"] == digest_file(place / "v1" / "expr-mlp.txt")
    assert subjects[f"affstore:snapshot:{store.snapshot}"] == content_digest(store)
    (experiment,) = statement["predicate"]["experiments"]
    head = store.get(Address("head", "expr-mlp"))
    assert experiment["heads"] == [{"name": "expr-mlp", "key": head.key, "sha256": head.digest}]
    assert NETWORK_WEIGHTS in {one["sha256"] for one in experiment["weights"]}
    assert experiment["predictions"]["count"] == 2
    assert b"videos/" not in payload


@pytest.mark.parametrize("kind", KINDS)
def test_stock_tools_verify_the_same_envelope(place, copied, kind):
    dsse = pytest.importorskip("securesystemslib.dsse", reason="needs securesystemslib")
    statement = pytest.importorskip("in_toto_attestation.v1.statement", reason="needs in-toto-attestation")
    from google.protobuf import json_format
    from securesystemslib.exceptions import VerificationError
    from securesystemslib.signer import SSlibKey

    assert call(["sign", str(copied), "--key", str(place / f"{kind}.pem"), "--store", str(place / "store")]) == 0
    public = SSlibKey.from_crypto(load_pem_public_key((place / f"{kind}.pub").read_bytes()))
    envelope = dsse.Envelope.from_dict(envelope_of(copied))
    assert list(envelope.verify([public], 1)) == [public.keyid]
    found = json_format.Parse(envelope.payload, statement.Statement([], "", {}).pb)
    statement.Statement.copy_from_pb(found).validate()
    envelope.payload += b" "
    with pytest.raises(VerificationError):
        envelope.verify([public], 1)


def altered_statement(folder):
    envelope = envelope_of(folder)
    envelope["payload"] = base64.b64encode(base64.b64decode(envelope["payload"]).replace(b"v1", b"v2")).decode()
    (folder / "publication.dsse.json").write_text(json.dumps(envelope), encoding="ascii")


def altered_signature(folder):
    envelope = envelope_of(folder)
    sig = bytearray(base64.b64decode(envelope["signatures"][0]["sig"]))
    sig[5] ^= 1
    envelope["signatures"][0]["sig"] = base64.b64encode(sig).decode()
    (folder / "publication.dsse.json").write_text(json.dumps(envelope), encoding="ascii")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (altered_statement, "does not fit what it says"),
        (altered_signature, "does not fit what it says"),
        (lambda folder: (folder / "expr-mlp.txt").write_text("forged", encoding="ascii"), "other bytes"),
        (lambda folder: (folder / "publication.json").write_text("{}", encoding="ascii"), "other bytes"),
        (lambda folder: (folder / "expr-mlp.txt").unlink(), "is not there any more"),
        (lambda folder: (folder / "publication.dsse.json").unlink(), "nobody signed the publication"),
        (lambda folder: (folder / "publication.dsse.json").write_text("[]", encoding="ascii"), "no DSSE envelope"),
    ],
)
def test_whatever_was_changed_after_signing_is_one_sentence(place, copied, capsys, change, said):
    change(copied)
    assert call(["signature", str(copied), "--key", str(place / "ed25519.pub")]) == 7
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_key_that_did_not_sign_is_one_sentence(place, copied, capsys):
    assert call(["signature", str(copied), "--key", str(place / "p256.pub")]) == 7
    assert "is not signed by the key in" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["sign", "signature"])
def test_a_key_of_another_kind_is_one_sentence(place, copied, capsys, command, tmp_path):
    write_keys(tmp_path, "rsa", rsa.generate_private_key(65537, 2048))
    write_keys(tmp_path, "p384", ec.generate_private_key(ec.SECP384R1()))
    write_keys(tmp_path, "locked", KINDS["ed25519"](), BestAvailableEncryption(b"secret"))
    (tmp_path / "none.pem").write_text("no key", encoding="ascii")
    end = {"sign": "pem", "signature": "pub"}[command]
    wrong = [tmp_path / f"rsa.{end}", tmp_path / f"p384.{end}", tmp_path / "none.pem", tmp_path / "missing.pem"]
    wrong += [tmp_path / "locked.pem"] if command == "sign" else [place / "ed25519.pem"]
    more = ["--store", str(place / "store")] if command == "sign" else []
    for key in wrong:
        assert call([command, str(copied), "--key", str(key), *more]) == 2, key
        error = capsys.readouterr().err
        assert str(key) in error
        assert error.count("\n") == 1


def test_what_cannot_be_signed_is_one_sentence(place, copied, capsys, tmp_path):
    other = whole_chain(str(tmp_path / "other"), tmp_path)
    sign = ["sign", str(copied), "--key", str(place / "ed25519.pem"), "--store"]
    assert call([*sign, other.url]) == 4
    assert "published from another store, or the snapshot has expired" in capsys.readouterr().err
    (copied / "expr-mlp.txt").write_text("changed before it was signed", encoding="ascii")
    assert call([*sign, str(place / "store")]) == 7
    assert "other bytes" in capsys.readouterr().err
    (copied / "publication.json").unlink()
    assert call([*sign, str(place / "store")]) == 2
    assert "is no publication" in capsys.readouterr().err


def rewritten(folder, change):
    """The envelope after a change of it."""
    envelope = envelope_of(folder)
    change(envelope)
    (folder / "publication.dsse.json").write_text(json.dumps(envelope), encoding="ascii")


@pytest.mark.parametrize(
    "change",
    [
        lambda envelope: envelope["signatures"][0].pop("keyid"),
        lambda envelope: envelope["signatures"][0].update(keyid=""),
        lambda envelope: envelope["signatures"][0].update(keyid="another way to number keys"),
        lambda envelope: envelope["signatures"].insert(0, {"sig": base64.b64encode(b"of somebody else").decode()}),
        lambda envelope: envelope["signatures"].append({"keyid": "0" * 64, "sig": "", "certificate": "ignored"}),
        lambda envelope: envelope.update(payload=envelope["payload"].translate(str.maketrans("+/", "-_"))),
        lambda envelope: envelope["signatures"][0].update(
            sig=envelope["signatures"][0]["sig"].translate(str.maketrans("+/", "-_"))
        ),
        lambda envelope: envelope.update(comment="a field that the specification does not know"),
    ],
)
def test_whatever_form_the_specification_allows_is_an_envelope(place, copied, change):
    # https://github.com/secure-systems-lab/dsse/blob/master/envelope.md
    rewritten(copied, change)
    assert call(["signature", str(copied), "--key", str(place / "ed25519.pub")]) == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda envelope: envelope.pop("payloadType"), "is no DSSE envelope: it has no 'payloadType'"),
        (lambda envelope: envelope.update(payloadType="text/plain"), "holds 'text/plain', not an in-toto statement"),
        (lambda envelope: envelope["signatures"][0].pop("sig"), "is no DSSE envelope: it has no 'sig'"),
        (lambda envelope: envelope.update(signatures=[]), "but by nobody"),
        (lambda envelope: envelope.update(signatures=["text"]), "is no DSSE envelope"),
        (lambda envelope: envelope.update(payload=7), "is no DSSE envelope"),
        (
            lambda envelope: envelope.update(signatures=[{"sig": base64.b64encode(b"x" * 64).decode()}]),
            "but by a key without an id",
        ),
    ],
)
def test_what_is_no_envelope_of_this_signer_is_one_sentence(place, copied, capsys, change, said):
    rewritten(copied, change)
    assert call(["signature", str(copied), "--key", str(place / "ed25519.pub")]) == 7
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_each_of_several_signers_is_found_by_a_key_that_stands_second(place, copied):
    assert call(["sign", str(copied), "--key", str(place / "p256.pem"), "--store", str(place / "store")]) == 0
    second = envelope_of(copied)["signatures"]
    assert call(["sign", str(copied), "--key", str(place / "ed25519.pem"), "--store", str(place / "store")]) == 0
    rewritten(copied, lambda envelope: envelope["signatures"].extend(second))
    for name in KINDS:
        assert call(["signature", str(copied), "--key", str(place / f"{name}.pub")]) == 0


def test_a_dry_run_signs_nothing(place, copied, capsys):
    (copied / "publication.dsse.json").unlink()
    words = ["sign", str(copied), "--key", str(place / "ed25519.pem"), "--store", str(place / "store"), "--dry-run"]
    assert call(words) == 0
    assert "4 digests would be signed" in capsys.readouterr().out
    assert not (copied / "publication.dsse.json").exists()
