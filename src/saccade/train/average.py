"""The exponential moving average of a model's weights, and a model that wears other weights for a while."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """The moving average of a model's parameters, in at least single precision; buffers are copied, not averaged.

    Early on the average forgets faster: after ``updates`` updates the decay is the lesser of ``decay`` and
    (1 + updates) / (10 + updates).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self._averaged = {name for name, _ in model.named_parameters(remove_duplicate=False)}
        self.weights: dict[str, Tensor] = {name: _kept(value) for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take the model's present weights in."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for name, value in model.state_dict().items():
            if name in self._averaged and value.is_floating_point():
                self.weights[name].lerp_(value.to(self.weights[name].dtype), 1 - decay)
            else:
                self.weights[name].copy_(value)

    def restore(self, weights: Mapping[str, Tensor], updates: int) -> None:
        """Go on from saved weights and the number of updates that made them."""
        self.updates = updates
        for name, value in weights.items():
            self.weights[name].copy_(value)


@contextmanager
def wearing(model: nn.Module, weights: Mapping[str, Tensor] | None) -> Iterator[None]:
    """Within, the model has these weights (None: its own) and is in evaluation mode; afterwards it is as before."""
    own = {name: value.detach().clone() for name, value in model.state_dict().items()} if weights is not None else None
    with modes_kept(model):
        try:
            if weights is not None:
                model.load_state_dict(weights)
            model.eval()
            yield
        finally:
            if own is not None:
                model.load_state_dict(own)


@contextmanager
def modes_kept(model: nn.Module) -> Iterator[None]:
    """Afterwards each module is in training or evaluation mode as it was before."""
    modes = {module: module.training for module in model.modules()}
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def _kept(value: Tensor) -> Tensor:
    """A copy to average into: a small share of a difference would vanish in half precision."""
    value = value.detach().clone()
    return value.float() if value.is_floating_point() and value.element_size() < 4 else value
