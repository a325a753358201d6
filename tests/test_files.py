"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from affstore.store.contract.errors import SpecError
from affstore.store.contract.files import replacing


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_a_file_may_be_read_by_whom_the_umask_says_whatever_writes_it(tmp_path, umask):
    before = os.umask(umask)
    try:
        with replacing(tmp_path / "weights.safetensors") as new:
            save_file({"a": np.zeros(3, np.float32)}, new)
        with replacing(tmp_path / "note.json") as new:
            new.write_text("{}")
    finally:
        os.umask(before)
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


def test_what_was_there_stays_where_writing_fails(tmp_path):
    path = tmp_path / "note.json"
    path.write_text("old")

    def write_half():
        with replacing(path) as new:
            new.write_text("ne")
            raise ValueError("half")

    with pytest.raises(ValueError, match="half"):
        write_half()
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("note.json", "old")]


@pytest.mark.parametrize("name", ["a.csv", "映" * 83 + ".csv", "a" * 255])
def test_a_file_may_have_the_longest_name_that_the_disk_allows(tmp_path, name):
    with replacing(tmp_path / name) as new:
        new.write_text("whole")
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [(name, "whole")]


@pytest.mark.parametrize("place", ["", ".", "..", "/", "{folder}"])
def test_a_folder_is_refused_where_a_file_is_to_be_written(tmp_path, place):
    refused = pytest.raises(SpecError, match=r"is a folder, and a file is to be written\. Name a file")
    with refused, replacing(Path(place.format(folder=tmp_path))):
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_named_as_the_user_named_it():
    with pytest.raises(OSError, match=r"'/proc/page\.html'"), replacing(Path("/proc/page.html")):
        pass
