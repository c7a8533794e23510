"""What a media file says of itself."""

from __future__ import annotations

import contextlib
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

from saccade.types import Colour, StreamInfo, VideoInfo
from saccade.video.worker import Worker


def probe(path: str | Path, *, worker: Worker | None = None) -> VideoInfo:
    """Read a container's header and its first frame, which knows rotation and colours.

    Only local files are opened. Cover art counts as an attachment, not as video; ``rotation`` is the clockwise
    turn that displays the coded picture upright, already applied to width and height. Raises SourceGone,
    UnreadableMedia or DecoderCrashed.
    """
    owned = contextlib.nullcontext(worker) if worker else Worker()
    with owned as worker:
        ((facts, _),) = worker.run("saccade.video.media:describe", path=str(path))
    return info_from(facts)


def info_from(facts: dict[str, Any]) -> VideoInfo:
    """VideoInfo from its JSON-able form."""
    facts = dict(facts)
    for name in ("start", "pixel_aspect", "frame_rate", "time_base"):
        if facts.get(name) is not None:
            facts[name] = Fraction(facts[name])
    if facts["recorded"] is not None:
        facts["recorded"] = datetime.fromisoformat(facts["recorded"])
    if "colour" in facts:
        facts["colour"] = Colour(**facts["colour"])
    facts["streams"] = tuple(StreamInfo(**stream) for stream in facts["streams"])
    return VideoInfo(**facts)
