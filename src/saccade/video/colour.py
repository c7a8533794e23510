"""From a decoded frame to what a viewer sees: upright RGB with square pixels, in the stream's own colours.

The matrix and range that the stream names are honoured. Where it names no matrix, a picture of at least 1280
columns or more than 576 lines is taken as BT.709 and a smaller one as BT.601, as players do; where it names no
range, YCbCr is limited. High dynamic range (PQ, HLG) is brought to sRGB with diffuse white, 203 cd/m², as white;
what is brighter is clipped. Transparent pixels are laid on white. Square pixels are made by stretching, never by
dropping lines: wide pixels widen the picture, tall ones heighten it.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, ColorTrc, Interpolation, VideoReformatter

from saccade.types import Colour

# H.273's numbers under the names that ffprobe prints.
MATRICES = {
    0: "gbr", 1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "ycgco", 9: "bt2020nc",
    10: "bt2020c", 11: "smpte2085", 12: "chroma-derived-nc", 13: "chroma-derived-c", 14: "ictcp",
}  # fmt: skip
RANGES = {1: "tv", 2: "pc"}
PRIMARIES = {
    1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "film", 9: "bt2020", 10: "smpte428",
    11: "smpte431", 12: "smpte432", 22: "ebu3213",
}  # fmt: skip
TRANSFERS = {
    1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "linear", 9: "log100", 10: "log316",
    11: "iec61966-2-4", 12: "bt1361e", 13: "iec61966-2-1", 14: "bt2020-10", 15: "bt2020-12", 16: "smpte2084",
    17: "smpte428", 18: "arib-std-b67",
}  # fmt: skip

BT709, BT601 = 1, 6
HIGH_RANGE = (16, 18)
"""The transfers whose white lies far above ours: PQ and HLG."""

EXACT = (
    Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
)
"""Within one grey level of the definition; swscale's faster paths are up to seven off."""


def colour_of(source: Any) -> Colour:
    """The names of a frame's (or codec context's) matrix, range, primaries and transfer."""
    return Colour(
        matrix=MATRICES.get(int(source.colorspace), "unknown"),
        range=RANGES.get(int(source.color_range), "unknown"),
        primaries=PRIMARIES.get(int(source.color_primaries), "unknown"),
        transfer=TRANSFERS.get(int(source.color_trc), "unknown"),
    )


def bit_depth(frame: VideoFrame) -> int:
    """Bits of one component; 8 for a palette."""
    return max((component.bits for component in frame.format.components), default=8)


def state_colour(frame: VideoFrame) -> None:
    """Write down on the frame what players assume where the stream names no matrix or range."""
    if frame.format.is_rgb:
        return
    if int(frame.colorspace) not in MATRICES:
        frame.colorspace = BT709 if frame.width >= 1280 or frame.height > 576 else BT601
    if int(frame.color_range) not in RANGES:
        full = frame.format.name.startswith("yuvj")
        frame.color_range = ColorRange.JPEG if full else ColorRange.MPEG


