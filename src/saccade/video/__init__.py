"""Reading video: probe, sample, watch, shots, sound, subtitles, speech and text on screen (NumPy and PyAV only).

Decoding happens in a child process (``worker``), so that importing this room does not import PyAV.
"""

from typing import TYPE_CHECKING, Any

from saccade.video.probe import probe
from saccade.video.sample import sample
from saccade.video.shots import Cut
from saccade.video.watch import Part, watch
from saccade.video.worker import Worker

if TYPE_CHECKING:
    from saccade.video.pictures import strip
    from saccade.video.proxy import join_proxy

__all__ = ["Cut", "Part", "Worker", "join_proxy", "probe", "sample", "strip", "watch"]


def __getattr__(name: str) -> Any:
    """What needs PyAV or Pillow is loaded on first use."""
    if name == "join_proxy":
        from saccade.video.proxy import join_proxy

        return join_proxy
    if name == "strip":
        from saccade.video.pictures import strip

        return strip
    raise AttributeError(name)
