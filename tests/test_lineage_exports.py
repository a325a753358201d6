"""Lineage is given to other tools in their own formats, and their own tools accept it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import venv
from dataclasses import replace
from datetime import datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pyarrow.csv
import pytest
from jsonschema import Draft202012Validator, FormatChecker, ValidationError
from referencing import Registry, Resource

from affstore import FeatureStore, content_digest
from affstore.flows.cli import call
from affstore.store.contract.keys import digest_file
from affstore.store.contract.records import Address, Artifact
from affstore.tasks.analysis.frame_table import AnalysisNetworks, frame_table
from affstore.tasks.lineage.publication import write_note
from tests.factories import CODE, commit, source
from tests.lineage_store import NAMES, NETWORK, NETWORK_WEIGHTS, head, prediction, visual, whole_chain
from tests.test_analyze import FRAMES as SHORT
from tests.test_analyze import person
from tests.test_exporters import units


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A store and a publication of it."""
    folder = tmp_path_factory.mktemp("exported")
    store = whole_chain(str(folder / "store"), folder, (source("a", aliases=["secret-alias"]), source("b")))
    store.tag("v1")
    (folder / "v1").mkdir()
    header = ",".join(("image_location", *NAMES))
    (folder / "v1" / "expr-mlp.txt").write_text(f"{header}\na/00002.jpg,1\n", encoding="ascii")
    write_note(folder / "v1", [(folder / "v1" / "expr-mlp.txt", "expr-mlp")], store.snapshot, "v1")
    return folder


def events_of(place, path, *words):
    assert call(["lineage", "openlineage", str(path), *words, "--store", str(place / "store")]) == 0
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_job_starts_and_completes_with_what_it_read_and_made(place, tmp_path):
    events = events_of(place, tmp_path / "events.jsonl")
    by_job = {}
    for event in events:
        by_job.setdefault((event["job"]["name"], event["run"]["runId"]), []).append(event)
    assert {name for name, _ in by_job} == {
        *("source", "label/expr", "face/mtcnn", "visual/toy", "head/expr-mlp", "prediction/expr-mlp"),
    }
    for of in by_job.values():
        assert [event["eventType"] for event in of] == ["START", "COMPLETE"]
        assert of[0]["eventTime"] <= of[1]["eventTime"]
    (head,) = (of[1] for (name, _), of in by_job.items() if name == "head/expr-mlp")
    assert [one["name"] for one in head["inputs"]] == ["label/expr", "visual/toy"]
    (predicted,) = (of[1] for (name, _), of in by_job.items() if name == "prediction/expr-mlp")
    assert predicted["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 80
    assert events_of(place, tmp_path / "again.jsonl") == events
    assert "secret" not in (tmp_path / "events.jsonl").read_text(encoding="utf-8")
    assert {event["run"]["facets"]["affstore_run"]["runId"] for event in events_of(place, tmp_path / "r2", "r2")} == {
        "r2"
    }


def test_the_client_of_openlineage_takes_the_events(place, tmp_path):
    event_v2 = pytest.importorskip("openlineage.client.event_v2", reason="needs openlineage-python")
    for event in events_of(place, tmp_path / "events.jsonl"):
        inputs = [event_v2.InputDataset(**one) for one in event["inputs"]]
        outputs = [event_v2.OutputDataset(**one) for one in event["outputs"]]
        event_v2.RunEvent(
            eventType=event_v2.RunState(event["eventType"]),
            eventTime=event["eventTime"],
            run=event_v2.Run(**event["run"]),
            job=event_v2.Job(**event["job"]),
            producer=event["producer"],
            inputs=inputs,
            outputs=outputs,
        )


def test_a_store_is_the_same_however_it_is_spelled_and_in_a_copy_its_runs_are(place, tmp_path, monkeypatch):
    events = events_of(place, tmp_path / "events.jsonl")
    monkeypatch.chdir(place)
    (tmp_path / "linked").symlink_to(place / "store")
    for spelled in ("store", "./store/", f"{place}/v1/../store", f"file://{place}/store", str(tmp_path / "linked")):
        again = tmp_path / "again.jsonl"
        assert call(["lineage", "openlineage", str(again), "--store", spelled]) == 0
        assert [json.loads(line) for line in again.read_text(encoding="utf-8").splitlines()] == events
    assert {event["job"]["namespace"] for event in events} == {(place / "store").resolve().as_uri()}
    assert call(["copy", "store", str(tmp_path / "copied" / "store")]) == 0
    copied = events_of(tmp_path / "copied", tmp_path / "copied.jsonl")
    assert [event["run"]["runId"] for event in copied] == [event["run"]["runId"] for event in events]
    other = whole_chain(str(tmp_path / "store"), tmp_path)
    assert not {event["run"]["runId"] for event in events_of(tmp_path, tmp_path / "other.jsonl")} & {
        event["run"]["runId"] for event in events
    }
    assert other.identity != FeatureStore("store").identity


@pytest.mark.parametrize(
    "to", ["ftp://x/y", "s3://bucket/events.jsonl", "https://", "http://[x", "htp://localhost:5000"]
)
def test_a_target_of_an_unknown_kind_is_refused_and_nothing_is_written(place, tmp_path, monkeypatch, capsys, to):
    monkeypatch.chdir(tmp_path)
    for words in ([], ["--dry-run"]):
        assert call(["lineage", "openlineage", to, "--store", str(place / "store"), *words]) == 2
        error = capsys.readouterr().err
        assert "name a file, or http(s)://HOST" in error
        assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


SCHEMAS = Path(__file__).parent / "references" / "openlineage"


def validator_of(reference):
    """What checks a value against a part of the published schemas, by its address."""
    schemas = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(SCHEMAS.glob("*.json"))]
    registry = Registry().with_resources([(one["$id"], Resource.from_contents(one)) for one in schemas])
    checked = FormatChecker()
    checked.checks("date-time", ValueError)(lambda text: datetime.fromisoformat(text).utcoffset() is not None)
    checked.checks("uri")(lambda text: bool(urlsplit(text).scheme))
    return Draft202012Validator({"$ref": reference}, registry=registry, format_checker=checked)


