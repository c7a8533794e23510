"""The models of the built-in encoder's recipe and what they are taught by: teachers and student alike.

Softmax contrastive loss as in CLIP (arXiv 2103.00020), with texts that say the same left out; likenesses distilled as
in TinyCLIP (2309.12314); ImageNet's names; and translations that find each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from saccade.encode.efficientnet_lite import FEATURES, IMAGENET_DEVIATION, IMAGENET_MEAN, EfficientNetLite

SAME_TEXT = 0.9
"""Texts whose sentence vectors are nearer than this say the same: neither is the other photograph's negative."""


class TextHead(nn.Module):
    """Text features (L, F) to (L, D): one hidden layer."""

    def __init__(self, features: int, hidden: int, dim: int, dropout: float = 0.2) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.hidden = nn.Linear(features, hidden)
        self.out = nn.Linear(hidden, dim)

    def forward(self, features: Tensor) -> Tensor:
        inner = functional.gelu(self.hidden(self.dropout(features)), approximate="tanh")
        out: Tensor = self.out(self.dropout(inner))
        return out


class Meeting(nn.Module):
    """What every model here is: something that sees (B, D), something that reads (L, D), and a scale of likeness."""

    def __init__(self, image_side: nn.Module, text_side: nn.Module) -> None:
        super().__init__()
        self.image_side = image_side
        self.text_side = text_side
        self.log_scale = nn.Parameter(torch.tensor(math.log(25.0)))

    def see(self, images: Tensor) -> Tensor:
        """What the image side takes, B of them, to float32 (B, D), each row of length 1."""
        return functional.normalize(self.image_side(images).float(), dim=-1)

    def read(self, features: Tensor) -> Tensor:
        """Text features (L, F) to float32 (L, D), each row of length 1."""
        return functional.normalize(self.text_side(features).float(), dim=-1)

    @property
    def scale(self) -> Tensor:
        """What likenesses are multiplied with before a softmax, at most 100."""
        return self.log_scale.exp().clamp(max=100.0)


class Eye(nn.Module):
    """Images uint8 (B, S, S, 3) to (B, D): the tower, the mean of its last map, one linear layer.

    The first ``frozen_blocks`` blocks stay as they were; under training they run in bfloat16 and are not recorded.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, tower: EfficientNetLite, dim: int, frozen_blocks: int = 0) -> None:
        super().__init__()
        self.tower = tower
        self.head = nn.Linear(FEATURES, dim)
        self.frozen_blocks = frozen_blocks
        self.register_buffer("mean", 255 * torch.tensor(IMAGENET_MEAN), persistent=False)
        self.register_buffer("deviation", 255 * torch.tensor(IMAGENET_DEVIATION), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.head(self.map(images).float().mean(dim=(2, 3)))
        return out

    def map(self, images: Tensor) -> Tensor:
        """The last map (B, 1280, S / 32, S / 32)."""
        out = ((images - self.mean) / self.deviation).permute(0, 3, 1, 2)
        if not (self.training and self.frozen_blocks):
            last: Tensor = self.tower(out)
            return last
        with torch.no_grad(), torch.autocast(out.device.type, torch.bfloat16):
            out = functional.relu6(self.tower.stem(out))
            for block in self.tower.blocks[: self.frozen_blocks]:
                out = block(out)
        out = out.float()
        for block in self.tower.blocks[self.frozen_blocks :]:
            out = block(out)
        return functional.relu6(self.tower.head(out))


@dataclass(frozen=True)
class Weights:
    """How much each loss counts."""

    teachers: float = 1.0
    names: float = 0.3
    pairs: float = 0.2


def contrastive(likeness: Tensor, same: Tensor) -> Tensor:
    """Softmax both ways over scaled likenesses (B, B + extra): image i belongs to text i.

    ``same``, bool like ``likeness``: pairs that say the same, left out unless they are the pair itself.
    """
    own = torch.eye(*likeness.shape, dtype=torch.bool, device=likeness.device)
    open_ = likeness.masked_fill(same & ~own, -torch.inf)
    target = torch.arange(len(likeness), device=likeness.device)
    return (functional.cross_entropy(open_, target) + functional.cross_entropy(open_[:, : len(likeness)].T, target)) / 2


def distillation(likeness: Tensor, taught: Tensor) -> Tensor:
    """Cross entropy with the teachers' likenesses, both (B, L) and scaled, over the texts and over the images."""
    over_texts = -(taught.softmax(1) * likeness.log_softmax(1)).sum(1).mean()
    over_images = -(taught.softmax(0) * likeness.log_softmax(0)).sum(0).mean()
    return (over_texts + over_images) / 2


def meeting_loss(weights: Weights) -> Callable[[nn.Module, dict[str, Tensor]], tuple[Tensor, dict[str, float]]]:
    """The loss of teachers and student: what a batch holds is asked for, and what it lacks is not."""

    def loss(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        assert isinstance(model, Meeting)
        seen, read, scale = model.see(batch["images"]), model.read(batch["texts"]), model.scale
        likeness = scale * seen @ read.T
        sentence = batch["texts"][:, : batch["texts"].shape[1] // 2]
        same = sentence[: len(seen)] @ sentence.T > SAME_TEXT
        parts = {"captions": contrastive(likeness, same)}
        if "taught" in batch:
            parts["teachers"] = weights.teachers * distillation(likeness, batch["taught"])
        if "names" in batch:
            named = scale * seen @ model.read(batch["name_texts"]).T
            parts["names"] = weights.names * -(batch["names"] * named.log_softmax(1)).sum(1).mean()
        if "english" in batch:
            across = scale * model.read(batch["english"]) @ model.read(batch["korean"]).T
            parts["pairs"] = weights.pairs * contrastive(across, torch.zeros_like(across, dtype=torch.bool))
        return torch.stack(list(parts.values())).sum(), {name: float(part.detach()) for name, part in parts.items()}

    return loss
