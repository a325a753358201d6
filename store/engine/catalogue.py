"""The store as a polars frame, one row an artifact; and one digest over all that it holds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from affstore.store.contract.errors import SpecError
from affstore.store.contract.keys import key_of
from affstore.store.contract.names import MAIN, video_name
from affstore.store.contract.records import Address, Record
from affstore.store.contract.video_columns import VideoColumns, read_video_columns

if TYPE_CHECKING:
    import polars as pl

    from affstore.store.engine.feature_store import FeatureStore


def catalogue(store: FeatureStore, columns: str | Path | None = None) -> pl.DataFrame:
    """What is in a store.

    Args:
        store: an open store.
        columns: a table (CSV, TSV or Parquet) with a column `video` and others, such as participant, session and
            condition, which are put beside what is of that video; `FILE:COLUMN,COLUMN` takes some of them. Videos go by
            their names or aliases, and a row of `12_left` is of the subject `left` of `12`. The columns have their
            names in small letters and hold texts, null where the table says nothing.

    Returns:
        One row an artifact: family, producer, video, subject, frames, key, digest, provenance, run_id, made_at, path.
        `provenance` is published, unofficial or untrained, and null where no weights were involved. Then come the
        table's columns.

    Raises:
        SpecError: the table cannot be read, says two things of a video, or has a column that the catalogue has, too.

    Examples:
        >>> import affstore, polars
        >>> artifacts = affstore.catalogue(affstore.FeatureStore("affstore-data"))
        >>> artifacts.filter(polars.col("family") == "visual")["path"].to_list()
        ['visual/emotieffnet_b0/interview/main']
        >>> table = polars.DataFrame({"video": ["interview"], "participant": ["P07"], "condition": ["stress"]})
        >>> table.write_csv("videos.csv")
        >>> joined = affstore.catalogue(affstore.FeatureStore("affstore-data"), columns="videos.csv")
        >>> joined.filter(participant="P07").select("family", "condition").row(-1)
        ('visual', 'stress')
    """
    import polars as pl

    schema = {
        "family": pl.String,
        "producer": pl.String,
        "video": pl.String,
        "subject": pl.String,
        "frames": pl.Int64,
        "key": pl.String,
        "digest": pl.String,
        "provenance": pl.String,
        "run_id": pl.String,
        "made_at": pl.String,
        "path": pl.String,
    }
    records = store.records()
    rows = [_row(record) for record in records]
    if columns is not None:
        joined = JoinedColumns.read(store, Path(columns), set(schema))
        schema |= dict.fromkeys(joined.names, pl.String)
        rows = [(*row, *joined.of(record.address)) for row, record in zip(rows, records, strict=True)]
    return pl.DataFrame(rows, schema=schema, orient="row")


@dataclass(frozen=True, slots=True)
class JoinedColumns:
    """Columns of a user's table, to be put beside what a store has of the same videos.

    Attributes:
        table: what it says of each video.
        known_as: each video's name and aliases, by its name.
    """

    table: VideoColumns
    known_as: Mapping[str, tuple[str, ...]]

    @classmethod
    def read(cls, store: FeatureStore, table: Path, taken: Collection[str]) -> JoinedColumns:
        """Read a table; see `catalogue` for what it may be.

        Args:
            store: whose videos they are of.
            table: the file, or `FILE:COLUMN,COLUMN`.
            taken: names of columns that what they are put beside has already.

        Raises:
            SpecError: it cannot be read, says two things of a video, or has a column whose name is taken.
        """
        videos = {one.address.video: one.attributes["aliases"] for one in store.records("source")}
        found = read_video_columns(table, videos)
        twice = [name for name in found.names if name in taken]
        if twice:
            raise SpecError(
                f"'{found.path}' has the column '{twice[0]}', and what it is joined to has one, too. Name the columns "
                f"that you want, as {found.path}:participant,session, or call it something else in the file."
            )
        return cls(found, {video: (video, *map(video_name, also)) for video, also in videos.items()})

    @property
    def names(self) -> tuple[str, ...]:
        """The columns."""
        return self.table.names

    def of(self, address: Address) -> tuple[str | None, ...]:
        """What the table says of the video and subject that an artifact is of."""
        return self.table.of(self.known_as.get(address.video, (address.video,)), address.subject or MAIN)


def content_digest(store: FeatureStore) -> str:
    """One digest over every artifact's address, key, digest and parents.

    Two stores with equal content digests hold the same numbers made from the same inputs, whatever runs, machines,
    dates and interruptions brought them there.

    Examples:
        >>> import affstore
        >>> store = affstore.FeatureStore("affstore-data")
        >>> affstore.content_digest(store) == affstore.content_digest(store.newest())
        True
    """
    return content_digest_of(store.records())


def content_digest_of(records: Iterable[Record]) -> str:
    """The same over some records, in the order of their addresses."""
    return key_of(
        [
            [record.address.path, record.key, record.digest, [[p.path, p.key, p.digest] for p in record.parents]]
            for record in records
        ]
    )


def _row(record: Record) -> tuple[str | int | None, ...]:
    address = record.address
    return (
        address.family,
        address.producer,
        address.video,
        address.subject,
        record.attributes.get("frames"),
        record.key,
        record.digest,
        record.provenance,
        record.run_id,
        record.made_at,
        address.path,
    )
