"""sb3-contrib's RecurrentPPO with our policy, beside its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from client_cases import QUIETLY, client

import unrolled
from unrolled import adapters, nn
from unrolled.errors import ConfigError

gymnasium = client("gymnasium")
contrib = client("sb3_contrib")
pytestmark = QUIETLY


def ppo(policy: Any, seed: int = 0, **options: Any) -> Any:
    options = {"lstm_hidden_size": 16, **options}
    return contrib.RecurrentPPO(
        policy, "CartPole-v1", n_steps=64, batch_size=32, n_epochs=2, seed=seed, policy_kwargs=options
    )


@pytest.mark.parametrize("options", [{}, {"n_lstm_layers": 2}, {"enable_critic_lstm": False}], ids=str)
def test_a_whole_training_gives_the_parameters_of_their_own_policy(options: dict[str, Any]):
    theirs, ours = (
        ppo(policy, **options).learn(128) for policy in ("MlpLstmPolicy", adapters.recurrent_policy())
    )
    assert type(ours.policy.lstm_actor) is nn.LSTM
    want, got = theirs.policy.state_dict(), ours.policy.state_dict()
    assert list(want) == list(got)
    for name, value in want.items():
        torch.testing.assert_close(got[name], value, atol=1e-4, rtol=1e-3)


def test_starts_of_episodes_within_a_batch_cut_states_and_gradients_as_their_loop_does():
    policy = adapters.recurrent_policy()
    lstm, generator = nn.LSTM(3, 5, num_layers=2), torch.Generator().manual_seed(0)
    features = torch.randn(4 * 9, 3, generator=generator, requires_grad=True)
    starts = (torch.rand(4 * 9, generator=generator) < 0.3).float()
    states = tuple(torch.randn(2, 4, 5, generator=generator) for _ in range(2))
    parents = contrib.common.recurrent.policies.RecurrentActorCriticPolicy
    found = []
    for kind in (parents, policy):
        y, (h, c) = kind._process_sequence(features, states, starts, lstm)
        gradients = torch.autograd.grad((y * y).sum() + h.sum() + c.sum(), [features, *lstm.parameters()])
        found.append((y, h, c, *gradients))
    for want, got in zip(*found, strict=True):
        torch.testing.assert_close(got, want)


def test_a_saved_model_loads_with_our_policy_and_acts_the_same(tmp_path):
    model = ppo(adapters.recurrent_policy())
    model.learn(64)
    model.save(tmp_path / "model")
    again = contrib.RecurrentPPO.load(tmp_path / "model")
    assert type(again.policy) is adapters.recurrent_policy()
    assert type(again.policy.lstm_actor) is nn.LSTM
    observation = np.zeros((1, 4), np.float32)
    given = {"episode_start": np.ones(1), "deterministic": True}
    action, state = model.predict(observation, **given)
    action_again, state_again = again.predict(observation, **given)
    assert action_again == action
    np.testing.assert_array_equal(state_again, state)


def test_within_accelerated_their_own_policy_is_built_and_loaded_with_our_layers(tmp_path):
    with unrolled.accelerated():
        model = ppo("MlpLstmPolicy")
    model.learn(64)
    model.save(tmp_path / "model")
    with unrolled.accelerated():
        again = contrib.RecurrentPPO.load(tmp_path / "model")
    theirs = contrib.RecurrentPPO.load(tmp_path / "model")
    kinds = [type(each.policy.lstm_actor) for each in (model, again, theirs)]
    assert kinds == [nn.LSTM, nn.LSTM, torch.nn.LSTM]
    given = {"episode_start": np.ones(1), "deterministic": True}
    states = [each.predict(np.zeros((1, 4), np.float32), **given)[1] for each in (model, again, theirs)]
    for state in states[1:]:
        np.testing.assert_allclose(state, states[0], atol=1e-6)


@pytest.mark.parametrize("name", ["MlpLstmPolicy", "CnnLstmPolicy", "MultiInputLstmPolicy"])
def test_every_policy_of_theirs_has_one_of_ours(name: str):
    policy = adapters.recurrent_policy(name)
    assert issubclass(policy, contrib.RecurrentPPO.policy_aliases[name])


def test_another_name_is_refused_in_one_line():
    with pytest.raises(ConfigError, match=r"^name: expected one of MlpLstmPolicy, .*, got 'MlpPolicy'$"):
        adapters.recurrent_policy("MlpPolicy")
