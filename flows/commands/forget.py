"""`affstore forget`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from affstore.flows.commands import COMMANDS, Command
from affstore.flows.commands.options import DEFAULT_STORE, DryRun, Json, Store, answer, says_yes
from affstore.flows.watch import to_terminal
from affstore.store.contract.errors import NotFoundError, SpecError
from affstore.store.contract.printable import counted, some

if TYPE_CHECKING:
    from affstore import FeatureStore
    from affstore.tasks.lineage.erasure import Erasure
    from affstore.tasks.lineage.forgetting import Forgotten
    from affstore.tasks.lineage.mentions import Exported

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

    Tables, texts and pages in a local store's own folder and up to six folders below it are searched too, and of other
    files there the names; what names the video is told, not removed, for it is yours. Hidden folders, other stores and
    the videos and annotations that were added are left out.

    The exit code is 0 once every byte of the store was searched and nothing found; 2 if a name stands for several
    videos or nobody said yes; 4 if there is no such video, another run is writing, a generation is open, or something
    is left, which is named. Killed at any moment, it is finished by running it again; until then `affstore status`
    says so.

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
    from affstore.tasks.lineage.erasure import interrupted, plan_erasure
    from affstore.tasks.lineage.forgetting import check_no_generation

    if bool(video) == bool(allow):
        raise SpecError("Name one video to forget, or with --allow one that may be added again.")
    opened = FeatureStore(store)
    if allow:
        return _allow(opened, allow, dry_run, json)
    check_no_generation(opened)
    begun = interrupted(opened)
    try:
        erasure = plan_erasure(opened, [video, *begun])
    except NotFoundError as error:
        if begun:
            ending = f"A deletion was interrupted; `affstore forget {begun[0][:16]}` ends it."
            raise NotFoundError(f"{error} {ending}") from error
        if dry_run or not Tombstones.of(opened).unfinished:
            raise
        return _finish(opened, video, json)
    document = _document(opened, erasure)
    lines = _plan_lines(document, video, erasure)
    if dry_run:
        answer({**document, "done": False}, [*lines, "Nothing was changed."], json)
        return 0
    if not json:
        to_terminal(*lines)
    if not (yes or says_yes("Forget it? Type yes:", ("yes",))):
        raise SpecError(f"Nothing was forgotten: nobody said yes. Give --yes to forget '{video}'.")
    return _forget(opened, erasure, document, json)


def _forget(store: FeatureStore, erasure: Erasure, document: dict[str, Any], as_json: bool) -> int:
    from affstore.flows.runs_folder import runs_folder
    from affstore.store.engine.places import is_local, local_folder
    from affstore.tasks.lineage.forgetting import forget as carry_out
    from affstore.tasks.lineage.mentions import Exported, exported_mentions

    runs = runs_folder(store.url)
    done = carry_out(store, erasure, runs)
    near = local_folder(store.url).parent
    exports = exported_mentions(near, done.erasure) if is_local(store.url) else Exported()
    went = _what_goes(done.erasure)
    document |= {
        **{name: value for name, value in went.items() if name in document},
        "done": not done.objects and not done.files,
        "bytes_removed": done.garbage.bytes,
        "left_in_store": list(done.objects),
        "left_in_files": [str(path) for path in done.files],
        "published_copies": [str(path) for path in exports.copies],
        "exported_files": [str(path) for path in exports.files],
    }
    more = _more_lines(went) if done.erasure.count != erasure.count else []
    answer(document, [*more, *_result_lines(done, runs), *_export_lines(near, exports)], as_json)
    return 0 if document["done"] else _LEFT


def _plan_lines(document: dict[str, Any], video: str, erasure: Erasure) -> list[str]:
    kinds = ", ".join(f"{count} {family}" for family, count in erasure.families.items()) or "of the history only"
    digests = ", ".join(sorted(digest[:16] for digest in erasure.digests))
    artifacts = counted(erasure.count, "artifact", "artifacts")
    size = f"{document['array_bytes'] / 1e6:.1f} MB unpacked"
    lines = [f"'{video}' (sha256 {digests}): {artifacts} ({size}) must go: {kinds}."]
    if erasure.heads:
        lines.append(f"Heads that were trained on it, and have to be trained again: {', '.join(erasure.heads)}.")
    if erasure.experiments:
        lines.append(f"Experiments whose predictions and results go: {', '.join(erasure.experiments)}.")
    for tag, count in (erasure.tags or {}).items():
        noted = "" if tag in erasure.named_tags else " and noted as retracted"
        lines.append(f"The tag '{tag}' contains {count} of them; it is removed{noted}.")
    how = (
        f"the store is written anew in its place, {document['kept_bytes'] / 1e6:.1f} MB unpacked"
        if document["written_anew"]
        else "see `affstore copy --without`"
    )
    lines += [
        f"The tag '{tag}' is called by it. The engine never erases a tag's name: {how}." for tag in erasure.named_tags
    ]
    lines.append(f"{document['snapshots']} snapshots of the history are let go; {document['tags_kept']} tags stay.")
    return lines


def _document(store: FeatureStore, erasure: Erasure) -> dict[str, Any]:
    from affstore.store.engine.sizes import array_bytes
    from affstore.tasks.lineage.forgetting import is_rewritten

    lost = {*(erasure.tags or {}), *erasure.named_tags}
    now = (erasure.addresses or {}).get(store.snapshot, frozenset())
    kept = {snapshot for tag, snapshot in store.tags().items() if tag not in lost}
    sizes = array_bytes(store)
    gone = sum(size for address, size in sizes.items() if address in now)
    return {
        **_what_goes(erasure),
        "array_bytes": gone,
        "kept_bytes": sum(sizes.values()) - gone,
        "written_anew": is_rewritten(store, erasure),
        "snapshots": len({info.id for info in store.history() if info.parent_id} - kept),
        "tags_kept": len(store.tags()) - len(lost),
    }


def _what_goes(erasure: Erasure) -> dict[str, Any]:
    return {
        "sha256": sorted(erasure.digests),
        "artifacts": erasure.families,
        "heads": list(erasure.heads),
        "experiments": list(erasure.experiments),
        "retracted": dict(erasure.tags or {}),
    }


def _more_lines(went: dict[str, Any]) -> list[str]:
    """What went, where that is not what was announced."""
    kinds = ", ".join(f"{count} {family}" for family, count in went["artifacts"].items()) or "nothing"
    heads = f"; heads to be trained again: {', '.join(went['heads'])}" if went["heads"] else ""
    return [f"Another run committed meanwhile, so what went is: {kinds}{heads}."]


def _result_lines(done: Forgotten, runs: Path) -> list[str]:
    lines = [f"{done.garbage.objects} objects ({done.garbage.bytes / 1e6:.1f} MB) were removed from the store."]
    if done.objects:
        lines.append(
            f"{len(done.objects)} parts of the store still name it ({done.objects[0]}). The engine cannot erase them: "
            "`affstore copy` writes a store without them; then remove this one."
        )
    else:
        lines.append(
            f"Every byte of the store was searched, and of '{runs}': nothing of the store names it. Files that you "
            "exported elsewhere, copies of the store, and a Prefect server of your own are yours to clean."
        )
    lines += [f"'{path}' still names it: end the server or program that uses it, and remove it." for path in done.files]
    return lines


def _export_lines(near: Path, exports: Exported) -> Iterator[str]:
    """What to do with files near the store; those in one folder beside it are told together."""
    from affstore.tasks.lineage.mentions import FOLDERS_BELOW

    yield from (f"Withdraw '{path}': it was published from there." for path in exports.copies)
    rest = [path for path in exports.files if not any(path.is_relative_to(copy) for copy in exports.copies)]
    for name, group in groupby(rest, lambda path: path.relative_to(near).parts[0]):
        files = list(group)
        if files == [near / name]:
            yield f"'{near / name}' still names it. Remove it if it was written from this store."
            continue
        named = some([str(path.relative_to(near / name)) for path in files])
        count = counted(len(files), "file", "files")
        yield f"{count} in '{near / name}' still name it ({named}). Remove what was written from this store."
    if not exports.all_searched:
        yield f"There are too many files in '{near}' to search all, {FOLDERS_BELOW} folders deep: look there yourself."


def _finish(store: FeatureStore, video: str, as_json: bool) -> int:
    """End a deletion whose video the store does not know any more; what was typed is looked for."""
    from affstore.store.contract.keys import digest_file
    from affstore.tasks.lineage.erasure import Erasure, kept_names

    names = frozenset({video, digest_file(Path(video))} if Path(video).is_file() else {video})
    if not as_json:
        to_terminal(
            f"A deletion that was interrupted is ended now. The store has no video '{video}' any more, so what is left "
            "is searched for that name only."
        )
    return _forget(store, Erasure(names=names, kept=kept_names(store, names)), {}, as_json)


def _allow(store: FeatureStore, what: str, dry_run: bool, as_json: bool) -> int:
    from affstore.store.contract.keys import digest_file
    from affstore.store.engine.tombstones import Tombstones

    digest = digest_file(Path(what)) if Path(what).is_file() else what.lower()
    known = Tombstones.of(store)
    if not known.date_of(digest):
        raise NotFoundError(f"The store at '{store.url}' has not forgotten '{what}'. Name a file, or a whole SHA-256.")
    if dry_run:
        answer({"allowed": False}, [f"'{what}' would be allowed to be added again.", "Nothing was changed."], as_json)
        return 0
    Tombstones.change(store, lambda known: known.without(digest))
    answer({"allowed": True}, [f"'{what}' may be added again."], as_json)
    return 0


COMMANDS.register("forget", Command(forget))
