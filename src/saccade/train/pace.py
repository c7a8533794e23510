"""How long things take, and when to stop: the time limit, SIGINT and SIGTERM."""

from __future__ import annotations

import signal
import threading
import time
from collections import deque
from types import FrameType
from typing import Any

from saccade.train.config import StepReport
from saccade.train.learner import Step

_TWIN_SECONDS = 1.0
"""Within so long a second signal is the first one's twin: ``timeout`` signals its child, then the child's group."""


class Pace:
    """How long things take, and whether the time limit leaves room for one step more."""

    def __init__(self, began: float, limit: float | None) -> None:
        self._began = began
        self._limit = limit
        self._step_began = began
        self._steps: deque[float] = deque(maxlen=20)
        self._batches: deque[float] = deque(maxlen=20)
        self.saving = 0.0
        self.evaluating = 0.0

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._began

    def step_begins(self) -> None:
        self._step_began = time.monotonic()

    def report(self, step: Step, steps: int) -> StepReport:
        """The step, which ends here, with its times."""
        self._steps.append(time.monotonic() - self._step_began)
        mean = sum(self._steps) / len(self._steps)
        return StepReport(
            step=step.step,
            steps=steps,
            loss=step.loss,
            parts=step.parts,
            learning_rate=step.learning_rate,
            seconds_per_step=mean,
            eta_seconds=mean * (steps - step.step),
            skipped=step.skipped,
        )

    def batch_took(self, seconds: float) -> None:
        self._batches.append(seconds)

    def is_over(self, evaluates: bool) -> bool:
        """Whether a further step could pass the limit: its evaluation, the saving and the batches under way count."""
        if self._limit is None:
            return False
        needed = max(self._steps) + max(self._batches) + 2 * self.saving + (self.evaluating if evaluates else 0.0)
        return self.elapsed + needed > self._limit


class Stop:
    """The first SIGINT or SIGTERM is noted, for the step to end; one that comes later acts as it would have anyway."""

    def __init__(self) -> None:
        self.asked: int | None = None
        self._asked_at = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handlers
            handled = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
            self._before = {n: handler for n, handler in handled.items() if handler not in (None, signal.SIG_IGN)}
            for number in self._before:
                signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        while self._before:
            signal.signal(*self._before.popitem())

    def _ask(self, number: int, _: FrameType | None) -> None:
        if self.asked is None:
            self.asked, self._asked_at = number, time.monotonic()
        elif time.monotonic() - self._asked_at > _TWIN_SECONDS:
            self.__exit__()
            signal.raise_signal(number)
