"""The picture of one frame, decoded again from the very bytes that the store's numbers came from."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from affstore import FeatureStore
from affstore.models.media.video import frames
from affstore.store.contract.errors import MediaError, SourceError, SpecError
from affstore.store.contract.keys import digest_file
from affstore.store.contract.records import Address
from affstore.tasks.ingest.sources import facts_of


def write_picture(store: FeatureStore, video: str, frame: int, to: Path) -> None:
    """Write the picture of a frame, upright and with square pixels, as the networks saw it before faces were cut out.

    Args:
        store: with the video's source.
        video: its name in the store.
        frame: 0-based.
        to: a file whose ending says the format, e.g. `.png`.

    Raises:
        SourceError: the video is not where it was, or its bytes are others.
        SpecError: the picture cannot be written there.
    """
    from PIL import Image

    source = store.get(Address("source", video=video))
    path = Path(str(source.attributes["location"]))
    if not path.is_file():
        raise SourceError(f"There is no picture of '{video}': its file '{path}' is not there any more.")
    if digest_file(path) != source.attributes["sha256"]:
        raise SourceError(f"There is no picture of '{video}': the bytes of '{path}' are not those that were added.")
    picture = next(islice(frames(path, facts_of(store, source)), frame, None), None)
    if picture is None:
        raise MediaError(f"'{path}' does not decode as far as frame {frame}, as it did when it was added.")
    try:
        Image.fromarray(picture).save(to)
    except (OSError, ValueError) as error:
        raise SpecError(f"The picture cannot be written to '{to}': {error}. Name a file such as frame.png.") from error
