"""The demo runs whole, without torch and transformers, and its page holds what it found."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[1] / "examples" / "demo.py"

WITHOUT_TORCH = """
import runpy, sys
sys.modules["torch"] = sys.modules["transformers"] = None
sys.argv = ["demo.py", sys.argv[-1]]
runpy.run_path("{demo}", run_name="__main__")
"""


class Page(HTMLParser):
    """Collects texts and whether anything is loaded from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data + "\n"


@pytest.fixture(scope="module")
def demo(need, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    need("rapidocr")
    folder = tmp_path_factory.mktemp("demo")
    program = WITHOUT_TORCH.format(demo=DEMO)
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)], capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


def test_it_finds_what_is_there_and_says_what_is_not(demo: tuple[Path, str]) -> None:
    _, told = demo
    for query in (
        "she opens the red door",
        "the ball rolls into the sea",
        "당근",
        "비용이 얼마나 드나요",
        "speed limit",
        "a bowl of soup on a table",
    ):
        assert f"search {query!r}: found" in told
    assert "search 'a helicopter lands on a glacier': not in here" in told


def test_the_page_stands_by_itself(demo: tuple[Path, str]) -> None:
    folder, _ = demo
    page = Page()
    page.feed((folder / "index.html").read_text("utf-8"))
    assert "당근" in page.text and "Not in here" in page.text
    assert page.loaded and all(source.startswith("data:") for source in page.loaded)
    assert len((folder / "index.html").read_bytes()) < 8 << 20


def test_the_exports_are_there(demo: tuple[Path, str]) -> None:
    folder, _ = demo
    assert (folder / "exports" / "moments.vtt").read_text("utf-8").startswith("WEBVTT")
    assert re.search(r"\d\d:\d\d:\d\d,\d{3} --> ", (folder / "exports" / "transcript.srt").read_text("utf-8"))
    assert (folder / "exports" / "moment.mp4").stat().st_size > 1000
