"""Publications are signed in open formats, and whatever was changed afterwards is found, by us and by stock tools."""

from __future__ import annotations

import base64
import json
import re
import shutil

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
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
from affstore.store.engine.exporters.base import export
from affstore.tasks.analysis.frame_table import AnalysisNetworks, frame_table
from affstore.tasks.lineage.publication import write_note
from tests.lineage_store import FACE_WEIGHTS, NETWORK_WEIGHTS, whole_chain
from tests.test_trace import challenge_file

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
    export(store, store.records("prediction"), folder / "v1" / "parquet", "parquet")
    files = [folder / "v1" / "expr-mlp.txt", folder / "v1" / "parquet" / "prediction" / "expr-mlp.parquet"]
    challenge_file(store, files[0])
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
    other, kind = {"sign": ("pub", "a public key"), "signature": ("pem", "a private key")}[command]
    wrong = {
        tmp_path / f"rsa.{end}": "of another kind",
        tmp_path / f"p384.{end}": "of another kind",
        tmp_path / "none.pem": "it is none in PEM",
        tmp_path / "missing.pem": "There is no key file",
        tmp_path: "is a folder",
        place / f"ed25519.{other}": f"holds {kind}",
        tmp_path / "locked.pem": "locked by a password" if command == "sign" else kind,
    }
    more = ["--store", str(place / "store")] if command == "sign" else []
    for key, said in wrong.items():
        assert call([command, str(copied), "--key", str(key), *more]) == 2, key
        error = capsys.readouterr().err
        assert str(key) in error
        assert said in error
        assert error.count("\n") == 1
    assert call([command, str(copied), "--key", "", *more]) == 2
    assert "is a folder" in capsys.readouterr().err


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
        (lambda envelope: envelope.update(payload=7), "is JSON with a payload and signatures in base64"),
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


def test_who_signs_what_others_signed_adds_to_their_signatures_and_who_signs_anew_says_so(place, copied, capsys):
    sign = ["sign", str(copied), "--store", str(place / "store"), "--key"]
    for name in ("p256", "ed25519", "p256"):
        assert call([*sign, str(place / f"{name}.pem")]) == 0
        assert "beside 1 signature by others" in capsys.readouterr().out
    assert len(envelope_of(copied)["signatures"]) == 2
    for name in KINDS:
        assert call(["signature", str(copied), "--key", str(place / f"{name}.pub")]) == 0
    note = copied / "publication.json"
    note.write_text(f"{note.read_text(encoding='utf-8')}\n", encoding="utf-8")
    capsys.readouterr()
    assert call([*sign, str(place / "p256.pem")]) == 0
    assert "What was signed there before was something else; it is replaced" in capsys.readouterr().out
    assert call(["signature", str(copied), "--key", str(place / "ed25519.pub")]) == 7


def noted_anew(folder, **facts):
    """Write in the note that files have the bytes that they have, and other facts."""
    note = json.loads((folder / "publication.json").read_text(encoding="utf-8"))
    for name, one in note.items():
        one.update({"sha256": digest_file(folder / name), **facts})
    (folder / "publication.json").write_text(json.dumps(note), encoding="utf-8")


def other_labels(folder):
    lines = (folder / "expr-mlp.txt").read_text(encoding="utf-8").splitlines()
    lines[9] = f"{lines[9].rpartition(',')[0]},4"
    (folder / "expr-mlp.txt").write_text("\n".join(lines), encoding="utf-8")


def other_classes(folder):
    path = folder / "expr-mlp.txt"
    path.write_text(path.read_text(encoding="utf-8").replace("Anger,Disgust", "Disgust,Anger"), encoding="utf-8")


def other_numbers(folder):
    path = folder / "parquet" / "prediction" / "expr-mlp.parquet"
    table = pq.read_table(path)
    column = pa.array([0.5, *table["raw_Anger"].to_pylist()[1:]], pa.float32())
    pq.write_table(table.set_column(table.column_names.index("raw_Anger"), "raw_Anger", column), path)


