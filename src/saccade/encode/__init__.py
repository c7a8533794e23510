"""Frames and text to vectors. Every vector is stored beside its encoder's ``name@revision``; two never mix."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from saccade.errors import InputError

if TYPE_CHECKING:
    from saccade.encode.text import SentenceEncoder

__all__ = ["BUILTIN", "FrameEncoder", "load_encoder", "place_of", "sentence_encoder"]

BUILTIN = "builtin"
"""What ``load_encoder`` knows the encoder by that comes in the box; a folder of that name is ``./builtin``."""


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
    batch: int | None = None,
) -> FrameEncoder:
    """The built-in frame encoder, the one in a folder, or of a hub id (``owner/name``, ``owner/name@revision``).

    A folder or repository is in the hub's layout, or in the built-in's own. threads: 0 takes the machine's cores.
    providers: ONNX Runtime's execution providers in order of choice, the CPU by default. int8: take the quantised
    files. download: whether the hub may be asked for what is missing. batch: frames that go through the model at
    once; by default what is quick on a CPU. Raises WeightsError, saying which file is missing.
    """
    from saccade.encode.builtin import FOLDER, BuiltinEncoder, is_builtin_layout

    folder = FOLDER if name_or_folder == BUILTIN else Path(name_or_folder).expanduser()
    if folder == FOLDER or is_builtin_layout(folder):
        if int8:
            raise InputError(f"{name_or_folder}: there are no int8 files of a built-in encoder")
        return BuiltinEncoder(folder, threads=threads, providers=providers, batch=1 if batch is None else batch)
    from saccade.encode.onnx import OnnxEncoder

    return OnnxEncoder.load(
        name_or_folder,
        threads=threads,
        providers=providers,
        int8=int8,
        download=download,
        batch=16 if batch is None else batch,
    )


def place_of(name_or_folder: str) -> str:
    """How a library remembers where its encoder is: a folder by its absolute path, any other name as it is."""
    exists = name_or_folder != BUILTIN and Path(name_or_folder).expanduser().exists()
    return os.path.abspath(os.path.expanduser(name_or_folder)) if exists else name_or_folder


def sentence_encoder() -> SentenceEncoder:
    """The multilingual sentence encoder: ``encode(texts)`` gives float32 (L, 512); loaded once a process."""
    from saccade.encode.text import sentence_encoder as load

    return load()
