"""The one pass over a file: frames for the encoder, shot boundaries and the proxy, part by part."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from saccade.errors import InputError
from saccade.types import Frames, Gap, Span
from saccade.video.sample import MODES, Seconds, exact_seconds
from saccade.video.shots import Cut
from saccade.video.worker import Worker

SHORT_SIDE = 480
"""Frames for an encoder are shrunk to this short side: more than encoders look at, a sixth of 1080p's bytes."""


@dataclass(frozen=True)
class Part:
    """Closes a stretch of a file: everything up to ``span.end`` has been handed out.

    index: counts stretches of ``part_seconds`` from the start of the file. cuts: boundaries with
    ``cuts_until`` of the part before <= seconds < cuts_until, decided some seconds late; the last part's hold the
    rest. frames_decoded: by this pass, also to place cuts. gaps: seconds whose pictures could not be read. mode:
    the one really used. time_error: the largest distance in seconds between a frame handed out and the one on
    display. proxy: the part's file, None where none was asked for or the part holds nothing.
    """

    index: int
    span: Span
    cuts: tuple[Cut, ...]
    cuts_until: float
    frames_decoded: int
    gaps: tuple[Gap, ...]
    mode: str
    time_error: float
    proxy: str | None
    last: bool


def watch(
    path: str | Path,
    *,
    every: Seconds = 1.0,
    begin: Seconds = 0.0,
    cuts_from: Seconds = 0.0,
    part_seconds: Seconds = 120.0,
    mode: str = "auto",
    proxy: str | Path | None = None,
    shots: bool = True,
    frames: bool = True,
    short_side: int | None = SHORT_SIDE,
    worker: Worker | None = None,
) -> Iterator[Frames | Part]:
    """Read a file once; yield batches of Frames and, behind those of each stretch, its Part.

    Frames are those on display at 0, ``every``, 2 · ``every``, … (see ``sample`` for the modes), each frame once,
    at most ``short_side`` pixels on its short side. ``proxy``: a path stem; "<stem>.partNNNN.mp4" is complete on
    disk when its Part is yielded (see saccade.video.proxy). Files with sound only give Parts without Frames.

    To resume, give the last stored Part's ``span.end`` as ``begin`` and its ``cuts_until`` as ``cuts_from``: what
    follows is what an uninterrupted pass would have yielded. Raises InputError, SourceGone, UnreadableMedia
    (nothing can be decoded) or DecoderCrashed.
    """
    times = {name: exact_seconds(value) for name, value in (("begin", begin), ("cuts_from", cuts_from))}
    steps = {name: exact_seconds(value) for name, value in (("every", every), ("part_seconds", part_seconds))}
    if min(steps.values()) <= 0 or min(times.values()) < 0:
        raise InputError(
            f"times are not negative and steps positive, got {every=} {begin=} {cuts_from=} {part_seconds=}"
        )
    if mode not in MODES:
        raise InputError(f"mode is one of {', '.join(MODES)}, got {mode!r}")
    arguments: dict[str, object] = {name: str(value) for name, value in (times | steps).items()}
    arguments |= {"path": str(path), "mode": mode, "proxy": None if proxy is None else str(proxy)}
    arguments |= {"shots": shots, "frames": frames, "short_side": short_side}
    return _run(arguments, worker)


def _run(arguments: dict[str, object], worker: Worker | None) -> Iterator[Frames | Part]:
    owned = contextlib.nullcontext(worker) if worker else Worker()
    with owned as worker:
        job = worker.run("saccade.video.watching:watch_file", **arguments)
        with contextlib.closing(job):  # type: ignore[type-var]
            for header, arrays in job:
                if "part" in header:
                    yield _part(header["part"])
                else:
                    pts = np.array(header["pts"], np.int64)
                    yield Frames(arrays[0], pts, Fraction(header["time_base"]), Fraction(header["start"]))


def _part(facts: dict[str, Any]) -> Part:
    return Part(
        **{
            **facts,
            "span": Span(*facts["span"]),
            "cuts": tuple(Cut(*cut) for cut in facts["cuts"]),
            "gaps": tuple(Gap(Span(begin, end), reason) for begin, end, reason in facts["gaps"]),
        }
    )
