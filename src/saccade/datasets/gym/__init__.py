"""Draws video whose ground truth is known exactly."""
