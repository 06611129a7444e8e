"""What people do to a layer of torch.nn does the same to ours, or is refused: never is it ignored."""

from __future__ import annotations

import copy
import io
import types
from collections.abc import Callable
from typing import Any

import pytest
import torch
from nn_cases import KINDS, pair
from torch.nn.utils import parametrize, prune

import unrolled
from unrolled.errors import ConfigError, ShapeError
from unrolled.nn.validate import validate_layer

HABITS: dict[str, Callable[[Any], list[torch.Tensor]]] = {}


def habit(function: Callable[[Any], list[torch.Tensor]]) -> Callable[[Any], list[torch.Tensor]]:
    HABITS[function.__name__] = function
    return function


def series() -> torch.Tensor:
    return torch.randn(6, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def run(layer: Any, *given: Any) -> list[torch.Tensor]:
    """Outputs, states and the gradients of whatever the layer calls its parameters."""
    y, states = layer(*(given or (series(),)))
    outputs = [y, *(states if isinstance(states, tuple) else (states,))]
    leaves = [each for each in layer.parameters() if each.requires_grad]
    loss = sum((each * each.cos()).sum() for each in outputs)
    return outputs + [
        each for each in torch.autograd.grad(loss, leaves, allow_unused=True) if each is not None
    ]


class Half(torch.nn.Module):
    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight * 0.5


def halved(weight: torch.Tensor) -> torch.nn.Parameter:
    return torch.nn.Parameter(weight.detach() * 0.5)


@habit
def flat_weights_are_assigned(layer):
    layer._flat_weights = [halved(weight) for weight in layer._flat_weights]
    with torch.no_grad():
        rollout = layer(series())[0]
    return [rollout, *run(layer)]


@habit
def one_of_the_flat_weights_is_assigned(layer):
    layer._flat_weights[1] = halved(layer.weight_hh_l0)
    return run(layer)


@habit
def flat_weights_are_assigned_and_then_a_weight(layer):
    layer._flat_weights = [halved(weight) for weight in layer._flat_weights]
    layer.weight_hh_l0 = halved(halved(layer.weight_hh_l0))
    return run(layer)


@habit
def flat_weights_get_gradients(layer):
    layer._flat_weights = [halved(weight) for weight in layer._flat_weights]
    return list(torch.autograd.grad(layer(series())[0].sum(), layer._flat_weights))


@habit
def few_steps_with_flat_weights(layer):
    layer.float()
    layer._flat_weights = [halved(weight) for weight in layer._flat_weights]
    return [each.double() for each in run(layer, series()[:1].float())]


@habit
def a_weight_is_put_into_the_dict_of_parameters(layer):
    layer._parameters["weight_hh_l0"] = halved(layer.weight_hh_l0)
    return run(layer)


@habit
def a_weight_gets_other_data_between_calls(layer):
    before = run(layer)
    layer.weight_hh_l0.data = (layer.weight_hh_l0.data * 0.5).t().contiguous().t()
    return before + run(layer)


@habit
def a_weight_becomes_a_tensor(layer):
    weight = layer.weight_hh_l0.detach()
    del layer._parameters["weight_hh_l0"]
    layer.weight_hh_l0 = weight * 0.5
    return run(layer)


@habit
def a_weight_becomes_a_buffer(layer):
    weight = layer.weight_hh_l0.detach() * 0.5
    del layer._parameters["weight_hh_l0"]
    layer.register_buffer("weight_hh_l0", weight)
    return run(layer)


@habit
def a_hook_drops_weights(layer):
    raw = torch.nn.Parameter(layer.weight_hh_l0.detach().clone())
    del layer._parameters["weight_hh_l0"]
    layer.register_parameter("weight_hh_l0_raw", raw)

    def drop(module: Any, _: Any) -> None:
        module.weight_hh_l0 = torch.nn.functional.dropout(module.weight_hh_l0_raw, 0.5)

    layer.register_forward_pre_hook(drop)
    torch.manual_seed(3)
    return run(layer)


@habit
def weights_are_pruned_and_the_pruning_made_permanent(layer):
    torch.manual_seed(3)
    prune.random_unstructured(layer, "weight_hh_l0", 0.5)
    before = run(layer)
    prune.remove(layer, "weight_hh_l0")
    return before + run(layer)


@habit
def a_parametrisation_is_put_on_cached_and_removed(layer):
    parametrize.register_parametrization(layer, "weight_hh_l0", Half())
    with parametrize.cached():
        before = run(layer)
    parametrize.remove_parametrizations(layer, "weight_hh_l0")
    return before + run(layer)


@habit
def memory_is_given_by_to_empty(layer):
    other = type(layer)(3, 5, device="meta", dtype=torch.float64).to_empty(device="cpu")
    other.load_state_dict(layer.state_dict())
    return run(other)


@habit
def memory_is_given_by_assignment(layer):
    other = type(layer)(3, 5, device="meta", dtype=torch.float64)
    other.load_state_dict(layer.state_dict(), assign=True)
    return run(other)


@habit
def weights_are_assigned_by_load_state_dict(layer):
    layer.load_state_dict({name: halved(value) for name, value in layer.state_dict().items()}, assign=True)
    return run(layer)


@habit
def weights_are_shared_and_are_one_vector(layer):
    layer.share_memory()
    vector = torch.nn.utils.parameters_to_vector(layer.parameters()).detach()
    torch.nn.utils.vector_to_parameters(vector, layer.parameters())
    vector.mul_(0.5)
    return run(layer)


@habit
def a_shallow_copy_gets_another_weight(layer):
    other = copy.copy(layer)
    other.weight_hh_l0 = halved(layer.weight_hh_l0)
    return run(other) + run(layer)


@habit
def functional_call_is_used_and_then_the_layer(layer):
    halves = {name: halved(value) for name, value in layer.named_parameters()}
    y, _ = torch.func.functional_call(layer, halves, (series(),))
    with torch.no_grad():
        rollout, _ = torch.func.functional_call(layer, halves, (series(),))
    return [y, rollout, *run(layer)]


@habit
def tensors_are_swapped(layer):
    torch.utils.swap_tensors(layer.weight_hh_l0, halved(layer.weight_hh_l0))
    return run(layer)


@habit
def it_is_saved_and_loaded_whole(layer):
    file = io.BytesIO()
    torch.save(layer, file)  # noqa: TID251  # what people do
    file.seek(0)
    return run(torch.load(file, weights_only=False))  # noqa: TID251


@habit
def hooks_change_input_and_output(layer):
    layer.register_forward_pre_hook(lambda _, given: (given[0] * 2, *given[1:]))
    layer.register_forward_hook(lambda _, __, found: (found[0] * 3, found[1]))
    layer.register_full_backward_pre_hook(lambda _, given: tuple(g if g is None else g * 2 for g in given))
    return run(layer)


@habit
def hooks_of_parameters_see_gradients(layer):
    seen: list[torch.Tensor] = []
    layer.weight_hh_l0.register_hook(lambda gradient: gradient * 2)
    layer.weight_ih_l0.register_post_accumulate_grad_hook(lambda weight: seen.append(weight.grad.clone()))
    layer(series())[0].sum().backward()
    return [*seen, layer.weight_hh_l0.grad]


@habit
def some_weights_are_frozen(layer):
    layer.weight_hh_l0.requires_grad_(False)
    layer.bias_ih_l0.requires_grad_(False)
    return run(layer)


@habit
def biases_are_tied(layer):
    layer.bias_hh_l0 = layer.bias_ih_l0
    return run(layer)


@habit
def its_layout_is_changed(layer):
    layer.batch_first = True
    return run(layer)


@habit
def its_mode_is_changed(layer):
    layer.mode = layer.mode.replace("TANH", "RELU")
    return run(layer)


@habit
def the_input_is_written_over_before_the_backward_pass(layer):
    x = series().requires_grad_()
    given = x * 1
    y, _ = layer(given)
    given.mul_(2)
    return list(torch.autograd.grad(y.sum(), x))


@habit
def a_weight_is_written_over_before_the_backward_pass(layer):
    y, _ = layer(series())
    with torch.no_grad():
        layer.weight_hh_l0.mul_(2)
    return list(torch.autograd.grad(y.sum(), [*layer.parameters()]))


@habit
def a_weight_of_another_shape_is_assigned(layer):
    layer.weight_hh_l0 = torch.nn.Parameter(torch.zeros(3, 3, dtype=torch.float64))
    return run(layer)


@habit
def a_replica_gets_weights(layer):
    replica = layer._replicate_for_data_parallel()
    for name, value in layer._parameters.items():
        setattr(replica, name, value * 1)
    return [replica(series())[0]]


def done(function: Callable[[Any], list[torch.Tensor]], layer: Any) -> list[torch.Tensor] | Exception:
    torch.manual_seed(5)
    try:
        return function(layer)
    except Exception as error:
        return error


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", HABITS)
def test_a_habit_has_its_effect(name: str, kind: str):
    theirs, ours = pair(kind, 3, 5)
    want, got = done(HABITS[name], theirs), done(HABITS[name], ours)
    if isinstance(want, Exception):
        assert isinstance(got, type(want)), got
    else:
        torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("setting", "value"), [("bias", False), ("num_layers", 2), ("bidirectional", True)], ids=str
)
def test_a_setting_that_asks_for_other_weights_than_there_are_is_refused(setting: str, value: Any):
    layer = unrolled.nn.GRU(3, 5)
    setattr(layer, setting, value)
    for gradients in (False, True):
        with (
            torch.set_grad_enabled(gradients),
            pytest.raises(ShapeError, match=rf"^weights: .*{setting}={value}"),
        ):
            layer(torch.randn(6, 4, 3))


