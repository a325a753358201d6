"""The parameters on this machine: converted once, checked, and named by what they are."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from models.extractors.specs import WeightsRef
from models.weights.download import Progress, download
from models.weights.records import WeightsRecord, digests_of, locked, read_record, replacing, write_record
from models.weights.registry import WeightsEntry, entry_of
from models.weights.untrained import SEED, recipe_of
from store.contract.errors import WeightsDigestError, WeightsMissingError
from store.contract.keys import digest_arrays, key_of

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class WeightsStatus:
    """Whether an entry's parameters are on this machine.

    Attributes:
        name: the entry.
        record: what is known of the parameters; the trained ones where there are both. None when they are missing.
    """

    name: str
    record: WeightsRecord | None

    @property
    def present(self) -> bool:
        """Whether the entry can be run without fetching anything."""
        return self.record is not None


def default_folder() -> WeightsFolder:
    """The folder that `AFFSTORE_WEIGHTS` names, else `~/.cache/affstore/weights`."""
    return WeightsFolder(Path(os.environ.get("AFFSTORE_WEIGHTS") or "~/.cache/affstore/weights").expanduser())


class WeightsFolder:
    """`parameters/<sha256>.safetensors`, and one small record an entry that says which.

    Any number of processes may read and write at once: every file appears whole, and under a name that says what it is.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def status(self, name: str) -> WeightsStatus:
        """What is here of an entry.

        Raises:
            UnknownNameError: there is no such entry.
        """
        entry_of(name)
        kept = [self._record_path(name), *sorted(self.root.glob(f"records/{name}.untrained-*.json"))]
        return WeightsStatus(name, next(filter(None, map(self._record, kept)), None))

    def pull(
        self, entry: WeightsEntry, mirror: Path | None = None, on_progress: Progress | None = None
    ) -> WeightsStatus:
        """Fetch, check and convert an entry's published file; nothing is fetched twice.

        Args:
            entry: what to fetch.
            mirror: a folder that holds the published files, used instead of the network.
            on_progress: told the bytes so far and in all.

        Raises:
            WeightsMissingError: the mirror does not have the file.
            WeightsDigestError: what came is not what was published.
            ArchitectureError: affstore has no network for it yet, or it is another network's.
            WeightsError: it cannot be fetched, read or written.
        """
        if mirror:
            self._keep(entry, mirror / entry.file, source=entry.url, any_digest=False)
        else:
            self._fetch(entry, on_progress)
        return WeightsStatus(entry.name, self._record(self._record_path(entry.name)))

    def import_file(self, name: str, path: Path, any_digest: bool = False) -> WeightsStatus:
        """Check and convert a file that was fetched by other means, in place of what the entry had.

        Args:
            name: the entry it belongs to.
            path: the published file.
            any_digest: take a file of the same layout but other numbers; its record says that it is not official.

        Raises:
            UnknownNameError: there is no such entry.
            WeightsMissingError: there is no such file.
            WeightsDigestError: it is not the published file, and `any_digest` is not set.
            WeightsError: it cannot be read or is another network's.
        """
        self._keep(entry_of(name), path, source=str(path), any_digest=any_digest)
        return self.status(name)

    def verify(self, name: str) -> WeightsStatus:
        """Compute the digest of an entry's parameters again.

        Raises:
            WeightsMissingError: they are not here.
            WeightsDigestError: they are no longer what was written.
        """
        status = self.status(name)
        if status.record is None:
            raise self._missing(name)
        self.load(status.record.sha256)
        return status

    def load(self, sha256: str) -> dict[str, torch.Tensor]:
        """The parameters of that digest, checked.

        Raises:
            WeightsMissingError: they are not here.
            WeightsDigestError: the file is damaged.
        """
        import safetensors
        import safetensors.torch

        path = self._parameters_path(sha256)
        if not path.exists():
            raise WeightsMissingError(
                f"No parameters {sha256[:12]} in {self.root}; `affstore weights list` shows what is."
            )
        try:
            parameters: dict[str, torch.Tensor] = safetensors.torch.load(path.read_bytes())
        except safetensors.SafetensorError as error:
            raise WeightsDigestError(f"{path} is damaged ({error}). Delete it and fetch the weights again.") from error
        if (found := digest_parameters(parameters)) != sha256:
            raise WeightsDigestError(f"{path} now has the digest {found[:12]}. Delete it and fetch the weights again.")
        return parameters

    def resolve(self, ref: WeightsRef, untrained: bool = False) -> WeightsRef:
        """Fill in which parameters a name stands for on this machine; torch is imported only to make untrained ones.

        Args:
            ref: the name of an entry, with or without a digest.
            untrained: take seeded, untrained parameters, made on first use.

        Raises:
            WeightsMissingError: they are not here; the message says what to type.
        """
        if ref.sha256:
            if not self._parameters_path(ref.sha256).exists():
                raise self._missing(ref.name)
            return ref
        record = self._untrained(ref.name) if untrained else self._record(self._record_path(ref.name))
        if record is None:
            raise self._missing(ref.name)
        return dataclasses.replace(ref, sha256=record.sha256, trained=record.trained)

    def _untrained(self, name: str) -> WeightsRecord | None:
        recipe = recipe_of(name, SEED)
        path = self.root / "records" / f"{name}.untrained-{key_of(recipe)[:12]}.json"
        if self._record(path) is None:
            with locked(path):
                if self._record(path) is None:
                    sha256 = self._store(recipe.parameters())
                    source = (
                        f"untrained: {recipe.extractor} {recipe.version}, recipe {recipe.recipe}, seed {recipe.seed}"
                    )
                    write_record(path, WeightsRecord(name, sha256, trained=False, official=False, source=source))
        return self._record(path)

    def _fetch(self, entry: WeightsEntry, on_progress: Progress | None) -> None:
        """Download into a part that outlives this process, so that the next attempt goes on from it."""
        from models.weights.architectures import layout

        path, part = self._record_path(entry.name), self.root / "downloads" / f"{entry.name}.part"
        layout(entry.architecture, entry.outputs)  # nothing is fetched that no network can use
        with locked(path), locked(part):
            record = self._record(path)
            if record and record.official:
                return
            download(entry.url, part, on_progress)
            try:
                self._keep(entry, part, source=entry.url, any_digest=False)
            finally:
                part.unlink()

    def _keep(self, entry: WeightsEntry, path: Path, source: str, any_digest: bool) -> None:
        from models.weights.convert import read_published

        if not path.is_file():
            raise WeightsMissingError(f"There is no file {path} to take '{entry.name}' from.")
        digests = digests_of(path)
        official = digests.published(entry)
        if not (official or any_digest):
            wanted = entry.git_blob_sha1 or entry.sha256
            raise WeightsDigestError(
                f"{path} ({path.stat().st_size} bytes, SHA-256 {digests.sha256[:8]}, git blob {digests.git_blob_sha1}) "
                f"is not the published file of '{entry.name}' ({wanted}). It was cut short or is another file: "
                f"fetch it from {entry.url}."
            )
        sha256 = self._store(read_published(path, entry))
        record = WeightsRecord(entry.name, sha256, True, official, source, digests.sha256)
        write_record(self._record_path(entry.name), record)

    def _record(self, path: Path) -> WeightsRecord | None:
        """The record in that file, if the parameters it speaks of are here."""
        record = read_record(path)
        return record if record and self._parameters_path(record.sha256).exists() else None

    def _store(self, parameters: dict[str, torch.Tensor]) -> str:
        """Write parameters under their own digest, once."""
        import safetensors.torch

        sha256 = digest_parameters(parameters)
        with replacing(self._parameters_path(sha256)) as new:
            safetensors.torch.save_file(parameters, new)
        return sha256

    def _record_path(self, name: str) -> Path:
        return self.root / "records" / f"{name}.json"

    def _parameters_path(self, sha256: str) -> Path:
        return self.root / "parameters" / f"{sha256}.safetensors"

    def _missing(self, name: str) -> WeightsMissingError:
        entry = entry_of(name)
        return WeightsMissingError(
            f"The weights '{name}' are not in {self.root}. Type `affstore weights pull {name}`, or "
            f"`affstore weights import {name} FILE` with {entry.file}, or use `--weights untrained`."
        )


def digest_parameters(parameters: dict[str, torch.Tensor]) -> str:
    """SHA-256 of the parameters themselves: names, dtypes, shapes and numbers, in the order of the names."""
    return digest_arrays({name: tensor.numpy() for name, tensor in parameters.items()})
