"""The digests that files of weights are known by, and who vouches for them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from affstore.models.weights.entry import WeightsEntry
from affstore.models.weights.records import WeightsRecord
from affstore.store.contract.errors import WeightsDigestError

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class FileDigests:
    """A file's digests: git's blob id and SHA-256."""

    git_blob_sha1: str
    sha256: str

    def published(self, entry: WeightsEntry) -> bool:
        """Whether they are all that were published for the entry, and at least one was."""
        pairs = [(entry.git_blob_sha1, self.git_blob_sha1), (entry.sha256, self.sha256)]
        known = [(expected, found) for expected, found in pairs if expected]
        return bool(known) and all(expected == found for expected, found in known)


class Digesting:
    """Digests of `size` bytes, computed while they come."""

    def __init__(self, size: int) -> None:
        self._blob = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
        self._sha256 = hashlib.sha256()

    def update(self, block: bytes) -> None:
        """The next bytes."""
        self._blob.update(block)
        self._sha256.update(block)

    def update_from(self, path: Path) -> None:
        """All bytes of a file, read in blocks."""
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                self.update(block)

    def digests(self) -> FileDigests:
        """The digests of what came so far."""
        return FileDigests(self._blob.hexdigest(), self._sha256.hexdigest())


def digests_of(path: Path) -> FileDigests:
    """Digests of a file's bytes."""
    digesting = Digesting(path.stat().st_size)
    digesting.update_from(path)
    return digesting.digests()


@dataclass(frozen=True, slots=True)
class Trust:
    """What a user takes beside the published bytes.

    Attributes:
        any_digest: any file of the right layout.
        sha256: the digest that the user knows the file by; whatever has another one is refused.
    """

    any_digest: bool = False
    sha256: str = ""

    def require_digest(self, entry: WeightsEntry) -> None:
        """See, before anything is fetched, that there will be something to hold the file to.

        Raises:
            WeightsDigestError: nobody published a digest, and the user says nothing either.
        """
        if not (entry.git_blob_sha1 or entry.sha256 or self.any_digest or self.sha256):
            raise WeightsDigestError(
                f"Nobody has published a digest of '{entry.name}', so what {entry.public} sends cannot be verified. "
                f"Add `--sha256 DIGEST` if you know the file by one, or `--any-digest` to take what comes."
            )

    def satisfied_by(self, record: WeightsRecord | None) -> bool:
        """Whether what the record speaks of is what would be taken, so that nothing need be fetched."""
        if record is None or not record.trained:
            return False
        return record.file_sha256 == self.sha256.lower() if self.sha256 else record.official or self.any_digest

    def vouch(self, entry: WeightsEntry, digests: FileDigests, file: str) -> bool:
        """Whether the file is the published one; one that is not has to be the user's own choice.

        Raises:
            WeightsDigestError: neither the publisher nor the user vouches for it.
        """
        if self.sha256 and digests.sha256 != self.sha256.lower():
            raise WeightsDigestError(f"{file} has the SHA-256 {digests.sha256}, not {self.sha256} as you asked for.")
        unknown = not (entry.public or entry.git_blob_sha1 or entry.sha256)
        official = digests.published(entry)
        if not (official or unknown or self.any_digest or self.sha256):
            raise WeightsDigestError(
                f"{file} (SHA-256 {digests.sha256}, git blob {digests.git_blob_sha1}) is not the published file of "
                f"'{entry.name}' ({entry.git_blob_sha1 or entry.sha256 or 'no digest is published'}). It was cut "
                f"short or is another file: fetch it from {entry.public or entry.where}, or add `--any-digest` to take "
                f"it as it is."
            )
        return official


PUBLISHED = Trust()
"""Nothing but the published bytes."""
