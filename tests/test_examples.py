"""The examples run, each as a program of its own, on films drawn here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import av
import pytest

from subtitled_films import LINES, subtitled_film

EXAMPLES = Path(__file__).parents[1] / "examples"


def example(name: str, *arguments: object) -> str:
    command = [sys.executable, EXAMPLES / name, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    for name, lines in LINES.items():
        subtitled_film(folder / f"{name}.mp4", lines)
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
