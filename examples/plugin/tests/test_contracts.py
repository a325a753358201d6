"""The plugin's kinds pass the suites that affstore ships: `pytest examples/plugin/tests`, with the plugin installed."""

from __future__ import annotations

import pytest
from affstore_example.csv_files import EXPORTER
from affstore_example.local_jobs import RUNNER
from affstore_example.ridge import HEAD

from affstore.testing.exporters import ExporterContract
from affstore.testing.heads import HeadKindContract
from affstore.testing.runners import RunnerContract, server

__all__ = ["server"]


class TestCsvExporter(ExporterContract):
    @pytest.fixture
    def exporter(self):
        return EXPORTER


class TestRidgeHead(HeadKindContract):
    @pytest.fixture
    def kind(self):
        return HEAD


class TestLocalJobsRunner(RunnerContract):
    @pytest.fixture(scope="class")
    @classmethod
    def kind(cls):
        return RUNNER
