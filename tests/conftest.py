"""Fixtures every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real media and reference outputs that are not part of the repository."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the reference media at {SHARED}, which is not on this machine")
    return SHARED
