"""The optional parts of the installation: which packages each needs, and what to type where one is missing."""

from __future__ import annotations

import importlib.util

from affstore.store.contract.errors import SpecError

EXTRAS: dict[str, tuple[str, ...]] = {
    "heads": ("tensorflow",),
    "automl": ("lightautoml",),
    "cluster": ("dask", "distributed", "dask_jobqueue"),
    "docs": ("mkdocs", "mkdocstrings"),
}
"""The packages that each extra of `pyproject.toml` stands for, as they are imported. `heads` installs matplotlib too,
without which a report has no figures, and nothing else is missing."""


def require_extra(extra: str, what: str) -> None:
    """See that an extra is installed.

    Args:
        extra: its name; empty for what needs none.
        what: what needs it, as the subject of a sentence.

    Raises:
        SpecError: it is not; the message says what to type.
    """
    missing = [package for package in EXTRAS.get(extra, ()) if not is_installed(package)]
    if missing:
        raise SpecError(
            f"{what} needs {', '.join(missing)}, not installed here. In affstore's folder, type "
            f"`pip install -c requirements.lock -e '.[{extra}]'`."
        )


def require_package(package: str, what: str, advice: str) -> None:
    """See that a package is installed that is in no extra, as its own requirements bind others.

    Args:
        package: as it is imported.
        what: what needs it, as the subject of a sentence.
        advice: what to type.

    Raises:
        SpecError: it is not.
    """
    if not is_installed(package):
        raise SpecError(f"{what} needs {package}, not installed here: `{advice}`.")


def is_installed(package: str) -> bool:
    """Whether a package can be imported; it is not imported by this."""
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return False
