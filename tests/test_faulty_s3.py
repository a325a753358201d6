"""Stores on a real S3 server, reached through one that loses answers, flips or shortens bytes, and hangs up."""

from __future__ import annotations

import socket
import time

import numpy as np
import pytest

from affstore import FeatureStore
from affstore.flows.cli import call
from affstore.store.contract.errors import StoreError, StoreUnavailableError
from affstore.store.engine import places
from tests.conftest import free_port
from tests.factories import CODE, commit, source, visual


@pytest.fixture
def faults(proxy, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
    proxy.set("none")
    yield proxy
    proxy.set("none")


@pytest.fixture
def store(faults, s3_url):
    return commit(FeatureStore.create(s3_url), source("a"), visual("a", 40, 64))


@pytest.mark.parametrize("times", [1, 2])
def test_a_commit_whose_acknowledgement_is_lost_is_not_reported_as_failed(store, faults, times):
    draft = store.draft(CODE, "run")
    draft.put(source("b"))
    place = store.url.removeprefix("s3://")
    faults.set("lose", "PUT", f"{place}/repo", times)
    snapshot = store.commit([draft], "b")
    assert faults.done == times
    faults.set("none")
    assert store.newest().snapshot == snapshot
    assert [record.address.video for record in store.newest().records("source")] == ["a", "b"]
    assert len(store.newest().history()) == len(store.history()) + 1


def test_a_commit_is_looked_for_when_the_engine_says_that_it_failed(store, monkeypatch):
    draft = store.draft(CODE, "run")
    draft.put(source("b"))
    import icechunk

    real = icechunk.Session.commit

    def and_loses_the_answer(session, *arguments, **options):
        real(session, *arguments, **options)
        raise icechunk.StorageError("the answer was lost")

    def and_fails(session, *arguments, **options):
        raise icechunk.StorageError("nothing was sent")

    monkeypatch.setattr(icechunk.Session, "commit", and_loses_the_answer)
    snapshot = store.commit([draft], "b")
    assert store.newest().snapshot == snapshot
    another = store.newest().draft(CODE, "run")
    another.put(source("c"))
    monkeypatch.setattr(icechunk.Session, "commit", and_fails)
    with pytest.raises(StoreError, match="nothing was sent"):
        store.commit([another], "c")
    assert store.newest().snapshot == snapshot


@pytest.mark.parametrize("kind", ["flip", "shorten"])
@pytest.mark.parametrize("match", ["/manifests/", "/snapshots/", "/repo"])
def test_a_server_that_garbles_bytes_is_found_out_soon_and_said_in_one_sentence(store, faults, kind, match):
    faults.set(kind, "GET", match)
    began = time.monotonic()
    with pytest.raises(StoreError, match=r"^[^\n]*$"):
        FeatureStore(store.url).read(visual("a").address)
    assert time.monotonic() - began < 20


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["flip", "shorten"])
def test_a_server_that_garbles_chunks_never_gives_a_number(faults, s3_url, kind):
    store = commit(FeatureStore.create(s3_url), source("a", 400), visual("a", 400, 64))
    faults.set(kind, "GET", "/chunks/")
    began = time.monotonic()
    with pytest.raises(StoreError, match=r"damaged|failed"):
        store.read(visual("a").address)
    assert faults.done
    assert time.monotonic() - began < 20
    faults.set("none")
    assert len(store.newest().read(visual("a").address)["embedding"]) == 400


@pytest.mark.parametrize("kind", ["500", "cut"])
def test_a_burst_of_errors_is_outlasted(store, faults, kind):
    faults.set(kind, "GET", "", times=4)
    np.testing.assert_array_equal(
        FeatureStore(store.url).read(visual("a").address)["embedding"], visual("a", 40, 64).arrays["embedding"]
    )


def test_a_server_that_always_fails_is_given_up(store, faults):
    faults.set("500")
    began = time.monotonic()
    with pytest.raises(StoreUnavailableError):
        FeatureStore(store.url)
    assert time.monotonic() - began < 20


def test_a_server_that_takes_the_call_and_says_nothing_is_given_up(monkeypatch, capsys):
    monkeypatch.setattr(places, "_ANSWERS_S", 1)
    monkeypatch.setattr(places, "_GIVEN_UP_S", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert call(["status", "--store", "s3://bucket/store"]) == 4
    assert "the server does not answer" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["status"], ["verify"], ["gc"], ["forget", "a", "--yes"]])
def test_a_server_that_is_not_there_is_one_sentence(command, monkeypatch, capsys):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    assert call([*command, "--store", "s3://bucket/store"]) == 4
    said = capsys.readouterr().err
    assert "the server does not answer" in said
    assert len(said) < 600


def test_a_store_whose_address_holds_a_secret_is_refused_without_repeating_it(capsys):
    assert call(["status", "--store", "s3://AKIAKEY:hunter2@bucket/store"]) == 2
    said = capsys.readouterr().err
    assert "holds no credentials" in said
    assert "hunter2" not in said
    assert "AKIAKEY" not in said


def test_where_chunks_are_is_read_only_where_an_array_is(store, faults):
    faults.set("none", "GET", "/manifests/")
    opened = FeatureStore(store.url)
    assert len(opened.records()) == 2
    opened.draft(CODE, "run").put(source("b"))
    time.sleep(1)  # the engine's own threads would read ahead
    assert faults.done == 0
    opened.read(opened.records("visual")[0].address)
    assert faults.done > 0
