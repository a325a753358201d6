"""A fitted head as one file that another lab can use: parameters, spec, record, licence and training corpus.

With an experiment's only head goes what the experiment does to its outputs: smoothing and thresholds. The file is
safetensors: arrays, and one JSON document among its metadata. Nothing in it is ever executed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affstore import FeatureStore
from affstore.store.contract.errors import AffstoreError, NotFoundError, SpecError
from affstore.store.contract.files import replacing
from affstore.store.contract.keys import digest_arrays, key_of
from affstore.store.contract.names import name_fault
from affstore.store.contract.records import Address, Artifact, Record
from affstore.tasks.lineage.head_post_processing import checked_post_processing, post_processing_of
from affstore.tasks.lineage.recorded_specs import head_from, input_spec_from, spec_from
from affstore.tasks.lineage.stored_heads import (
    NETWORKS,
    POST_PROCESSING,
    FittedExperiment,
    experiment_names,
    fitted_experiment,
    networks_of,
)
from affstore.tasks.training.train import HELD_OUT

_FORMAT = 2
_FORMATS = (1, _FORMAT)
"""The first had no smoothing and thresholds; whoever reads only that one would leave them out without a word."""

_ENTRY = "affstore_head"
_ABOUT: Mapping[str, type] = {
    "format": int,
    "name": str,
    "key": str,
    "digest": str,
    "recipe": dict,
    "attributes": dict,
    "made": dict,
    "code": dict,
    "networks": list,
    "licence": str,
    "corpus": str,
    POST_PROCESSING: dict,
}
_NOT_GIVEN_ON = (NETWORKS, POST_PROCESSING, HELD_OUT, "imported")
"""What the record says of how a head was made, and the file says elsewhere, or not at all: names of videos."""

_MOST_BYTES = 1 << 30


def write_head(store: FeatureStore, name: str, path: Path, licence: str, corpus: str) -> dict[str, Any]:
    """Write a head of a store into a file.

    The names of the videos that it was fitted on are left out; the record says how many there were.

    Args:
        store: that has it.
        name: of a head, which is given on without smoothing and thresholds, unless it was imported with some; or of an
            experiment of one head, whose smoothing and thresholds go with it.
        path: of the file, which is replaced.
        licence: under which it is given on.
        corpus: what it was fitted on, in words.

    Returns:
        What the file says of it.

    Raises:
        NotFoundError: there is no such head or experiment, or what its networks are is not in the store any more.
        SpecError: it is an experiment of several heads, it cannot be given on without code, or the file cannot be
            written.
    """
    from safetensors.numpy import save_file

    fitted = only_head(store, name)
    name = fitted.heads[0].name
    record = store.get(Address("head", name))
    arrays = store.read(record.address)
    if any(array.startswith("blob_") for array in arrays):
        raise SpecError(
            f"The head '{name}' is kept in a form that only {record.made.get('engine')} reads, by executing what is in "
            "it. Only heads whose parameters are plain arrays can be exported."
        )
    networks = networks_of(store, record)
    if not networks:
        raise NotFoundError(f"The store has no embedding any more that '{name}' was fitted on, so its inputs are lost.")
    about = {
        "format": _FORMAT,
        "name": name,
        "key": record.key,
        "digest": record.digest,
        "recipe": dict(record.recipe),
        "attributes": dict(record.attributes),
        "made": {fact: value for fact, value in record.made.items() if fact not in _NOT_GIVEN_ON},
        "code": dict(record.code),
        "networks": networks,
        "licence": licence,
        "corpus": corpus,
        POST_PROCESSING: post_processing_of(store, fitted),
    }
    try:
        with replacing(path) as new:
            save_file({one: np.ascontiguousarray(array) for one, array in arrays.items()}, new, {_ENTRY: _text(about)})
    except OSError as error:
        raise SpecError(f"'{path}' cannot be written: {error.strerror or error}. Name another file.") from error
    return about


def only_head(store: FeatureStore, name: str) -> FittedExperiment:
    """A head, or an experiment of one head, by its name.

    Raises:
        NotFoundError: there is none.
        SpecError: it is an experiment of several heads.
    """
    fitted = fitted_experiment(store, name)
    if len(fitted.heads) > 1:
        names = ", ".join(head.name for head in fitted.heads)
        raise SpecError(f"'{name}' is an experiment of several heads: {names}. Export each of them.")
    return fitted


def _text(about: Mapping[str, Any]) -> str:
    return json.dumps(about, sort_keys=True, ensure_ascii=False)


def read_head(path: Path, name: str = "") -> Artifact:
    """A head from a file that `write_head` wrote, as a store will keep it.

    Args:
        path: of the file.
        name: of the head in the store; its own if empty.

    Raises:
        SpecError: it is no such file, its digests are not those of its content, or this affstore lacks its kind or a
            network that it needs.
    """
    about, arrays = _content(path)
    recipe, wanted = about["recipe"], name or about["name"]
    digest = digest_arrays(arrays)
    if (key_of(recipe), digest) != (about["key"], about["digest"]):
        raise SpecError(
            f"'{path}' is damaged or was changed: the digest of its content is {digest[:12]}…, and it says "
            f"{about['digest'][:12]}…, or its recipe has another key. Get it again."
        )
    if fault := name_fault(wanted):
        raise SpecError(f"No head can be called '{wanted}': {fault}. Give it another with --name.")
    try:
        head = head_from(recipe["fit"]["head"])
        for part in recipe["fit"]["inputs"]:
            spec_from(part)
        for network in about["networks"]:
            input_spec_from(network)
        if about[POST_PROCESSING]:
            checked_post_processing(about[POST_PROCESSING], head.task)
    except (KeyError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        if isinstance(error, AffstoreError):
            raise
        reason = f"lacks {error}" if isinstance(error, KeyError) else f"cannot be understood: {error}"
        raise SpecError(f"'{path}' is no head of affstore's: its recipe {reason}. Get it again.") from error
    made = {fact: value for fact, value in about["made"].items() if fact not in _NOT_GIVEN_ON}
    made |= {NETWORKS: about["networks"], "licence": about["licence"], "corpus": about["corpus"]}
    made |= {POST_PROCESSING: about[POST_PROCESSING]} if about[POST_PROCESSING] else {}
    made |= {"imported": {"name": about["name"], "code": about["code"], "digest": about["digest"]}}
    return Artifact(Address("head", wanted), recipe, arrays, about["attributes"], (), made)


def _content(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    from safetensors import SafetensorError, safe_open

    wrong = f"'{path}' is no head that `affstore head export` wrote"
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise SpecError(f"{wrong}: it has more than {_MOST_BYTES >> 30} GiB. Name another file.")
        with safe_open(path, "numpy") as file:
            about = json.loads((file.metadata() or {}).get(_ENTRY, "null"))
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    except OSError as error:
        raise SpecError(f"'{path}' cannot be read: {error.strerror or error}. Name another file.") from error
    except (SafetensorError, ValueError, TypeError, RecursionError) as error:
        raise SpecError(f"{wrong}: {error}. Name another file.") from error
    if not isinstance(about, dict):
        raise SpecError(f"{wrong}: it holds arrays alone. Name another file.")
    if about.get("format") not in _FORMATS:
        raise SpecError(f"'{path}' is of the format {about.get('format')!r}; this affstore reads {_FORMAT}. Update it.")
    about |= {POST_PROCESSING: {}} if about["format"] == 1 else {}
    for field, kind in _ABOUT.items():
        if not isinstance(about.get(field), kind):
            raise SpecError(f"{wrong}: its '{field}' is missing or no {kind.__name__}. Get it again.")
    return about, arrays


def is_new_head(store: FeatureStore, artifact: Artifact, replace: bool) -> bool:
    """Whether a store lacks a head that was read from a file.

    Args:
        store: that would get it.
        artifact: the head.
        replace: whether another head of that name may go.

    Raises:
        SpecError: the store has another head of that name, or an experiment.
    """
    name, there = artifact.address.producer, store.find(artifact.address)
    if name in experiment_names(store):
        raise SpecError(
            f"The store has an experiment called '{name}', whose predictions would be taken for this head's. Import it "
            "with --name NAME."
        )
    same = there is not None and (there.key, there.digest) == (key_of(artifact.recipe), digest_arrays(artifact.arrays))
    if there is not None and same and (NETWORKS not in there.made or _finish(there) == _finish(artifact)):
        return False  # of a head that was fitted here, an experiment of this store says what is done to its outputs
    if there is not None and not replace:
        other = "this head with other smoothing and thresholds, as" if same else "another head called"
        raise SpecError(f"The store has {other} '{name}'. Import this one with --name NAME, or with --replace.")
    return True


def _finish(head: Record | Artifact) -> Any:
    return head.made.get(POST_PROCESSING, {}).get("finish")


def import_head(store: FeatureStore, artifact: Artifact, replace: bool, code: Mapping[str, str]) -> bool:
    """Keep a head that was read from a file, unless the store has it already; whether it was written.

    Args:
        store: that gets it.
        artifact: the head.
        replace: whether another head of that name may go.
        code: versions of the packages at work.

    Raises:
        SpecError: the store has another head of that name.
    """
    if not is_new_head(store, artifact, replace):
        return False
    draft = store.draft(code, "import")
    draft.put(artifact)
    store.commit([draft], "import of a head")
    return True
