"""Draws video whose ground truth is known exactly.

``write_video`` writes any frames with every timestamp and track under control; ``draw_film`` joins illustrated
scenes into a film and returns its ``Truth``; ``demo_films`` draws a small library to try things on, and
``random_film`` as many films as are wanted.
"""

from saccade.datasets.gym.demo import demo_films, random_film
from saccade.datasets.gym.film import Boundary, Take, Truth, draw_film
from saccade.datasets.gym.write import Sound, TextTrack, write_srt, write_video

__all__ = [
    "Boundary",
    "Sound",
    "Take",
    "TextTrack",
    "Truth",
    "demo_films",
    "draw_film",
    "random_film",
    "write_srt",
    "write_video",
]
