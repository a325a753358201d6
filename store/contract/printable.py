"""Text that came from outside, shown on one line without changing the screen it is shown on."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Sequence

# Joiners belong to the spelling of Persian and Indic names and of emoji, and neither hide nor move other letters.
_JOINERS = "\u200c\u200d"
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_HARMLESS = re.compile(r"[ -~]*")


def printable(text: str) -> str:
    r"""Return the text with everything that is not a visible character or a plain blank written out.

    Line breaks, escape sequences, marks that turn the direction of writing, other kinds of blanks, and the bytes of a
    file name that are no UTF-8 become `\n`, `\x1b`, `\u202e`, `\u2003` and `\xe9`. Whatever a person, a log or a page
    is shown of a name, a path, a file's content or another library's message passes through here.

    >>> printable("holiday\x1b[2J\nv2  done")
    'holiday\\x1b[2J\\nv2  done'
    """
    if _HARMLESS.fullmatch(text):
        return text
    return "".join(map(_written, text))


def printable_json(document: str) -> str:
    r"""Return a JSON document with the same characters written as `\uXXXX`, so that reading it gives the same values.

    The line breaks between its values stay.
    """
    return "".join(letter if letter == "\n" or _written(letter) == letter else _json(letter) for letter in document)


def _written(letter: str) -> str:
    if letter.isprintable() or letter in _JOINERS:
        return letter
    if letter in _SHORT:
        return _SHORT[letter]
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8, as Python keeps it in a file's name
        code -= 0xDC00
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _json(letter: str) -> str:
    units = letter.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def excerpt(value: object) -> str:
    """Return a value as a file of YAML has it, cut to what a sentence can hold.

    >>> excerpt("x" * 1000)
    "'xxxxxxxxxxxxxxxxxxxxxxxxxxxx...xxxxxxxxxxxxxxxxxxxxxxxxxxxxx'"
    >>> excerpt(None), excerpt(("calm", True)), excerpt({"names": ()})
    ('nothing', "['calm', true]", "{'names': []}")
    """
    return "nothing" if value is None else printable(_SHORTENED.repr(value))


class _Written(reprlib.Repr):
    """Lists, truth and dates as YAML has them, which Python writes with words of its own."""

    def repr_tuple(self, value: tuple[object, ...], level: int) -> str:
        return self.repr_list(list(value), level)

    def repr_bool(self, value: object, _level: int) -> str:
        return str(value).lower()

    def repr_NoneType(self, _value: None, _level: int) -> str:
        return "null"

    def repr_date(self, value: object, _level: int) -> str:
        return str(value)

    repr_datetime = repr_date

    def repr_PosixPath(self, value: object, _level: int) -> str:
        return repr(str(value))


_SHORTENED = _Written(maxlevel=3, maxstring=62, maxlong=62, maxother=62)


def counted(count: int, one: str, many: str) -> str:
    """A number with the words that agree with it.

    >>> counted(1, "frame is", "frames are"), counted(2, "frame is", "frames are")
    ('1 frame is', '2 frames are')
    """
    return f"{count} {one if count == 1 else many}"


def some(names: Sequence[str], most: int = 3, between: str = ", ") -> str:
    """The first few of some names, and how many there are beside them.

    >>> some(["a", "b"]), some(["a", "b", "c", "d"]), some(["a", "b", "c"], most=1)
    ('a, b', 'a, b, c and 1 more', 'a and 2 more')
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{between.join(names[:most])}{more}"


def lasting(seconds: float) -> str:
    """A time as a person says it: seconds below two minutes, then minutes and seconds, then hours and minutes.

    >>> lasting(7.25), lasting(192.4), lasting(7260)
    ('7.2 s', '3 min 12 s', '2 h 1 min')
    """
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
