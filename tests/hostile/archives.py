"""Archives and other containers that attack their reader, each with what its refusal has to say."""

from __future__ import annotations

import gzip
import io
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from tests.hostile.pickles import state, tensor

NUMBERS = np.arange(4, dtype=np.float32).tobytes()


@dataclass(frozen=True)
class Entry:
    """One entry of a zip archive, and what the archive says of it."""

    name: bytes
    data: bytes
    method: int = 0
    flags: int = 0
    attributes: int = 0
    extra: bytes = b""
    crc: int | None = None
    size: int | None = None
    packed_size: int | None = None
    local_name: bytes | None = None
    at: int | None = None


PICKLE = Entry(b"module/data.pkl", state(tensor()))
STORAGE = Entry(b"module/data/0", NUMBERS)
WHOLE = (PICKLE, STORAGE)


def zip_of(
    *entries: Entry, prefix: bytes = b"", suffix: bytes = b"", count: int | None = None, length_lie: int = 0, end64=b""
) -> bytes:
    """A zip archive that says whatever it is told to."""
    data, directory = bytearray(prefix), b""
    for entry in entries:
        crc = zlib.crc32(entry.data) if entry.crc is None else entry.crc
        size = len(entry.data) if entry.size is None else entry.size
        packed = len(entry.data) if entry.packed_size is None else entry.packed_size
        at, name = len(data), entry.name if entry.local_name is None else entry.local_name
        facts = struct.pack("<5H3L", 0, entry.flags, entry.method, 0, 0, crc, packed, size)
        data += b"PK\3\4" + facts + struct.pack("<2H", len(name), 0) + name + entry.data
        place = at if entry.at is None else entry.at
        lies = struct.pack("<5H2L", len(entry.name), len(entry.extra), 0, 0, 0, entry.attributes, place)
        directory += b"PK\1\2\0\0" + facts + lies + entry.name + entry.extra
    number = len(entries) if count is None else count
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, number, number, len(directory) + length_lie, len(data), 0)
    return bytes(data) + directory + end64 + end + suffix


def end64(count: int = 2, length: int = 0, offset: int = 0, size: int = 44) -> bytes:
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", size, 45, 45, 0, 0, count, count, length, offset)
    return record + struct.pack("<4sLQL", b"PK\6\7", 0, offset + length, 1)


def deflated(size: int) -> Entry:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    zeros = bytes(size)
    packed = packer.compress(zeros) + packer.flush()
    return Entry(b"module/data/0", packed, method=8, size=size, crc=zlib.crc32(zeros))


def with_entry(entry: Entry) -> Callable[[], bytes]:
    return lambda: zip_of(*WHOLE, entry)


def changed(**lies: object) -> Callable[[], bytes]:
    """The whole archive, with another claim about its storage."""
    return lambda: zip_of(PICKLE, replace(STORAGE, **lies))


