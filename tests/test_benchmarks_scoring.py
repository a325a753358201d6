"""The benchmark of scoring runs, on a size that measures nothing, and checks itself against scikit-learn."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def scoring(monkeypatch):
    """The benchmark's module; it finds what it imports as `python benchmarks/scoring.py` does."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("benchmark_scoring", BENCHMARKS / "scoring.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("table", ["", "frames\n" + "\n".join(map(str, range(5, 205)))])
def test_scoring_is_compared_with_a_loop_and_scikit_learn(scoring, capfd, tmp_path, table):
    if table:
        (tmp_path / "lengths.csv").write_text(table, encoding="utf-8")
    scoring.main(("--rounds", "1", "--share", "0.01", "--lengths", str(tmp_path / "lengths.csv")))
    said = capfd.readouterr().out
    assert ("lengths by lot" in said) == (not table)
    assert "4,458 × 12" in said
    assert "2,805 × 8" in said
    assert "the bar is 1 s" in said


def test_lengths_add_up(scoring, tmp_path):
    for part in scoring.PARTS:
        found = scoring.lengths(part, tmp_path / "none.csv")
        assert (len(found), sum(found)) == (part.videos, part.frames)
        assert min(found) > 0


def test_another_number_than_scikit_learns_stops_it(scoring, monkeypatch, tmp_path):
    monkeypatch.setattr(scoring, "plain", lambda evaluation, videos: 0.123)
    with pytest.raises(SystemExit, match=r"scikit-learn 0\.123"):
        scoring.main(("--rounds", "1", "--share", "0.001", "--lengths", str(tmp_path / "none.csv")))
