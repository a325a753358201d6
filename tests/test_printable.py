"""Foreign text is shown on one line, whole, and changes nothing else on the screen."""

from __future__ import annotations

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affstore.flows.commands.options import print_json, print_table
from affstore.flows.report.experiment_report import RunFacts
from affstore.flows.report.face_pictures import Thumbnail
from affstore.flows.report.faces import VideoFaces
from affstore.flows.report.pages import Cell, Script, Table, render
from affstore.flows.watch import Screen, to_terminal
from affstore.store.contract.printable import printable, printable_json
from affstore.tasks.groups import Group
from affstore.tasks.outcomes import Outcome
from affstore.tasks.prefect_task import as_state, titled
from affstore.tasks.task import task

FORGED = "a\x1b[31m\x9b2J\x07\nv9  done\u202e\u2028\x85\udce9<b>[red]"
TEXTS = st.text(st.characters(codec=None, categories=["C", "Z", "L", "M", "N", "P", "S"]))


@given(TEXTS)
def test_what_is_printable_is_one_line_of_visible_text_and_stays_as_it_is(text):
    shown = printable(text)
    assert len(shown.splitlines()) <= 1
    assert all(letter.isprintable() or letter in "\u200c\u200d" for letter in shown)
    assert printable(shown) == shown
    shown.encode("utf-8")


@given(st.text(st.characters(categories=["L", "M", "N", "P", "S"])))
def test_names_in_any_language_are_shown_as_they_are(text):
    assert printable(text) == text


@pytest.mark.parametrize("name", ["josé.mp4", "视频.mp4", "می‌خواهم", "👩‍🔬 take 2", "a\\b", "100 %"])
def test_names_with_joiners_emoji_and_blanks_are_shown_as_they_are(name):
    assert printable(name) == name


@given(st.recursive(TEXTS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner)))
def test_a_json_document_means_the_same_and_holds_no_control_characters(value):
    shown = printable_json(json.dumps(value, indent=2, ensure_ascii=False))
    assert json.loads(shown) == json.loads(json.dumps(value))
    assert printable(shown.replace("\n", "")) == shown.replace("\n", "")


def outcome():
    return Outcome("ingest", FORGED, "quarantined", f"'{FORGED}' is no video")


def page_of(text: str) -> str:
    table = Table.of([text], [[Cell(text, link=text, note=text)]])
    faces = (VideoFaces(text, (Thumbnail(text, 0.0, "data:image/jpeg;base64,"),)),)
    run = RunFacts(text, text, text, text, {}, [text], {}, False, [], [text], table, text, faces)
    return render(
        "experiments.html",
        title=text,
        run=run,
        of_papers=True,
        notices=[text],
        comparison=table,
        legend=text,
        sections=[],
        faces_note=text,
        code=[text],
        script=Script.of("tables.js"),
    )


def test_no_text_of_a_page_is_taken_for_html():
    page = page_of("<script>alert('\"')</script>&")
    assert page.count("<script") == 1, "its own"
    assert page.count("&lt;script&gt;alert(&#39;&#34;&#39;)&lt;/script&gt;&amp;") == 22


INGEST = task("ingest", "ingest {name}")(lambda name: None)


@pytest.mark.parametrize(
    "show",
    [
        lambda: to_terminal(FORGED),
        lambda: print_table(("file", FORGED), [(FORGED, "why")], FORGED),
        lambda: print_json({FORGED: FORGED}),
        lambda: Screen().outcome(outcome()),
        lambda: sys.stdout.write(page_of(FORGED)),
        lambda: sys.stdout.write(str(as_state([outcome()]).message)),
        lambda: sys.stdout.write(
            titled(task("ingest", "ingest {name}")(lambda name: None), Group.of_one(("", (FORGED,))))
        ),
    ],
    ids=["line", "table", "json", "screen", "page", "state", "name of a task's run"],
)
def test_a_forged_name_reaches_neither_screen_nor_page_nor_state(show, capsys):
    show()
    said = "".join(capsys.readouterr())
    assert not set(said) & set("\x1b\x9b\x07\u202e\u2028\x85\udce9")
    assert not any(line.startswith("v9") for line in said.splitlines())


def test_what_prefect_is_told_of_a_run_is_printable():
    from affstore.flows.prefect_stage import readable, state_of

    ((key, (value, number)),) = readable({FORGED: (FORGED, 3)}).items()
    for text in (key, value, state_of([outcome()]).message):
        assert printable(FORGED) in text
        assert printable(text) == text
    assert number == 3
