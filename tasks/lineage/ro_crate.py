"""A publication as an RO-Crate: its files, and the action that made each of them, by the Process Run Crate profile.

The other two profiles of workflow runs want one workflow file, of which one execution made all files. Predictions here
are made by whichever runs found something due, some with artifacts of earlier runs: no file and no run stands for that.
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from affstore import FeatureStore, content_digest
from affstore.store.contract.errors import SpecError
from affstore.store.contract.files import write_json
from affstore.store.contract.printable import excerpt
from affstore.store.contract.records import Record
from affstore.store.engine.history import commits
from affstore.tasks.lineage.graph import leaves_of, with_ancestors
from affstore.tasks.lineage.methods import methods_paragraph
from affstore.tasks.lineage.publication import NOTE
from affstore.tasks.lineage.published_rows import opened_publication

METADATA = "ro-crate-metadata.json"
"""How the crate's description is called, by the specification."""

_CRATE = "https://w3id.org/ro/crate/1.1"
_PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
_NO_LICENSE = "https://choosealicense.com/no-permission/"

_SOFTWARE = "https://pypi.org/project/affstore/"

Entity = dict[str, Any]


@dataclass(frozen=True, slots=True)
class CrateTerms:
    """What a store cannot know of a publication.

    Attributes:
        license: the address of the files' licence, or its SPDX identifier; without it, that nobody else may use them.
        author: who ran it and answers for it: a name, or `Name <address>`, as of an ORCID.
        organization: that the author works for and that publishes it, likewise.
    """

    license: str = ""
    author: str = ""
    organization: str = ""


def crate_of(store_url: str, folder: Path, terms: CrateTerms | None = None) -> dict[str, Any]:
    """The description of a published folder as an RO-Crate.

    Args:
        store_url: of the store that it was published from.
        folder: as a publication left it, with its note.
        terms: the licence, and who answers for it.

    Raises:
        SpecError: the folder is no publication, or the terms are not as they should be.
        SignatureError: a file is not as it was published, or the store says otherwise.
        NotFoundError: the store has not the snapshot that was published.
    """
    about = _terms(terms or CrateTerms())
    store, noted, records = opened_publication(store_url, folder)
    files = [_file(folder, name, one.sha256) for name, one in sorted(noted.items())]
    by_experiment = {
        one.producer: [n for n in sorted(noted) if noted[n].producer == one.producer] for one in noted.values()
    }
    by = {"agent": {"@id": about["author"]["@id"]}} if "author" in about else {}
    actions = [_action(store, name, names, records[name]) for name, names in sorted(by_experiment.items())]
    inputs = {entity["@id"]: entity for _, entities in actions for entity in entities}
    root = _root(store, [*noted, NOTE], [action["@id"] for action, _ in actions])
    root |= {role: {"@id": entity["@id"]} for role, entity in about.items()}
    graph = [
        _descriptor(),
        root,
        {"@id": _PROFILE, "@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"},
        *about.values(),
        *files,
        _plain_file(folder, NOTE, "Which experiment, tag and snapshot each file came from"),
        *(action | by for action, _ in actions),
        _software(record for behind in records.values() for record in behind),
        *inputs.values(),
    ]
    context = [f"{_CRATE}/context", {"sha256": "https://w3id.org/ro/terms/workflow-run#sha256"}]
    return {"@context": context, "@graph": graph}


def _terms(terms: CrateTerms) -> dict[str, Entity]:
    """The entities that a crate's root links to, by how it does."""
    license_url, name = _license(terms.license)
    described = {"@type": "CreativeWork", "name": name, "description": "The licence of these files."}
    found: dict[str, Entity] = {"license": {"@id": license_url, **described}}
    for role, kind, text in (("author", "Person", terms.author), ("publisher", "Organization", terms.organization)):
        if text:
            found[role] = _somebody(role, kind, text)
    if found.keys() >= {"author", "publisher"}:
        found["author"]["affiliation"] = {"@id": found["publisher"]["@id"]}
    return found


def _license(text: str) -> tuple[str, str]:
    """The address and the name of a licence.

    Raises:
        SpecError: it is neither an address nor an SPDX identifier.
    """
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    if not text:
        return _NO_LICENSE, "No permission"
    if _is_address(text):
        return text, text
    try:
        identifier = str(canonicalize_license_expression(text))
    except InvalidLicenseExpression:
        identifier = ""
    if not re.fullmatch(r"(?!LicenseRef-)[A-Za-z0-9.+-]+", identifier):
        raise SpecError(
            f"{excerpt(text)} is no licence: give its address, as https://creativecommons.org/licenses/by/4.0/, or an "
            "SPDX identifier, as CC-BY-4.0."
        )
    return f"https://spdx.org/licenses/{identifier}", identifier


