"""Pickles that attack their reader, each with what its refusal has to say."""

from __future__ import annotations

import builtins
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

PROTOCOL = b"\x80\x02"
NUMBERS = 4
"""How many float32 the archive around each pickle holds in `data/0`."""

Build = Callable[[Path], bytes]
"""From the path of the canary, which the attack would create, to the attack."""


class Calls:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments) -> None:
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def text(value: str) -> bytes:
    data = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def name(module: str, attribute: str) -> bytes:
    return b"c" + module.encode() + b"\n" + attribute.encode() + b"\n"


def stacked(module: str, attribute: str) -> bytes:
    return text(module) + text(attribute) + b"\x93"


def tuple_of(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def numbers(*values: int) -> bytes:
    return tuple_of(*(number(value) for value in values))


def storage(
    numel: bytes = number(NUMBERS), key: bytes = text("0"), kind: bytes = name("torch", "FloatStorage")
) -> bytes:
    return tuple_of(text("storage"), kind, key, text("cpu"), numel) + b"Q"


def tensor(
    shape: bytes = numbers(4), stride: bytes = numbers(1), offset: bytes = number(0), of: bytes | None = None, more=b""
) -> bytes:
    hooks = name("collections", "OrderedDict") + b")R"
    arguments = tuple_of(storage() if of is None else of, offset, shape, stride, b"\x89", hooks, more)
    return name("torch._utils", "_rebuild_tensor_v2") + arguments + b"R"


def state(value: bytes, key: bytes = text("weight")) -> bytes:
    """A state dict of one value."""
    return PROTOCOL + b"}" + key + value + b"s."


def module(attributes: bytes) -> bytes:
    """A network of which so many attributes are told; its memo has the network under 0."""
    return PROTOCOL + name("torch.nn", "Module") + b")\x81q\x00}(" + attributes + b"ub."


def call(module_name: str, attribute: str, *arguments: bytes) -> bytes:
    return PROTOCOL + name(module_name, attribute) + tuple_of(*arguments) + b"R."


SEQUENTIAL = name("torch.nn.modules.container", "Sequential")
NEW = PROTOCOL + SEQUENTIAL + b")\x81"

CALLS: dict[str, tuple[Build, str]] = {
    "reduce system": (lambda c: pickle.dumps(Calls(os.system, f"touch {c}"), 2), "asks for 'posix.system'"),
    "reduce eval": (lambda c: pickle.dumps(Calls(eval, f"open({str(c)!r}, 'w')"), 4), "asks for 'builtins.eval'"),
    "reduce exec inside a state dict": (
        lambda c: pickle.dumps({"weight": [Calls(exec, f"open({str(c)!r}, 'w')")]}, 2),
        "asks for '__builtin__.exec'",
    ),
    "reduce open": (lambda c: pickle.dumps(Calls(builtins.open, str(c), "w"), 2), "asks for 'io.open'|_io.open"),
    "reduce getattr": (lambda c: pickle.dumps(Calls(getattr, "text", "format"), 2), "asks for '__builtin__.getattr'"),
    "reduce import": (lambda c: pickle.dumps(Calls(__import__, "antigravity"), 2), "asks for '__builtin__.__import__'"),
    "reduce Popen": (lambda c: call("subprocess", "Popen", text(f"touch {c}")), "asks for 'subprocess.Popen'"),
    "reduce a socket": (
        lambda c: call("socket", "create_connection", tuple_of(text("127.0.0.1"), number(9))),
        "asks for 'socket.create_connection'",
    ),
    "reduce setenv": (lambda c: call("os", "putenv", text("CANARY"), text("dead")), "asks for 'os.putenv'"),
    "reduce rmtree": (lambda c: call("shutil", "rmtree", text(str(c.parent))), "asks for 'shutil.rmtree'"),
    "reduce ctypes": (lambda c: call("ctypes", "CDLL", text("libc.so.6")), "asks for 'ctypes.CDLL'"),
    "reduce loads": (lambda c: call("pickle", "loads", text("cos\nsystem\n.")), "asks for 'pickle.loads'"),
    "reduce runpy": (lambda c: call("runpy", "run_path", text(str(c))), "asks for 'runpy.run_path'"),
    "reduce partial": (lambda c: call("functools", "partial", name("os", "system")), "asks for 'functools.partial'"),
    "reduce attrgetter": (
        lambda c: call("operator", "attrgetter", text("system")),
        "asks for 'operator.attrgetter'",
    ),
    "reduce methodcaller": (lambda c: call("operator", "methodcaller", text("fork")), "asks for 'operator.method"),
    "reduce torch.load": (lambda c: call("torch", "load", text(str(c))), "asks for 'torch.load'"),
    "reduce torch.hub": (lambda c: call("torch.hub", "load", text("a/b")), "asks for 'torch.hub.load'"),
    "reduce a pickle in a storage": (
        lambda c: call("torch.storage", "_load_from_bytes", text("cos\nsystem\n")),
        "asks for 'torch.storage._load_from_bytes'",
    ),
    "reduce numpy scalar": (lambda c: call("numpy.core.multiarray", "scalar"), "asks for 'numpy.core.multiarray"),
    "reduce a function of an admitted package": (
        lambda c: call("torch.nn.functional", "relu", text("x")),
        "asks for 'torch.nn.functional.relu'",
    ),
    "reduce a module seen through an admitted one": (
        lambda c: call("timm.models.os", "system", text(f"touch {c}")),
        "asks for 'timm.models.os.system'",
    ),
    "reduce text": (lambda c: PROTOCOL + text("os.system") + text(f"touch {c}") + b"\x85R.", "calls a str"),
    "reduce what was built": (lambda c: NEW + text(f"touch {c}") + b"\x85R.", "calls a ModuleRecord"),
    "reduce without a tuple": (lambda c: PROTOCOL + SEQUENTIAL + text("x") + b"R.", "calls 'torch.nn.modules"),
    "reduce an admitted function oddly": (
        lambda c: call("torch._utils", "_rebuild_parameter", text("x")),
        "arguments torch never writes",
    ),
    "reduce a dict with content": (
        lambda c: call("collections", "OrderedDict", tuple_of(text("a"))),
        "arguments torch never writes",
    ),
    "newobj of a function": (
        lambda c: PROTOCOL + name("os", "system") + text(f"touch {c}") + b"\x85\x81.",
        "asks for 'os.system'",
    ),
    "newobj_ex": (lambda c: PROTOCOL + SEQUENTIAL + b")}\x92.", "uses the opcode NEWOBJ_EX"),
    "inst": (lambda c: b"(" + text(f"touch {c}") + b"ios\nsystem\n.", "uses the opcode INST"),
    "inst of an admitted class": (lambda c: b"(itorch.nn\nModule\n.", "uses the opcode INST"),
    "obj": (lambda c: b"(" + SEQUENTIAL + text("x") + b"o.", "uses the opcode OBJ"),
    "extension code of one byte": (lambda c: PROTOCOL + b"\x82\x01" + text(f"touch {c}") + b"\x85R.", "opcode EXT1"),
    "extension code of two bytes": (
        lambda c: PROTOCOL + b"\x83\x01\x00" + text(f"touch {c}") + b"\x85R.",
        "opcode EXT2",
    ),
    "extension code of four bytes": (
        lambda c: PROTOCOL + b"\x84\x01\x00\x00\x00" + text(f"touch {c}") + b"\x85R.",
        "opcode EXT4",
    ),
}

NAMES: dict[str, tuple[Build, str]] = {
    "dotted name": (
        lambda c: PROTOCOL + stacked("torch.nn.modules.container", "Sequential.__init__.__globals__") + b".",
        "asks for 'torch.nn.modules.container.Sequential.__init__.__globals__'",
    ),
    "dotted name by GLOBAL": (
        lambda c: PROTOCOL + name("torch.nn", "Module.a.b") + b".",
        "asks for 'torch.nn.Module.a.b'",
    ),
    "dotted name of lower case": (lambda c: PROTOCOL + name("torch.nn", "a.b.c") + b".", "asks for 'torch.nn.a.b.c'"),
    "dunder": (lambda c: PROTOCOL + name("torch.nn", "__builtins__") + b".", "asks for 'torch.nn.__builtins__'"),
    "Cyrillic look-alike": (lambda c: PROTOCOL + stacked("tоrch.nn", "Module") + b".", r"asks for 't\\u043erch"),
    "Cyrillic look-alike inside": (
        lambda c: PROTOCOL + stacked("torch.nn.mоdules", "Module") + b".",
        r"asks for 'torch.nn.m\\u043edules",
    ),
    "full-width look-alike": (
        lambda c: PROTOCOL + stacked("torch.nn", "Mｏdule") + b".",
        r"asks for 'torch.nn.M\\uff4f",
    ),
    "Greek capital": (lambda c: PROTOCOL + stacked("torch.nn", "Αdam") + b".", r"asks for 'torch.nn.\\u0391dam'"),
    "prefix only: torch.nnx": (lambda c: PROTOCOL + name("torch.nnx", "Module") + b".", "asks for 'torch.nnx.Module'"),
    "prefix only: timmy": (lambda c: PROTOCOL + name("timmy.models", "Net") + b".", "asks for 'timmy.models.Net'"),
    "prefix only: mobilefacenets": (
        lambda c: PROTOCOL + name("mobilefacenets", "Net") + b".",
        "asks for 'mobilefacenets",
    ),
    "suffix only": (lambda c: PROTOCOL + name("evil.torch.nn", "Module") + b".", "asks for 'evil.torch.nn.Module'"),
    "nothing between dots": (lambda c: PROTOCOL + name("torch.nn..os", "Module") + b".", "asks for 'torch.nn..os"),
    "name with a line end": (
        lambda c: PROTOCOL + stacked("torch.nn", "Module\n") + b".",
        r"asks for 'torch.nn.Module\\n'",
    ),
    "name with a NUL": (lambda c: PROTOCOL + stacked("torch.nn", "Module\0") + b".", r"Module\\x00'"),
    "name with a space": (lambda c: PROTOCOL + name("os", "system torch.nn Module") + b".", "asks for 'os.system"),
    "module with a space": (
        lambda c: PROTOCOL + name("torch.nn Module os", "System") + b".",
        "asks for 'torch.nn.Module.os",
    ),
    "name that clears the screen": (
        lambda c: PROTOCOL + stacked("torch.nn", "\x1b[2J") + b".",
        r"'torch.nn.\\x1b\[2J'",
    ),
    "name without end": (lambda c: PROTOCOL + stacked("torch.nn", "a" * 100_000) + b".", "asks for 'torch.nn.aaa"),
    "no name": (lambda c: PROTOCOL + stacked("", "") + b".", "asks for '.'"),
    "storage that is none": (
        lambda c: PROTOCOL + name("torch", "FloatStorage2") + b".",
        "asks for 'torch.FloatStorage2'",
    ),
    "names that are numbers": (lambda c: PROTOCOL + b"K\x01K\x02\x93.", "asks for something whose name is not text"),
    "name that is a list": (lambda c: PROTOCOL + text("os") + b"]\x93.", "asks for something whose name is not text"),
}

OBJECTS: dict[str, tuple[Build, str]] = {
    "persistent id as text": (lambda c: b"P0\n.", "uses the opcode PERSID"),
    "persistent id of text": (lambda c: PROTOCOL + text("module") + b"Q.", "refers to an outside object"),
    "persistent id of a list": (lambda c: PROTOCOL + b"](" + text("storage") + b"eQ.", "refers to an outside object"),
    "persistent id too short": (lambda c: PROTOCOL + text("storage") + b"\x85Q.", "refers to an outside object"),
    "persistent id of a module": (
        lambda c: PROTOCOL + tuple_of(text("module"), SEQUENTIAL, text("a"), text("b"), number(1)) + b"Q.",
        "refers to an outside object",
    ),
    "storage of a network's class": (
        lambda c: state(tensor(of=storage(kind=SEQUENTIAL))),
        "refers to an outside object",
    ),
    "storage of a class as text": (
        lambda c: state(tensor(of=storage(kind=text("torch FloatStorage")))),
        "refers to an",
    ),
    "storage under a number": (lambda c: state(tensor(of=storage(key=number(0)))), "refers to an outside object"),
    "storage of True numbers": (lambda c: state(tensor(of=storage(numel=b"\x88"))), "refers to an outside object"),
    "storage of fewer than no numbers": (
        lambda c: state(tensor(of=storage(number(-4)))),
        "refers to an outside object",
    ),
    "build of a class": (
        lambda c: PROTOCOL + SEQUENTIAL + b"}" + text("__setstate__") + b"Nsb.",
        "sets attributes of 'torch",
    ),
    "build of a list": (lambda c: PROTOCOL + b"]}" + text("append") + b"Nsb.", "sets attributes of a list"),
    "build of a tensor": (
        lambda c: state(tensor() + b"}" + text("data") + b"Nsb"),
        "sets attributes of a TensorRecord",
    ),
    "build with text": (lambda c: NEW + text(f"touch {c}") + b"b.", "sets odd attributes of"),
    "build with slots": (lambda c: NEW + b"N}" + text("a") + b"Ns\x86b.", "sets odd attributes of"),
    "build twice": (
        lambda c: NEW + b"}" + text("a") + b"Nsb}" + text("b") + b"Nsb.",
        "sets odd attributes of 'torch.nn",
    ),
    "setitem of a class": (lambda c: PROTOCOL + SEQUENTIAL + text("a") + text("b") + b"s.", "sets items of"),
    "append to a class": (lambda c: PROTOCOL + SEQUENTIAL + text("a") + b"a.", "adds items to"),
    "appends to a tuple": (lambda c: PROTOCOL + b")(" + text("a") + b"e.", "adds items to a tuple"),
    "add to what is below nothing": (lambda c: PROTOCOL + b"a.", "is damaged"),
    "tuple as a key": (lambda c: PROTOCOL + b"})\x85Ns.", "uses a tuple as a key"),
    "key whose hash takes for ever": (
        lambda c: PROTOCOL + b"})q\x00" + b"h\x00\x86q\x00" * 60 + b"Ns.",
        "is damaged|as a key",
    ),
    "key that is a fraction": (lambda c: PROTOCOL + b"}G" + struct.pack(">d", 1.5) + b"Ns.", "uses a float as a key"),
    "keys that share one hash": (
        lambda c: PROTOCOL + b"}(" + b"".join(number(n * (2**61 - 1)) + b"N" for n in range(1, 60_000)) + b"u.",
        "uses a int as a key",
    ),
    "key below zero": (lambda c: PROTOCOL + b"}" + number(-1) + b"Ns.", "uses a int as a key"),
    "odd count of items": (lambda c: PROTOCOL + b"}(" + text("a") + b"u.", "is damaged"),
}

MACHINE: dict[str, tuple[Build, str]] = {
    "memo that was never written": (lambda c: PROTOCOL + b"h\x07.", "is damaged"),
    "memo of a huge index": (lambda c: PROTOCOL + b"]r\xff\xff\xff\xffj\xff\xff\xff\xffe.", "is damaged"),
    "memo as text": (lambda c: PROTOCOL + b"]p99999999999\n.", "uses the opcode PUT"),
    "memo read as text": (lambda c: PROTOCOL + b"g0\n.", "uses the opcode GET"),
    "doubling by DUP": (lambda c: PROTOCOL + b"]" + b"2a" * 100 + b".", "uses the opcode DUP"),
    "doubling by tuples": (lambda c: PROTOCOL + b")" + b"q\x00h\x00\x86" * 1000 + b".", "holds a tuple"),
    "doubling by lists": (lambda c: PROTOCOL + b"]" + b"q\x00](h\x00h\x00e" * 1000 + b".", "goes on after its end"),
    "list that holds itself": (lambda c: PROTOCOL + b"]q\x00h\x00a.", "holds a list"),
    "set of a list that holds itself": (
        lambda c: PROTOCOL + name("builtins", "set") + b"]q\x00h\x00a\x85R.",
        "holds a list",
    ),
    "deep tuples": (lambda c: PROTOCOL + b")" + b"\x85" * 250_000 + b".", "holds a tuple"),
    "deep lists": (lambda c: PROTOCOL + b"]" * 140_000 + b"a" * 139_999 + b".", "holds a list"),
    "deep dicts": (lambda c: PROTOCOL + (b"}" + text("a")) * 90_000 + b"N" + b"s" * 90_000 + b".", "holds a dict"),
    "marks without end": (lambda c: PROTOCOL + b"(" * 250_000 + b".", "is damaged"),
    "steps without end": (lambda c: PROTOCOL + b"N0" * 250_000 + b".", "uses the opcode POP"),
    "more steps than a network takes": (lambda c: PROTOCOL + b"](" + b"N" * 350_000 + b"e.", "takes more than 300000"),
    "text of 4 GiB": (lambda c: PROTOCOL + b"X\xff\xff\xff\xffabc.", "is damaged"),
    "text of 2**60 bytes": (lambda c: b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60) + b"abc.", "damaged|BINUNICODE8"),
    "bytes of 2**63 - 1": (lambda c: b"\x80\x04\x8e" + struct.pack("<Q", (1 << 63) - 1) + b"abc.", "damaged|BINBYTES8"),
    "bytearray of 2**62": (lambda c: b"\x80\x05\x96" + struct.pack("<Q", 1 << 62) + b"abc.", "damaged|BYTEARRAY8"),
    "bytes in parameters": (lambda c: pickle.dumps(b"pickle in a pickle", 3), "uses the opcode SHORT_BINBYTES"),
    "number of 2 GiB": (lambda c: PROTOCOL + b"\x8b\xff\xff\xff\x7fabc.", "is damaged"),
    "number of fewer than no bytes": (lambda c: PROTOCOL + b"\x8b\xff\xff\xff\xffabc.", "is damaged"),
    "number of a million digits": (lambda c: b"I" + b"9" * 1_000_000 + b"\n.", "is damaged|opcode INT"),
    "long number of a million digits": (lambda c: b"L" + b"9" * 1_000_000 + b"L\n.", "is damaged|opcode LONG"),
    "text with half a letter": (lambda c: PROTOCOL + b"X\x01\x00\x00\x00\xff.", "is damaged"),
    "frame of 2**63 bytes": (lambda c: b"\x80\x04\x95" + struct.pack("<Q", 1 << 63) + b"N.", "claims a frame of"),
    "frame longer than the file": (lambda c: b"\x80\x04\x95" + struct.pack("<Q", 12) + b"N.", "claims a frame of 12"),
    "buffer from outside": (lambda c: b"\x80\x05\x97.", "uses the opcode NEXT_BUFFER"),
    "frozen set": (lambda c: b"\x80\x04(\x91.", "uses the opcode FROZENSET"),
    "protocol 6": (lambda c: b"\x80\x06N.", "changes to protocol 6"),
    "protocol changed on the way": (lambda c: PROTOCOL + b"N\x80\x04.", "changes to protocol 4"),
    "protocol 0 as text": (lambda c: f"cposix\nsystem\n(S'touch {c}'\ntR.".encode(), "asks for 'posix.system'"),
    "second pickle behind the first": (
        lambda c: state(tensor()) + pickle.dumps(Calls(os.system, f"touch {c}"), 2),
        "goes on after its end",
    ),
    "stop with something left": (lambda c: PROTOCOL + b"NN.", "goes on after its end"),
    "stop inside a tuple": (lambda c: PROTOCOL + b"N(N.", "goes on after its end"),
    "stop with nothing": (lambda c: PROTOCOL + b".", "is damaged"),
    "no stop": (lambda c: PROTOCOL + b"N", "is damaged|has no end"),
    "nothing": (lambda c: b"", "is damaged|has no end"),
    "unknown opcode": (lambda c: PROTOCOL + b"\xff.", "is damaged"),
    "value from below a mark": (lambda c: PROTOCOL + b"N(\x85.", "is damaged"),
}
