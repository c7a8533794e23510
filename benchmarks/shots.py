"""Shot boundaries on three minutes of film labelled by eye, beside PySceneDetect's detectors where it is installed.

    python benchmarks/shots.py path/to/long_big_buck_bunny_252p.mp4 [--labels docs/labels/...] [--json]

Boundaries are matched one to one: a cut within ``--tolerance`` frames, a fade anywhere inside its span.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av

from saccade.evaluate.shots import score_boundaries
from saccade.types import Span
from saccade.video.shots import REACH_SECONDS, Small, detect

LABELS = Path(__file__).parent.parent / "docs" / "labels" / "big_buck_bunny_shots.json"
FRAME = 1 / 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("film", type=Path)
    parser.add_argument("--labels", type=Path, default=LABELS)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    labels = json.loads(arguments.labels.read_text())
    begin, end = labels["begin"], labels["end"]
    true = [Span(one["begin"], one["end"]) if "end" in one else one["seconds"] for one in labels["boundaries"]]
    rows = []
    for name, run in detectors().items():
        started = time.process_time()
        found = sorted(at for at in run(arguments.film, begin, end) if begin <= at < end)
        seconds = time.process_time() - started
        rows += [row(name, found, true, frames, seconds) for frames in (0, 2)]
    if arguments.json:
        print(json.dumps(rows, indent=1))
    else:
        print(table(rows))


def row(name: str, found: list[float], true: list[float | Span], frames: int, seconds: float) -> dict[str, Any]:
    score = score_boundaries(found, true, tolerance=frames * FRAME)
    return {
        "detector": name,
        "tolerance_frames": frames,
        "precision": round(score.precision, 3),
        "recall": round(score.recall, 3),
        "f1": round(score.f1, 3),
        "found": len(found),
        "extra": [round(found[i], 3) for i in score.extra],
        "missed": [str(true[k]) for k in score.missed],
        "cpu_seconds": round(seconds, 1),
    }


def table(rows: list[dict[str, Any]]) -> str:
    head = "| detector | tolerance (frames) | precision | recall | F1 | found | CPU s, decoding included |\n"
    keys = ("detector", "tolerance_frames", "precision", "recall", "f1", "found", "cpu_seconds")
    lines = ["| " + " | ".join(str(one[key]) for key in keys) + " |" for one in rows]
    notes = [
        f"{one['detector']}: extra {one['extra']}, missed {one['missed']}" for one in rows if one["tolerance_frames"]
    ]
    return head + "|---|---|---|---|---|---|---|\n" + "\n".join(lines) + "\n\n" + "\n".join(notes)


Detector = Callable[[Path, float, float], list[float]]


def detectors() -> dict[str, Detector]:
    own: dict[str, Detector] = {"saccade": run_saccade}
    if importlib.util.find_spec("scenedetect") is None:
        return own
    names = ("ContentDetector", "AdaptiveDetector", "HashDetector", "HistogramDetector", "ThresholdDetector")
    return own | {f"PySceneDetect {name}": peer(name) for name in names}


def run_saccade(film: Path, begin: float, end: float) -> list[float]:
    return [cut.seconds for cut in detect(small_frames(film, begin - 2 * REACH_SECONDS, end + REACH_SECONDS))]


def small_frames(film: Path, begin: float, end: float) -> Iterator[Small]:
    with av.open(str(film)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        container.seek(int(max(0.0, begin) / stream.time_base), stream=stream)
        for frame in container.decode(stream):
            seconds = float(frame.pts * stream.time_base)
            if seconds >= end:
                break
            if seconds >= begin:
                image = frame.reformat(width=64, height=36, format="rgb24", interpolation="AREA").to_ndarray()
                yield Small(seconds, frame.pts, image)


def peer(name: str) -> Detector:
    """One of PySceneDetect's detectors with its own defaults, on the same stretch."""

    def run(film: Path, begin: float, end: float) -> list[float]:
        import scenedetect

        video = scenedetect.open_video(str(film))
        video.seek(max(0.0, begin - 2 * REACH_SECONDS))
        manager = scenedetect.SceneManager()
        manager.add_detector(getattr(scenedetect, name)())
        manager.detect_scenes(video, end_time=end + REACH_SECONDS)
        return [scene[0].seconds for scene in manager.get_scene_list()[1:]]

    return run


if __name__ == "__main__":
    main()
