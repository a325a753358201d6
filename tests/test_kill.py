"""`kill -9` at ten random moments of a whole run: `pytest -m slow tests/test_kill.py`."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from affstore import FeatureStore, content_digest
from affstore.store.contract.errors import AffstoreError

TAKES = ("video58", "112", "6-20-480x240")
CONFIG = {
    "store": "store",
    "sources": ["../corpus"],
    "weights": "untrained",
    "extractors": ["emotieffnet_b0"],
    "experiments": [
        {"name": "expr-mlp", "task": "expr", "inputs": ["emotieffnet_b0"], "smooth_frames": 5},
        {"name": "au-mlp", "task": "au", "inputs": ["emotieffnet_b0"], "thresholds": "tuned"},
    ],
    "publish": {"folder": "published"},
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    from affstore.models.demo.corpus import CorpusSpec, write_corpus

    folder = tmp_path_factory.mktemp("kill")
    write_corpus(folder / "corpus", CorpusSpec(only=TAKES))
    return folder


def start(folder, runner):
    folder.mkdir(exist_ok=True)
    (folder / "run.yaml").write_text(json.dumps(CONFIG))
    command = [
        sys.executable,
        "-m",
        "affstore.flows.cli",
        "run",
        str(folder / "run.yaml"),
        "--runner",
        runner,
        "--workers",
        "2",
    ]
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


@pytest.fixture(scope="module")
def undisturbed(corpus):
    """The content digest of a run that nobody disturbed, and how long it took."""
    begun = time.monotonic()
    assert start(corpus / "undisturbed", "threads").wait(600) == 0
    return content_digest(FeatureStore(str(corpus / "undisturbed" / "store"))), time.monotonic() - begun


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("runner", ["threads", "dask"])
@pytest.mark.parametrize("moment", range(10))
def test_a_killed_run_is_completed_by_the_next(runner, moment, corpus, undisturbed):
    digest, lasts_s = undisturbed
    folder = corpus / f"{runner}-{moment}"
    process = start(folder, runner)
    time.sleep(random.Random(f"{runner}{moment}").uniform(0.3, 1.0) * lasts_s)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = finished(folder)
    assert start(folder, runner).wait(600) == 0
    store = FeatureStore(str(folder / "store"))
    assert content_digest(store) == digest
    now = {record.address.path: record.run_id for record in store.records()}
    assert {path: now[path] for path in before} == before, "what was finished is not computed again"


def finished(folder):
    """Everything a reader finds after the kill, read whole; and the run that made it."""
    try:
        store = FeatureStore(str(folder / "store"))
    except AffstoreError:
        return {}
    for record in store.records():
        store.read(record.address)
    return {record.address.path: record.run_id for record in store.records()}
