"""`affstore doctor`."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from affstore.flows.commands import COMMANDS, Command
from affstore.flows.commands.options import DEFAULT_STORE, Json, NoAt, Store, print_json, print_table, refuse_at
from affstore.store.contract.errors import AffstoreError, NotFoundError
from affstore.store.contract.printable import counted
from affstore.store.contract.usable import usable_cores


class Finding(NamedTuple):
    """What one check found; `healthy` None means worth knowing, not wrong."""

    check: str
    healthy: bool | None
    text: str


def doctor(*, store: Store = DEFAULT_STORE, at: NoAt = None, json: Json = False) -> int:
    """Say whether this machine, this store and the Prefect server are healthy, and what to do where they are not.

    The exit code is 1 when something is wrong.

    Example: affstore doctor --store affstore-data
    """
    refuse_at(at, "the machine and the store are looked at as they are now. `affstore verify` takes it.")
    findings = [finding for check in _CHECKS for finding in check(store)]
    if json:
        print_json([finding._asdict() for finding in findings])
    else:
        marks = {True: "ok", False: "WRONG", None: "note"}
        print_table(("", "check", "found"), [(marks[f.healthy], f.check, f.text) for f in findings])
    return 1 if any(finding.healthy is False for finding in findings) else 0


def _packages(store: str) -> Iterator[Finding]:
    """Whether Python and the installed packages are those that affstore asks for."""
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    from affstore.tasks.specs import installed_versions

    own = importlib.metadata.metadata("affstore")
    python = ".".join(map(str, sys.version_info[:3]))
    wanted = SpecifierSet(own["Requires-Python"])
    found = f"{python}, {counted(usable_cores(), 'core', 'cores')}"
    fits = python in wanted
    yield Finding("Python", fits, found if fits else f"{found}; affstore needs {wanted}: install such a Python")
    wrong = []
    for text in own.get_all("Requires-Dist") or ():
        requirement = Requirement(text)
        marker, here = requirement.marker, installed_versions([requirement.name]).get(requirement.name)
        needed = marker is None or marker.evaluate({"extra": ""})
        # What an extra asks for counts where it is installed.
        if here is not None and not requirement.specifier.contains(here, prereleases=True):
            wrong.append(f"{requirement.name} {here}, and affstore needs {requirement.specifier}")
        elif here is None and needed:
            wrong.append(f"{requirement.name} is not installed")
    advice = "; ".join(sorted({*wrong})) + ": run `pip install --upgrade affstore`"
    yield Finding("packages", not wrong, advice if wrong else "all have the versions that affstore needs")


def _plugins(store: str) -> Iterator[Finding]:
    from affstore.flows.offers import problems

    broken = problems()
    for offer in broken:
        yield Finding("plugins", False, offer.problem)
    if not broken:
        yield Finding("plugins", True, "all that are installed can be used; see `affstore list`")


def _gpu(store: str) -> Iterator[Finding]:
    import torch

    if torch.cuda.is_available():
        yield Finding("GPU", True, torch.cuda.get_device_name())
    else:
        yield Finding("GPU", None, "none; networks run on the CPU")


def _detector(store: str) -> Iterator[Finding]:
    from affstore.models.faces.specs import DetectorSpec, resolve

    yield _attempt("face detector", lambda: f"mtcnn weights {resolve(DetectorSpec()).weights_sha256[:12]}")


def _weights(store: str) -> Iterator[Finding]:
    from affstore.models.extractors.registry import entries
    from affstore.models.weights.folder import default_folder

    folder = default_folder()
    records = [status.record for status in map(folder.status, sorted(entries())) if status.record]
    trained = [record for record in records if record.trained]
    unofficial = [record.name for record in trained if record.provenance == "unofficial"]
    text = f"{len(trained)} of {len(entries())} trained networks in {folder.root}"
    text += f"; not known to be the published files: {', '.join(unofficial)}" if unofficial else ""
    yield Finding("weights", True if trained else None, text if trained else f"{text}; see `affstore weights list`")


def _store(store: str) -> Iterator[Finding]:
    from affstore import FeatureStore

    try:
        opened = FeatureStore(store)
        yield Finding("store", True, f"{len(opened.records())} artifacts at snapshot {opened.snapshot}")
    except NotFoundError as error:
        yield Finding("store", None, str(error))
    except AffstoreError as error:
        yield Finding("store", False, str(error))


def _disk(store: str) -> Iterator[Finding]:
    from affstore.store.engine.places import is_local, local_folder

    if is_local(store):
        folder = _existing(local_folder(store))
        free_gb = shutil.disk_usage(folder).free / 1e9
        yield Finding("disk", free_gb > 1, f"{free_gb:.0f} GB free at {folder}")
        yield Finding(
            "writing",
            os.access(folder, os.W_OK),
            f"{folder} can{'' if os.access(folder, os.W_OK) else 'not'} be written",
        )


def _server(store: str) -> Iterator[Finding]:
    import urllib.error
    import urllib.request

    url = os.environ.get("PREFECT_API_URL")
    if not url:
        yield Finding(
            "Prefect server",
            None,
            "PREFECT_API_URL is not set: longer runs start one, shared by the commands on a store",
        )
        return
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5):
            yield Finding("Prefect server", True, f"{url} answers")
    except (urllib.error.URLError, OSError, ValueError) as error:
        yield Finding("Prefect server", False, f"{url} does not answer ({error}): start it, or unset PREFECT_API_URL")


def _attempt(check: str, attempt: Callable[[], str]) -> Finding:
    try:
        return Finding(check, True, attempt())
    except AffstoreError as error:
        return Finding(check, False, str(error))


def _existing(path: Path) -> Path:
    """The path, or its nearest parent that exists."""
    return path if path.exists() else _existing(path.parent)


_CHECKS = (_packages, _plugins, _gpu, _detector, _weights, _store, _disk, _server)


COMMANDS.register("doctor", Command(doctor))
