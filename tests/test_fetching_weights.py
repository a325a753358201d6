"""Fetching weights from a real HTTP server on this machine, and whose licence has to be accepted first."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import http.server
import ipaddress
import json
import resource
import shutil
import ssl
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from affstore.flows.cli import call
from affstore.models.extractor_specs import WeightsRef
from affstore.models.extractors import registry
from affstore.models.extractors.face.emotieffnet import B0 as EFFICIENTNET_B0
from affstore.models.extractors.registry import entries, entry_of
from affstore.models.extractors.untrained import resolve_weights
from affstore.models.weights import architectures, folder
from affstore.models.weights import download as downloading
from affstore.models.weights.digests import FileDigests, Trust, digests_of
from affstore.models.weights.download import download
from affstore.models.weights.entry import WeightsEntry
from affstore.models.weights.folder import WeightsFolder
from affstore.models.weights.licences import accept, accepted, needs_acceptance
from affstore.models.weights.parameters import digest_parameters
from affstore.models.weights.untrained import UntrainedRecipe, draw
from affstore.store.contract.errors import WeightsDigestError, WeightsError, WeightsMissingError

NAME = "enet_b0_8_best_vgaf"
BYTES = bytes(range(256)) * 4000


@pytest.fixture(scope="module")
def parameters() -> dict[str, torch.Tensor]:
    return draw(architectures.layout(EFFICIENTNET_B0, 8), seed=3)


@pytest.fixture(scope="module")
def published(tmp_path_factory, parameters) -> Path:
    path = tmp_path_factory.mktemp("published") / entry_of(NAME).file
    torch.save(parameters, path)
    return path


@pytest.fixture
def kept(tmp_path) -> WeightsFolder:
    return WeightsFolder(tmp_path / "weights")


def blob_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def entry_for(path: Path, url: str = "", **changes) -> WeightsEntry:
    return dataclasses.replace(entry_of(NAME), git_blob_sha1=blob_id(path.read_bytes()), url=url, **changes)


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass
class Server:
    """A server of one file.

    Attributes:
        data: what `/file.pt` is; `versions` replace it request by request.
        breaks: how many answers end after a third of what is missing.
        ranges: whether it answers to ranges.
        tag: its ETag, or none.
        length: what it says of the length: the truth, nothing, or this.
        more: what it sends behind the file.
        codes: answers before the file is sent.
        leads_to: an address it redirects to.
    """

    data: bytes
    versions: list[tuple[str, bytes]] = field(default_factory=list)
    breaks: int = 0
    ranges: bool = True
    tag: str = ""
    length: int | None = -1
    more: bytes = b""
    codes: list[int] = field(default_factory=list)
    leads_to: str = ""
    range_from: int | None = None
    certificate: Path | None = None
    requests: list[tuple[str | None, str | None]] = field(default_factory=list)

    def answer(self, to: http.server.BaseHTTPRequestHandler) -> None:
        wanted, condition = to.headers["Range"], to.headers["If-Range"]
        self.requests.append((wanted, condition))
        if self.versions:
            self.tag, self.data = self.versions.pop(0)
        if self.leads_to:
            to.send_response(302)
            to.send_header("Location", self.leads_to)
            to.end_headers()
            return
        if self.codes:
            to.send_error(self.codes.pop(0))
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.ranges else 0
        start = 0 if condition and condition != self.tag else start
        if to.path != "/file.pt":
            to.send_error(404)
        elif start >= len(self.data):
            to.send_response(416)
            to.send_header("Content-Range", f"bytes */{len(self.data)}")
            to.end_headers()
        else:
            self.send(to, start)

    def send(self, to: http.server.BaseHTTPRequestHandler, start: int) -> None:
        rest = self.data[start:]
        to.send_response(206 if start else 200)
        if start:
            said = start if self.range_from is None else self.range_from
            to.send_header("Content-Range", f"bytes {said}-{len(self.data) - 1}/{len(self.data)}")
        if self.length is not None:
            to.send_header("Content-Length", str(len(rest) if self.length < 0 else self.length))
        if self.tag:
            to.send_header("ETag", self.tag)
        to.end_headers()
        whole = len(self.data) // 3 if self.ranges else len(self.data) * len(self.requests) // 4
        to.wfile.write(rest[:whole] if len(self.requests) <= self.breaks else rest + self.more)

    def __enter__(self) -> Server:
        served = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                served.answer(self)

            def log_message(self, *_) -> None:
                """Quiet."""

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        scheme = "http"
        if self.certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate)
            self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
            scheme = "https"
        self.url = f"{scheme}://127.0.0.1:{self.http.server_port}/file.pt"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    """A certificate of this machine's own, for a server that speaks https."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = tmp_path_factory.mktemp("certificate") / "both.pem"
    path.write_bytes(private + made.public_bytes(pem))
    return path


