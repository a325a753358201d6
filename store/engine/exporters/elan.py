"""Export as ELAN's annotation files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

from affstore.store.contract.records import Address, Record
from affstore.store.engine.exporters.base import EXPORTERS, Exporter, Written
from affstore.store.engine.exporters.tiers import Tier, of_frames, tiers_by_video
from affstore.store.engine.feature_store import FeatureStore

_SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
_KIND = "affstore"


class ElanExporter(Exporter):
    """A file a video, `VIDEO.eaf`, with a tier for each label space, network and unit of each subject.

    Times are in whole milliseconds, as ELAN has them. There is no annotation where nothing is known, and where a unit
    is not shown; where nobody knows whether a unit is shown, one says `unknown`.
    """

    contract = 1
    name = "elan"
    description = "a .eaf file a video for ELAN: intervals of labels, predictions, faces and sound"

    def taken(self, records: Sequence[Record]) -> list[Record]:
        """What has a row a frame."""
        return of_frames(records)

    def write(self, store: FeatureStore, records: Sequence[Record], folder: Path) -> list[Path]:
        """Write the files; a video of which nothing is known in intervals has none."""
        written = Written()
        for path, video, tiers in tiers_by_video(store, records, folder, ".eaf", written):
            source = store.get(Address("source", video=video))
            tree = _document(str(source.attributes["location"]), tiers)
            ET.indent(tree)
            tree.write(path, encoding="UTF-8", xml_declaration=True)
            written.append(path)
        return written


def _document(location: str, tiers: Sequence[Tier]) -> ET.ElementTree[ET.Element]:
    root = ET.Element(
        "ANNOTATION_DOCUMENT",
        {
            "AUTHOR": "affstore",
            "DATE": "1970-01-01T00:00:00+00:00",  # the same store gives the same bytes
            "FORMAT": "3.0",
            "VERSION": "3.0",
            "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
            "xsi:noNamespaceSchemaLocation": _SCHEMA,
        },
    )
    header = ET.SubElement(root, "HEADER", {"MEDIA_FILE": "", "TIME_UNITS": "milliseconds"})
    media = {"MEDIA_URL": Path(location).as_uri() if Path(location).is_absolute() else location, "MIME_TYPE": "video/*"}
    ET.SubElement(header, "MEDIA_DESCRIPTOR", media)
    order = ET.SubElement(root, "TIME_ORDER")
    number = 0
    for tier in tiers:
        element = ET.SubElement(root, "TIER", {"LINGUISTIC_TYPE_REF": _KIND, "TIER_ID": tier.name})
        for one in tier.intervals:
            number += 1
            slots = {}
            for end, seconds in (("1", one.start_s), ("2", one.end_s)):
                slots[f"TIME_SLOT_REF{end}"] = slot = f"ts{2 * number - 2 + int(end)}"
                ET.SubElement(order, "TIME_SLOT", {"TIME_SLOT_ID": slot, "TIME_VALUE": str(round(1000 * seconds))})
            whole = ET.SubElement(element, "ANNOTATION")
            inner = ET.SubElement(whole, "ALIGNABLE_ANNOTATION", {"ANNOTATION_ID": f"a{number}", **slots})
            ET.SubElement(inner, "ANNOTATION_VALUE").text = one.text
    kind = {"GRAPHIC_REFERENCES": "false", "LINGUISTIC_TYPE_ID": _KIND, "TIME_ALIGNABLE": "true"}
    ET.SubElement(root, "LINGUISTIC_TYPE", kind)
    return ET.ElementTree(root)


EXPORTERS.register(ElanExporter.name, ElanExporter())