@dataclass(frozen=True)
class Upright:
    """The quarter turn and mirroring that a display matrix asks for.

    transpose: swap rows and columns first; then flip_x mirrors left-right and flip_y top-bottom.
    """

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @classmethod
    def of(cls, frame: VideoFrame) -> Upright:
        """What the frame's display matrix says; arbitrary angles count as the nearest quarter turn."""
        data: Any = frame.side_data.get("DISPLAYMATRIX")
        if data is None:
            return cls()
        a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, a < 0, d < 0)
        return cls(True, c < 0, b < 0)

    @property
    def degrees(self) -> int:
        """Clockwise turn in degrees, mirroring left aside: 0, 90, 180 or 270."""
        if self.transpose:
            return 90 if self.flip_x else 270
        return 180 if self.flip_y else 0

    def apply(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Turn an image (H, W, C); a view."""
        if self.transpose:
            image = image.transpose(1, 0, 2)
        if self.flip_x:
            image = image[:, ::-1]
        return image[::-1] if self.flip_y else image


def shown_size(width: int, height: int, aspect: Fraction, upright: Upright) -> tuple[int, int]:
    """Width and height as displayed: square pixels, turned."""
    if aspect > 1:
        width = round(width * aspect)
    elif 0 < aspect < 1:
        height = round(height / aspect)
    return (height, width) if upright.transpose else (width, height)


def fit_short_side(width: int, height: int, short_side: int | None) -> tuple[int, int]:
    """Shrink so that the short side is ``short_side``; never enlarge.

    >>> fit_short_side(1920, 1080, 256), fit_short_side(320, 240, 256)
    ((455, 256), (320, 240))
    """
    short = min(width, height)
    if short_side is None or short <= short_side:
        return width, height
    return max(1, round(width * short_side / short)), max(1, round(height * short_side / short))


class _ToSRGB:
    """Brings high dynamic range to sRGB. Setting up takes seconds, so one is kept for each size and transfer."""

    kept: ClassVar[dict[tuple[int, ...], VideoReformatter]] = {}

    @classmethod
    def convert(cls, frame: VideoFrame, width: int, height: int) -> VideoFrame:
        """rgb24 of the given size."""
        key = width, height, int(frame.color_trc), int(frame.color_primaries), int(frame.colorspace)
        deep = frame.reformat(width, height, "yuv444p10le", threads=1)
        scaler = cls.kept.setdefault(key, VideoReformatter())
        return scaler.reformat(
            deep,
            format="rgb24",
            dst_color_trc=ColorTrc.IEC61966_2_1,
            dst_color_primaries=ColorPrimaries.BT709,
            threads=1,
        )


class Painter:
    """Turns decoded frames of one stream into uint8 (H, W, 3) RGB as displayed, at most ``short_side`` small."""

    def __init__(self, pixel_aspect: Fraction | None, short_side: int | None = None) -> None:
        self._aspect = pixel_aspect or Fraction(1)
        self._short_side = short_side
        self._scaler = VideoReformatter()
        self._kind: tuple[int, int, int] | None = None
        self._upright = Upright()

    def paint(self, frame: VideoFrame) -> npt.NDArray[np.uint8]:
        """uint8 (H, W, 3), a view: not always contiguous."""
        upright = self._upright_of(frame)
        width, height = fit_short_side(*shown_size(frame.width, frame.height, self._aspect, upright), self._short_side)
        if upright.transpose:
            width, height = height, width
        return upright.apply(self._rgb(frame, width, height))

    def _upright_of(self, frame: VideoFrame) -> Upright:
        # Asking a frame for its side data ties it into a cycle that only the garbage collector frees, so few are asked.
        kind = frame.width, frame.height, frame.rotation
        if kind != self._kind:
            self._kind, self._upright = kind, Upright.of(frame)
        return self._upright

    def _rgb(self, frame: VideoFrame, width: int, height: int) -> npt.NDArray[np.uint8]:
        state_colour(frame)
        if has_high_range(frame):
            return packed(_ToSRGB.convert(frame, width, height), 3)
        if not has_alpha(frame):
            return packed(self._scaler.reformat(frame, width, height, "rgb24", interpolation=EXACT, threads=1), 3)
        rgba = packed(self._scaler.reformat(frame, width, height, "rgba", interpolation=EXACT, threads=1), 4)
        return on_white(rgba)


def has_high_range(frame: VideoFrame) -> bool:
    return int(frame.color_trc) in HIGH_RANGE


def has_alpha(frame: VideoFrame) -> bool:
    name = frame.format.name
    return name in ("bgra", "rgba", "argb", "abgr", "pal8", "ya8") or name.startswith(("yuva", "gbrap", "rgba64"))


def on_white(rgba: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """uint8 (H, W, 4) straight alpha -> uint8 (H, W, 3) over white."""
    alpha = rgba[..., 3:]
    if alpha.min() == 255:
        return np.ascontiguousarray(rgba[..., :3])
    colour, weight = rgba[..., :3].astype(np.uint16), alpha.astype(np.uint16)
    return np.asarray((colour * weight + 255 * (255 - weight) + 127) // 255, np.uint8)


def packed(frame: VideoFrame, channels: int) -> npt.NDArray[np.uint8]:
    """A packed frame as uint8 (H, W, channels); a view that holds the frame."""
    plane = frame.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(frame.height, plane.line_size)  # type: ignore[call-overload]
    return np.asarray(rows[:, : frame.width * channels].reshape(frame.height, frame.width, channels))
