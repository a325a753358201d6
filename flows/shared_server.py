"""The Prefect server of a runs folder: it serves while any command uses it, and ends by itself when none does.

It is run as a file, `python -P shared_server.py FOLDER PORT TEMPLATE`, so that it starts without the rest of affstore.
Commands that use it hold a shared lock on `FOLDER/users.lock`, which the kernel lifts however they end.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import sqlite3
import sys
import threading
import time
from contextlib import closing, suppress
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


def fill(folder: Path, template: Path) -> None:
    """Begin with a copy of an empty database of this Prefect's, made once, for its tables take 4 s and more."""
    database = folder / "prefect.db"
    if database.exists():
        return
    with suppress(OSError, sqlite3.Error):  # else Prefect makes its tables itself
        if _is_whole(template):
            _copy(template, database)
        else:
            asyncio.run(_make_tables())
            if _is_whole(database):  # it may be elsewhere, as the user's PREFECT_API_DATABASE_CONNECTION_URL says
                template.parent.mkdir(parents=True, exist_ok=True)
                _copy(database, template)


def _is_whole(database: Path) -> bool:
    if not database.is_file():
        return False
    try:
        with closing(sqlite3.connect(database)) as opened:
            has_tables = opened.execute("SELECT version_num FROM alembic_version").fetchone() is not None
            return has_tables and opened.execute("PRAGMA quick_check").fetchone() == ("ok",)
    except sqlite3.DatabaseError:
        return False


async def _make_tables() -> None:
    from prefect.server.database import provide_database_interface

    database = provide_database_interface()
    await database.create_db()
    await (await database.engine()).dispose()


def _copy(database: Path, to: Path) -> None:
    """Copy a database that nobody writes to, with what of it is in a log beside it."""
    new = to.with_name(f".{to.name}.{os.getpid()}")
    try:
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(new)) as target:
            source.backup(target)
        new.replace(to)
    finally:
        new.unlink(missing_ok=True)


def main() -> None:
    """Serve until no command uses this server."""
    folder, port, template = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    threading.Thread(target=_end_when_unused, args=(folder,), daemon=True).start()
    trim(folder)
    fill(folder, template)
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
