"""A pen for flat illustrations: smooth edges, soft gradients, text, and the few figures that scenes share.

Everything that does not change is painted once, three times too large, and shrunk; moving things are small
sprites pasted a frame at a time. Coordinates are pixels of the finished picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Colour = tuple[int, ...]
Point = tuple[float, float]
OVERSIZE = 3


class Pen:
    """Paints one picture; ``done()`` gives it at its true size. No ground: a transparent sprite."""

    def __init__(self, width: float, height: float, ground: Colour | None = None) -> None:
        self.size = (round(width), round(height))
        large = (self.size[0] * OVERSIZE, self.size[1] * OVERSIZE)
        self.image = Image.new("RGBA", large, (0, 0, 0, 0) if ground is None else (*ground, 255))
        self._draw = ImageDraw.Draw(self.image)

    def box(self, left: float, top: float, right: float, bottom: float, fill: Colour, radius: float = 0) -> None:
        self._draw.rounded_rectangle(_large((left, top, right, bottom)), radius * OVERSIZE, fill)

    def oval(self, x: float, y: float, half_width: float, half_height: float, fill: Colour) -> None:
        self._draw.ellipse(_large((x - half_width, y - half_height, x + half_width, y + half_height)), fill)

    def disc(self, x: float, y: float, radius: float, fill: Colour) -> None:
        self.oval(x, y, radius, radius, fill)

    def slice(self, x: float, y: float, radius: float, begin: float, end: float, fill: Colour) -> None:
        """A part of a disc between two angles in degrees, clockwise from three o'clock."""
        self._draw.pieslice(_large((x - radius, y - radius, x + radius, y + radius)), begin, end, fill)

    def shape(self, points: Sequence[Point], fill: Colour) -> None:
        self._draw.polygon([(x * OVERSIZE, y * OVERSIZE) for x, y in points], fill)

    def line(self, points: Sequence[Point], fill: Colour, width: float) -> None:
        """A line with round joints and ends."""
        self._draw.line([(x * OVERSIZE, y * OVERSIZE) for x, y in points], fill, round(width * OVERSIZE), "curve")
        for x, y in (points[0], points[-1]):
            self.disc(x, y, width / 2, fill)

    def words(self, x: float, y: float, text: str, size: float, fill: Colour, anchor: str = "lt") -> None:
        self._draw.text((x * OVERSIZE, y * OVERSIZE), text, fill, font(size * OVERSIZE), anchor)

    def shade(self, top: Colour, bottom: Colour, begin: float = 0, end: float | None = None) -> None:
        """A vertical gradient over the rows from ``begin`` to ``end``."""
        end = self.size[1] if end is None else end
        rows = round((end - begin) * OVERSIZE)
        weight = np.linspace(0, 1, rows)[:, None]
        column = np.array(top) * (1 - weight) + np.array(bottom) * weight
        band = Image.fromarray(column.round().astype(np.uint8)[:, None]).resize((self.image.width, rows))
        self.image.paste(band, (0, round(begin * OVERSIZE)))

    def done(self) -> Image.Image:
        return self.image.reduce(OVERSIZE)


def _large(numbers: Sequence[float]) -> tuple[float, float, float, float]:
    left, top, right, bottom = (number * OVERSIZE for number in numbers)
    return left, top, max(left, right), max(top, bottom)


