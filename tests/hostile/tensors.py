"""Pickles whose steps are a network's, but whose tensors and module trees are not."""

from __future__ import annotations

import struct

from tests.hostile.pickles import (
    PROTOCOL,
    SEQUENTIAL,
    Build,
    module,
    name,
    number,
    numbers,
    state,
    storage,
    tensor,
    text,
    tuple_of,
)

BIG = 1 << 40

TENSORS: dict[str, tuple[Build, str]] = {
    "storage of 2**60 numbers": (lambda c: state(tensor(of=storage(number(1 << 60)))), "are not all in the file"),
    "storage shorter than its entry": (
        lambda c: state(tensor(numbers(2), of=storage(number(2)))),
        "are not all in the file",
    ),
    "storage that is not there": (lambda c: state(tensor(of=storage(key=text("7")))), "are not all in the file"),
    "storage outside the archive": (
        lambda c: state(tensor(of=storage(key=text("../../../../etc/passwd")))),
        "are not all in the file",
    ),
    "storage of two kinds": (
        lambda c: (
            PROTOCOL
            + b"}("
            + text("a")
            + tensor()
            + text("b")
            + tensor(of=storage(kind=name("torch", "IntStorage")))
            + b"u."
        ),
        "of another kind",
    ),
    "offset beyond the end": (lambda c: state(tensor(numbers(1), offset=number(4))), "outside its storage"),
    "offset of 2**200": (lambda c: state(tensor(numbers(1), offset=number(1 << 200))), "outside its storage"),
    "offset before the start": (lambda c: state(tensor(offset=number(-1))), "arguments torch never writes"),
    "stride below zero": (lambda c: state(tensor(numbers(4), numbers(-1), number(3))), "arguments torch never writes"),
    "shape below zero": (lambda c: state(tensor(numbers(-4))), "arguments torch never writes"),
    "shape of 2**40": (lambda c: state(tensor(numbers(BIG), numbers(1))), "outside its storage"),
    "shape whose product overflows": (lambda c: state(tensor(numbers(BIG, BIG), numbers(0, 0))), "claims .* bytes"),
    "shape whose product overflows to four": (
        lambda c: state(tensor(numbers(1 << 32, 1 << 32, 4), numbers(0, 0, 1))),
        "claims .* bytes",
    ),
    "one number shown 2**38 times": (lambda c: state(tensor(numbers(1 << 38), numbers(0))), "claims .* bytes"),
    "shape of nine dimensions": (lambda c: state(tensor(numbers(*[1] * 9), numbers(*[1] * 9))), "never writes"),
    "shape of fractions": (lambda c: state(tensor(tuple_of(b"G" + struct.pack(">d", 4)))), "never writes"),
    "shape of True": (lambda c: state(tensor(tuple_of(b"\x88"))), "never writes"),
    "shape as text": (lambda c: state(tensor(text("shape"))), "never writes"),
    "shape without strides": (lambda c: state(tensor(numbers(2, 2), numbers(1))), "never writes"),
    "no numbers in an absurd shape": (
        lambda c: state(tensor(numbers(0, 1 << 62, 1 << 62), numbers(1, 1, 1))),
        "outside its storage",
    ),
    "stride of 2**200 that is never taken": (
        lambda c: state(tensor(numbers(1), numbers(1 << 200))),
        "outside its storage",
    ),
    "tensor with thirty arguments": (lambda c: state(tensor(more=b"N" * 30)), "never writes"),
    "tensor with hooks": (
        lambda c: state(
            name("torch._utils", "_rebuild_tensor_v2")
            + tuple_of(storage(), number(0), numbers(4), numbers(1), b"\x89", SEQUENTIAL)
            + b"R"
        ),
        "never writes",
    ),
    "tensor of nothing": (lambda c: state(tensor(of=b"N")), "never writes"),
    "parameter that is text": (
        lambda c: state(name("torch._utils", "_rebuild_parameter") + tuple_of(text("x"), b"\x88", b"}") + b"R"),
        "never writes",
    ),
    "value that is no tensor": (lambda c: state(text(f"touch {c}")), "neither a network nor a state dict"),
    "name with a control character": (lambda c: state(tensor(), text("\x1b]0;evil\x07")), r"named '\\x1b\]0;evil"),
    "name with a look-alike": (lambda c: state(tensor(), text("wеight")), r"named 'w\\u0435ight'"),
    "name with half a letter": (lambda c: state(tensor(), text("\ud800")), r"named '\\ud800'"),
    "name that is a number": (lambda c: state(tensor(), number(1)), "named a int"),
    "name without letters": (lambda c: state(tensor(), text("")), "named ''"),
}

