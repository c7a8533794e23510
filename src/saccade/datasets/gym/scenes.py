"""Illustrated places with something going on: each a function of a random generator, giving a Scene.

A scene's picture is 640×360 and depends on the seconds since the scene began, nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

from saccade.datasets.gym.paint import (
    OVERSIZE,
    Colour,
    Pen,
    beach_ball,
    car,
    cloud,
    dog,
    glow,
    person,
    puff,
    put,
    tint,
    tree,
)

WIDTH, HEIGHT = 640, 360
Random = np.random.Generator


@dataclass(frozen=True)
class Scene:
    """What is to be seen, in one sentence, and its picture (RGB, 640×360) at some seconds.

    ``words``: text in the picture, each with the seconds at which it appears, to stay until the scene ends.
    """

    about: str
    draw: Callable[[float], Image.Image]
    words: tuple[tuple[str, float], ...] = ()


def _shade(rng: Random, colour: Colour, by: float = 0.12) -> Colour:
    return tint(colour, float(rng.uniform(-by, by)))


def _finish(pen: Pen) -> Image.Image:
    return pen.done().convert("RGB")


# Kitchen.


def red_pot(rng: Random) -> Scene:
    """A red pot steams on the stove."""
    wall = _shade(rng, (246, 226, 196), 0.06)
    pen = Pen(WIDTH, HEIGHT, wall)
    for row in range(3):
        for column in range(17):
            pen.box(
                column * 40 - row % 2 * 20,
                168 + row * 24,
                column * 40 + 37 - row % 2 * 20,
                189 + row * 24,
                tint(wall, 0.45),
                3,
            )
    pen.box(46, 36, 196, 146, (252, 250, 244), 5)
    pen.box(54, 44, 188, 138, (160, 212, 240))
    pen.oval(96, 140, 44, 34, (134, 186, 112))
    pen.oval(160, 142, 40, 24, (112, 168, 100))
    pen.box(54, 138, 188, 146, (252, 250, 244))
    pen.box(118, 44, 124, 138, (252, 250, 244))
    for x, lean in ((40, 1), (202, -1)):
        pen.shape([(x, 28), (x + 46 * lean, 28), (x + 12 * lean, 148), (x, 148)], (226, 120, 96))
    pen.box(380, 92, 610, 102, (166, 116, 76), 3)
    for k, colour in enumerate(((96, 152, 118), (232, 178, 70), (206, 98, 82), (238, 234, 224))):
        x = 396 + k * 54
        pen.box(x, 50, x + 36, 92, _shade(rng, colour), 7)
        pen.box(x + 3, 44, x + 33, 54, (150, 104, 70), 3)
    pen.box(0, 240, WIDTH, HEIGHT, (150, 102, 68))
    pen.box(0, 232, WIDTH, 250, (184, 130, 88))
    pen.box(206, 226, 458, 250, (60, 64, 72), 6)
    pen.box(206, 250, 458, HEIGHT, (226, 226, 222))
    pen.box(232, 292, 432, HEIGHT, (70, 76, 86), 8)
    for x in (250, 290, 372, 412):
        pen.disc(x, 270, 9, (80, 84, 94))
    pen.shape([(512, 232), (596, 232), (586, 206), (522, 206)], (190, 138, 92))
    for x, y in ((532, 204), (552, 200), (574, 205)):
        pen.oval(x, y, 20, 7, (240, 142, 52))
    ground = _finish(pen)

    pot = Pen(230, 150)
    red = _shade(rng, (206, 44, 42), 0.1)
    pot.box(4, 54, 226, 70, tint(red, -0.35), 8)
    pot.box(26, 34, 204, 142, red, 22)
    pot.box(26, 34, 204, 62, tint(red, -0.12), 10)
    pot.box(44, 66, 58, 124, tint(red, 0.35), 7)
    body = pot.done()
    lid = Pen(200, 40)
    lid.slice(100, 66, 92, 205, 335, tint(red, -0.18))
    lid.box(10, 26, 190, 37, tint(red, 0.12), 5)
    lid.disc(100, 8, 8, (60, 50, 50))
    top = lid.done()
    steam = [puff(radius) for radius in (12, 16, 21)]
    flames = [_flame(k) for k in range(4)]

    def draw(t: float) -> Image.Image:
        picture = ground.copy()
        put(picture, flames[int(t * 10) % 4], 252, 212)
        put(picture, body, 217, 88)
        put(picture, top, 232 + math.sin(t * 21) * 1.5, 88 - abs(math.sin(t * 9)) * 7)
        for k in range(6):
            rise = (t * 0.45 + k / 6) % 1
            put(picture, steam[k % 3], 296 + 38 * math.sin(k * 2.4 + t) - 30, 84 - rise * 120)
        return picture

    return Scene("a red pot steams on the stove in a kitchen", draw)


def _flame(k: int) -> Image.Image:
    pen = Pen(162, 24)
    for x in range(14, 160, 22):
        height = 12 + 5 * math.sin(x + k * 1.7)
        pen.shape([(x - 8, 20), (x, 20 - height), (x + 8, 20)], (70, 140, 240))
        pen.shape([(x - 4, 20), (x, 20 - height / 2), (x + 4, 20)], (190, 226, 255))
    return pen.done()


def soup_from_above(rng: Random) -> Scene:
    """Carrots go round in the soup while a spoon stirs."""
    pen = Pen(WIDTH, HEIGHT, (58, 62, 70))
    for x in range(0, WIDTH, 64):
        pen.box(x, 0, x + 2, HEIGHT, (66, 70, 80))
    red = _shade(rng, (206, 44, 42), 0.1)
    pen.box(98, 164, 542, 200, tint(red, -0.3), 14)
    pen.disc(320, 182, 172, tint(red, -0.15))
    pen.disc(320, 182, 160, tint(red, 0.18))
    pen.disc(320, 186, 146, (226, 124, 44))
    pen.disc(320, 188, 138, (238, 142, 56))
    ground = _finish(pen)
    slice_of_carrot = Pen(44, 44)
    slice_of_carrot.disc(22, 22, 19, (246, 110, 26))
    slice_of_carrot.disc(22, 22, 12, (252, 148, 60))
    slice_of_carrot.disc(22, 22, 5, (246, 110, 26))
    carrot = slice_of_carrot.done()
    leaf = Pen(26, 16)
    leaf.oval(13, 8, 11, 5, (70, 150, 76))
    herb = leaf.done()
    places = [(float(rng.uniform(35, 118)), float(rng.uniform(0, 6.3))) for _ in range(13)]

    def draw(t: float) -> Image.Image:
        picture = ground.copy()
        for k, (radius, angle) in enumerate(places):
            turned = angle + t * (1.5 - radius / 130)
            sprite = herb if k % 3 == 2 else carrot
            put(picture, sprite, 320 + radius * math.cos(turned) - 20, 186 + radius * math.sin(turned) - 20)
        spoon = Pen(WIDTH / 2, HEIGHT)
        x, y = 120 + 60 * math.cos(t * 2.2), 190 + 52 * math.sin(t * 2.2)
        spoon.line([(x, y), (240, -30)], (196, 142, 92), 15)
        spoon.oval(x, y, 26, 20, (176, 122, 76))
        put(picture, spoon.done(), 200, 0)
        return picture

    return Scene("a wooden spoon stirs carrots in a red pot of soup, seen from above", draw)


def bowl_on_table(rng: Random) -> Scene:
    """A white bowl of soup on a checkered cloth."""
    pen = Pen(WIDTH, HEIGHT, (92, 130, 132))
    pen.shade((122, 160, 158), (86, 122, 126), 0, 170)
    pen.box(420, 24, 560, 128, (240, 232, 214), 4)
    pen.box(432, 36, 548, 116, (140, 186, 206))
    pen.shape([(440, 116), (480, 66), (510, 98), (528, 80), (546, 116)], (84, 128, 112))
    pen.box(0, 170, WIDTH, HEIGHT, (248, 242, 232))
    cloth = _shade(rng, (92, 138, 206), 0.1)
    for row in range(5):
        for column in range(14):
            if (row + column) % 2:
                pen.box(column * 48 - 10, 170 + row * 40, column * 48 + 38, 210 + row * 40, (*tint(cloth, 0.3), 255))
    pen.oval(306, 338, 120, 16, (206, 200, 196))
    pen.slice(306, 210, 150, 0, 180, (255, 255, 255))
    pen.box(256, 338, 356, 352, (236, 236, 236), 6)
    pen.oval(306, 212, 150, 36, (240, 240, 238))
    pen.oval(306, 214, 136, 29, (236, 138, 52))
    for x, y in ((230, 210), (262, 222), (322, 206), (358, 220), (398, 211), (300, 228)):
        pen.oval(x, y, 17, 6, (250, 112, 28))
    for x, y in ((250, 206), (338, 224), (372, 206)):
        pen.oval(x, y, 9, 3.5, (70, 150, 76))
    pen.oval(528, 286, 76, 34, (204, 146, 84))
    pen.oval(528, 278, 70, 27, (226, 172, 104))
    for x in (494, 522, 550):
        pen.line([(x, 264), (x + 12, 290)], (196, 134, 74), 5)
    pen.line([(66, 344), (112, 236)], (196, 200, 206), 8)
    pen.oval(118, 222, 15, 21, (208, 212, 218))
    ground = _finish(pen)
    steam = [puff(radius, 110) for radius in (14, 19, 24)]

    def draw(t: float) -> Image.Image:
        picture = ground.copy()
        for k in range(6):
            rise = (t * 0.35 + k / 6) % 1
            put(picture, steam[k % 3], 270 + 54 * math.sin(k * 2.1 + t * 0.8), 170 - rise * 150)
        return picture

    return Scene("a white bowl of carrot soup and a loaf of bread on a checkered table cloth", draw)


# Street.


@cache
def _houses(seed: int) -> Image.Image:
    """A row of houses, twice as wide as the picture."""
    rng = np.random.default_rng(seed)
    pen = Pen(WIDTH * 2, HEIGHT, (188, 222, 244))
    pen.shade((140, 198, 238), (226, 240, 246), 0, 230)
    walls = [(236, 176, 140), (246, 218, 160), (176, 204, 190), (226, 150, 140), (200, 190, 220), (250, 238, 214)]
    x = -20.0
    for k in range(12):
        width, top = float(rng.integers(104, 140)), float(rng.integers(40, 96))
        wall = _shade(rng, walls[k % 6], 0.06)
        pen.box(x, top, x + width, 250, wall)
        pen.shape([(x - 8, top), (x + width / 2, top - 34), (x + width + 8, top)], _shade(rng, (166, 86, 70)))
        for floor in range(2):
            for column in range(3):
                left = x + width * (0.12 + 0.29 * column)
                y = top + 18 + 52 * floor
                pen.box(left - 3, y - 3, left + width * 0.18 + 3, y + 33, (252, 250, 244))
                pen.box(left, y, left + width * 0.18, y + 30, (110, 150, 176))
        if k % 4 == 1:
            pen.box(x + 10, 176, x + width - 10, 250, (120, 92, 76))
            pen.box(x + 18, 204, x + width - 18, 244, (252, 226, 160))
            for stripe in range(8):
                colour = (214, 70, 62) if stripe % 2 else (252, 246, 236)
                left = x + 4 + stripe * (width - 8) / 8
                pen.box(left, 184, left + (width - 8) / 8, 204, colour)
            pen.box(x + 12, 158, x + width - 12, 184, (70, 56, 50), 4)
            pen.words(x + width / 2, 171, "BAKERY", 19, (255, 238, 200), "mm")
        else:
            pen.box(x + width * 0.4, 196, x + width * 0.62, 250, _shade(rng, (96, 70, 60), 0.2), 3)
        x += width
    pen.box(0, 250, WIDTH * 2, 272, (206, 200, 190))
    pen.box(0, 268, WIDTH * 2, 274, (170, 164, 156))
    pen.box(0, 274, WIDTH * 2, HEIGHT, (92, 94, 102))
    for left in range(0, WIDTH * 2, 90):
        pen.box(left, 314, left + 48, 320, (236, 232, 220))
    return _finish(pen)


def car_passes(rng: Random, colour: Colour = (44, 108, 214), name: str = "blue") -> Scene:
    """A car passes the bakery, from left to right."""
    ground = _houses(int(rng.integers(4))).crop((40, 0, 40 + WIDTH, HEIGHT))
    sky = [cloud(float(rng.uniform(60, 80))) for _ in range(2)]
    turns = [car(colour, turn, 1.15) for turn in range(0, 60, 12)]
    speed = float(rng.uniform(190, 230))

    def draw(t: float) -> Image.Image:
        picture = ground.copy()
        put(picture, sky[0], 60 + t * 8, -6)
        put(picture, sky[1], 420 + t * 6, -10)
        x = t * speed - 190
        put(picture, turns[int(x / 3) % 5], x, 246)
        return picture

    return Scene(f"a {name} car passes the bakery on a street of colourful houses", draw, (("BAKERY", 0.0),))


def beside_the_car(rng: Random, colour: Colour = (44, 108, 214), name: str = "blue") -> Scene:
    """The camera drives along with the car: the street runs by."""
    street = _houses(int(rng.integers(4)))
    turns = [car(colour, turn, 2.1) for turn in range(0, 60, 12)]

    def draw(t: float) -> Image.Image:
        x = 120 + int(min(t, 4) * 130)
        picture = street.crop((x, 0, x + WIDTH, HEIGHT))
        put(picture, turns[int(t * 40) % 5], 150 + 14 * math.sin(t), 188 + 2 * math.sin(t * 17))
        return picture

    return Scene(f"the camera follows the {name} car along the street", draw)


# Beach.


def beach(rng: Random) -> Scene:
    """A ball bounces over the sand towards the sea."""
    pen = Pen(WIDTH, HEIGHT, (150, 210, 240))
    pen.shade((106, 186, 236), (222, 240, 246), 0, 150)
    pen.disc(520, 62, 34, (255, 236, 150))
    pen.shade((34, 128, 184), (86, 190, 206), 150, 236)
    pen.shape([(0, 250), (220, 236), (WIDTH, 222), (WIDTH, HEIGHT), (0, HEIGHT)], (246, 220, 160))
    pen.shape([(0, 300), (300, 290), (WIDTH, 312), (WIDTH, HEIGHT), (0, HEIGHT)], (238, 206, 140))
    pen.line([(112, 330), (140, 130)], (240, 236, 228), 7)
    for k in range(6):
        colour = (232, 92, 78) if k % 2 else (252, 246, 236)
        pen.slice(138, 176, 92, 188 + k * 28, 188 + (k + 1) * 28, colour)
    pen.shape([(50, 348), (190, 340), (214, 356), (62, 360)], (92, 160, 180))
    ground = _finish(pen)
    balls = [beach_ball(30, turn) for turn in range(0, 120, 10)]
    waves = [_wave(WIDTH + 120, shade) for shade in ((236, 248, 250, 170), (200, 234, 240, 130))]
    shadow_pen = Pen(64, 12)
    shadow_pen.oval(32, 6, 28, 5, (120, 90, 40, 90))
    shadow = shadow_pen.done()

    def draw(t: float) -> Image.Image:
        picture = ground.copy()
        for k in range(4):
            put(picture, waves[k % 2], -60 + 46 * math.sin(t * 0.8 + k * 1.9), 158 + k * 18 + 3 * math.sin(t * 1.3 + k))
        x = 150 + t * 74
        hop = abs(math.sin(t * 3.1)) * 74 * math.exp(-t * 0.16)
        put(picture, shadow, x, 312 - t * 9)
        put(picture, balls[int(t * 14) % 12], x, 256 - t * 9 - hop)
        return picture

    return Scene("a colourful ball bounces over the beach beside a parasol", draw)


def _wave(width: int, colour: Colour) -> Image.Image:
    pen = Pen(width, 14)
    points = [(float(x), 7 + 3 * math.sin(x / 26)) for x in range(0, width + 1, 6)]
    pen.line(points, colour, 3)
    return pen.done()


def ball_at_sea(rng: Random) -> Scene:
    """The ball drifts on the waves, far from the beach."""
    pen = Pen(WIDTH, HEIGHT, (40, 120, 176))
    pen.shade((250, 196, 150), (250, 226, 190), 0, 120)
    pen.disc(180, 118, 46, (255, 240, 190))
    pen.shade((60, 140, 184), (16, 74, 128), 120)
    ground = _finish(pen)
    waves = [_wave(WIDTH + 160, (180 - 20 * k, 220 - 12 * k, 236, 150)) for k in range(3)]
    balls = [beach_ball(40, turn) for turn in range(0, 120, 10)]
    boat = Pen(90, 100)
    boat.shape([(8, 72), (84, 72), (70, 92), (22, 92)], (142, 84, 60))
    boat.shape([(44, 6), (44, 66), (12, 66)], (252, 248, 240))
    boat.shape([(49, 16), (49, 66), (78, 66)], (226, 92, 78))
    sail = boat.done()

    def draw(t: float) -> Image.Image:
        picture = ground.copy()
        put(picture, sail, 470 - t * 14, 44 + 2 * math.sin(t * 1.6))
        for k in range(9):
            put(picture, waves[k % 3], -80 + 60 * math.sin(t * 0.7 + k * 1.3), 128 + k * 26 + 5 * math.sin(t * 1.1 + k))
            if k == 4:
                put(picture, balls[int(t * 5) % 12], 270 + t * 12, 176 + 9 * math.sin(t * 1.9))
        return picture

    return Scene("the ball floats on the waves at sunset, a sailing boat behind it", draw)


# The red door.


def red_door(rng: Random, opens_after: float = 2.0) -> Scene:
    """A woman walks up to a red door and opens it."""
    pen = Pen(WIDTH, HEIGHT, (180, 196, 176))
    pen.shade((196, 210, 190), (168, 186, 166), 0, 300)
    pen.box(0, 292, WIDTH, 304, (244, 240, 230))
    pen.box(0, 304, WIDTH, HEIGHT, (172, 126, 90))
    for x in range(0, WIDTH, 76):
        pen.line([(x, 304), (x - 26, HEIGHT)], (156, 112, 78), 2)
    pen.box(70, 66, 180, 146, (120, 86, 58), 3)
    pen.box(79, 75, 171, 137, _shade(rng, (236, 214, 160)))
    pen.disc(125, 104, 20, _shade(rng, (220, 110, 80)))
    pen.box(386, 62, 528, 306, (244, 240, 230), 4)
    pen.box(398, 74, 516, 306, (190, 228, 246))
    pen.shape([(398, 306), (398, 276), (440, 262), (486, 270), (516, 258), (516, 306)], (124, 184, 108))
    pen.disc(486, 112, 18, (255, 240, 170))
    pen.box(516, 62, 528, 306, (244, 240, 230))
    pen.box(386, 304, 540, 312, (150, 108, 74))
    ground = _finish(pen)
    red = _shade(rng, (196, 40, 44), 0.08)
    doors = [_door(red, swing) for swing in np.linspace(0, 1, 12)]
    steps = [person(k / 6, shirt=(72, 120, 176), trousers=(70, 60, 74)) for k in range(12)]
    reaching = [person(0, shirt=(72, 120, 176), trousers=(70, 60, 74), stride=0.15, reach=k / 5) for k in range(6)]

    def draw(t: float) -> Image.Image:
        picture = ground.copy()
        swing = min(1.0, max(0.0, (t - opens_after) / 1.2))
        put(picture, doors[round(swing * 11)], 398, 74)
        walked = min(t, opens_after - 0.5)
        x = 310 - (opens_after - 0.5 - walked) * 130
        if t < opens_after - 0.5:
            sprite = steps[int(t * 12) % 12]
        else:
            sprite = reaching[min(5, int((t - opens_after + 0.5) * 12))]
        put(picture, sprite, x, 132)
        return picture

    return Scene("a woman walks to a red door and opens it", draw)


def _door(red: Colour, swing: float) -> Image.Image:
    """The leaf of the door, hinged on the right, swinging towards us."""
    pen = Pen(119, 246)
    left = 118 * swing * 0.86
    lower = 12 * swing
    pen.shape([(left, lower), (118, 0), (118, 232), (left, 232 + lower)], tint(red, -0.25 * swing))
    width = 118 - left
    for top, bottom in ((22, 98), (122, 206)):
        inner = [
            (left + width * 0.16, top + lower),
            (left + width * 0.84, top),
            (left + width * 0.84, bottom),
            (left + width * 0.16, bottom + lower),
        ]
        pen.shape(inner, tint(red, 0.12 - 0.3 * swing))
    pen.disc(left + width * 0.1, 116 + lower, 5, (244, 208, 110))
    return pen.done()


def garden(rng: Random) -> Scene:
    """Butterflies over a garden full of flowers."""
    pen = Pen(WIDTH, HEIGHT, (190, 228, 246))
    pen.shade((150, 212, 244), (230, 244, 240), 0, 170)
    pen.oval(140, 220, 260, 90, (150, 200, 130))
    pen.oval(520, 230, 260, 100, (132, 188, 116))
    pen.box(0, 210, WIDTH, HEIGHT, (116, 178, 98))
    for post in range(-10, WIDTH, 40):
        pen.box(post, 150, post + 26, 232, (252, 248, 240), 8)
    pen.box(0, 172, WIDTH, 180, (252, 248, 240))
    pen.box(0, 206, WIDTH, 214, (252, 248, 240))
    blooms = [(232, 84, 96), (250, 202, 70), (250, 250, 246), (196, 120, 210), (248, 146, 70)]
    for _ in range(46):
        x, y = float(rng.uniform(0, WIDTH)), float(rng.uniform(236, 344))
        size, colour = (y - 190) / 16, blooms[int(rng.integers(5))]
        pen.line([(x, y), (x, y + size * 3)], (76, 140, 70), 2)
        for k in range(5):
            pen.disc(x + size * 0.8 * math.cos(k * 1.257), y + size * 0.8 * math.sin(k * 1.257), size * 0.6, colour)
        pen.disc(x, y, size * 0.5, (240, 190, 60))
    ground = _finish(pen)
    wings = [
        [_butterfly(colour, k / 5) for k in range(6)] for colour in ((250, 150, 50), (96, 140, 230), (250, 226, 110))
    ]
    leaves = tree(250, _shade(rng, (90, 158, 84)))
    paths = [(float(rng.uniform(60, 560)), float(rng.uniform(60, 260)), float(rng.uniform(0.6, 1.4))) for _ in range(5)]

    def draw(t: float) -> Image.Image:
        picture = ground.copy()
        put(picture, leaves, 470, 10)
        for k, (x, y, speed) in enumerate(paths):
            beat = wings[k % 3][int(2.99 + 2.99 * math.sin(t * 16 + k))]
            put(picture, beat, x + 70 * math.sin(t * speed + k), y + 30 * math.sin(t * speed * 2.1 + k))
        return picture

    return Scene("butterflies fly over flowers in a sunny garden with a white fence", draw)


def _butterfly(colour: Colour, fold: float) -> Image.Image:
    pen = Pen(44, 34)
    half = 4 + 12 * (1 - fold)
    for side in (-1, 1):
        pen.oval(22 + side * half * 0.8, 12, half * 0.8, 10, colour)
        pen.oval(22 + side * half * 0.6, 24, half * 0.6, 7, tint(colour, -0.15))
    pen.line([(22, 6), (22, 28)], (60, 46, 42), 3)
    return pen.done()


# Class and office.


def slide(rng: Random, title: str, bullets: tuple[str, ...], every: float = 1.2) -> Scene:
    """A teacher beside a slide whose lines appear one after another."""
    pen = Pen(WIDTH, HEIGHT, (208, 198, 182))
    pen.shade((220, 210, 194), (196, 186, 170), 0, 300)
    pen.box(0, 300, WIDTH, HEIGHT, (134, 98, 72))
    pen.box(176, 22, 622, 280, (70, 74, 84), 6)
    pen.box(184, 30, 614, 272, (250, 250, 246), 3)
    pen.box(184, 30, 614, 84, _shade(rng, (44, 92, 140), 0.15), 3)
    pen.words(202, 57, title, 27, (255, 255, 255), "lm")
    base = pen
    pages = [_finish(base)]
    for k, bullet in enumerate(bullets):
        y = 116 + k * 42
        base.disc(212, y, 5, (224, 112, 62))
        base.words(230, y, bullet, 24, (40, 44, 54), "lm")
        pages.append(_finish(base))
    poses = [
        person(0, shirt=(120, 84, 140), hair=(40, 36, 38), stride=0.1, reach=0.35 + 0.13 * k, height=214)
        for k in range(6)
    ]

    def draw(t: float) -> Image.Image:
        picture = pages[min(len(bullets), int(t / every))].copy()
        put(picture, poses[int(2.99 + 2.99 * math.sin(t * 1.6))], 52, 124)
        return picture

    words = ((title, 0.0), *((bullet, (k + 1) * every) for k, bullet in enumerate(bullets)))
    return Scene(f"a teacher points at a slide titled {title}", draw, words)


def bar_chart(rng: Random, title: str, total: str) -> Scene:
    """A chart whose bars grow, with a total beneath."""
    pen = Pen(WIDTH, HEIGHT, (250, 248, 242))
    pen.box(0, 0, WIDTH, 62, (46, 60, 84))
    pen.words(28, 32, title, 28, (255, 255, 255), "lm")
    pen.line([(70, 290), (600, 290)], (90, 94, 104), 3)
    for y in range(100, 290, 38):
        pen.line([(70, y), (600, y)], (226, 224, 218), 1.4)
    for k, month in enumerate(("Jan", "Feb", "Mar", "Apr", "May")):
        pen.words(130 + k * 104, 305, month, 18, (70, 74, 84), "mm")
    plain = _finish(pen)
    pen.words(320, 338, total, 25, (196, 60, 50), "mm")
    full = _finish(pen)
    heights = rng.uniform(60, 180, 5)
    hues = ((232, 120, 80), (244, 184, 80), (110, 170, 130), (80, 140, 190), (150, 110, 180))
    columns = []
    for height, colour in zip(heights, hues, strict=True):
        column = Pen(64, float(height))
        column.box(0, 0, 63, float(height) + 8, colour, 6)
        columns.append(column.done())

    def draw(t: float) -> Image.Image:
        picture = (full if t >= 1.6 else plain).copy()
        for k, column in enumerate(columns):
            grown = int(column.height * min(1.0, max(0.0, t * 1.4 - k * 0.25)))
            if grown:
                put(picture, column.crop((0, 0, 64, grown)), 98 + k * 104, 289 - grown)
        return picture

    return Scene(f"a bar chart titled {title}", draw, ((title, 0.0), (total, 1.6)))


def title_card(rng: Random, title: str, below: str = "") -> Scene:
    """A title on a coloured ground with drifting circles."""
    hue = [(38, 70, 83), (112, 54, 70), (44, 84, 62), (60, 52, 100), (120, 74, 40)][int(rng.integers(5))]
    pen = Pen(WIDTH, HEIGHT, hue)
    pen.shade(tint(hue, 0.12), tint(hue, -0.25))
    ground = _finish(pen)
    text = Pen(WIDTH, 150)
    text.words(320, 52, title, 46, (255, 248, 232), "mm")
    text.line([(250, 92), (390, 92)], (240, 176, 90), 4)
    text.words(320, 122, below, 23, (236, 226, 208), "mm")
    words = text.done()
    discs = [glow(float(rng.uniform(40, 110)), tint(hue, 0.5), 0.5) for _ in range(6)]
    places = [(float(rng.uniform(0, 560)), float(rng.uniform(0, 300)), float(rng.uniform(-16, 16))) for _ in range(6)]

    def draw(t: float) -> Image.Image:
        picture = ground.copy()
        for disc, (x, y, drift) in zip(discs, places, strict=True):
            put(picture, disc, x + drift * t - 60, y - 60)
        put(picture, words, 0, 106)
        return picture

    return Scene(f"a title card that reads {title}", draw, tuple((text, 0.0) for text in (title, below) if text))


# Night.


def snowy_village(rng: Random) -> Scene:
    """Snow falls on a village at night."""
    pen = Pen(WIDTH, HEIGHT, (14, 20, 44))
    pen.shade((8, 12, 32), (34, 46, 86), 0, 260)
    for _ in range(50):
        pen.disc(
            float(rng.uniform(0, WIDTH)), float(rng.uniform(0, 160)), float(rng.uniform(0.6, 1.5)), (150, 160, 200)
        )
    pen.shape(
        [(0, 220), (130, 120), (260, 210), (400, 110), (560, 200), (WIDTH, 150), (WIDTH, 300), (0, 300)], (22, 30, 62)
    )
    pen.oval(320, 330, 480, 90, (74, 86, 130))
    for k in range(5):
        x, y, width = 50 + k * 118 + float(rng.uniform(-12, 12)), 216 + float(rng.uniform(-8, 22)), 82.0
        pen.box(x, y, x + width, y + 64, (44, 36, 48))
        pen.shape([(x - 10, y), (x + width / 2, y - 42), (x + width + 10, y)], (104, 116, 158))
        for left in (14, 50):
            pen.box(x + left, y + 16, x + left + 18, y + 38, (250, 196, 96), 2)
    ground = _finish(pen)
    moon = glow(70, (230, 232, 250), 0.9)
    flakes = rng.uniform(0, 1, (90, 4))

    def draw(t: float) -> Image.Image:
        picture = ground.copy()
        put(picture, moon, 486, -16)
        # Many small dots are painted at the large scale and used as they are.
        snow = Pen(WIDTH / OVERSIZE, HEIGHT / OVERSIZE)
        for x, y, speed, size in flakes:
            left = (x * WIDTH + 18 * math.sin(t + x * 20)) / OVERSIZE
            snow.disc(
                left,
                ((y * HEIGHT + t * (34 + 50 * speed)) % HEIGHT) / OVERSIZE,
                (1.0 + 1.6 * size) / OVERSIZE,
                (226, 230, 246),
            )
        put(picture, snow.image, 0, 0)
        return picture

    return Scene("snow falls on a quiet village at night, light in the windows", draw)


def owl(rng: Random) -> Scene:
    """An owl on a branch blinks in the moonlight."""
    pen = Pen(WIDTH, HEIGHT, (12, 18, 38))
    pen.shade((18, 26, 56), (8, 12, 28))
    pen.line([(-10, 262), (220, 250), (660, 280)], (40, 30, 34), 20)
    pen.line([(430, 262), (540, 200), (600, 190)], (40, 30, 34), 9)
    for _ in range(26):
        x, y = float(rng.uniform(0, WIDTH)), float(rng.choice([rng.uniform(0, 50), rng.uniform(300, 350)]))
        pen.oval(x, y, 26, 9, (20, 34, 40))
    pen.oval(300, 188, 52, 70, (74, 58, 54))
    pen.oval(300, 206, 34, 46, (112, 92, 78))
    for side in (-1, 1):
        pen.shape([(300 + side * 14, 112), (300 + side * 44, 92), (300 + side * 46, 132)], (74, 58, 54))
        pen.oval(300 + side * 46, 200, 13, 48, (56, 44, 44))
        pen.disc(300 + side * 20, 146, 19, (150, 128, 104))
    pen.shape([(293, 160), (307, 160), (300, 174)], (220, 160, 70))
    ground = _finish(pen)
    moon = glow(100, (226, 228, 246), 0.8)
    eye = Pen(90, 40)
    for side in (-1, 1):
        eye.disc(45 + side * 20, 20, 13, (250, 204, 80))
        eye.disc(45 + side * 20, 20, 7, (16, 14, 18))
    eyes = eye.done()

    def draw(t: float) -> Image.Image:
        picture = ground.copy()
        put(picture, moon, 420 - t * 5, -30)
        if t % 2.1 > 0.16:
            put(picture, eyes, 255 + 3 * math.sin(t * 1.2), 126)
        return picture

    return Scene("an owl sits on a branch in the moonlight", draw)


# Park.


def dog_runs(rng: Random, pan: float = 90.0) -> Scene:
    """A dog runs after a ball through the park; the camera pans along."""
    ground = _park(int(rng.integers(3)))
    dogs = [dog(k / 8) for k in range(8)]
    balls = [beach_ball(15, turn) for turn in range(0, 120, 20)]

    def draw(t: float) -> Image.Image:
        left = int(min(PARK_WIDTH - WIDTH, 100 + pan * t))
        picture = ground.crop((left, 0, left + WIDTH, HEIGHT))
        put(picture, dogs[int(t * 16) % 8], 150 + 60 * math.sin(t * 0.9), 236 - 12 * abs(math.sin(t * 8)))
        put(picture, balls[int(t * 12) % 6], 420 + 50 * math.sin(t * 0.7), 286 - 46 * abs(math.sin(t * 3.4)))
        return picture

    return Scene("a brown dog runs after a ball in the park", draw)


def park_whip(rng: Random, begin: float = 1.0, seconds: float = 0.36) -> Scene:
    """The camera stands, whips across the park, and stands again: one shot, no cut."""
    ground = _park(int(rng.integers(3)))
    child = person(0, shirt=(226, 90, 80), trousers=(70, 90, 110), stride=0.1, reach=0.8, height=150)
    scenery = ground.copy()
    put(scenery, child, 1010, 176)
    pixels = np.asarray(scenery)

    def draw(t: float) -> Image.Image:
        left, right = (int(40 + 760 * _eased((t + d - begin) / seconds)) for d in (0, 0.025))
        views = [pixels[:, x : x + WIDTH] for x in np.unique(np.linspace(left, right, 9).astype(int))]
        blurred = np.mean(views, axis=0, dtype=np.float32) if len(views) > 1 else views[0]
        return Image.fromarray(np.asarray(blurred, np.uint8))

    return Scene("the camera whips across the park to a child who waves", draw)


def _eased(share: float) -> float:
    share = min(1.0, max(0.0, share))
    return share * share * (3 - 2 * share)


PARK_WIDTH = 1500


@cache
def _park(seed: int) -> Image.Image:
    rng = np.random.default_rng(100 + seed)
    pen = Pen(PARK_WIDTH, HEIGHT, (190, 226, 246))
    pen.shade((146, 206, 242), (232, 244, 244), 0, 200)
    for x in range(0, PARK_WIDTH, 230):
        pen.oval(x, 216, 200, 70, _shade(rng, (156, 202, 140)))
    pen.box(0, 212, PARK_WIDTH, HEIGHT, (130, 188, 104))
    pen.shape([(0, 318), (500, 290), (1000, 312), (PARK_WIDTH, 292), (PARK_WIDTH, 340), (0, 352)], (232, 212, 170))
    for x in (330, 960):
        pen.box(x, 226, x + 110, 236, (146, 98, 62), 3)
        pen.box(x, 244, x + 110, 254, (146, 98, 62), 3)
        for left in (10, 92):
            pen.box(x + left, 226, x + left + 7, 278, (80, 70, 70))
    picture = _finish(pen)
    for x in range(20, PARK_WIDTH, 170):
        height = float(rng.uniform(170, 240))
        green = _shade(rng, (92, 164, 92) if rng.uniform() < 0.75 else (226, 150, 80), 0.15)
        put(picture, tree(height, green), x + float(rng.uniform(-40, 40)), 256 - height)
    return picture


PLACES: dict[str, Callable[[Random], Scene]] = {
    "red pot": red_pot,
    "soup": soup_from_above,
    "bowl": bowl_on_table,
    "car": car_passes,
    "following": beside_the_car,
    "beach": beach,
    "sea": ball_at_sea,
    "red door": red_door,
    "garden": garden,
    "village": snowy_village,
    "owl": owl,
    "dog": dog_runs,
}
"""The scenes that need nothing but a random generator."""
