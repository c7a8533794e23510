"""Short films with a sentence of sidecar subtitles every three seconds, for tests of the whole way."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from saccade.datasets.gym import write_video

SECONDS_A_LINE = 3
LINES = {
    "talk": ["Welcome to the yearly budget meeting", "The cost of the bridge has doubled", "Any questions so far"],
    "kitchen": ["First we melt the butter slowly", "Now add one spoon of mayonnaise", "Serve it with fresh bread"],
}


def subtitled_film(path: Path, lines: list[str]) -> Path:
    """A shot and a sentence every three seconds; films of different first lines differ in their pictures too."""

    def pictures():
        grey = 20 + sum(map(ord, lines[0])) % 100  # files of one content would be one video
        for line in range(len(lines)):
            picture = np.full((64, 96, 3), grey, np.uint8)
            picture[..., line % 3] = 200
            for _ in range(10 * SECONDS_A_LINE):
                yield picture

    write_video(path, pictures(), fps=10, keyframe_every=10)
    starts = [SECONDS_A_LINE * n for n in range(len(lines))]
    cues = [
        f"{n}\n00:00:{start:02d},000 --> 00:00:{start + SECONDS_A_LINE:02d},000\n{line}\n"
        for n, (start, line) in enumerate(zip(starts, lines, strict=True), 1)
    ]
    path.with_suffix(".srt").write_text("\n".join(cues))
    return path
