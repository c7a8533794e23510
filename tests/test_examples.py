"""The examples run, each as a program of its own, on films drawn here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def film(path: Path, grey: int, lines: list[str]) -> None:
    with av.open(path, "w") as out:
        stream: Any = out.add_stream("libx264", rate=10, options={"g": "10", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for _ in range(60):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((64, 96, 3), grey, np.uint8), "rgb24")))
        out.mux(stream.encode(None))
    cues = [f"{n}\n00:00:0{3 * n},000 --> 00:00:0{3 * n + 3},000\n{line}\n" for n, line in enumerate(lines)]
    path.with_suffix(".srt").write_text("\n".join(cues))


def example(name: str, *arguments: object) -> str:
    command = [sys.executable, EXAMPLES / name, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    film(folder / "talk.mp4", 60, ["Welcome to the yearly budget meeting", "The cost of the bridge has doubled"])
    film(folder / "kitchen.mp4", 120, ["First we melt the butter slowly", "Now add one spoon of mayonnaise"])
    return folder


def test_the_examples_find_write_and_cut(folder: Path, tmp_path: Path) -> None:
    said = example("search_folder.py", folder, "mayonnaise").splitlines()
    assert said[1].split()[:2] == ["kitchen.mp4", "0:03.0–0:06.0"] and "spoon of mayonnaise" in said[1]
    example("transcripts.py", folder / "saccade-library", tmp_path)
    assert "00:00:03.000 --> 00:00:06.000\nThe cost of the bridge" in (tmp_path / "talk.vtt").read_text()
    example("cut_best_moment.py", folder / "saccade-library", "bridge cost", tmp_path / "clip.mp4")
    with av.open(tmp_path / "clip.mp4") as clip:
        assert sum(1 for _ in clip.decode(video=0)) == 30


def test_every_example_is_run() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} - {"demo.py"} == {
        "search_folder.py", "transcripts.py", "cut_best_moment.py",
    }  # fmt: skip
