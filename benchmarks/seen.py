"""How well what is seen is found, and how fast: real clips, held-out photographs, speed on two cores.

    SACCADE_TEST_DATA=... python benchmarks/seen.py clips  [--encoder NAME] [--library DIR] [--note]
    SACCADE_TEST_DATA=... python benchmarks/seen.py photos [--encoder NAME] [--note]
    SACCADE_TEST_DATA=... python benchmarks/seen.py speed  [--encoder NAME] [--note]

clips: a library of exactly the files of clips/queries.jsonl, indexed by what is seen alone, and searched through
the library's own ``search`` with the English and the Korean query of each. A query's rank is that of its file in the
order of videos by their first hit. photos: the photographs of the split "test". speed: beside a CLIP of ViT-B/32's
size through ONNX Runtime in fp32 in the same run, on two cores; the memory of indexing, child processes included; a
search in a process of its own. --note writes the table into benchmarks/seen.md, in place of the same command's for
the same encoder. --library keeps the library of the clips, or searches the one that is there.

Nothing is chosen by these figures: settings are chosen on photographs that were held out of training elsewhere.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

import saccade
from saccade.encode import FrameEncoder, load_encoder
from saccade.evaluate.retrieval import ranks, summarise, tabulate, text_to_video, video_to_text
from saccade.weights import cache_folder

NOTES = Path(__file__).with_suffix(".md")
LANGUAGES = {"en": "English", "ko": "Korean"}
DEPTHS = (1, 5, 10)

CAPTIONED = "flickr8k"
PROMPT = "a photo of {}"
FEWEST_PHOTOGRAPHS = 10
"""Test photographs without captions that bear a label, for the label to be asked for."""

CORES = 2
FRAMES = 64
REPEATS = 7
SEARCHES = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("clips", "photos", "speed"))
    parser.add_argument("--encoder", default="builtin")
    parser.add_argument("--library", type=Path, help="for clips: where the library is, or is to be made")
    parser.add_argument("--note", action="store_true", help=f"write into {NOTES.name}")
    options = parser.parse_args()
    data = os.environ.get("SACCADE_TEST_DATA")
    if not data:
        sys.exit("SACCADE_TEST_DATA is not set: there is nothing to measure on")
    if options.what == "clips":
        text = clips(Path(data, "clips"), options.encoder, options.library)
    elif options.what == "photos":
        text = photographs(Path(data, "train"), load_encoder(options.encoder))
    else:
        text = speed(Path(data, "clips"), options.encoder)
    print(text)
    if options.note:
        note(f"{options.what}, {load_encoder(options.encoder).name}", text)


def note(heading: str, text: str) -> None:
    """Keep a section of the notes, dated, in place of the one with the same heading."""
    before = NOTES.read_text("utf-8") if NOTES.is_file() else "# What is seen\n\nBy `benchmarks/seen.py`.\n"
    first, *sections = before.split("\n## ")
    kept = [section for section in sections if not section.startswith(heading + "\n")]
    new = f"{heading}\n\n{datetime.now(UTC):%Y-%m-%d}, saccade {saccade.__version__}. {text}"
    NOTES.write_text("\n\n## ".join(part.strip("\n") for part in (first, *sorted([*kept, new]))) + "\n", "utf-8")


# ── clips ──


@dataclass(frozen=True)
class Asked:
    """One query with the videos in the order in which they were found, by file name."""

    language: str
    file: str
    found: tuple[str, ...]
    videos: int

    @property
    def rank(self) -> int:
        """From 1; a video that was not found at all comes last."""
        return self.found.index(self.file) + 1 if self.file in self.found else self.videos


def clips(folder: Path, encoder: str, place: Path | None) -> str:
    rows = read_lines(folder / "queries.jsonl")
    with (
        nullcontext(place) if place else tempfile.TemporaryDirectory() as where,
        saccade.open(where, encoder=encoder) as library,
    ):
        fill(library, [folder / row["file"] for row in rows])
        asked = [ask(library, row, language) for language in LANGUAGES for row in rows]
    scores = {
        name: summarise([one.rank for one in asked if one.language == language], len(rows), at=DEPTHS)
        for language, name in LANGUAGES.items()
    }
    head = f"`search --evidence seen` in a library of {len(rows)} files, 95 % bootstrap intervals over the queries."
    return "\n".join([head, "", tabulate(scores), "", *appendix(rows, asked)])


def fill(library: saccade.Library, files: Sequence[Path]) -> None:
    """Index exactly these files by what is seen; raises where the library holds others."""
    library.add(*files, senses=["seen"])
    reports = library.info()
    strangers = {Path(report.path).name for report in reports} ^ {file.name for file in files}
    failed = [f"{report.path}: {report.state} {report.error}" for report in reports if report.state != "indexed"]
    if strangers or failed:
        raise SystemExit(f"this is no library of exactly the files asked about: {sorted(strangers)}, {failed}")


def ask(library: saccade.Library, row: dict[str, Any], language: str) -> Asked:
    videos = len(library.catalog.videos())
    result = library.search(row[language], evidence=["seen"], k=videos, per_video=1)
    found = tuple(dict.fromkeys(Path(hit.path).name for hit in result.hits))
    return Asked(language, row["file"], found, videos)


def appendix(rows: Sequence[dict[str, Any]], asked: Sequence[Asked]) -> list[str]:
    """The rank of each file's query, and what stood first instead."""
    by = {(one.file, one.language): one for one in asked}
    lines = ["| file | English | first instead | Korean | first instead |", "|---|---:|---|---:|---|"]
    for row in rows:
        cells = [row["file"]]
        for language in LANGUAGES:
            one = by[row["file"], language]
            cells += [str(one.rank), "" if one.rank == 1 else one.found[0] if one.found else "nothing"]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


