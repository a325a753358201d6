"""The videos of the demonstration corpus: what each is called, what happens in it, what is odd about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from affstore.store.contract.names import MAIN, SIDES, join_subject, person

Split = Literal["train", "validation", "test"]
Absence = Literal["", "leaves", "cut"]
Sound = Literal["whole", "late", "none"]

ALL_TASKS = ("expr", "va", "au")


@dataclass(frozen=True, slots=True)
class Take:
    """One video.

    Attributes:
        name: as Aff-Wild2 would call it.
        split: which set it belongs to; the test set has no annotation files.
        acts: for each subject, the expressions shown in turn, a letter each (`affstore.models.demo.script.LETTERS`).
        suffix: of the file; it decides the codecs.
        rate_hz: frames a second; the mean rate where `variable`.
        size_px: width and height.
        variable: whether frames last unequally.
        sound: there from the start, from `LATE_S` on, or not at all.
        absence: how the face goes away for a while: it leaves and its labels are invalid, or the picture cuts to a
            wall and the labels stay; annotated frames without a face exist in Aff-Wild2 too.
        damaged: whether the file is cut off.
        surplus: annotation lines, or rows of the test list, beyond the last frame.
        tasks: which annotations exist.
    """

    KIND: ClassVar[str] = "take"

    name: str
    split: Split
    acts: tuple[str, ...]
    suffix: Literal["mp4", "avi"] = "mp4"
    rate_hz: int = 25
    size_px: tuple[int, int] = (320, 240)
    variable: bool = False
    sound: Sound = "whole"
    absence: Absence = ""
    damaged: bool = False
    surplus: int = 0
    tasks: tuple[str, ...] = ALL_TASKS

    @property
    def file_name(self) -> str:
        """The video's file name."""
        return f"{self.name}.{self.suffix}"

    @property
    def subjects(self) -> tuple[str, ...]:
        """The annotated subjects, in the order of `acts`."""
        if len(self.acts) <= len(SIDES):
            return (MAIN,) if len(self.acts) == 1 else SIDES
        return tuple(person(number) for number, _ in enumerate(self.acts, 1))

    @property
    def annotation_names(self) -> tuple[str, ...]:
        """What Aff-Wild2 calls each subject's annotations."""
        return tuple(join_subject(self.name, subject) for subject in self.subjects)


LATE_S = 1.5
"""When late sound begins, in seconds."""

TAKES: tuple[Take, ...] = (
    Take("1-24-320x240", "train", ("NHASN",), rate_hz=24),
    Take("4-30-384x288", "train", ("NUDFH",), rate_hz=30, size_px=(384, 288), tasks=("expr", "va")),
    Take("video2", "train", ("ONASU",), suffix="avi"),
    Take("video17", "train", ("NFHDO",), rate_hz=20, variable=True),
    Take("112", "train", ("SNUAF",), rate_hz=20, sound="none"),
    Take("86-24-320x240", "train", ("HNODS",), rate_hz=24, absence="leaves"),
    Take("6-20-480x240", "train", ("NAUNH", "DNSFO"), rate_hz=20, size_px=(480, 240)),
    Take("45-20-320x240", "train", ("FONUDHN",), rate_hz=20, damaged=True),
    Take("12-24-320x240", "validation", ("NHSNA",), rate_hz=24),
    Take("video58", "validation", ("DNUOF",), suffix="avi", rate_hz=24, surplus=1),
    Take("207", "validation", ("SNFHU",), rate_hz=20, absence="cut"),
    Take("30-20-320x240", "validation", ("ANODNH",), rate_hz=20, sound="late"),
    Take("130-25-320x240", "test", ("NHDNS",), surplus=1),
    Take("video91", "test", ("UNFAO",), rate_hz=20),
)
"""Every video: eight to train on, four to validate on, two to predict."""
