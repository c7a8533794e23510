"""How far a run got and when it will be done, from what each sense has really achieved so far."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from saccade.ingest.plan import Plan

SMOOTHING_SECONDS = 30.0
"""Wall time over which a measured speed outweighs the one that was assumed before."""


@dataclass(frozen=True)
class Progress:
    """One step of a run: ``seconds_done`` of ``seconds_total`` seconds of this file by this sense.

    done_files and total_files count the files that this sense has before it. speed: seconds of media a second, by
    this sense, smoothed. eta_seconds: until the whole run is done.
    """

    path: str
    sense: str
    seconds_done: float
    seconds_total: float
    done_files: int
    total_files: int
    eta_seconds: float
    speed: float


class Clock:
    """Measures each sense's speed and reports progress. ``tick`` is called often and returns quickly."""

    def __init__(self, plan: Plan, report: Callable[[Progress], None] | None) -> None:
        self._report = report
        self._speed = {sense: plan.speed(sense) for sense in plan.senses}
        lengths = {item: plan.length(item).seconds for item in plan.pending}
        self._left = {sense: {i.path: lengths[i] for i in lengths if sense in i.due} for sense in plan.senses}
        self._total = {sense: len(paths) for sense, paths in self._left.items()}
        self._sense = self._path = ""
        self._at = self._length = 0.0
        self._since = time.monotonic()

    def start(self, path: str, sense: str, begin: float, length: float) -> None:
        """A sense takes up a file of ``length`` seconds at ``begin``."""
        self._sense, self._path, self._at, self._length = sense, path, begin, length
        self._since = time.monotonic()
        self._left[sense][path] = max(0.0, length - begin)
        self._tell()

    def tick(self, seconds: float) -> None:
        """The sense has reached ``seconds`` in its file."""
        now = time.monotonic()
        gained, spent = seconds - self._at, now - self._since
        if gained <= 0 or spent <= 0:
            return
        weight = 1 - math.exp(-spent / SMOOTHING_SECONDS)
        self._speed[self._sense] += weight * (gained / spent - self._speed[self._sense])
        self._at, self._since = seconds, now
        self._left[self._sense][self._path] = max(0.0, self._length - seconds)
        self._tell()

    def finish(self, path: str, sense: str) -> None:
        """A sense is through with a file, or will not touch it."""
        if self._left[sense].pop(path, None) is not None and path == self._path:
            self._at = self._length
            self._tell()

    def _tell(self) -> None:
        if self._report is None:
            return
        eta = sum(sum(left.values()) / self._speed[sense] for sense, left in self._left.items())
        total = self._total[self._sense]
        self._report(
            Progress(
                path=self._path,
                sense=self._sense,
                seconds_done=self._at,
                seconds_total=self._length,
                done_files=max(0, total - len(self._left[self._sense])),
                total_files=total,
                eta_seconds=eta,
                speed=self._speed[self._sense],
            )
        )
