"""The command `affstore`. Everything heavy is imported by the command that needs it, so that `--help` stays quick."""

from __future__ import annotations

import importlib.metadata
import os
import sys

from cyclopts import App, CycloptsError

from flows.environment import prepare
from store.contract.errors import AffstoreError

app = App(
    name="affstore",
    help="A feature store for video of human behaviour: frame-aligned embeddings, heads and predictions, each with "
    "the record of what it came from.\n\n"
    "Exit codes: 0 all well; 2 a wrong name, option or configuration; 3 the run ended, but some inputs were "
    "quarantined or not done (`affstore status` says why); 4 the store cannot be read or written; 5 weights are "
    "missing, damaged or unsafe; 10 `plan` found work to do; 130 interrupted.",
    version=lambda: importlib.metadata.version("affstore"),
    result_action="return_value",
)

# In the order in which a newcomer meets them; the modules are imported only when their command is called.
_COMMANDS = {
    "demo": "Run the whole pipeline on a small generated corpus, offline: the first thing to try.",
    "add": "Take in videos and their annotations, and extract only what is missing.",
    "plan": "Say what is fresh, missing, stale and why, with the estimated cost.",
    "run": "Run the whole DAG of a configuration.",
    "status": "Say what a store holds, and what is quarantined and why.",
    "show": "Show one artifact's record and arrays, or all that there is of one video.",
    "weights": "The networks' parameters: list, pull, import, verify.",
    "export": "Copy the store as ordinary Zarr v3 or Parquet.",
    "doctor": "Say whether this machine, this store and the server are healthy.",
}
for _name, _help in _COMMANDS.items():
    _attribute = "app" if _name == "weights" else _name
    app.command(f"flows.commands.{_name}:{_attribute}", name=_name, help=_help, sort_key=list(_COMMANDS).index(_name))


def main() -> None:
    """Run the command line and exit with its documented code."""
    prepare()
    sys.exit(call(sys.argv[1:]))


def call(arguments: list[str]) -> int:
    """Run one command; one sentence instead of a traceback where something is wrong.

    Returns:
        The exit code.
    """
    try:
        code = app(arguments, exit_on_error=False, print_error=False)
        return code if isinstance(code, int) else 0
    except AffstoreError as error:
        return _refuse(str(error), error.exit_code)
    except CycloptsError as error:
        return _refuse(" ".join(str(error).split()), 2)
    except KeyboardInterrupt:
        return _refuse("Interrupted. What was finished is kept; run the command again to go on.", 130)
    except BrokenPipeError:
        # The reader of our output went away, as `head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _refuse(message: str, code: int) -> int:
    sys.stderr.write(f"affstore: {message}\n")
    return code
