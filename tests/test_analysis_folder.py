"""The folder of an analysis: what one call writes and what the next one leaves, and the index of everything in it."""

from __future__ import annotations

import csv
import html
import json
import random
import re
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from affstore import FeatureStore
from affstore.flows.analysis import write_analysis
from affstore.flows.cli import call
from affstore.flows.report import pages
from affstore.flows.report.analysis_pages import Refused, VideoEntry, index_page
from affstore.store.contract.errors import NotFoundError
from affstore.store.contract.records import Address, Artifact
from affstore.tasks.analysis.frame_table import AnalysisNetworks
from tests.conftest import check_readable_at_any_width
from tests.factories import commit, source, visual
from tests.parameters import usually

NETWORKS = AnalysisNetworks(expression="toy")


def refused(name, reason="It is no video.", stage="ingest"):
    facts = {"name": name, "location": f"/videos/{name}", "reason": reason}
    return Artifact(Address("quarantine", stage, f"{name}-{stage}"), {"of": name, "stage": stage}, {}, facts)


@pytest.fixture
def store(tmp_path):
    place = FeatureStore.create(str(tmp_path / "store"))
    return commit(place, source("one"), source("two"), visual("one"), visual("two"))


def names_in(path, column):
    with path.open(encoding="utf-8", newline="") as file:
        return list(dict.fromkeys(row[column] for row in csv.DictReader(file)))


def analysed(store, folder, *names, notes=()):
    return write_analysis(store.newest(), names, NETWORKS, folder, list(notes))


def text_of(folder, name):
    return (folder / "videos" / f"{name}.html").read_text(encoding="utf-8")


def test_a_second_call_into_the_same_folder_loses_no_video_of_the_first(store, tmp_path):
    out = tmp_path / "out"
    analysed(store, out, "one", notes=["by day"])
    second = analysed(store, out, "two", notes=["by night"])
    assert ([one.name for one in second.entries], second.written, second.listed) == (["two"], ("two",), 2)
    assert names_in(out / "summary.csv", "video") == ["one", "two"]
    index = (out / "index.html").read_text(encoding="utf-8")
    assert re.findall(r'href="videos/(\w+)\.html"', index) == ["one", "two"]
    assert "by day (1 of 2 videos)" in index
    assert "by night (1 of 2 videos)" in index
    (out / "videos" / "one.html").unlink()
    analysed(store, out, "two", notes=["by night"])
    assert names_in(out / "summary.csv", "video") == ["two"], "a page that was removed is not listed"


def test_a_video_of_another_store_stays_in_the_index_and_so_does_one_of_an_earlier_version(store, tmp_path):
    out = tmp_path / "out"
    analysed(store, out, "one")
    analysed(store, out, "two")
    (out / "videos" / "two.json").write_text("{", encoding="utf-8")
    (out / "videos" / "one.json").unlink()
    other = commit(FeatureStore.create(str(tmp_path / "other")), source("three"))
    analysed(other, out, "three")
    index = (out / "index.html").read_text(encoding="utf-8")
    assert re.findall(r'href="videos/(\w+)\.html">\w+</a></td><td>([\d.]+)', index) == [
        ("one", "1.6"),
        ("three", "1.6"),
        ("two", "1.6"),
    ]
    assert analysed(store, out, "two").written == ("two",), "a damaged note is written anew"


def change_notes(store, monkeypatch):
    return ["another note"]


def change_remark(store, monkeypatch):
    commit(store, source("one", complaint="Its last frames are damaged."))
    return ["a note"]


def change_place(store, monkeypatch):
    """The file is where it was not before."""
    path = store.url.replace("store", "moved.mp4")
    with open(path, "w", encoding="utf-8") as file:
        file.write("x")
    commit(store, source("one", location=path))
    return ["a note"]


def change_template(store, monkeypatch):
    digest = pages.digest_of_templates
    monkeypatch.setattr("affstore.flows.report.analysis_pages.digest_of_templates", lambda names: digest(names) + "x")
    return ["a note"]