NETWORK = name("torch.nn", "Module") + b")\x81"


def shared(levels: int) -> bytes:
    """Modules of two children each, which are one and the same: 2**levels paths lead to the last."""
    inner = NETWORK
    for place in range(1, levels + 1):
        twice = inner + b"q" + bytes([place]) + text("b") + b"h" + bytes([place])
        inner = NETWORK + b"}" + text("_modules") + b"}(" + text("a") + twice + b"usb"
    return PROTOCOL + inner + b"."


def wide(kind: str, members: bytes, children: int = 15_000) -> bytes:
    """A module with many children that share one large attribute."""
    child = NETWORK + b"}" + text(kind) + b"h\x01sb"
    listed = b"".join(text(f"c{place}") + child for place in range(children))
    attributes = text("_shared") + members + b"q\x01" + text("_modules") + b"}(" + listed + b"u"
    return PROTOCOL + NETWORK + b"}(" + attributes + b"ub."


def many(value: bytes, count: int = 15_000) -> bytes:
    return b"}(" + b"".join(text(f"m{place}") + value for place in range(count)) + b"u"


def chain(levels: int) -> bytes:
    return PROTOCOL + (NETWORK + b"}" + text("_modules") + b"}" + text("a")) * levels + NETWORK + b"ssb" * levels + b"."


TREES: dict[str, tuple[Build, str]] = {
    "module that holds itself": (lambda c: module(text("_modules") + b"}" + text("a") + b"h\x00s"), "has no end"),
    "modules with 2**200 paths": (lambda c: shared(200), "has no end"),
    "modules 3000 deep": (lambda c: chain(3000), "has no end"),
    "many modules that share many parameters that are none": (lambda c: wide("_parameters", many(b"N")), "has no end"),
    "many modules that share many parameters": (lambda c: wide("_buffers", many(tensor(), 3000)), "has no end"),
    "many modules that share many children": (lambda c: wide("_modules", many(b"N")), "has no end"),
    "many modules that share a long list": (
        lambda c: wide("_non_persistent_buffers_set", b"](" + text("a") * 15_000 + b"e"),
        "has no end",
    ),
    "children in a list": (lambda c: module(text("_modules") + b"](" + text("a") + b"e"), "'_modules' of .* is a list"),
    "child that is a tensor": (
        lambda c: module(text("_modules") + b"}" + text("a") + tensor() + b"s"),
        "'_modules' of .* holds a TensorRecord",
    ),
    "parameter that is a module": (
        lambda c: module(text("_parameters") + b"}" + text("a") + NETWORK + b"s"),
        "'_parameters' of .* holds a ModuleRecord",
    ),
    "child under a number": (
        lambda c: module(text("_modules") + b"}" + number(1) + NETWORK + b"s"),
        "a parameter named a int",
    ),
    "child under a path": (
        lambda c: module(text("_modules") + b"}" + text("a.b") + NETWORK + b"s"),
        "a parameter named 'a.b'",
    ),
    "parameter that clears the screen": (
        lambda c: module(text("_parameters") + b"}" + text("\x1b[2J") + tensor() + b"s"),
        r"a parameter named '\\x1b\[2J'",
    ),
}
