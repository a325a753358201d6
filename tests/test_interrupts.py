"""Signals that ask a command to end."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOST = """
import gc, os, signal, sys, time
from affstore.flows.cli import call
from affstore.flows.commands import COMMANDS, Command
from affstore.flows.interrupts import end_on_signals

class Dying:
    def __del__(self):
        os.kill(os.getpid(), signal.{name})
        for _ in range(1000):
            pass  # the handler is called here, where Python drops what it raises

def work() -> int:
    Dying()
    time.sleep(30)
    return 0

COMMANDS.register("work", Command(work))
from affstore.flows.cli import app
app.command(work)
end_on_signals()
sys.exit(call(["work"]))
"""


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_that_comes_where_errors_are_dropped_ends_the_command_all_the_same(name, code):
    done = subprocess.run([sys.executable, "-c", LOST.format(name=name)], capture_output=True, text=True, timeout=25)
    assert done.returncode == code
    assert done.stderr.startswith("affstore: Interrupted.")
