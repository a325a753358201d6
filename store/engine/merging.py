"""What a store holds once a generation takes the place of what readers see, which has changed meanwhile."""

from __future__ import annotations

from collections.abc import Mapping

from affstore.store.contract.records import Address, Record

Records = Mapping[Address, Record]


def merged(base: Records, main: Records, generation: Records) -> dict[Address, Record]:
    """The artifacts of two states that began from one, in the order of their addresses.

    What only one of them changed is as that one has it; what both changed is the generation's, but for videos that are
    not in `main` any more. Nothing is kept whose video has other frames now, nor what was computed from something that
    is not kept.

    Args:
        base: the state that both began from.
        main: what readers see.
        generation: what takes its place.
    """
    kept = dict(generation)
    for address in {*base, *main}:
        if generation.get(address) == base.get(address):
            _set(kept, address, main.get(address))
    for address in base.keys() - main.keys():
        if address.family == "source":
            kept.pop(address, None)
    frames = {one.video: record.attributes["frames"] for one, record in kept.items() if one.family == "source"}
    known = {one.video for state in (base, main, generation) for one in state if one.family == "source"}
    for address, record in list(kept.items()):
        of_video = address.video in known and address.family != "quarantine"
        if of_video and record.attributes["frames"] != frames.get(address.video):
            del kept[address]
    _remove_orphans(kept, main, generation)
    return dict(sorted(kept.items()))


def _set(kept: dict[Address, Record], address: Address, record: Record | None) -> None:
    if record is None:
        kept.pop(address, None)
    else:
        kept[address] = record


def _remove_orphans(kept: dict[Address, Record], main: Records, generation: Records) -> None:
    """Remove what has a parent in the state that it is from, and no more in what is kept."""
    of_main, of_generation = ({one.path for one in state} for state in (main, generation))
    orphans = [Address("")]
    while orphans:
        there = {one.path for one in kept}
        lost_of_main, lost_of_generation = of_main - there, of_generation - there
        orphans = []
        for address, record in kept.items():
            lost = lost_of_generation if generation.get(address) == record else lost_of_main
            if any(parent.path in lost for parent in record.parents):
                orphans.append(address)
        for address in orphans:
            del kept[address]
