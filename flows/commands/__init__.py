"""One command a file. A file of this folder, or a plugin, adds one; see `Command`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from affstore.store.contract.registry import Registry

if TYPE_CHECKING:
    from cyclopts import App


@dataclass(frozen=True, slots=True)
class Command:
    """A command of `affstore`. Its module must be light: what is heavy is imported when it is called.

    Attributes:
        call: a function whose parameters are the options, whose docstring is the help, and which returns the exit code;
            or an `App` of several such functions.
        contract: number of this contract that a plugin was written for; today's is 1.
    """

    call: Callable[..., int] | App
    contract: int | None = None


COMMANDS: Registry[Command] = Registry("command", __name__, "affstore.commands", base=Command)
