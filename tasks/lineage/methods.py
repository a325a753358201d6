"""What a paper says of an experiment: a paragraph with everything that decides its numbers, ready to cite."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from affstore import FeatureStore, content_digest
from affstore.store.contract.errors import NotFoundError
from affstore.store.contract.keys import key_of
from affstore.store.contract.records import Record, least_trusted
from affstore.tasks.lineage.graph import learns_nothing, leaves_of, with_ancestors
from affstore.tasks.lineage.head_post_processing import lines_behind, lines_of, post_processing_behind
from affstore.tasks.lineage.stored_heads import POST_PROCESSING
from affstore.tasks.specs import most_subjects_of

_SHORT = 12
_PACKAGES = ("python", "affstore", "commit", "torch", "av", "numpy")
_ENGINES = ("openvino", "keras", "lightautoml")
"""Packages that are named where they computed something."""


def methods_paragraph(store: FeatureStore, experiment: str) -> str:
    """Say how the published numbers of an experiment came about, with the digests that identify them.

    Raises:
        NotFoundError: the store has no prediction of such an experiment; the message suggests the nearest.
    """
    producers = sorted({address.producer for address in store.addresses("prediction")})
    if experiment not in producers:
        otherwise = "`affstore status` lists whose predictions there are."
        raise NotFoundError.of(store.url, "predictions of an experiment", experiment, producers, otherwise)
    predictions = store.find_all(a for a in store.addresses("prediction") if a.producer == experiment)
    results = [r for r in store.records("result") if r.address.producer.rpartition("@")[0] == experiment]
    behind = with_ancestors(store, [*predictions, *results])
    of = {name: [record for record in behind if record.address.family == name] for name in _FAMILIES}
    untrained = least_trusted(record.provenance for record in predictions) == "untrained"
    sentences = [
        *(["Networks with untrained parameters were used: these numbers are no results."] if untrained else []),
        _corpus(of["source"], predictions),
        *_features(of),
        *map(_head, of["head"]),
        *_post_processing(store, of["head"], predictions),
        *map(_result, sorted(results, key=lambda record: record.address)),
        _identity(store, predictions, behind),
    ]
    return " ".join(sentences)


_FAMILIES = ("source", "face", "visual", "audio", "head")


def _corpus(sources: Sequence[Record], predictions: Sequence[Record]) -> str:
    frames = {record.address.video: int(record.attributes["frames"]) for record in predictions}
    people = len({(record.address.video, record.address.subject) for record in predictions})
    whose = f", in which {people} people were followed," if people > len(frames) else ""
    return (
        f"{sum(frames.values())} frames of {len(frames)} videos{whose} were predicted; with those for training, "
        f"{len(sources)} videos were decoded frame by frame at their own presentation times."
    )


def _features(of: Mapping[str, Sequence[Record]]) -> Iterable[str]:
    """A sentence for each detector and extractor, with its weights."""
    verbs = {
        "face": "Faces were found and tracked by {}.",
        "visual": "Faces were embedded by {}.",
        "audio": "Sound was embedded by {}.",
    }
    for family, sentence in verbs.items():
        producers = sorted({record.address.producer for record in of[family]})
        told = [_producer(name, [r for r in of[family] if r.address.producer == name]) for name in producers]
        if told:
            yield sentence.format(_listed(told))
        if family == "face":
            yield from _all_people(of[family])


def _all_people(faces: Sequence[Record]) -> Iterable[str]:
    """A sentence on videos of which more people than two may be subjects."""
    everyone = {face.address.video for face in faces if most_subjects_of(face) == "all"}
    if everyone:
        videos = {face.address.video for face in faces}
        yield f"In {len(everyone)} of {len(videos)} videos everybody who was present for long enough was a subject."


def _producer(name: str, records: Sequence[Record]) -> str:
    weights = {leaf.digest: leaf for record in records for leaf in leaves_of(record) if leaf.kind == "weights"}
    told = [f"{leaf.provenance or 'weights'} {leaf.name} sha256:{leaf.digest[:_SHORT]}" for leaf in weights.values()]
    engines = {
        f"{record.made.get('engine')} {record.made.get('precision')}" for record in records if record.made.get("engine")
    }
    return f"{name} ({'; '.join([*sorted(told), *sorted(engines)])})"


def _head(record: Record) -> str:
    seen = record.made.get("subjects") or {}
    people = ", ".join(f"{count} for {split}" for split, count in seen.items())
    scores, corpus = record.attributes["scores"], record.made.get("corpus")
    on = f"by others on {corpus}" if corpus else f"on {len(record.parents)} artifacts"
    measured = f"; {scores['headline']} on its validation frames: {scores['value']:.3f}" if scores else ""
    came = record.made.get(POST_PROCESSING)
    chosen = "".join(f"; it came with {line}" for line in lines_of(came)) if came else ""
    name = f"The head {record.address.producer} (key {record.key[:_SHORT]}"
    if learns_nothing(record):
        return f"{name}) takes the outputs of its network as they are: nothing was fitted{measured}."
    return (
        f"{name}, parameters sha256:{record.digest[:_SHORT]}) "
        f"was fitted {on}{f' of subjects: {people}' if people else ''}{measured}{chosen}."
    )


def _post_processing(store: FeatureStore, heads: Sequence[Record], predictions: Sequence[Record]) -> Iterable[str]:
    """A sentence for each way in which predictions were made of outputs, but for what came with an imported head."""
    came = [head.made[POST_PROCESSING]["finish"] for head in heads if POST_PROCESSING in head.made]
    finished = [one for one in predictions if "chosen" in one.recipe.get("finish", {})]
    ways = {key_of(one.recipe["finish"]): one for one in finished if one.recipe["finish"] not in came}
    for prediction in ways.values():
        lines = lines_behind(post_processing_behind(store, prediction))
        yield f"The heads' outputs became predictions with {'; '.join(lines)}."


def _result(record: Record) -> str:
    scores, (low, high) = record.attributes["scores"], record.attributes["interval"]
    drawn = "groups of videos" if record.recipe.get("asked", {}).get("drawn_together") else "videos"
    known = "; the head was trained on these videos: the number says nothing" if record.attributes["seen"] else ""
    return (
        f"{scores['headline']} by the protocol '{record.attributes['protocol']}' is {scores['value']:.3f} (95 % "
        f"interval {low:.3f} to {high:.3f}, by drawing whole {drawn}){known}."
    )


def _identity(store: FeatureStore, predictions: Sequence[Record], behind: Sequence[Record]) -> str:
    recorded = [_versions(record) for record in behind]
    versions: dict[str, set[str]] = {}
    for name, version in ((name, version) for found in recorded for name, version in found.items()):
        versions.setdefault(name, set()).add(version)
    by_all = {name for name in versions if name in _ENGINES or all(name in found for found in recorded)}
    usual = {name: min(versions[name]) for name in by_all if len(versions[name]) == 1}
    usual |= {name: version for record in predictions for name, version in _versions(record).items()}
    others: dict[str, set[str]] = {}
    for record in behind:
        for name, version in _versions(record).items():
            if usual.get(name) != version:
                part = f"{record.address.family} {record.address.producer}".strip()
                others.setdefault(f"{name} {version}", set()).add(part)
    code = sorted(f"{name} {version}" for name, version in usual.items())
    but = [f"{_listed(sorted(parts))} with {version}" for version, parts in sorted(others.items())]
    tags = [tag for tag, snapshot in store.tags().items() if snapshot == store.snapshot]
    whole = f"tag {tags[0]}, snapshot {store.snapshot}" if tags else f"snapshot {store.snapshot}"
    return (
        f"{'All else' if but else 'Everything'} was computed with "
        f"{', '.join(code) or 'unknown versions'}{''.join(f'; {one}' for one in but)}; all is identified by "
        f"{whole}, content sha256:{content_digest(store)}."
    )


def _versions(record: Record) -> dict[str, str]:
    """The versions of the packages that a paper names; of an engine only where it computed this."""
    found = {name: record.code[name] for name in _PACKAGES if name in record.code}
    engine = str(record.made.get("engine", ""))
    return found | ({engine: record.code.get(engine, "of an unknown version")} if engine in _ENGINES else {})


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