# --- downloads ----------------------------------------------------------------------------------------------------


def test_a_broken_download_goes_on_where_it_stopped(kept, published, parameters):
    data, seen = published.read_bytes(), []
    with Server(data, breaks=2) as server:
        status = kept.pull(entry_for(published, server.url), on_progress=lambda done, total: seen.append((done, total)))
        assert kept.pull(entry_for(published, server.url)) == status
    third = len(data) // 3
    assert server.requests == [(None, None), (f"bytes={third}-", None), (f"bytes={2 * third}-", None)]
    assert seen[-1] == (len(data), len(data))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert (status.record.official, status.record.sha256) == (True, digest_parameters(parameters))
    assert status.record.file_sha256 == sha256_of(published)
    assert not list((kept.root / "downloads").glob("[!.]*"))


@pytest.mark.parametrize("length", [-1, None])
@pytest.mark.parametrize("already", [0, 1, 1000, len(BYTES) - 1])
def test_the_digests_are_those_of_the_whole_file_however_it_came(tmp_path, already, length):
    part = tmp_path / "part"
    part.write_bytes(BYTES[:already])
    with Server(BYTES, length=length) as server:
        found = download(server.url, part)
    assert found == FileDigests(blob_id(BYTES), hashlib.sha256(BYTES).hexdigest()) == digests_of(part)
    assert part.read_bytes() == BYTES


def test_the_file_is_not_read_again_for_its_digests(tmp_path, monkeypatch):
    monkeypatch.setattr(downloading, "digests_of", lambda path: pytest.fail("read again"))
    with Server(BYTES, breaks=2) as server:
        assert download(server.url, tmp_path / "part").git_blob_sha1 == blob_id(BYTES)


def test_a_server_without_ranges_sends_everything_again(tmp_path):
    with Server(BYTES, breaks=2, ranges=False) as server:
        assert download(server.url, tmp_path / "part").git_blob_sha1 == blob_id(BYTES)
    assert (tmp_path / "part").read_bytes() == BYTES
    assert len(server.requests) == 3


def test_a_file_that_changes_between_two_attempts_is_fetched_anew(tmp_path):
    other = BYTES[::-1]
    with Server(BYTES, versions=[('"one"', BYTES), ('"two"', other)], breaks=1) as server:
        assert download(server.url, tmp_path / "part").git_blob_sha1 == blob_id(other)
    assert server.requests == [(None, None), (f"bytes={len(BYTES) // 3}-", '"one"')]
    assert (tmp_path / "part").read_bytes() == other
    assert [path.name for path in tmp_path.iterdir()] == ["part"]


def test_a_file_that_stays_the_same_goes_on_under_its_tag(tmp_path):
    with Server(BYTES, tag='"one"', breaks=1) as server:
        assert download(server.url, tmp_path / "part").git_blob_sha1 == blob_id(BYTES)
    assert server.requests[1:] == [(f"bytes={len(BYTES) // 3}-", '"one"')]


def test_a_weak_tag_says_nothing_about_bytes(tmp_path):
    with Server(BYTES, tag='W/"one"', breaks=1) as server:
        download(server.url, tmp_path / "part")
    assert server.requests[1:] == [(f"bytes={len(BYTES) // 3}-", None)]


