"""A process that indexes is killed; the next one goes on, and the library is as if nothing had happened."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

import index_films
from films import BLUE, GREEN, GREY, RED, evidence, film
from saccade.index.catalog import Catalog

KILLED = -signal.SIGKILL


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    film(folder / "talk.mp4", [RED, GREEN, BLUE], 2.0, sound=True)
    (folder / "talk.srt").write_text("1\n00:00:01,000 --> 00:00:02,500\nThe cost of the demo\n")
    film(folder / "short.mp4", [GREY], 1.0)
    (folder / "broken.mp4").write_text("this is no film\n" * 100)
    return folder


@dataclass(frozen=True)
class Untouched:
    """What a process that nobody kills finds out, and how many seconds of work that is."""

    evidence: dict[str, object]
    seconds: float


@pytest.fixture(scope="module")
def untouched(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Untouched:
    library = tmp_path_factory.mktemp("untouched")
    with start(library, videos) as process:
        begun = time.monotonic()
        assert process.wait(timeout=120) == 0
        seconds = time.monotonic() - begun
    with Catalog.open(library) as catalog:
        return Untouched(evidence(catalog), seconds)


def start(library: Path, videos: Path, moment: str = "") -> subprocess.Popen[bytes]:
    """A process that indexes; it has imported everything and opened the library."""
    command = [sys.executable, index_films.__file__, str(library), str(videos), *filter(None, [moment])]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"begun\n"
    return process


def check(library: Path, videos: Path, untouched: Untouched) -> None:
    """Index once more, undisturbed: the library is whole, and nothing else lies about."""
    with start(library, videos) as process:
        assert process.wait(timeout=120) == 0
    with Catalog.open(library) as catalog:
        assert evidence(catalog) == untouched.evidence
        named = {catalog.proxy(video.id) for video in catalog.videos()}
        assert set(catalog.proxies.iterdir()) == named
    database = sqlite3.connect(library / "library.db")
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert database.execute("PRAGMA foreign_key_check").fetchall() == []
    assert database.execute("SELECT COUNT(*) FROM claims").fetchone() == (0,)
    database.close()


def test_killed_inside_a_transaction(videos: Path, untouched: Untouched, tmp_path: Path) -> None:
    with start(tmp_path, videos, "inside a transaction") as process:
        assert process.wait(timeout=120) == KILLED
    check(tmp_path, videos, untouched)


@pytest.mark.slow
@pytest.mark.parametrize("moment", [moment for moment in index_films.MOMENTS if moment != "inside a transaction"])
def test_killed_at_the_worst_moments(videos: Path, untouched: Untouched, tmp_path: Path, moment: str) -> None:
    with start(tmp_path, videos, moment) as process:
        assert process.wait(timeout=120) == KILLED
    check(tmp_path, videos, untouched)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(7))
def test_killed_three_times_at_random(videos: Path, untouched: Untouched, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(3):
        with start(tmp_path, videos) as process:
            try:
                process.wait(timeout=chance.uniform(0, 0.7 * untouched.seconds))
            except subprocess.TimeoutExpired:
                process.kill()
    check(tmp_path, videos, untouched)
