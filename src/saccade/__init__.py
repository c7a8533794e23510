"""saccade finds, grounds and describes what happens in video.

import saccade
lib = saccade.open("library")
lib.add("talk.mp4")
for hit in lib.search("she opens the red door", k=5):
    print(hit.path, hit.span, hit.confidence)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from saccade.errors import SaccadeError
    from saccade.library import Library, open
    from saccade.types import (
        Coverage,
        Features,
        Frames,
        GroundResult,
        Hit,
        Match,
        Moment,
        SearchResult,
        Shot,
        Span,
        TimedText,
        Timestamp,
        VideoInfo,
    )

__version__ = "0.1.0"

__all__ = [
    "Coverage",
    "Features",
    "Frames",
    "GroundResult",
    "Hit",
    "Library",
    "Match",
    "Moment",
    "SaccadeError",
    "SearchResult",
    "Shot",
    "Span",
    "TimedText",
    "Timestamp",
    "VideoInfo",
    "open",
]


def __getattr__(name: str) -> Any:
    """Names are loaded on first use: ``import saccade`` costs nothing."""
    if name not in __all__:
        raise AttributeError(f"module 'saccade' has no attribute {name!r}")
    home = "library" if name in ("Library", "open") else "errors" if name == "SaccadeError" else "types"
    return getattr(import_module(f"saccade.{home}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