@lru_cache(maxsize=64)
def font(size: float) -> ImageFont.FreeTypeFont:
    """Pillow's own font (Latin letters only) at a size in pixels."""
    loaded = ImageFont.load_default(round(size))
    assert isinstance(loaded, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    return loaded


def put(picture: Image.Image, sprite: Image.Image, x: float, y: float) -> None:
    """Paste a sprite with its top left corner at (x, y)."""
    picture.paste(sprite, (round(x), round(y)), sprite)


def tint(colour: Colour, by: float) -> Colour:
    """Lighter (by > 0) or darker (by < 0) by a share of the way to white or black.

    >>> tint((100, 200, 0), 0.5), tint((100, 200, 0), -0.5)
    ((178, 228, 128), (50, 100, 0))
    """
    goal = 255 if by > 0 else 0
    return tuple(round(part + (goal - part) * abs(by)) for part in colour)


def glow(radius: float, colour: Colour, strength: float = 1.0) -> Image.Image:
    """A soft round light."""
    size = round(radius * 2)
    axis = np.linspace(-1, 1, size)
    distance = np.hypot(axis[:, None], axis[None])
    alpha = (np.clip(1 - distance, 0, 1) ** 2 * 255 * strength).astype(np.uint8)
    return Image.merge("RGBA", [*Image.new("RGB", (size, size), colour).split(), Image.fromarray(alpha)])


def puff(radius: float, alpha: int = 130) -> Image.Image:
    """A soft cloud of steam."""
    pen = Pen(radius * 4, radius * 4)
    for dx, dy, share in ((-0.5, 0.1, 0.8), (0.45, 0.2, 0.7), (0, -0.3, 1.0)):
        pen.disc(radius * (2 + dx), radius * (2 + dy), radius * share, (255, 255, 255, alpha))
    shape = pen.done().getchannel("A").filter(ImageFilter.GaussianBlur(radius / 3))
    return Image.merge("RGBA", [*Image.new("RGB", shape.size, (255, 255, 255)).split(), shape])


def cloud(width: float, colour: Colour = (255, 255, 255)) -> Image.Image:
    pen = Pen(width, width * 0.5)
    for x, y, radius in ((0.25, 0.33, 0.15), (0.45, 0.22, 0.2), (0.68, 0.3, 0.17)):
        pen.disc(width * x, width * y, width * radius, colour)
    pen.box(width * 0.1, width * 0.32, width * 0.85, width * 0.48, colour, width * 0.08)
    return pen.done()


def car(colour: Colour, turn: float, scale: float = 1.0) -> Image.Image:
    """A car seen from its right side, about 150 × 66; ``turn`` is its wheels' angle in degrees."""
    pen = Pen(156 * scale, 70 * scale)
    s = scale
    pen.oval(78 * s, 64 * s, 72 * s, 5 * s, (0, 0, 0, 60))
    pen.shape([(30 * s, 30 * s), (48 * s, 6 * s), (102 * s, 6 * s), (124 * s, 30 * s)], tint(colour, -0.12))
    pen.shape([(38 * s, 30 * s), (52 * s, 11 * s), (74 * s, 11 * s), (74 * s, 30 * s)], (205, 232, 245))
    pen.shape([(80 * s, 30 * s), (80 * s, 11 * s), (99 * s, 11 * s), (115 * s, 30 * s)], (205, 232, 245))
    pen.box(6 * s, 27 * s, 150 * s, 54 * s, colour, 11 * s)
    pen.box(6 * s, 44 * s, 150 * s, 54 * s, tint(colour, -0.25), 6 * s)
    pen.box(84 * s, 33 * s, 94 * s, 36 * s, tint(colour, -0.35), 1.5 * s)
    pen.disc(146 * s, 36 * s, 4.5 * s, (255, 244, 190))
    pen.box(6 * s, 33 * s, 11 * s, 40 * s, (220, 60, 50), 2 * s)
    for x in (38 * s, 118 * s):
        pen.disc(x, 54 * s, 13 * s, (38, 40, 46))
        pen.disc(x, 54 * s, 7 * s, (200, 204, 210))
        for k in range(3):
            angle = math.radians(turn + 60 * k)
            dx, dy = 6 * s * math.cos(angle), 6 * s * math.sin(angle)
            pen.line([(x - dx, 54 * s - dy), (x + dx, 54 * s + dy)], (120, 124, 132), 1.6 * s)
    return pen.done()


def beach_ball(radius: float, turn: float) -> Image.Image:
    pen = Pen(radius * 2 + 4, radius * 2 + 4)
    centre = radius + 2
    colours = ((232, 72, 60), (250, 246, 238), (250, 196, 60), (250, 246, 238), (62, 132, 214), (250, 246, 238))
    for k, colour in enumerate(colours):
        pen.slice(centre, centre, radius, turn + 60 * k, turn + 60 * (k + 1), colour)
    pen.disc(centre, centre, radius * 0.18, (250, 246, 238))
    return pen.done()


def person(
    phase: float,
    *,
    shirt: Colour = (240, 190, 70),
    trousers: Colour = (60, 76, 120),
    hair: Colour = (70, 44, 34),
    skin: Colour = (236, 188, 150),
    reach: float = 0.0,
    stride: float = 1.0,
    height: float = 190,
) -> Image.Image:
    """Somebody walking to the right, ``phase`` in steps; ``reach`` in [0, 1] lifts the front arm forwards."""
    u = height / 190
    pen = Pen(110 * u, 194 * u)
    swing = math.sin(math.pi * phase) * stride
    hip, shoulder = (52 * u, 108 * u), (53 * u, 62 * u)
    pen.oval(52 * u, 189 * u, 28 * u, 4 * u, (0, 0, 0, 50))
    for side, shade in ((-1, -0.2), (1, 0.0)):
        foot = (hip[0] + side * swing * 24 * u, 184 * u - max(0.0, side * math.cos(math.pi * phase) * stride) * 5 * u)
        knee = ((hip[0] + foot[0]) / 2 + 4 * u, (hip[1] + foot[1]) / 2)
        pen.line([hip, knee, foot], tint(trousers, shade), 15 * u)
        pen.line([foot, (foot[0] + 10 * u, foot[1])], (50, 40, 44), 8 * u)
    back = math.radians(90 + swing * 32)
    pen.line([shoulder, _along(shoulder, back, 42 * u)], tint(shirt, -0.25), 11 * u)
    pen.box(36 * u, 54 * u, 68 * u, 116 * u, shirt, 14 * u)
    front = math.radians(90 - swing * 32 * (1 - reach) - 78 * reach)
    hand = _along(shoulder, front, 45 * u)
    pen.line([shoulder, hand], tint(shirt, -0.1), 11 * u)
    pen.disc(*hand, 6 * u, skin)
    pen.box(46 * u, 42 * u, 58 * u, 60 * u, tint(skin, -0.12), 4 * u)
    pen.oval(40 * u, 36 * u, 13 * u, 24 * u, hair)
    pen.oval(53 * u, 30 * u, 18 * u, 20 * u, skin)
    pen.slice(51 * u, 26 * u, 21 * u, 170, 345, hair)
    pen.disc(63 * u, 30 * u, 2.2 * u, (40, 30, 30))
    pen.line([(61 * u, 40 * u), (67 * u, 39 * u)], (170, 80, 70), 2 * u)
    return pen.done()


def dog(phase: float, colour: Colour = (176, 116, 66)) -> Image.Image:
    """A dog running to the right, about 130 × 90."""
    pen = Pen(140, 96)
    gallop = math.sin(2 * math.pi * phase)
    pen.oval(68, 91, 46, 4, (0, 0, 0, 55))
    dark = tint(colour, -0.3)
    for x, sign, shade in ((40, 1, dark), (94, -1, dark), (46, -1, colour), (88, 1, colour)):
        foot = (x + sign * gallop * 20, 88 - abs(gallop) * 4)
        pen.line([(x, 58), ((x + foot[0]) / 2 - 4, 74), foot], shade, 10)
    pen.line([(30, 46), (14, 30 + 8 * gallop), (8, 18 + 10 * gallop)], colour, 8)
    pen.oval(66, 52, 42, 20, colour)
    pen.oval(70, 60, 30, 10, tint(colour, 0.35))
    pen.oval(110, 34, 19, 17, colour)
    pen.box(112, 34, 136, 50, tint(colour, 0.3), 8)
    pen.disc(134, 39, 4.5, (40, 30, 30))
    pen.disc(114, 30, 3, (30, 24, 24))
    pen.shape([(98, 24), (88, 48 - 4 * gallop), (104, 44)], dark)
    pen.box(92, 44, 104, 52, (214, 60, 56), 4)
    return pen.done()


def tree(height: float, green: Colour) -> Image.Image:
    pen = Pen(height * 0.7, height)
    width = height * 0.7
    pen.box(width * 0.44, height * 0.5, width * 0.56, height, (122, 86, 60), 3)
    for x, y, radius, shade in (
        (0.3, 0.42, 0.27, -0.12),
        (0.7, 0.42, 0.27, -0.06),
        (0.5, 0.27, 0.34, 0.0),
        (0.42, 0.2, 0.16, 0.15),
    ):
        pen.disc(width * x, height * y, width * radius, tint(green, shade))
    return pen.done()


def _along(start: Point, angle: float, length: float) -> Point:
    return start[0] + length * math.cos(angle), start[1] + length * math.sin(angle)
