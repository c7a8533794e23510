"""The schedule's values, the groups, and the average against a slow loop."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from saccade.errors import InputError
from saccade.train.average import Average, wearing
from saccade.train.optimiser import adamw, learning_rate_share


class Many(nn.Module):
    """One of each kind of parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.norm = nn.LayerNorm((4, 2, 2))
        self.groups = nn.GroupNorm(2, 4)
        self.attention = nn.MultiheadAttention(4, 2)
        self.token = nn.Parameter(torch.zeros(1, 1, 4))
        self.log_scale = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(2, 2))


def test_the_schedule_at_chosen_steps() -> None:
    share = [learning_rate_share(step, 1101, 100, 0.01) for step in range(1101)]
    assert share[0] == 0.01 and share[49] == 0.5 and share[99] == share[100] == 1.0
    assert share[600] == pytest.approx(0.505) and share[1100] == pytest.approx(0.01)
    assert share[350] == pytest.approx(0.01 + 0.99 * (1 + math.sqrt(0.5)) / 2)
    assert [learning_rate_share(step, 2, 0, 0.0) for step in (0, 1)] == [1.0, 0.0]
    assert learning_rate_share(0, 1, 0, 0.5) == 1.0


def test_biases_norms_and_single_dimensions_do_not_decay() -> None:
    model = Many()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decay = {
        names[id(parameter)]: group["weight_decay"]
        for group in adamw(model, 1e-3, 0.05, {}).param_groups
        for parameter in group["params"]
    }
    assert decay.keys() == dict(model.named_parameters()).keys()
    decaying = {name for name, value in decay.items() if value == 0.05}
    assert decaying == {"convolution.weight", "attention.in_proj_weight", "attention.out_proj.weight", "token"}
    assert {value for name, value in decay.items() if name not in decaying} == {0.0}


def test_the_longest_prefix_counts_and_whole_components_only() -> None:
    model = nn.Sequential(*(nn.Linear(2, 2) for _ in range(11)))
    optimiser = adamw(model, 0.1, 0.0, {"": 0.5, "1": 0.0, "10.": 0.25, "10.bias": 0.125})
    rates = {id(p): group["lr"] for group in optimiser.param_groups for p in group["params"]}
    assert rates[id(model[2].weight)] == 0.05 and id(model[1].weight) not in rates
    assert (rates[id(model[10].weight)], rates[id(model[10].bias)]) == (0.025, 0.0125)
    assert not model[1].weight.requires_grad and model[10].weight.requires_grad


def test_a_prefix_of_nothing_and_a_model_all_frozen_are_refused() -> None:
    with pytest.raises(InputError, match="no parameter lies under 'tower'; the model's own parts are 0, 1"):
        adamw(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), 0.1, 0.0, {"tower": 0.0})
    with pytest.raises(InputError, match="each one is frozen"):
        adamw(nn.Linear(2, 2), 0.1, 0.0, {"": 0})


def test_what_the_caller_froze_stays_frozen() -> None:
    model = nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    adamw(model, 0.1, 0.0, {"bias": 2.0})
    assert not model.bias.requires_grad


def test_the_average_equals_a_slow_loop() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    average = Average(model, 0.8)
    slow = {name: value.double() for name, value in model.state_dict().items()}
    for t in range(60):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        model(torch.randn(5, 3))
        average.update(model)
        decay = min(0.8, (1 + t) / (10 + t))
        for name, value in model.state_dict().items():
            is_parameter = name in dict(model.named_parameters())
            slow[name] = decay * slow[name] + (1 - decay) * value.double() if is_parameter else value.double()
    for name, value in average.weights.items():
        torch.testing.assert_close(value.double(), slow[name], rtol=1e-5, atol=1e-5)
    assert average.weights["1.num_batches_tracked"] == 60


def test_half_precision_weights_are_averaged_in_single() -> None:
    model = nn.Linear(1, 1, bias=False).bfloat16()
    nn.init.ones_(model.weight)
    average = Average(model, 0.999)
    average.updates = 10**6
    nn.init.constant_(model.weight, 2.0)
    for _ in range(10):
        average.update(model)
    assert average.weights["weight"].item() == pytest.approx(2 - 0.999**10, rel=1e-5)


def test_the_model_gets_its_own_weights_back_even_after_an_error() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    own = {name: value.clone() for name, value in model.state_dict().items()}
    other = {name: value + 1 for name, value in own.items()}

    def fail_within() -> None:
        with wearing(model, other):
            assert not model[1].training and torch.equal(model[0].weight, other["0.weight"])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_within()
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, own[name]) for name, value in model.state_dict().items())
