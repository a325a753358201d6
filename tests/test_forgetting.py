"""A video that is forgotten is gone from every byte of the store, stays out, and nothing else is harmed."""

from __future__ import annotations

import datetime
import gc
import html
import json
import re
import shutil
import signal
import subprocess
import sys
import types
from dataclasses import replace

import markupsafe
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from affstore import FeatureStore
from affstore.flows.cli import call
from affstore.store.contract.errors import ConflictError, NotFoundError, SpecError
from affstore.store.contract.keys import key_of
from affstore.store.contract.records import Address
from affstore.store.engine.accounting import account_for, decoded
from affstore.store.engine.erasing import collect_garbage, find_in_objects, plan_garbage
from affstore.store.engine.history import check_history
from affstore.store.engine.objects import objects_of
from affstore.store.engine.tombstones import Tombstones
from affstore.store.engine.writers import alone_in, marked_as_writing
from affstore.tasks.ingest.incoming_files import IncomingFile, incoming_files
from affstore.tasks.lineage.erasure import plan_erasure
from affstore.tasks.lineage.forgetting import forget
from affstore.tasks.lineage.publication import write_note
from affstore.tasks.lineage.verify import verify
from tests.factories import CODE, commit, source
from tests.factories import visual as rows_of
from tests.lineage_store import head, visual, whole_chain
from tests.parameters import usually
from tests.test_damage import old_url  # noqa: F401

PERSON = "anna-müller"


def person(**attributes):
    return source(PERSON, aliases=["anna second"], location="/videos/anna.mp4", **attributes)


@pytest.fixture(params=usually(["folder", "s3"]))
def url(request, tmp_path) -> str:
    """A store of Anna and others: a head was trained on her, she is in one tag of two, and was refused once."""
    url = request.getfixturevalue("s3_url") if request.param == "s3" else str(tmp_path / "store")
    store = commit(FeatureStore.create(url), source("b"), source("c"), rows_of("c", width=64, seed=5))
    store.tag("without-her")
    rng = np.random.default_rng(0)
    her = replace(
        rows_of(PERSON, width=64, seed=6),
        arrays={"embedding": rng.normal(size=(40, 64)).astype(np.float32), "present": np.arange(40) > 3},
    )
    her.arrays["embedding"][:4] = 0
    store = commit(store, person(), her)
    hers, ours = store.get(her.address), store.get(rows_of("c").address)
    seen = tuple(record.as_parent() for record in (hers, ours))
    fitted = replace(head(store), parents=seen, arrays={"parameter_prior": rng.normal(size=300).astype(np.float32)})
    store = commit(store, fitted)
    trained = store.get(fitted.address)
    said = prediction_of(store, "c", trained)
    store = commit(store, said)
    store.tag("with-her")
    refused = {"name": PERSON, "location": "/videos/anna.mp4", "reason": "it was 'anna-müller' and broken"}
    about = replace(
        source("x"),
        address=Address("quarantine", "ingest", "0" * 16),
        recipe={"bytes": "1" * 64},
        arrays={},
        attributes=refused,
    )
    commit(store, about)
    return url


def prediction_of(store, video, trained):
    raw = np.random.default_rng(9).uniform(size=(40, 8)).astype(np.float32)
    made = {"raw": raw, "smoothed": raw, "prediction": np.zeros((40, 1), np.int8), "present": np.ones(40, bool)}
    attributes = {"frames": 40, "task": "expr", "labels": list("abcdefgh")}
    return replace(
        rows_of(video),
        address=Address("prediction", "expr-mlp", video, "main"),
        recipe={"head": trained.key},
        arrays=made,
        attributes=attributes,
        parents=(trained.as_parent(),),
    )


def chunks(store: FeatureStore, address: Address) -> list[bytes]:
    """An artifact's chunks, as they are stored."""

    async def read():
        keys = [
            key async for key in store.session.store.list_prefix(f"{address.path}/") if not key.endswith("zarr.json")
        ]
        return [await store.session.store.get(key, default_buffer_prototype()) for key in keys]

    return [found.to_bytes() for found in sync(read())]


