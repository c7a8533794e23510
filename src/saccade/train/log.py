"""The log of a run: ``log.jsonl``, each step once, however often the run was stopped or killed."""

from __future__ import annotations

import fcntl
import json
import math
from pathlib import Path

from saccade.errors import TrainingError
from saccade.train.config import StepReport


class Log:
    """``log.jsonl``, one line a step; while it is open, no other run can have the folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> Log:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file = (self._folder / "log.jsonl").open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise TrainingError(f"{self._folder}: another process trains here; wait for it or stop it") from error
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def cut_after(self, step: int) -> None:
        """Forget the lines after that of ``step``, which a killed run wrote and its checkpoint knows nothing of."""
        self._file.seek(0)
        end = 0
        for line in self._file:
            if not line.endswith(b"\n") or self._step_of(line) > step:
                break
            end += len(line)
        self._file.truncate(end)

    def write(self, step: StepReport, evaluation: dict[str, float] | None) -> None:
        line = {
            "step": step.step,
            "loss": _writable(step.loss),
            "parts": {name: _writable(value) for name, value in step.parts.items()},
            "learning_rate": step.learning_rate,
            "seconds_per_step": round(step.seconds_per_step, 4),
            **({"skipped": True} if step.skipped else {}),
            **({"evaluation": {n: _writable(v) for n, v in evaluation.items()}} if evaluation is not None else {}),
        }
        self._file.write(json.dumps(line, allow_nan=False).encode() + b"\n")
        self._file.flush()

    def _step_of(self, line: bytes) -> int:
        try:
            return int(json.loads(line)["step"])
        except (ValueError, TypeError, KeyError) as error:
            raise TrainingError(
                f"{self._file.name} holds a line that is none of a log ({line[:40]!r}): move the file away to go on"
            ) from error


def _writable(value: float) -> float | None:
    """JSON knows no number that is not finite."""
    return value if math.isfinite(value) else None
