"""Which parameters an extractor runs with: those that are on this machine, or untrained ones of its own making."""

from __future__ import annotations

from affstore.models.extractor_specs import WeightsRef
from affstore.models.extractors import registry
from affstore.models.weights.folder import WeightsFolder
from affstore.models.weights.untrained import SEED, UntrainedRecipe
from affstore.store.contract.errors import SpecError


def resolve_weights(folder: WeightsFolder, ref: WeightsRef, untrained: bool = False) -> WeightsRef:
    """Fill in which parameters a name stands for on this machine; torch is imported only to make untrained ones.

    Args:
        folder: where parameters are kept.
        ref: the name of an entry, with or without a digest.
        untrained: take seeded, untrained parameters, made on first use.

    Raises:
        WeightsMissingError: they are not here; the message says what to type.
        WeightsError: nobody accepted their licence.
    """
    if not untrained or ref.sha256:
        return folder.resolve(ref, registry.entry_of(ref.name))
    recipe = recipe_of(ref.name, SEED)
    return folder.resolve_untrained(ref, recipe, lambda: registry.untrained(recipe.extractor, SEED))


def recipe_of(weights: str, seed: int) -> UntrainedRecipe:
    """How the untrained parameters for an entry are made: by the first extractor, by name, that runs with it.

    Raises:
        SpecError: no extractor does.
    """
    names = [weights] if "/" in weights else registry.names()
    users = [spec for spec in map(registry.spec_of, names) if spec.weights.name == weights]
    if not users:
        raise SpecError(f"No extractor runs with the weights '{weights}', so there is nothing to draw for them.")
    return UntrainedRecipe(users[0], seed)
