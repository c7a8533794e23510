"""AdamW in parameter groups, and the learning rate of each step: linear warm-up, then half a cosine."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.optim import AdamW

from saccade.errors import InputError

_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def learning_rate_share(step: int, steps: int, warmup_steps: int, final_share: float) -> float:
    """The share of the full learning rate that step ``step`` of 0 … ``steps`` − 1 is taken with.

    It rises linearly over the first ``warmup_steps`` steps, is 1 at the next, and ``final_share`` at the last.

    >>> [round(learning_rate_share(step, 7, 2, 0.1), 3) for step in range(7)]
    [0.5, 1.0, 1.0, 0.868, 0.55, 0.232, 0.1]
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    way = (step - warmup_steps) / max(1, steps - 1 - warmup_steps)
    return final_share + (1 - final_share) * (1 + math.cos(math.pi * way)) / 2


def adamw(model: nn.Module, learning_rate: float, weight_decay: float, scales: Mapping[str, float]) -> AdamW:
    """AdamW over the trainable parameters of ``model``, one group for each learning rate and each weight decay.

    Biases, norms and parameters of fewer than two dimensions do not decay. A group's key ``scale`` is its factor on
    the learning rate. ``scales`` is as in ``TrainConfig``; a factor of 0 takes ``requires_grad`` from its parameters.

    Raises InputError where a prefix of ``scales`` names nothing, or nothing is left to train.
    """
    _check_prefixes(model, scales)
    spared = _without_decay(model)
    groups: dict[tuple[float, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        scale = scale_of(name, scales)
        parameter.requires_grad_(parameter.requires_grad and scale > 0)
        if not parameter.requires_grad:
            continue
        decay = 0.0 if name in spared else weight_decay
        group = {"params": [], "lr": learning_rate * scale, "weight_decay": decay, "scale": scale}
        groups.setdefault((scale, name in spared), group)["params"].append(parameter)
    if not groups:
        raise InputError("the model has no parameter left to train: each one is frozen")
    return AdamW(list(groups.values()), lr=learning_rate, weight_decay=weight_decay)


def scale_of(name: str, scales: Mapping[str, float]) -> float:
    """The factor of the longest prefix that ``name`` lies under, whole components only; 1 where there is none.

    >>> scale_of("tower.blocks.12.weight", {"tower": 0.5, "tower.blocks.1": 0.0})
    0.5
    """
    under = [prefix for prefix in scales if _lies_under(name, prefix)]
    return scales[max(under, key=len)] if under else 1.0


def frozen_modules(model: nn.Module, scales: Mapping[str, float]) -> list[nn.Module]:
    """The modules of which ``scales`` freezes each parameter, their own and those of their children."""
    frozen = []
    for name, module in model.named_modules():
        path = f"{name}." if name else ""
        names = [path + parameter for parameter, _ in module.named_parameters()]
        if names and all(scale_of(parameter, scales) == 0 for parameter in names):
            frozen.append(module)
    return frozen


def _lies_under(name: str, prefix: str) -> bool:
    prefix = prefix.rstrip(".")
    return not prefix or name == prefix or name.startswith(f"{prefix}.")


def _check_prefixes(model: nn.Module, scales: Mapping[str, float]) -> None:
    names = [name for name, _ in model.named_parameters()]
    for prefix in scales:
        if not any(_lies_under(name, prefix) for name in names):
            parts = ", ".join(sorted({name.partition(".")[0] for name in names}))
            raise InputError(f"scales: no parameter lies under {prefix!r}; the model's own parts are {parts}")


def _without_decay(model: nn.Module) -> set[str]:
    names = set()
    for path, module in model.named_modules():
        for name, parameter in module.named_parameters(path, recurse=False):
            if parameter.ndim < 2 or name.endswith("bias") or isinstance(module, _NORMS):
                names.add(name)
    return names
