"""A model in the built-in encoder's layout with weights of chance, for tests: 32 px, 12 channels, 16 dimensions.

Needs the package onnx.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save_model

SIDE, CHANNELS, DIM = 32, 12, 16


def tiny_builtin(folder: Path, features: int, *, seed: int = 0) -> Path:
    """Writes the model; ``features`` is how long the text features are."""
    rng = np.random.default_rng(seed)
    arrays = {
        "w1": rng.normal(size=(features, 8)) / features**0.5,
        "b1": rng.normal(size=8),
        "w2": rng.normal(size=(8, DIM)),
        "b2": rng.normal(size=DIM),
        "image_w": rng.normal(size=(CHANNELS, DIM)),
        "image_b": rng.normal(size=DIM),
    }
    stored = {name: array.astype(np.float16) for name, array in arrays.items()}
    folder.mkdir(parents=True)
    np.savez(folder / "text.npz", config=json.dumps({"activation": "gelu"}), **stored)
    kernel = (rng.normal(size=(CHANNELS, 3, 8, 8)) / 8).astype(np.float16)
    save_model(_tower(kernel, stored["image_w"], stored["image_b"]), folder / "tower.onnx")
    (folder / "NOTICE.md").write_text("Weights of chance.\n")
    write_sums(folder)
    return folder


def write_sums(folder: Path) -> None:
    lines = [f"{hashlib.sha256((folder / n).read_bytes()).hexdigest()}  {n}\n" for n in ("tower.onnx", "text.npz")]
    (folder / "SHA256SUMS").write_text("".join(lines))


def _tower(kernel: np.ndarray, head: np.ndarray, bias: np.ndarray):
    """Patches of 8 pixels, their mean, the head, length 1; weights in float16, widened by Cast."""
    nodes = [
        helper.make_node("Cast", ["images"], ["levels"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["levels"], ["channels_first"], perm=[0, 3, 1, 2]),
        helper.make_node("Div", ["channels_first", "white"], ["pixels"]),
        *(helper.make_node("Cast", [f"{n}_16"], [n], to=TensorProto.FLOAT) for n in ("kernel", "head", "bias")),
        helper.make_node("Conv", ["pixels", "kernel"], ["map"], strides=[8, 8]),
        helper.make_node("ReduceMean", ["map"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["mean", "head"], ["turned"]),
        helper.make_node("Add", ["turned", "bias"], ["found"]),
        helper.make_node("LpNormalization", ["found"], ["embedding"], axis=-1, p=2),
    ]
    weights = [
        numpy_helper.from_array(kernel, "kernel_16"),
        numpy_helper.from_array(head, "head_16"),
        numpy_helper.from_array(bias, "bias_16"),
        numpy_helper.from_array(np.float32(255), "white"),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", SIDE, SIDE, 3])
    outputs = [
        helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", DIM]),
        helper.make_tensor_value_info("map", TensorProto.FLOAT, ["batch", CHANNELS, SIDE // 8, SIDE // 8]),
    ]
    graph = helper.make_graph(nodes, "tower", [images], outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
