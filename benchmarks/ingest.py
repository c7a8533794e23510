"""What indexing what is seen costs, beside what its parts cost alone: CPU seconds, wall time, memory.

    python benchmarks/ingest.py [--encoder FOLDER] [--films FOLDER] [--hour]

Draws a film at 640×360 and at 1920×1080 (with grain, a keyframe every two seconds) and, for each decode mode,
measures one after another on the same frames

    decode   PyAV alone, with the mode's own settings
    encode   the frame encoder alone (a CLIP of ViT-B/32's size with random weights, exported at the first run)
    shots    what finding shots adds to a pass that only hands out frames
    proxy    what writing the proxy adds to it

and then ``ingest`` as a user has it. "CPU" is its CPU seconds over their sum, "wall" its wall time over their sum
divided by the cores. --hour compares the peak memory for one minute with that for sixty (packets of the small film,
repeated; the encoder is a stand-in, the mean colour). Other work on the machine spoils "wall" and leaves "CPU" about
right; the load average is printed.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from time import perf_counter, process_time

import av
import numpy as np
from PIL import Image

from saccade.datasets.gym import Take, draw_film, scenes, write_video
from saccade.encode import FrameEncoder, load_encoder
from saccade.index.catalog import Catalog
from saccade.ingest import Progress, ingest
from saccade.types import Frames
from saccade.video.watch import watch
from saccade.video.worker import Worker
from saccade.weights import cache_folder

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

MODES = {"exact": ("DEFAULT", "AUTO"), "nonref": ("NONREF", "AUTO"), "keyframes": ("NONKEY", "NONE")}
"""What a mode sets on FFmpeg's decoder: frames that are skipped, and threads."""
FILMS = (((640, 360), 4), ((1920, 1080), 1))
"""Picture sizes, and how many minutes of each."""
MEMORY_MINUTES = (1, 10, 60)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", type=Path, default=cache_folder() / "benchmarks" / "clip-b32-random")
    parser.add_argument("--films", type=Path, default=cache_folder() / "benchmarks" / "films")
    parser.add_argument("--hour", action="store_true")
    parser.add_argument("--memory-of", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        print(*peak_memory(options.memory_of))
        return
    if options.hour:
        compare_memory(drawn(options.films, FILMS[0][0]))
        return
    if not (options.encoder / "onnx" / "vision_model.onnx").is_file():
        from encode import export

        export(options.encoder)
    encoder = load_encoder(str(options.encoder))
    encoder.encode_frames(np.zeros((1, 360, 640, 3), np.uint8))
    cores = len(os.sched_getaffinity(0))
    print(f"One frame a second, {cores} cores, load {os.getloadavg()[0]:.1f}\n")
    print("| film | mode | decode | encode | shots | proxy | sum | ingest | CPU | wall | × real time |")
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for size, minutes in FILMS:
        film = repeated(drawn(options.films, size), minutes)
        for mode in MODES:
            print(row(film, mode, encoder, minutes * 60, cores), flush=True)
    print(f"\nload {os.getloadavg()[0]:.1f}")


def row(film: Path, mode: str, encoder: FrameEncoder, seconds: int, cores: int) -> str:
    decode, _ = cpu(lambda: decode_alone(film, mode))
    handed: list[Frames] = []
    frames, _ = cpu(lambda: handed.extend(passed(film, mode)))
    shots, _ = cpu(lambda: passed(film, mode, shots=True))
    with tempfile.TemporaryDirectory() as folder:
        proxy, _ = cpu(lambda: passed(film, mode, proxy=Path(folder) / "proxy"))
        encode, _ = cpu(lambda: [encoder.encode_frames(batch.images) for batch in handed])
        with Catalog.open(folder, create=True) as catalog:
            whole, wall = cpu(lambda: ingest(catalog, [str(film)], encoder=encoder, senses=["seen"], mode=mode))
    parts = [decode, encode, max(0.0, shots - frames), max(0.0, proxy - frames)]
    total = sum(parts)
    columns = [*parts, total, whole, whole / total, wall * cores / total]
    figures = " | ".join(f"{column:.2f}" for column in columns)
    return f"| {film.stem} | {mode} | {figures} | {seconds / wall:.0f} |"


def cpu(work: Callable[[], object]) -> tuple[float, float]:
    """CPU seconds of this process and of the children that ended meanwhile, and wall seconds."""
    before, wall = process_time() + of_children(), perf_counter()
    work()
    return process_time() + of_children() - before, perf_counter() - wall


def of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def decode_alone(film: Path, mode: str) -> None:
    with av.open(str(film)) as container:
        stream = container.streams.video[0]
        skip, threads = MODES[mode]
        stream.codec_context.skip_frame = skip
        stream.thread_type = threads
        for _ in container.decode(stream):
            pass


def passed(film: Path, mode: str, shots: bool = False, proxy: Path | None = None) -> list[Frames]:
    with Worker() as worker:
        found = watch(film, mode=mode, shots=shots, proxy=proxy, worker=worker)
        return [item for item in found if isinstance(item, Frames)]


# ---- films


def drawn(folder: Path, size: tuple[int, int], seconds: int = 60) -> Path:
    """A minute of this size, drawn unless it is there."""
    width, height = size
    path = folder / f"{width}×{height}-{seconds}s.mp4"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        plain = folder / f"plain-{seconds}s.mp4"
        if not plain.exists():
            rng = np.random.default_rng(0)
            kinds = [
                scenes.red_pot,
                scenes.car_passes,
                scenes.beach,
                scenes.garden,
                scenes.snowy_village,
                scenes.dog_runs,
            ]
            draw_film(plain, [Take(kinds[n % len(kinds)](rng), 6.0) for n in range(seconds // 6)])
        write_video(path, grainy(plain, size), fps=25, keyframe_every=50)
    return path


def grainy(plain: Path, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """The frames of a film at another size, with the grain of a camera, which makes decoding as hard as it is."""
    rng = np.random.default_rng(1)
    grain = rng.normal(0, 6, (8, size[1], size[0], 1)).astype(np.int16)
    with av.open(str(plain)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            picture = Image.fromarray(frame.to_ndarray(format="rgb24")).resize(size)
            yield np.clip(np.asarray(picture, np.int16) + grain[number % len(grain)], 0, 255).astype(np.uint8)


def repeated(film: Path, minutes: int) -> Path:
    """A film's packets, again and again: an hour without an hour of encoding."""
    path = film.with_name(f"{film.stem.partition('-')[0]}-{minutes}min.mp4")
    if path.exists():
        return path
    with av.open(str(film)) as source, av.open(str(path), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        packets = [
            (bytes(packet), packet.pts, packet.dts, packet.duration, packet.is_keyframe)
            for packet in source.demux(stream)
            if packet.size
        ]
        length = round(sum(packet[3] for packet in packets))
        copies = round(minutes * 60 / (length * stream.time_base))
        for number in range(copies):
            for data, pts, dts, duration, is_key in packets:
                packet = av.Packet(data)
                packet.stream, packet.time_base = copy, Fraction(stream.time_base)
                packet.pts, packet.dts, packet.duration = pts + number * length, dts + number * length, duration
                packet.is_keyframe = is_key
                target.mux(packet)
    return path


# ---- memory


def compare_memory(film: Path) -> None:
    """Peak memory of a short and a long film, each in a fresh process."""
    print("| minutes | parent MB | decoder MB | sum MB |\n|---:|---:|---:|---:|")
    sums = []
    for minutes in MEMORY_MINUTES:
        path = repeated(film, minutes)
        command = [sys.executable, __file__, "--memory-of", str(path)]
        parent, child = map(float, subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.split())
        sums.append(parent + child)
        print(f"| {minutes} | {parent:.0f} | {child:.0f} | {parent + child:.0f} |", flush=True)
    for minutes, total in zip(MEMORY_MINUTES[:-1], sums[:-1], strict=True):
        print(f"{MEMORY_MINUTES[-1]} minutes against {minutes}: {sums[-1] / total - 1:+.1%}")


def peak_memory(film: Path) -> tuple[float, float]:
    """Peak resident megabytes of this process and of its decoder while it indexes a film."""
    from films import MeanColour

    peaks: dict[int, float] = {}

    def look(_: Progress) -> None:
        for process in (os.getpid(), *children()):
            peaks[process] = peak_of(process)

    with tempfile.TemporaryDirectory() as folder, Catalog.open(folder, create=True) as catalog:
        report = ingest(catalog, [str(film)], encoder=MeanColour(), senses=["seen"], on_progress=look)
        assert [file.outcome for file in report.files] == ["indexed"], report
    parent = peaks.pop(os.getpid())
    return parent, max(peaks.values())


def children() -> list[int]:
    return [int(process) for process in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


def peak_of(process: int) -> float:
    """The kernel's high-water mark, which unlike getrusage's does not count what a process was forked from."""
    status = Path(f"/proc/{process}/status").read_text()
    return float(status.split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main()
