"""Weights that are not the published bytes: every record, list, page and document says so."""

from __future__ import annotations

import importlib.metadata
import json

import numpy as np
import polars as pl
import pytest

from affstore import FeatureStore, catalogue
from affstore.flows.cli import call
from affstore.models.extractors.face.mobilefacenet import NETWORK as MOBILEFACENET
from affstore.models.weights import architectures
from affstore.models.weights.untrained import draw
from affstore.store.contract.keys import key_of
from affstore.store.contract.records import Address, Provenance, Record, least_trusted
from tests.test_media import write_video

NAME = "mbf_va_mtl"
EXTRACTOR = "mt_emotimobilefacenet"


@pytest.fixture(scope="module")
def added(server, tmp_path_factory):
    """A store whose features were made with parameters of nobody's publication, and the report of that run."""
    import torch

    folder = tmp_path_factory.mktemp("provenance")
    patch = pytest.MonkeyPatch()
    patch.setenv("AFFSTORE_WEIGHTS", str(folder / "weights"))
    torch.save(draw(architectures.layout(MOBILEFACENET, 10), seed=5), folder / "own.pt")
    write_video(folder / "clip.mp4", [np.full((48, 64, 3), 9 * i, np.uint8) for i in range(5)])
    assert call(["weights", "import", NAME, str(folder / "own.pt"), "--any-digest"]) == 0
    arguments = ["add", str(folder / "clip.mp4"), "-e", EXTRACTOR, "--engine", "torch", "--precision", "float32"]
    assert call([*arguments, "--store", str(folder / "store")]) == 0
    yield folder / "store", arguments
    patch.undo()


def said(capsys, *arguments) -> str:
    capsys.readouterr()
    call([str(argument) for argument in arguments])
    return capsys.readouterr().out


def test_records_and_the_catalogue_say_unofficial(added):
    store = FeatureStore(str(added[0]))
    assert {record.provenance for record in store.records("visual")} == {"unofficial"}
    found = catalogue(store).filter(pl.col("family") == "visual")["provenance"].unique().to_list()
    assert found == ["unofficial"]


@pytest.mark.slow
def test_every_command_says_so_to_persons_and_to_programs(added, capsys):
    url, arguments = added
    path = f"visual/{EXTRACTOR}/clip/main"
    for command in (["status"], ["show", "clip"], ["show", path], ["plan", "-e", EXTRACTOR], arguments):
        assert "unofficial" in said(capsys, *command, "--store", url, "--json"), command
    assert "unofficial" in said(capsys, "weights", "list", "--json")
    assert "UNOFFICIAL" in said(capsys, "status", "--store", url)
    assert "UNOFFICIAL" in said(capsys, "show", "clip", "--store", url)
    assert "unofficial" in said(capsys, "show", path, "--store", url)
    assert "not known to be the published file" in said(capsys, "weights", "verify")
    assert f"not known to be the published files: {NAME}" in said(capsys, "doctor")
    again = json.loads(said(capsys, *arguments, "--store", url, "--json"))
    assert again["weights"] == {EXTRACTOR: "unofficial"}
    with open(again["report"], encoding="utf-8") as page:
        assert f"not known to be the published files were used for {EXTRACTOR}" in page.read()


@pytest.mark.parametrize(
    ("made", "provenance"),
    [
        ({"provenance": "published"}, "published"),
        ({"provenance": "unofficial"}, "unofficial"),
        ({"provenance": "untrained"}, "untrained"),
        ({"trained": False}, "untrained"),
        ({"trained": True}, "unofficial"),
        ({"engine": "numpy"}, None),
    ],
)
def test_a_record_has_one_of_three_states_and_old_ones_claim_no_more_than_they_know(made, provenance):
    record = Record(Address("head", "h"), key_of("h"), {}, "", (), made, {}, "", "", {})
    assert record.provenance == provenance


def test_what_is_computed_from_several_is_as_trusted_as_the_least():
    order: list[Provenance | None] = [None, "published", "unofficial", "untrained"]
    for worse, name in enumerate(order):
        for better in order[: worse + 1]:
            assert least_trusted([better, name]) == least_trusted([name, better]) == name


def test_records_name_the_engine_and_the_readers_that_can_change_a_number(added, capsys):
    store = FeatureStore(str(added[0]))
    for package in ("openvino", "opencv-python-headless", "scipy", "simplejpeg", "torchvision"):
        installed = f"{package}=={importlib.metadata.version(package)}"
        assert all(f"{package}=={record.code[package]}" == installed for record in store.records())
        assert call(["impact", installed, "--store", store.url, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)
