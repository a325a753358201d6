"""`affstore show`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from affstore.flows.commands import COMMANDS, Command
from affstore.flows.commands.options import DEFAULT_STORE, At, Json, Store, print_json, print_table
from affstore.flows.provenance import marked
from affstore.flows.watch import to_terminal

if TYPE_CHECKING:
    from affstore import FeatureStore
    from affstore.store.contract.records import Record


def show(what: str = "", /, *, store: Store = DEFAULT_STORE, at: At = None, json: Json = False) -> int:
    """Show one artifact's record and arrays, all that there is of one video, or a list of all videos.

    The exit code is 4 when the store has no such artifact, video or state.

    Example: affstore show visual/emotieffnet_b0/video2/main --store affstore-demo/store

    Parameters
    ----------
    what
        An artifact's path, or a video's name or alias; every video without it.
    """
    from affstore import FeatureStore

    opened = FeatureStore(store, at)
    if "/" in what:
        _one(opened, what, json)
    else:
        _several(opened, what, json)
    return 0


def _one(store: FeatureStore, path: str, as_json: bool) -> None:
    from affstore.store.contract.schema import family
    from affstore.store.engine.reading import find_address

    record = store.get(find_address(store, path))
    schema = family(record.address.family)
    document = {
        "artifact": record.address.path,
        **record.to_attributes(schema.version),
        "arrays": {
            schema.name_of(name): f"{array.dtype} {array.shape}"
            for name, array in sorted(store.group(record.address).arrays())
        },
    }
    if as_json:
        print_json(document)
        return
    for line in _lines(document):
        to_terminal(line)


def _lines(document: Any, at: str = "") -> list[str]:
    """A nested document, one line a value."""
    if isinstance(document, dict):
        return [line for name, value in document.items() for line in _lines(value, f"{at}.{name}" if at else name)]
    if isinstance(document, list) and document and isinstance(document[0], dict | list):
        return [line for i, value in enumerate(document) for line in _lines(value, f"{at}[{i}]")]
    return [f"{at:44} {document}"]


def _several(store: FeatureStore, video: str, as_json: bool) -> None:
    from affstore.store.engine.reading import find_source

    name = find_source(store, video).address.video if video else ""
    records = [r for r in store.records() if (r.address.video == name if name else r.address.family == "source")]
    if as_json:
        print_json(
            [
                {
                    "artifact": record.address.path,
                    "frames": record.attributes.get("frames"),
                    "key": record.key,
                    "provenance": record.provenance,
                }
                for record in records
            ]
        )
        return
    print_table(
        ("artifact", "frames", "key", "made"),
        [(r.address.path, str(r.attributes.get("frames", "")), r.key[:12], _origin(r)) for r in records],
    )


def _origin(record: Record) -> str:
    return f"{record.made_at} run {record.run_id} {marked(record.provenance)}".rstrip()


COMMANDS.register("show", Command(show))
