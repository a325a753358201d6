"""Labels from ELAN's annotation files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path, PurePosixPath
from urllib.parse import unquote
from xml.etree import ElementTree as ET

from affstore.models.labels.base import FORMATS, LabelFile
from affstore.models.labels.tier_choice import Annotation, Tier, Tiers
from affstore.models.labels.tiers import TierFormat
from affstore.store.contract.errors import AnnotationError
from affstore.store.contract.names import possible_subject, video_name
from affstore.store.contract.table_files import shortened

_DEEPEST = 50
_MILLISECONDS = re.compile(r"[0-9]{1,15}")


class Elan(TierFormat):
    """A `.eaf` file, called as its video; see `affstore.models.labels.tiers.labels_of` for what its tiers mean.

    Annotations of nested tiers have the times of those that they refer to; some that share one parent share its time.
    Where ELAN was told that the video begins later in its file than at 0 (`TIME_ORIGIN`), times are moved by that.
    """

    contract = 2
    name = "elan"
    version = 3  # 2: a unit may be unknown; tiers of affstore's exports. 3: where ELAN begins the medium
    description = "ELAN's .eaf files: a tier called as the label space, or one for each of its names"

    def at(self, path: Path) -> LabelFile | None:
        """A file, by its suffix; what its labels are of is for a configuration to say."""
        return LabelFile.at(path, self.name) if path.suffix.lower() == ".eaf" else None

    def tiers(self, path: Path) -> Tiers:
        """See `TierFormat.tiers`."""
        root = _parsed(path)
        origin = _origin(path, root)
        slots = {one.get("TIME_SLOT_ID"): one.get("TIME_VALUE") for one in root.iter("TIME_SLOT")}
        own = {one.get("ANNOTATION_ID", ""): one for one in root.iter("ALIGNABLE_ANNOTATION")}
        refers = {one.get("ANNOTATION_ID", ""): one for one in root.iter("REF_ANNOTATION")}

        def times(element: ET.Element) -> tuple[Fraction, Fraction]:
            for _ in range(_DEEPEST):
                if element.tag == "ALIGNABLE_ANNOTATION":
                    ends = [slots.get(element.get(f"TIME_SLOT_REF{end}")) for end in (1, 2)]
                    if None in ends:
                        break
                    start, end = (origin + _seconds(path, end or "") for end in ends)
                    return start, end
                parent = element.get("ANNOTATION_REF", "")
                element = own.get(parent, refers.get(parent, element))
            name = element.get("ANNOTATION_ID")
            raise AnnotationError(f"'{path}': the annotation '{name}' has no times. Align it in ELAN and save.")

        def annotations(tier: ET.Element) -> Iterator[Annotation]:
            for whole in tier.iter("ANNOTATION"):
                for inner in whole:
                    yield Annotation(*times(inner), inner.findtext("ANNOTATION_VALUE") or "")

        def read(tier: ET.Element) -> Tier:
            name = tier.get("TIER_ID", "")
            try:
                return Tier(name, list(annotations(tier)))
            except AnnotationError as error:  # said if this tier is the one that is read
                return Tier(name, (), str(error))

        return [read(tier) for tier in root.iter("TIER")]


def _origin(path: Path, root: ET.Element) -> Fraction:
    """Where ELAN begins the video that the file is called as.

    Raises:
        AnnotationError: its media begin at different times, and none is called as the file.
    """
    media: list[tuple[str, bool, Fraction]] = []
    for medium in root.iter("MEDIA_DESCRIPTOR"):
        place = medium.get("RELATIVE_MEDIA_URL") or medium.get("MEDIA_URL") or ""
        name, is_video = video_name(PurePosixPath(unquote(place)).stem), "video" in medium.get("MIME_TYPE", "")
        media.append((name, is_video, _seconds(path, medium.get("TIME_ORIGIN") or "0")))
    named = video_name(path.stem)
    ours = [one for one in media if one[0] in (named, possible_subject(named)[0])] or media
    found = {origin for _, is_video, origin in ours if is_video} or {origin for _, _, origin in ours}
    if len(found) > 1:
        raise AnnotationError(
            f"'{path}' begins its media at different times (TIME_ORIGIN), and which of them is its video is not plain. "
            "Keep one video that is called as the file, and save it again in ELAN."
        )
    return min(found, default=Fraction(0))


def _seconds(path: Path, text: str) -> Fraction:
    if not _MILLISECONDS.fullmatch(text):
        raise AnnotationError(
            f"'{path}': found the time {shortened(text)}, expected milliseconds such as 12500. Save it again in ELAN."
        )
    return Fraction(int(text), 1000)


def _parsed(path: Path) -> ET.Element:
    """The document; entities, which could grow without bound, are refused.

    Raises:
        AnnotationError: it cannot be read, is empty or is no ELAN document.
    """
    try:
        text = path.read_bytes()
        if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
            raise AnnotationError(f"'{path}' declares a document type, as ELAN's files do not. It was not read.")
        if not text.strip():
            raise AnnotationError(f"'{path}' is an empty file. Save it again in ELAN.")
        root = ET.fromstring(text)
    except OSError as error:
        raise AnnotationError(f"The annotation '{path}' cannot be read: {error.strerror}.") from error
    except (ET.ParseError, LookupError, ValueError) as error:  # the last two of an encoding that there is not
        todo = "Save it again in ELAN" if _is_utf8(text) else "It is not UTF-8 text: save it as UTF-8, as ELAN does"
        raise AnnotationError(f"'{path}' is no whole XML file: {error}. {todo}.") from error
    if root.tag != "ANNOTATION_DOCUMENT":
        raise AnnotationError(f"'{path}' is no ELAN document: it begins with <{root.tag[:40]}>.")
    return root


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


FORMATS.register(Elan.name, Elan())
