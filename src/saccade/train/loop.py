"""One loop for every recipe: mixed precision, moving average, cosine schedule, time limit, and bit-exact resume.

A batch is a pure function of its step, and each step seeds torch anew, so a checkpoint needs no state of loaders or
random generators: a run that was stopped or killed and goes on later ends, on the same device and number of threads
and as far as the device's kernels are deterministic, with the very bits of one that was left alone.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from saccade.errors import InputError, TrainingError
from saccade.train.average import Average, modes_kept, wearing
from saccade.train.checkpoint import CHECKPOINT, check_config, load_checkpoint, save_checkpoint
from saccade.train.optimiser import adamw, frozen_modules, learning_rate_share

PATIENCE = 20
"""So many steps in a row that are not finite end the run."""

_PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

Loss = Callable[[nn.Module, Any], tuple[Tensor, dict[str, float]]]
"""(model, batch) -> (the scalar to descend, its parts for the log)."""


@dataclass(frozen=True)
class TrainConfig:
    """How to train; stored in the checkpoint, which no other configuration can go on from.

    ``scales`` maps a prefix of parameter names, whole components such as ``"tower.blocks.0"``, to a factor on the
    learning rate; the longest prefix counts. 0 freezes: no gradient, and a module that is frozen as a whole stays in
    evaluation mode, so that its running statistics stand still and nothing in it drops out.

    ``clip_norm`` is the greatest norm of all gradients together. ``ema_decay`` warms up as (1 + t) / (10 + t).
    ``precision`` is that of autocast: ``fp32`` (none), ``bf16`` or ``fp16``, on CUDA with a scaled loss.
    """

    steps: int
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    final_share: float = 0.01
    weight_decay: float = 0.05
    scales: Mapping[str, float] = field(default_factory=dict)
    clip_norm: float | None = 1.0
    ema_decay: float | None = 0.999
    precision: str = "fp32"
    seed: int = 0

    def __post_init__(self) -> None:
        _check(self.steps >= 1, f"steps must be at least 1, not {self.steps}")
        _check(0 < self.learning_rate < math.inf, f"learning_rate must be more than 0, not {self.learning_rate}")
        below = 0 <= self.warmup_steps < self.steps
        _check(below, f"warmup_steps must lie in 0 … steps − 1 = {self.steps - 1}, not {self.warmup_steps}")
        _check(0 <= self.final_share <= 1, f"final_share must lie in 0 … 1, not {self.final_share}")
        _check(0 <= self.weight_decay < math.inf, f"weight_decay must be at least 0, not {self.weight_decay}")
        for prefix, scale in self.scales.items():
            _check(0 <= scale < math.inf, f"scales: the factor of {prefix!r} must be at least 0, not {scale}")
        _check(self.clip_norm is None or self.clip_norm > 0, f"clip_norm must be more than 0, not {self.clip_norm}")
        _check(self.ema_decay is None or 0 <= self.ema_decay < 1, f"ema_decay must lie in [0, 1), not {self.ema_decay}")
        _check(self.precision in _PRECISIONS, f"precision must be fp32, bf16 or fp16, not {self.precision!r}")
        _check(self.seed >= 0, f"seed must be at least 0, not {self.seed}")


@dataclass(frozen=True)
class StepReport:
    """One step: ``step`` of ``steps``, the first is 1; ``seconds_per_step`` is a running mean.

    ``skipped``: the loss or the gradients were not finite, and the weights stayed as they were.
    """

    step: int
    steps: int
    loss: float
    parts: dict[str, float]
    learning_rate: float
    seconds_per_step: float
    eta_seconds: float
    skipped: bool


@dataclass(frozen=True)
class TrainReport:
    """What a run came to. ``finished`` is False where a time limit or SIGTERM ended it; calling again goes on.

    ``seconds`` counts this call, ``total_seconds`` all calls of the run. ``ema`` is the averaged state dict, to be
    preferred to the weights of ``model`` where there is one. ``evaluations`` are (step, what ``evaluate`` returned).
    """

    steps: int
    finished: bool
    seconds: float
    total_seconds: float
    model: nn.Module
    ema: dict[str, Tensor] | None
    loss: float | None
    skipped: int
    evaluations: tuple[tuple[int, dict[str, float]], ...]


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
    KeyboardInterrupt. When anything else raises, what was learnt until then is saved too.

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
    _check(time_limit is None or time_limit > 0, f"time_limit must be more than 0 seconds, not {time_limit}")
    _check(save_every >= 0, f"save_every must be at least 0 seconds, not {save_every}")
    _check(workers >= 1, f"workers must be at least 1, not {workers}")
    _check(evaluate_every is None or evaluate_every >= 1, f"evaluate_every must be at least 1, not {evaluate_every}")
    folder, device = Path(folder), torch.device(device)
    with ExitStack() as stack:
        log = stack.enter_context(_Log(folder))
        stop = stack.enter_context(_Stop())
        stack.enter_context(modes_kept(model))
        stack.enter_context(torch.random.fork_rng([device] if device.type == "cuda" else []))
        learner = _Learner(model, config, device)
        pace = _Pace(began, time_limit)
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


@dataclass(frozen=True)
class _Step:
    """What the learner says of a step; ``step`` counts from 1."""

    step: int
    loss: float
    parts: dict[str, float]
    learning_rate: float
    skipped: bool


class _Learner:
    """Everything that a step changes, which is everything that a checkpoint holds."""

    def __init__(self, model: nn.Module, config: TrainConfig, device: torch.device) -> None:
        self.config = config
        self.device = device
        self.model = model.to(device).train()
        self.optimiser = adamw(model, config.learning_rate, config.weight_decay, config.scales)
        for module in frozen_modules(model, config.scales):
            module.eval()
        scaled = config.precision == "fp16" and device.type == "cuda"
        self.scaler = torch.amp.GradScaler("cuda", enabled=scaled)
        self.average = None if config.ema_decay is None else Average(model, config.ema_decay)
        self.step = 0
        self.skipped = 0
        self.skipped_in_a_row = 0
        self.losses: list[float] = []
        self.evaluations: list[tuple[int, dict[str, float]]] = []
        self.seconds_before = 0.0
        self.is_whole = True

    def learn(self, loss_of: Loss, batch: Any) -> _Step:
        """Take one step; one that is not finite changes nothing but the counts, one that raises nothing at all."""
        config = self.config
        share = learning_rate_share(self.step, config.steps, config.warmup_steps, config.final_share)
        for group in self.optimiser.param_groups:
            group["lr"] = config.learning_rate * share * group["scale"]
        buffers = {name: value.detach().clone() for name, value in self.model.named_buffers()}
        try:
            loss, parts = self._backward(loss_of, batch)
        except Exception:
            self._put_back(buffers)
            raise
        self.is_whole = False
        taken = math.isfinite(loss) and self._descend()
        if not taken:
            self._put_back(buffers)
        elif self.average is not None:
            self.average.update(self.model)
        self.step += 1
        self.losses.append(loss)
        self.skipped += not taken
        self.skipped_in_a_row = 0 if taken else self.skipped_in_a_row + 1
        self.is_whole = True
        if self.skipped_in_a_row >= PATIENCE:
            raise TrainingError(
                f"loss or gradients of {PATIENCE} steps in a row were not finite, the last at step {self.step}; the "
                "weights from before them are kept in the checkpoint. Lower the learning rate, clip the gradients, or "
                "train in fp32 or bf16, in another folder"
            )
        return _Step(self.step, loss, parts, config.learning_rate * share, not taken)

    def contents(self, seconds: float) -> dict[str, Any]:
        """What a checkpoint holds; ``seconds`` were spent since the last one was read."""
        return {
            "config": self._plain_config(),
            "step": self.step,
            "skipped": self.skipped,
            "skipped_in_a_row": self.skipped_in_a_row,
            "losses": torch.tensor(self.losses, dtype=torch.float64),
            "evaluations": self.evaluations,
            "seconds": self.seconds_before + seconds,
            "model": self.model.state_dict(),
            "ema": None if self.average is None else self.average.weights,
            "ema_updates": 0 if self.average is None else self.average.updates,
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def restore(self, path: Path) -> None:
        """Become what the checkpoint at ``path`` holds."""
        saved = load_checkpoint(path)
        check_config(path, saved["config"], self._plain_config())
        try:
            self.model.load_state_dict(saved["model"])
            self.optimiser.load_state_dict(saved["optimiser"])
        except (RuntimeError, ValueError) as error:
            raise TrainingError(f"{path} is of another model; train in another folder: {error}") from error
        if self.average is not None:
            self.average.restore(saved["ema"], saved["ema_updates"])
        if saved["scaler"] and self.scaler.is_enabled():
            self.scaler.load_state_dict(saved["scaler"])
        self.step, self.seconds_before = saved["step"], saved["seconds"]
        self.skipped, self.skipped_in_a_row = saved["skipped"], saved["skipped_in_a_row"]
        self.losses, self.evaluations = saved["losses"].tolist(), saved["evaluations"]

    def report(self, seconds: float) -> TrainReport:
        """The run so far, after a call of so many seconds."""
        return TrainReport(
            steps=self.step,
            finished=self.step == self.config.steps,
            seconds=seconds,
            total_seconds=self.seconds_before + seconds,
            model=self.model,
            ema=None if self.average is None else self.average.weights,
            loss=self.losses[-1] if self.losses else None,
            skipped=self.skipped,
            evaluations=tuple(self.evaluations),
        )

    def seed(self) -> None:
        """Seed torch's global generators for what comes at this step."""
        torch.manual_seed(int(np.random.SeedSequence([self.config.seed, self.step]).generate_state(1, np.uint64)[0]))

    def _backward(self, loss_of: Loss, batch: Any) -> tuple[float, dict[str, float]]:
        self.seed()
        self.optimiser.zero_grad()
        precision = _PRECISIONS[self.config.precision]
        with torch.autocast(self.device.type, precision, enabled=precision != torch.float32):
            loss, parts = loss_of(self.model, _moved(batch, self.device))
        value = loss.item()
        if math.isfinite(value):
            torch.autograd.backward(self.scaler.scale(loss))
        return value, {name: float(part) for name, part in parts.items()}

    def _descend(self) -> bool:
        """Follow the gradients, unless they are not finite; whether it did."""
        self.scaler.unscale_(self.optimiser)
        parameters = [parameter for group in self.optimiser.param_groups for parameter in group["params"]]
        norm = get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
        is_finite = bool(norm.isfinite())
        if is_finite:
            if self.config.clip_norm is not None:
                clip_grads_with_norm_(parameters, self.config.clip_norm, norm)
            self.scaler.step(self.optimiser)
        self.scaler.update()
        return is_finite

    @torch.no_grad()
    def _put_back(self, buffers: dict[str, Tensor]) -> None:
        for name, value in self.model.named_buffers():
            value.copy_(buffers[name])

    def _plain_config(self) -> dict[str, Any]:
        config = {**vars(self.config), "scales": dict(self.config.scales)}
        plain: dict[str, Any] = json.loads(json.dumps(config))
        return plain


