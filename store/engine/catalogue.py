"""The store as a polars frame, one row an artifact; and one digest over all that it holds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from affstore.store.contract.keys import key_of
from affstore.store.contract.records import Record

if TYPE_CHECKING:
    import polars as pl

    from affstore.store.engine.feature_store import FeatureStore


def catalogue(store: FeatureStore) -> pl.DataFrame:
    """What is in a store.

    Returns:
        One row an artifact: family, producer, video, subject, frames, key, digest, provenance, run_id, made_at, path.
        `provenance` is published, unofficial or untrained, and null where no weights were involved.

    Examples:
        >>> import affstore, polars
        >>> artifacts = affstore.catalogue(affstore.FeatureStore("affstore-data"))
        >>> artifacts.filter(polars.col("family") == "visual")["path"].to_list()
        ['visual/emotieffnet_b0/interview/main']
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
    return pl.DataFrame([_row(record) for record in store.records()], schema=schema, orient="row")


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