def test_a_file_that_changes_unnoticed_is_known_by_its_digest_and_not_kept(kept, published):
    data = published.read_bytes()
    with Server(data, versions=[("", data[::-1]), ("", data)], breaks=1) as server:
        with pytest.raises(WeightsDigestError, match="is not the published file"):
            kept.pull(entry_for(published, server.url))
        assert not list((kept.root / "downloads").glob("[!.]*"))
        assert kept.pull(entry_for(published, server.url)).record.official


def test_a_server_that_sends_more_than_it_promised_is_not_listened_to(tmp_path):
    with Server(BYTES, more=b"touch canary") as server:
        assert download(server.url, tmp_path / "part").git_blob_sha1 == blob_id(BYTES)


def test_a_server_that_never_ends_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(downloading, "_MOST_BYTES", 600_000)
    with Server(BYTES, length=None) as server, pytest.raises(WeightsError, match="sends more than 600000 bytes"):
        download(server.url, tmp_path / "part")
    with Server(BYTES) as server, pytest.raises(WeightsError, match=f"claims {len(BYTES)} bytes"):
        download(server.url, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_part_of_the_file_that_was_not_asked_for_is_not_put_behind_the_part(tmp_path):
    part = tmp_path / "part"
    part.write_bytes(BYTES[:1000])
    with Server(BYTES, range_from=7) as server:
        assert download(server.url, part).git_blob_sha1 == blob_id(BYTES)
    assert [wanted for wanted, _ in server.requests] == ["bytes=1000-", None]


def test_a_part_left_by_an_earlier_process_is_gone_on_from(kept, published):
    part = kept.root / "downloads" / f"{NAME}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(published.read_bytes()[:1000])
    with Server(published.read_bytes()) as server:
        assert kept.pull(entry_for(published, server.url)).record.official
    assert server.requests == [("bytes=1000-", None)]


def test_a_download_that_was_ended_after_its_last_byte_is_not_fetched_again(kept, published):
    part = kept.root / "downloads" / f"{NAME}.part"
    part.parent.mkdir(parents=True)
    shutil.copy(published, part)
    with Server(published.read_bytes()) as server:
        assert kept.pull(entry_for(published, server.url)).record.official
    assert len(server.requests) == 1


def test_a_part_longer_than_the_file_is_thrown_away(tmp_path):
    (tmp_path / "part").write_bytes(bytes(100))
    with Server(b"abc") as server:
        download(server.url, tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == b"abc"
    assert [wanted for wanted, _ in server.requests] == ["bytes=100-", None]


def test_another_file_than_the_published_one_is_never_converted(kept, published, monkeypatch):
    monkeypatch.setattr("affstore.models.weights.convert.read_published", lambda *_: pytest.fail("was read"))
    with Server(published.read_bytes()[:-1] + b"x") as server, pytest.raises(WeightsDigestError, match=NAME):
        kept.pull(entry_for(published, server.url))
    assert not kept.status(NAME).present
    assert not list((kept.root / "downloads").glob("[!.]*"))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (401, "wants a login"),
        (403, "It refuses"),
        (404, "no longer there"),
        (429, "try again later"),
        (500, "Internal Server Error"),
        (503, "overloaded; try again later"),
    ],
)
def test_a_server_that_does_not_give_it_is_answered_in_one_sentence(kept, published, code, said):
    with Server(published.read_bytes(), codes=[code]) as server:
        with pytest.raises(WeightsError, match=rf"answers {code}\. .*{said}.*weights import NAME FILE") as caught:
            kept.pull(entry_for(published, server.url))
        assert server.url in str(caught.value)
        assert kept.pull(entry_for(published, server.url)).present


def test_without_network_the_address_the_mirror_and_import_are_named(kept, published):
    with Server(b"abc") as server:
        url = server.url
    for gone in (url, "https://nowhere.invalid/file.pt"):
        with pytest.raises(WeightsError, match=r"cannot be reached") as caught:
            kept.pull(entry_for(published, gone))
        for said in (gone, "--mirror FOLDER", "AFFSTORE_MIRROR", "affstore weights import NAME FILE"):
            assert said in str(caught.value)


