"""A table of many videos, of which some have labels that cannot be used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from affstore import FeatureStore
from affstore.models.labels.base import FORMATS
from affstore.store.contract.labels import space_of
from affstore.tasks.ingest.annotations import store_labels
from affstore.tasks.planning.incoming_files import arrival_rows
from affstore.tasks.specs import WorkerContext
from tests.factories import commit, source

EMOTIONS = space_of("emotions", {"kind": "classes", "names": ["calm", "joy"]})


def test_a_bad_video_of_a_table_stays_in_quarantine_alone_until_its_own_rows_are_good(tmp_path):
    url, table = str(tmp_path / "store"), tmp_path / "all.csv"
    commit(FeatureStore.create(url), *(source(name, 10) for name in ("one", "two", "three")))

    def take_in(text):
        table.write_text("video,start,end,label\n" + text)
        files = [replace(one, task=EMOTIONS) for one in FORMATS.get("timed_table").find(table)]
        for found in files:
            outcome = store_labels(WorkerContext(url, "run", Path("weights")), found.name, [found])
            if outcome.draft:
                FeatureStore(url).commit([outcome.draft], "labels")
        stored = FeatureStore(url)
        kept = {record.attributes["name"] for record in stored.records("quarantine")}
        return kept, arrival_rows(stored, [], files)

    assert take_in("one,0,0,joy\ntwo,0,0,joy\nthree,0,1,joy\n") == ({"all.csv:one", "all.csv:two"}, [])
    kept, due = take_in("one,0,1,joy\nthree,0,1,joy\n")
    assert (kept, due) == ({"all.csv:two"}, [])
