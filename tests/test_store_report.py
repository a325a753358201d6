"""The page of a store: offline, walked by clicking in a real browser, with the store's own figures, and accessible."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from affstore import FeatureStore
from affstore.flows.cli import call
from affstore.store.contract.records import Address, Artifact
from affstore.tasks import recipes
from affstore.testing.artifacts import commit, source, visual
from tests.conftest import accessibility_faults
from tests.lineage_store import FRAMES, NAMES, prediction, whole_chain
from tests.lineage_store import visual as embedding
from tests.parameters import usually

MOST_BYTES = 5_000_000
HOSTILE = "<img src=x onerror=alert(1)>"


def decoded(name, **attributes):
    """A video that was decoded as today's code decodes."""
    made = source(name, **attributes)
    return replace(made, recipe=recipes.source(made.attributes["sha256"]))


def refused(name):
    recipe = {"stage": "ingest", "name": name, "bytes": "0" * 64}
    facts = {"name": name, "location": f"/videos/{name}", "reason": "It is no video."}
    return Artifact(Address("quarantine", "ingest", "0" * 16), recipe, {}, facts)


def result(store):
    parents = tuple(record.as_parent() for record in store.records("prediction", "label"))
    scores = {"headline": "macro F1", "value": 0.4321, "frames": FRAMES}
    facts = {"row": "expr-mlp", "task": "expr", "protocol": "papers", "scores": scores, "interval": [0.31, 0.52]}
    more = {"chosen": {}, "paper": {}, "seen": False}
    return Artifact(Address("result", "expr-mlp@papers"), {"of": "expr-mlp"}, {}, facts | more, parents)


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """A store whose head was fitted on an embedding that was replaced since, with a refused file of a hostile name."""
    folder = tmp_path_factory.mktemp("reported")
    store = whole_chain(str(folder / "store"), folder, (decoded("a", aliases=["copy"]), decoded("b")))
    store = commit(store, result(store), message="score: 1", run_id="r2")
    store.tag("v1")
    for put in (embedding(store, "a", seed=5), prediction(store, "b", shift=1), refused(f"{HOSTILE}.mp4")):
        draft = store.draft({"affstore": "test"}, "r3")
        draft.put(put)
        store.commit([draft], "extract: 1", {"run_id": "r3"})
    return store.url


def page_of(url, path, *words):
    assert call(["report", *words, "--store", url, "--to", str(path)]) == 0
    return path.read_text(encoding="utf-8")


def test_the_figures_of_the_page_are_those_of_the_store(url, tmp_path):
    text = page_of(url, tmp_path / "store.html")
    store = FeatureStore(url)
    assert f"{len(store.records())} artifacts, 2 videos" in text
    assert store.snapshot in text
    assert "0.432 <small>[0.310, 0.520]</small>" in text
    assert "its visual/toy/a/main was computed anew" in text
    assert "ingest: It is no video." in text
    assert HOSTILE not in text
    assert "What changed since the generation before, tag v1" in text
    assert re.search(r"embedding: 40 of 40 rows, at most \d", text)
    (size,) = re.findall(r"<tr><td>visual</td><td>toy</td>.*?>([\d.]+)</td></tr>", text)
    arrays = [store.read(address) for address in store.addresses("visual")]
    assert float(size) == pytest.approx(sum(a.nbytes for one in arrays for a in one.values()) / 1e6, abs=0.005)


def test_equal_stores_give_equal_pages(url, tmp_path):
    assert page_of(url, tmp_path / "a.html") == page_of(url, tmp_path / "b.html")


def test_a_publication_and_a_run_have_pages_of_their_own(url, tmp_path):
    published = page_of(url, tmp_path / "tag.html", "v1")
    assert "affstore publication v1" in published
    assert "computed anew" not in published
    run = page_of(url, tmp_path / "run.html", "r3")
    assert "3 artifacts" in run
    assert "affstore run r3" in run
    assert "There are no results" in run


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["r33"], "no tag and no run 'r33'. Did you mean 'r3'?"),
        (["nothing like it"], "`affstore log` lists runs and tags"),
        (["--at", "0" * 20], "has expired"),
    ],
)
def test_what_cannot_be_reported_is_one_sentence(url, tmp_path, capsys, words, said):
    assert call(["report", "--to", str(tmp_path / "x.html"), "--store", url, *words]) == 4
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "x.html").exists()


def test_a_dry_run_writes_no_page(url, tmp_path, capsys):
    assert call(["report", "--store", url, "--to", str(tmp_path / "x.html"), "--dry-run"]) == 0
    assert "would be shown" in capsys.readouterr().out
    assert not (tmp_path / "x.html").exists()


def test_an_empty_store_has_a_page(tmp_path):
    text = page_of(FeatureStore.create(str(tmp_path / "store")).url, tmp_path / "empty.html")
    assert "0 artifacts, 0 videos: nothing." in text


# In a browser


def is_at(browser, *paths):
    """Whether one of these artifacts is looked at, soon: the page follows its own address a moment later."""
    from selenium.common.exceptions import StaleElementReferenceException
    from selenium.webdriver.support.ui import WebDriverWait

    def heading(browser):
        return browser.find_element("css selector", "#focus h3").text

    wait = WebDriverWait(browser, 30, ignored_exceptions=[StaleElementReferenceException])
    return wait.until(lambda browser: heading(browser) in paths, f"looked for {paths}")


def offered(browser, side):
    return [one.text for one in browser.find_elements("css selector", f"#{side} button")]


def press(browser, side, path):
    next(one for one in browser.find_elements("css selector", f"#{side} button") if one.text == path).click()


