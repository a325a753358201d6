"""How much of its work a run does: a share of its files, until a time, after a look at known numbers."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from affstore.flows.inputs import Inputs, VideoFile
from affstore.models.media.announced_size import announced
from affstore.store.contract.errors import SpecError
from affstore.store.contract.moments import moment_of
from affstore.store.contract.names import split_subject, without_suffix


@dataclass(frozen=True, slots=True)
class Share:
    """One of several shares of a run's files, for processes that share a store and nothing else.

    All of them find the same shares, as long as the files stay: each has about as many frames. Files of one name or of
    one size, which may be the same video, are in one share, as are a video's labels and crop folders.

    Attributes:
        number: which it is, from 1 on.
        count: how many shares there are.
    """

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Share:
        """Read `2/8`.

        Raises:
            SpecError: it says no share.
        """
        number, _, count = text.partition("/")
        if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count) <= 100_000):
            raise SpecError(f"A share is written K/N, as 2/8 for the second of eight; found '{text}'.")
        return cls(int(number), int(count))

    def of(self, inputs: Inputs) -> Inputs:
        """The part of some inputs that is this share's; the first has what belongs to no file among them too."""
        share_of = {video.name: index for index, videos in enumerate(self._balanced(inputs.videos)) for video in videos}
        own = self.number - 1

        def is_own(name: str) -> bool:
            return share_of.get(name, share_of.get(split_subject(name, share_of)[0], 0)) == own

        return replace(
            inputs,
            videos=tuple(video for video in inputs.videos if share_of[video.name] == own),
            annotations=tuple(one for one in inputs.annotations if is_own(without_suffix(one.name, share_of))),
            crops=tuple(folder for folder in inputs.crops if is_own(folder.name)),
            left_alone=inputs.left_alone if own == 0 else (),
            refused=inputs.refused if own == 0 else (),
            is_part=True,
        )

    def _balanced(self, videos: Iterable[VideoFile]) -> list[list[VideoFile]]:
        """The shares: the longest group first, each to the share that has the fewest frames so far."""
        groups = [(sum(map(_frames, group)), group[0].name, group) for group in _that_belong_together(videos)]
        shares: list[list[VideoFile]] = [[] for _ in range(self.count)]
        frames = [0] * self.count
        for length, _, group in sorted(groups, key=lambda one: (-one[0], one[1])):
            least = frames.index(min(frames))
            shares[least] += group
            frames[least] += max(1, length)
        return shares


def _frames(video: VideoFile) -> int:
    found = None if video.fault else announced(video.path)
    return found.frames if found is not None else 0


def _that_belong_together(videos: Iterable[VideoFile]) -> list[list[VideoFile]]:
    """Videos in groups: those of one name, and those whose files have one size."""
    groups: dict[str, list[VideoFile]] = {}
    by_size: dict[int, str] = {}
    for video in sorted(videos, key=lambda video: (video.name, str(video.path))):
        group = groups.setdefault(video.name, [])
        group.append(video)
        size = video.path.stat().st_size if video.path.is_file() else -1
        other = groups[by_size.setdefault(size, video.name)] if size >= 0 else group
        if other is not group:
            other += group
            for moved in group:
                groups[moved.name] = other
    return [*{id(group): group for group in groups.values()}.values()]


@dataclass(frozen=True, slots=True)
class RunLimits:
    """How much of its work a run does.

    Attributes:
        share: the files that it takes in and extracts from; with one, nothing is trained. All if None.
        ends_at: seconds since 1970 after which no video is begun any more; None for as long as it takes.
        canary: so many known videos are computed again first, and the run stops if their numbers are others.
    """

    share: Share | None = None
    ends_at: float | None = None
    canary: int = 0

    @classmethod
    def of(cls, share: str = "", max_hours: float | None = None, deadline: str = "", canary: int = 0) -> RunLimits:
        """Check what a user asked for.

        Raises:
            SpecError: a share that is none, a time that is past, or a negative number.
        """
        ends = [moment for moment in (_after(max_hours), _at(deadline)) if moment is not None]
        if canary < 0:
            raise SpecError(f"--canary takes how many videos are computed again first; found {canary}.")
        return cls(Share.parse(share) if share else None, min(ends, default=None), canary)


def _after(hours: float | None) -> float | None:
    if hours is None:
        return None
    if not 0 < hours < 1e6:
        raise SpecError(f"--max-hours takes a number of hours above 0 and below a million; found {hours:g}.")
    return time.time() + 3600 * hours


def _at(deadline: str) -> float | None:
    if not deadline:
        return None
    moment = moment_of(deadline)
    if moment is None:
        raise SpecError(f"--deadline takes a time (ISO 8601, in UTC), as 2099-12-31T06:00; found '{deadline}'.")
    if moment.timestamp() <= time.time():
        now = datetime.now(UTC)
        raise SpecError(f"The deadline {deadline} is past: it is {now:%Y-%m-%dT%H:%M} UTC. Name a later one.")
    return moment.timestamp()
