"""What a run wrote and what it reused, with the run that had made that."""

from __future__ import annotations

import json

from affstore.flows.runs_folder import runs_folder
from affstore.store.contract.records import Address
from affstore.tasks.lineage.run_record import run_record, write_run_record
from tests.factories import commit
from tests.lineage_store import head, prediction, whole_chain


def test_a_run_that_computes_some_names_what_it_read_and_who_made_that(tmp_path):
    store = whole_chain("memory:reused", tmp_path)
    store = commit(store, head(store, "second", seed=4), run_id="r3")
    store = commit(store, prediction(store, "a", "second"), run_id="r3")
    record = run_record(store, "r3", {"second"}, {"a"})
    document = record.as_document()
    assert document["counts"] == {
        "written": {"head": 1, "prediction": 1},
        "reused": {"face": 2, "label": 2, "source": 2, "visual": 2},
    }
    read = {entry["artifact"]: entry for entry in document["reused"]}
    made = store.get(Address("visual", "toy", "a", "main"))
    assert read[made.address.path] == {
        "artifact": "visual/toy/a/main",
        "key": made.key,
        "digest": made.digest,
        "run_id": "r1",
        "made_at": made.made_at,
    }


def test_a_run_that_finds_all_as_it_should_be_has_a_record_too(tmp_path):
    store = whole_chain("memory:cached", tmp_path)
    record = run_record(store, "r9", {"toy", "expr-mlp"}, {"b"})
    assert record.written == ()
    told = {one.address.path for one in record.reused}
    assert {"prediction/expr-mlp/b/main", "head/expr-mlp", "visual/toy/b/main", "source/b"} <= told
    assert "prediction/expr-mlp/a/main" not in told
    assert "visual/toy/a/main" in told  # the head was fitted on it
    assert not any(
        path.startswith("prediction") for path in (r.address.path for r in run_record(store, "r9", ()).reused)
    )


def test_each_bucket_has_its_own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("AFFSTORE_CACHE", str(tmp_path))
    dot, dash = runs_folder("s3://lab/corpus.v1"), runs_folder("s3://lab/corpus-v1")
    assert dot != dash
    assert runs_folder("s3://lab/corpus-v1/") == dash
    runs_folder(f"s3://lab/{'deep/' * 180}").mkdir()


def test_the_record_is_a_file_of_the_runs_folder(tmp_path):
    store = whole_chain("memory:written", tmp_path)
    path = write_run_record(run_record(store, "r2", ()), tmp_path / "runs" / "r2")
    document = json.loads(path.read_text())
    assert (document["snapshot"], document["counts"]["written"]) == (store.snapshot, {"head": 1, "prediction": 2})
    assert [one.name for one in path.parent.iterdir()] == [path.name]
