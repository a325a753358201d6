"""What may be named in a pickle of parameters, and the inert records that stand for it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, NoReturn

from affstore.store.contract.errors import UnsafePickleError

_NETWORK_CLASS = re.compile(r"(timm|torch\.nn|mobilefacenet)(\.\w+)* [A-Z]\w*", re.ASCII)
_STORAGE_CLASS = re.compile(r"torch (Float|Double|Half|BFloat16|Long|Int|Short|Char|Byte|Bool)Storage")
_DICT = "collections OrderedDict"
_SETS = ("__builtin__ set", "builtins set")
_PARAMETER = "torch._utils _rebuild_parameter"
_TENSOR = "torch._utils _rebuild_tensor_v2"
_SIZE = "torch Size"
_REBUILDERS = (_DICT, *_SETS, _PARAMETER, _TENSOR, _SIZE)
_MOST_DIMENSIONS = 8
_MOST_TENSOR_ARGUMENTS = 7


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


def refuse(what: str) -> NoReturn:
    """Refuse the file for what its pickle does.

    Raises:
        UnsafePickleError: always.
    """
    raise UnsafePickleError(
        f"The weight file's pickle {what}, which no file of parameters does. Nothing of it was run; do not trust it."
    )


def named(text: str) -> Name:
    """The name `module name`, if a file of parameters may ask for it.

    Raises:
        UnsafePickleError: it may not.
    """
    if not (text in _REBUILDERS or _NETWORK_CLASS.fullmatch(text) or _STORAGE_CLASS.fullmatch(text)):
        refuse(f"asks for {text.replace(' ', '.')[:100]!a}")
    return Name(text)


def storage(reference: Any) -> StorageRecord:
    """The storage that a persistent id stands for.

    Raises:
        UnsafePickleError: it stands for something else.
    """
    match reference:
        case ("storage", Name(text), str(key), str(), numel) if _STORAGE_CLASS.fullmatch(text) and _whole(numel):
            return StorageRecord(key, text.removeprefix("torch ").removesuffix("Storage"), numel)
    refuse(f"refers to an outside object that is not a storage ({describe(reference)})")


def rebuild(function: str, arguments: tuple[Any, ...]) -> Any:
    """What torch's rebuild functions and the classes' constructors stand for, with arguments as torch writes them.

    Raises:
        UnsafePickleError: the arguments are others.
    """
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
        case (name, (StorageRecord(), _, tuple(shape), tuple(stride), bool(), dict(), *_)) if name == _TENSOR:
            one_each = len(shape) == len(stride) <= _MOST_DIMENSIONS and len(arguments) <= _MOST_TENSOR_ARGUMENTS
            if one_each and _whole(arguments[1], *shape, *stride):
                return TensorRecord(*arguments[:4])
    refuse(f"calls '{function.replace(' ', '.')}' with arguments torch never writes")


def describe(value: Any) -> str:
    """A value by its kind; its content may be endless."""
    return f"'{value.text.replace(' ', '.')}'" if isinstance(value, Name) else f"a {type(value).__name__}"


def _whole(*numbers: Any) -> bool:
    """Whether all are whole numbers that are not negative, which neither True nor False is."""
    return all(type(number) is int and number >= 0 for number in numbers)
