"""Pictures in and out: a picture file to search by, and the frames of a hit side by side to look at."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError

from saccade.errors import InputError
from saccade.types import Span, clock
from saccade.video.sample import sample
from saccade.video.worker import Worker

CAPTION_HEIGHT = 22
GAP = 4
INK, PAPER = (235, 235, 235), (24, 24, 24)


def strip(
    path: str | Path, span: Span, frames: int = 6, *, height: int = 160, worker: Worker | None = None
) -> Image.Image:
    """``frames`` frames spread evenly over a span, left to right, with the true time of each below it.

    The times are those of the frames, not those that were asked for. Raises what ``sample`` raises.
    """
    if frames < 1:
        raise InputError(f"a strip has at least one frame, got {frames}")
    middles = [span.start + span.duration * (index + 0.5) / frames for index in range(frames)]
    pictures: list[tuple[Image.Image, float]] = []
    for batch in sample(path, at=[max(0.0, second) for second in middles], short_side=2 * height, worker=worker):
        pictures += [
            (_scaled(image, height), float(second)) for image, second in zip(batch.images, batch.seconds, strict=True)
        ]
    width = sum(picture.width for picture, _ in pictures) + GAP * (len(pictures) - 1)
    sheet = Image.new("RGB", (max(1, width), height + CAPTION_HEIGHT), PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    left = 0
    for picture, second in pictures:
        sheet.paste(picture, (left, 0))
        draw.text((left + 4, height + 3), clock(second), INK, font=font)
        left += picture.width + GAP
    return sheet


def _scaled(image: npt.NDArray[np.uint8], height: int) -> Image.Image:
    picture = Image.fromarray(image)
    return picture.resize((max(1, round(picture.width * height / picture.height)), height), Image.Resampling.LANCZOS)


def read_picture(path: str | os.PathLike[str]) -> npt.NDArray[np.uint8]:
    """A picture file as uint8 (H, W, 3) RGB, upright. InputError where it is none."""
    try:
        with Image.open(path) as picture:
            return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise InputError(f"{os.fspath(path)} cannot be read as a picture: {error}") from None