def legacy() -> bytes:
    file = io.BytesIO()
    torch.save({"weight": torch.ones(4)}, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../canary"))
    return file.getvalue()


def inner_zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("module/data.pkl", PICKLE.data)
    return file.getvalue()


ODD = "holds entries torch never writes"
LARGER = "claims to be larger inside"
AROUND = "before or behind the archive"

ARCHIVES: dict[str, tuple[Callable[[], bytes], str]] = {
    "zip in a zip": (with_entry(Entry(b"module/inner.zip", inner_zip())), ODD),
    "path upwards": (with_entry(Entry(b"module/../../canary", b"x")), ODD),
    "path upwards as a storage": (with_entry(Entry(b"module/data/../../canary", b"x")), ODD),
    "absolute path": (with_entry(Entry(b"/tmp/canary", b"x")), ODD),
    "backslashes": (with_entry(Entry(rb"module\..\canary", b"x")), ODD),
    "drive letter": (with_entry(Entry(b"C:/data/0", b"x")), ODD),
    "NUL in a name": (with_entry(Entry(b"module/data/1\0.py", b"x")), ODD),
    "NUL that hides a second pickle": (lambda: zip_of(Entry(b"module/data.pkl\0", b"."), *WHOLE), ODD),
    "digits of another script": (with_entry(Entry("module/data/١".encode(), b"x", flags=0x800)), ODD),
    "code of TorchScript": (with_entry(Entry(b"module/code/model.py", b"import os")), ODD),
    "constants of TorchScript": (with_entry(Entry(b"module/constants.pkl", b".")), ODD),
    "two folders": (with_entry(Entry(b"other/data/1", b"x")), ODD),
    "no folder": (lambda: zip_of(Entry(b"data.pkl", b".")), ODD),
    "one name twice": (lambda: zip_of(*WHOLE, STORAGE), ODD),
    "two pickles": (lambda: zip_of(PICKLE, *WHOLE), ODD),
    "symbolic link": (
        with_entry(Entry(b"module/data/1", b"/etc/passwd", attributes=(stat.S_IFLNK | 0o777) << 16)),
        ODD,
    ),
    "device": (with_entry(Entry(b"module/data/1", b"", attributes=(stat.S_IFCHR | 0o666) << 16)), ODD),
    "directory": (with_entry(Entry(b"module/data/", b"")), ODD),
    "encrypted": (changed(flags=1), ODD),
    "strongly encrypted": (changed(flags=0x41), ODD),
    "patch data": (changed(flags=0x20), ODD),
    "masked headers": (changed(flags=0x2000), ODD),
    "20,001 entries": (
        lambda: zip_of(PICKLE, *(Entry(b"module/data/%d" % n, b"") for n in range(20_000))),
        "claims 20001 entries",
    ),
    "zip bomb": (lambda: zip_of(PICKLE, deflated(1 << 26)), LARGER),
    "compressed pickle": (lambda: zip_of(replace(deflated(1 << 20), name=b"module/data.pkl"), STORAGE), LARGER),
    "unknown compression": (changed(method=99), LARGER),
    "size of 4 GiB": (changed(size=0xFFFFFFFE), LARGER),
    "packed size of 4 GiB": (changed(packed_size=0xFFFFFFFE), LARGER),
    "size of 2**63 by zip64": (
        changed(size=0xFFFFFFFF, packed_size=0xFFFFFFFF, extra=struct.pack("<2H2Q", 1, 16, 1 << 63, 1 << 63)),
        LARGER,
    ),
    "zip64 facts that are cut short": (
        changed(size=0xFFFFFFFF, extra=struct.pack("<2HL", 1, 4, 5)),
        "not a whole torch",
    ),
    "extra field longer than it is": (changed(extra=struct.pack("<2H", 1, 60_000)), "not a whole torch"),
    "wrong checksum": (changed(crc=1), "not a whole torch archive: Bad CRC"),
    "other name before the data": (changed(local_name=b"module/data/9"), "not a whole torch"),
    "one entry over another": (changed(at=0, local_name=b"module/data/0"), LARGER),
    "entry that begins in the directory": (changed(at=10_000), LARGER),
    "fewer entries than the directory": (lambda: zip_of(*WHOLE, count=1), ODD),
    "more entries than the directory": (lambda: zip_of(*WHOLE, count=3), ODD),
    "65,535 entries without zip64": (lambda: zip_of(*WHOLE, count=0xFFFF), "claims 65535 entries"),
    "directory of 4 GiB": (lambda: zip_of(*WHOLE, length_lie=0xF0000000), "than torch writes"),
    "directory longer than it is": (lambda: zip_of(*WHOLE, length_lie=20), AROUND),
    "directory shorter than it is": (lambda: zip_of(*WHOLE, length_lie=-20), AROUND),
    "zip64 directory elsewhere": (lambda: zip_of(*WHOLE, end64=end64(length=1, offset=1)), "contradict each other"),
    "zip64 directory of 2**60 entries": (lambda: zip_of(*WHOLE, end64=end64(1 << 60)), "contradict each other"),
    "program before the archive": (lambda: zip_of(*WHOLE, prefix=b"#!/bin/sh\ntouch canary\n"), LARGER),
    "something before the archive": (lambda: b"#!/bin/sh\ntouch canary\n" + zip_of(*WHOLE), AROUND),
    "something behind the archive": (lambda: zip_of(*WHOLE, suffix=b"touch canary"), "has no end"),
    "archive behind the archive": (lambda: zip_of(*WHOLE) + zip_of(*WHOLE), AROUND),
    "archive without a pickle": (lambda: zip_of(STORAGE), "has no pickle of a module's size"),
    "pickle of 3 MiB": (lambda: zip_of(replace(PICKLE, data=b"\x80\x02" + b"N0" * (3 << 19)), STORAGE), "at most"),
    "big-endian numbers": (with_entry(Entry(b"module/byteorder", b"big")), "big-endian byte order"),
    "only the end of an archive": (lambda: zip_of(), ODD),
    "file of torch before 1.6": (legacy, "is a bare pickle, as torch wrote before version 1.6"),
    "tar archive": (tar, "is a tar archive"),
    "gzip file": (lambda: gzip.compress(zip_of(*WHOLE)), "is something else"),
    "web page": (lambda: b"<!DOCTYPE html><title>Sign in</title>", "is a web page"),
    "pointer of Git LFS": (lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "is something else"),
    "one byte": (lambda: b"P", "is not a whole torch archive"),
    "no byte": (lambda: b"", "is not a whole torch archive"),
}
