"""The package's own kinds pass the suites that plugins pass; each kind is found by its registry."""

from __future__ import annotations

import pytest

from affstore.flows.runners.base import RUNNERS
from affstore.store.engine.exporters.base import EXPORTERS
from affstore.testing.exporters import ExporterContract
from affstore.testing.runners import RunnerContract, server

__all__ = ["server"]


class TestRunners(RunnerContract):
    @pytest.fixture(scope="class", params=RUNNERS.names())
    @classmethod
    def kind(cls, request):
        return RUNNERS.get(request.param)


class TestExporters(ExporterContract):
    @pytest.fixture(params=EXPORTERS.names())
    def exporter(self, request):
        return EXPORTERS.get(request.param)
