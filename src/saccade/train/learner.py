"""What one step does, and everything that it changes, which is everything that a checkpoint holds."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from saccade.errors import TrainingError
from saccade.train.average import Average
from saccade.train.checkpoint import check_config, load_checkpoint
from saccade.train.config import PRECISIONS, TrainConfig, TrainReport
from saccade.train.optimiser import adamw, frozen_modules, learning_rate_share

PATIENCE = 20
"""So many steps in a row that are not finite end the run."""

Loss = Callable[[nn.Module, Any], tuple[Tensor, dict[str, float]]]
"""(model, batch) -> (the scalar to descend, its parts for the log)."""


@dataclass(frozen=True)
class Step:
    """What the learner says of a step; ``step`` counts from 1."""

    step: int
    loss: float
    parts: dict[str, float]
    learning_rate: float
    skipped: bool


class Learner:
    """Everything that a step changes, which is everything that a checkpoint holds."""

    def __init__(self, model: nn.Module, config: TrainConfig, device: torch.device) -> None:
        self.config = config
        self.device = device
        self.model = model.to(device).train()
        self.optimiser = adamw(model, config.learning_rate, config.weight_decay, config.scales)
        for module in frozen_modules(model, config.scales):
            module.eval()
        scaled = config.precision == "fp16" and device.type == "cuda"
        self.scaler = torch.amp.GradScaler("cuda", enabled=scaled)
        self.average = None if config.ema_decay is None else Average(model, config.ema_decay)
        self.step = 0
        self.skipped = 0
        self.skipped_in_a_row = 0
        self.losses: list[float] = []
        self.evaluations: list[tuple[int, dict[str, float]]] = []
        self.seconds_before = 0.0
        self.is_whole = True

    def learn(self, loss_of: Loss, batch: Any) -> Step:
        """Take one step; one that is not finite changes nothing but the counts, one that raises nothing at all."""
        config = self.config
        share = learning_rate_share(self.step, config.steps, config.warmup_steps, config.final_share)
        for group in self.optimiser.param_groups:
            group["lr"] = config.learning_rate * share * group["scale"]
        buffers = {name: value.detach().clone() for name, value in self.model.named_buffers()}
        try:
            loss, parts = self._backward(loss_of, batch)
        except Exception:
            self._put_back(buffers)
            raise
        self.is_whole = False
        taken = math.isfinite(loss) and self._descend()
        if not taken:
            self._put_back(buffers)
        elif self.average is not None:
            self.average.update(self.model)
        self.step += 1
        self.losses.append(loss)
        self.skipped += not taken
        self.skipped_in_a_row = 0 if taken else self.skipped_in_a_row + 1
        self.is_whole = True
        if self.skipped_in_a_row >= PATIENCE:
            raise TrainingError(
                f"loss or gradients of {PATIENCE} steps in a row were not finite, the last at step {self.step}; the "
                "weights from before them are kept in the checkpoint. Lower the learning rate, clip the gradients, or "
                "train in fp32 or bf16, in another folder"
            )
        return Step(self.step, loss, parts, config.learning_rate * share, not taken)

    def contents(self, seconds: float) -> dict[str, Any]:
        """What a checkpoint holds; ``seconds`` were spent since the last one was read."""
        return {
            "config": self._plain_config(),
            "step": self.step,
            "skipped": self.skipped,
            "skipped_in_a_row": self.skipped_in_a_row,
            "losses": torch.tensor(self.losses, dtype=torch.float64),
            "evaluations": self.evaluations,
            "seconds": self.seconds_before + seconds,
            "model": self.model.state_dict(),
            "ema": None if self.average is None else self.average.weights,
            "ema_updates": 0 if self.average is None else self.average.updates,
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def restore(self, path: Path) -> None:
        """Become what the checkpoint at ``path`` holds."""
        saved = load_checkpoint(path)
        check_config(path, saved["config"], self._plain_config())
        try:
            self.model.load_state_dict(saved["model"])
            self.optimiser.load_state_dict(saved["optimiser"])
        except (RuntimeError, ValueError) as error:
            raise TrainingError(f"{path} is of another model; train in another folder: {error}") from error
        if self.average is not None:
            self.average.restore(saved["ema"], saved["ema_updates"])
        if saved["scaler"] and self.scaler.is_enabled():
            self.scaler.load_state_dict(saved["scaler"])
        self.step, self.seconds_before = saved["step"], saved["seconds"]
        self.skipped, self.skipped_in_a_row = saved["skipped"], saved["skipped_in_a_row"]
        self.losses, self.evaluations = saved["losses"].tolist(), saved["evaluations"]

    def report(self, seconds: float) -> TrainReport:
        """The run so far, after a call of so many seconds."""
        return TrainReport(
            steps=self.step,
            finished=self.step == self.config.steps,
            seconds=seconds,
            total_seconds=self.seconds_before + seconds,
            model=self.model,
            ema=None if self.average is None else self.average.weights,
            loss=self.losses[-1] if self.losses else None,
            skipped=self.skipped,
            evaluations=tuple(self.evaluations),
        )

    def seed(self) -> None:
        """Seed torch's global generators for what comes at this step."""
        torch.manual_seed(int(np.random.SeedSequence([self.config.seed, self.step]).generate_state(1, np.uint64)[0]))

    def _backward(self, loss_of: Loss, batch: Any) -> tuple[float, dict[str, float]]:
        self.seed()
        self.optimiser.zero_grad()
        precision = PRECISIONS[self.config.precision]
        with torch.autocast(self.device.type, precision, enabled=precision != torch.float32):
            loss, parts = loss_of(self.model, _moved(batch, self.device))
        value = loss.item()
        if math.isfinite(value):
            torch.autograd.backward(self.scaler.scale(loss))
        return value, {name: float(part) for name, part in parts.items()}

    def _descend(self) -> bool:
        """Follow the gradients, unless they are not finite; whether it did."""
        self.scaler.unscale_(self.optimiser)
        parameters = [parameter for group in self.optimiser.param_groups for parameter in group["params"]]
        norm = get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
        is_finite = bool(norm.isfinite())
        if is_finite:
            if self.config.clip_norm is not None:
                clip_grads_with_norm_(parameters, self.config.clip_norm, norm)
            self.scaler.step(self.optimiser)
        self.scaler.update()
        return is_finite

    @torch.no_grad()
    def _put_back(self, buffers: dict[str, Tensor]) -> None:
        for name, value in self.model.named_buffers():
            value.copy_(buffers[name])

    def _plain_config(self) -> dict[str, Any]:
        config = {**vars(self.config), "scales": dict(self.config.scales)}
        plain: dict[str, Any] = json.loads(json.dumps(config))
        return plain


def _moved(batch: Any, device: torch.device) -> Any:
    """``batch`` with its tensors on ``device``, those within dicts, lists and tuples too."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, dict):
        return {key: _moved(value, device) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(_moved(value, device) for value in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(_moved(value, device) for value in batch)
    return batch