def facets_in(value):
    """Every facet that names a published schema, anywhere in an event."""
    if isinstance(value, dict):
        if str(value.get("_schemaURL", "")).startswith("https://openlineage.io"):
            yield value
        value = list(value.values())
    for inner in value if isinstance(value, list) else ():
        yield from facets_in(inner)


def test_events_and_facets_keep_the_published_schemas(place, tmp_path):
    events = events_of(place, tmp_path / "events.jsonl")
    for event in events:
        validator_of(event["schemaURL"]).validate(event)
        for facet in facets_in(event):
            validator_of(facet["_schemaURL"]).validate(facet)
    kinds = {facet["_schemaURL"].rpartition("/")[2] for event in events for facet in facets_in(event)}
    assert kinds == {path.stem for path in SCHEMAS.glob("*.json")} - {"OpenLineage"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda event: event.update(eventType="DONE"), "'DONE' is not one of"),
        (lambda event: event.update(eventTime="yesterday"), "'yesterday' is not a 'date-time'"),
        (lambda event: event["run"].update(runId="r1"), "'r1' is not a 'uuid'"),
        (lambda event: event["job"].pop("namespace"), "'namespace' is a required property"),
    ],
)
def test_the_published_schemas_find_an_event_that_breaks_them(place, tmp_path, change, said):
    event = events_of(place, tmp_path / "events.jsonl")[0]
    change(event)
    with pytest.raises(ValidationError, match=said):
        validator_of(event["schemaURL"]).validate(event)


