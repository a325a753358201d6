"""What affstore and installed plugins offer by name: what each thing is, who brought it and what it needs."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from affstore.store.contract.errors import UnknownNameError
from affstore.store.contract.registry import OWN, Registry


@dataclass(frozen=True, slots=True)
class Offer:
    """A thing that can be asked for by name.

    Attributes:
        name: as users type it; a name that ends in `/` stands for all that begin with it.
        description: what it is, in one line.
        origin: `affstore`, or a plugin's distribution and version.
        needs: what must be there before it can be used; empty where nothing must.
        state: whether that is on this machine, where that can be told.
        problem: why it cannot be used at all; empty where it can.
    """

    name: str
    description: str
    origin: str = OWN
    needs: str = ""
    state: str = ""
    problem: str = ""

    def as_document(self) -> dict[str, str | None]:
        """For other programs."""
        return {name: value or None for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class _Kind:
    """Where the things of a kind are registered, and how one is described: by a line, and by what it needs."""

    module: str
    registry: str
    describe: Callable[[str, Any], tuple[str, str]]
    state: Callable[[str, Any], str] = lambda name, thing: ""

    def open(self) -> Registry[Any]:
        registry: Registry[Any] = getattr(importlib.import_module(self.module), self.registry)
        return registry


def _described(name: str, thing: Any) -> tuple[str, str]:
    extra = getattr(thing, "extra", "")
    needs = [f"pip install -e '.[{extra}]'"] if extra else []
    return thing.description, ", ".join(f"`{one}`" for one in [*needs, *filter(None, [thing.needs])])


def _extractor(name: str, kind: Any) -> tuple[str, str]:
    if name.endswith("/"):
        return (type(kind).__doc__ or "").strip().partition("\n")[0].rstrip("."), ""
    spec, entry = kind.spec(name), kind.weights(name)
    if spec.SENSE == "face":
        facts = [f"face, {spec.size_px} px"]
    else:
        facts = [f"sound, {spec.rate_hz / 1000:g} kHz", f"{float(spec.vectors_hz):g} vectors/s"]
    facts += [f"{spec.width} numbers", *([f"{len(spec.logits)} logits"] if spec.logits else [])]
    facts += [array.replace("_", ", ") for array in spec.arrays if array in ("valence_arousal", "affect")]
    public = "" if entry.public else ", which are not public"
    origin = entry.source.partition(";")[0]
    return ", ".join(facts), f"weights `{entry.name}` ({entry.licence}){public}" + (f": {origin}" if origin else "")


def _weights_state(name: str, kind: Any) -> str:
    from affstore.models.weights.folder import default_folder

    if name.endswith("/"):
        return ""
    record = default_folder().status(kind.spec(name).weights.name).record
    return "not on this machine" if record is None else f"{record.provenance}, on this machine"


def _command(name: str, command: Any) -> tuple[str, str]:
    text = getattr(command.call, "help", None) or command.call.__doc__ or ""
    return text.strip().partition("\n")[0].rstrip("."), ""


_KINDS = {
    "commands": _Kind("affstore.flows.commands", "COMMANDS", _command),
    "extractors": _Kind("affstore.models.extractors.registry", "EXTRACTORS", _extractor, _weights_state),
    "exporters": _Kind("affstore.store.engine.exporters.base", "EXPORTERS", _described),
    "heads": _Kind("affstore.models.heads.kinds", "HEADS", _described),
    "labels": _Kind("affstore.models.labels.base", "FORMATS", _described),
    "runners": _Kind("affstore.flows.runners.base", "RUNNERS", _described),
}

KINDS = tuple(_KINDS)
"""What there is a list of."""


def offers(kind: str) -> list[Offer]:
    """Everything of one kind, by name, with what plugins brought that cannot be used.

    Raises:
        UnknownNameError: there is no such kind.
    """
    if kind not in _KINDS:
        raise UnknownNameError.of("list", kind, _KINDS)
    registry = _KINDS[kind].open()
    found = []
    for name in registry.names():
        thing = registry.get(name)
        description, needs = _KINDS[kind].describe(name, thing)
        found.append(Offer(name, description, registry.origin(name), needs, _KINDS[kind].state(name, thing)))
    broken = [Offer(fault.name, "", fault.origin, problem=fault.reason) for fault in registry.faults()]
    return sorted([*found, *broken], key=lambda offer: offer.name)


def problems() -> list[Offer]:
    """Everything that plugins brought and that cannot be used, of every kind."""
    return [offer for kind in KINDS for offer in offers(kind) if offer.problem]
