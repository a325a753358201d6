"""A face network cut into stages, so that an engine can run some of them in another precision than the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from affstore.store.contract.errors import SpecError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Staged:
    """A face network as a chain.

    Attributes:
        stages: from normalised pictures `(n, 3, size, size)`, one after the other, to the embedding `(n, width)`.
        classifier: from the embedding to the outputs `(n, outputs)`: logits, then valence and arousal where it has
            them; None of a network that gives an embedding alone.
        width: of the embedding.
    """

    stages: Sequence[Callable[[Tensor], Tensor]]
    classifier: nn.Linear | None
    width: int

    def run(self, pictures: Tensor, begin: int = 0, end: int | None = None) -> Tensor:
        """Some of the stages, by default all of them."""
        for stage in self.stages[begin:end]:
            pictures = stage(pictures)
        return pictures

    def trainable_classifier(self) -> nn.Linear:
        """The classifier.

        Raises:
            SpecError: the network has none, so it cannot be fine-tuned as the papers do.
        """
        if self.classifier is None:
            raise SpecError("This network has no classifier to fine-tune. Train another kind of head on its embedding.")
        return self.classifier

    def with_outputs(self, embedding: Tensor) -> Tensor:
        """Embedding and outputs side by side, `(n, width + outputs)`."""
        import torch

        return embedding if self.classifier is None else torch.cat([embedding, self.classifier(embedding)], 1)


def chain(*layers: torch.nn.Module) -> Callable[[Tensor], Tensor]:
    """Layers as one stage; their parameters keep the names they have in the network."""

    def run(pictures: Tensor) -> Tensor:
        for layer in layers:
            pictures = layer(pictures)
        return pictures

    return run