def all_bytes(url: str) -> list[bytes]:
    """Every object of a store as it is, and what the engine's lists unpack to."""
    objects = objects_of(url)
    stored = [objects.read(key) for key in objects.sizes()]
    return [text for one in stored for text in (one, decoded(one))]


def pieces(found: list[bytes]) -> set[bytes]:
    """64 bytes out of the middle of each chunk."""
    return {chunk[len(chunk) // 2 - 32 : len(chunk) // 2 + 32] for chunk in found if len(chunk) >= 64}


def test_nothing_of_a_forgotten_video_is_left_in_any_byte(url, tmp_path):
    store = FeatureStore(url)
    erasure = plan_erasure(store, [PERSON])
    assert erasure.families == {"head": 1, "prediction": 1, "quarantine": 1, "source": 1, "visual": 1}
    states = [store, FeatureStore(url, "without-her"), FeatureStore(url, "with-her")]
    hers = pieces([c for state in states for a in erasure.addresses[state.snapshot] for c in chunks(state, a)])
    kept = [a for a in store.addresses() if a not in erasure.addresses[store.snapshot]]
    hers -= pieces([chunk for address in kept for chunk in chunks(store, address)])  # the clock is that of every video
    before = b"\0".join(all_bytes(url))
    wanted = [PERSON.encode(), json.dumps(PERSON)[1:-1].encode(), b"anna second", key_of(PERSON).encode(), b"anna.mp4"]
    assert len(hers) == 3
    assert all(piece in before for piece in hers)
    assert any(one in before for one in wanted)
    numbers = {address: store.read(address) for address in kept}

    done = forget(store, erasure, tmp_path / "store.runs")

    assert (done.objects, done.files) == ((), ())
    after = b"\0".join(all_bytes(url))
    assert [one for one in (*hers, *wanted) if one in after] == []
    now = FeatureStore(url)
    assert now.addresses() == kept
    for address in kept:
        np.testing.assert_equal(now.read(address), numbers[address])
    assert now.tags().keys() == {"without-her"}
    assert FeatureStore(url, "without-her").addresses() == kept
    assert [one.tag for one in Tombstones.of(now).retracted] == ["with-her"]
    assert not any("anna" in info.message for info in now.history())
    assert {commit.state for commit in check_history(now)} == {"folded", "whole"}
    assert {finding.fault for finding in verify(now).findings} <= {"unexplained"}  # synthetic rows name no parents
    with pytest.raises(NotFoundError, match=r"'with-her' .* was retracted on 20.*forgotten on request"):
        FeatureStore(url, "with-her")


def test_the_bytes_of_a_forgotten_video_are_refused_until_that_is_lifted_and_a_dry_run_does_not_lift_it(
    tmp_path, capsys
):
    store = commit(FeatureStore.create(str(tmp_path / "store")), source("b"), person())
    forget(store, plan_erasure(store, [PERSON]), tmp_path / "store.runs")
    files = [IncomingFile(tmp_path / f"{name}.mp4", name, key_of(of)) for name, of in (("new", PERSON), ("other", "z"))]
    judged = incoming_files(store.newest(), files)
    assert [one.verdict for one in judged] == ["forgotten", "new"]
    assert re.search(r"forgotten on request on 20.*affstore forget --allow FILE", judged[0].reason)
    assert call(["forget", "--allow", key_of(PERSON), "--dry-run", "--store", store.url]) == 0
    assert "would be allowed to be added again" in capsys.readouterr().out
    assert [one.verdict for one in incoming_files(store.newest(), files)] == ["forgotten", "new"]
    assert call(["forget", "--allow", key_of(PERSON), "--store", store.url]) == 0
    assert [one.verdict for one in incoming_files(store.newest(), files)] == ["new", "new"]
    assert call(["forget", "--allow", key_of(PERSON), "--store", store.url]) == 4
    assert "has not forgotten" in capsys.readouterr().err


def test_a_name_that_stood_for_two_videos_is_one_sentence_and_each_goes_by_its_digest(tmp_path):
    store = commit(FeatureStore.create(str(tmp_path / "store")), source("a"), rows_of("a"))
    store.tag("first")
    draft = store.draft(CODE, "replace")
    draft.remove(rows_of("a").address)
    draft.put(replace(source("a", sha256="2" * 64), recipe={"decode": 1, "bytes": "2" * 64}))
    store.commit([draft], "replaced")
    store = commit(store, source("b"))
    with pytest.raises(SpecError, match=r"'a' stands for 2 videos in the history .* Name one by its digest"):
        plan_erasure(store, ["a"])
    forget(store, plan_erasure(store, [key_of("a")]), tmp_path / "none")
    now = store.newest()
    assert [address.path for address in now.addresses()] == ["source/a", "source/b"]
    assert now.tags() == {}
    with pytest.raises(NotFoundError, match="has no video 'zed', now or in its history"):
        plan_erasure(now, ["zed"])


def test_what_was_learnt_from_an_earlier_version_of_a_video_goes_with_it(tmp_path):
    """The head's embedding has been replaced since; its key is in no state any more, and the name has to do."""
    store = whole_chain(str(tmp_path / "store"), tmp_path)
    store = commit(store, visual(store, "a", seed=4))
    gone = plan_erasure(store, ["copy"]).addresses[store.snapshot]
    assert {a.path for a in store.addresses() if a not in gone} == {
        "face/mtcnn/b/main", "label/expr/b/main", "source/b", "visual/toy/b/main"
    }  # fmt: skip


def test_nothing_is_forgotten_while_another_run_writes(tmp_path):
    store = commit(FeatureStore.create(str(tmp_path / "store")), source("a"))
    erasure = plan_erasure(store, ["a"])
    draft = store.draft(CODE, "run")
    with pytest.raises(ConflictError, match="Another run is writing"):
        forget(store, erasure, tmp_path / "none")
    assert call(["gc", "--store", store.url]) == 4
    draft.release()
    with marked_as_writing(store.url), pytest.raises(ConflictError, match="Wait until it has ended"):
        forget(store, erasure, tmp_path / "none")
    assert store.newest().snapshot == store.snapshot
    forget(store, erasure, tmp_path / "none")
    assert store.newest().addresses() == []


def test_a_draft_that_nobody_holds_any_more_keeps_nobody_from_removing(tmp_path):
    store = FeatureStore.create(str(tmp_path / "store"))
    gc.disable()
    try:
        knot = [store.draft(CODE, "run")]
        knot.append(knot)  # only Python's search for garbage finds out that it is not needed
        with pytest.raises(ConflictError, match="Another run is writing"), alone_in(store.url):
            pass
        del knot
        with alone_in(store.url):
            pass
    finally:
        gc.enable()


MOMENTS = {
    "after the tombstone": ("affstore.tasks.lineage.forgetting", "remove_mentions"),
    "before the commit": ("affstore.store.engine.erasing", "_without"),
    "after the commit": ("affstore.store.engine.erasing", "fold"),
    "before the garbage is collected": ("affstore.store.engine.erasing", "_collect"),
    "before the search": ("affstore.tasks.lineage.forgetting", "find_in_objects"),
}


SLOW = pytest.mark.slow


def kill(command, module, function):
    """Run a command in a process of its own, which is killed where it would call a function."""
    killed = f"import os, signal, {module} as m; m.{function} = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL); "
    killed += f"from affstore.flows.cli import call; call({command!r})"
    process = subprocess.run([sys.executable, "-c", killed], capture_output=True, check=False)
    assert process.returncode == -signal.SIGKILL, process.stderr


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(moment, marks=() if moment in ("before the commit", "after the commit") else SLOW)
        for moment in MOMENTS
    ],
)
def test_a_deletion_that_is_killed_is_finished_by_the_next_one(moment, tmp_path, capsys):
    store = commit(FeatureStore.create(str(tmp_path / "store")), source("b"), rows_of("b", seed=3), person())
    store = commit(store, rows_of(PERSON, seed=8))
    store.tag("with-her")
    page = tmp_path / "store.runs" / "one" / "report.html"
    page.parent.mkdir(parents=True)
    page.write_text(f"<td>{PERSON}</td>", encoding="utf-8")
    command = ["forget", PERSON, "--yes", "--store", store.url]
    kill(command, *MOMENTS[moment])
    call(["status", "--store", store.url])
    assert "A deletion was interrupted" in capsys.readouterr().out
    assert any("deletions were interrupted" in reason for reason in verify(store.newest()).unproven)
    assert call(command) == 0, capsys.readouterr().err
    assert not page.exists()
    wanted = re.compile("|".join([PERSON, key_of(PERSON), "m\\\\u00fcller"]).encode())
    assert list(find_in_objects(store.url, wanted, wanted)) == []
    now = store.newest()
    assert [address.path for address in now.addresses()] == ["source/b", "visual/toy/b/main"]
    assert now.tags() == {}
    assert not Tombstones.of(now).unfinished
    assert [one.tag for one in Tombstones.of(now).retracted] == ["with-her"]
    assert Tombstones.of(now).date_of(key_of(PERSON))


