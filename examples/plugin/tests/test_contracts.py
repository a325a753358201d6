"""The plugin's kinds pass the suites that affstore ships: `pytest examples/plugin/tests`, with the plugin installed."""

from __future__ import annotations

import numpy as np
import pytest
from affstore_example.csv_files import EXPORTER
from affstore_example.local_jobs import RUNNER
from affstore_example.ridge import HEAD
from affstore_example.small_face import EXTRACTOR
from affstore_example.subtitles import LABELS

from affstore.store.contract.labels import task_space
from affstore.testing.exporters import ExporterContract
from affstore.testing.extractors import ExtractorContract
from affstore.testing.heads import HeadKindContract
from affstore.testing.label_formats import LabelExample, LabelFormatContract
from affstore.testing.runners import RunnerContract, server

__all__ = ["server"]


class TestCsvExporter(ExporterContract):
    @pytest.fixture
    def exporter(self):
        return EXPORTER


class TestSmallFace(ExtractorContract):
    @pytest.fixture(scope="class")
    @classmethod
    def kind(cls):
        return EXTRACTOR

    @pytest.fixture(scope="class")
    @classmethod
    def name(cls):
        return "small_face"


class TestSubtitles(LabelFormatContract):
    @pytest.fixture
    def label_format(self):
        return LABELS

    @pytest.fixture
    def example(self):
        text = "1\n00:00:00,000 --> 00:00:00,080\nHappiness\n\n2\n00:00:00,120 --> 00:00:00,150\nAnger\n"
        value, known = np.array([[4], [4], [0], [1]], np.int8), np.array([[True], [True], [False], [True]])
        return LabelExample("talk.srt", text.encode(), task_space("expr"), value, known)


class TestRidgeHead(HeadKindContract):
    @pytest.fixture
    def kind(self):
        return HEAD


class TestLocalJobsRunner(RunnerContract):
    @pytest.fixture(scope="class")
    @classmethod
    def kind(cls):
        return RUNNER
