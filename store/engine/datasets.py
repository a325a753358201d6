"""Artifacts with a row a frame as `xarray` datasets: instants and names along the axes, NaN under a mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from affstore.store.contract.errors import NotFoundError, SpecError
from affstore.store.contract.names import MAIN
from affstore.store.contract.records import Address, Record
from affstore.store.contract.schema import families, family
from affstore.store.engine.feature_store import FeatureStore
from affstore.store.engine.reading import find_source, with_gaps

if TYPE_CHECKING:
    import xarray as xr

FRAMED = ("visual", "audio", "face", "label", "prediction")
"""The families of what is made of a video and has a row a frame."""


def open_xarray(store: FeatureStore, video: str, producer: str, subject: str = MAIN) -> xr.Dataset:
    """Read what one extractor, detector, task or experiment says of a video, with names on its axes.

    Values are NaN where there is no face, no sound or no label; `present`, or `known`, says the same.

    Args:
        store: an open store.
        video: the video's name, or an alias.
        producer: who made it, or its family and who made it, as `label/va`.
        subject: whose face; `main` in a video of one person. Sound has no subject.

    Raises:
        NotFoundError: there is no such thing; the message says what there is.
        SpecError: several families have something of that name.

    Examples:
        >>> import affstore
        >>> store = affstore.FeatureStore("affstore-data")
        >>> faces = affstore.open_xarray(store, "interview", "emotieffnet_b0")
        >>> faces["logits"].sel({"class": "Happiness"}).shape
        (40,)
        >>> float(faces.sel(time_s=1.013, method="nearest").time_s)
        1.0
    """
    name = find_source(store, video).address.video
    among = store.addresses(*FRAMED, video=name)
    found = called(among, video, producer, subject)
    if len(found) > 1:
        named = " or ".join(f"'{address.family}/{address.producer}'" for address in found)
        raise SpecError(f"'{producer}' means several things of '{video}'. Ask for {named}.")
    return dataset_of(store, store.get(found[0]))


def called(among: Sequence[Address], video: str, producer: str, subject: str | None = None) -> list[Address]:
    """The artifacts of a video that are meant by a producer's name, or by its family and name, as `label/va`.

    Args:
        among: what the video has.
        video: what to call it in the message.
        producer: who made it.
        subject: whose; anybody's if None.

    Raises:
        NotFoundError: there is none; the message says what there is.
    """
    first, _, rest = producer.partition("/")
    family_name, name = (first, rest) if first in families() else ("", producer)
    found = [
        one
        for one in among
        if one.producer == name
        and family_name in ("", one.family)
        and (subject is None or one.subject in ("", subject))
    ]
    if not found:
        there = ", ".join(address.path for address in among) or "nothing"
        whose = "" if subject is None else f" for subject '{subject}'"
        raise NotFoundError(f"'{video}' has nothing by '{producer}'{whose}. It has: {there}.")
    return found


def dataset_of(store: FeatureStore, record: Record) -> xr.Dataset:
    """An artifact that has a row a frame, as a dataset; see `open_xarray`."""
    import xarray as xr

    address = record.address
    schema = family(address.family)
    arrays = with_gaps(schema, store.read(address))
    source = Address("source", video=address.video)
    time_s = arrays.pop("time_s") if address == source else store.read(source, ["time_s"])["time_s"]
    dims = {name: schema.array(name).dims for name in arrays}
    coordinates: dict[str, Any] = {"time_s": ("frame", time_s, {"units": "s", "long_name": "start of the frame"})}
    coordinates |= {axis: (axis, np.array(names)) for axis, names in names_along_axes(record, arrays).items()}
    facts = {"artifact": address.path, "key": record.key, "provenance": record.provenance or "no network"}
    dataset = xr.Dataset({name: (dims[name], array) for name, array in arrays.items()}, coordinates, facts)
    return dataset.set_xindex("time_s")


def names_along_axes(record: Record, arrays: Mapping[str, NDArray[Any]]) -> dict[str, tuple[str, ...]]:
    """What the places along the axes of some of an artifact's arrays are called, for axes that have as many places."""
    dims = {name: family(record.address.family).array(name).dims for name in arrays}
    found = {}
    for axis, names in axis_names(record).items():
        lengths = {arrays[name].shape[of.index(axis)] for name, of in dims.items() if axis in of}
        if lengths == {len(names)}:
            found[axis] = names
    return found


def axis_names(record: Record) -> Mapping[str, tuple[str, ...]]:
    """What the places along an artifact's axes are called: classes, units, valence and arousal."""
    names = dict(family(record.address.family).places)
    for attribute, axes in (("classes", ("class",)), ("labels", ("output", "label", "decision"))):
        if record.attributes.get(attribute):
            names |= dict.fromkeys(axes, tuple(record.attributes[attribute]))
    return names
