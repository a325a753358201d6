"""A module pickle read as data.

`torch.save(module)` writes a program for a stack machine, and the usual reader runs it: a hostile file can call
anything. This reader is that stack machine without its powers. It imports nothing, calls nothing and builds no class
but the inert records below, so what a pickle may *do* is bounded by what is written here.

Admitted are the opcodes that torch writes, the names of network classes (kept as text), storages, and torch's own three
ways to rebuild a tensor. Everything else is refused by name, before anything after it is read.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from store.contract.errors import UnsafePickleError, WeightsError

_NETWORK_CLASS = re.compile(r"(timm|torch\.nn|mobilefacenet)(\.\w+)* [A-Z]\w*")
_STORAGE_CLASS = re.compile(r"torch (Float|Double|Half|BFloat16|Long|Int|Short|Char|Byte|Bool)Storage")
_DICT = "collections OrderedDict"
_SETS = ("__builtin__ set", "builtins set")
_PARAMETER = "torch._utils _rebuild_parameter"
_TENSOR = "torch._utils _rebuild_tensor_v2"
_SIZE = "torch Size"
_MOST_DIMENSIONS = 8
_REBUILDERS = (_DICT, *_SETS, _PARAMETER, _TENSOR, _SIZE)


@dataclass(frozen=True, slots=True)
class Name:
    """A name the pickle asked for, as text: `module name`."""

    text: str


@dataclass(frozen=True, slots=True)
class StorageRecord:
    """A run of numbers in the archive: `numel` of torch's `kind` (`Float`, `Long` …), in the entry `data/<key>`."""

    key: str
    kind: str
    numel: int


@dataclass(frozen=True, slots=True)
class TensorRecord:
    """A view of a storage; `offset` and `stride` count elements."""

    storage: StorageRecord
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(slots=True, eq=False)
class ModuleRecord:
    """What was pickled of an instance of a network class: the class's name and its attributes, as data."""

    kind: str
    state: dict[Any, Any] = field(default_factory=dict)


def read_pickle(data: bytes) -> Any:
    """The value a pickle describes, made of plain Python values and the records of this module.

    Raises:
        UnsafePickleError: it asks for something that is not a parameter container.
        WeightsError: it is damaged.
    """
    machine = _Machine()
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name == "STOP":
                return machine.pop()
            if opcode.name not in _STEPS:
                _refuse(f"uses the opcode {opcode.name}")
            _STEPS[opcode.name](machine, argument)
    except (ValueError, IndexError, KeyError) as error:
        raise WeightsError(f"The pickle in the weight file is damaged: {error}. Fetch the file again.") from error
    raise WeightsError("The pickle in the weight file has no end. Fetch the file again.")


def _refuse(what: str) -> NoReturn:
    raise UnsafePickleError(
        f"The weight file's pickle {what}, which no file of parameters does. Nothing of it was run; do not trust it."
    )


class _Machine:
    """The stack, the marks and the memo of a pickle being read."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def pop(self) -> Any:
        if self.marks and len(self.stack) <= self.marks[-1]:
            raise ValueError("a value is missing")
        return self.stack.pop()

    def top(self, kind: type | tuple[type, ...], what: str) -> Any:
        """The value on top of the stack, which has to be a `kind`; it stays there."""
        value = self.stack[-1]
        if not isinstance(value, kind):
            _refuse(f"{what} {_describe(value)}")
        return value

    def since_mark(self) -> list[Any]:
        mark = self.marks.pop()
        values = self.stack[mark:]
        del self.stack[mark:]
        return values

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def push_tuple(self, count: int) -> None:
        self.push(tuple([self.pop() for _ in range(count)][::-1]))

    def name(self, text: str) -> None:
        known = text in _REBUILDERS or _NETWORK_CLASS.fullmatch(text) or _STORAGE_CLASS.fullmatch(text)
        if not known:
            _refuse(f"asks for '{text.replace(' ', '.')[:100]}'")
        self.push(Name(text))

    def stack_name(self) -> None:
        name, module = self.pop(), self.pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            _refuse("asks for something whose name is not text")
        self.name(f"{module} {name}")

    def storage(self) -> None:
        match self.pop():
            case ("storage", Name(text), str(key), str(), int(numel)) if _STORAGE_CLASS.fullmatch(text):
                self.push(StorageRecord(key, text.removeprefix("torch ").removesuffix("Storage"), numel))
            case other:
                _refuse(f"refers to an outside object that is not a storage ({_describe(other)})")

    def call(self) -> None:
        arguments, function = self.pop(), self.pop()
        if not (isinstance(function, Name) and isinstance(arguments, tuple)):
            _refuse(f"calls {_describe(function)}")
        self.push(_rebuild(function.text, arguments))

    def build(self) -> None:
        """Attributes for the object below, kept once, as data; those of an OrderedDict are dropped."""
        state = self.pop()
        target = self.top((ModuleRecord, dict), "sets attributes of")
        if isinstance(target, dict):
            return
        if not isinstance(state, dict) or target.state:
            _refuse(f"sets odd attributes of '{target.kind.replace(' ', '.')}'")
        target.state = state

    def set_items(self, pairs: list[Any]) -> None:
        target = self.top(dict, "sets items of")
        for key in pairs[::2]:
            # Hashing a tuple of tuples can take for ever or end the process; torch's keys are text and numbers.
            if not isinstance(key, str | int):
                _refuse(f"uses {_describe(key)} as a key")
        target.update(zip(pairs[::2], pairs[1::2], strict=True))

    def add_items(self, values: list[Any]) -> None:
        self.top(list, "adds items to").extend(values)

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]


def _rebuild(function: str, arguments: tuple[Any, ...]) -> Any:
    """What torch's rebuild functions and the classes' constructors stand for, with arguments as torch writes them."""
    if _NETWORK_CLASS.fullmatch(function):
        return ModuleRecord(function)
    match (function, arguments):
        case (name, ()) if name == _DICT:
            return {}
        case (name, (list(items),)) if name in _SETS:
            return items
        case (name, (tuple(shape),)) if name == _SIZE:
            return shape
        case (name, (TensorRecord() as tensor, bool(), dict())) if name == _PARAMETER:
            return tensor
        case (name, (StorageRecord() as storage, int(offset), tuple(shape), tuple(stride), *_)) if name == _TENSOR:
            if len(shape) <= _MOST_DIMENSIONS and all(isinstance(number, int) for number in (*shape, *stride)):
                return TensorRecord(storage, offset, shape, stride)
    _refuse(f"calls '{function.replace(' ', '.')}' with arguments torch never writes")


def _describe(value: Any) -> str:
    """A value by its kind; its content may be endless."""
    return f"'{value.text.replace(' ', '.')}'" if isinstance(value, Name) else f"a {type(value).__name__}"


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
    "GLOBAL": lambda machine, argument: machine.name(argument),
    "STACK_GLOBAL": lambda machine, argument: machine.stack_name(),
    "BINPERSID": lambda machine, argument: machine.storage(),
    "BUILD": lambda machine, argument: machine.build(),
    "MEMOIZE": lambda machine, argument: machine.put(len(machine.memo)),
}