def test_a_deletion_that_was_killed_is_carried_out_with_the_next_one_whomever_that_is_of(tmp_path, capsys):
    store = commit(FeatureStore.create(str(tmp_path / "store")), source("b"), source("c"), person())
    kill(["forget", PERSON, "--yes", "--store", store.url], "affstore.store.engine.erasing", "_without")
    assert call(["forget", "nobody", "--yes", "--store", store.url]) == 4
    assert f"`affstore forget {key_of(PERSON)[:16]}` ends it" in " ".join(capsys.readouterr().err.split())
    assert call(["forget", "c", "--yes", "--store", store.url]) == 0
    now = store.newest()
    assert now.addresses() == [Address("source", video="b")]
    assert not Tombstones.of(now).unfinished
    wanted = re.compile("|".join([PERSON, "m\\\\u00fcller", key_of(PERSON)]).encode())
    assert list(find_in_objects(store.url, wanted, wanted)) == []


def test_files_that_were_exported_near_the_store_and_name_the_video_are_told(tmp_path, capsys):
    store = commit(FeatureStore.create(str(tmp_path / "store")), source("b"), person())
    for video in ("b", PERSON):
        (tmp_path / "analysis" / "videos").mkdir(parents=True, exist_ok=True)
        (tmp_path / "analysis" / "videos" / f"{video}.csv").write_text(f"video,frame\n{video},0\n", encoding="utf-8")
    write_note(tmp_path / "analysis", [(tmp_path / "analysis" / "videos" / "b.csv", "expr")], store.snapshot)
    assert call(["forget", PERSON, "--yes", "--json", "--store", store.url]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["exported_files"] == [str(tmp_path / "analysis" / "videos" / f"{PERSON}.csv")]


def test_exported_tables_pages_and_renamed_publications_near_the_store_are_told_also_of_a_short_name(tmp_path, capsys):
    store = whole_chain(str(tmp_path / "store"), tmp_path, names=("207", "b"))
    store.tag("v1")
    for form in ("csv", "parquet"):
        assert call(["export", str(tmp_path / "ex" / form), "--to", form, "--store", store.url]) == 0
        assert call(["export", str(tmp_path / "of b" / form), "--to", form, "--video", "b", "--store", store.url]) == 0
    assert call(["report", "--store", store.url, "--to", str(tmp_path / "r.html")]) == 0
    (tmp_path / "renamed").mkdir()
    (tmp_path / "renamed" / "expr.txt").write_text("image_location,Neutral\n207_left/00001.jpg,0\n", encoding="ascii")
    write_note(tmp_path / "renamed", [(tmp_path / "renamed" / "expr.txt", "expr-mlp")], store.snapshot, "v1")
    (tmp_path / "frames.csv").write_text("frame,speech\n206,0\n207,1\n", encoding="ascii")
    capsys.readouterr()
    assert call(["forget", "207", "--yes", "--json", "--store", store.url]) == 0
    told = json.loads(capsys.readouterr().out)
    exported = {path for path in (tmp_path / "ex").rglob("*") if path.is_file()}
    assert len(exported) > 6
    assert {*told["exported_files"]} == {
        *map(str, exported), str(tmp_path / "r.html"), str(tmp_path / "renamed" / "expr.txt")
    }  # fmt: skip
    assert told["published_copies"] == [str(tmp_path / "renamed")]


def write_parquet(path, column):
    pq.write_table(pa.table({"frame": [0], "video": column}), path)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("a.csv", "participant,video\nP07,{}\n"),
        ("b.csv", "video;frame\r\n{};1\r\n"),
        ("c.tsv", "frame\tvideo\n3\t{}\n"),
        ("d.txt", "video\n{}\n"),
        ("e.yaml", "video: {}\n"),
        ("f.jsonl", '{{"video": "{}"}}\n'),
        ("g.xml", "<video>{}</video>"),
        ("h.ipynb", '{{"source": ["read_frames(store, \\"{}\\")"]}}'),
        ("i.parquet", lambda name: pa.array([name]).dictionary_encode()),
        ("j.parquet", lambda name: pa.array([[name]])),
        ("k.parquet", lambda name: pa.array([{"called": name}])),
        ("l.parquet", lambda name: pa.array([int(name)] if name.isdigit() else [name])),
    ],
    ids=lambda one: one if isinstance(one, str) and len(one) < 12 else "",
)
@pytest.mark.parametrize("name", ["video2", "112"])
def test_a_short_name_is_found_in_tables_and_texts_however_they_are_written(tmp_path, capsys, name, file, text):
    store = commit(FeatureStore.create(str(tmp_path / "store")), source("b"), source(name))
    for called in (name, "video21", "1120"):
        (tmp_path / called).mkdir()
        path = tmp_path / called / file
        path.write_text(text.format(called), encoding="utf-8") if isinstance(text, str) else write_parquet(
            path, text(called)
        )
    (tmp_path / name).rename(tmp_path / "tables")
    assert call(["forget", name, "--yes", "--json", "--store", store.url]) == 0
    assert json.loads(capsys.readouterr().out)["exported_files"] == [str(tmp_path / "tables" / file)]


