"""Labelled and captioned photographs, packed: what the built-in encoder is trained and measured on.

A source folder holds sets, each with JPEGs and a ``labels.jsonl`` (file, labels, captions, split). Packing joins the
files into shards of at most 40 MB, so that they travel and load at once, and writes the text features of everything
that is said about them.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from saccade.encode import sentence_encoder
from saccade.encode.text_features import text_features
from saccade.errors import InputError
from saccade.weights import replacing

SHARD_BYTES = 40 << 20
MOST_LABELS = 3
"""Labels that a photograph's longest prompt names."""


@dataclass(frozen=True)
class Photograph:
    """One photograph: the set it is from, what is said about it, and where its JPEG lies in the shards."""

    set: str
    captions: tuple[str, ...]
    labels: tuple[str, ...]
    test: bool
    shard: int
    offset: int
    size: int

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """What it is trained on: its captions, or prompts made of its labels where it has none."""
        if self.captions:
            return self.captions
        prompts = [text for label in self.labels for text in (label, f"a photo of {label}")]
        if len(self.labels) > 1:
            prompts.append("a photo of " + ", ".join(self.labels[:MOST_LABELS]))
        return tuple(prompts)


class Photographs:
    """A packed folder, opened: rows of ``Photograph``, their pixels, and the features of their texts."""

    def __init__(self, folder: Path) -> None:
        listed = json.loads((folder / "photographs.json").read_text("utf-8"))
        self.rows = [
            Photograph(**{**row, "captions": tuple(row["captions"]), "labels": tuple(row["labels"])})
            for row in listed["rows"]
        ]
        self.texts: list[str] = listed["texts"]
        self.text_row = {text: index for index, text in enumerate(self.texts)}
        self._shards = [(folder / f"photographs-{number:03}.bin").read_bytes() for number in range(listed["shards"])]
        parts = sorted(folder.glob("texts-*.npy"))
        self.features: npt.NDArray[np.float16] = np.concatenate([np.load(part) for part in parts])

    def __len__(self) -> int:
        return len(self.rows)

    def picture(self, index: int) -> Image.Image:
        """A photograph, RGB, as it was packed."""
        row = self.rows[index]
        packed = self._shards[row.shard][row.offset : row.offset + row.size]
        return Image.open(io.BytesIO(packed)).convert("RGB")

    def square(self, index: int, side: int) -> npt.NDArray[np.uint8]:
        """uint8 (side, side, 3): the whole photograph, squashed."""
        return np.asarray(self.picture(index).resize((side, side), Image.Resampling.BILINEAR))

    def features_of(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """float32 (L, F): features of texts that were packed."""
        return self.features[[self.text_row[text] for text in texts]].astype(np.float32)

    def split(self, *, test: bool) -> npt.NDArray[np.int64]:
        """The indices of the photographs held out (``test``), or of those trained on."""
        return np.array([index for index, row in enumerate(self.rows) if row.test == test], np.int64)


def pack(source: Path, folder: Path, extra_texts: Sequence[str] = ()) -> None:
    """Packs every set below ``source`` into ``folder``; a folder already packed is left as it is.

    Raises InputError where there is no set, or where ``folder`` was packed without some of ``extra_texts``.
    """
    if (folder / "photographs.json").exists():
        lacking = set(extra_texts) - set(Photographs(folder).texts)
        if lacking:
            raise InputError(
                f"{folder} was packed with other names or sentences ({len(lacking)} texts are not in it, such as "
                f"'{min(lacking)}'): take another work folder, or remove this one"
            )
        return
    lists = sorted(source.glob("*/labels.jsonl"))
    if not lists:
        raise InputError(f"{source} holds no set of photographs (folders with a labels.jsonl)")
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, object]] = []
    shard, number = bytearray(), 0
    for path in lists:
        for line in path.read_text("utf-8").splitlines():
            found = json.loads(line)
            packed = (path.parent / found["file"]).read_bytes()
            if len(shard) + len(packed) > SHARD_BYTES:
                _write(folder / f"photographs-{number:03}.bin", bytes(shard))
                shard, number = bytearray(), number + 1
            rows.append(
                {
                    "set": path.parent.name,
                    "captions": found["captions"],
                    "labels": found["labels"],
                    "test": found["split"] == "test",
                    "shard": number,
                    "offset": len(shard),
                    "size": len(packed),
                }
            )
            shard += packed
    _write(folder / f"photographs-{number:03}.bin", bytes(shard))
    texts = _write_texts(folder, rows, extra_texts)
    listed = json.dumps({"shards": number + 1, "texts": texts, "rows": rows}, ensure_ascii=False)
    _write(folder / "photographs.json", listed.encode())


def _write_texts(folder: Path, rows: Sequence[dict[str, object]], extra: Sequence[str]) -> list[str]:
    """Features of every distinct text, float16, in files of at most SHARD_BYTES; the texts in their order."""
    spoken = [Photograph(**{**row, "captions": tuple(row["captions"]), "labels": tuple(row["labels"])}) for row in rows]  # type: ignore[arg-type]
    labels = (text for row in spoken for label in row.labels for text in (label, f"a photo of {label}"))
    texts = list(dict.fromkeys([*(text for row in spoken for text in row.texts), *labels, *extra]))
    sentences = sentence_encoder()
    each = SHARD_BYTES // (2 * 2 * sentences.dim)
    for number, begin in enumerate(range(0, len(texts), each)):
        some = texts[begin : begin + each]
        batches = [text_features(some[at : at + 512], sentences) for at in range(0, len(some), 512)]
        with replacing(folder / f"texts-{number:03}.npy") as scratch, scratch.open("wb") as file:
            np.save(file, np.concatenate(batches).astype(np.float16))
    return texts


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as scratch:
        scratch.write_bytes(content)
