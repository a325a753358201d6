"""Sharpness-aware minimisation (Foret et al., 2021, arXiv:2010.01412) around another optimiser. Imports torch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_LEAST_NORM = 1e-12


class SharpnessAware:
    """Steps by the gradient at the worst point nearby: `rho` away, where the loss rises fastest.

    Attributes:
        optimiser: what steps, and holds the parameters and all state.
    """

    def __init__(self, optimiser: torch.optim.Optimizer, rho: float) -> None:
        """Wrap an optimiser; with a `rho` of 0 it steps as it would alone."""
        self.optimiser = optimiser
        self._rho = rho

    def step(self, loss: Callable[[], Tensor]) -> float:
        """One step of the wrapped optimiser.

        Args:
            loss: computes the loss of a batch at today's parameters; called twice, once without `rho`. So running
                statistics of batch norms see a batch twice, too.

        Returns:
            The loss before the step.
        """
        found = self._differentiate(loss)
        if self._rho:
            originals = self._climb()
            self._differentiate(loss)
            with torch.no_grad():
                for parameter, value in originals:
                    parameter.copy_(value)
        self.optimiser.step()
        return found

    def _differentiate(self, loss: Callable[[], Tensor]) -> float:
        self.optimiser.zero_grad()
        found = loss()
        found.backward()  # type: ignore[no-untyped-call]
        return float(found.detach())

    def _climb(self) -> list[tuple[Tensor, Tensor]]:
        """Go `rho` along the gradient of all parameters together; each parameter, and what it was."""
        moved = [(p, p.grad) for group in self.optimiser.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(gradient) for _, gradient in moved]))
        originals = [(parameter, parameter.detach().clone()) for parameter, _ in moved]
        with torch.no_grad():
            for parameter, gradient in moved:
                parameter.add_(gradient * (self._rho / (norm + _LEAST_NORM)))
        return originals
