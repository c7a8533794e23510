"""Indexes a folder in a process of its own, which a test may kill: python index_films.py LIBRARY FOLDER [MOMENT]

MOMENT names where the process kills itself: see MOMENTS. Prints when it begins, then how many frames were encoded.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from functools import partial

from films import MeanColour, Parrot
from saccade.index.catalog import Catalog
from saccade.index.writer import Writer
from saccade.ingest import ingest, reading, seeing
from saccade.video import speech


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dies_at(call: int, of: Callable, *, after: bool = False) -> Callable:
    """``of``, dying at its n-th call, before or after it does its work."""
    calls = 0

    def counted(*arguments: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if calls == call and not after:
            die()
        result = of(*arguments, **options)
        if calls == call:
            die()
        return result

    return counted


MOMENTS = {
    "decoding": (MeanColour, "encode_frames", 2, False),
    "inside a transaction": (Writer, "put_vectors", 2, True),
    "between two parts": (Catalog, "remove_unnamed", 2, False),
    "between the proxy's joining and its commit": (seeing, "join_proxy", 1, True),
    "between the last commit and the sweep": (Catalog, "sweep", 2, False),
    "reading subtitles": (reading, "read_subtitles", 1, True),
    "hearing": (Parrot, "transcribe", 1, True),
}


def main(library: str, folder: str, moment: str = "") -> None:
    seeing.PART_SECONDS = reading.COMMIT_SECONDS = 2.0
    reading.read_audio = partial(reading.read_audio, chunk_seconds=2.0)
    speech.load_recognizer = lambda model, language: Parrot()
    if moment:
        owner, name, call, after = MOMENTS[moment]
        setattr(owner, name, dies_at(call, getattr(owner, name), after=after))
    with Catalog.open(library, create=True) as catalog:
        print("begun", flush=True)
        encoder = MeanColour()
        report = ingest(catalog, [folder], encoder=encoder, senses=("seen", "subtitles", "said"), mode="exact")
        print(encoder.frames, [file.outcome for file in report.files])


if __name__ == "__main__":
    main(*sys.argv[1:])
