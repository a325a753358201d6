"""A small corpus in the layout of Aff-Wild2, for trying the whole pipeline without any licensed data.

It is synthetic: one public-domain photograph, bent by the action units of a script, with a voice made by formulas. Its
labels follow from the script, so they can be learnt; a score on it says nothing about real people or real accuracy.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from affstore.models.demo.annotate import SPLIT_FOLDERS, TASK_FOLDERS, TEST_LISTS, annotation, sample_of_test_set
from affstore.models.demo.face import Face
from affstore.models.demo.film import Pictures, write_film
from affstore.models.demo.shoot import Stage, frames, recording, stage
from affstore.models.demo.takes import TAKES, Take
from affstore.store.contract.errors import SpecError, UnknownNameError
from affstore.store.contract.keys import digest_file, key_of

FOLDERS = ("videos", "annotations", "test_set")
MANIFEST = "demo_corpus.json"
_KEPT_OF_DAMAGED = 0.6


@dataclass(frozen=True, slots=True)
class CorpusSpec:
    """What a demonstration corpus is made from; the same spec gives the same bytes on the same machine.

    Attributes:
        seed: of everything random in it.
        version: raised whenever the same seed would give other bytes.
        episode_s: mean length of an expression; it decides how long the videos are.
        only: names of the videos to make; all of them where empty.
    """

    KIND: ClassVar[str] = "demonstration corpus"

    seed: int = 7
    version: int = 1
    episode_s: float = 1.33
    only: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0.5 <= self.episode_s <= 10:
            raise SpecError(f"An episode lasts from 0.5 to 10 seconds; found episode_s={self.episode_s}.")
        known = [take.name for take in TAKES]
        for name in self.only:
            if name not in known:
                raise UnknownNameError.of("demonstration video", name, known)

    @property
    def takes(self) -> tuple[Take, ...]:
        """The videos to make."""
        return tuple(take for take in TAKES if not self.only or take.name in self.only)


def write_corpus(folder: Path, spec: CorpusSpec = CorpusSpec()) -> list[Path]:
    """Write the demonstration corpus; where the folder holds it already, nothing is written.

    The folder then holds `videos/`, `annotations/<challenge>/<split>/<video>.txt`, `test_set/` with the rows that a
    submission must have, and a manifest of every file's SHA-256.

    Args:
        folder: where; made if need be. Files of a corpus that an earlier call wrote there are replaced.
        spec: what to make.

    Returns:
        The videos, in the order of `affstore.models.demo.takes.TAKES`.

    Raises:
        SpecError: the folder holds a manifest that is not this program's.
    """
    videos = [folder / "videos" / take.file_name for take in spec.takes]
    if _holds(folder, spec):
        return videos
    _clear(folder)
    staged = [stage(take, spec.seed, spec.episode_s) for take in spec.takes]
    texts = [_write_text(folder / place, text) for place, text in _texts(staged)]
    (folder / "videos").mkdir(parents=True, exist_ok=True)
    face = Face()
    with ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(lambda path, take: _write_video(path, take, face), videos, staged))
    files = {path.relative_to(folder).as_posix(): digest_file(path) for path in sorted([*texts, *videos])}
    _write_text(folder / MANIFEST, json.dumps({"spec": key_of(spec), "files": files}, indent=1) + "\n")
    return videos


def _texts(staged: list[Stage]) -> Iterator[tuple[str, str]]:
    """Place and content of every text file."""
    for take in staged:
        for subject, name in enumerate(take.take.annotation_names):
            for task in take.take.tasks if take.take.split in SPLIT_FOLDERS else ():
                place = f"annotations/{TASK_FOLDERS[task]}/{SPLIT_FOLDERS[take.take.split]}/{name}.txt"
                yield place, annotation(take, subject, task)
    for task, name in TEST_LISTS.items():
        yield f"test_set/{name}", sample_of_test_set(task, [take for take in staged if take.take.split == "test"])


def _write_video(path: Path, staged: Stage, face: Face) -> None:
    """Shoot one take; the tail of a damaged one is cut off."""
    pictures = Pictures(frames(staged, face), staged.take.size_px, staged.clock)
    write_film(path, pictures, recording(staged))
    if staged.take.damaged:
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * _KEPT_OF_DAMAGED)])


def _write_text(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="ascii", newline="\n")
    return path


def _manifest(folder: Path) -> dict[str, str]:
    """Digest by place of what an earlier call wrote, and its recipe under the empty place."""
    path = folder / MANIFEST
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="ascii"))
        places = {str(place): str(digest) for place, digest in content["files"].items()}
        recipe = str(content["spec"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _foreign(path) from error
    if any(place.split("/")[0] not in FOLDERS or ".." in place for place in places):
        raise _foreign(path)
    return {"": recipe, **places}


def _foreign(path: Path) -> SpecError:
    return SpecError(f"{path} was not written by this program. Remove it, or choose another folder for the corpus.")


def _holds(folder: Path, spec: CorpusSpec) -> bool:
    """Whether every file of this spec's corpus is there, unchanged."""
    files = _manifest(folder)
    return files.pop("", "") == key_of(spec) and all(
        (folder / place).is_file() and digest_file(folder / place) == digest for place, digest in files.items()
    )


def _clear(folder: Path) -> None:
    """Remove what an earlier call wrote, and nothing else."""
    for place in [place for place in _manifest(folder) if place]:
        (folder / place).unlink(missing_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
