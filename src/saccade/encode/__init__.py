"""Frames and text to vectors."""
