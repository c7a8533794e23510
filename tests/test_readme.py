"""What the README shows is true: its Python runs, its commands exist, its links lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from saccade.datasets.gym import write_srt, write_video
from saccade.types import Span, TimedText

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def test_its_python_runs(tmp_path: Path) -> None:
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
    assert len(code.strip().splitlines()) <= 6
    write_video(tmp_path / "talk.mp4", (np.full((72, 128, 3), 20 + 4 * n, np.uint8) for n in range(50)), fps=10)
    line = TimedText(Span(1.0, 3.0), "And here the demo fails, as demos do.", "said", "talk.srt")
    write_srt(tmp_path / "talk.srt", [line])
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "talk.mp4 0:01.0–0:03.0" in done.stdout


def test_its_commands_exist() -> None:
    wide = {**os.environ, "COLUMNS": "100"}
    shown = subprocess.run([sys.executable, "-m", "saccade", "--help"], capture_output=True, check=True, env=wide)
    known = re.findall(r"^\W*(\w+)", shown.stdout.decode(), re.MULTILINE)
    targets = (ROOT / "Makefile").read_text()
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL):
        assert set(re.findall(r"^saccade (\w+)", block, re.MULTILINE)) <= set(known)
        for target in re.findall(r"^make (\S+)", block, re.MULTILINE):
            assert f"\n{target}:" in targets


def test_links_lead_somewhere() -> None:
    for document in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")):
        for link in re.findall(r"\]\(([^)#:]+)\)", document.read_text("utf-8")):
            assert (document.parent / link).exists(), f"{document.name} links to {link}"