@pytest.mark.parametrize("file", ["notes.md", "list.txt", "subtitles.srt"])
def test_a_short_name_on_a_line_or_between_bars_is_found(tmp_path, capsys, file):
    store = commit(FeatureStore.create(str(tmp_path / "store")), source("b"), source("video2"))
    (tmp_path / file).write_text("1\n\n| video2 | 3 |\n", encoding="utf-8")
    (tmp_path / f"other-{file}").write_text("1\n\n| video21 | 3 |\n", encoding="utf-8")
    assert call(["forget", "video2", "--yes", "--json", "--store", store.url]) == 0
    assert json.loads(capsys.readouterr().out)["exported_files"] == [str(tmp_path / file)]


def test_a_name_is_found_in_pages_that_escape_its_signs(tmp_path, capsys):
    name = "Tom & Anna's"
    store = commit(FeatureStore.create(str(tmp_path / "store")), source("b"), source(name))
    for place, form in enumerate((html.escape(name), str(markupsafe.escape(name)), html.escape(name, quote=False))):
        (tmp_path / f"{place}.html").write_text(f"<td>{form}</td>", encoding="utf-8")
    assert call(["forget", name, "--yes", "--json", "--store", store.url]) == 0
    assert len(json.loads(capsys.readouterr().out)["exported_files"]) == 3


