"""Reading video: probe, sample, watch, shots, sound, subtitles, speech and text on screen (NumPy and PyAV only)."""
