"""The command `affstore`, with every command that the package and installed plugins bring."""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib.metadata
import io
import os
import sys
from keyword import iskeyword

from cyclopts import App, CycloptsError, UnknownCommandError, UnknownOptionError

from affstore.flows.commands import COMMANDS, Command
from affstore.flows.environment import RARE_GARBAGE_THRESHOLD, prepare
from affstore.flows.interrupts import Interrupted, end_on_signals
from affstore.flows.project_file import project_store
from affstore.store.contract.errors import AffstoreError, UnknownNameError
from affstore.store.contract.printable import printable
from affstore.tasks.lineage.run_note import begun_by

_SIGNALS = 128
"""Exit codes above this are those of signals."""

app = App(
    name="affstore",
    help="A feature store for video of human behaviour: frame-aligned embeddings, heads and predictions, each with "
    "the record of what it came from.\n\n"
    "Exit codes: 0 all well; 1 `doctor` found something wrong; 2 a wrong option or configuration, or a name that "
    "affstore does not know (an extractor, a format); 3 the run ended, but some inputs were quarantined or not done "
    "(`affstore quarantine list` says why); 4 the store cannot be read or written, or lacks what was named (an "
    "artifact, a video, a head, a tag); 5 weights are missing, damaged or unsafe; 6 a GPU lacks memory for the "
    "smallest batch; 7 a publication is not as it was signed; 10 `plan` found work to do; 130 "
    "interrupted by Ctrl-C, 143 by SIGTERM, 129 by a terminal that was closed.",
    version=lambda: importlib.metadata.version("affstore"),
    result_action="return_value",
    suppress_keyboard_interrupt=False,
    help_format="plaintext",  # rendering Markdown would double the time of `affstore --help`
)


def whole_app() -> App:
    """The command line with every command of the package and of plugins."""
    for name in sorted({*COMMANDS.names()}.difference(app)):
        _bring(name, COMMANDS.get(name))
    return app


def _bring_what(name: str) -> None:
    """Add the command of that name; the modules of the others, and plugins, are looked at only if it needs them.

    They would take some 40 and 30 ms.
    """
    own = COMMANDS.own_in(f"{name}_" if iskeyword(name) else name)
    if name not in own:
        own = COMMANDS.own()
    if name not in own:
        whole_app()
    elif name not in app:
        _bring(name, own[name])


def _bring(name: str, command: Command) -> None:
    app.command(command.call, name=name)
    app[name].help_format = "markdown"


app.register_install_completion_command()


_LONGEST = 2000


def main() -> None:
    """Run the command line and exit with its documented code."""
    codes: list[int] = []
    # Registered before anything heavy is imported, so that it runs after whatever that registers for the end.
    atexit.register(_end, codes)
    gc.set_threshold(*RARE_GARBAGE_THRESHOLD)
    prepare()
    end_on_signals()
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a letter gets its number, not a traceback.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    codes.append(call(sys.argv[1:]))
    _leave(codes[-1])


def _leave(code: int) -> None:
    """End with that code; what waits for a Prefect server that is gone, or for interrupted work, is left behind."""
    server = sys.modules.get("affstore.flows.server")  # a command that needed none is not to wait for its import
    if (server is not None and server.abandoned.is_set()) or code > _SIGNALS:
        _end([code])
    sys.exit(code)


def _end(codes: list[int]) -> None:
    """End the process with the last code, if a command ended at all, without taking Python down piece by piece.

    Threads of the store's engine that want Python's lock meanwhile would crash the process: exit codes -6 and -11.
    """
    if codes:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(codes[-1])


def call(arguments: list[str]) -> int:
    """Run one command; one sentence instead of a traceback where something is wrong.

    Returns:
        The exit code.
    """
    try:
        _bring_what(arguments[0] if arguments else "")
        with project_store(arguments), begun_by(arguments):
            code = app(arguments, exit_on_error=False, print_error=False)
        return code if isinstance(code, int) else 0
    except AffstoreError as error:
        return _refuse(str(error), error.exit_code)
    except UnknownCommandError as error:
        return _refuse(_unknown(error.app or app, (error.unused_tokens or arguments)[0]), 2)
    except UnknownOptionError as error:
        return _refuse(_unknown_option(error, arguments), 2)
    except CycloptsError as error:
        return _refuse(" ".join(str(error).split()), 2)
    except BrokenPipeError:
        # The reader of our output went away, as `head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _refuse(
            f"{error.strerror or error}: {error.filename or 'a file of this run'}. Check room and rights.", 4
        )
    except BaseException as error:
        interrupted = Interrupted.behind(error)
        if interrupted is None:
            raise
        told = "Interrupted. What was finished is kept; run the command again to go on."
        return _refuse(told, interrupted.exit_code)


def _unknown(of: App, given: str) -> str:
    """Why there is no such command: a plugin that brought it does not work, or nobody has it."""
    broken = [fault.reason for fault in COMMANDS.faults() if of is app and fault.name == given]
    if broken:
        return broken[0]
    place = "affstore" if of is app else f"affstore {of.name[0]}"
    return str(UnknownNameError.of(f"command of `{place}`", given, [name for name in of if not name.startswith("-")]))


def _unknown_option(error: UnknownOptionError, arguments: list[str]) -> str:
    """Why there is no such option: perhaps it is a name that begins with a dash, or stands behind `--`."""
    given = error.token.keyword or error.token.value
    if "--" in arguments and given in arguments[arguments.index("--") :]:
        return f"'{given}' stands behind `--`, where there are names only. Write options before it, and fewer names."
    if given.startswith("--"):
        return " ".join(str(error).split())
    return (
        f"Unknown option: {given}. A file whose name begins with a dash is written './{given}', and another such name "
        f"behind `--`, after all options: `-- {given}`."
    )


def _refuse(message: str, code: int) -> int:
    with contextlib.suppress(OSError):  # the terminal may be closed
        sys.stderr.write(f"affstore: {printable(_shortened(message))}\n")
    return code


def _shortened(message: str) -> str:
    """What a screen can hold, of a message that repeats something endless."""
    return message if len(message) <= _LONGEST else f"{message[: _LONGEST // 2]} … {message[-_LONGEST // 2 :]}"


if __name__ == "__main__":
    main()
