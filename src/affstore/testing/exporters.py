"""What every exporter must do, as tests to subclass: give the fixture `exporter`."""

from __future__ import annotations

from pathlib import Path

import pytest

from affstore import FeatureStore, content_digest
from affstore.store.contract.errors import SpecError
from affstore.store.engine.exporters.base import EXPORTERS, Exporter, export
from affstore.testing.artifacts import commit, film, source, visual


class ExporterContract:
    """Tests of one exporter; a subclass gives the fixture `exporter`."""

    @pytest.fixture
    def exporter(self) -> Exporter:
        """The exporter that is tested."""
        raise NotImplementedError

    @pytest.fixture
    def store(self, tmp_path: Path) -> FeatureStore:
        """Two videos, whose files are there, with an embedding each; in some frames there is no face."""
        sources = [source(name, location=str(film(tmp_path / f"{name}.mkv"))) for name in "ab"]
        artifacts = [*sources, visual("a", gaps=(0, 7)), visual("b", seed=1)]
        return commit(FeatureStore.create(str(tmp_path / "store")), *artifacts)

    def test_it_is_registered_under_its_name_and_described_in_a_line(self, exporter: Exporter) -> None:
        assert EXPORTERS.get(exporter.name) is exporter
        assert exporter.description
        assert "\n" not in exporter.description

    def test_it_writes_into_the_folder_and_says_what(
        self, exporter: Exporter, store: FeatureStore, tmp_path: Path
    ) -> None:
        written = export(store, store.records(), tmp_path / "out", exporter.name)
        assert written
        assert all(path.exists() and path.is_relative_to(tmp_path / "out") for path in written)

    def test_the_same_store_gives_the_same_bytes(self, exporter: Exporter, store: FeatureStore, tmp_path: Path) -> None:
        for name in ("first", "second"):
            export(store, store.records(), tmp_path / name, exporter.name)
        assert _bytes_of(tmp_path / "first") == _bytes_of(tmp_path / "second")

    def test_a_frame_without_a_face_is_not_one_with_zeros(self, exporter: Exporter, tmp_path: Path) -> None:
        found = []
        for name, gaps in {"gaps": (0, 7), "whole": ()}.items():
            store = FeatureStore.create(str(tmp_path / name))
            commit(store, source("a", location=str(film(tmp_path / "a.mkv"))), visual("a", gaps=gaps, zeros=(0, 7)))
            export(store.newest(), store.newest().records("visual"), tmp_path / f"{name}.out", exporter.name)
            found.append(_bytes_of(tmp_path / f"{name}.out"))
        assert found[0] != found[1]

    def test_the_store_is_only_read(self, exporter: Exporter, store: FeatureStore, tmp_path: Path) -> None:
        before = store.snapshot, content_digest(store)
        export(store, store.records(), tmp_path / "out", exporter.name)
        assert (store.newest().snapshot, content_digest(store.newest())) == before

    def test_nothing_is_written_over(self, exporter: Exporter, store: FeatureStore, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "mine").write_text("mine")
        with pytest.raises(SpecError, match="not empty"):
            export(store, store.records(), tmp_path / "out", exporter.name)
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]

    def test_no_artifacts_are_no_error(self, exporter: Exporter, store: FeatureStore, tmp_path: Path) -> None:
        export(store, [], tmp_path / "out", exporter.name)


def _bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
