"""TorchRL's recurrent modules with our layers, beside its own."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from client_cases import QUIETLY, client

from unrolled import adapters, nn, to_torch
from unrolled.errors import ConfigError

modules = client("torchrl.modules")
tensordict = client("tensordict")
pytestmark = QUIETLY
KINDS = ("LSTM", "GRU")
KEYS = {"in_key": "observation", "out_key": "memory"}


def both(kind: str) -> tuple[Any, Any]:
    torch.manual_seed(0)
    layer = getattr(nn, kind)(3, 5, num_layers=2, batch_first=True)
    theirs = getattr(modules, f"{kind}Module")(**{kind.lower(): to_torch(copy.deepcopy(layer))}, **KEYS)
    return theirs, adapters.torchrl_module(layer, **KEYS)


def batch_of(kind: str, shape: tuple[int, ...] = (4, 9), *, starts: float = 0.3, states: bool = True) -> Any:
    """A batch of experience [*, T]; states are zero where a trajectory starts."""
    generator = torch.Generator().manual_seed(1)
    is_init = torch.rand(*shape, 1, generator=generator) < starts
    found = {"observation": torch.randn(*shape, 3, generator=generator), "is_init": is_init}
    if states:
        for name in "hc" if kind == "LSTM" else "h":
            key = f"recurrent_state_{name}" if kind == "LSTM" else "recurrent_state"
            value = torch.randn(*shape, 2, 5, generator=generator)
            value[..., 1:, :, :] *= ~is_init[..., 1:, :, None]
            found[key] = value
    return tensordict.TensorDict(found, batch_size=shape)


@pytest.mark.parametrize("states", [True, False])
@pytest.mark.parametrize("starts", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("shape", [(9,), (4, 9), (2, 3, 9), (4, 1)], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_of_trajectories_gives_what_torchrls_own_module_gives(kind, shape, starts, states):
    found = []
    for module in both(kind):
        given = batch_of(kind, shape, starts=starts, states=states)
        with modules.set_recurrent_mode(True):
            given = module(given)
        outputs = [given["memory"], *(given[key] for key in module.out_keys[1:])]
        gradients = torch.autograd.grad((outputs[0] ** 2).sum(), list(module.parameters()))
        found.append((*outputs, *gradients))
    for want, got in zip(*found, strict=True):
        torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_step_by_step_gives_what_the_batch_gives(kind):
    theirs, ours = both(kind)
    given = batch_of(kind, states=False)
    with modules.set_recurrent_mode(True), torch.no_grad():
        whole = ours(given.clone())["memory"]
    for module in (theirs, ours):
        state = tensordict.TensorDict({}, batch_size=4)
        steps = []
        for step in given.unbind(1):
            state = module(state.update(step))
            steps.append(state["memory"])
            for key in module.out_keys[1:]:
                state[key[-1]] = state[key]
        torch.testing.assert_close(torch.stack(steps, 1), whole)


@pytest.mark.parametrize("kind", KINDS)
def test_it_collects_in_an_environment(kind):
    envs = client("torchrl.envs")
    client("gymnasium")
    layer = getattr(nn, kind)(3, 8, batch_first=True)
    module = adapters.torchrl_module(layer, **KEYS)
    head = tensordict.nn.TensorDictModule(torch.nn.Linear(8, 1), in_keys=["memory"], out_keys=["action"])
    env = envs.TransformedEnv(envs.GymEnv("Pendulum-v1"), envs.InitTracker())
    env.append_transform(module.make_tensordict_primer())
    policy = tensordict.nn.TensorDictSequential(module, head)
    with torch.no_grad():
        rollout = env.rollout(6, policy, break_when_any_done=False)
    with modules.set_recurrent_mode(True), torch.no_grad():
        again = module(rollout.clone())
    torch.testing.assert_close(again["memory"], rollout["memory"])


def test_what_does_not_fit_is_refused_in_one_line():
    for layer in (
        nn.GRU(3, 5),
        nn.RNN(3, 5, batch_first=True),
        nn.GRU(3, 5, batch_first=True, bidirectional=True),
    ):
        with pytest.raises(ConfigError, match=r"^layer: expected an LSTM or GRU with batch_first"):
            adapters.torchrl_module(layer, **KEYS)
    _, ours = both("GRU")
    given = batch_of("GRU", starts=0.5)
    given["recurrent_state"] += 1
    with (
        modules.set_recurrent_mode(True),
        pytest.raises(ConfigError, match=r"^is_init: expected states of zero"),
    ):
        ours(given)