def test_pages_of_runs_that_name_a_forgotten_video_go_with_it(tmp_path):
    store = commit(FeatureStore.create(str(tmp_path / "store")), source("b"), person())
    runs = tmp_path / "store.runs"
    for run, text in (("hers", f"<td>{PERSON}"), ("ours", "<td>b")):
        (runs / run / "figures").mkdir(parents=True)
        (runs / run / "report.html").write_text(text, encoding="utf-8")
        (runs / run / "figures" / "1.png").write_bytes(b"png")
    (runs / "prefect").mkdir()
    (runs / "prefect" / "prefect.db").write_bytes(f"ingest {PERSON}".encode())
    assert forget(store, plan_erasure(store, [PERSON]), runs).files == ()
    assert sorted(path.name for path in runs.iterdir()) == ["ours", "prefect"]
    assert not (runs / "prefect" / "prefect.db").exists()


@pytest.mark.parametrize(
    ("name", "other"), [("interview", "interview_2"), ("interview", "my interview"), ("a", "a_left")]
)
def test_a_video_whose_name_is_part_of_another_s_is_forgotten_without_the_other(tmp_path, name, other):
    store = commit(FeatureStore.create(str(tmp_path / "store")), source(name), source(other))
    runs = tmp_path / "store.runs"
    for run, video in (("its", name), ("other", other)):
        (runs / run).mkdir(parents=True)
        (runs / run / "report.html").write_text(f"<td>{video}.mp4</td> '/lab/{video}'", encoding="utf-8")
        listed = {"written": [{"artifact": f"source/{video}"}]}
        (runs / run / "artifacts.json").write_text(json.dumps(listed), encoding="utf-8")
    erasure = plan_erasure(store, [name])
    assert erasure.kept == {other}
    done = forget(store, erasure, runs)
    assert (done.objects, done.files) == ((), ())
    assert [path.name for path in runs.iterdir()] == ["other"]
    assert [one.video for one in FeatureStore(store.url).addresses("source")] == [other]
    assert not Tombstones.of(FeatureStore(store.url)).unfinished