def _somebody(role: str, kind: str, text: str) -> Entity:
    """A person or an organisation, from a name or `Name <address>`.

    Raises:
        SpecError: it is neither.
    """
    found = re.fullmatch(r"\s*([^<>]*[^<>\s])\s*(?:<([^<>]*)>)?\s*", text)
    name, address = found.groups() if found else ("", None)
    if not name or "://" in name or (address is not None and not _is_address(address)):
        raise SpecError(
            f"{excerpt(text)} names no {role}: give a name, or a name and an address in angle brackets, as 'Ada "
            "Lovelace <https://orcid.org/0000-0002-1825-0097>'."
        )
    where = {"url": address} if address else {}
    return {"@id": address or f"#{role}", "@type": kind, "name": name, **where}


def _is_address(text: str) -> bool:
    with suppress(ValueError):  # brackets of no address
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and not re.search(r"[\s<>\"]", text)
    return False


def write_crate(document: Mapping[str, Any], folder: Path) -> Path:
    """Write the description of a crate into its folder, whole or not at all."""
    write_json(folder / METADATA, document, 2)
    return folder / METADATA


def _descriptor() -> Entity:
    return {
        "@id": METADATA,
        "@type": "CreativeWork",
        "conformsTo": {"@id": _CRATE},
        "about": {"@id": "./"},
    }


def _root(store: FeatureStore, names: Sequence[str], actions: Sequence[str]) -> Entity:
    tag = next((tag for tag, snapshot in store.tags().items() if snapshot == store.snapshot), "")
    commit = next(iter(commits(store)))
    return {
        "@id": "./",
        "@type": "Dataset",
        "name": f"affstore publication {tag or store.snapshot}",
        "description": "Frame-by-frame predictions of affective behaviour, published from a feature store of videos.",
        "identifier": f"sha256:{content_digest(store)}",
        "version": store.snapshot,
        "datePublished": commit.time,
        "conformsTo": {"@id": _PROFILE},
        "hasPart": _links([*map(quote, names)]),
        "mentions": _links(actions),
    }


def _links(names: Sequence[str]) -> Any:
    """References to entities; a single one stands by itself, as the specification wants it."""
    found = [{"@id": name} for name in names]
    return found[0] if len(found) == 1 else found


def _file(folder: Path, name: str, digest: str) -> Entity:
    return _plain_file(folder, name, "Predictions, a row a frame") | {"sha256": digest}


def _plain_file(folder: Path, name: str, description: str) -> Entity:
    found = mimetypes.guess_type(name)[0]
    kind = found or ("application/vnd.apache.parquet" if name.endswith(".parquet") else "application/octet-stream")
    size = (folder / name).stat().st_size
    facts = {"name": name, "description": description, "encodingFormat": kind, "contentSize": str(size)}
    return {"@id": quote(name), "@type": "File", **facts}


def _action(
    store: FeatureStore, experiment: str, files: Sequence[str], records: Sequence[Record]
) -> tuple[Entity, list[Entity]]:
    """The action that made the files of an experiment or network, and what it took: heads and weights by digests."""
    inputs = _inputs(with_ancestors(store, records))
    times = sorted(record.made_at for record in records)
    is_experiment = ("prediction", experiment) in {(one.address.family, one.address.producer) for one in records}
    action = {
        "@id": f"#prediction-{quote(experiment)}",
        "@type": "CreateAction",
        "name": f"Predictions of {experiment}",
        "description": methods_paragraph(store, experiment) if is_experiment else f"Predictions of {experiment}.",
        "instrument": {"@id": _SOFTWARE},
        "object": _links([entity["@id"] for entity in inputs]),
        "result": _links([*map(quote, files)]),
        "actionStatus": "http://schema.org/CompletedActionStatus",
    }
    if times:
        action |= {"startTime": times[0], "endTime": times[-1]}
    return action, inputs


def _inputs(behind: Sequence[Record]) -> list[Entity]:
    heads = [
        {"@id": f"#head-{quote(r.address.producer)}", "@type": "PropertyValue", "name": f"head {r.address.producer}"}
        | {"propertyID": "sha256", "value": r.digest}
        for r in behind
        if r.address.family == "head"
    ]
    leaves = {leaf.digest: leaf for r in behind for leaf in leaves_of(r) if leaf.kind == "weights"}
    weights = [
        {"@id": f"#weights-{digest[:16]}", "@type": "PropertyValue", "name": f"weights {leaf.name}"}
        | {"propertyID": "sha256", "value": digest}
        for digest, leaf in sorted(leaves.items())
    ]
    return [*heads, *weights]


def _software(published: Iterable[Record]) -> Entity:
    versions = sorted({_version(record.code) for record in published})
    facts = {
        "name": "affstore",
        "url": _SOFTWARE,
        "softwareVersion": ", ".join(versions) or "unknown",
    }
    return {"@id": _SOFTWARE, "@type": "SoftwareApplication", **facts}


def _version(code: Mapping[str, str]) -> str:
    """A version of affstore, and the git commit of it where that was known."""
    version, commit = code.get("affstore", "unknown"), code.get("commit", "")
    return f"{version} (git commit {commit})" if commit else version
