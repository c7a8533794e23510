"""A library of one talk, written through the catalog as ingestion would."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from saccade.index.catalog import Catalog
from saccade.index.records import FileRow
from saccade.index.vectors import FrameVectors
from saccade.index.writer import CutRow
from saccade.types import Coverage, Gap, Span, StreamInfo, TimedText, VideoInfo, Word

ENCODER, SENTENCES = "tiny@1", "sentences@1"


def unit(count: int, dim: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.open(tmp_path / "library", create=True) as catalog:
        yield catalog


@pytest.fixture
def add_talk() -> Callable[..., str]:
    """``add_talk(catalog, path)`` puts a video of twenty seconds in: two parts, cuts, vectors and three texts."""

    def add(catalog: Catalog, path: str = "/videos/talk.mp4", claim: object = None) -> str:
        content = hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()
        streams = (StreamInfo(0, "video", "h264"), StreamInfo(1, "audio", "aac", "en"))
        info = VideoInfo(path, "mov,mp4", 20.0, start=Fraction(1, 3), time_base=Fraction(1, 90), streams=streams)
        with catalog.commit(claim) as writer:  # type: ignore[arg-type]
            video = writer.put_video(content, info, "video")
            writer.put_file(FileRow(path, 1000, 5, video, "indexed"))
            shots = writer.begin_pass(video, "shots", "")
            writer.put_part(shots, Span(0, 10), 9.0, [CutRow(3.0, 300, "cut")], None)
            writer.put_part(shots, Span(10, 20), 20.0, [CutRow(12.5, 1155, "fade")], None)
            gap = Gap(Span(19, 20), "the file ends in the middle of a frame")
            writer.update_pass(shots, Coverage("shots", "partial", 20.0, 600, 3, mode="exact", gaps=(gap,)))
            seen = writer.begin_pass(video, "seen", ENCODER)
            pts = np.arange(10) * 90 + 30
            for part in (0, 1):
                vectors = FrameVectors(unit(10, 8, part), pts + part * 900, Fraction(1, 90), Fraction(1, 3))
                writer.put_vectors(seen, Span(part * 10, part * 10 + 10), vectors)
            writer.update_pass(seen, Coverage("seen", "done", 20.0, 600, 20, tool=ENCODER))
            said = writer.begin_pass(video, "said", "whisper")
            texts = [
                TimedText(Span(1, 2), "The cost of it", "said", "whisper", "en", (Word("The", Span(1, 1.2), 0.5),)),
                TimedText(Span(4, 5), "비용을 줄이다", "said", "whisper", "ko"),
            ]
            writer.put_texts(said, texts, unit(2, 512), SENTENCES)
            writer.update_pass(said, Coverage("said", "done", 20.0, items=2, tool="whisper"))
            written = writer.begin_pass(video, "written", "rapidocr")
            title = TimedText(Span(0, 9), "東京都 cost", "written", "rapidocr")
            writer.put_texts(written, [title], unit(1, 512), SENTENCES)
            writer.update_pass(written, Coverage("written", "done", 20.0, items=1, tool="rapidocr"))
        return video

    return add
