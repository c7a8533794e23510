"""The training loop of every recipe: a model, a loss and a batch for each step in; resumable, bit-exact runs out."""

from __future__ import annotations

from saccade.train.checkpoint import CHECKPOINT, saved_weights
from saccade.train.config import StepReport, TrainConfig, TrainReport
from saccade.train.loop import train

__all__ = ["CHECKPOINT", "StepReport", "TrainConfig", "TrainReport", "saved_weights", "train"]
