"""Search by picture with an encoder of CLIP ViT-B/32's size and random weights, over twenty clips.

    SACCADE_TEST_DATA=... python benchmarks/image_search.py

A frame is cut from each clip at a time that is not one of the indexed ones, saved as a picture, and searched for. The
first hit should be the moment it was cut from. Random weights tell pixels apart, not meanings: this proves the path
from file to moment, not the eyes. Without $SACCADE_TEST_DATA the demo's films are drawn and used.
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
SUFFIXES = (".mp4", ".avi", ".gif")


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        encoder = clip_b32(folder / "clip-b32").folder
        clips = chosen_clips(folder / "films")
        began = time.perf_counter()
        with saccade.open(folder / "library", encoder=str(encoder)) as library:
            library.add(*clips, senses=["seen"], mode="exact")
            seconds = time.perf_counter() - began
            print(f"{len(clips)} clips indexed in {seconds:.0f} s, encoder {library.encoder().name}")
            right = sum(finds_itself(library, clip, folder / "frame.png") for clip in clips)
        print(f"{right} of {len(clips)} frames found the moment they were cut from, first")


def chosen_clips(folder: Path) -> list[Path]:
    """Twenty clips of 2 to 60 s with different contents."""
    data = os.environ.get("SACCADE_TEST_DATA")
    if not data:
        demo_films(folder)
        return sorted(folder.glob("*.mp4"))
    files = sorted(file for file in Path(data, "clips").iterdir() if file.suffix in SUFFIXES)
    return [file for file in files if not file.name.startswith("sign_") and 2 < probe(file).duration < 60][:CLIPS]


def finds_itself(library: saccade.Library, clip: Path, picture: Path) -> bool:
    second = 0.45 * probe(clip).duration
    Image.fromarray(next(sample(clip, at=[second])).images[0]).save(picture)
    hit = library.search(image=picture)[0]
    right = Path(hit.path) == clip and hit.span.start <= second < hit.span.end
    if not right:
        print(f"{clip.name} at {second:.2f} s: found {Path(hit.path).name} {hit.span}")
    return right


if __name__ == "__main__":
    main()