@pytest.mark.parametrize("name", ["report", "run", "video", "main", "1", "112", "figures", "prefect"])
def test_a_video_that_is_called_by_a_common_word_or_number_takes_no_run_of_others_with_it(tmp_path, name):
    store = commit(FeatureStore.create(str(tmp_path / "store")), source(name), source("other"))
    runs = tmp_path / "store.runs"
    for run, video in (("its", name), ("others", "other")):
        (runs / run / "figures").mkdir(parents=True)
        page = f"<th>video</th><td>{video}</td><td>1</td><td>112</td><a href='report.html'>report</a> main run"
        (runs / run / "report.html").write_text(page, encoding="utf-8")
        (runs / run / "figures" / "1.png").write_bytes(b"png")
        note = {"run": run, "video": 1, "main": "", "command": "affstore add folder"}
        (runs / run / "run.json").write_text(json.dumps(note), encoding="utf-8")
        listed = {"written": [{"artifact": f"source/{video}"}, {"artifact": f"face/mtcnn/{video}/main"}]}
        (runs / run / "artifacts.json").write_text(json.dumps(listed), encoding="utf-8")
    (runs / "prefect").mkdir()
    (runs / "prefect" / "prefect.db").write_bytes(b"nothing")
    assert forget(store, plan_erasure(store, [name]), runs).files == ()
    assert sorted(path.name for path in runs.iterdir()) == ["others", "prefect"]
    assert (runs / "prefect" / "prefect.db").exists()