# ── photographs ──


@dataclass(frozen=True)
class Photograph:
    """A held-out photograph of one of the sets, with its words."""

    path: Path
    source: str
    labels: frozenset[str]
    captions: tuple[str, ...]


def held_out(folder: Path) -> list[Photograph]:
    """The photographs of the split "test" of all sets."""
    return [
        Photograph(table.parent / row["file"], table.parent.name, frozenset(row["labels"]), tuple(row["captions"]))
        for table in sorted(folder.glob("*/labels.jsonl"))
        for row in read_lines(table)
        if row["split"] == "test"
    ]


def photographs(folder: Path, encoder: FrameEncoder) -> str:
    photos = held_out(folder)
    captioned = [photo for photo in photos if photo.source == CAPTIONED]
    scores, owners = caption_scores(captioned, encoder)
    retrieval = {
        "caption → photograph": summarise(text_to_video(scores, owners), len(captioned), at=DEPTHS),
        "photograph → caption, among all captions": summarise(
            video_to_text(scores, owners, among="captions"), len(scores), at=DEPTHS
        ),
    }
    labels, labelled = frequent_labels(photos)
    found = zero_shot_ranks(labels, labelled, encoder)
    naming = {f"photograph → one of {len(labels)} labels": summarise(found, len(labels), at=(1, 5))}
    return "\n\n".join(
        [
            f"{len(captioned)} test photographs of Flickr8k with five captions each.",
            tabulate(retrieval),
            f'"{PROMPT.format("LABEL")}", for the labels that at least {FEWEST_PHOTOGRAPHS} test photographs without '
            "captions bear, asked of all photographs that bear one; any of a photograph's own is right.",
            tabulate(naming),
        ]
    )


