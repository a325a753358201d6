"""One error tree, grouped by what the handler should do.

::

    AffstoreError                 `exit_code`: what the command ends with
    ├── SpecError (ValueError)    a name, option or configuration is wrong: stop before any work      exit 2
    │   ├── UnknownNameError      no such extractor, head, task …; suggests the nearest
    │   ├── DuplicateNameError    two things with one name; never overwritten
    │   └── PluginError           what an installed package brought cannot be used; the rest works
    ├── SourceError               one input cannot be used: quarantine it, go on with the others      exit 3
    │   ├── MediaError            a video or a sound is not what it claims to be
    │   ├── AnnotationError       an annotation file does not say what its task needs
    │   └── OutOfRangeError       a number is too large for the type that it is to be stored in
    ├── StoreError                the store cannot be read or written, or lacks what was named         exit 4
    │   ├── NotFoundError (KeyError)  the store has nothing of that name; suggests the nearest
    │   ├── SchemaError           an artifact breaks `store/schema.yaml`; the field is named
    │   ├── NewerSchemaError      the store was written by a newer affstore
    │   ├── ConflictError         another run changed what this one worked with
    │   └── StoreUnavailableError read-only path, full disk
    │       └── StoreUnreachableError its server, or the file system, does not answer now: later it may
    ├── HeadNotFittedError        a search for a model ended without one: the others go on            exit 3
    ├── WorkersLostError          a cluster's jobs end one after the other: what is done is kept      exit 3
    ├── SignatureError            a publication is not signed, or not as it was signed or stored      exit 7
    ├── DeviceMemoryError         the GPU has no memory for even the smallest batch                   exit 6
    └── WeightsError              a weight file is missing, damaged, unsafe or of another model        exit 5
        ├── WeightsMissingError
        ├── WeightsDigestError
        ├── UnsafePickleError
        └── ArchitectureError

Of names: one that affstore itself would have to know (a command, an option, an extractor, an experiment, a format) is a
`SpecError`; one that only the store could have (an artifact, a video, a head, a tag, a run) is a `NotFoundError`.

Every message says what was asked, what was found, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import ClassVar

from affstore.store.contract.printable import excerpt, some

_LONGEST_NAME = 200
"""Characters of a name that a message repeats whole."""


_MOST_NAMES = 24
"""How many known names a message lists."""


class AffstoreError(Exception):
    """Root of every error that affstore raises on purpose.

    Examples:
        >>> import affstore
        >>> try:
        ...     affstore.FeatureStore("nowhere")
        ... except affstore.AffstoreError as error:
        ...     print(error)
        There is no store at 'nowhere'. `affstore add VIDEO --store nowhere` makes one.
    """

    exit_code: ClassVar[int] = 1

    def __str__(self) -> str:
        # KeyError quotes its message; a sentence for a person must not be quoted.
        return str(self.args[0]) if self.args else type(self).__name__


class SpecError(AffstoreError, ValueError):
    """A name, an option or a configuration is wrong; nothing was started."""

    exit_code = 2


class UnknownNameError(SpecError):
    """A name that affstore does not know, whatever the store holds."""

    @classmethod
    def of(cls, kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
        """Build the message, with the nearest known name as a suggestion.

        Args:
            kind: what the name should be the name of, e.g. `"extractor"`.
            name: what was asked for.
            known: every name that would have worked.
        """
        names = sorted(known)
        name = excerpt(name)[1:-1] if len(name) > _LONGEST_NAME else name
        near = nearest(name, names)
        hint = f"Did you mean '{near}'?" if near else f"Known: {some(names, _MOST_NAMES) or 'none'}."
        return cls(f"No {kind} is called '{name}'. {hint}")


def nearest(name: str, known: Sequence[str]) -> str | None:
    """The known name that was probably meant: one that is almost the same or begins so, or None.

    >>> nearest("stats", ["demo", "status"]), nearest("smooth", ["smooth_frames"]), nearest("remove", ["demo"])
    ('status', 'smooth_frames', None)
    """
    almost = difflib.get_close_matches(name, known, n=1, cutoff=0.65)
    begun = [other for other in known if len(name) > 2 and other.startswith(name)]
    return next(iter(almost + begun), None)


class DuplicateNameError(SpecError):
    """Two different things were given one name."""


class PluginError(SpecError):
    """What an installed package brought cannot be used."""


class SourceError(AffstoreError):
    """One input cannot be used. It is quarantined with this reason; the others go on."""

    exit_code = 3


class MediaError(SourceError):
    """A video, image or sound file is not what it claims to be."""


class AnnotationError(SourceError):
    """An annotation file does not hold what its task needs."""


class OutOfRangeError(SourceError):
    """A number is too large for the type that it is to be stored in."""


class StoreError(AffstoreError):
    """The store cannot be read or written, or has not what was named."""

    exit_code = 4


class NotFoundError(StoreError, KeyError):
    """The store has nothing of that name or address."""

    @classmethod
    def of(cls, url: str, kind: str, name: str, known: Iterable[str], otherwise: str) -> NotFoundError:
        """Build the message, with the nearest name in the store as a suggestion; the names are not listed.

        Args:
            url: of the store.
            kind: what the name should be the name of, e.g. `"artifact"`; empty where it may be one of many things.
            name: what was asked for.
            known: every name that would have worked; there may be thousands.
            otherwise: what to do where none is near, as a sentence.
        """
        near = nearest(name, sorted(known))
        name = excerpt(name)[1:-1] if len(name) > _LONGEST_NAME else name
        hint = f"Did you mean '{near}'?" if near else otherwise
        return cls(f"The store at '{url}' has no {kind}{' ' if kind else ''}'{name}'. {hint}")


class SchemaError(StoreError):
    """An artifact breaks `store/schema.yaml`; the message names the field."""


class NewerSchemaError(StoreError):
    """The store was written by a newer affstore than this one."""


class ConflictError(StoreError):
    """Another run changed what this one worked with; running the command again resolves it."""


class StoreUnavailableError(StoreError):
    """The place of the store does not answer, is read-only, or is full."""


class StoreUnreachableError(StoreUnavailableError):
    """The server of the store, or the file system under it, does not answer now; the same may work a moment later."""


class HeadNotFittedError(AffstoreError):
    """A search for a model ended without one: its time was over, or every model failed."""

    exit_code = 3


class WorkersLostError(AffstoreError):
    """The jobs that a cluster gave ended one after the other, and nothing was finished meanwhile."""

    exit_code = 3


class SignatureError(AffstoreError):
    """A publication is not signed by the given key, or it was changed after it was signed."""

    exit_code = 7


class DeviceMemoryError(AffstoreError):
    """A device has no memory for even the smallest batch; what is in the store already stays."""

    exit_code = 6


class WeightsError(AffstoreError):
    """A weight file cannot be used."""

    exit_code = 5


class WeightsMissingError(WeightsError):
    """The weights of a model are not on this machine."""


class WeightsDigestError(WeightsError):
    """A file's bytes are not those that were published."""


class UnsafePickleError(WeightsError):
    """A pickle asked for something that is not a parameter container. It was not executed."""


class ArchitectureError(WeightsError):
    """The parameters are those of another network."""