@pytest.fixture
def server():
    """A server that takes events, or refuses those for `/full`."""

    taken = []

    class Taker(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            taken.append((self.path, self.headers.get("Authorization"), json.loads(body)))
            self.send_response(507 if self.path == "/full" else 201)
            self.end_headers()

        def log_message(self, *_):
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Taker) as started:
        threading.Thread(target=started.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{started.server_port}", taken
        started.shutdown()


def test_a_server_is_sent_the_same_events(place, tmp_path, server, monkeypatch, capsys):
    url, taken = server
    monkeypatch.setenv("OPENLINEAGE_API_KEY", "k1")
    events = events_of(place, tmp_path / "events.jsonl")
    send = ["lineage", "openlineage", "--store", str(place / "store")]
    assert call([*send, url]) == 0
    assert [event for _, _, event in taken] == events
    assert {(path, key) for path, key, _ in taken} == {("/api/v1/lineage", "Bearer k1")}
    capsys.readouterr()
    for address, said in ((f"{url}/full", "refuses with 507"), ("http://127.0.0.1:9", "does not answer")):
        assert call([*send, address]) == 4
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1


def test_a_crate_describes_the_files_and_what_made_them(place, tmp_path):
    folder = shutil.copytree(place / "v1", tmp_path / "v1")
    assert call(["lineage", "ro-crate", str(folder), "--store", str(place / "store")]) == 0
    graph = json.loads((folder / "ro-crate-metadata.json").read_text(encoding="utf-8"))["@graph"]
    entities = {one["@id"]: one for one in graph}
    assert len(entities) == len(graph)
    assert entities["expr-mlp.txt"]["sha256"] == digest_file(folder / "expr-mlp.txt")
    store = FeatureStore(str(place / "store"), "v1")
    assert entities["./"]["identifier"] == f"sha256:{content_digest(store)}"
    action = entities["#prediction-expr-mlp"]
    assert action["result"] == {"@id": "expr-mlp.txt"}
    values = {entities[one["@id"]]["value"] for one in action["object"]}
    assert values >= {NETWORK_WEIGHTS, store.get(Address("head", "expr-mlp")).digest}
    referred = {one["@id"] for entity in graph for value in entity.values() for one in _references(value)}
    assert referred <= entities.keys() | {"https://w3id.org/ro/crate/1.1"}


def _references(value):
    found = value if isinstance(value, list) else [value]
    return [one for one in found if isinstance(one, dict) and set(one) == {"@id"}]


def test_a_crate_of_an_analysis_names_the_networks_and_the_version_that_made_it(tmp_path):
    face, found = person("a b", "main", np.ones(SHORT, bool))
    seen = Artifact(found.address, {"extractor": NETWORK}, found.arrays, found.attributes, (), {"engine": "torch"})
    store = commit(FeatureStore.create(str(tmp_path / "store")), source("a b", SHORT), face, seen)
    draft = store.draft({"affstore": "of another artifact"}, "r2")
    draft.put(units("a b", "main"))
    store.commit([draft], "test")
    store = store.newest()
    table = tmp_path / "out" / "videos" / "a b ä.csv"
    table.parent.mkdir(parents=True)
    pyarrow.csv.write_csv(frame_table(store, "a b", AnalysisNetworks("faces")), table)
    write_note(tmp_path / "out", [(table, "visual/faces")], store.snapshot)
    assert call(["lineage", "ro-crate", str(tmp_path / "out"), "--store", store.url]) == 0
    graph = json.loads((tmp_path / "out" / "ro-crate-metadata.json").read_text(encoding="utf-8"))["@graph"]
    entities = {one["@id"]: one for one in graph}
    file = "videos/a%20b%20%C3%A4.csv"
    assert entities[file]["name"] == "videos/a b ä.csv"
    action = entities["#prediction-visual/faces"]
    assert action["result"] == {"@id": file} == entities["./"]["hasPart"][0]
    assert entities[action["object"]["@id"]]["value"] == NETWORK_WEIGHTS
    (software,) = (one for one in graph if one["@type"] == "SoftwareApplication")
    assert software["softwareVersion"] == CODE["affstore"]


WHO = (
    *("--license", "cc-by-4.0", "--author", "Ada Lovelace <https://orcid.org/0000-0002-1825-0097>"),
    *("--organization", "Example University <https://example.org>"),
)


def test_a_crate_says_who_answers_for_it_and_under_which_licence(place, tmp_path):
    folder = shutil.copytree(place / "v1", tmp_path / "v1")
    assert call(["lineage", "ro-crate", str(folder), *WHO, "--store", str(place / "store")]) == 0
    graph = json.loads((folder / "ro-crate-metadata.json").read_text(encoding="utf-8"))["@graph"]
    entities = {one["@id"]: one for one in graph}
    root, ada = entities["./"], entities["https://orcid.org/0000-0002-1825-0097"]
    assert root["license"] == {"@id": "https://spdx.org/licenses/CC-BY-4.0"}
    assert root["author"] == {"@id": ada["@id"]} == entities["#prediction-expr-mlp"]["agent"]
    assert (ada["@type"], ada["name"]) == ("Person", "Ada Lovelace")
    assert root["publisher"] == {"@id": "https://example.org"} == ada["affiliation"]
    assert root["license"]["@id"] in entities


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--license", "notaurl"), "'notaurl' is no licence"),
        (("--license", "MIT OR Apache-2.0"), "is no licence"),
        (("--license", "ftp://x/y"), "is no licence"),
        (("--license", "https://"), "is no licence"),
        (("--author", "Ada <not an address>"), "names no author"),
        (("--author", "Ada https://orcid.org/0000-0002-1825-0097"), "an address in angle brackets"),
        (("--organization", "https://example.org"), "names no publisher"),
        (("--organization", "<https://example.org>"), "names no publisher"),
    ],
)
def test_a_licence_or_a_name_that_is_none_is_refused(place, tmp_path, capsys, words, said):
    folder = shutil.copytree(place / "v1", tmp_path / "v1")
    assert call(["lineage", "ro-crate", str(folder), *words, "--store", str(place / "store")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (folder / "ro-crate-metadata.json").exists()


def test_a_crate_of_files_that_say_other_than_the_store_is_refused(place, tmp_path, capsys):
    folder = shutil.copytree(place / "v1", tmp_path / "v1")
    file = folder / "expr-mlp.txt"
    file.write_text(file.read_text(encoding="ascii").replace("jpg,1", "jpg,4"), encoding="ascii")
    write_note(folder, [(file, "expr-mlp")], FeatureStore(str(place / "store"), "v1").snapshot, "v1")
    assert call(["lineage", "ro-crate", str(folder), "--store", str(place / "store")]) == 7
    assert "Line 2 of" in capsys.readouterr().err


def test_a_crate_of_files_that_are_not_as_published_is_refused(place, tmp_path, capsys):
    folder = shutil.copytree(place / "v1", tmp_path / "v1")
    command = ["lineage", "ro-crate", str(folder), "--store", str(place / "store")]
    (folder / "expr-mlp.txt").write_text("image_location,Anger\n", encoding="ascii")
    assert call(command) == 7
    assert capsys.readouterr().err.endswith(
        f"'{folder / 'expr-mlp.txt'}' has other bytes than were published. Get the publication anew.\n"
    )
    (folder / "expr-mlp.txt").unlink()
    assert call(command) == 7
    assert capsys.readouterr().err.endswith(
        f"'{folder / 'expr-mlp.txt'}' was published and is not there any more. Get the publication anew.\n"
    )
    assert not (folder / "ro-crate-metadata.json").exists()


@pytest.fixture(scope="session")
def validator(tmp_path_factory):
    """The Python of an environment with roc-validator, and a file with RO-Crate's context, of the index."""
    folder = tmp_path_factory.mktemp("roc-validator")
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    packages = f"{folder}/context"
    for words in (["roc-validator==0.13.0"], ["--no-deps", "--target", packages, "rocrate==0.10.0"]):
        command = [str(python), "-m", "pip", "install", "-q", *words]
        if subprocess.run(command, capture_output=True, env=_own_environment()).returncode:
            pytest.skip(f"needs {words[-1]} of the package index")
    return python, Path(packages, "rocrate", "data", "ro-crate.jsonld")


def _own_environment():
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("words", "left"),
    [
        (WHO, set()),
        ((), {"The Action SHOULD have an agent", "The Root Data Entity SHOULD", "The `publisher` property"}),
    ],
    ids=["all said", "nothing said"],
)
def test_the_validator_of_ro_crates_accepts_it(place, tmp_path, validator, words, left):
    folder = shutil.copytree(place / "v1", tmp_path / "v1")
    assert call(["lineage", "ro-crate", str(folder), *words, "--store", str(place / "store")]) == 0
    python, context = validator

    def issues(severity):
        script = [str(python), str(Path(__file__).with_name("validate_crate.py"))]
        command = [*script, str(context), str(folder), "process-run-crate", severity]
        done = subprocess.run(command, capture_output=True, text=True, env=_own_environment())
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    assert issues("REQUIRED") == []
    said = issues("RECOMMENDED")
    assert {start for start in left if any(start in one for one in said)} == left
    assert [one for one in said if not any(start in one for start in left)] == []
    (folder / "expr-mlp.txt").unlink()
    assert any("expr-mlp.txt" in one for one in issues("REQUIRED"))


def test_the_paragraph_counts_frames_once_a_video_and_says_which_part_other_versions_made(tmp_path, capsys):
    store = whole_chain(str(tmp_path / "store"), tmp_path)
    draft = store.draft({"affstore": "test", "torch": "2.99"}, "r3")
    draft.put(visual(store, "b", seed=5))
    store.commit([draft], "test")
    store = commit(store.newest(), head(store.newest()))
    main = [prediction(store, "a"), prediction(store, "b")]
    two = replace(main[0], address=replace(main[0].address, subject="left"))
    store = commit(store, *main, two)
    assert call(["lineage", "methods", "expr-mlp", "--store", store.url]) == 0
    said = capsys.readouterr().out
    assert "80 frames of 2 videos, in which 3 people were followed, were predicted" in said
    assert "All else was computed with affstore test; visual toy with torch 2.99; all is identified" in said


def test_the_paragraph_names_what_decides_the_numbers(place, capsys):
    store = FeatureStore(str(place / "store"), "v1")
    assert call(["lineage", "methods", "expr-mlp", "--store", store.url, "--at", "v1"]) == 0
    said = capsys.readouterr().out
    head = store.get(Address("head", "expr-mlp"))
    for text in (
        *("80 frames of 2 videos", f"toy_weights sha256:{NETWORK_WEIGHTS[:12]}", f"key {head.key[:12]}"),
        *("macro F1 on its validation frames: 0.500", f"tag v1, snapshot {store.snapshot}", content_digest(store)),
    ):
        assert text in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("methods", "expr-mpl"), "Did you mean 'expr-mlp'?"),
        (("methods", "nothing"), "`affstore status` lists whose"),
        (("openlineage", "events.jsonl", "r9"), "no artifact of a run 'r9'"),
    ],
)
def test_what_is_not_there_is_one_sentence(place, capsys, words, said):
    assert call(["lineage", *words, "--store", str(place / "store")]) == 4
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_publication_made_elsewhere_is_one_sentence(place, tmp_path, capsys):
    other = whole_chain(str(tmp_path / "other"), tmp_path)
    assert call(["lineage", "ro-crate", str(place / "v1"), "--store", other.url]) == 4
    assert "published from another store, or the snapshot has expired" in capsys.readouterr().err
    assert call(["lineage", "ro-crate", str(tmp_path), "--store", other.url]) == 2
    assert "is no publication" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["openlineage", "ro-crate"])
def test_a_dry_run_says_what_would_be_given_and_writes_nothing(place, tmp_path, capsys, kind):
    folder = shutil.copytree(place / "v1", tmp_path / "v1")
    to = {"openlineage": tmp_path / "events.jsonl", "ro-crate": folder}[kind]
    before = sorted(tmp_path.rglob("*"))
    words = ["lineage", kind, str(to), "--store", str(place / "store"), "--dry-run"]
    assert call([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out).keys() & {"events", "@graph"}
    assert call(words) == 0
    assert "would be" in capsys.readouterr().out
    assert sorted(tmp_path.rglob("*")) == before
