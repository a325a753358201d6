"""A training curve that TensorBoard reads: scalars as records of an event file, written without TensorFlow."""

from __future__ import annotations

import struct
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

_POLYNOMIAL = 0x82F63B78
_MASK = 0xA282EAD8


class EventLog:
    """The event file of a folder. What an interrupted training wrote there is written again, from its curve."""

    def __init__(self, folder: Path, curve: Sequence[Mapping[str, float]]) -> None:
        """Begin the file with the points that are known; the folder is made."""
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "events.out.tfevents.0.affstore"
        self._path.write_bytes(_record(_now() + _bytes(3, b"brain.Event:2")))
        self._points = 0
        for point in curve:
            self.add(point)

    def add(self, point: Mapping[str, float]) -> None:
        """Append the next point."""
        values = b"".join(
            _bytes(1, _bytes(1, name.encode()) + b"\x15" + struct.pack("<f", value)) for name, value in point.items()
        )
        with self._path.open("ab") as file:
            file.write(_record(_now() + b"\x10" + _varint(self._points) + _bytes(5, values)))
        self._points += 1


def _now() -> bytes:
    """An event's field 1, which TensorBoard shows on its axis of time; no number of ours depends on it."""
    return b"\x09" + struct.pack("<d", time.time())


def _record(event: bytes) -> bytes:
    """Length and bytes, each with its checksum (the TFRecord format)."""
    length = struct.pack("<Q", len(event))
    return length + _checksum(length) + event + _checksum(event)


def _bytes(field: int, data: bytes) -> bytes:
    """A field of bytes, text or a message (protocol buffers)."""
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    parts = []
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def _checksum(data: bytes) -> bytes:
    """CRC-32C, rotated and shifted as TFRecords want it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _table()[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF)


@cache
def _table() -> tuple[int, ...]:
    table = []
    for number in range(256):
        for _ in range(8):
            number = number >> 1 ^ _POLYNOMIAL * (number & 1)
        table.append(number)
    return tuple(table)
