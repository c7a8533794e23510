"""Stopped or left alone, a run ends with the same bits; and it does what its configuration says."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from saccade.errors import InputError, TrainingError
from saccade.train import CHECKPOINT, StepReport, TrainConfig, TrainReport, saved_weights, train
from saccade.train.pace import Stop

CONFIG = TrainConfig(steps=12, learning_rate=0.02, warmup_steps=3, ema_decay=0.9)


class Net(nn.Module):
    """Everything that could spoil a resume: running statistics, dropout, a weight of one dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3))
        self.head = nn.Linear(16, 2)

    def forward(self, batch: Tensor) -> Tensor:
        return self.head(self.tower(batch))


def net() -> Net:
    with torch.random.fork_rng([]):
        torch.manual_seed(3)
        return Net()


def batch_of(step: int) -> dict[str, Tensor]:
    x = torch.randn(16, 6, generator=torch.Generator().manual_seed(step))
    return {"x": x, "y": torch.stack([x.sum(1), x[:, 0] - x[:, 1]], 1)}


def loss(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
    error = (model(batch["x"]) - batch["y"]).square().mean()
    return error, {"error": error.item()}


def saved(folder: Path) -> dict[str, Any]:
    return torch.load(folder / CHECKPOINT, weights_only=True)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def same_state(a: Path, b: Path) -> bool:
    left, right = saved(a), saved(b)
    return all(same(left[key], right[key]) for key in left if key != "seconds")


def logged(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def stop_at(step: int, how: Callable[[], None]) -> Callable[[StepReport], None]:
    def on_step(report: StepReport) -> None:
        if report.step == step:
            how()

    return on_step


def boom() -> None:
    raise ZeroDivisionError


# ---- resume ----


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_an_interrupted_run_ends_with_the_bits_of_one_left_alone(tmp_path: Path, precision: str) -> None:
    config = TrainConfig(steps=12, learning_rate=0.02, warmup_steps=3, ema_decay=0.9, precision=precision)
    whole = train(net(), loss, batch_of, config, tmp_path / "whole")
    for step in (4, 7):
        with pytest.raises(ZeroDivisionError):
            train(net(), loss, batch_of, config, tmp_path / "parts", on_step=stop_at(step, boom), workers=3)
        assert saved(tmp_path / "parts")["step"] == step
    parts = train(net(), loss, batch_of, config, tmp_path / "parts")
    assert parts.finished and same_state(tmp_path / "whole", tmp_path / "parts")
    assert same(whole.model.state_dict(), parts.model.state_dict()) and same(whole.ema, parts.ema)
    assert [line["step"] for line in logged(tmp_path / "parts")] == list(range(1, 13))
    assert [line["loss"] for line in logged(tmp_path / "parts")] == saved(tmp_path / "whole")["losses"].tolist()


PROGRAM = """
import sys, time, torch
sys.path.insert(0, sys.argv[1])
from test_loop import CONFIG, batch_of, loss, net, train
torch.set_num_threads(1)
def on_step(report):
    print(report.step, flush=True)
    time.sleep(0.02)
train(net(), loss, batch_of, CONFIG, sys.argv[2], on_step=on_step, save_every=float(sys.argv[3]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("save_every, step", [(0.0, 6), (0.05, 8)])
def test_a_killed_run_goes_on(tmp_path: Path, save_every: float, step: int) -> None:
    command = [sys.executable, "-c", PROGRAM, str(Path(__file__).parent), str(tmp_path / "killed"), str(save_every)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if int(line) == step:
                child.kill()
    assert child.returncode == -signal.SIGKILL
    (tmp_path / "killed" / f".{CHECKPOINT}.left").write_bytes(b"half a checkpoint")
    with (tmp_path / "killed" / "log.jsonl").open("ab") as log:
        log.write(b'{"step": 1')
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train(net(), loss, batch_of, CONFIG, tmp_path / "killed")
        train(net(), loss, batch_of, CONFIG, tmp_path / "whole")
    finally:
        torch.set_num_threads(threads)
    assert same_state(tmp_path / "whole", tmp_path / "killed")
    assert [line["step"] for line in logged(tmp_path / "killed")] == list(range(1, 13))
    assert sorted(path.name for path in (tmp_path / "killed").iterdir()) == [CHECKPOINT, "log.jsonl"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_step_end_and_saves(tmp_path: Path, number: int) -> None:
    def run() -> TrainReport:
        def twice() -> None:
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), number)

        hit = stop_at(5, twice)
        return train(net(), loss, batch_of, CONFIG, tmp_path / "parts", on_step=hit)

    before = signal.getsignal(number)
    if number == signal.SIGINT:
        with pytest.raises(KeyboardInterrupt):
            run()
    else:
        report = run()
        assert (report.steps, report.finished) == (5, False)
    assert signal.getsignal(number) == before
    assert saved(tmp_path / "parts")["step"] == 5
    train(net(), loss, batch_of, CONFIG, tmp_path / "whole")
    assert train(net(), loss, batch_of, CONFIG, tmp_path / "parts").finished
    assert same_state(tmp_path / "whole", tmp_path / "parts")


def test_a_later_second_signal_does_not_wait() -> None:
    with Stop() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.asked == signal.SIGINT
        stop._asked_at -= 2
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_run_in_another_thread_leaves_signals_alone(tmp_path: Path) -> None:
    reports: list[TrainReport] = []
    run = threading.Thread(target=lambda: reports.append(train(net(), loss, batch_of, CONFIG, tmp_path)))
    run.start()
    run.join()
    assert reports[0].finished


def test_the_time_limit_is_kept_and_the_run_goes_on(tmp_path: Path) -> None:
    train(net(), loss, batch_of, CONFIG, tmp_path / "whole")

    def slow(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        time.sleep(0.1)
        return loss(model, batch)

    first = train(net(), slow, batch_of, CONFIG, tmp_path / "parts", time_limit=0.6)
    assert 1 <= first.steps < 6 and not first.finished
    second = train(net(), slow, batch_of, CONFIG, tmp_path / "parts", time_limit=1e-6)
    assert second.steps == first.steps + 1, "a run takes one step at least, so that many short runs end"
    last = train(net(), loss, batch_of, CONFIG, tmp_path / "parts")
    assert last.finished and last.total_seconds > first.seconds + second.seconds
    assert same_state(tmp_path / "whole", tmp_path / "parts")


def test_a_finished_run_is_only_read(tmp_path: Path) -> None:
    train(net(), loss, batch_of, CONFIG, tmp_path)
    written = (tmp_path / CHECKPOINT).stat().st_mtime_ns
    model = net()
    report = train(model, loss, lambda step: pytest.fail("no batch is needed"), CONFIG, tmp_path)
    assert report.finished and (tmp_path / CHECKPOINT).stat().st_mtime_ns == written
    assert same(model.state_dict(), saved(tmp_path)["model"])
    assert same(saved_weights(tmp_path), report.ema) and not same(report.ema, model.state_dict())


@pytest.mark.parametrize("where", ["batch", "loss", "evaluation"])
def test_what_was_learnt_before_an_error_is_kept(tmp_path: Path, where: str) -> None:
    def bad_batch(step: int) -> dict[str, Tensor]:
        return boom() if step == 5 and where == "batch" else {**batch_of(step), "step": step}

    def bad_loss(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        found = loss(model, batch)  # moves the running statistics
        return boom() if batch.get("step") == 5 and where == "loss" else found

    def evaluate(model: nn.Module) -> dict[str, float]:
        return boom() if where == "evaluation" else {}

    extra = {"evaluate": evaluate, "evaluate_every": 5} if where == "evaluation" else {}
    with pytest.raises(ZeroDivisionError):
        train(net(), bad_loss, bad_batch, CONFIG, tmp_path / "parts", workers=2, **extra)
    assert saved(tmp_path / "parts")["step"] == 5 == logged(tmp_path / "parts")[-1]["step"]
    train(net(), loss, batch_of, CONFIG, tmp_path / "parts")
    train(net(), loss, batch_of, CONFIG, tmp_path / "whole")
    assert same_state(tmp_path / "whole", tmp_path / "parts")


# ---- what is refused ----


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    train(net(), loss, batch_of, CONFIG, tmp_path)
    other = TrainConfig(steps=13, learning_rate=0.02, warmup_steps=3, ema_decay=0.9, scales={"tower": 0.1})
    with pytest.raises(TrainingError, match=r"scales \{\} there, \{'tower': 0.1\} here; steps 12 there, 13 here"):
        train(net(), loss, batch_of, other, tmp_path)
    with pytest.raises(TrainingError, match="another model"):
        train(nn.Linear(6, 2), loss, batch_of, CONFIG, tmp_path)


@pytest.mark.parametrize("damage", ["cut", "bit", "foreign"])
def test_a_damaged_checkpoint_is_refused_and_left(tmp_path: Path, damage: str) -> None:
    train(net(), loss, batch_of, CONFIG, tmp_path)
    path = tmp_path / CHECKPOINT
    data = bytearray(path.read_bytes())
    if damage == "cut":
        del data[len(data) // 2 :]
    elif damage == "bit":
        weight = saved(tmp_path)["model"]["tower.0.weight"].numpy().tobytes()
        data[data.index(weight) + 9] ^= 4
    if damage == "foreign":
        torch.save({"epoch": 3}, path)
    else:
        path.write_bytes(data)
    left = path.read_bytes()
    with pytest.raises(TrainingError, match="not a checkpoint" if damage == "foreign" else "is damaged"):
        train(net(), loss, batch_of, CONFIG, tmp_path)
    assert path.read_bytes() == left
    with pytest.raises(TrainingError, match="no checkpoint here"):
        saved_weights(tmp_path / "elsewhere")


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    def meddle() -> None:
        with pytest.raises(TrainingError, match="another process trains here"):
            train(net(), loss, batch_of, CONFIG, tmp_path)

    assert train(net(), loss, batch_of, CONFIG, tmp_path, on_step=stop_at(2, meddle)).finished


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"warmup_steps": 12},
        {"learning_rate": 0.0},
        {"learning_rate": math.nan},
        {"final_share": 2.0},
        {"weight_decay": -1.0},
        {"scales": {"tower": -1.0}},
        {"clip_norm": 0.0},
        {"ema_decay": 1.0},
        {"precision": "int8"},
        {"seed": -1},
    ],
    ids=str,
)
def test_a_config_checks_itself(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        TrainConfig(**{"steps": 12, "warmup_steps": 0, **wrong})


def test_arguments_are_checked_before_anything_is_written(tmp_path: Path) -> None:
    for wrong in ({"time_limit": 0.0}, {"workers": 0}, {"save_every": -1.0}, {"evaluate_every": 0}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            train(net(), loss, batch_of, CONFIG, tmp_path / "new", **wrong)
    assert not (tmp_path / "new").exists()


# ---- steps that are not finite ----


def spoilt(steps: set[int], value: float) -> Callable[[int], dict[str, Tensor]]:
    def made(step: int) -> dict[str, Tensor]:
        batch = batch_of(step)
        return {name: x * value for name, x in batch.items()} if step in steps else batch

    return made


@pytest.mark.parametrize("value", [math.nan, 1e30], ids=["the loss is nan", "the loss overflows"])
def test_a_step_that_is_not_finite_changes_nothing(tmp_path: Path, value: float) -> None:
    seen: list[StepReport] = []
    report = train(net(), loss, spoilt({4, 5}, value), CONFIG, tmp_path, on_step=seen.append)
    assert report.finished and report.skipped == 2
    assert (
        [step.step for step in seen if step.skipped]
        == [5, 6]
        == [x["step"] for x in logged(tmp_path) if "skipped" in x]
    )
    assert all(tensor.isfinite().all() for tensor in [*report.model.state_dict().values(), *report.ema.values()])
    assert report.model.state_dict()["tower.1.num_batches_tracked"] == 10


def test_gradients_that_are_not_finite_change_nothing(tmp_path: Path) -> None:
    def root(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        return (model.weight * 0).sum().sqrt() if batch["step"] == 3 else model(batch["x"]).square().mean(), {}

    report = train(nn.Linear(6, 2), root, lambda step: {**batch_of(step), "step": step}, CONFIG, tmp_path)
    assert report.skipped == 1 and report.model.weight.isfinite().all()


def test_twenty_in_a_row_end_the_run(tmp_path: Path) -> None:
    config = TrainConfig(steps=60, warmup_steps=0)
    bad = set(range(2, 15)) | set(range(16, 60))
    with pytest.raises(TrainingError, match="20 steps in a row were not finite, the last at step 36"):
        train(net(), loss, spoilt(bad, math.nan), config, tmp_path)
    kept = saved(tmp_path)
    assert kept["step"] == 36 and kept["skipped"] == 33
    assert all(tensor.isfinite().all() for tensor in kept["model"].values())


# ---- what the configuration does ----


def test_it_learns_and_reports(tmp_path: Path) -> None:
    seen: list[StepReport] = []
    config = TrainConfig(steps=150, learning_rate=0.02, warmup_steps=10)
    report = train(net(), loss, batch_of, config, tmp_path, on_step=seen.append, workers=2)
    assert [step.step for step in seen] == list(range(1, 151)) and seen[0].steps == 150
    assert report.loss == seen[-1].loss < seen[0].loss / 3 and seen[3].parts == {"error": seen[3].loss}
    assert seen[-1].eta_seconds == 0 and seen[0].eta_seconds == pytest.approx(149 * seen[0].seconds_per_step)
    assert max(step.learning_rate for step in seen) == seen[10].learning_rate == 0.02
    assert seen[-1].learning_rate == pytest.approx(0.0002) and seen[0].learning_rate == pytest.approx(0.002)
    assert all(a.learning_rate > b.learning_rate for a, b in pairwise(seen[10:]))


def test_gradients_are_clipped(tmp_path: Path) -> None:
    norms = []
    for clip_norm in (0.5, None):
        model = nn.Linear(6, 2)
        config = TrainConfig(steps=1, warmup_steps=0, clip_norm=clip_norm)
        train(model, loss, spoilt({0}, 100.0), config, tmp_path / str(clip_norm))
        norms.append(torch.cat([model.weight.grad.flatten(), model.bias.grad]).norm().item())
    assert norms[0] == pytest.approx(0.5, rel=1e-4) and norms[1] > 100


def test_scale_zero_is_truly_frozen_and_small_scales_learn_slowly(tmp_path: Path) -> None:
    model, before = net(), net().state_dict()
    config = TrainConfig(steps=6, warmup_steps=0, scales={"tower": 0, "head.weight": 0.01}, weight_decay=0.5)
    report = train(model, loss, batch_of, config, tmp_path)
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("tower."))
    assert all(torch.equal(before[name], report.ema[name]) for name in before if name.startswith("tower."))
    assert not any(parameter.requires_grad for parameter in model.tower.parameters())
    moved = {name: (after[name] - before[name]).abs().max().item() for name in ("head.weight", "head.bias")}
    assert 0 < moved["head.weight"] < 0.05 * moved["head.bias"]
    assert saved(tmp_path)["optimiser"]["param_groups"][0]["scale"] == 0.01


def test_evaluation_sees_averaged_weights_in_evaluation_mode_and_the_model_comes_back(tmp_path: Path) -> None:
    seen: list[dict[str, Tensor]] = []

    def evaluate(model: nn.Module) -> dict[str, float]:
        assert not any(module.training for module in model.modules()) and not torch.is_grad_enabled()
        seen.append({name: value.clone() for name, value in model.state_dict().items()})
        torch.rand(3)  # moves the global generator, which must not matter
        return {"error": loss(model, batch_of(99))[0].item()}

    report = train(net(), loss, batch_of, CONFIG, tmp_path / "a", evaluate=evaluate, evaluate_every=5)
    assert [step for step, _ in report.evaluations] == [5, 10, 12]
    assert same(seen[-1], report.ema) and not same(seen[-1], report.model.state_dict())
    assert [line["step"] for line in logged(tmp_path / "a") if "evaluation" in line] == [5, 10, 12]
    assert saved(tmp_path / "a")["evaluations"] == list(report.evaluations)
    train(net(), loss, batch_of, CONFIG, tmp_path / "b")
    assert same(saved(tmp_path / "a")["model"], saved(tmp_path / "b")["model"])
    late = train(net(), loss, batch_of, CONFIG, tmp_path / "b", evaluate=evaluate)
    assert late.evaluations == report.evaluations[-1:], "a finished run can still be evaluated"


def test_modes_and_the_global_generator_are_left_as_they_were(tmp_path: Path) -> None:
    model = net().eval()
    model.head.train()
    state = torch.get_rng_state()
    train(model, loss, batch_of, CONFIG, tmp_path)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.head.training and not model.tower.training


def test_batches_come_in_order_from_threads_and_not_too_far_ahead(tmp_path: Path) -> None:
    made: list[int] = []
    used: list[int] = []
    farthest: list[int] = []

    def slow_at_first(step: int) -> dict[str, Any]:
        assert threading.current_thread().name.startswith("batches")
        made.append(step)
        time.sleep(0.01 if step % 3 == 0 else 0)
        return {**batch_of(step), "step": step}

    def noting(model: nn.Module, batch: dict[str, Any]) -> tuple[Tensor, dict[str, float]]:
        used.append(batch["step"])
        farthest.append(max(made) - batch["step"])
        return loss(model, batch)

    train(net(), noting, slow_at_first, CONFIG, tmp_path, workers=3)
    assert used == list(range(12)) and sorted(made) == used and max(farthest) <= 5


def test_a_damaged_log_is_not_cut_in_silence(tmp_path: Path) -> None:
    train(net(), loss, batch_of, CONFIG, tmp_path)
    (tmp_path / "log.jsonl").write_text('{"step": 1}\nwords\n{"step": 3}\n')
    with pytest.raises(TrainingError, match=r"log.jsonl holds a line that is none of a log \(b'words"):
        train(net(), loss, batch_of, CONFIG, tmp_path)


def test_a_scaled_loss_overflows_backs_off_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scaler = torch.amp.GradScaler
    monkeypatch.setattr(
        torch.amp, "GradScaler", lambda *_, **__: scaler("cpu", init_scale=2.0**127, growth_interval=99)
    )
    whole = train(net(), loss, batch_of, CONFIG, tmp_path / "whole")
    with pytest.raises(ZeroDivisionError):
        train(net(), loss, batch_of, CONFIG, tmp_path / "parts", on_step=stop_at(8, boom))
    train(net(), loss, batch_of, CONFIG, tmp_path / "parts")
    kept = saved(tmp_path / "whole")["scaler"]
    assert 1 <= whole.skipped < 8 and kept["scale"] == 2.0 ** (127 - whole.skipped) and kept["_growth_tracker"] > 4
    assert same_state(tmp_path / "whole", tmp_path / "parts")
