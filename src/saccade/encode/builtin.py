"""The built-in frame encoder: an image tower in ONNX, and a text head in NumPy over the sentence encoder.

A folder holds ``tower.onnx`` (uint8 images (T, S, S, 3) to ``embedding`` (T, D) and the last ``map`` (T, C, h, w))
and ``text.npz`` (the heads' matrices and ``config``), beside a model card and a notice; SHA256SUMS, where it lies
there, is checked. The package carries one such folder; recipes/builtin.py makes others. Searching by words needs
the matrices alone, and so imports no ONNX Runtime.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from saccade.errors import InputError, WeightsError
from saccade.weights import checked_file, sha256_of

if TYPE_CHECKING:
    from saccade.encode.onnx import Tower

FOLDER = Path(__file__).parent / "builtin_model"
"""Where the model that comes with the package lies."""

TOWER, TEXT, SUMS = "tower.onnx", "text.npz", "SHA256SUMS"
MODEL_CARD, NOTICE = "MODEL_CARD.md", "NOTICE.md"

Vectors = npt.NDArray[np.float32]


def is_builtin_layout(folder: Path) -> bool:
    """Whether a folder holds a model of the built-in's kind."""
    return (folder / TOWER).is_file() and (folder / TEXT).is_file()


class BuiltinEncoder:
    """Frames and sentences in one space; see FrameEncoder. Safe to use from several threads.

    ``folder`` holds a model of this layout, by default the package's. ``threads``, ``providers`` and ``batch`` are as
    ``load_encoder`` has them. Raises WeightsError where a file is missing or is not what it should be.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        threads: int = 0,
        providers: Sequence[str] | None = None,
        batch: int = 1,
    ) -> None:
        folder = folder or FOLDER
        if batch < 1 or threads < 0:
            raise InputError(f"batch is at least 1 and threads at least 0, got {batch} and {threads}")
        self.folder = folder
        self.batch = batch
        self.name = f"{'saccade-builtin' if folder == FOLDER else folder.name}@{_revision(folder)}"
        self._threads = threads
        self._providers = providers
        self._arrays = _read_arrays(folder / TEXT)
        self.dim = self._arrays["w2"].shape[1]

    def encode_frames(self, images: npt.NDArray[np.uint8]) -> Vectors:
        """uint8 (T, H, W, 3), RGB, of any size, to float32 (T, dim), each row of length 1."""
        from saccade.encode.onnx import unit_rows

        if len(images) == 0:
            return np.zeros((0, self.dim), np.float32)
        return unit_rows(self._run("embedding", images), self._tower.path)

    def encode_text(self, texts: Sequence[str]) -> Vectors:
        """Sentences, in any language of the sentence encoder, to float32 (L, dim), each row of length 1."""
        if not texts:
            return np.zeros((0, self.dim), np.float32)
        from saccade.encode.text import sentence_encoder
        from saccade.encode.text_features import text_features

        found = self._text_head(text_features(texts, sentence_encoder()))
        return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), np.float32)

    def unknown_words(self, text: str) -> list[str]:
        """The words of a text that are far from all that the image tower was trained on, in any language."""
        from saccade.encode.known import KnownWords
        from saccade.encode.text import sentence_encoder
        from saccade.encode.text_features import content_words

        words = content_words(text) if "known_words" in self._arrays else []
        return KnownWords(self._arrays).unknown(words, sentence_encoder().encode(words)) if words else []

    def patch_tokens(self, images: npt.NDArray[np.uint8]) -> Vectors:
        """uint8 (T, H, W, 3), T at least 1, to float32 (T, N, dim): the places of the last map, row by row.

        Each is what a frame would be that looks like this place all over, before it is normalised.
        """
        if len(images) == 0:
            raise InputError("patch tokens need at least one frame")
        maps = self._run("map", images)
        places = maps.reshape(*maps.shape[:2], -1).transpose(0, 2, 1)
        return np.asarray(places @ self._arrays["image_w"] + self._arrays["image_b"], np.float32)

    def _run(self, output: str, images: npt.NDArray[np.uint8]) -> Vectors:
        """One output of the tower for all frames. Each core takes frames of its own, so that none waits for another."""
        from saccade.encode.prepare import check_frames

        check_frames(images)
        parts = [images[begin : begin + self.batch] for begin in range(0, len(images), self.batch)]
        return np.concatenate(list(self._pool.map(partial(self._run_part, self._tower, output), parts)))

    def _run_part(self, tower: Tower, output: str, images: npt.NDArray[np.uint8]) -> Vectors:
        return tower.run(output, {"images": np.stack([self._squashed(image) for image in images])})

    def _squashed(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The whole frame (H, W, 3) as a square, whatever its shape; scaled down without aliasing."""
        from PIL import Image

        return np.asarray(Image.fromarray(image).resize((self._side, self._side), Image.Resampling.BILINEAR))

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        from saccade.encode.prepare import cores

        return ThreadPoolExecutor(self._threads or cores(), thread_name_prefix="saccade-frames")

    @cached_property
    def _tower(self) -> Tower:
        from saccade.encode.onnx import Tower, available_providers

        providers = available_providers(self._providers)
        return Tower(self.folder / TOWER, ("embedding",), 1, providers)

    @cached_property
    def _side(self) -> int:
        taken = self._tower.inputs.get("images")
        shape: list[Any] = list(taken.shape) if taken is not None else []
        if len(shape) != 4 or shape[1] != shape[2] or not isinstance(shape[1], int):
            raise WeightsError(f"{self._tower.path} takes no square images (T, S, S, 3)")
        return shape[1]

    def _text_head(self, features: Vectors) -> Vectors:
        """float32 (L, F) to (L, D): one hidden layer."""
        arrays = self._arrays
        return np.asarray(_gelu(features @ arrays["w1"] + arrays["b1"]) @ arrays["w2"] + arrays["b2"], np.float32)


