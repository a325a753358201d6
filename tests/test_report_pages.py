"""The report of a run, of experiments and of a store in a real browser: at any width, in the dark, by the keyboard."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from affstore.flows.cli import call
from affstore.flows.report.experiment_report import write_experiment_report
from affstore.flows.report.face_pictures import Thumbnail
from affstore.flows.report.faces import VideoFaces
from affstore.flows.report.pages import Cell, Table
from affstore.tasks.experiments import ExperimentOutcome
from tests.conftest import accessibility_faults, show_at
from tests.lineage_store import whole_chain
from tests.parameters import usually
from tests.test_experiment_report import FACTS, make_outcome, make_row

DOT = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="
LONG = "a_video_with_a_name_that_nobody_would_type_twice_" * 3
OF_PAPERS = [make_outcome(task, ("papers", "honest")) for task in ("expr", "au", "va")]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A page of each kind, by what it is of."""
    folder = tmp_path_factory.mktemp("pages")
    of_papers = [*OF_PAPERS]
    of_papers.append(ExperimentOutcome(make_row("va", name="abaw6/table1/failed"), "failed", f"no weights in {LONG}"))
    own = [make_outcome("expr", name="mine", title="mine", source="", paper={})]
    about = replace(FACTS, corpus=[f"/data/{LONG}/videos"], notes=[f"a note on {LONG}"])
    rows = [
        ("ingest", f"{LONG}.mp4", Cell("quarantined", "quarantined"), f"'{LONG}.mp4' is no video."),
        ("extract", "b", Cell("done"), "emotieffnet_b0"),
        ("extract", "a", Cell("cached", "cached"), ""),
    ]
    run = replace(
        about,
        title="affstore run 0a1b2c3d",
        tag="v1",
        published=[f"/data/{LONG}/expr-mlp.txt"],
        outcomes=Table.of(("stage", "what", "outcome", "reason"), rows),
        circumstances=f"Begun 2026-03-01 12:30:05 UTC, took 7.2 s, on {LONG}.",
        faces=[VideoFaces(LONG, (Thumbnail(f"main at 0.36 s, from its folder '{LONG}'", 0.36, DOT),) * 3)],
    )
    store = whole_chain(str(folder / "store"), folder)
    assert call(["report", "--store", store.url, "--to", str(folder / "store.html")]) == 0
    return {
        "the papers' experiments": write_experiment_report(of_papers, folder / "papers", about),
        "own experiments": write_experiment_report(own, folder / "own", about),
        "a run": write_experiment_report(own, folder / "run", run),
        "a run without experiments": write_experiment_report([], folder / "bare", run),
        "a store": folder / "store.html",
    }


def opened(browser, page, scheme="light", width=1400):
    """Show a page with all that is folded unfolded."""
    show_at(browser, width, scheme)
    browser.get(page.as_uri())
    browser.execute_script("document.querySelectorAll('details').forEach(one => { one.open = true; })")


@pytest.mark.parametrize("scheme", usually(["light", "dark"]))
def test_no_page_scrolls_sideways(pages, browser, scheme):
    for name, page in pages.items():
        opened(browser, page, scheme)
        for width in (1400, 420):
            show_at(browser, width, scheme)
            shown = browser.execute_script("return document.documentElement.scrollWidth")
            assert shown <= width, f"{name} at {width} px"
    assert [one for one in browser.get_log("browser") if one["level"] == "SEVERE"] == []


@pytest.mark.parametrize("look", usually(product(["light", "dark"], [420, 1400])), ids=str)
def test_no_page_has_a_serious_fault(pages, browser, look):
    scheme, width = look
    for name, page in pages.items():
        opened(browser, page, scheme, width)
        assert accessibility_faults(browser) == [], name
    assert [one for one in browser.get_log("browser") if one["level"] == "SEVERE"] == []


def test_a_page_in_the_dark_has_no_serious_fault(pages, browser):
    opened(browser, pages["a run"], "dark")
    assert accessibility_faults(browser) == []


def titles_shown(browser):
    """The experiments whose lines are shown, from the top."""
    found = browser.find_elements("css selector", "table[data-rows=experiments] td:first-child a")
    return [one.text for one in found if one.is_displayed()]


def test_the_table_of_experiments_is_sifted_and_sorted_by_the_keyboard(pages, browser):
    from selenium.webdriver.common.keys import Keys

    opened(browser, pages["the papers' experiments"])
    assert titles_shown(browser) == ["the expr row", "the au row", "the va row", "the va row"]
    sift = browser.find_element("css selector", ".tools input")
    sift.send_keys("CCC valence")
    assert titles_shown(browser) == ["the va row", "the va row"]
    assert browser.find_element("css selector", ".tools [role=status]").text == "2 of 4"
    sift.send_keys(Keys.BACKSPACE * len("CCC valence"))
    assert len(titles_shown(browser)) == 4

    values = {outcome.experiment.title: outcome.results[0].scores.value for outcome in OF_PAPERS}
    increasing = sorted(values, key=values.__getitem__)
    [column] = [one for one in browser.find_elements("css selector", "th button") if "papers" in one.text]
    for turn, order in (("ascending", increasing), ("descending", increasing[::-1])):
        column.send_keys(Keys.ENTER)
        assert column.find_element("xpath", "..").get_attribute("aria-sort") == turn
        assert titles_shown(browser) == [*order, "the va row"], "what failed has no number and comes last"
    second = browser.find_elements("css selector", "table[data-rows=experiments] tbody tr")[-1]
    assert second.text.startswith("CCC valence"), "an experiment's second line stays below its first"


def test_the_outcomes_of_a_run_and_the_costs_of_a_store_are_sorted_too(pages, browser):
    from selenium.webdriver.common.keys import Keys

    for page, table in (("a run", "outcomes"), ("a store", "costs")):
        opened(browser, pages[page])
        button = browser.find_element("css selector", f"table[data-rows={table}] th button")
        button.send_keys(Keys.SPACE)
        shown = [row.text.split()[0] for row in browser.find_elements("css selector", f"[data-rows={table}] tbody tr")]
        assert shown == sorted(shown)
        button.send_keys(Keys.SPACE)
        shown = [row.text.split()[0] for row in browser.find_elements("css selector", f"[data-rows={table}] tbody tr")]
        assert shown == sorted(shown, reverse=True)
