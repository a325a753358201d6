"""What the store has of a video's frames as one table: a row a frame and subject, and columns with names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from affstore.store.contract.errors import NotFoundError
from affstore.store.contract.names import MAIN, in_order
from affstore.store.contract.records import Address, Record
from affstore.store.contract.schema import family
from affstore.store.engine.datasets import FRAMED, called, names_along_axes
from affstore.store.engine.feature_store import FeatureStore
from affstore.store.engine.reading import find_source, read_clock, with_gaps

if TYPE_CHECKING:
    import polars as pl

_PREFIXES = {"logits": "logit_", "raw": "raw_", "smoothed": "smoothed_", "prediction": "prediction_"}
"""Of the columns that an array becomes; those of any other array are called by their classes or units alone."""


def read_frames(
    store: FeatureStore, video: str, *producers: str, subject: str | None = None, embeddings: bool = False
) -> pl.DataFrame:
    """What the store has of a video as a table, with a row for each frame and subject.

    Its first columns are `video`, `frame` (from 0), `time_s` (when the frame begins), `subject` and `present` (whether
    a face of this subject was found; null without any faces). Then come the columns of each artifact, which begin with
    the name of what made it: `emotieffnet_b0.logit_Anger`, `mtcnn.x0`, `label.expr`, `label.au.AU12`,
    `label.va.valence`, `mlp.prediction`, `mlp.smoothed_Anger`. Classes are texts. A cell is null where nothing is
    known: no face, no sound, no label; and a prediction is null where nothing was seen, see `read_predictions`.
    `to_pandas()` gives a frame of pandas, where pandas is installed.

    Args:
        store: an open store.
        video: the video's name, or an alias.
        producers: extractors, detectors, label spaces and experiments by name, or with their family as `label/va`; all
            that the store has of the video if none is given.
        subject: whose rows; those of everybody if None.
        embeddings: whether embeddings are columns, too: `emotieffnet_b0.embedding`, an array in each cell.

    Raises:
        NotFoundError: no such video, producer or subject; the message says what there is.

    Examples:
        >>> import affstore
        >>> store = affstore.FeatureStore("affstore-data")
        >>> frames = affstore.read_frames(store, "interview", "mlp", "label/expr")
        >>> frames.select("frame", "time_s", "subject", "mlp.prediction", "label.expr").row(1)
        (1, 0.04, 'main', 'Neutral', 'Happiness')
        >>> frames["label.expr"].null_count()
        10
        >>> wide = affstore.read_frames(store, "interview", "emotieffnet_b0", embeddings=True)
        >>> wide["emotieffnet_b0.embedding"].to_numpy().shape
        (40, 1280)
    """
    import polars as pl

    name = find_source(store, video).address.video
    there = store.addresses(*FRAMED, video=name)
    asked = list(dict.fromkeys(one for producer in producers for one in called(there, video, producer)))
    asked = asked if producers else there
    known = in_order({one.subject for one in there if one.subject}) or [MAIN]
    if subject is not None and subject not in known:
        raise NotFoundError(f"'{video}' has no subject '{subject}'. It has: {', '.join(known)}.")
    subjects = [subject] if subject else in_order({one.subject for one in asked if one.subject}) or known
    records = [store.get(one) for one in asked]
    tables = [_of_subject(store, (name, one), records, there, embeddings) for one in subjects]
    return pl.concat([cast(pl.DataFrame, pl.from_arrow(table)) for table in tables], how="diagonal")


def opening_columns(video: str, subject: str, time_s: NDArray[np.float64]) -> dict[str, pa.Array]:
    """The columns that every table of frames begins with: video, frame, time and subject."""
    count = len(time_s)
    return {
        "video": pa.array([video] * count, pa.string()),
        "frame": pa.array(np.arange(count, dtype=np.int64)),
        "time_s": pa.array(np.asarray(time_s, np.float64)),
        "subject": pa.array([subject] * count, pa.string()),
    }


def columns_of(record: Record, arrays: Mapping[str, NDArray[Any]], filled: bool = True) -> dict[str, pa.Array]:
    """An artifact's arrays as columns by the names of their classes, units and axes; null where nothing is.

    Args:
        record: of the artifact.
        arrays: all or some of it, with its mask, as `FeatureStore.read` gives them; they may be written over.
        filled: whether a prediction keeps what was filled in from neighbouring frames.
    """
    schema, kinds = family(record.address.family), {name: array.dtype for name, array in arrays.items()}
    mask = schema.mask or ("" if filled or "present" not in arrays else "present")
    gapped = with_gaps(replace(schema, mask=mask), arrays)
    names = names_along_axes(record, gapped)
    columns: dict[str, pa.Array] = {}
    for name, array in gapped.items():
        if name != "time_s" and not (name == mask and array.ndim > 1):
            kind = pa.from_numpy_dtype(kinds[name])
            columns |= dict(_columns(record, name, np.ascontiguousarray(array), names, kind))
    return columns


def class_texts(numbers: NDArray[Any], names: Sequence[str]) -> pa.Array:
    """Classes, given by their numbers, by their names; null for NaN."""
    return pa.array([names[int(one)] if np.isfinite(one) else None for one in numbers], pa.string())


def nullable(values: NDArray[Any] | pa.Array) -> pa.Array:
    """Numbers as a column with null in place of NaN; what is a column already stays."""
    return values if isinstance(values, pa.Array) else pa.array(np.ascontiguousarray(values), from_pandas=True)


def _columns(
    record: Record, name: str, values: NDArray[Any], names: Mapping[str, tuple[str, ...]], kind: pa.DataType
) -> Iterator[tuple[str, pa.Array]]:
    """An array as named columns; along an axis without names, as a column of lists."""
    axes, prefix = family(record.address.family).array(name).dims[1:], _PREFIXES.get(name, "")
    classes = record.attributes.get("labels")
    if axes in (("label",), ("decision",)) and axes[0] not in names and classes:
        yield prefix.rstrip("_") or record.address.producer, class_texts(values[:, 0], classes)
    elif all(axis in names for axis in axes):
        for index, place in enumerate(product(*(names[axis] for axis in axes))):
            title = prefix + "_".join(place) if place else name
            yield title, nullable(values.reshape(len(values), -1)[:, index]).cast(kind)
    else:
        missing = np.isnan(values).any(axis=1) if values.dtype.kind == "f" else np.zeros(len(values), bool)
        yield (
            name,
            pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1], mask=pa.array(missing)),
        )


def _of_subject(
    store: FeatureStore, of: tuple[str, str], records: Sequence[Record], there: Iterable[Address], embeddings: bool
) -> pa.Table:
    video, subject = of
    columns = opening_columns(video, subject, read_clock(store, video).starts_s)
    own = [record for record in records if record.address.subject in ("", subject)]
    faces = [one for one in (*(record.address for record in own), *there) if one.family in ("face", "visual")]
    face = next((one for one in faces if one.subject == subject), None)
    absent = pa.nulls(len(columns["frame"]), pa.bool_())
    columns["present"] = absent if face is None else pa.array(store.read(face, ["present"])["present"])
    families = Counter(producer for _, producer in {_made_by(record) for record in records})
    for record in own:
        named = columns_of(record, _arrays(store, record, embeddings), filled=False)
        columns |= {_title(record, column, families): values for column, values in named.items()}
    return pa.table(columns)


def _made_by(record: Record) -> tuple[str, str]:
    return record.address.family, record.address.producer


def _title(record: Record, column: str, families: Mapping[str, int]) -> str:
    """What a column is called: by who made it, and by its family where two families have something of that name."""
    kind, producer = _made_by(record)
    if kind == "label":
        return f"label.{producer}" if column == producer else f"label.{producer}.{column}"
    return f"{kind}/{producer}.{column}" if families[producer] > 1 else f"{producer}.{column}"


def _arrays(store: FeatureStore, record: Record, embeddings: bool) -> dict[str, NDArray[Any]]:
    """An artifact's arrays; without the embedding, which is most of it, where it is not asked for."""
    address, schema = record.address, family(record.address.family)
    if embeddings or "embedding" not in schema.arrays:
        return store.read(address)
    group = store.group(address)
    return store.read(address, [name for name in schema.arrays if name != "embedding" and name in group])
