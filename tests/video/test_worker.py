"""The child process: items arrive whole, crashes and limits become errors, nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saccade.errors import DecoderCrashed, InputError, MissingExtra, SourceGone, UnreadableMedia
from saccade.video.worker import RING_BYTES, Worker

JOBS = """
import ctypes, os, sys
import numpy as np
from saccade.errors import MissingExtra, UnreadableMedia

def arrays(count, shape, dtype="uint8"):
    for n in range(count):
        yield {"n": n}, (np.full(shape, n, dtype), np.arange(n, dtype=np.int64), np.array(n / 3))

def segfault(path):
    yield {}, ()
    print("frame 7 is cursed", file=sys.stderr, flush=True)
    ctypes.string_at(0)

def leave(path):
    os._exit(3)
    yield

def hoard(path):
    held = []
    while True:
        held.append(np.ones(32 << 20, np.uint8))
        yield {"held": len(held)}, ()

def refuse(path, kind):
    if kind == "ours":
        raise UnreadableMedia(path, "no stream")
    if kind == "extra":
        raise MissingExtra("speech", "transcribing")
    if kind == "gone":
        open(path)
    if kind == "bug":
        1 / 0
    yield

def pid():
    yield {"pid": os.getpid(), "threads": os.environ["OMP_NUM_THREADS"]}, ()

def tidy(path):
    try:
        while True:
            yield {}, (np.zeros(1 << 20, np.uint8),)
    finally:
        open(path, "w").write("tidied")

def hang(path):
    import time
    time.sleep(600)
    yield

def noisy():
    for _ in range(2000):
        print("noise " * 20, file=sys.stderr)
        print("noise " * 20)
    yield {}, ()
