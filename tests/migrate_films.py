"""Goes over to another encoder in a process of its own, which kills itself at its third batch of frames.

python migrate_films.py LIBRARY
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

import numpy as np

import saccade.encode
from films import MeanColour
from saccade.ingest import seeing
from saccade.maintain import migrate


class Eyes(MeanColour):
    """MeanColour with a text side: every sentence is like grey."""

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        return np.full((len(texts), 4), 0.5, np.float32)


def main(library: str) -> None:
    seeing.PART_SECONDS = 2.0
    batches = 0

    def die_at_the_third() -> None:
        nonlocal batches
        batches += 1
        if batches == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    saccade.encode.load_encoder = lambda name, **_: Eyes(name, before=die_at_the_third)
    migrate(library, "second@1")


if __name__ == "__main__":
    main(*sys.argv[1:])
