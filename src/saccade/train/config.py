"""What a run is told and what it tells: its configuration, a line for each step, and the report at the end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from saccade.errors import InputError

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class TrainConfig:
    """How to train; stored in the checkpoint, which no other configuration can go on from.

    ``scales`` maps a prefix of parameter names, whole components such as ``"tower.blocks.0"``, to a factor on the
    learning rate; the longest prefix counts. 0 freezes: no gradient, and a module that is frozen as a whole stays in
    evaluation mode, so that its running statistics stand still and nothing in it drops out.

    ``clip_norm`` is the greatest norm of all gradients together. ``ema_decay`` warms up as (1 + t) / (10 + t).
    ``precision`` is that of autocast: ``fp32`` (none), ``bf16`` or ``fp16``, on CUDA with a scaled loss.
    """

    steps: int
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    final_share: float = 0.01
    weight_decay: float = 0.05
    scales: Mapping[str, float] = field(default_factory=dict)
    clip_norm: float | None = 1.0
    ema_decay: float | None = 0.999
    precision: str = "fp32"
    seed: int = 0

    def __post_init__(self) -> None:
        check(self.steps >= 1, f"steps must be at least 1, not {self.steps}")
        check(0 < self.learning_rate < math.inf, f"learning_rate must be more than 0, not {self.learning_rate}")
        below = 0 <= self.warmup_steps < self.steps
        check(below, f"warmup_steps must lie in 0 … steps − 1 = {self.steps - 1}, not {self.warmup_steps}")
        check(0 <= self.final_share <= 1, f"final_share must lie in 0 … 1, not {self.final_share}")
        check(0 <= self.weight_decay < math.inf, f"weight_decay must be at least 0, not {self.weight_decay}")
        for prefix, scale in self.scales.items():
            check(0 <= scale < math.inf, f"scales: the factor of {prefix!r} must be at least 0, not {scale}")
        check(self.clip_norm is None or self.clip_norm > 0, f"clip_norm must be more than 0, not {self.clip_norm}")
        check(self.ema_decay is None or 0 <= self.ema_decay < 1, f"ema_decay must lie in [0, 1), not {self.ema_decay}")
        check(self.precision in PRECISIONS, f"precision must be fp32, bf16 or fp16, not {self.precision!r}")
        check(self.seed >= 0, f"seed must be at least 0, not {self.seed}")


@dataclass(frozen=True)
class StepReport:
    """One step: ``step`` of ``steps``, the first is 1; ``seconds_per_step`` is a running mean.

    ``skipped``: the loss or the gradients were not finite, and the weights stayed as they were.
    """

    step: int
    steps: int
    loss: float
    parts: dict[str, float]
    learning_rate: float
    seconds_per_step: float
    eta_seconds: float
    skipped: bool


@dataclass(frozen=True)
class TrainReport:
    """What a run came to. ``finished`` is False where a time limit or SIGTERM ended it; calling again goes on.

    ``seconds`` counts this call, ``total_seconds`` all calls of the run. ``ema`` is the averaged state dict, to be
    preferred to the weights of ``model`` where there is one. ``evaluations`` are (step, what ``evaluate`` returned).
    """

    steps: int
    finished: bool
    seconds: float
    total_seconds: float
    model: nn.Module
    ema: dict[str, Tensor] | None
    loss: float | None
    skipped: int
    evaluations: tuple[tuple[int, dict[str, float]], ...]


def check(holds: bool, message: str) -> None:
    """Raise InputError with ``message`` unless it holds."""
    if not holds:
        raise InputError(message)
