"""How long a question takes: `saccade search` from the shell, cold, over a library of ten thousand clips.

    python benchmarks/search.py [--clips 10000]

The library is written straight into its database: clips of two seconds with a 512-d vector and, for every third, a
spoken sentence. Each search is a new process; the page cache is warm. Beside it stands what Python needs to start
and import NumPy, in the same run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import saccade
from saccade.index.query import background_queries

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from fabricated import Made, put

CLIPS_A_VIDEO = 500
RUNS = 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=10_000)
    clips = parser.parse_args().clips
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "library"
        fill(library, clips)
        baseline = timed([sys.executable, "-c", "import numpy"])
        help_ = timed([sys.executable, "-m", "saccade", "--help"])
        search = timed([sys.executable, "-m", "saccade", "search", "the ferry at noon", "--library", str(library)])
    print(f"{clips} clips, {RUNS} processes each, median seconds")
    print(f"python, import numpy    {baseline:.2f}")
    print(f"saccade --help          {help_:.2f}    {help_ / baseline:.1f} ×")
    print(f"saccade search          {search:.2f}    {search / baseline:.1f} ×")


def fill(library: Path, clips: int) -> None:
    random = np.random.default_rng(0)
    sentences = background_queries("en") + background_queries("ko")
    with saccade.open(library) as opened:
        for number in range(clips // CLIPS_A_VIDEO):
            vectors = random.normal(size=(CLIPS_A_VIDEO, 512))
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            said = [(2.0 * i, 2.0 * i + 2, random.choice(sentences)) for i in range(0, CLIPS_A_VIDEO, 3)]
            put(opened.catalog, Made(f"{number}.mp4", 2.0 * CLIPS_A_VIDEO, said=said, vectors=vectors))
        opened.search("anything", evidence=["said"])


def timed(command: list[str]) -> float:
    """Median seconds of a whole process over RUNS runs, after one that does not count."""
    seconds = []
    for _ in range(RUNS + 1):
        began = time.perf_counter()
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        seconds.append(time.perf_counter() - began)
    if "search" in command:
        assert json.loads(done.stdout)["hits"], "the search found nothing at all"
    return statistics.median(seconds[1:])


if __name__ == "__main__":
    main()
