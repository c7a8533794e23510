"""Reading video: probe, sample, watch, shots, sound, subtitles, speech and text on screen (NumPy and PyAV only).

Decoding happens in a child process (``worker``), so that importing this room does not import PyAV.
"""

from typing import TYPE_CHECKING, Any

from saccade.video.probe import probe
from saccade.video.sample import sample
from saccade.video.shots import Cut
from saccade.video.strip import strip
from saccade.video.watch import Part, watch
from saccade.video.worker import Worker

if TYPE_CHECKING:
    from saccade.video.proxy import join_proxy

__all__ = ["Cut", "Part", "Worker", "join_proxy", "probe", "sample", "strip", "watch"]


def __getattr__(name: str) -> Any:
    if name == "join_proxy":
        from saccade.video.proxy import join_proxy

        return join_proxy
    raise AttributeError(name)
