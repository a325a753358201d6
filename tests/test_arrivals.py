"""A source is its bytes: new names of known bytes are aliases, known names of other bytes are not overwritten."""

from __future__ import annotations

from pathlib import Path

import pytest

from affstore import FeatureStore
from affstore.store.contract.errors import SourceError
from affstore.store.contract.keys import key_of
from affstore.store.contract.names import check_name, join_subject, split_subject
from affstore.store.contract.records import Artifact
from affstore.tasks import recipes
from affstore.tasks.arrivals import arrivals
from tests.factories import commit, source


@pytest.fixture
def store(tmp_path):
    artifact = source("a", sha256="1" * 64, location=str(tmp_path / "a.mp4"))
    (tmp_path / "a.mp4").touch()
    real = Artifact(artifact.address, recipes.source("1" * 64), artifact.arrays, artifact.attributes)
    return commit(FeatureStore.create(f"memory:{tmp_path.name}"), real)


def verdict(store, *files, replace_taken=False):
    found = arrivals(store, [(Path(path), Path(path).stem, sha) for path, sha in files], replace_taken)
    return [arrival.verdict for arrival in found]


def test_known_bytes_under_a_known_name_are_known(store):
    assert verdict(store, ("/x/a.mp4", "1" * 64)) == ["known"]


def test_known_bytes_under_a_new_name_are_an_alias(store):
    assert verdict(store, ("/x/b.mp4", "1" * 64)) == ["alias"]


def test_a_file_that_is_no_longer_where_it_was_has_moved(store, tmp_path):
    (tmp_path / "a.mp4").unlink()
    assert verdict(store, ("/x/a.mp4", "1" * 64)) == ["moved"]


def test_other_bytes_under_a_known_name_are_refused_unless_they_replace_it(store):
    assert verdict(store, ("/x/a.mp4", "2" * 64)) == ["taken"]
    assert verdict(store, ("/x/a.mp4", "2" * 64), replace_taken=True) == ["new"]


def test_files_of_one_call_know_of_each_other(store):
    files = [("/x/b.mp4", "3" * 64), ("/x/c.mp4", "3" * 64), ("/y/b.mp4", "4" * 64)]
    assert verdict(store, *files) == ["new", "alias", "taken"]
    assert verdict(store, *files, replace_taken=True) == ["new", "alias", "taken"], "nothing stored is replaced here"


def test_bytes_decoded_in_another_way_than_today_are_taken_in_again(tmp_path):
    old = source("a", sha256="1" * 64)
    store = commit(FeatureStore.create(f"memory:{tmp_path.name}"), old)
    assert store.records()[0].key == key_of(old.recipe)
    assert verdict(store, ("/x/a.mp4", "1" * 64)) == ["new"]


@pytest.mark.parametrize("name", ["", " a", "a/b", "a\\b", "..", "a..b", "-a", ".a", "a\nb", "a\x00", "__x", "x" * 201])
def test_names_that_could_escape_hide_or_be_taken_for_an_option_are_refused(name):
    with pytest.raises(SourceError, match="A video cannot be called"):
        check_name(name)


@pytest.mark.parametrize("name", ["12-24-1920x1080", "video59", "Wolfgang Langer", "día", "112"])
def test_names_of_aff_wild2_and_of_people_are_taken(name):
    assert check_name(name) == name


@pytest.mark.parametrize(
    ("name", "parts"), [("12_left", ("12", "left")), ("12_right", ("12", "right")), ("12", ("12", "main"))]
)
def test_left_and_right_are_subjects_of_one_video(name, parts):
    assert split_subject(name) == parts
    assert join_subject(*parts) == name
    assert split_subject("_left") == ("_left", "main")
