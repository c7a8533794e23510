"""Frames of a video at chosen times."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from saccade.errors import InputError
from saccade.types import Frames
from saccade.video.worker import Worker

MODES = ("exact", "nonref", "keyframes", "auto")

Seconds = float | Fraction


def sample(
    path: str | Path,
    every: Seconds | None = None,
    *,
    fps: Seconds | None = None,
    max_frames: int | None = None,
    count: int | None = None,
    at: Sequence[Seconds] | None = None,
    mode: str = "exact",
    short_side: int | None = None,
    batch: int | None = None,
    worker: Worker | None = None,
) -> Iterator[Frames]:
    """Yield batches of frames, uint8 (T, H, W, 3) RGB as displayed, each with its own true timestamp.

    With no choice each frame comes once. Otherwise one row per time, in ascending order, times in seconds since
    the container's start; the frame on display at a time is the last one at or before it, and before the first
    frame the first one stands in. One frame that is on display at several times gives several rows.

    every: at 0, s, 2s, … before the end of the video stream. fps: the same with 1/fps; beyond ``max_frames``
    rows, that many spread evenly instead. count: at the middles of ``count`` equal stretches. at: at these
    times; behind the end the last frame stays.

    mode: exact decodes all it needs. nonref skips frames that no other needs: what is returned may be the frame
    before the one on display (two before in old streams with runs of such frames). keyframes returns the last
    keyframe. auto takes keyframes where they lie at most 2 s apart, else nonref. Where a container keeps no
    timestamps of its own (AVI), every mode is exact. Timestamps are true in every mode.

    short_side: shrink to this many pixels (never enlarge). batch: at most so many frames at once, and never
    more than fit 8 MiB. A picture that changes its size begins a new batch. Damaged stretches are passed over.
    Raises InputError, SourceGone, UnreadableMedia or DecoderCrashed.
    """
    if sum(choice is not None for choice in (every, fps, count, at)) > 1:
        raise InputError("choose one of every, fps, count and at")
    if max_frames is not None and fps is None:
        raise InputError("max_frames caps fps, which is not given")
    if mode not in MODES:
        raise InputError(f"mode is one of {', '.join(MODES)}, got {mode!r}")
    for name, number in (("max_frames", max_frames), ("count", count), ("short_side", short_side), ("batch", batch)):
        if number is not None and number < 1:
            raise InputError(f"{name} is at least 1, got {number}")
    step = _positive("every", every) if every is not None else 1 / _positive("fps", fps) if fps is not None else None
    arguments: dict[str, object] = {
        "path": str(path),
        "every": None if step is None else str(step),
        "most": max_frames,
        "count": count,
        "at": None if at is None else [str(second) for second in sorted(_times(at))],
        "mode": mode,
        "short_side": short_side,
        "batch": batch,
    }
    return _run(arguments, worker)


def _run(arguments: dict[str, object], worker: Worker | None) -> Iterator[Frames]:
    owned = contextlib.nullcontext(worker) if worker else Worker()
    with owned as worker:
        job = worker.run("saccade.video.sampling:sample_frames", **arguments)
        with contextlib.closing(job):  # type: ignore[type-var]
            for header, (images,) in job:
                pts = np.array(header["pts"], np.int64)
                yield Frames(images, pts, Fraction(header["time_base"]), Fraction(header["start"]))


def _times(at: Sequence[Seconds]) -> list[Fraction]:
    times = [exact_seconds(second) for second in at]
    if any(time < 0 for time in times):
        raise InputError(f"times count from the start of the video, got {float(min(times)):g} s")
    return times


def _positive(name: str, value: Seconds | None) -> Fraction:
    number = exact_seconds(value or 0)
    if number <= 0:
        raise InputError(f"{name} is positive, got {value}")
    return number


def exact_seconds(value: Seconds) -> Fraction:
    """The fraction that a number of seconds was meant as.

    >>> exact_seconds(0.1), exact_seconds(1 / 30), exact_seconds(2)
    (Fraction(1, 10), Fraction(1, 30), Fraction(2, 1))
    """
    if isinstance(value, Fraction):
        return value
    if not math.isfinite(value):
        raise InputError(f"seconds are finite, got {value}")
    near = Fraction(value).limit_denominator(1_000_000)
    return near if float(near) == value else Fraction(value)
