"""Policies of sb3-contrib's RecurrentPPO: the start of an episode is a reset, and a batch is one call."""

from __future__ import annotations

from typing import Any

from sb3_contrib.common.recurrent import policies
from torch import Tensor

from unrolled.nn import accelerate


class Resets:
    """What the policies share."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        accelerate(self)  # type: ignore[type-var]  # a torch.nn.Module, together with the policy

    @staticmethod
    def _process_sequence(
        features: Tensor, lstm_states: Any, episode_starts: Tensor, lstm: Any
    ) -> tuple[Tensor, Any]:
        """Run features [B·T, I] as B rows; a row's state is zero before a step with episode_starts [B·T]."""
        rows = (lstm_states[0] if isinstance(lstm_states, tuple) else lstm_states).shape[1]
        x = features.reshape(rows, -1, lstm.input_size).transpose(0, 1)  # [T, B, I]
        starts = episode_starts.reshape(rows, -1).T != 0  # [T, B]
        y, states = lstm(x, lstm_states, resets=starts)
        return y.transpose(0, 1).flatten(0, 1), states


class MlpLstmPolicy(Resets, policies.RecurrentActorCriticPolicy):
    """For observations that are vectors."""


class CnnLstmPolicy(Resets, policies.RecurrentActorCriticCnnPolicy):
    """For observations that are images."""


class MultiInputLstmPolicy(Resets, policies.RecurrentMultiInputActorCriticPolicy):
    """For observations that are dictionaries."""


POLICIES = {kind.__name__: kind for kind in (MlpLstmPolicy, CnnLstmPolicy, MultiInputLstmPolicy)}
