"""One loop for every recipe: mixed precision, moving average, cosine schedule, time limit, and bit-exact resume.

A batch is a pure function of its step, and each step seeds torch anew, so a checkpoint needs no state of loaders or
random generators: a run that was stopped or killed and goes on later ends, on the same device and number of threads
and as far as the device's kernels are deterministic, with the very bits of one that was left alone.
"""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn

from saccade.train.average import modes_kept, wearing
from saccade.train.checkpoint import CHECKPOINT, save_checkpoint
from saccade.train.config import StepReport, TrainConfig, TrainReport, check
from saccade.train.learner import Learner, Loss
from saccade.train.log import Log
from saccade.train.pace import Pace, Stop


def train(
    model: nn.Module,
    loss: Loss,
    batch_of: Callable[[int], Any],
    config: TrainConfig,
    folder: str | os.PathLike[str],
    *,
    time_limit: float | None = None,
    device: str | torch.device = "cpu",
    save_every: float = 120.0,
    workers: int = 1,
    on_step: Callable[[StepReport], None] | None = None,
    evaluate: Callable[[nn.Module], dict[str, float]] | None = None,
    evaluate_every: int | None = None,
) -> TrainReport:
    """Train ``model``, or go on where the run in ``folder`` stopped, to the end, the time limit or a signal.

    ``batch_of(step)``, step 0 … ``config.steps`` − 1, must depend on its step alone and draw from generators of its
    own: it is called ahead of time in ``workers`` threads. Tensors in dicts, lists and tuples are moved to ``device``.
    ``loss`` runs under autocast and may use torch's global generator, which is seeded before each step. A step whose
    loss or gradients are not finite changes nothing and is counted; 20 in a row end the run.

    ``evaluate`` is called in evaluation mode, without gradients and with the averaged weights, every
    ``evaluate_every`` steps and after the last. Seconds: ``time_limit`` of this call, at least one step is taken;
    ``save_every`` between checkpoints. SIGINT and SIGTERM let the step end, then save; SIGINT raises
    KeyboardInterrupt; a second one does not wait. When anything else raises, what was learnt until then is saved too.

    ``folder`` gets ``checkpoint.pt`` and ``log.jsonl``, a line a step. The model is left with the weights reached,
    each module in the mode in which it came.

    Raises TrainingError where the checkpoint is damaged or of another configuration or model, another process trains
    in the folder, or 20 steps in a row are not finite; InputError for arguments out of range.

    >>> import tempfile
    >>> def batch_of(step):
    ...     return torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
    >>> def loss(model, batch):
    ...     return (model(batch) - batch.sum(1, keepdim=True)).square().mean(), {}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     report = train(nn.Linear(3, 1), loss, batch_of, TrainConfig(20, 0.1, warmup_steps=5), folder)
    >>> report.steps, report.finished, report.loss < 1
    (20, True, True)
    """
    began = time.monotonic()
    check(time_limit is None or time_limit > 0, f"time_limit must be more than 0 seconds, not {time_limit}")
    check(save_every >= 0, f"save_every must be at least 0 seconds, not {save_every}")
    check(workers >= 1, f"workers must be at least 1, not {workers}")
    check(evaluate_every is None or evaluate_every >= 1, f"evaluate_every must be at least 1, not {evaluate_every}")
    folder, device = Path(folder), torch.device(device)
    with ExitStack() as stack:
        log = stack.enter_context(Log(folder))
        stop = stack.enter_context(Stop())
        stack.enter_context(modes_kept(model))
        stack.enter_context(torch.random.fork_rng([device] if device.type == "cuda" else []))
        learner = Learner(model, config, device)
        pace = Pace(began, time_limit)
        keeper = _Keeper(folder / CHECKPOINT, learner, pace, save_every)
        keeper.begin()
        log.cut_after(learner.step)
        examiner = _Examiner(learner, pace, evaluate, evaluate_every)
        try:
            examiner.examine()
            pace.step_begins()
            for batch in stack.enter_context(closing(_ahead(batch_of, learner.step, config.steps, workers, pace))):
                if stop.asked:
                    break
                report = pace.report(learner.learn(loss, batch), config.steps)
                _examine_and_log(report, examiner, log)
                if on_step is not None:
                    on_step(report)
                if stop.asked or pace.is_over(examiner.is_due(learner.step + 1)):
                    break
                keeper.keep_if_due()
                pace.step_begins()
        except Exception:
            keeper.keep_what_is_whole()
            raise
        keeper.keep()
    if stop.asked == signal.SIGINT:
        raise KeyboardInterrupt
    return learner.report(pace.elapsed)


