"""`affstore copy`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from affstore.flows.commands import COMMANDS, Command
from affstore.flows.commands.options import DryRun, Json, NoAt, answer, refuse_at

if TYPE_CHECKING:
    from affstore.store.engine.copying import Copy


def copy(
    source: str,
    target: str,
    /,
    *,
    without: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    at: NoAt = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> int:
    """Write a store to another place: its newest state and every tag, with the same keys, digests and numbers.

    Every artifact is read back whole from the copy, and the content digests are compared. The place becomes a store
    only when all is there: after a kill, run the command again. Snapshots that no tag names are not copied, nor are
    generations that are not promoted.

    With --without, a tag whose state loses something is noted as retracted in the copy, what is left of it is tagged
    TAG-reduced, and the copy refuses the videos' bytes until `affstore forget --allow`.

    The exit code is 0 once the copy is proven, 2 if the place is not empty, and 4 if the original is damaged.

    Example: affstore copy affstore-demo/store affstore-copy --dry-run

    Parameters
    ----------
    source
        A folder, s3://bucket/prefix or memory:name.
    target
        Where to: an empty folder or an empty s3://bucket/prefix.
    without
        A video, by name, alias, file or SHA-256, that is left out of every state with all that was computed from it;
        may be given several times.
    """
    from affstore import FeatureStore
    from affstore.store.contract.errors import SpecError
    from affstore.store.engine.copying import check_empty, copy_store
    from affstore.store.engine.generations import generations
    from affstore.store.engine.places import is_memory
    from affstore.tasks.lineage.erasure import interrupted, plan_erasure
    from affstore.tasks.lineage.forgetting import plan_copy_without

    refuse_at(at, "the newest state and every tag are copied. Leave it out.")
    if is_memory(target):
        raise SpecError(
            f"A store cannot be copied to '{target}': what is in memory is gone when the command ends. Name a folder, "
            "or s3://bucket/prefix."
        )
    store = FeatureStore(source)
    erasure = plan_erasure(store, [*without, *interrupted(store)] if without else [])
    plan = plan_copy_without(store, erasure)
    check_empty(target, source)
    left = [one.name for one in generations(store)]
    done = plan if dry_run else copy_store(plan, target)
    would = "would be " if dry_run else ""
    tags = sum(len(state.tags) for state in done.states)
    lines = [
        f"{done.artifacts} artifacts ({done.array_bytes / 1e6:.1f} MB unpacked) of the newest state and {tags} tags "
        f"{would}copied from '{source}' to '{target}'.",
        *([f"{erasure.count} artifacts of {', '.join(without)} {would}left out."] if without else []),
        *(
            f"The tag '{tag}' {would or 'is '}retracted; what is left of its state {would or 'is '}tagged "
            f"'{tag}-reduced'."
            for tag in erasure.tags or ()
            if tag not in erasure.named_tags
        ),
        *(f"The tag '{tag}' {would}left out: it is called by a video." for tag in erasure.named_tags),
        *(f"The generation '{name}' {would or 'is '}left out: it is not promoted." for name in left),
        f"content {done.states[-1].content_digest[:16]}",
    ]
    answer({**_document(done), "generations_left": left}, lines, json)
    return 0


def _document(done: Copy) -> dict[str, Any]:
    return {
        "snapshot": done.snapshot or None,
        "artifacts": done.artifacts,
        "array_bytes": done.array_bytes,
        "content_digest": done.states[-1].content_digest,
        "tags": {tag: state.content_digest for state in done.states for tag in state.tags},
    }


COMMANDS.register("copy", Command(copy))