def test_the_graph_is_walked_by_clicking_and_by_keyboard(url, tmp_path, browser):
    from selenium.webdriver.common.keys import Keys

    page_of(url, tmp_path / "store.html")
    browser.get(f"file://{tmp_path}/store.html")
    assert is_at(browser, "prediction/expr-mlp/a/main", "result/expr-mlp@papers")
    browser.find_element("link text", "a").click()
    assert is_at(browser, "source/a")
    assert offered(browser, "children") == [
        *("face/mtcnn/a/main", "label/expr/a/main", "visual/toy/a/main"),
    ]
    press(browser, "children", "visual/toy/a/main")
    assert is_at(browser, "visual/toy/a/main")
    press(browser, "children", "head/expr-mlp")
    assert is_at(browser, "head/expr-mlp")
    records = FeatureStore(url).get(Address("head", "expr-mlp"))
    assert offered(browser, "parents") == [parent.path for parent in records.parents]
    assert records.key[:12] in browser.find_element("id", "focus").text
    assert "its visual/toy/a/main was computed anew" in browser.find_element("id", "focus").text
    browser.back()
    assert is_at(browser, "visual/toy/a/main")
    search = browser.find_element("id", "find-artifact")
    search.send_keys("label/expr/b", Keys.ENTER)
    assert is_at(browser, "label/expr/b/main")
    button = browser.find_element("css selector", "#parents button")
    button.send_keys(Keys.ENTER)
    assert is_at(browser, "source/b")
    assert [one for one in browser.get_log("browser") if one["level"] == "SEVERE"] == []


@pytest.mark.parametrize("scheme", usually(["light", "dark"]))
def test_the_page_has_no_serious_fault_of_accessibility(url, tmp_path, browser, scheme):
    page_of(url, tmp_path / "store.html")
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.get(f"file://{tmp_path}/store.html")
    assert accessibility_faults(browser) == []


def test_the_coverage_is_sifted(url, tmp_path, browser):
    page_of(url, tmp_path / "store.html")
    browser.get(f"file://{tmp_path}/store.html")
    rows = browser.find_elements("css selector", "#covered tbody tr")
    browser.find_element("id", "find-video").send_keys("b")
    assert [row.find_element("tag name", "th").text for row in rows if row.is_displayed()] == ["b"]
    browser.find_element("id", "find-video").send_keys("\b")
    assert all(row.is_displayed() for row in rows)
    browser.find_element("id", "only-faults").click()
    lacking = [row.find_element("tag name", "th").text for row in rows if row.is_displayed()]
    assert set(lacking) >= {"a", "b"}, "the predictions of both are stale"


def labels_and_predictions(store, names):
    """A label of each video, two heads that were fitted on all of them, and what these predict for each."""
    of = {"frames": 8, "task": "expr", "labels": list(NAMES)}
    sources = {one.address.video: one.as_parent() for one in store.records("source")}
    value = {"value": np.zeros((8, 1), np.int8), "known": np.ones((8, 1), bool)}
    facts = of | {"split": "train", "location": "/annotations.txt", "complaint": None}
    labels = [
        Artifact(Address("label", "expr", one, "main"), {"of": one}, value, facts, (sources[one],)) for one in names
    ]
    store = commit(store, *labels, run_id="r2")
    seen = [one for one in store.records("visual", "label") if one.address.producer in ("network0", "expr")]
    parents, prior = tuple(one.as_parent() for one in seen), {"parameter_prior": np.ones(8, np.float32)}
    facts = {"task": "expr", "labels": list(NAMES), "head": {}, "scores": {"headline": "macro F1", "value": 0.5}}
    for head in ("expr-one", "expr-two"):
        fit = {"fit": {"head": {"kind": "mlp", "name": head}}}
        store = commit(store, Artifact(Address("head", head), fit, prior, facts, parents), run_id="r2")
        fitted, raw = store.get(Address("head", head)).as_parent(), np.full((8, 8), 1 / 8, np.float32)
        arrays = {"raw": raw, "smoothed": raw, "prediction": np.zeros((8, 1), np.int8), "present": np.ones(8, bool)}
        embeddings = [one for one in parents if one.path.startswith("visual/")]
        predicted = [
            Artifact(
                Address("prediction", head, name, "main"), {"head": head, "of": name}, arrays, of, (fitted, parent)
            )
            for name, parent in zip(names, embeddings, strict=True)
        ]
        store = commit(store, *predicted, run_id="r2")
    return store


@pytest.mark.slow
def test_a_thousand_videos_fit_a_page_and_are_walked(tmp_path, browser):
    store = FeatureStore.create("memory:a thousand videos")
    for first in range(0, 1000, 250):
        names = [f"video{number:04}" for number in range(first, first + 250)]
        store = commit(store, *(source(name, 8) for name in names), run_id="r1")
        networks = [f"network{number}" for number in range(5)]
        store = commit(store, *(visual(name, 8, 4, extractor=one) for name in names for one in networks), run_id="r1")
    store = labels_and_predictions(store, [f"video{number:04}" for number in range(1000)])
    store = commit(store, result(store), run_id="r2")
    text = page_of(store.url, tmp_path / "large.html")
    assert (tmp_path / "large.html").stat().st_size <= MOST_BYTES
    assert "9003 artifacts, 1000 videos" in text
    browser.get(f"file://{tmp_path}/large.html")
    browser.find_element("link text", "video0999").click()
    assert is_at(browser, "source/video0999")
    assert accessibility_faults(browser) == []
    press(browser, "children", "label/expr/video0999/main")
    assert is_at(browser, "label/expr/video0999/main")
    press(browser, "children", "head/expr-one")
    assert is_at(browser, "head/expr-one")
    assert [one for one in browser.get_log("browser") if one["level"] == "SEVERE"] == []