class _Keeper:
    """Writes the checkpoint when it is time to."""

    def __init__(self, path: Path, learner: Learner, pace: Pace, every_seconds: float) -> None:
        self._path = path
        self._learner = learner
        self._pace = pace
        self._every_seconds = every_seconds
        self._kept_at = time.monotonic()
        self._kept: tuple[int, int] | None = None

    def begin(self) -> None:
        """Go on from the checkpoint, or write the first: a folder that cannot be written is found out at once."""
        for left_behind in self._path.parent.glob(f".{self._path.name}.*"):  # a kill in the middle of a write
            left_behind.unlink()
        if self._path.exists():
            self._learner.restore(self._path)
            self._kept = self._progress()
        else:
            self.keep()

    def keep_if_due(self) -> None:
        if time.monotonic() - self._kept_at >= self._every_seconds:
            self.keep()

    def keep_what_is_whole(self) -> None:
        """Keep what was learnt before something raised, unless it raised amidst a change of the weights."""
        if self._learner.is_whole:
            self.keep()

    def keep(self) -> None:
        if self._kept == self._progress():
            return
        began = time.monotonic()
        save_checkpoint(self._path, self._learner.contents(self._pace.elapsed))
        self._kept = self._progress()
        self._kept_at = time.monotonic()
        self._pace.saving = self._kept_at - began

    def _progress(self) -> tuple[int, int]:
        return self._learner.step, len(self._learner.evaluations)


class _Examiner:
    """Evaluates the averaged weights at the steps where that is due, once each."""

    def __init__(
        self,
        learner: Learner,
        pace: Pace,
        evaluate: Callable[[nn.Module], dict[str, float]] | None,
        every_steps: int | None,
    ) -> None:
        self._learner = learner
        self._pace = pace
        self._evaluate = evaluate
        self._every_steps = every_steps

    def is_due(self, step: int) -> bool:
        at_interval = self._every_steps is not None and step > 0 and step % self._every_steps == 0
        return self._evaluate is not None and (at_interval or step == self._learner.config.steps)

    def examine(self) -> dict[str, float] | None:
        """What the evaluation gives, or None where none is due or it was done already."""
        learner = self._learner
        done = bool(learner.evaluations) and learner.evaluations[-1][0] == learner.step
        if self._evaluate is None or done or not self.is_due(learner.step):
            return None
        began = time.monotonic()
        learner.seed()
        with wearing(learner.model, None if learner.average is None else learner.average.weights), torch.no_grad():
            found = {name: float(value) for name, value in self._evaluate(learner.model).items()}
        learner.evaluations.append((learner.step, found))
        self._pace.evaluating = time.monotonic() - began
        return found


def _examine_and_log(report: StepReport, examiner: _Examiner, log: Log) -> None:
    """Evaluate where that is due; the step has its line even where the evaluation raises."""
    evaluation = None
    try:
        evaluation = examiner.examine()
    finally:
        log.write(report, evaluation)


def _ahead(batch_of: Callable[[int], Any], begin: int, end: int, workers: int, pace: Pace) -> Generator[Any]:
    """The batches of steps ``begin`` … ``end`` − 1 in order, made in threads, at most ``workers`` + 1 ahead."""

    def make(step: int) -> tuple[Any, float]:
        began = time.monotonic()
        return batch_of(step), time.monotonic() - began

    with ThreadPoolExecutor(workers, thread_name_prefix="batches") as pool:
        steps = iter(range(begin, end))
        waiting = deque(pool.submit(make, step) for step in islice(steps, workers + 1))
        try:
            while waiting:
                batch, seconds = waiting.popleft().result()
                pace.batch_took(seconds)
                waiting.extend(pool.submit(make, step) for step in islice(steps, 1))
                yield batch
        finally:
            for future in waiting:
                future.cancel()