"""


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "jobs_of_this_test.py").write_text(JOBS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "jobs_of_this_test"


@pytest.fixture
def worker(jobs: str) -> Iterator[Worker]:
    with Worker() as worker:
        yield worker


def _pid(worker: Worker, jobs: str) -> int:
    return next(header["pid"] for header, _ in worker.run(f"{jobs}:pid"))


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_arrays_arrive_whole_and_are_the_callers_own(worker: Worker, jobs: str) -> None:
    items = list(worker.run(f"{jobs}:arrays", count=40, shape=[1000, 1000, 3]))
    assert [header["n"] for header, _ in items] == list(range(40))
    for n, (_, (image, steps, third)) in enumerate(items):
        assert image.shape == (1000, 1000, 3) and (image == n).all() and image.flags.writeable
        assert steps.dtype == np.int64 and steps.tolist() == list(range(n))
        assert third.shape == () and third == n / 3


def test_an_array_larger_than_the_ring_arrives(worker: Worker, jobs: str) -> None:
    ((_, (big, *_)),) = worker.run(f"{jobs}:arrays", count=1, shape=[RING_BYTES // 8 + 12345], dtype="float64")
    assert big.size * 8 > RING_BYTES and not big.any()


def test_one_child_serves_many_jobs(worker: Worker, jobs: str) -> None:
    assert _pid(worker, jobs) == _pid(worker, jobs) != os.getpid()


def test_a_crash_is_an_error_that_names_the_file_and_the_next_job_runs(worker: Worker, jobs: str) -> None:
    first = _pid(worker, jobs)
    with pytest.raises(DecoderCrashed, match=r"film\.mp4: the decoder crashed \(SIG.*frame 7 is cursed") as caught:
        list(worker.run(f"{jobs}:segfault", path="film.mp4"))
    assert caught.value.path == "film.mp4"
    assert _pid(worker, jobs) != first


def test_an_unexpected_exit_is_a_crash(worker: Worker, jobs: str) -> None:
    with pytest.raises(DecoderCrashed, match="exit code 3"):
        list(worker.run(f"{jobs}:leave", path="film.mp4"))


def test_a_child_killed_between_jobs_is_noticed(worker: Worker, jobs: str) -> None:
    os.kill(_pid(worker, jobs), signal.SIGKILL)
    time.sleep(0.05)
    with pytest.raises(DecoderCrashed, match="killed"):
        _pid(worker, jobs)
    assert _pid(worker, jobs)


def test_a_child_that_hangs_is_killed(worker: Worker, jobs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = _pid(worker, jobs)
    monkeypatch.setattr("saccade.video.worker.SILENCE_SECONDS", 0.2)
    monkeypatch.setattr("saccade.video.worker.STOP_SECONDS", 0.2)
    with pytest.raises(DecoderCrashed, match="stopped answering"):
        list(worker.run(f"{jobs}:hang", path="film.mp4"))
    monkeypatch.undo()
    assert not _alive(first)


def test_memory_is_limited(jobs: str) -> None:
    with Worker(memory_limit=512 << 20) as worker:
        with pytest.raises(DecoderCrashed, match="limit of 512 MiB"):
            list(worker.run(f"{jobs}:hoard", path="bomb.mp4"))
        assert _pid(worker, jobs)


def test_a_limit_too_small_to_start_with_is_refused() -> None:
    with pytest.raises(InputError, match="64 MiB"):
        Worker(memory_limit=1000)


@pytest.mark.parametrize(
    "kind, error, match",
    [
        ("ours", UnreadableMedia, "no stream"),
        ("extra", MissingExtra, r"saccade\[speech\]"),
        ("gone", SourceGone, "not there"),
        ("bug", DecoderCrashed, "ZeroDivisionError"),
    ],
)
def test_errors_of_the_job_are_raised_here(
    worker: Worker, jobs: str, tmp_path: Path, kind: str, error: type[Exception], match: str
) -> None:
    first = _pid(worker, jobs)
    with pytest.raises(error, match=match):
        list(worker.run(f"{jobs}:refuse", path=str(tmp_path / "absent.mp4"), kind=kind))
    assert _pid(worker, jobs) == first


def test_closing_early_stops_the_job_and_keeps_the_child(worker: Worker, jobs: str, tmp_path: Path) -> None:
    first = _pid(worker, jobs)
    items: Any = worker.run(f"{jobs}:tidy", path=str(tmp_path / "note"))
    next(items)
    items.close()
    assert (tmp_path / "note").read_text() == "tidied"
    assert _pid(worker, jobs) == first


def test_the_child_is_bounded_in_how_far_it_runs_ahead(worker: Worker, jobs: str) -> None:
    items: Any = worker.run(f"{jobs}:arrays", count=10_000, shape=[1 << 20])
    first = next(items)
    time.sleep(0.3)
    rest = [next(items) for _ in range(100)]
    assert first[0]["n"] == 0 and rest[-1][0]["n"] == 100
    items.close()


def test_two_jobs_at_once_are_refused(worker: Worker, jobs: str) -> None:
    items: Any = worker.run(f"{jobs}:arrays", count=3, shape=[1])
    next(items)
    with pytest.raises(InputError, match="one job at a time"):
        _pid(worker, jobs)
    items.close()
    assert _pid(worker, jobs)


def test_noise_of_decoders_stays_in_the_child(worker: Worker, jobs: str, capfd: pytest.CaptureFixture[str]) -> None:
    list(worker.run(f"{jobs}:noisy"))
    assert capfd.readouterr() == ("", "")


def test_the_child_dies_with_its_parent(jobs: str, tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(  # a user's script without a main guard
        textwrap.dedent(f"""
            import time
            from saccade.video.worker import Worker
            worker = Worker()
            print(next(iter(worker.run("{jobs}:pid")))[0]["pid"], flush=True)
            time.sleep(60)
        """)
    )
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert _alive(child)
        parent.kill()
    for _ in range(100):
        if not _alive(child):
            break
        time.sleep(0.05)
    assert not _alive(child)


def test_no_descriptor_is_left_open(jobs: str) -> None:
    def opened() -> int:
        return len(os.listdir("/proc/self/fd"))

    with Worker() as worker:
        _pid(worker, jobs)
    before = opened()
    for _ in range(3):
        with Worker() as worker:
            _pid(worker, jobs)
    assert opened() <= before
