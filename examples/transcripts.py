"""Write what is said in each video of a library as subtitles: talk.mp4 becomes talk.vtt in the folder you name.

python examples/transcripts.py saccade-library subtitles
"""

from __future__ import annotations

import sys
from pathlib import Path

import saccade
from saccade.export import export


def main(library: str, folder: str) -> None:
    with saccade.open(library, create=False) as lib:
        for video in lib.info():
            if video.id is None:
                continue
            said = lib.texts(video.id, kinds=["said"])
            target = Path(folder) / f"{Path(video.path).stem}.vtt"
            export(said, "vtt", target)
            print(f"{target}: {len(said)} lines")


if __name__ == "__main__":
    main(*sys.argv[1:])
