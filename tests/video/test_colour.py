"""Colours as the stream means them, pictures upright and square."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest

from saccade.video import Worker, probe, sample
from saccade.video.colour import Upright, fit_short_side, on_white, shown_size

BARS = np.array([*itertools.product((0, 255), repeat=3), (128, 128, 128), (200, 60, 30), (30, 200, 60), (30, 60, 200)])
WEIGHTS = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}
NAMES = {1: "bt709", 5: "bt470bg", 6: "smpte170m", 9: "bt2020nc"}


def _ycbcr(rgb: npt.NDArray[Any], matrix: int, full: bool, bits: int) -> npt.NDArray[np.int64]:
    """(N, 3) RGB in 0..255 -> (3, N) codes, straight from H.273."""
    red_weight, blue_weight = WEIGHTS[matrix]
    red, green, blue = (rgb / 255).T
    luma = red_weight * red + (1 - red_weight - blue_weight) * green + blue_weight * blue
    blues, reds = (blue - luma) / (2 - 2 * blue_weight), (red - luma) / (2 - 2 * red_weight)
    step, top = 2 ** (bits - 8), 2**bits - 1
    if full:
        codes = [luma * top, blues * top + 128 * step, reds * top + 128 * step]
    else:
        codes = [(219 * luma + 16) * step, (224 * blues + 128) * step, (224 * reds + 128) * step]
    return np.array(codes).round().clip(0, top).astype(np.int64)


def _bars(path: Path, matrix: int | None, full: bool, pixel_format: str, size: tuple[int, int], meant: int) -> Path:
    """A film of one frame of bars, lossless, tagged with a matrix and range (None: not tagged)."""
    bits = 10 if "10" in pixel_format else 8
    width, height = size
    frame = av.VideoFrame(width, height, pixel_format)
    codes = _ycbcr(BARS, meant, full, bits)
    for plane, values in zip(frame.planes, codes, strict=True):
        rows = np.frombuffer(plane, np.uint16 if bits == 10 else np.uint8).reshape(plane.height, -1)
        which = np.arange(plane.width) * len(BARS) // plane.width
        rows[:, : plane.width] = values[which]
    with av.open(str(path), "w") as film:
        stream: Any = film.add_stream("libx264", rate=25, options={"qp": "0", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        if matrix is not None:
            stream.codec_context.colorspace = matrix
            stream.codec_context.color_range = 2 if full else 1
        film.mux(stream.encode(frame))
        film.mux(stream.encode(None))
    return path


def _seen(path: Path, worker: Worker, short_side: int | None = None) -> npt.NDArray[np.int64]:
    (frames,) = sample(path, worker=worker, short_side=short_side)
    image = frames.images[0]
    columns = ((np.arange(len(BARS)) + 0.5) * image.shape[1] / len(BARS)).astype(int)
    return image[image.shape[0] // 2, columns].astype(np.int64)


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p", "yuv420p10le"])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", list(WEIGHTS))
def test_bars_keep_their_colours(tmp_path: Path, worker: Worker, matrix: int, full: bool, pixel_format: str) -> None:
    path = _bars(tmp_path / "bars.mp4", matrix, full, pixel_format, (12 * 32, 64), meant=matrix)
    info = probe(path, worker=worker)
    assert (info.colour.matrix, info.colour.range) == (NAMES[matrix], "pc" if full else "tv")
    assert info.bit_depth == (10 if "10" in pixel_format else 8)
    assert np.abs(_seen(path, worker) - BARS).max() <= 2
    assert np.abs(_seen(path, worker, short_side=24) - BARS).max() <= 2


@pytest.mark.parametrize("size, assumed", [((12 * 32, 64), 6), ((1296, 64), 1), ((12 * 32, 720), 1)])
def test_an_unnamed_matrix_goes_by_size(tmp_path: Path, worker: Worker, size: tuple[int, int], assumed: int) -> None:
    path = _bars(tmp_path / "bars.mp4", None, False, "yuv420p", size, meant=assumed)
    assert probe(path, worker=worker).colour.matrix == "unknown"
    assert np.abs(_seen(path, worker) - BARS).max() <= 2


def test_high_dynamic_range_is_brought_to_screen_white(tmp_path: Path, worker: Worker) -> None:
    nits = np.array([0, 5, 20, 50, 100, 203, 400, 1000])
    root = (nits / 10_000) ** (2610 / 16384)
    coded = ((3424 / 4096 + 2413 / 128 * root) / (1 + 2392 / 128 * root)) ** (2523 / 32)  # SMPTE ST 2084
    frame = av.VideoFrame(len(nits) * 32, 64, "yuv420p10le")
    for plane, values in zip(frame.planes, (64 + 876 * coded, np.full(8, 512), np.full(8, 512)), strict=True):
        rows = np.frombuffer(plane, np.uint16).reshape(plane.height, -1)
        rows[:, : plane.width] = np.repeat(values.round().astype(np.uint16), plane.width // len(nits))
    with av.open(str(tmp_path / "pq.mp4"), "w") as film:
        stream: Any = film.add_stream("libx264", rate=25, options={"qp": "0", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = frame.width, 64, "yuv420p10le"
        context = stream.codec_context
        context.colorspace, context.color_range, context.color_primaries, context.color_trc = 9, 1, 9, 16
        film.mux(stream.encode(frame))
        film.mux(stream.encode(None))
    (frames,) = sample(tmp_path / "pq.mp4", worker=worker)
    linear = (nits / 203).clip(0, 1)
    expected = 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert np.abs(frames.images[0, 32, 16::32].astype(float) - expected[:, None]).max() < 8


EIGHT_WAYS = [(degrees, mirror) for degrees in (0, 90, 180, 270) for mirror in (False, True)]


@pytest.mark.parametrize("degrees, mirror", EIGHT_WAYS)
def test_pictures_are_upright(film: Callable[..., Path], worker: Worker, degrees: int, mirror: bool) -> None:
    picture = np.zeros((64, 128, 3), np.uint8)
    picture[:32, :64], picture[:32, 64:], picture[32:, :64] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    turned = np.rot90(picture, degrees // 90)
    turned = turned[:, ::-1] if mirror else turned
    path = film("turned.mp4", [0, 1], turn=(degrees, mirror, False), draw=lambda _: picture)
    (frames,) = sample(path, worker=worker)
    assert frames.images.shape[1:] == turned.shape
    assert np.abs(frames.images[0].astype(int) - turned)[4:-4, 4:-4].mean() < 12
    info = probe(path, worker=worker)
    assert (info.height, info.width) == turned.shape[:2]
    assert (info.coded_width, info.coded_height) == (128, 64)
    assert info.rotation in ((-degrees % 360,) if not mirror else (-degrees % 360, degrees))


@pytest.mark.parametrize(
    "aspect, shown", [(Fraction(4, 3), (171, 64)), (Fraction(1, 2), (128, 128)), (Fraction(64, 45), (182, 64))]
)
def test_pixels_are_made_square(
    film: Callable[..., Path], worker: Worker, aspect: Fraction, shown: tuple[int, int]
) -> None:
    path = film("wide.mp4", [0, 1], aspect=aspect)
    info = probe(path, worker=worker)
    assert (info.width, info.height, info.pixel_aspect) == (*shown, aspect)
    (frames,) = sample(path, worker=worker)
    assert frames.images.shape[1:3] == shown[::-1]


def test_odd_sizes_arrive_whole(film: Callable[..., Path], worker: Worker) -> None:
    path = film("odd.mp4", [0, 1, 2], size=(131, 67), pixel_format="yuv444p")
    (frames,) = sample(path, worker=worker)
    assert frames.images.shape == (3, 67, 131, 3)


def test_transparency_lies_on_white(tmp_path: Path, worker: Worker) -> None:
    from PIL import Image

    see_through = np.zeros((40, 60, 4), np.uint8)
    see_through[:, :30] = (200, 30, 30, 255)
    other = see_through.copy()
    other[:10, :30] = (30, 30, 200, 255)
    first, second = (Image.fromarray(image) for image in (see_through, other))
    first.save(tmp_path / "see.gif", save_all=True, append_images=[second], duration=500, disposal=2)
    (frames,) = sample(tmp_path / "see.gif", worker=worker)
    assert len(frames) == 2
    assert (frames.images[:, :, 35:] == 255).all()
    assert np.abs(frames.images[0, :, 5:25].astype(int) - (200, 30, 30)).max() < 6


def test_half_transparent_pixels_are_mixed() -> None:
    image = np.array([[[100, 0, 200, 255], [100, 0, 200, 0], [100, 0, 200, 51]]], np.uint8)
    assert on_white(image).tolist() == [[[100, 0, 200], [255, 255, 255], [224, 204, 244]]]


def test_sizes_never_grow_or_vanish() -> None:
    assert fit_short_side(1000, 1, 1) == (1000, 1)
    assert fit_short_side(10, 3000, 5) == (5, 1500)
    assert shown_size(720, 576, Fraction(16, 11), Upright()) == (1047, 576)
    assert shown_size(720, 576, Fraction(16, 11), Upright(transpose=True)) == (576, 1047)


def _turns() -> Iterator[Upright]:
    for transpose, flip_x, flip_y in itertools.product((False, True), repeat=3):
        yield Upright(transpose, flip_x, flip_y)


def test_turns_say_their_degrees() -> None:
    image = np.arange(6, dtype=np.uint8).reshape(2, 3, 1)
    for upright in _turns():
        turned = upright.apply(image)
        clockwise = np.rot90(image, -upright.degrees // 90)
        assert any(np.array_equal(turned, way) for way in (clockwise, clockwise[:, ::-1], clockwise[::-1]))
