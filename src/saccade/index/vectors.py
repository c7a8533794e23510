"""Vectors between SQLite and NumPy: float16 on disk, float32 in memory, one table for a whole search."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from saccade.errors import InputError
from saccade.types import pts_to_seconds


@dataclass(frozen=True, eq=False)
class FrameVectors:
    """The vectors of one part: float32 (T, D), and the times of their frames, int64 (T,) in ``time_base`` units."""

    vectors: npt.NDArray[np.float32]
    pts: npt.NDArray[np.int64]
    time_base: Fraction
    start: Fraction = Fraction(0)
    made_from: str = "source"

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or self.pts.shape != self.vectors.shape[:1]:
            raise InputError(f"vectors (T, D) need pts (T,), got {self.vectors.shape} and {self.pts.shape}")

    @property
    def seconds(self) -> npt.NDArray[np.float64]:
        return pts_to_seconds(self.pts, self.time_base, self.start)


@dataclass(frozen=True, eq=False)
class VectorTable:
    """Every frame vector of one encoder, by video, then by time.

    vectors: float32 (N, D), L2-normalised up to float16 rounding. videos: int64 (N,), an index into ``video_ids``.
    seconds: float64 (N,), when the frame begins; ends: float64 (N,), when the next sampled one does, or where what
    was seen of the video ends.
    """

    encoder: str
    vectors: npt.NDArray[np.float32]
    videos: npt.NDArray[np.int64]
    video_ids: tuple[str, ...]
    seconds: npt.NDArray[np.float64]
    ends: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.vectors)


@dataclass(frozen=True, eq=False)
class TextTable:
    """Every text of one kind, by id: what a search by meaning needs of it.

    ids: int64 (N,). videos: int64 (N,), an index into ``video_ids``. starts, ends: float64 (N,), seconds.
    vectors: float32 (N, 512), sentence vectors, L2-normalised up to float16 rounding.
    """

    kind: str
    ids: npt.NDArray[np.int64]
    videos: npt.NDArray[np.int64]
    video_ids: tuple[str, ...]
    starts: npt.NDArray[np.float64]
    ends: npt.NDArray[np.float64]
    vectors: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.ids)


class PartRow(NamedTuple):
    """One stored part as ``assemble`` reads it: its video, its span, and packed arrays."""

    video: str
    start: float
    end: float
    dim: int
    vectors: bytes
    seconds: bytes


def pack(array: npt.NDArray[np.generic], dtype: str) -> bytes:
    """An array as little-endian bytes of ``dtype`` (``<f2``, ``<i8``, ``<f8``)."""
    return np.ascontiguousarray(array, dtype).tobytes()


def unpack_vectors(blobs: Iterable[bytes], dim: int) -> npt.NDArray[np.float32]:
    """Packed float16 rows, one after another, as float32 (N, dim)."""
    halves = np.frombuffer(b"".join(blobs), "<f2")
    return halves.astype(np.float32).reshape(-1, dim) if dim else np.zeros((0, 0), np.float32)


def group(names: Sequence[str], repeats: Sequence[int]) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    """``names[i]`` repeated ``repeats[i]`` times, as indices into the distinct names in order of appearance."""
    numbers: dict[str, int] = {}
    indices = [numbers.setdefault(name, len(numbers)) for name in names]
    return np.repeat(np.array(indices, np.int64), np.array(repeats, np.int64)), tuple(numbers)


def assemble(encoder: str, rows: Sequence[PartRow]) -> VectorTable:
    """Parts, ordered by video and start, as one table."""
    dim = rows[0].dim if rows else 0
    counts = [len(row.seconds) // 8 for row in rows]
    seconds = np.frombuffer(b"".join(row.seconds for row in rows), "<f8").astype(np.float64)
    videos, video_ids = group([row.video for row in rows], counts)
    return VectorTable(
        encoder=encoder,
        vectors=unpack_vectors((row.vectors for row in rows), dim),
        videos=videos,
        video_ids=video_ids,
        seconds=seconds,
        ends=_ends(rows, counts, seconds),
    )


def _ends(rows: Sequence[PartRow], counts: Sequence[int], seconds: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """A frame lasts until the next one of its video; before a gap, and at the end, until its part ends.

    A part that begins with the picture still on display from the part before holds no vector for it, so a frame
    may last into the next part, or through it.
    """
    ends = np.empty_like(seconds)
    ends[:-1] = seconds[1:]
    count = first_of_video = 0
    for index, row in enumerate(rows):
        if index and rows[index - 1].video != row.video:
            first_of_video = count
        count += counts[index]
        after = rows[index + 1] if index + 1 < len(rows) else None
        continues = after is not None and after.video == row.video and after.start <= row.end
        if not continues and count > first_of_video:
            ends[count - 1] = max(row.end, seconds[count - 1])
    return ends
