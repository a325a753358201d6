"""The optional parts of the installation: which packages each needs, and what to type where one is missing."""

from __future__ import annotations

import importlib.util

from affstore.store.contract.errors import SpecError

EXTRAS: dict[str, tuple[str, ...]] = {
    "heads": ("tensorflow", "matplotlib"),
    "automl": ("lightautoml",),
    "cluster": ("prefect_dask", "dask", "distributed"),
}
"""The packages of each extra of `pyproject.toml`, as they are imported."""


def require_extra(extra: str, what: str) -> None:
    """See that an extra is installed.

    Args:
        extra: its name; empty for what needs none.
        what: what needs it, as the subject of a sentence.

    Raises:
        SpecError: it is not; the message says what to type.
    """
    missing = [package for package in EXTRAS.get(extra, ()) if _missing(package)]
    if missing:
        raise SpecError(
            f"{what} needs {', '.join(missing)}, not installed here. In affstore's folder, type "
            f"`pip install -c requirements.lock -e '.[{extra}]'`."
        )


def _missing(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is None
    except (ImportError, ValueError):
        return True
