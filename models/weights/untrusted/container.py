"""The zip container of a torch archive: one folder, known names, stored plainly one after another, and nothing else."""

from __future__ import annotations

import re
import struct
import zipfile
from collections import Counter
from pathlib import Path

from affstore.store.contract.errors import UnsafePickleError, WeightsError

_ENTRY = re.compile(
    r"data\.pkl|data/\d+|version|byteorder|\.format_version|\.storage_alignment|\.data/serialization_id", re.ASCII
)
_FLAGS = 0x0808  # sizes also behind the data, names in UTF-8
_REGULAR = (0, 0o10)  # the file types that stand for an ordinary file
_MOST_ENTRIES = 20_000
_MOST_DIRECTORY_BYTES = _MOST_ENTRIES * 256
_END, _END64 = struct.Struct("<4s4H2LH"), struct.Struct("<4sQ2H2L4Q")
_LOCATOR_BYTES, _LOCAL_BYTES = 20, 30


def check_end(path: Path) -> int:
    """See that the file ends as a zip archive without comment does, and that its directory has a sensible size.

    This is what `zipfile` goes by to read the directory, and it reads one of any size.

    Returns:
        How many entries the archive claims.

    Raises:
        UnsafePickleError: the two records at the end contradict each other, or something stands before or behind.
        WeightsError: this is no zip archive, or only the beginning of one.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _END.size - _LOCATOR_BYTES - _END64.size))
        tail = file.read()
        file.seek(0)
        start = _start(file.read(262))
    if tail[-_END.size :][:4] != b"PK\5\6":
        raise WeightsError(f"'{path.name}' is not a whole torch archive: it {start}. Fetch it again.")
    _, disk, first_disk, here, count, length, offset, comment = _END.unpack(tail[-_END.size :])
    ends = _END.size
    if tail[-_END.size - _LOCATOR_BYTES :].startswith(b"PK\6\7"):
        ends += _LOCATOR_BYTES + _END64.size
        signature, *_, count64, length64, offset64 = _END64.unpack(tail[: _END64.size])
        claims = ((count, count64, 0xFFFF), (length, length64, 0xFFFFFFFF), (offset, offset64, 0xFFFFFFFF))
        if signature != b"PK\6\6" or any(short != min(long, most) for short, long, most in claims):
            raise UnsafePickleError(f"'{path.name}' has two directories that contradict each other. Do not trust it.")
        count, length, offset = count64, length64, offset64
    if count > _MOST_ENTRIES or length > _MOST_DIRECTORY_BYTES:
        raise UnsafePickleError(f"'{path.name}' claims {count} entries, more than torch writes. It was not opened.")
    if offset + length + ends != size or disk or first_disk or comment or here not in (count, 0xFFFF):
        raise UnsafePickleError(f"'{path.name}' holds something before or behind the archive. Do not trust it.")
    return count


def check_entries(file: zipfile.ZipFile, path: Path, count: int) -> dict[str, zipfile.ZipInfo]:
    """The archive's entries, `count` of them, by their name inside its one folder.

    Stored, unencrypted entries that lie one after another: so neither a compressed nor an overlapping archive can be
    larger inside than outside.

    Raises:
        UnsafePickleError: some entry is none of torch's.
    """
    infos = file.infolist()
    names = [info.orig_filename.partition("/")[2] for info in infos]
    odd = [info.orig_filename for info, name in zip(infos, names, strict=True) if not _plain(info, name)]
    folders = {info.orig_filename.partition("/")[0] for info in infos}
    twice = [name for name, count in Counter(names).items() if count > 1]
    if odd or twice or len(folders) != 1 or len(infos) != count:
        raise UnsafePickleError(
            f"'{path.name}' holds entries torch never writes, such as {(odd or twice or sorted(folders))[:1]}."
        )
    places = sorted((info.header_offset, info.file_size + _LOCAL_BYTES + len(info.orig_filename)) for info in infos)
    ends = [*(place for place, _ in places[1:]), file.start_dir]
    compressed = any(info.compress_type or info.compress_size != info.file_size for info in infos)
    if compressed or any(place + size > end for (place, size), end in zip(places, ends, strict=True)) or places[0][0]:
        raise UnsafePickleError(f"'{path.name}' claims to be larger inside than the file is. It was not unpacked.")
    return dict(zip(names, infos, strict=True))


def _plain(info: zipfile.ZipInfo, name: str) -> bool:
    """Whether it is an ordinary, unencrypted file under a name of torch's."""
    return bool(_ENTRY.fullmatch(name)) and not info.flag_bits & ~_FLAGS and info.external_attr >> 28 in _REGULAR


def _start(beginning: bytes) -> str:
    """What a file that is no zip archive looks like, for a person."""
    if beginning.startswith(b"PK"):
        return "has no end: it was cut short, or something was added"
    if beginning.startswith(b"\x80"):
        return "is a bare pickle, as torch wrote before version 1.6; such a file is only read by running it"
    if beginning[257:262] == b"ustar":
        return "is a tar archive"
    if beginning.lstrip().startswith(b"<"):
        return "is a web page"
    return "is something else"
