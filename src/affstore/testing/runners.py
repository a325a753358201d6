"""What every kind of runner must do, as tests to subclass: give the fixture `kind`."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from typing import Any

import pytest

from affstore.flows.runners.base import RUNNERS, Runner, RunnerKind, RunnerSpec
from affstore.flows.server import Server, prefect_server
from affstore.store.contract.errors import MediaError, UnknownNameError

NUMBERS = (1, 2, -3, 4)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Prefect server for the tests of a module."""
    with prefect_server(tmp_path_factory.mktemp("prefect")) as server:
        server.wait()
        assert server.answers
        yield server


class RunnerContract:
    """Tests of one kind of runner.

    A subclass gives the fixture `kind`, in the scope of its class or module, and may give `options` that its workers
    need. Its module imports the fixture `server` from here.
    """

    @pytest.fixture(scope="class")
    @classmethod
    def kind(cls) -> RunnerKind[Any]:
        """The kind that is tested."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def options(cls) -> dict[str, Any]:
        """Options of the run beside `workers`."""
        return {}

    @pytest.fixture(scope="class")
    @classmethod
    def spec(cls, kind: RunnerKind[Any], options: dict[str, Any]) -> RunnerSpec:
        """Two workers."""
        return RunnerSpec(kind, kind.Options(workers=2, **options))

    @pytest.fixture(scope="class")
    @classmethod
    def runner(cls, spec: RunnerSpec) -> Iterator[Runner]:
        """The workers, started once for all tests."""
        with spec.start() as runner:
            yield runner

    def test_it_is_registered_under_its_name_and_described_in_a_line(self, kind: RunnerKind[Any]) -> None:
        assert RUNNERS.get(kind.name) is kind
        assert kind.description
        assert "\n" not in kind.description

    def test_it_needs_no_option_and_names_those_that_it_does_not_know(self, kind: RunnerKind[Any]) -> None:
        assert RunnerSpec.of(kind.name).options.workers == 0
        with pytest.raises(UnknownNameError, match="Did you mean 'workers'"):
            RunnerSpec.of(kind.name, worker=2)

    def test_its_parallelism_is_what_is_asked_for(self, kind: RunnerKind[Any], options: dict[str, Any]) -> None:
        for workers in (1, 3):
            spread = kind.parallelism(kind.Options(workers=workers, **options))
            assert spread.at_once == workers
            assert 1 <= spread.processes <= workers
        assert kind.parallelism(kind.Options(**options)).at_once >= 1

    def test_its_options_travel(self, spec: RunnerSpec) -> None:
        assert pickle.loads(pickle.dumps(spec.options)) == spec.options

    def test_results_and_errors_come_back_without_prefect(self, spec: RunnerSpec, runner: Runner) -> None:
        _check(_results(Server(""), runner), spec)

    def test_results_and_errors_come_back_under_prefect(self, spec: RunnerSpec, runner: Runner, server: Server) -> None:
        _check(_results(server, runner), spec)
        assert server.answers


def _results(server: Server, runner: Runner) -> dict[str, Any]:
    """What the task `double` gave for each number, an error like any other result."""
    from affstore.flows.stage import results, run_on, stage
    from affstore.testing.tasks import double

    @stage("contract")
    def doubled(context: object) -> dict[str, Any]:
        units = {str(number): (number,) for number in NUMBERS}
        return dict(pair for ended in results(double, units) for pair in ended)

    with run_on(server, runner):
        return doubled(_Context())


class _Context:
    """What Prefect's pages show of a run."""

    store_url, run_id, name = "contract", "0", "contract"


def _check(found: dict[str, Any], spec: RunnerSpec) -> None:
    assert isinstance(found["-3"], MediaError)
    assert str(found["-3"]) == "-3 is negative."
    good = {int(number): result for number, result in found.items() if number != "-3"}
    assert {number: result[0] for number, result in good.items()} == {1: 2, 2: 4, 4: 8}
    here = {process == os.getpid() for _, process in good.values()}
    assert here == {spec.kind.in_process}, "`in_process` says whether tasks run in the process of the command"