def test_the_command_tells_first_what_it_costs_and_asks(tmp_path, capsys, monkeypatch):
    store = whole_chain(str(tmp_path / "store"), tmp_path)
    store.tag("published")
    assert call(["forget", "a", "--dry-run", "--json", "--store", store.url]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["heads"] == ["expr-mlp"]
    assert told["retracted"] == {"published": 7}
    assert told["artifacts"] == {"face": 1, "head": 1, "label": 1, "prediction": 2, "source": 1, "visual": 1}
    assert call(["forget", "a", "--store", store.url]) == 2
    assert "nobody said yes" in capsys.readouterr().err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    for said, code in (("y", 2), ("yes", 0)):
        terminal = types.SimpleNamespace(isatty=lambda: True, readline=lambda said=said: f"{said}\n")
        monkeypatch.setattr(sys, "stdin", terminal)
        assert store.newest().snapshot == store.snapshot
        assert call(["forget", "a", "--json", "--store", store.url]) == code
        captured = capsys.readouterr()
        assert captured.err.startswith("Forget it? Type yes:")
    assert json.loads(captured.out)["done"]


def test_garbage_is_counted_before_it_is_removed_and_tags_keep_their_snapshots(tmp_path, capsys):
    store = commit(FeatureStore.create(str(tmp_path / "store")), source("a"), rows_of("a", width=64))
    store.tag("first")
    store = commit(store, rows_of("a", width=64, seed=1))
    store = commit(store, rows_of("a", width=64, seed=2))
    draft = store.draft(CODE, "killed")
    draft.put(rows_of("a", width=64, seed=3))
    draft.release()
    zero = datetime.timedelta()
    told = plan_garbage(store, zero)
    assert told.bytes > 40 * 64 * 4
    assert collect_garbage(store, zero) == told
    assert plan_garbage(store, zero).bytes == 0
    told = plan_garbage(store, zero, zero)
    assert told.snapshots == 2
    assert told.bytes > 40 * 64 * 4
    assert call(["gc", "--expire-older-than", "0s", "--store", store.url, "--dry-run"]) == 0
    would = capsys.readouterr().out
    assert f"2 snapshots would be let go.\n{told.objects} objects ({told.bytes:,} bytes) would be removed" in would
    assert call(["gc", "--expire-older-than", "0s", "--store", store.url]) == 0
    assert capsys.readouterr().out == would.replace("would be ", "")
    assert not account_for(store.url, store.newest().repository).of("garbage")
    assert len(store.newest().history()) == 3  # with the engine's first one, and the commit that says so
    for state in (store.newest(), FeatureStore(store.url, "first")):
        assert set(state.read(rows_of("a").address)) == {"embedding", "present"}
    assert call(["gc", "--expire-older-than", "soon", "--store", store.url]) == 2
    assert "one of d, h, m, s, as 30d or 12h; found 'soon'" in capsys.readouterr().err
    for age in ("99999999999999d", "999999d", f"{'9' * 5000}s"):
        assert call(["gc", "--expire-older-than", age, "--store", store.url]) == 2
        assert "is too long: no calendar reaches so far" in capsys.readouterr().err
    assert call(["gc", "--store", str(tmp_path / "no" / "where")]) == 4
    assert not (tmp_path / "no").exists()


def test_a_store_one_of_whose_tags_is_called_by_a_video_is_written_anew_in_its_place(tmp_path, capsys):
    store = commit(FeatureStore.create(str(tmp_path / "store")), source("b"), rows_of("b"))
    store.tag("kept")
    store = commit(store, source("anna"))
    store.tag("anna-1")
    before = store.read(rows_of("b").address)
    command = ["forget", "anna", "--yes", "--store", store.url]
    for module, function in (("copying", "_write_states"), ("rewriting", "exchange_folders")):
        kill(command, f"affstore.store.engine.{module}", function)
    assert call(command) == 0
    assert "the store is written anew in its place" in " ".join(capsys.readouterr().out.split())
    now = FeatureStore(store.url)
    assert [address.path for address in now.addresses()] == ["source/b", "visual/toy/b/main"]
    assert now.tags().keys() == {"kept"}
    np.testing.assert_equal(now.read(rows_of("b").address), before)
    assert list(find_in_objects(store.url, re.compile(b"anna"), re.compile(b"anna"))) == []
    assert Tombstones.of(now).date_of(key_of("anna"))
    assert not Tombstones.of(now).unfinished
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store", "store.lock", "store.writers"]
    assert {commit.state for commit in check_history(now)} == {"whole"}


def test_a_deletion_that_was_killed_as_the_stores_changed_places_leaves_no_old_one(tmp_path):
    store = commit(FeatureStore.create(str(tmp_path / "store")), source("b"), source("anna"))
    store.tag("anna-1")
    command = ["forget", "anna", "--yes", "--store", store.url]
    kill(command, "affstore.tasks.lineage.forgetting", "find_in_objects")
    shutil.copytree(store.url, tmp_path / ".store.affstore-rewriting")  # as if it had not come to remove it
    assert call(command) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store", "store.lock", "store.writers"]


def test_a_bucket_one_of_whose_tags_is_called_by_a_video_has_to_be_copied(s3_url, tmp_path, capsys):
    store = commit(FeatureStore.create(s3_url), source("b"), source("anna"))
    store.tag("anna-1")
    assert call(["copy", store.url, str(tmp_path / "copy"), "--without", "anna"]) == 0
    copied = FeatureStore(str(tmp_path / "copy"))
    assert copied.tags() == {}
    assert list(find_in_objects(copied.url, re.compile(b"anna"), re.compile(b"anna"))) == []
    assert call(["forget", "anna", "--yes", "--store", store.url]) == 4
    said = capsys.readouterr().out
    assert "The tag 'anna-1' is called by it" in said
    assert "`affstore copy` writes a store without them" in " ".join(said.split())
    assert store.newest().addresses() == [Address("source", video="b")]
    assert Tombstones.of(store).unfinished


def test_a_copy_without_a_video_refuses_its_bytes_and_gives_no_tag_to_other_content(url, tmp_path, capsys):
    assert call(["copy", url, str(tmp_path / "copy"), "--without", PERSON]) == 0
    assert "left of its state is tagged 'with-her-reduced'" in " ".join(capsys.readouterr().out.split())
    copied = FeatureStore(str(tmp_path / "copy"))
    assert copied.tags().keys() == {"without-her", "with-her-reduced"}
    with pytest.raises(NotFoundError, match=r"'with-her' .* was retracted"):
        FeatureStore(copied.url, "with-her")
    assert FeatureStore(copied.url, "with-her-reduced").addresses() == FeatureStore(url, "without-her").addresses()
    judged = incoming_files(copied, [IncomingFile(tmp_path / "new.mp4", "new", key_of(PERSON))])
    assert [one.verdict for one in judged] == ["forgotten"]
    assert not Tombstones.of(copied).unfinished
    assert not Tombstones.of(FeatureStore(url)).dates


def test_a_store_of_an_older_format_is_copied_and_forgets_after_an_upgrade(old_url, tmp_path, capsys):  # noqa: F811
    assert [one.verdict for one in incoming_files(FeatureStore(old_url), [])] == []
    assert call(["forget", "a", "--yes", "--store", old_url]) == 4
    assert "Run `affstore upgrade` first" in capsys.readouterr().err
    assert call(["copy", old_url, str(tmp_path / "copy")]) == 0
    copied = FeatureStore(str(tmp_path / "copy"))
    assert copied.records() == FeatureStore(old_url).records()
    assert copied.layout == 1
    assert call(["forget", "a", "--yes", "--store", copied.url]) == 0
    assert call(["gc", "--dry-run", "--expire-older-than", "0s", "--store", copied.url]) == 0
    assert call(["upgrade", old_url]) == 0
    assert call(["forget", "a", "--yes", "--store", old_url]) == 0
