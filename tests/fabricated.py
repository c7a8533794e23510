"""A library written straight into its database: texts, frame vectors and cuts at chosen times."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np

from saccade.encode import sentence_encoder
from saccade.index.catalog import Catalog
from saccade.index.records import FileRow
from saccade.index.vectors import FrameVectors
from saccade.index.writer import CutRow
from saccade.types import Coverage, Span, StreamInfo, TimedText, VideoInfo


@dataclass(frozen=True)
class Made:
    """One made-up video: (start, end, text) said and written, cut times, and vectors spread evenly."""

    name: str
    duration: float
    said: Sequence[tuple[float, float, str]] = ()
    written: Sequence[tuple[float, float, str]] = ()
    cuts: Sequence[float] = ()
    vectors: np.ndarray | None = None
    kind: str = "video"
    recorded: object = None
    extra: dict = field(default_factory=dict)


def put(catalog: Catalog, made: Made, encoder: str = "tiny@1") -> str:
    """Writes one made-up video as ingestion would; returns its id."""
    sentences = sentence_encoder()
    streams = (StreamInfo(0, "video", "h264"),) if made.kind == "video" else (StreamInfo(0, "audio", "aac"),)
    info = VideoInfo(f"/made/{made.name}", "mp4", made.duration, streams=streams, recorded=made.recorded)
    content = hashlib.sha256(made.name.encode()).hexdigest()
    with catalog.commit() as writer:
        video = writer.put_video(content, info, made.kind)
        writer.put_file(FileRow(info.path, 1, 1, video, "indexed"))
        whole = Span(0.0, made.duration)
        shots = writer.begin_pass(video, "shots", "test")
        writer.put_part(shots, whole, made.duration, [CutRow(cut, int(cut * 1000), "cut") for cut in made.cuts], None)
        writer.update_pass(shots, Coverage("shots", "done", made.duration, frames_decoded=int(made.duration) + 1))
        for sense, kind, rows in (("said", "said", made.said), ("written", "written", made.written)):
            key = writer.begin_pass(video, sense, "test")
            texts = [TimedText(Span(start, end), text, kind, "test") for start, end, text in rows]
            if texts:
                writer.put_texts(key, texts, sentences.encode([text.text for text in texts]), sentences.name)
            writer.update_pass(key, Coverage(sense, "done", made.duration, items=len(texts)))
            writer.serve(key)
        if made.vectors is not None:
            key = writer.begin_pass(video, "seen", encoder)
            step = 1000 * made.duration / len(made.vectors)
            pts = (np.arange(len(made.vectors)) * step).astype(np.int64)
            writer.put_vectors(key, whole, FrameVectors(made.vectors.astype(np.float32), pts, Fraction(1, 1000)))
            writer.update_pass(key, Coverage("seen", "done", made.duration, items=len(pts), tool=encoder))
            writer.serve(key)
    return video


def library_of(folder: Path, *videos: Made) -> Catalog:
    """A new library in ``folder`` that holds these videos."""
    catalog = Catalog.open(folder, create=True)
    for video in videos:
        put(catalog, video)
    return catalog