class _Keeper:
    """Writes the checkpoint when it is time to."""

    def __init__(self, path: Path, learner: _Learner, pace: _Pace, every_seconds: float) -> None:
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
        learner: _Learner,
        pace: _Pace,
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


class _Pace:
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

    def report(self, step: _Step, steps: int) -> StepReport:
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


class _Log:
    """``log.jsonl``, one line a step; while it is open, no other run can have the folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> _Log:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file = (self._folder / "log.jsonl").open("a+b", buffering=0)
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
            if not line.endswith(b"\n") or json.loads(line)["step"] > step:
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


class _Stop:
    """The first SIGINT or SIGTERM is noted, for the step to end; a second one acts as it would have anyway."""

    def __init__(self) -> None:
        self.asked: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Stop:
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
        self.asked = number
        self.__exit__()


def _ahead(batch_of: Callable[[int], Any], begin: int, end: int, workers: int, pace: _Pace) -> Generator[Any]:
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


def _examine_and_log(report: StepReport, examiner: _Examiner, log: _Log) -> None:
    """Evaluate where that is due; the step has its line even where the evaluation raises."""
    evaluation = None
    try:
        evaluation = examiner.examine()
    finally:
        log.write(report, evaluation)


def _moved(batch: Any, device: torch.device) -> Any:
    """``batch`` with its tensors on ``device``, those within dicts, lists and tuples too."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, dict):
        return {key: _moved(value, device) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(_moved(value, device) for value in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(_moved(value, device) for value in batch)
    return batch


def _writable(value: float) -> float | None:
    """JSON knows no number that is not finite."""
    return value if math.isfinite(value) else None


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise InputError(message)
