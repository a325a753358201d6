"""The tensors of what was pickled, named as `state_dict()` names them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from affstore.models.weights.untrusted.rebuild import ModuleRecord, TensorRecord
from affstore.store.contract.errors import ArchitectureError, UnsafePickleError

_NAME = re.compile(r"[!-~]{1,300}")
"""What a parameter may be called. Names come from the file and are shown to a person, so no control characters."""

_CHECKPOINT = "model_state_dict"
"""Where a checkpoint has its parameters, beside the number of the epoch and the optimiser's state."""

_LONGEST_NAME = 1000
_MOST_MEMBERS = 200_000


def flatten(root: Any) -> dict[str, TensorRecord]:
    """The tensors of a module or of a state dict, in the file's order; of a checkpoint, those of its model alone.

    Raises:
        UnsafePickleError: the tree has no end, or holds what no module holds.
        ArchitectureError: it is neither a module nor a state dict.
    """
    if isinstance(root, dict):
        root = root.get(_CHECKPOINT, root)
    if isinstance(root, dict) and root and all(isinstance(value, TensorRecord) for value in root.values()):
        return {checked_name(name, dots=True): record for name, record in root.items()}
    if not isinstance(root, ModuleRecord):
        raise ArchitectureError(f"The file holds a {type(root).__name__}, neither a network nor a state dict.")
    return _Walk().through(root)


def checked_name(name: Any, dots: bool = False) -> str:
    """A parameter's name, if a network could have it; with dots it is a path through modules.

    Raises:
        UnsafePickleError: it is no text, or has spaces, control characters or letters that look like others.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name) or ("." in name and not dots):
        found = ascii(name)[:50] if isinstance(name, str) else f"a {type(name).__name__}"
        raise UnsafePickleError(f"The file has a parameter named {found}, as torch names none. Do not trust it.")
    return name


class _Walk:
    """A way through a module tree. Modules may share members or hold themselves, so what it looks at is counted."""

    def __init__(self) -> None:
        self._left = _MOST_MEMBERS

    def through(self, root: ModuleRecord) -> dict[str, TensorRecord]:
        """Every tensor below the root, by its dotted name."""
        records: dict[str, TensorRecord] = {}
        waiting = [("", root)]
        while waiting:
            prefix, module = waiting.pop()
            records.update({f"{prefix}{name}": tensor for name, tensor in self._own_tensors(module)})
            children = [(f"{prefix}{n}.", child) for n, child in self._members(module, "_modules", ModuleRecord)]
            if len(prefix) > _LONGEST_NAME:
                _endless()
            waiting += children
        return records

    def _own_tensors(self, module: ModuleRecord) -> Iterator[tuple[str, TensorRecord]]:
        """Parameters and persistent buffers of one module, without those of its children."""
        yield from self._members(module, "_parameters", TensorRecord)
        transient = module.state.get("_non_persistent_buffers_set")
        transient = transient if isinstance(transient, list) else []
        self._count(len(transient))
        left_out = {name for name in transient if isinstance(name, str)}
        for name, tensor in self._members(module, "_buffers", TensorRecord):
            if name not in left_out:
                yield name, tensor

    def _members(self, module: ModuleRecord, kind: str, of: type) -> Iterator[tuple[str, Any]]:
        """The members of one of a module's three dicts; None stands for "none", as in torch."""
        members = module.state.get(kind) or {}
        if not isinstance(members, dict):
            raise UnsafePickleError(f"'{kind}' of '{module.kind}' is a {type(members).__name__}, not a dict.")
        self._count(len(members) + 1)
        for name, member in members.items():
            if member is not None:
                if not isinstance(member, of):
                    raise UnsafePickleError(f"'{kind}' of '{module.kind}' holds a {type(member).__name__}.")
                yield checked_name(name), member

    def _count(self, members: int) -> None:
        self._left -= members
        if self._left < 0:
            _endless()


def _endless() -> None:
    raise UnsafePickleError("The file's module tree has no end. Nothing of it was run; do not trust it.")
