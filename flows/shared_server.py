"""The Prefect server of a runs folder: it serves while any command uses it, and ends by itself when none does.

It is run as a file, `python -P shared_server.py FOLDER PORT`, so that it starts without the rest of affstore.
Commands that use it hold a shared lock on `FOLDER/users.lock`, which the kernel lifts however they end.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import threading
import time
from pathlib import Path

_LOOK_S = 0.5
_END_S = 10
_DATABASE_BYTES = 64 << 20
"""How large Prefect's database may be at a start; beyond, earlier runs lose their pages, not what they made."""


def trim(folder: Path) -> None:
    """Put a database that has grown too large out of the way; the one before it is dropped."""
    database = folder / "prefect.db"
    if database.is_file() and database.stat().st_size > _DATABASE_BYTES:
        for tail in ("-wal", "-shm"):
            database.with_name(f"{database.name}{tail}").unlink(missing_ok=True)
        database.replace(folder / "prefect.before.db")


def main() -> None:
    """Serve until no command uses this server."""
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    threading.Thread(target=_end_when_unused, args=(folder,), daemon=True).start()
    trim(folder)
    import uvicorn
    from prefect.server.api.server import create_app

    app = create_app(final=True)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", timeout_graceful_shutdown=2)


def _end_when_unused(folder: Path) -> None:
    with (folder / "users.lock").open("ab") as users:
        while True:
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                time.sleep(_LOOK_S)
        # Whoever comes now waits for this lock, and then starts a server.
        (folder / "server.json").unlink(missing_ok=True)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_END_S)
        os._exit(1)


if __name__ == "__main__":
    main()