def _gelu(x: Vectors) -> Vectors:
    """The tanh form, as torch has it: arXiv 1606.08415."""
    return np.asarray(0.5 * x * (1 + np.tanh(0.7978845608 * (x + 0.044715 * x**3))), np.float32)


def _revision(folder: Path) -> str:
    """Eight hex digits that change with a byte of the model; WeightsError where a file is not what it should be."""
    expected = _sums(folder)
    for name in (TOWER, TEXT):
        path = folder / name
        if not path.is_file():
            raise WeightsError(f"{folder} is incomplete: it has no {name}; install saccade again")
        if name in expected:
            checked_file(path, expected[name])
    digests = "".join(sha256_of(folder / name) for name in (TOWER, TEXT))
    return hashlib.sha256(digests.encode()).hexdigest()[:8]


def _sums(folder: Path) -> dict[str, str]:
    """File name -> sha256, as ``sha256sum`` writes them; empty where nothing is written down."""
    path = folder / SUMS
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    found = [line.split() for line in lines if line.strip()]
    if any(len(line) != 2 for line in found):
        raise WeightsError(f"{path} holds lines that are not a sha256 and a file name; install saccade again")
    return {name.lstrip("*"): digest for digest, name in found}


def _read_arrays(path: Path) -> dict[str, Vectors]:
    """The floating-point arrays of a text.npz, widened; every other as it lies."""
    try:
        with np.load(path, allow_pickle=False) as file:
            stored = {name: file[name] for name in file.files}
        config: dict[str, Any] = json.loads(str(stored.pop("config")))
        missing = {"w1", "b1", "w2", "b2", "image_w", "image_b"} - set(stored)
    except (OSError, EOFError, zipfile.BadZipFile, ValueError, KeyError) as error:
        raise WeightsError(f"{path} cannot be read: {error}; install saccade again") from error
    if missing or config.get("activation") != "gelu":
        lacking = ", ".join(sorted(missing)) or "a known activation"
        raise WeightsError(f"{path} lacks {lacking}: it was made for another saccade")
    return {name: a.astype(np.float32) if a.dtype == np.float16 else a for name, a in stored.items()}