def caption_scores(
    photos: Sequence[Photograph], encoder: FrameEncoder
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Cosines (captions, photographs), and int64 (captions,) whose each caption is."""
    texts = [caption for photo in photos for caption in photo.captions]
    owners = np.repeat(np.arange(len(photos)), [len(photo.captions) for photo in photos])
    return encoder.encode_text(texts) @ look(photos, encoder).T, owners


def frequent_labels(photos: Sequence[Photograph]) -> tuple[list[str], list[Photograph]]:
    """Labels of enough photographs without captions, in order of name, and the photographs that bear one."""
    plain = [photo for photo in photos if not photo.captions]
    counts = Counter(label for photo in plain for label in photo.labels)
    labels = sorted(label for label, count in counts.items() if count >= FEWEST_PHOTOGRAPHS)
    return labels, [photo for photo in plain if photo.labels & set(labels)]


def zero_shot_ranks(
    labels: Sequence[str], photos: Sequence[Photograph], encoder: FrameEncoder
) -> npt.NDArray[np.int64]:
    """Rank (photographs,) of each photograph's first own label."""
    prompts = encoder.encode_text([PROMPT.format(label) for label in labels])
    right = np.array([[label in photo.labels for label in labels] for photo in photos])
    return ranks(look(photos, encoder) @ prompts.T, right)


def look(photos: Sequence[Photograph], encoder: FrameEncoder) -> npt.NDArray[np.float32]:
    """Vectors (photographs, D); pictures of one size go through the encoder together."""
    pictures = [np.asarray(Image.open(photo.path).convert("RGB")) for photo in photos]
    vectors = np.zeros((len(pictures), encoder.dim), np.float32)
    for shape in {picture.shape for picture in pictures}:
        rows = [row for row, picture in enumerate(pictures) if picture.shape == shape]
        vectors[rows] = encoder.encode_frames(np.stack([pictures[row] for row in rows]))
    return vectors


# ── speed ──


def speed(folder: Path, encoder: str) -> str:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    load = os.getloadavg()[0]
    ours, clip = frames_a_second(encoder)
    files = [folder / row["file"] for row in read_lines(folder / "queries.jsonl")]
    with tempfile.TemporaryDirectory() as scratch:
        seconds, (once, each) = index_apart(files, Path(scratch), encoder)
        searches = [search_apart(Path(scratch)) for _ in range(1 + SEARCHES)]
    return "\n".join(
        [
            f"{CORES} cores, load {load:.1f} before; {FRAMES} frames of 640×360, median of {REPEATS} turns.",
            "",
            "| what | figure |",
            "|---|---:|",
            f"| frames a second, resizing included | {ours:.0f} |",
            f"| CLIP ViT-B/32's size, fp32, ONNX Runtime, the same frames | {clip:.1f} |",
            f"| ratio | {ours / clip:.1f} |",
            f"| peak memory of `index --only seen`, {len(files)} files, all processes, MB | {once:.0f} |",
            f"| the same, pages that processes share counted in each, MB | {each:.0f} |",
            f"| its time, s | {seconds:.0f} |",
            f"| `search` in a process of its own, s, median of {SEARCHES} | {statistics.median(searches[1:]):.2f} |",
            f"| the very first, s | {searches[0]:.2f} |",
        ]
    )


def frames_a_second(encoder: str) -> tuple[float, float]:
    """Of the encoder, and of a CLIP of ViT-B/32's size; they take turns, so that other work spoils both alike."""
    from encode import export, frames

    large = cache_folder() / "benchmarks" / "clip-b32-random"
    if not (large / "onnx" / "vision_model.onnx").is_file():
        export(large)
    images = frames(FRAMES)
    both = [load_encoder(name, threads=CORES) for name in (encoder, str(large))]
    for one in both:
        one.encode_frames(images[:1])
    turns = [[timed(lambda one=one: one.encode_frames(images)) for one in both] for _ in range(REPEATS)]
    ours, clip = (FRAMES / statistics.median(turn[which] for turn in turns) for which in (0, 1))
    return ours, clip


def timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def index_apart(files: Sequence[Path], library: Path, encoder: str) -> tuple[float, npt.NDArray[np.float64]]:
    """Seconds, and the peaks of ``memory_of``, of indexing by what is seen."""
    command = ["index", *map(str, files), "--library", str(library), "--encoder", encoder, "--only", "seen", "--json"]
    begin, peaks = time.perf_counter(), np.zeros(2)
    with subprocess.Popen([sys.executable, "-m", "saccade", *command], stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peaks = np.maximum(peaks, memory_of(process.pid))
            time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"indexing ended with {process.returncode}")
    return time.perf_counter() - begin, peaks


def memory_of(process: int) -> npt.NDArray[np.float64]:
    """MB (2,) that a process and its children hold: pages that they share counted once, and counted in each."""
    held = np.zeros(2)
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        sizes = {line.split(":")[0]: float(line.split()[1]) / 1024 for line in lines[1:]}
        held += sizes["Pss"], sizes["Rss"]
        threads = list(Path(f"/proc/{process}/task").iterdir())
        children = [child for thread in threads for child in (thread / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):  # it has just ended
        return held
    return held + sum((memory_of(int(child)) for child in children), np.zeros(2))


def search_apart(library: Path) -> float:
    command = ["search", "a dog runs after a ball", "--library", str(library), "--evidence", "seen", "--json"]
    return timed(
        lambda: subprocess.run([sys.executable, "-m", "saccade", *command], check=True, stdout=subprocess.DEVNULL)
    )


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


if __name__ == "__main__":
    main()