def test_what_ours_does_not_call_cannot_be_replaced_in_silence(monkeypatch: pytest.MonkeyPatch):
    layer = torch.nn.GRU(3, 5)
    layer.check_forward_args = lambda *_: None
    with pytest.warns(UserWarning, match="its check_forward_args was replaced"):
        unrolled.accelerate(layer)
    with pytest.raises(ConfigError, match=r"^permute_hidden: expected a layer of torch.nn "):
        unrolled.nn.LSTM(3, 5).permute_hidden = None
    plain = torch.nn.GRU.forward
    monkeypatch.setattr(torch.nn.GRU, "forward", lambda self, *given: plain(self, *given))
    with pytest.warns(UserWarning, match=r"torch\.nn\.modules\.rnn\.GRU\.forward was replaced"):
        unrolled.accelerate(torch.nn.GRU(3, 5))


def test_what_stands_for_a_layer_is_asked_for_its_weights_alone():
    """As `adapters.opacus` does, whose clients this suite does not have."""
    layer = unrolled.nn.GRU(3, 5)
    names = (
        "mode",
        "input_size",
        "hidden_size",
        "num_layers",
        "bidirectional",
        "bias",
        "batch_first",
        "proj_size",
    )
    stand_in: Any = types.SimpleNamespace(
        **{name: getattr(layer, name) for name in names}, **layer._parameters
    )
    given = validate_layer(stand_in, torch.randn(6, 4, 3), None, None, None)
    assert given.weights[0].weight_hh is layer.weight_hh_l0
