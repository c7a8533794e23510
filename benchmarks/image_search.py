"""Search by picture with an encoder of CLIP ViT-B/32's size and random weights, over twenty clips.

    SACCADE_TEST_DATA=... python benchmarks/image_search.py

A frame is cut from each clip, saved as a picture, and searched for: once a frame that was indexed, once one half-way
between two that were. The first hit should be the moment it was cut from. Random weights tell pixels apart, not
meanings: this proves the path from file to moment, not the eyes. Without $SACCADE_TEST_DATA the demo's films are drawn
and used.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

import saccade
from saccade.datasets.gym import demo_films
from saccade.video import probe, sample

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "encode"))
from tiny_models import clip_b32

CLIPS = 20
EVERY = 1.0
SUFFIXES = (".mp4", ".avi", ".gif")


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        encoder = clip_b32(folder / "clip-b32").folder
        clips = chosen_clips(folder / "films")
        began = time.perf_counter()
        with saccade.open(folder / "library", encoder=str(encoder)) as library:
            library.add(*clips, senses=["seen"], every=EVERY, mode="exact")
            seconds = time.perf_counter() - began
            print(f"{len(clips)} clips indexed in {seconds:.0f} s, encoder {library.encoder().name}")
            for what, shift in (("indexed", 0.0), ("half-way", EVERY / 2)):
                found = [found_where(library, clip, shift, folder / "frame.png") for clip in clips]
                print(
                    f"{what} frames: {sum(place is True for place in found)} of {len(clips)} moments first, "
                    f"{sum(place is not None for place in found)} of {len(clips)} videos first"
                )


def chosen_clips(folder: Path) -> list[Path]:
    """Twenty clips of 2 to 60 s with different contents."""
    data = os.environ.get("SACCADE_TEST_DATA")
    if not data:
        demo_films(folder)
        return sorted(folder.glob("*.mp4"))
    files = sorted(file for file in Path(data, "clips").iterdir() if file.suffix in SUFFIXES)
    return [file for file in files if not file.name.startswith("sign_") and 2 < probe(file).duration < 60][:CLIPS]


def found_where(library: saccade.Library, clip: Path, shift: float, picture: Path) -> bool | None:
    """Whether the first hit is the moment the frame was cut from; None where it is another video."""
    seconds = library.features(str(clip)).seconds
    second = float(seconds[len(seconds) // 2]) + shift
    Image.fromarray(next(sample(clip, at=[second])).images[0]).save(picture)
    hit = library.search(image=picture)[0]
    if Path(hit.path) != clip:
        return None
    return hit.span.start <= second < hit.span.end


if __name__ == "__main__":
    main()
