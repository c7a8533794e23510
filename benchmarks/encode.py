"""Frames and texts a second: the built-in encoder, beside a CLIP of ViT-B/32's size with random weights.

    python benchmarks/encode.py [--folder FOLDER] [--frames 128] [--threads 0]

Exports the model into FOLDER at the first run (600 MB; torch and transformers are needed for that alone), with
int8 files beside it. Prints one Markdown table.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import numpy.typing as npt

from saccade.encode import FrameEncoder, load_encoder, sentence_encoder
from saccade.encode.onnx import OnnxEncoder, compare_int8
from saccade.weights import cache_folder

TEXTS = [f"person {number} opens the red door and sits down on a chair" for number in range(64)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=cache_folder() / "benchmarks" / "clip-b32-random")
    parser.add_argument("--frames", type=int, default=128)
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    if not (options.folder / "onnx" / "text_model_quantized.onnx").is_file():
        export(options.folder)
    images = frames(options.frames)
    print(f"{options.frames} frames of 640×360, {options.threads or os.cpu_count()} threads\n")
    print("| what | a second | CPU ms each | wall s |\n|---|---:|---:|---:|")
    row("sentence encoder: loading and one query", lambda: sentence_encoder().encode(TEXTS[:1]), 1)
    both_sides("built-in", load_encoder("builtin", threads=options.threads), images)
    for int8 in (False, True):
        encoder = OnnxEncoder.load(str(options.folder), threads=options.threads, int8=int8)
        both_sides("CLIP int8" if int8 else "CLIP fp32", encoder, images)
    prepare = encoder._prepare_frame
    row("CLIP: preparing frames alone, one thread", lambda: [prepare(image) for image in images], len(images))
    row("sentence encoder: texts", lambda: sentence_encoder().encode(TEXTS * 16), len(TEXTS) * 16)
    found = compare_int8(str(options.folder), images[:32], threads=options.threads)
    print(f"\nCLIP int8 against fp32: cosine {found.cosine_mean:.4f} on average, {found.cosine_least:.4f} at least")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


def both_sides(name: str, encoder: FrameEncoder, images: npt.NDArray[np.uint8]) -> None:
    row(f"{name}: first frame, loading the tower", lambda: encoder.encode_frames(images[:1]), 1)
    row(f"{name}: frames", lambda: encoder.encode_frames(images), len(images))
    row(f"{name}: first text, loading the text side", lambda: encoder.encode_text(TEXTS[:1]), 1)
    row(f"{name}: texts", lambda: encoder.encode_text(TEXTS), len(TEXTS))


def row(name: str, work: object, items: int) -> None:
    assert callable(work)
    wall, cpu = perf_counter(), process_time()
    work()
    wall, cpu = perf_counter() - wall, process_time() - cpu
    print(f"| {name} | {items / wall:.1f} | {1000 * cpu / items:.1f} | {wall:.2f} |", flush=True)


def frames(count: int) -> npt.NDArray[np.uint8]:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 45, 80, 3), np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


def export(folder: Path) -> None:
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "encode"))
    from tiny_models import clip_b32, quantise

    clip_b32(folder)
    quantise(folder)


if __name__ == "__main__":
    main()
