"""Signals that ask a command to end."""

from __future__ import annotations

import subprocess
import sys

import pytest

COMMAND = """
import os, signal, sys, time
from affstore.flows.cli import call
from affstore.flows.commands import COMMANDS, Command
from affstore.flows.interrupts import end_on_signals

class Dying:
    def __del__(self):
        os.kill(os.getpid(), signal.{name})
        for _ in range(1000):
            pass  # the handler is called here, where Python drops what it raises

class MadeAnotherErrorOfIt:
    def __enter__(self): pass
    def __exit__(self, kind, error, traceback):
        raise ValueError("it broke") from error

IMPORTING = compile(
    "os.kill(os.getpid(), signal.{name})\\nprint('the lock is let go')", "<frozen importlib._bootstrap>", "exec"
)

def dropped():
    Dying()
    time.sleep(30)

def importing():
    exec(IMPORTING)
    time.sleep(30)

def another_error():
    with MadeAnotherErrorOfIt():
        os.kill(os.getpid(), signal.{name})
        time.sleep(30)

COMMANDS.register("work", Command({work}))
end_on_signals()
sys.exit(call(["work"]))
"""


def ended(name, work):
    command = [sys.executable, "-c", COMMAND.format(name=name, work=work)]
    return subprocess.run(command, capture_output=True, text=True, timeout=25, check=False)


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_that_comes_where_errors_are_dropped_ends_the_command_all_the_same(name, code):
    done = ended(name, "dropped")
    assert done.returncode == code
    assert done.stderr.startswith("affstore: Interrupted.")


def test_a_signal_does_not_break_into_an_import_whose_lock_others_wait_for():
    done = ended("SIGTERM", "importing")
    assert done.stdout == "the lock is let go\n"
    assert (done.returncode, done.stderr[:22]) == (143, "affstore: Interrupted.")


def test_a_signal_of_which_a_library_made_another_error_ends_the_command_in_one_sentence():
    done = ended("SIGINT", "another_error")
    assert (done.returncode, done.stderr[:22]) == (130, "affstore: Interrupted.")
