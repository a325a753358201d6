"""A module pickle read as data.

`torch.save(module)` writes a program for a stack machine, and the usual reader runs it: a hostile file can call
anything. This reader is that stack machine without its powers. It imports nothing, calls nothing and builds no class
but the inert records of `models.weights.rebuild`, so what a pickle may *do* is bounded by what is written here.

Admitted are the opcodes that torch writes, the names of network classes (kept as text), storages, and torch's own three
ways to rebuild a tensor. Everything else is refused by name, before anything after it is read.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from typing import Any

from affstore.models.weights.untrusted.rebuild import ModuleRecord, Name, describe, named, rebuild, refuse, storage
from affstore.store.contract.errors import WeightsError

_MOST_STEPS = 300_000
_NEWEST_PROTOCOL = 5
_LARGEST_KEY = 1 << 31


def read_pickle(data: bytes) -> Any:
    """The value a pickle describes, made of plain Python values and the records of `untrusted.rebuild`.

    Raises:
        UnsafePickleError: it asks for something that is not a parameter container.
        WeightsError: it is damaged.
    """
    machine = _Machine()
    try:
        for steps, (opcode, argument, place) in enumerate(pickletools.genops(data)):
            rest = len(data) - (place or 0) - 1
            if opcode.name == "STOP":
                return machine.result(rest)
            _check_step(opcode.name, argument, steps, rest)
            _STEPS[opcode.name](machine, argument)
    except (ValueError, IndexError, KeyError) as error:
        raise WeightsError(
            f"The pickle in the weight file is damaged: {error!s:.200}. Fetch the file again."
        ) from error
    raise WeightsError("The pickle in the weight file has no end. Fetch the file again.")


def _check_step(opcode: str, argument: Any, steps: int, rest: int) -> None:
    """Whether a parameter file may take this step, with `rest` bytes of it left."""
    if opcode not in _STEPS:
        refuse(f"uses the opcode {opcode}")
    if steps > _MOST_STEPS:
        refuse(f"takes more than {_MOST_STEPS} steps")
    if opcode == "PROTO" and (steps or argument > _NEWEST_PROTOCOL):
        refuse(f"changes to protocol {argument}")
    if opcode == "FRAME" and argument > rest:
        refuse(f"claims a frame of {argument} bytes")


class _Machine:
    """The stack, the marks and the memo of a pickle being read."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def pop(self) -> Any:
        """Take the topmost value."""
        if self.marks and len(self.stack) <= self.marks[-1]:
            raise ValueError("a value is missing")
        return self.stack.pop()

    def result(self, rest: int) -> Any:
        """The one value that is left at the end."""
        value = self.pop()
        if self.stack or self.marks or rest:
            refuse("goes on after its end")
        return value

    def top(self, kind: type | tuple[type, ...], what: str) -> Any:
        """The value on top of the stack, which has to be a `kind`; it stays there."""
        value = self.stack[-1]
        if not isinstance(value, kind):
            refuse(f"{what} {describe(value)}")
        return value

    def since_mark(self) -> list[Any]:
        """Take all values above the last mark, and the mark."""
        mark = self.marks.pop()
        values = self.stack[mark:]
        del self.stack[mark:]
        return values

    def push(self, value: Any) -> None:
        """Put a value on top."""
        self.stack.append(value)

    def push_tuple(self, count: int) -> None:
        """The topmost values become one tuple."""
        self.push(tuple([self.pop() for _ in range(count)][::-1]))

    def stack_name(self) -> None:
        """The topmost two texts become the name of what is asked for, if it is a known one."""
        name, module = self.pop(), self.pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            refuse("asks for something whose name is not text")
        self.push(named(f"{module} {name}"))

    def call(self) -> None:
        """Build what the name below the topmost tuple stands for; nothing is called."""
        arguments, function = self.pop(), self.pop()
        if not (isinstance(function, Name) and isinstance(arguments, tuple)):
            refuse(f"calls {describe(function)}")
        self.push(rebuild(function.text, arguments))

    def build(self) -> None:
        """Attributes for the object below, kept once, as data; those of an OrderedDict are dropped."""
        state = self.pop()
        target = self.top((ModuleRecord, dict), "sets attributes of")
        if isinstance(target, dict):
            return
        if not isinstance(state, dict) or target.state:
            refuse(f"sets odd attributes of '{target.kind.replace(' ', '.')}'")
        target.state = state

    def set_items(self, pairs: list[Any]) -> None:
        """Keys and values, in turn, for the dict on top."""
        target = self.top(dict, "sets items of")
        for key in pairs[::2]:
            # Hashing a tuple of tuples can take for ever or end the process, and large numbers can be chosen to share
            # one hash; torch's keys are text and small numbers.
            if not isinstance(key, str) and not (isinstance(key, int) and 0 <= key < _LARGEST_KEY):
                refuse(f"uses {describe(key)} as a key")
        target.update(zip(pairs[::2], pairs[1::2], strict=True))

    def add_items(self, values: list[Any]) -> None:
        """More values for the list on top."""
        self.top(list, "adds items to").extend(values)

    def put(self, index: int) -> None:
        """Remember the topmost value."""
        self.memo[index] = self.stack[-1]


def _constant(value: Any) -> Callable[[_Machine, Any], None]:
    return lambda machine, _: machine.push(value)


_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(("PROTO", "FRAME"), lambda machine, argument: None),
    **dict.fromkeys(
        ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE"),
        lambda machine, argument: machine.push(argument),
    ),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), lambda machine, argument: machine.put(argument)),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda machine, argument: machine.push(machine.memo[argument])),
    **dict.fromkeys(("REDUCE", "NEWOBJ"), lambda machine, argument: machine.call()),
    **dict.fromkeys(("EMPTY_LIST", "EMPTY_SET"), lambda machine, argument: machine.push([])),
    **dict.fromkeys(("APPENDS", "ADDITEMS"), lambda machine, argument: machine.add_items(machine.since_mark())),
    "NONE": _constant(None),
    "NEWTRUE": _constant(True),
    "NEWFALSE": _constant(False),
    "EMPTY_TUPLE": _constant(()),
    "EMPTY_DICT": lambda machine, argument: machine.push({}),
    "MARK": lambda machine, argument: machine.marks.append(len(machine.stack)),
    "TUPLE": lambda machine, argument: machine.push(tuple(machine.since_mark())),
    "TUPLE1": lambda machine, argument: machine.push_tuple(1),
    "TUPLE2": lambda machine, argument: machine.push_tuple(2),
    "TUPLE3": lambda machine, argument: machine.push_tuple(3),
    "APPEND": lambda machine, argument: machine.add_items([machine.pop()]),
    "SETITEM": lambda machine, argument: machine.set_items([machine.pop(), machine.pop()][::-1]),
    "SETITEMS": lambda machine, argument: machine.set_items(machine.since_mark()),
    "GLOBAL": lambda machine, argument: machine.push(named(argument)),
    "STACK_GLOBAL": lambda machine, argument: machine.stack_name(),
    "BINPERSID": lambda machine, argument: machine.push(storage(machine.pop())),
    "BUILD": lambda machine, argument: machine.build(),
    "MEMOIZE": lambda machine, argument: machine.put(len(machine.memo)),
}
