"""Reading video: probe, sample, watch, shots, sound, subtitles, speech and text on screen (NumPy and PyAV only)."""

from saccade.video.probe import probe
from saccade.video.sample import sample
from saccade.video.strip import strip

__all__ = ["probe", "sample", "strip"]
