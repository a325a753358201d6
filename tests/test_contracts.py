"""The package's own kinds pass the suites that plugins pass; each kind is found by its registry."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from affstore.flows.runners.base import RUNNERS
from affstore.models.extractors.registry import EXTRACTORS, names
from affstore.store.contract.errors import SpecError
from affstore.store.engine.exporters.base import EXPORTERS
from affstore.testing.exporters import ExporterContract
from affstore.testing.extractors import ExtractorContract
from affstore.testing.runners import RunnerContract, server

__all__ = ["server"]


def runner_names():
    """Every runner; one whose workers are started by a cluster is tested where that is at hand.

    Dask's own is used by the tests of workers, too.
    """
    for name in RUNNERS.names():
        yield pytest.param(name, marks=[] if name == "threads" else [pytest.mark.slow])


class TestRunners(RunnerContract):
    @pytest.fixture(scope="class", params=runner_names())
    @classmethod
    def kind(cls, request):
        return RUNNERS.get(request.param)

    @pytest.fixture(scope="class")
    @classmethod
    def runner(cls, spec):
        with ExitStack() as stack:
            try:
                started = stack.enter_context(spec.start())
            except SpecError as error:
                pytest.skip(str(error))
            yield started


LIGHTEST = ("fer2013_mini_xception", "silero_vad")
"""A face network and a sound network."""


def extractor_names():
    """Every extractor with a name of its own; all but the lightest two take many seconds each."""
    for name in names():
        yield pytest.param(name, marks=[] if name in LIGHTEST else [pytest.mark.slow])


class TestExtractors(ExtractorContract):
    @pytest.fixture(scope="class", params=extractor_names())
    @classmethod
    def name(cls, request):
        return request.param

    @pytest.fixture(scope="class")
    @classmethod
    def kind(cls, name):
        return EXTRACTORS.get(name)


class TestExporters(ExporterContract):
    @pytest.fixture(params=EXPORTERS.names())
    def exporter(self, request):
        return EXPORTERS.get(request.param)