def fewer_rows(folder):
    path = folder / "parquet" / "prediction" / "expr-mlp.parquet"
    pq.write_table(pq.read_table(path).slice(0, 50), path)


@pytest.mark.parametrize(
    ("change", "facts", "said"),
    [
        (other_labels, {}, r"Line 10 of .* is 'a/00009.jpg,4'; the store says otherwise in prediction/expr-mlp/a/main"),
        (other_classes, {}, "first line of .* should name Neutral, Anger"),
        (other_numbers, {}, "column 'raw_Anger' of .* differs from the store's in its rows 1 to 40"),
        (fewer_rows, {}, "lacks rows that the store has"),
        (lambda folder: None, {"producer": "nonsense"}, "as of 'nonsense', which has no predictions in the snapshot"),
        (lambda folder: None, {"tag": "nosuchtag"}, "tag 'nosuchtag' is of the snapshot .* none of that name"),
        (lambda folder: None, {"snapshot": "earlier"}, "says that the tag 'v1' is of the snapshot"),
        (
            lambda folder: None,
            {"snapshot": "earlier", "tag": ""},
            "'expr-mlp', which has no predictions in the snapshot",
        ),
    ],
)
def test_nothing_is_signed_that_the_store_contradicts(place, copied, capsys, change, facts, said):
    if "snapshot" in facts:
        facts = facts | {"snapshot": FeatureStore(str(place / "store")).history()[1].id}
    before = envelope_of(copied)
    change(copied)
    noted_anew(copied, **facts)
    assert call(["sign", str(copied), "--key", str(place / "p256.pem"), "--store", str(place / "store")]) == 7
    error = capsys.readouterr().err
    assert re.search(said, error)
    assert error.count("\n") == 1
    assert envelope_of(copied) == before


@pytest.mark.parametrize("command", ["sign", "signature"])
def test_a_folder_that_is_not_there_is_said_so(place, capsys, command):
    more = ["--store", str(place / "store")] if command == "sign" else []
    end = {"sign": "pem", "signature": "pub"}[command]
    assert call([command, "nosuch", "--key", str(place / f"ed25519.{end}"), *more]) == 4
    assert "'nosuch' does not exist" in capsys.readouterr().err


def test_a_table_of_an_analysis_is_signed_with_its_networks_and_what_is_not_covered_is_named(tmp_path, place, capsys):
    store = FeatureStore(str(place / "store"))
    networks = AnalysisNetworks("toy", labels=True)
    table = frame_table(store, "a", networks)
    files = [tmp_path / "videos" / "a.csv", tmp_path / "videos" / "a.parquet"]
    files[0].parent.mkdir()
    pyarrow.csv.write_csv(table, files[0])
    pq.write_table(table, files[1])
    (tmp_path / "index.html").write_text("a page", encoding="ascii")
    write_note(tmp_path, [(path, "visual/toy") for path in files], store.snapshot)
    sign = ["sign", str(tmp_path), "--key", str(place / "ed25519.pem"), "--store", store.url]
    assert call([*sign, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["unsigned"] == ["index.html"]
    (one,) = told["statement"]["predicate"]["experiments"]
    assert {weights["sha256"] for weights in one["weights"]} == {FACE_WEIGHTS, NETWORK_WEIGHTS}
    assert one["artifacts"]["count"] == 4
    assert call(sign) == 0
    assert "'index.html' is not covered" in capsys.readouterr().out
    files[0].write_text(files[0].read_text(encoding="utf-8").replace("true", "false"), encoding="utf-8")
    noted_anew(tmp_path)
    assert call(sign) == 7
    assert "The column 'present' of" in capsys.readouterr().err


def test_a_dry_run_signs_nothing(place, copied, capsys):
    (copied / "publication.dsse.json").unlink()
    words = ["sign", str(copied), "--key", str(place / "ed25519.pem"), "--store", str(place / "store"), "--dry-run"]
    assert call(words) == 0
    assert "4 digests would be signed" in capsys.readouterr().out
    assert not (copied / "publication.dsse.json").exists()
