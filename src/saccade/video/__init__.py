"""Reading video: probe, sample, watch, shots, sound, subtitles, speech and text on screen (NumPy and PyAV only)."""

from saccade.video.probe import probe
from saccade.video.sample import sample

__all__ = ["probe", "sample"]
