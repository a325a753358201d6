"""`affstore upgrade`."""

from __future__ import annotations

from affstore.flows.commands import COMMANDS, Command
from affstore.flows.commands.options import DEFAULT_STORE, DryRun, Json, answer


def upgrade(store: str = DEFAULT_STORE, /, *, dry_run: DryRun = False, json: Json = False) -> int:
    """Bring a store that an older affstore wrote to today's format, in which every chunk has a checksum.

    Keys, digests and numbers stay; tags and earlier snapshots stay as they are. It is one commit: killed, it leaves the
    old state or the new one. Stores of the older format can be used without it. Nobody else may write meanwhile;
    in a local store it is seen that nobody does, and the exit code is 4 if somebody does.

    Example: affstore upgrade affstore-data --dry-run

    Parameters
    ----------
    store
        A folder, s3://bucket/prefix or memory:name.
    """
    from dataclasses import asdict

    from affstore.store.contract.schema import layout_version
    from affstore.store.engine import upgrade as engine

    todo = engine.plan_upgrade(store) if dry_run else engine.upgrade(store)
    would = "would be " if dry_run else ""
    line = (
        f"The store at '{store}': layout {todo.layout} {would}brought to {layout_version()}, {todo.artifacts} "
        f"artifacts ({todo.array_bytes / 1e6:.1f} MB unpacked) {would}written anew."
        if todo.is_needed
        else f"The store at '{store}' has today's layout, {layout_version()}: nothing to do."
    )
    answer(asdict(todo), [line], json)
    return 0


COMMANDS.register("upgrade", Command(upgrade))
