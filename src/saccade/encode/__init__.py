"""Frames and text to vectors. Every vector is stored beside its encoder's ``name@revision``; two never mix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from saccade.encode.text import SentenceEncoder

__all__ = ["FrameEncoder", "load_encoder", "sentence_encoder"]


class FrameEncoder(Protocol):
    """Frames and sentences to vectors of one space, in which a dot product is likeness."""

    @property
    def name(self) -> str:
        """``name@revision``."""
        ...

    @property
    def dim(self) -> int:
        """Length of the vectors."""
        ...

    def encode_frames(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """uint8 (T, H, W, 3), RGB, to float32 (T, dim), each row of length 1."""
        ...

    def encode_text(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Sentences to float32 (L, dim), each row of length 1."""
        ...


def load_encoder(
    name_or_folder: str,
    *,
    threads: int = 0,
    providers: Sequence[str] | None = None,
    int8: bool = False,
    download: bool = False,
    batch: int = 16,
) -> FrameEncoder:
    """The frame encoder in a folder, or of a hub id (``owner/name``, ``owner/name@revision``), in the hub's layout.

    threads: 0 takes the machine's cores. providers: ONNX Runtime's execution providers in order of choice, the
    CPU by default. int8: take the quantised files. download: whether the hub may be asked for what is missing.
    batch: frames that go through the model at once. Raises WeightsError, saying which file is missing.
    """
    from saccade.encode.onnx import OnnxEncoder

    return OnnxEncoder.load(
        name_or_folder, threads=threads, providers=providers, int8=int8, download=download, batch=batch
    )


def sentence_encoder() -> SentenceEncoder:
    """The multilingual sentence encoder: ``encode(texts)`` gives float32 (L, 512); loaded once a process."""
    from saccade.encode.text import sentence_encoder as load

    return load()
