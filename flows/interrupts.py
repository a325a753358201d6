"""Ctrl-C, SIGTERM and a closed terminal end a command in the same way."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_AGAIN_S = 0.05
_IMPORTING = "<frozen importlib"
"""Where Python's own code for imports is, whose locks an error would leave held: other threads would wait for ever."""


class Interrupted(KeyboardInterrupt):
    """A signal asked the command to end.

    Attributes:
        number: of the signal.
        exit_code: what the shell expects for that signal: 130 for Ctrl-C, 143 for SIGTERM, 129 for a closed terminal.
    """

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__(number)
        self.number = number
        self.exit_code = 128 + number

    @classmethod
    def of(cls, error: BaseException) -> Interrupted:
        """The same for a bare KeyboardInterrupt, and for what Prefect raises on SIGTERM."""
        return error if isinstance(error, cls) else cls(getattr(error, "signal", signal.SIGINT))

    @classmethod
    def behind(cls, error: BaseException | None) -> Interrupted | None:
        """The interruption that a library caught on its way and raised another error from; None where there is none.

        Pydantic does so when a signal comes while it serializes, as Prefect lets it for every task.
        """
        while error is not None:
            if isinstance(error, KeyboardInterrupt) or (hasattr(error, "signal") and not isinstance(error, Exception)):
                return cls.of(error)
            error = error.__cause__
        return None


def end_on_signals() -> None:
    """Raise `Interrupted` on the signals that ask a command to end, unless they are ignored, as by `nohup`."""
    for number in _ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _raise)
    sys.unraisablehook = _again_if_lost(sys.unraisablehook)


def _again_if_lost(show: Callable[[sys.UnraisableHookArgs], Any]) -> Callable[[sys.UnraisableHookArgs], Any]:
    """Send a signal again that came where Python drops every error: while garbage is collected, as Dask watches it."""

    def hook(lost: sys.UnraisableHookArgs) -> Any:
        if isinstance(lost.exc_value, KeyboardInterrupt):
            return _send_soon(Interrupted.of(lost.exc_value).number)
        return show(lost)

    return hook


def _send_soon(number: int) -> None:
    again = threading.Timer(_AGAIN_S, os.kill, (os.getpid(), number))
    again.daemon = True
    again.start()


def _raise(number: int, frame: FrameType | None) -> Any:
    if frame is not None and frame.f_code.co_filename.startswith(_IMPORTING):
        return _send_soon(number)
    raise Interrupted(number)
