"""`affstore forget`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from affstore.flows.commands import COMMANDS, Command
from affstore.flows.commands.options import DEFAULT_STORE, DryRun, Json, Store, print_json
from affstore.flows.watch import to_terminal
from affstore.store.contract.errors import NotFoundError, SpecError

if TYPE_CHECKING:
    from affstore import FeatureStore
    from affstore.tasks.lineage.erasure import Erasure
    from affstore.tasks.lineage.forgetting import Forgotten

_LEFT = 4


def forget(
    video: str = "",
    /,
    *,
    store: Store = DEFAULT_STORE,
    dry_run: DryRun = False,
    yes: Annotated[bool, Parameter(name=["--yes", "-y"], negative="")] = False,
    allow: str = "",
    json: Json = False,
) -> int:
    """Erase a video and all that was computed from it: from the store, its tags, its history and the pages of its runs.

    Heads that were trained on it are erased too, with all they predicted, for they hold what was learnt from it: train
    them again. Tags whose snapshot contains it are removed and noted as retracted. The history before is let go. The
    same bytes are refused from then on; the store keeps a salted, slow hash of their digest for that, and no name.

    The exit code is 0 once every byte of the store was searched and nothing found; 2 if a name stands for several
    videos or nobody said yes; 4 if there is no such video, another run is writing, or something is left, which is
    named. Killed at any moment, it is finished by running it again.

    Example: affstore forget video2 --store affstore-demo/store --dry-run

    Parameters
    ----------
    video
        A video, or a file in quarantine, by name, alias, file or SHA-256.
    yes
        Do not ask.
    allow
        A file or SHA-256 that was forgotten and may be added again; nothing is erased.
    """
    from affstore import FeatureStore
    from affstore.store.engine.tombstones import Tombstones
    from affstore.tasks.lineage.erasure import plan_erasure

    if bool(video) == bool(allow):
        raise SpecError("Name one video to forget, or with --allow one that may be added again.")
    opened = FeatureStore(store)
    if allow:
        return _allow(opened, allow, json)
    try:
        erasure = plan_erasure(opened, [video])
    except NotFoundError:
        if not Tombstones.of(opened).unfinished or dry_run:
            raise
        return _finish(opened, json)
    document = _document(opened, erasure)
    lines = _plan_lines(document, video, erasure)
    if dry_run:
        _tell({**document, "done": False}, [*lines, "Nothing was changed."], json)
        return 0
    if not json:
        to_terminal(*lines)
    if not (yes or _agreed()):
        raise SpecError(f"Nothing was forgotten: nobody said yes. Give --yes to forget '{video}'.")
    return _forget(opened, erasure, document, json)


def _forget(store: FeatureStore, erasure: Erasure, document: dict[str, Any], as_json: bool) -> int:
    from affstore.flows.request import runs_folder
    from affstore.tasks.lineage.forgetting import forget as carry_out
    from affstore.tasks.lineage.mentions import published_copies

    done = carry_out(store, erasure, runs_folder(store.url))
    near = Path(runs_folder(store.url)).parent
    copies = published_copies(near, erasure.tags or ())
    document |= {
        "done": not done.objects and not done.files,
        "bytes_removed": done.garbage.bytes,
        "left_in_store": list(done.objects),
        "left_in_files": [str(path) for path in done.files],
        "published_copies": [str(path) for path in copies],
    }
    _tell(
        document,
        [*_result_lines(done), *(f"Withdraw '{path}': it was published from there." for path in copies)],
        as_json,
    )
    return 0 if document["done"] else _LEFT


def _plan_lines(document: dict[str, Any], video: str, erasure: Erasure) -> list[str]:
    kinds = ", ".join(f"{count} {family}" for family, count in erasure.families.items())
    lines = [
        f"'{video}' (sha256 {', '.join(sorted(digest[:16] for digest in erasure.digests))}): {erasure.count} artifacts "
        f"({document['array_bytes'] / 1e6:.1f} MB unpacked) have to go: {kinds or 'of the history only'}."
    ]
    if erasure.heads:
        lines.append(f"Heads that were trained on it, and have to be trained again: {', '.join(erasure.heads)}.")
    if erasure.experiments:
        lines.append(f"Experiments whose predictions and results go: {', '.join(erasure.experiments)}.")
    for tag, count in (erasure.tags or {}).items():
        lines.append(f"The tag '{tag}' contains {count} of them; it is removed and noted as retracted.")
    lines += [
        f"The tag '{tag}' is called by it. The engine never erases a tag's name: see `affstore copy --without`."
        for tag in erasure.named_tags
    ]
    lines.append(f"{document['snapshots']} snapshots of the history are let go; {document['tags_kept']} tags stay.")
    return lines


def _document(store: FeatureStore, erasure: Erasure) -> dict[str, Any]:
    from affstore.store.engine.sizes import array_bytes

    lost = {*(erasure.tags or {}), *erasure.named_tags}
    now = (erasure.addresses or {}).get(store.snapshot, frozenset())
    kept = {snapshot for tag, snapshot in store.tags().items() if tag not in lost}
    return {
        "sha256": sorted(erasure.digests),
        "artifacts": erasure.families,
        "array_bytes": sum(size for address, size in array_bytes(store).items() if address in now),
        "heads": list(erasure.heads),
        "experiments": list(erasure.experiments),
        "retracted": dict(erasure.tags or {}),
        "snapshots": len({info.id for info in store.history() if info.parent_id} - kept),
        "tags_kept": len(store.tags()) - len(lost),
    }


def _result_lines(done: Forgotten) -> list[str]:
    lines = [f"{done.garbage.objects} objects ({done.garbage.bytes / 1e6:.1f} MB) were removed from the store."]
    if done.objects:
        lines.append(
            f"{len(done.objects)} parts of the store still name it ({done.objects[0]}). The engine cannot erase them: "
            "`affstore copy` writes a store without them; then remove this one."
        )
    else:
        lines.append("Every byte that is left was searched: nothing names it.")
    lines += [f"'{path}' still names it: end the server or program that uses it, and remove it." for path in done.files]
    return lines


def _agreed() -> bool:
    if not sys.stdin.isatty():
        return False
    to_terminal("Forget it? Type yes:")
    return sys.stdin.readline().strip().lower() == "yes"


def _finish(store: FeatureStore, as_json: bool) -> int:
    from affstore.tasks.lineage.forgetting import finish

    garbage = finish(store)
    line = f"A deletion that was interrupted is finished now: {garbage.objects} objects were removed."
    _tell({"done": True, "bytes_removed": garbage.bytes}, [line], as_json)
    return 0


def _allow(store: FeatureStore, what: str, as_json: bool) -> int:
    from affstore.store.contract.keys import digest_file
    from affstore.store.engine.tombstones import Tombstones

    digest = digest_file(Path(what)) if Path(what).is_file() else what.lower()
    known = Tombstones.of(store)
    if not known.date_of(digest):
        raise NotFoundError(f"The store at '{store.url}' has not forgotten '{what}'. Name a file, or a whole SHA-256.")
    known.without(digest).write(store)
    _tell({"allowed": True}, [f"'{what}' may be added again."], as_json)
    return 0


def _tell(document: dict[str, Any], lines: list[str], as_json: bool) -> None:
    if as_json:
        print_json(document)
    else:
        to_terminal(*lines)


COMMANDS.register("forget", Command(forget))
