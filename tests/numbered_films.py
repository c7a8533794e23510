"""Films made for the tests: every frame carries its number as black and white stripes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

BITS = 10


def picture(number: int, width: int = 128, height: int = 64) -> npt.NDArray[np.uint8]:
    """An image that says its number in stripes, on two tints so that its top and left can be told."""
    image = np.full((height, width, 3), (40, 90, 60), np.uint8)
    image[: height // 2, : width // 2] = (200, 60, 40)
    for bit in range(BITS):
        left = width * (bit + 1) // (BITS + 2)
        right = width * (bit + 2) // (BITS + 2)
        image[height // 4 : height * 3 // 4, left:right] = 235 if number >> bit & 1 else 16
    return image


def number_in(image: npt.NDArray[np.uint8]) -> int:
    """The number in a picture."""
    height, width, _ = image.shape
    row = image[height // 2 - 1 : height // 2 + 1].mean((0, 2))
    return sum(int(row[int(width * (bit + 1.5) / (BITS + 2))] > 128) << bit for bit in range(BITS))


def make_film(
    path: Path,
    pts: Sequence[int],
    time_base: Fraction = Fraction(1, 25),
    *,
    rate: Fraction = Fraction(25),
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    size: tuple[int, int] = (128, 64),
    pixel_format: str = "yuv420p",
    aspect: Fraction | None = None,
    turn: tuple[float, bool, bool] | None = None,
    draw: Callable[[int], npt.NDArray[np.uint8]] | None = None,
    sound_seconds: float = 0.0,
    metadata: dict[str, str] | None = None,
) -> Path:
    """Encode one picture for each timestamp; turn: counter-clockwise degrees, mirrored left-right, top-bottom."""
    width, height = size
    with av.open(str(path), "w", options=container_options or {}) as film:
        film.metadata.update(metadata or {})
        stream: Any = film.add_stream(codec, rate=rate, options={"preset": "ultrafast", "crf": "12", **(options or {})})
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        stream.codec_context.time_base = time_base
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if turn:
            stream.set_display_rotation(*turn)
        sound: Any = film.add_stream("aac", rate=16000, layout="mono") if sound_seconds else None
        for number, time in enumerate(pts):
            image = draw(number) if draw else picture(number, width, height)
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.pts, frame.time_base = time, time_base
            film.mux(stream.encode(frame))
        film.mux(stream.encode(None))
        if sound is not None:
            tone = (np.sin(np.arange(int(sound_seconds * 16000)) * 0.2) * 8000).astype(np.int16)
            for start in range(0, len(tone), 1024):
                piece = av.AudioFrame.from_ndarray(tone[None, start : start + 1024], "s16", "mono")
                piece.sample_rate, piece.pts, piece.time_base = 16000, start, Fraction(1, 16000)
                film.mux(sound.encode(piece))
            film.mux(sound.encode(None))
    return path
