"""The pictures of one crop folder, read once: the frames they show, the digest of their bytes, and what is wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from affstore.models.faces.crop_folder import Listing, counts_from
from affstore.models.media.container import sentence
from affstore.models.media.pictures import Decoded, decode
from affstore.store.contract.errors import MediaError
from affstore.store.contract.keys import digest_file
from affstore.store.contract.printable import some

_MOST_BYTES = 1 << 26
_NAMED = 3


class CropPictures:
    """The pictures of one crop folder on a video's frames, read once in the order of their numbers.

    Of several files with one number, that of `Listing.file_of` is used. Numbers that are no frame of the video are left
    out, and so is what cannot be decoded.

    Attributes:
        signature: see `CropFolder`.
        counts_from: the number of the video's first frame, 1 or 0.
        present: `(frames,)` bool: the frames that have a picture, once iterated to the end.
    """

    def __init__(self, folder: Path, frames: int) -> None:
        """List the folder; no file is read yet.

        Raises:
            MediaError: it cannot be listed.
        """
        try:
            self._listing = Listing.of(folder)
        except OSError as error:
            raise MediaError(f"'{folder}' cannot be read: {error.strerror}. Give the folder again.") from error
        self.signature = self._listing.signature
        self.counts_from = counts_from(self._listing.numbers, frames)
        self.present = np.zeros(frames, bool)
        self._folder, self._frames = folder, frames
        self._faults = _Faults()
        self._digest = hashlib.sha256()

    @property
    def digest(self) -> str:
        """SHA-256 over `(frame + 1, SHA-256 of the file)` of the files in use, once iterated to the end."""
        return self._digest.hexdigest()

    @property
    def complaint(self) -> str | None:
        """One sentence on what is wrong with the folder, or None; once iterated to the end."""
        return self._faults.sentence(self._listing, self._frames)

    def __iter__(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Each frame that has a picture, and the picture: RGB `(height, width, 3)`, any size.

        Raises:
            MediaError: a file cannot be read, or there is not one picture to use.
        """
        for number, path, size in self._in_use():
            decoded = self._picture(number, path, size)
            if decoded is not None:
                self.present[number - 1] = True
                yield number - 1, decoded.rgb
        if not self.present.any():
            complaint = f" {self.complaint}" if self.complaint else ""
            raise MediaError(f"'{self._folder}' holds no picture of a frame of this video.{complaint}")

    def digest_alone(self) -> str:
        """The same as `digest`, by reading every file without decoding any."""
        digest = hashlib.sha256()
        for number, path, _ in self._in_use():
            digest.update(_line(number, _read(digest_file, path)))
        return digest.hexdigest()

    def _in_use(self) -> Iterator[tuple[int, Path, int]]:
        """Number, counted from 1, file and bytes of what is read, by number."""
        for number in sorted(self._listing.pictures):
            frame = number - self.counts_from
            if 0 <= frame < self._frames:
                name, size = self._listing.file_of(number)
                yield frame + 1, self._folder / name, size

    def _picture(self, number: int, path: Path, size: int) -> Decoded | None:
        """A file's picture; None where it holds none."""
        if size > _MOST_BYTES:
            self._digest.update(_line(number, _read(digest_file, path)))
            self._faults.unusable.append((path.name, f"{size} bytes are too many for a picture"))
            return None
        content = _read(Path.read_bytes, path)
        self._digest.update(_line(number, hashlib.sha256(content).hexdigest()))
        try:
            decoded = decode(content)
        except MediaError as error:
            self._faults.unusable.append((path.name, str(error)))
            return None
        if decoded.turned:
            self._faults.turned.append(path.name)
        return decoded


def _line(number: int, sha256: str) -> bytes:
    return f"{number}\0{sha256}\n".encode()


def _read[Content](reader: Callable[[Path], Content], path: Path) -> Content:
    try:
        return reader(path)
    except OSError as error:
        raise MediaError(
            f"'{path}' cannot be read: {error.strerror}. Mend that, and add the folder again with --retry."
        ) from error


@dataclass(slots=True)
class _Faults:
    """What was found wrong while a folder's pictures were read: files, and why each cannot be used."""

    unusable: list[tuple[str, str]] = field(default_factory=list)
    turned: list[str] = field(default_factory=list)

    def sentence(self, listing: Listing, frames: int) -> str | None:
        """All that is wrong with a folder, or None; names the first few files of each fault."""
        named = listing.pictures
        several = [
            " and ".join(file[0] for file in named[number]) for number in sorted(named) if len(named[number]) > 1
        ]
        first = counts_from(listing.numbers, frames)
        outside = [file[0] for n in sorted(named) if not first <= n < first + frames for file in sorted(named[n])]
        faults = [
            _fault("files that hold no usable picture", [f"{name}: {reason}" for name, reason in self.unusable]),
            _fault("frames with several files, of which the first is used", several),
            _fault("files whose number is no frame of the video", outside),
            _fault("pictures turned upright, as their EXIF asks", self.turned),
            _on_zero(listing.numbers, first),
            f"files that are no numbered pictures: {listing.others}" if listing.others else "",
        ]
        return sentence([fault for fault in faults if fault])


def _on_zero(numbers: tuple[int, int], first: int) -> str:
    """What a picture with the number 0 says of the others."""
    if first == 0:
        return f"pictures counted from 0, as 0 and {numbers[1]} say, so that 00000 shows the first frame"
    if numbers[0] == 0:
        return (
            "a picture is numbered 0 and left out: if the folder counts from 0, every row is one frame early; "
            "number its pictures from 1 then"
        )
    return ""


def _fault(what: str, files: list[str]) -> str:
    return f"{what}: {len(files)} ({some(files, _NAMED)})" if files else ""
