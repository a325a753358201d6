"""Which engine runs each network, in which precision, and how embeddings are stored: all are part of every key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from affstore import FeatureStore
from affstore.flows.watch import watching
from affstore.models.engines.base import ENGINES, Choice, EngineName
from affstore.models.engines.gpu import has_gpu
from affstore.models.extractor_specs import ExtractorSpec, Precision, Stored
from affstore.models.extractors.registry import engines_of
from affstore.models.faces.specs import DetectorSpec, resolve
from affstore.models.weights.folder import WeightsFolder
from affstore.store.contract.errors import SpecError
from affstore.tasks.lineage.stored_heads import NETWORKS


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """The user's choice of engine, precision and device, and of the type that embeddings are stored in.

    Attributes:
        engine: by name, or `auto`.
        precision: of the forward passes, or `auto`.
        device: `cpu` or `cuda`.
        stored: the type of stored embeddings, or `auto`.
    """

    engine: Literal["auto"] | EngineName = "auto"
    precision: Literal["auto"] | Precision = "auto"
    device: str = "cpu"
    stored: Literal["auto"] | Stored = "auto"

    def admits(self, choice: Choice) -> bool:
        """Whether a choice is within what was asked."""
        return self.engine in ("auto", choice.engine) and self.precision in ("auto", choice.precision)


def with_engine(
    spec: ExtractorSpec,
    request: EngineRequest,
    weights: WeightsFolder,
    store: FeatureStore | None,
    measured: bool = True,
) -> ExtractorSpec:
    """The spec on an engine.

    A network keeps the engine that its embeddings in the store were made with, if this machine has it, and the type
    that they are stored in, so that one video more does not mean all videos again. Where there are none, it takes those
    that an imported head was fitted on, so that the head predicts what it does where it is from; otherwise it gets the
    fastest that is faithful with its parameters here, and float32.
    A sound network that only torch runs stays there whatever engine was asked for, in float32 unless bfloat16 was.

    Args:
        spec: its weights resolved.
        request: what the user said.
        weights: where the parameters are, and notes on engines.
        store: holds earlier embeddings, or None.
        measured: measure engines where no choice is known yet; a plan, whose embeddings are all missing then, need not.

    Raises:
        SpecError: the engine that was asked for cannot run on this device.
    """
    spec = replace(spec, stored=_stored_type(spec, store) if request.stored == "auto" else request.stored)
    if spec.engine not in ENGINES or engines_of(spec) == ("torch",):
        return replace(spec, precision="float32" if request.precision == "auto" else request.precision)
    choice = _choice(spec, request, weights, store, measured)
    return replace(spec, engine=choice.engine, precision=choice.precision)


def detector_of(request: EngineRequest, store: FeatureStore | None) -> DetectorSpec:
    """The face detector on the engine that was asked for, that the store's faces were found with, or that is fastest.

    Raises:
        WeightsMissingError: its parameters are not installed.
        WeightsDigestError: they are not those that were published.
    """
    spec = resolve(DetectorSpec())
    if request.engine != "auto":
        return replace(spec, engine=request.engine)
    fastest: EngineName = "openvino" if request.device == "cpu" else "torch"
    stored = _engine_of_faces(spec, store) if store is not None else None
    return replace(spec, engine="torch" if stored == "torch" else fastest)


def _engine_of_faces(spec: DetectorSpec, store: FeatureStore) -> EngineName | None:
    """The engine that faces in the store were found with by this version of the detector."""
    found = next((store.get(one) for one in store.addresses("face") if one.producer == spec.name), None)
    recipe = found.recipe["detector"] if found is not None else {}
    return recipe.get("engine", "torch") if recipe.get("version") == spec.version else None


def is_decided(spec: ExtractorSpec, request: EngineRequest, store: FeatureStore) -> bool:
    """Whether a network's engine is the same on every machine, as it is named, the only one, or the store's.

    Args:
        spec: its weights resolved.
        request: what the user said.
        store: holds earlier embeddings.
    """
    if (
        spec.engine not in ENGINES
        or engines_of(spec) == ("torch",)
        or "auto" not in (request.engine, request.precision)
    ):
        return True
    from affstore.models.fidelity import candidates

    stored = _stored_choice(spec, store)
    return stored in candidates(request.device) and request.admits(stored)


def _choice(
    spec: ExtractorSpec, request: EngineRequest, weights: WeightsFolder, store: FeatureStore | None, measured: bool
) -> Choice:
    if request.engine != "auto" and request.precision != "auto":
        return Choice(request.engine, request.precision)
    from affstore.models.fidelity import Measuring, best_choice, candidates

    offered = [choice for choice in candidates(request.device) if request.admits(choice)]
    if not offered:
        raise SpecError(
            f"No engine runs '{spec.name}' on {request.device} as asked (engine {request.engine}, precision "
            f"{request.precision}). Leave both to be chosen, or name both."
        )
    stored = _stored_choice(spec, store) if store is not None else None
    if stored in offered or not measured:
        return stored if stored in offered else offered[0]
    if not _is_here(request.device):
        return offered[-1]  # the reference: which others are faithful on a GPU of other machines cannot be measured
    measuring = Measuring(request.device, weights.root / "engines", watching().step)
    return best_choice(spec, lambda: weights.load(spec.weights.sha256), offered, measuring)


def _is_here(device: str) -> bool:
    """Whether a device is one of this machine."""
    return device == "cpu" or has_gpu()


def _stored_choice(spec: ExtractorSpec, store: FeatureStore) -> Choice | None:
    """How this network with these parameters made embeddings of the store, or those that its heads know."""
    recipe = _recipe_in(store, spec)
    if recipe is None or recipe["weights"].get("sha256") != spec.weights.sha256:
        return None
    # A recipe holds what differs from a spec's defaults.
    return Choice(recipe.get("engine", "torch"), recipe.get("precision", "float32"))


def _stored_type(spec: ExtractorSpec, store: FeatureStore | None) -> Stored:
    """The type that the network's embeddings are stored in, whatever its parameters were; float32 if there are none."""
    recipe = _recipe_in(store, spec) if store is not None else None
    return recipe.get("stored", "float32") if recipe else "float32"


def _recipe_in(store: FeatureStore, spec: ExtractorSpec) -> Mapping[str, Any] | None:
    """The recipe of a network by its first embedding in a store; without any, by an imported head that needs it."""
    addresses = store.addresses("visual" if spec.SENSE == "face" else "audio")
    first = next((address for address in addresses if address.producer == spec.name), None)
    if first is not None:
        recipe: Mapping[str, Any] = store.get(first).recipe["extractor"]
        return recipe
    needed = (network for head in store.records("head") for network in head.made.get(NETWORKS, ()))
    return next((network for network in needed if network["name"] == spec.name), None)


def chosen_device(name: str) -> str:
    """The device to work on.

    Raises:
        SpecError: CUDA was asked for and there is none.
    """
    if name == "cpu":
        return "cpu"
    available = has_gpu()
    if name == "cuda" and not available:
        raise SpecError("The device cuda was asked for, but torch finds no GPU here. Use --device cpu or auto.")
    return "cuda" if available else "cpu"
