"""What a run shows on a real terminal, as narrow as terminals are and as wide as they get."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from contextlib import suppress

import pytest
from rich.cells import cell_len

from tests.test_limits import NETWORK, film

NAME = "session_2_of_participant_17_left_camera"
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\x07")


def shown(command, width, height=24):
    """The exit code of a command on a terminal of its own, and all lines that it ever wrote there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    ends = {"stdin": theirs, "stdout": theirs, "stderr": theirs, "close_fds": True}
    child = subprocess.Popen(command, env={**environment, "TERM": "xterm-256color"}, **ends)
    os.close(theirs)
    written = b""
    with suppress(OSError):  # the other end is closed
        while part := os.read(ours, 65536):
            written += part
    os.close(ours)
    text = _CONTROL.sub("", written.decode())
    return child.wait(), [line for line in re.split(r"[\r\n]+", text) if line.strip()]


@pytest.mark.slow
@pytest.mark.parametrize("width", [80, 200])
def test_no_line_of_a_run_goes_over_the_edge_or_breaks_a_word(server, tmp_path, width):
    for number in range(4):
        film(tmp_path / "videos" / f"{NAME}_{number}.mp4", 20 + 20 * number, number)
    (tmp_path / "videos" / f"{NAME}_bad.mp4").write_bytes(b"no video")
    command = [sys.executable, "-m", "affstore.flows.cli", "add", str(tmp_path / "videos")]
    code, lines = shown([*command, "--store", str(tmp_path / "store"), *NETWORK, "--workers", "1"], width)
    assert code == 3
    words = {word.rstrip(".,;:)") for line in lines for word in line.split()}
    assert {f"{NAME}_{number}" for number in range(4)} <= {word.removesuffix(".mp4") for word in words}
    too_long = [line.split()[-1] for line in lines if cell_len(line.rstrip()) > width]
    assert all("/" in last and len(last) > width - 30 for last in too_long), "only a path that fits nowhere"
    bars = [line for line in lines if "━" in line]
    assert any(re.search(r"\d+/4  \d+ frames/s +(\d:\d\d:\d\d|-:--:--)$", line.rstrip()) for line in bars)
    whole = re.compile(r"[━╸╺] +\d+/\d+(  \d+ frames/s)? +(\d:\d\d:\d\d|-:--:--)$")
    assert [bar for bar in bars if "/" in bar and not whole.search(bar.rstrip())] == []
