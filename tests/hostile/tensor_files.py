"""Files of safetensors and of Keras that attack their reader, each with what its refusal has to say."""

from __future__ import annotations

import gzip
import io
import json
import struct
from collections.abc import Callable, Sequence

from tests.hostile.archives import NUMBERS, WHOLE, zip_of
from tests.hostile.pickles import state, tensor


def safetensors_of(header: bytes | dict[str, object], data: bytes = NUMBERS, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def slot(kind: str = "F32", shape: Sequence[object] = (4,), place: Sequence[int] = (0, 16)) -> dict[str, object]:
    return {"dtype": kind, "shape": list(shape), "data_offsets": list(place)}


DAMAGED = "is not a whole safetensors file"

SAFETENSORS: dict[str, tuple[Callable[[], bytes], str]] = {
    "header of 2**63 bytes": (lambda: safetensors_of({"a": slot()}, length=1 << 63), "claims a header of"),
    "header of 90 MB": (lambda: safetensors_of(b" " * 90_000_000), "claims a header of"),
    "header longer than the file": (lambda: safetensors_of({"a": slot()}, length=500), "claims a header of"),
    "header of no bytes": (lambda: safetensors_of(b""), DAMAGED),
    "header that is no JSON": (lambda: safetensors_of(b"{'a'}"), DAMAGED),
    "header that is a list": (lambda: safetensors_of(b"[]"), DAMAGED),
    "header nested deeply": (lambda: safetensors_of(b'{"a":' * 100_000), DAMAGED),
    "header not in UTF-8": (lambda: safetensors_of(b'{"\xff": 1}'), DAMAGED),
    "one name twice": (
        lambda: safetensors_of(b'{"a":%s,"a":%s}' % ((json.dumps(slot()).encode(),) * 2)),
        "names a parameter twice",
    ),
    "one name for two kinds": (
        lambda: safetensors_of(b'{"a":%s,"a":%s}' % tuple(json.dumps(slot(k)).encode() for k in ("I32", "F32"))),
        "names a parameter twice",
    ),
    "numbers that overlap": (lambda: safetensors_of({"a": slot(), "b": slot()}), DAMAGED),
    "numbers that overlap in part": (
        lambda: safetensors_of({"a": slot(), "b": slot(place=(8, 24))}, bytes(24)),
        DAMAGED,
    ),
    "numbers with a hole": (
        lambda: safetensors_of({"a": slot(), "b": slot(place=(20, 36))}, bytes(36)),
        DAMAGED,
    ),
    "numbers behind the end": (lambda: safetensors_of({"a": slot(place=(16, 32))}), DAMAGED),
    "numbers that end before they begin": (lambda: safetensors_of({"a": slot(place=(16, 0))}), DAMAGED),
    "numbers before the start": (lambda: safetensors_of({"a": slot(place=(-16, 0))}), DAMAGED),
    "something behind the numbers": (lambda: safetensors_of({"a": slot()}, NUMBERS + b"touch canary"), DAMAGED),
    "shape whose product overflows": (lambda: safetensors_of({"a": slot(shape=(1 << 40, 1 << 40))}), DAMAGED),
    "shape of 2**62": (lambda: safetensors_of({"a": slot(shape=(1 << 62,))}), DAMAGED),
    "shape below zero": (lambda: safetensors_of({"a": slot(shape=(-4,))}), DAMAGED),
    "shape of fractions": (lambda: safetensors_of({"a": slot(shape=(4.0,))}), DAMAGED),
    "shape of other size than the numbers": (lambda: safetensors_of({"a": slot(shape=(3,))}), DAMAGED),
    "kind that is none": (lambda: safetensors_of({"a": slot("PICKLE")}), DAMAGED),
    "name that clears the screen": (lambda: safetensors_of({"\x1b[2J": slot()}), r"named '\\x1b\[2J'"),
    "name with a look-alike": (lambda: safetensors_of({"wеight": slot()}), r"named 'w\\u0435ight'"),
    "torch archive": (lambda: zip_of(*WHOLE), "claims a header of"),
    "pickle": (lambda: state(tensor()), "claims a header of"),
    "no byte": (lambda: b"", DAMAGED),
}


def hdf5(write: Callable[[object], None]) -> bytes:
    import h5py

    file = io.BytesIO()
    with h5py.File(file, "w") as root:
        write(root)
    return gzip.compress(file.getvalue())


def layer(root: object) -> object:
    root.attrs["layer_names"] = [b"a"]
    group = root.create_group("a")
    group.attrs["weight_names"] = [b"w"]
    return group


def linked(link: Callable[[object], object]) -> Callable[[], bytes]:
    return lambda: hdf5(lambda root: layer(root).__setitem__("w", link(root)))


def _external(root: object) -> object:
    import h5py

    return h5py.ExternalLink("/etc/passwd", "/a")


def _soft(root: object) -> object:
    import h5py

    return h5py.SoftLink("/a")


KERAS: dict[str, tuple[Callable[[], bytes], str]] = {
    "gzip bomb": (lambda: gzip.compress(bytes(1 << 27)), "unpacks to more than"),
    "gzip bomb of many members": (lambda: gzip.compress(bytes(1 << 24)) * 64, "unpacks to more than"),
    "gzip of something else": (lambda: gzip.compress(b"touch canary"), "is not a whole HDF5 file"),
    "no gzip": (lambda: b"\x89HDF\r\n\x1a\n", "is not a whole gzip file"),
    "gzip that was cut short": (lambda: hdf5(layer)[:-20], "is not a whole gzip file"),
    "HDF5 that Keras did not write": (lambda: hdf5(lambda root: None), "it has no 'layer_names'"),
    "array in another file": (linked(_external), "lies elsewhere"),
    "array elsewhere in the file": (linked(_soft), "lies elsewhere"),
    "array that is a group": (lambda: hdf5(lambda root: layer(root).create_group("w")), "holds no array"),
    "array of 1 TB that was never written": (
        lambda: hdf5(lambda root: layer(root).create_dataset("w", (1 << 38,), "f4")),
        "plain float32|claims",
    ),
    "compressed array": (
        lambda: hdf5(lambda root: layer(root).create_dataset("w", (1 << 20,), "f4", compression="gzip")),
        "not a plain float32",
    ),
    "array of objects": (
        lambda: hdf5(lambda root: layer(root).create_dataset("w", data=[b"pickle"])),
        "not a plain float32",
    ),
}