def test_a_connection_that_brings_nothing_more_is_left(tmp_path):
    with (
        Server(BYTES, ranges=False, length=2 * len(BYTES)) as server,
        pytest.raises(WeightsError, match=f"broke after {len(BYTES)} bytes .* goes on"),
    ):
        download(server.url, tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == BYTES
    assert len(server.requests) == 2


def test_a_redirect_is_followed(tmp_path):
    with Server(BYTES) as server, Server(b"", leads_to=server.url) as first:
        assert download(first.url, tmp_path / "part").git_blob_sha1 == blob_id(BYTES)


def test_a_redirect_never_leaves_https(tmp_path, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with Server(BYTES) as plain, Server(BYTES, certificate=certificate) as server:
        assert download(server.url, tmp_path / "part").git_blob_sha1 == blob_id(BYTES)
        for target, refusal in (
            (plain.url, "not https"),
            ("ftp://127.0.0.1/file.pt", "not https"),
            ("file:///etc/passwd", "not allowed"),
        ):
            server.leads_to = target
            with pytest.raises(WeightsError, match=refusal):
                download(server.url, tmp_path / "other")
    assert plain.requests == []


def test_a_server_whose_certificate_is_not_trusted_is_not_used(tmp_path, certificate):
    with (
        Server(BYTES, certificate=certificate) as server,
        pytest.raises(WeightsError, match=r"cannot be reached .*CERTIFICATE_VERIFY_FAILED"),
    ):
        download(server.url, tmp_path / "part")
    assert server.requests == []


def _no_room(limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


def _run(code: str, *arguments: object, limit: int) -> subprocess.CompletedProcess[str]:
    """Run a program for which no file can grow beyond `limit` bytes, as on a full disk."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        preexec_fn=lambda: _no_room(limit),
    )


def test_a_full_disk_is_named_and_the_download_goes_on_when_there_is_room(tmp_path):
    code = (
        "import sys, pathlib; from affstore.models.weights.download import download; download(sys.argv[1], "
        "pathlib.Path(sys.argv[2]))"
    )
    with Server(BYTES) as server:
        done = _run(code, server.url, tmp_path / "part", limit=500_000)
        assert "WeightsError" in done.stderr
        assert "cannot be written (File too large). Make room" in done.stderr
        assert (tmp_path / "part").read_bytes() == BYTES[:500_000]
        assert download(server.url, tmp_path / "part").git_blob_sha1 == blob_id(BYTES)
    assert [wanted for wanted, _ in server.requests] == [None, "bytes=500000-"]


def test_a_disk_that_is_full_when_parameters_are_kept_is_named(tmp_path):
    code = (
        "import sys, pathlib, torch; from affstore.models.weights.parameters import write_parameters; "
        "write_parameters(pathlib.Path(sys.argv[1]), {'a': torch.ones(1_000_000)})"
    )
    done = _run(code, tmp_path / "parameters" / "a", limit=1_000_000)
    assert "WeightsError" in done.stderr
    assert "cannot be written" in done.stderr
    assert not list((tmp_path / "parameters").iterdir())


# --- mirrors ------------------------------------------------------------------------------------------------------


def test_a_mirror_folder_takes_the_place_of_the_network(kept, published, tmp_path):
    with pytest.raises(WeightsMissingError, match=r"no file .*enet_b0_8_best_vgaf\.pt"):
        kept.pull(entry_for(published, "http://127.0.0.1:9/none"), mirror=tmp_path)
    status = kept.pull(entry_for(published, "http://127.0.0.1:9/none"), mirror=published.parent)
    assert (status.record.official, status.record.source) == (True, str(published))


def test_files_of_one_name_lie_in_a_mirror_under_their_entries(kept, published, tmp_path):
    (tmp_path / NAME).mkdir()
    shutil.copy(published, tmp_path / NAME / "model.safetensors")
    (tmp_path / "model.safetensors").write_bytes(b"another entry's")
    entry = entry_for(published, "http://127.0.0.1:9/none", file="model.safetensors")
    assert kept.pull(entry, mirror=tmp_path).record.official


def test_another_file_in_a_mirror_is_not_taken(kept, published, tmp_path):
    (tmp_path / published.name).write_bytes(published.read_bytes()[:-1])
    with pytest.raises(WeightsDigestError, match="is not the published file"):
        kept.pull(entry_for(published, "http://127.0.0.1:9/none"), mirror=tmp_path)


# --- digests that nobody published ----------------------------------------------------------------------------------


def test_a_file_without_published_digest_is_not_even_fetched(kept, published):
    with Server(published.read_bytes()) as server:
        entry = dataclasses.replace(entry_of(NAME), git_blob_sha1="", url=server.url)
        with pytest.raises(WeightsDigestError, match=r"cannot be verified.*--sha256 DIGEST.*--any-digest"):
            kept.pull(entry)
        assert server.requests == []
        record = kept.pull(entry, trust=Trust(any_digest=True)).record
        assert (record.official, record.file_sha256) == (False, sha256_of(published))


def test_a_digest_of_the_users_own_is_held_to(kept, published):
    with Server(published.read_bytes()) as server:
        entry = dataclasses.replace(entry_of(NAME), git_blob_sha1="", url=server.url)
        with pytest.raises(WeightsDigestError, match="as you asked for"):
            kept.pull(entry, trust=Trust(sha256="0" * 64))
        assert not kept.status(NAME).present
        trust = Trust(sha256=sha256_of(published))
        assert not kept.pull(entry, trust=trust).record.official
        assert kept.pull(entry, trust=trust).present
    assert len(server.requests) == 2


# --- licences -------------------------------------------------------------------------------------------------------

LIMITED = "wav2vec2_large_msp_dim"


@pytest.fixture
def limited(monkeypatch, published, tmp_path) -> WeightsEntry:
    """The first entry under a licence that limits its use, in the registry's place."""
    entry = entry_for(published, "http://127.0.0.1:9/none", licence="CC-BY-NC-SA-4.0")
    monkeypatch.setattr(registry, "entry_of", lambda name: entry)
    monkeypatch.setenv("AFFSTORE_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.delenv("AFFSTORE_MIRROR", raising=False)
    return entry


def test_licences_that_limit_the_use_have_to_be_accepted_and_free_ones_have_not():
    found = {name for name, entry in entries().items() if needs_acceptance(entry)}
    assert LIMITED in found
    assert NAME not in found
    for licence in ("CC-BY-NC-SA-4.0", "CC-BY-NC-4.0", "OpenRAIL", "none stated", "LicenseRef-own", ""):
        assert needs_acceptance(dataclasses.replace(entry_of(NAME), licence=licence))


def test_nothing_is_fetched_imported_or_used_before_its_licence_is_accepted(kept, limited, published):
    for act in (
        lambda: kept.pull(limited),
        lambda: kept.pull(limited, mirror=published.parent),
        lambda: kept.import_file(registry.entry_of(NAME), published),
        lambda: resolve_weights(kept, WeightsRef(NAME)),
        lambda: resolve_weights(kept, WeightsRef(NAME, "0" * 64)),
    ):
        with pytest.raises(WeightsError, match=rf"CC-BY-NC-SA-4\.0.*`affstore weights pull {NAME} --accept-licence`"):
            act()
    assert not kept.root.exists()
    accept(kept.root, limited)
    kept.import_file(registry.entry_of(NAME), published)
    assert resolve_weights(kept, WeightsRef(NAME)).trained


def test_untrained_parameters_need_no_licence(kept, limited):
    recipe = UntrainedRecipe(registry.spec_of("emotieffnet_b0"), 0)
    found = kept.resolve_untrained(WeightsRef(NAME), recipe, lambda: {"a": torch.ones(2)})
    assert not found.trained


def test_another_licence_or_address_has_to_be_accepted_again(kept, limited):
    accept(kept.root, limited)
    assert accepted(kept.root, limited)
    assert not accepted(kept.root, dataclasses.replace(limited, licence="CC-BY-NC-ND-4.0"))
    assert not accepted(kept.root, dataclasses.replace(limited, url="https://elsewhere.example/file.pt"))
    assert json.loads((kept.root / "licences" / f"{NAME}.json").read_text()) == {
        "name": NAME,
        "licence": "CC-BY-NC-SA-4.0",
        "source": limited.url,
    }
    (kept.root / "licences" / f"{NAME}.json").write_text("{")
    with pytest.raises(WeightsError, match="accept the licence again"):
        accepted(kept.root, limited)


def said(capsys, *arguments: object, code: int = 0) -> str:
    assert call(["weights", *map(str, arguments)]) == code
    captured = capsys.readouterr()
    return captured.out if code == 0 else captured.err


def test_the_option_accepts_once_and_every_pull_shows_the_licence(limited, published, capsys):
    assert "--accept-licence" in said(capsys, "pull", NAME, "--mirror", published.parent, code=5)
    shown = said(capsys, "pull", NAME, "--mirror", published.parent, "--accept-licence")
    assert "(published), licence CC-BY-NC-SA-4.0" in shown
    assert "licence CC-BY-NC-SA-4.0" in said(capsys, "import", NAME, published)


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("yes", 0), ("", 5), ("n", 5), ("what", 5)])
def test_at_a_terminal_a_person_is_asked(limited, published, monkeypatch, capsys, answer, code):
    class Terminal:
        def isatty(self) -> bool:
            return True

        def readline(self) -> str:
            return f"{answer}\n"

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    call(["weights", "import", NAME, str(published)])
    captured = capsys.readouterr()
    assert "licensed CC-BY-NC-SA-4.0" in captured.err
    assert "Do you accept that? [y/N]" in captured.err
    assert ("was not accepted" in captured.err) == (code == 5)
    assert WeightsFolder(folder.default_folder().root).status(NAME).present == (code == 0)


# --- the commands ---------------------------------------------------------------------------------------------------


@pytest.fixture
def own_folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("AFFSTORE_WEIGHTS", str(tmp_path / "own"))
    monkeypatch.delenv("AFFSTORE_MIRROR", raising=False)
    return tmp_path / "own"


def test_the_list_shows_every_licence_and_whether_it_was_accepted(own_folder, capsys):
    shown = said(capsys, "list")
    assert "CC-BY-NC-SA-4.0 (to be accepted)" in shown
    assert "not public: the authors" in shown
    accept(own_folder, entry_of(LIMITED))
    assert "CC-BY-NC-SA-4.0 (accepted)" in said(capsys, "list")
    found = {document["name"]: document for document in json.loads(said(capsys, "list", "--json"))}
    assert found.keys() == entries().keys()
    assert found[LIMITED]["licence_accepted"]
    assert not found["ddamfn_affectnet8"]["licence_accepted"]


def test_where_one_of_several_fails_the_others_go_on(own_folder, published, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AFFSTORE_MIRROR", str(published.parent))
    assert call(["weights", "pull", NAME, "enet_b2_8", "--any-digest", "--json"]) == 5
    captured = capsys.readouterr()
    first, second = json.loads(captured.out)
    assert (first["name"], first["present"], first["licence"]) == (NAME, True, "Apache-2.0")
    assert first["provenance"] == "unofficial"
    assert "enet_b2_8.pt" in second["error"]
    assert second["error"] in captured.err
    assert "(unofficial: not known to be the published file), intact" in said(capsys, "verify")
    (parameters,) = (own_folder / "parameters").iterdir()
    parameters.write_bytes(parameters.read_bytes()[:-1])
    assert "is damaged" in said(capsys, "verify", code=5)


def test_a_digest_is_of_one_file_and_a_misspelt_name_is_answered(own_folder, capsys):
    assert "Name one" in said(capsys, "pull", "--sha256", "0" * 64, code=2)
    assert f"Did you mean '{NAME}'?" in said(capsys, "pull", NAME + "f", code=2)
    assert f"Did you mean '{NAME}'?" in said(capsys, "verify", NAME + "f", code=2)
    assert "There are no weights in" in said(capsys, "verify")
    assert json.loads(said(capsys, "verify", "--json")) == []
    dry = json.loads(said(capsys, "pull", LIMITED, "--dry-run", "--json"))
    assert dry == [{"name": LIMITED, "from": entry_of(LIMITED).url, "licence": "CC-BY-NC-SA-4.0 (to be accepted)"}]
    assert not own_folder.exists()
