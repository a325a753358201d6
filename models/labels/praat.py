"""Labels from Praat's TextGrids."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from affstore.models.labels.base import FORMATS, LabelFile
from affstore.models.labels.tier_choice import Annotation, Tier, Tiers
from affstore.models.labels.tiers import TierFormat
from affstore.models.labels.times import SECONDS
from affstore.store.contract.errors import AnnotationError

_TOKEN = re.compile(r'"((?:[^"]|"")*)"|(?<![\w\[.])([+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)(?![\w\].])')
"""Texts and free-standing numbers: in Praat's long and short forms they come in the same order."""

_INTERVALS = "IntervalTier"
_Token = tuple[str, bool]


class Praat(TierFormat):
    """A `.TextGrid` file, long or short, called as its video; see `affstore.models.labels.tiers.labels_of`.

    Intervals without a text say nothing. Tiers of points have no length and are not read.
    """

    contract = 2
    name = "praat"
    version = 3  # 2: a unit may be unknown; tiers of affstore's exports. 3: an `unknown` that is another decimal
    description = "Praat's .TextGrid files: an interval tier called as the label space, or one for each of its names"

    def at(self, path: Path) -> LabelFile | None:
        """A file, by its suffix; what its labels are of is for a configuration to say."""
        return LabelFile.at(path, self.name) if path.suffix.lower() == ".textgrid" else None

    def tiers(self, path: Path) -> Tiers:
        """See `TierFormat.tiers`."""
        text = _text(path)
        tokens = iter(
            [(one[1].replace('""', '"'), True) if one[2] is None else (one[2], False) for one in _tokens(text)]
        )
        try:
            return list(_tiers(tokens))
        except (StopIteration, RuntimeError, ValueError) as error:
            raise AnnotationError(f"'{path}' is no whole TextGrid. Save it again in Praat as a text file.") from error


def _tokens(text: str) -> Iterator[re.Match[str]]:
    return _TOKEN.finditer(text)


def _tiers(tokens: Iterator[_Token]) -> Iterator[Tier]:
    kinds = (next(tokens)[0], next(tokens)[0])
    if kinds != ("ooTextFile", "TextGrid"):
        raise ValueError(kinds)
    _numbers(tokens, 2)
    for _ in range(int(_numbers(tokens, 1)[0])):
        kind, name = next(tokens)[0], next(tokens)[0]
        _numbers(tokens, 2)
        found = []
        for _ in range(int(_numbers(tokens, 1)[0])):
            times = _numbers(tokens, 2 if kind == _INTERVALS else 1)
            text = next(tokens)[0]
            if kind == _INTERVALS and text.strip():
                found.append(Annotation(times[0], times[1], text))
        if kind == _INTERVALS:
            yield Tier(name, found)


def _numbers(tokens: Iterator[_Token], count: int) -> list[Fraction]:
    found = [next(tokens) for _ in range(count)]
    if any(quoted or not SECONDS.fullmatch(text) for text, quoted in found):
        raise ValueError(found)
    return [Fraction(text) for text, _ in found]


def _text(path: Path) -> str:
    """The file's text, in UTF-8 or UTF-16, as Praat writes it.

    Raises:
        AnnotationError: it cannot be read, or is empty.
    """
    try:
        content = path.read_bytes()
        coding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        text = content.decode(coding)
    except OSError as error:
        raise AnnotationError(f"The annotation '{path}' cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise AnnotationError(f"'{path}' is neither UTF-8 nor UTF-16 text. Save it as UTF-8, as Praat does.") from error
    if not text.strip():
        raise AnnotationError(f"'{path}' is an empty file. Save it again in Praat as a text file.")
    return text


FORMATS.register(Praat.name, Praat())
