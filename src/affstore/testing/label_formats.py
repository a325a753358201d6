"""What every format of label files must do, as tests to subclass: give the fixtures `label_format` and `example`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from affstore.models.labels.base import FORMATS, FrameLabels, LabelFormat
from affstore.store.contract.clock import FrameClock
from affstore.store.contract.errors import AnnotationError
from affstore.store.contract.labels import LabelSpace


@dataclass(frozen=True, slots=True, eq=False)
class LabelExample:
    """A file of the format, and what it says.

    Attributes:
        name: of the file, as `talk.csv`.
        content: of the file.
        space: what the labels are of.
        value: `(frames, columns)` labels of a video of 25 frames a second that begins at 0.
        known: of the same shape; at least one True and one False.
    """

    name: str
    content: bytes
    space: LabelSpace
    value: NDArray[Any]
    known: NDArray[np.bool_]

    def read(self, label_format: LabelFormat, folder: Path) -> FrameLabels:
        """Write the file and read it."""
        (folder / self.name).write_bytes(self.content)
        (found,) = label_format.find(folder)
        return label_format.read(found, self.space, FrameClock.uniform(25, len(self.value)))


class LabelFormatContract:
    """Tests of one format; a subclass gives the fixtures `label_format` and `example`."""

    @pytest.fixture
    def label_format(self) -> LabelFormat:
        """The format that is tested."""
        raise NotImplementedError

    @pytest.fixture
    def example(self) -> LabelExample:
        """A file of it."""
        raise NotImplementedError

    def test_it_is_registered_under_its_name_and_described_in_a_line(self, label_format: LabelFormat) -> None:
        assert FORMATS.get(label_format.name) is label_format
        assert label_format.version >= 1
        assert label_format.description
        assert "\n" not in label_format.description

    def test_its_files_are_found_at_any_depth_and_called_as_their_videos(
        self, label_format: LabelFormat, example: LabelExample, tmp_path: Path
    ) -> None:
        deep = tmp_path / "a" / "validation"
        deep.mkdir(parents=True)
        (deep / example.name).write_bytes(example.content)
        (deep / "other.mp4").touch()
        (deep / f".{example.name}").touch()
        (found,) = label_format.find(tmp_path)
        assert (found.path, found.name, found.format) == (
            deep / example.name,
            Path(example.name).stem,
            label_format.name,
        )
        assert found.split == "validation"

    def test_a_file_says_of_each_frame_what_is_known(
        self, label_format: LabelFormat, example: LabelExample, tmp_path: Path
    ) -> None:
        found = example.read(label_format, tmp_path)
        np.testing.assert_array_equal(found.known, example.known)
        np.testing.assert_array_equal(found.value[example.known], example.value[example.known])
        assert example.known.any()
        assert not example.known.all()

    def test_labels_have_the_shape_and_the_type_of_their_space(
        self, label_format: LabelFormat, example: LabelExample, tmp_path: Path
    ) -> None:
        found = example.read(label_format, tmp_path)
        assert found.value.shape == found.known.shape == (len(example.value), example.space.columns)
        assert found.value.dtype == example.space.dtype
        assert found.known.dtype == np.bool_
        assert example.space.is_valid(found.value[found.known]).all()

    def test_the_same_bytes_say_the_same(
        self, label_format: LabelFormat, example: LabelExample, tmp_path: Path
    ) -> None:
        first, again = example.read(label_format, tmp_path), example.read(label_format, tmp_path)
        np.testing.assert_array_equal(first.value, again.value)
        np.testing.assert_array_equal(first.known, again.known)
        assert first.complaint == again.complaint

    @pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00\x01", b"these are\nno labels"])
    def test_what_is_no_such_file_is_refused_by_its_name(
        self, label_format: LabelFormat, example: LabelExample, tmp_path: Path, content: bytes
    ) -> None:
        (tmp_path / example.name).write_bytes(content)
        (found,) = label_format.find(tmp_path)
        with pytest.raises(AnnotationError, match=example.name):
            label_format.read(found, example.space, FrameClock.uniform(25, 10))
