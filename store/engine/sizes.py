"""How many bytes artifacts' arrays hold."""

from __future__ import annotations

import json
from math import prod

import numpy as np

from affstore.store.contract.records import Address
from affstore.store.contract.schema import address_of
from affstore.store.engine.feature_store import FeatureStore
from affstore.store.engine.listing import array_paths, read_documents
from affstore.store.engine.places import translate_errors


def array_bytes(store: FeatureStore) -> dict[Address, int]:
    """The bytes of every artifact's arrays, unpacked; no array is read."""
    with translate_errors(store.url, "Reading"):
        paths = array_paths(store.repository, store.snapshot)
        documents = [json.loads(document) for document in read_documents(store.session, paths)]
    found: dict[Address, int] = {}
    for path, document in zip(paths, documents, strict=True):
        address = address_of(path.rpartition("/")[0])
        size = prod(document["shape"]) * np.dtype(document["data_type"]).itemsize
        found[address] = found.get(address, 0) + size
    return found