def change_quarantine(store, monkeypatch):
    commit(store, refused("one.txt", "It has 7 lines and the video 40 frames.", "annotate"))
    return ["a note"]


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        (change_notes, "another note"),
        (change_remark, "Its last frames are damaged."),
        (change_place, 'src="../../moved.mp4"'),
        (change_template, "a note"),
        (change_quarantine, "In quarantine (annotate, one.txt): It has 7 lines and the video 40 frames."),
    ],
)
def test_whatever_a_page_shows_has_it_written_anew_and_the_table_stays(store, tmp_path, monkeypatch, change, shown):
    out = tmp_path / "out"
    analysed(store, out, "one", "two", notes=["a note"])
    assert analysed(store, out, "one", "two", notes=["a note"]).written == ()
    before = pq.read_table(out / "videos" / "one.parquet")
    notes = change(store, monkeypatch)
    written = analysed(store, out, "one", notes=notes).written
    assert written == ("one",)
    assert shown in text_of(out, "one")
    assert pq.read_table(out / "videos" / "one.parquet") == before
    assert analysed(store, out, "one", notes=notes).written == ()


def test_files_in_quarantine_are_listed_with_their_reasons_until_they_are_used(store, tmp_path):
    out = tmp_path / "out"
    commit(store, refused("broken.mp4"), refused("not_asked_for.mp4"))
    first = analysed(store, out, "one", "broken.mp4")
    assert [(one.name, one.reason) for one in first.refused] == [("broken.mp4", "It is no video.")]
    assert names_in(out / "quarantine.csv", "name") == ["broken.mp4"]
    index = (out / "index.html").read_text(encoding="utf-8")
    assert "In quarantine (ingest): It is no video." in index
    assert "not_asked_for" not in index
    assert [one.name for one in analysed(store, out, "two").refused] == ["broken.mp4"], "of the call before"
    draft = store.newest().draft({"affstore": "test"}, "run")
    draft.remove(Address("quarantine", "ingest", "broken.mp4-ingest"))
    store.newest().commit([draft], "lifted")
    assert analysed(store, out, "two").refused == ()
    assert names_in(out / "quarantine.csv", "name") == []
    with pytest.raises(NotFoundError):
        analysed(store, out, "neither")


def test_a_video_whose_files_cannot_be_written_costs_no_other_and_the_index_says_why(store, tmp_path):
    long, too_long = "映" * 80, "映" * 84
    commit(store, *(make(name) for make in (source, visual) for name in (long, too_long)))
    found = analysed(store, tmp_path / "out", "two", long, too_long)
    assert [one.name for one in found.entries] == ["two", long] == list(found.written)
    (fault,) = found.unwritten
    assert fault.name == too_long
    assert "too long for the disk. Rename the video's file" in fault.reason
    index = html.unescape((tmp_path / "out" / "index.html").read_text(encoding="utf-8"))
    assert fault.reason in index
    assert "In quarantine" not in index
    assert found.refused == ()
    assert names_in(tmp_path / "out" / "quarantine.csv", "name") == [too_long]
    again = analysed(store, tmp_path / "out", "two")
    assert (again.refused, names_in(tmp_path / "out" / "quarantine.csv", "name")) == ((), [])


def test_a_damaged_file_beside_a_good_one_is_on_the_index_of_the_command(wheel_weights, tmp_path, monkeypatch, capsys):
    from tests.analysis_film import write

    monkeypatch.setenv("AFFSTORE_WEIGHTS", str(wheel_weights))
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "film.mp4")
    (tmp_path / "in" / "broken.mp4").write_bytes(b"no video" * 100)
    command = ["analyze", str(tmp_path / "in"), "--store", str(tmp_path / "store"), "--out", str(tmp_path / "out")]
    for _ in range(2):
        assert call([*command, "--json"]) == 3
        found = json.loads(capsys.readouterr().out)["analysis"]
        assert [one["name"] for one in found["videos"]] == ["film"]
        assert [one["name"] for one in found["quarantined"]] == ["broken"]
    assert found["written"] == []
    index = html.unescape((tmp_path / "out" / "index.html").read_text(encoding="utf-8"))
    assert found["quarantined"][0]["reason"] in index


def many(count):
    """Entries whose numbers are no order of their names."""
    rng = random.Random(0)
    numbers = rng.sample(range(count), count)
    for i, number in enumerate(numbers):
        entry = VideoEntry(f"video{i}", f"videos/video{i}.html", number / 10, number, "main", 0.5, "", None, 0.1, None)
        yield (
            replace(entry, valence=number / count, remark="Its sound stops." if i % 100 == 7 else "")
            if i % 2
            else entry
        )


@pytest.fixture(scope="module")
def thousand(tmp_path_factory):
    path = tmp_path_factory.mktemp("many") / "index.html"
    entries = list(many(1000))
    bad = [Refused("store", f"quarantine/ingest/{i}", "ingest", f"bad{i}.mp4", "It is no video.") for i in range(3)]
    path.write_text(index_page(entries, bad, [], {}), encoding="utf-8")
    return path, entries


