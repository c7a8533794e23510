"""Small films for tests of ingestion, and an encoder whose vectors can be read: the mean colour of a frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from saccade.datasets.gym import Sound, write_video
from saccade.types import Span, Stretch, TimedText

RED, GREEN, BLUE, GREY = (200, 30, 30), (30, 200, 30), (30, 30, 200), (90, 90, 90)


def film(path: Path, colours: Sequence[tuple[int, int, int]], seconds: float = 4.0, sound: bool = False) -> Path:
    """A shot of ``seconds`` for each colour, ten frames a second, 96 × 64, a bright bar wandering through it."""
    frames = round(seconds * 10)

    def pictures():
        for colour in colours:
            for frame in range(frames):
                picture = np.full((64, 96, 3), colour, np.uint8)
                picture[:, frame % 90 : frame % 90 + 4] = 255
                yield picture

    tone = None
    if sound:
        at = np.arange(round(len(colours) * seconds * 16000)) / 16000
        tone = Sound((0.2 * np.sin(2 * np.pi * 440 * at)).astype(np.float32), 16000)
    return write_video(path, pictures(), fps=10, keyframe_every=10, sound=tone)


class MeanColour:
    """A frame encoder: (r, g, b, 1), L2-normalised. ``before`` is called ahead of each batch; frames are counted."""

    def __init__(self, name: str = "mean@1", before: Callable[[], None] | None = None) -> None:
        self.name = name
        self.dim = 4
        self.frames = 0
        self.before = before

    def encode_frames(self, images: np.ndarray) -> np.ndarray:
        if self.before is not None:
            self.before()
        self.frames += len(images)
        means = images.reshape(len(images), -1, 3).mean(axis=1) / 255
        vectors = np.concatenate([means, np.ones((len(means), 1))], axis=1).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        raise NotImplementedError


class Parrot:
    """A recogniser that hears one text in each chunk of sound, and remembers the chunks as (begin, end)."""

    name = "parrot"

    def __init__(self) -> None:
        self.heard: list[tuple[float, float]] = []

    def transcribe(self, chunks: Iterable[tuple[float, np.ndarray]]) -> Iterator[Stretch]:
        for begin, samples in chunks:
            end = begin + len(samples) / 16000
            self.heard.append((begin, end))
            yield Stretch(end, (TimedText(Span(begin, end), f"it is {begin:.0f} o'clock", "said", "parrot", "en"),))


def evidence(catalog) -> dict[str, object]:
    """All that a library knows, by content, in a form that two libraries can be compared in.

    But for how many frames were decoded: a resumed pass decodes some again, and counts them.
    """
    known: dict[str, object] = {
        "files": [(Path(file.path).name, file.video, file.state, file.error) for file in catalog.files()],
        "videos": sorted(video.id for video in catalog.videos()),
    }
    for video in catalog.videos():
        known[video.id] = {
            "ledger": [replace(line, frames_decoded=0) for line in catalog.coverage(video.id)],
            "shots": catalog.shots(video.id),
            "texts": [stored.text for stored in catalog.texts(video.id)],
            "kind": video.kind,
            "proxy": catalog.proxy(video.id) is not None,
        }
    for encoder in catalog.encoders():
        table = catalog.vector_table(encoder)
        for number, video in enumerate(table.video_ids):
            mine = table.videos == number
            known[f"{encoder} {video}"] = [
                table.vectors[mine].tolist(), table.seconds[mine].tolist(), table.ends[mine].tolist(),
            ]  # fmt: skip
    return known
