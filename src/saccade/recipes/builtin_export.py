"""A trained built-in encoder as the files that the package carries: the tower in ONNX, the heads as NumPy matrices.

Weights are stored as float16 and widened when they are loaded: the arithmetic stays float32. What the files make of
photographs is compared with what the model made of them before anything is said to be done.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from saccade.encode.builtin import SUMS, TEXT, TOWER, BuiltinEncoder
from saccade.errors import WeightsError
from saccade.recipes.builtin_model import Eye, Meeting, TextHead
from saccade.recipes.photographs import Photographs
from saccade.recipes.vocabulary import known_words
from saccade.weights import replacing, sha256_of

LEAST_COSINE = 0.999
"""What the files make of a photograph or text must be this near to what the model makes of it."""

_SMALL = 256
"""Tensors of fewer elements stay float32: nothing is saved on them."""


@dataclass(frozen=True)
class ExportReport:
    """Bytes of all files, and the lowest cosine of files against model, over photographs and over texts."""

    size: int
    least_image_cosine: float
    least_text_cosine: float


def export(
    model: Meeting, packed: Photographs, folder: Path, *, side: int, pairs: Sequence[tuple[str, str]]
) -> ExportReport:
    """Writes the model into ``folder``, made for squares of ``side`` pixels, with the words that it was taught.

    Raises WeightsError where the files do not do what the model does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.eval()
    eye, text = cast(Eye, model.image_side), cast(TextHead, model.text_side)
    _write_tower(_Exported(eye), side, folder / TOWER)
    _write_text(eye, text, packed, pairs, folder / TEXT)
    (folder / SUMS).write_text("".join(f"{sha256_of(folder / name)}  {name}\n" for name in (TOWER, TEXT)))
    return _checked(model, packed, folder, side)


class _Exported(nn.Module):
    """uint8 (T, S, S, 3) to the frames' vectors (T, D), of length 1, and the last map (T, C, h, w)."""

    def __init__(self, eye: Eye) -> None:
        super().__init__()
        self.eye = eye

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        last = self.eye.map(images.float())
        return functional.normalize(self.eye.head(last.mean(dim=(2, 3))), dim=-1), last


def _write_tower(exported: nn.Module, side: int, path: Path) -> None:
    sample = torch.zeros(2, side, side, 3, dtype=torch.uint8)
    with replacing(path) as scratch:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter's own making
            torch.onnx.export(
                exported.float(),
                (sample,),
                str(scratch),
                input_names=["images"],
                output_names=["embedding", "map"],
                dynamic_axes={name: {0: "frames"} for name in ("images", "embedding", "map")},
                opset_version=17,
                dynamo=False,
            )
        graph = onnx.load(str(scratch))
        halve(graph)
        onnx.save(graph, str(scratch))


def halve(model: onnx.ModelProto) -> None:
    """Stores large float32 tensors as float16, each widened by a node that the runtime folds away on loading."""
    kept, casts = [], []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < _SMALL:
            kept.append(tensor)
            continue
        narrow = f"{tensor.name}.half"
        kept.append(numpy_helper.from_array(values.astype(np.float16), narrow))
        casts.append(helper.make_node("Cast", [narrow], [tensor.name], to=TensorProto.FLOAT))
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _write_text(eye: Eye, text: TextHead, packed: Photographs, pairs: Sequence[tuple[str, str]], path: Path) -> None:
    trained = [packed.rows[index] for index in packed.split(test=False)]
    arrays = {
        "w1": text.hidden.weight.T,
        "b1": text.hidden.bias,
        "w2": text.out.weight.T,
        "b2": text.out.bias,
        "image_w": eye.head.weight.T,
        "image_b": eye.head.bias,
    }
    stored: dict[str, Any] = {name: array.detach().numpy().astype(np.float16) for name, array in arrays.items()}
    captions = [caption for row in trained for caption in row.captions]
    stored |= known_words(captions, [label for row in trained for label in row.labels], pairs)
    with replacing(path) as scratch, scratch.open("wb") as file:
        np.savez_compressed(file, config=np.array(json.dumps({"activation": "gelu"})), **stored)


@torch.no_grad()
def _checked(model: Meeting, packed: Photographs, folder: Path, side: int) -> ExportReport:
    encoder = BuiltinEncoder(folder)
    rows = packed.split(test=True)[::20]
    squares = np.stack([packed.square(index, side) for index in rows])
    seen = model.see(torch.from_numpy(squares).float()).numpy()
    images = float((encoder.encode_frames(squares) * seen).sum(axis=1).min())
    texts = [packed.rows[index].texts[0] for index in rows]
    read = model.read(torch.from_numpy(packed.features_of(texts))).numpy()
    sentences = float((encoder.encode_text(texts) * read).sum(axis=1).min())
    if min(images, sentences) < LEAST_COSINE:
        raise WeightsError(f"{folder} does not do what the model does: cosines {images:.4f} and {sentences:.4f}")
    return ExportReport(sum(path.stat().st_size for path in folder.iterdir()), images, sentences)