def rows_shown(browser):
    """The names in the rows that are seen, in their order."""
    rows = "[...document.querySelectorAll('#videos tbody tr')]"
    return browser.execute_script(f"return {rows}.filter(row => !row.hidden).map(row => row.cells[0].textContent)")


def test_an_index_of_a_thousand_videos_filters_sorts_and_searches(thousand, browser):
    path, entries = thousand
    browser.get(f"file://{path}")
    said = browser.find_element("id", "shown")
    assert rows_shown(browser) == [*(one.name for one in entries), "bad0.mp4", "bad1.mp4", "bad2.mp4"]
    assert said.text == "1003 of 1003"
    browser.find_element("id", "filter").send_keys("VIDEO99")
    assert rows_shown(browser) == [one.name for one in entries if "video99" in one.name]
    assert said.text == "11 of 1003"
    browser.find_element("id", "filter").clear()
    browser.find_element("id", "filter").send_keys("no video")
    assert rows_shown(browser) == ["bad0.mp4", "bad1.mp4", "bad2.mp4"]
    browser.get(f"file://{path}")
    for value, wanted in (
        ("refused", ["bad0.mp4", "bad1.mp4", "bad2.mp4"]),
        ("said", [*(one.name for one in entries if one.remark), "bad0.mp4", "bad1.mp4", "bad2.mp4"]),
        ("", [*(one.name for one in entries), "bad0.mp4", "bad1.mp4", "bad2.mp4"]),
    ):
        browser.find_element("css selector", f"#kind option[value='{value}']").click()
        assert rows_shown(browser) == wanted
    buttons = browser.find_elements("css selector", "#videos th button")
    without = [one.name for one in entries if one.valence is None] + ["bad0.mp4", "bad1.mp4", "bad2.mp4"]
    for down in (False, True):
        buttons[2].click()
        by_frames = sorted(entries, key=lambda one: one.frames, reverse=down)
        assert rows_shown(browser)[:1000] == [one.name for one in by_frames], "numbers are sorted as numbers"
    for down in (False, True):
        buttons[6].click()
        known = sorted((one for one in entries if one.valence is not None), key=lambda one: one.valence, reverse=down)
        shown = rows_shown(browser)
        values = [one.valence for one in sorted(known, key=lambda one: shown.index(one.name))]
        assert [f"{value:.2f}" for value in values] == [f"{one.valence:.2f}" for one in known]
        assert set(shown[500:]) == set(without), "what is not known comes last both ways"
    buttons[0].click()
    assert rows_shown(browser)[3:7] == ["video0", "video1", "video2", "video3"], "digits in names count as numbers"


@pytest.mark.parametrize("scheme", usually(["light", "dark"]))
def test_an_index_with_refused_files_is_accessible_and_readable_at_any_width(store, tmp_path, browser, scheme):
    commit(store, refused("broken.mp4", "It is no video at all, and this sentence is long enough to need two lines."))
    analysed(store, tmp_path / "out", "one", "two", "broken.mp4")
    browser.get(f"file://{tmp_path}/out/index.html")
    check_readable_at_any_width(browser, scheme)


def shown_by(capsys, *words):
    status = call(["view", *map(str, words)])
    out = capsys.readouterr()
    return status, out.out + out.err


def test_view_finds_the_page_of_a_video_or_says_what_to_type(store, tmp_path, capsys):
    out = tmp_path / "out"
    status, text = shown_by(capsys, "--in", out)
    assert status == 4
    assert f"Nothing was analyzed into '{out}' yet. Type `affstore analyze my_videos/ --out {out} --pull`" in text
    commit(store, source("caf\u00e9"), visual("caf\u00e9"))
    analysed(store, out, "one", "two", "caf\u00e9")
    pages = {(): "index", ("one",): "videos/one", ("clips/two.mp4",): "videos/two", ("cafe\u0301",): "videos/caf\u00e9"}
    for words, page in pages.items():
        status, text = shown_by(capsys, *words, "--in", out)
        assert (status, text.split()[-1]) == (0, str((out / f"{page}.html").resolve()))
    status, text = shown_by(capsys, "twoo", "--in", out)
    assert (status, "Did you mean 'two'?" in text) == (4, True)
    status, text = shown_by(capsys, "zebra", "--in", out)
    assert (status, "It has: caf\u00e9, one, two." in text) == (4, True)
