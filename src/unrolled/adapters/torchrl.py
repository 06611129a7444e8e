"""TorchRL's recurrent modules on our layers: `is_init` is a reset, and a batch is one call."""

from __future__ import annotations

from typing import Any

import torch
from tensordict.nn import dispatch
from torchrl import modules

from unrolled.errors import ConfigError, expected
from unrolled.nn import GRU, LSTM, Recurrent


class Resets:
    """What the modules share. Out of recurrent mode, at one step a call, they are TorchRL's own."""

    @dispatch
    def forward(self, tensordict: Any) -> Any:
        """Run the tensordict [*, T]: x at in_keys[0], then the states and is_init, which zeroes them."""
        if not self.recurrent_mode:  # type: ignore[attr-defined]  # TorchRL's, as what follows
            return super().forward(tensordict)  # type: ignore[misc]
        (key, *state_keys, _), layer = self.in_keys, self._modules[self.kind]  # type: ignore[attr-defined]
        x = tensordict.get(key)
        *batch, steps, width = x.shape
        starts = tensordict.get("is_init").reshape(-1, steps).clone()  # [B, T]
        starts[:, 0] = False  # the states before the first step are those of the tensordict
        given = [tensordict.get(each, None) for each in state_keys]
        if all(each is None for each in given):
            hx = None
        else:
            rows = [each.reshape(-1, *each.shape[-3:]) for each in given]  # [B, T, L, H] each
            if any(bool(each[starts].any()) for each in rows):
                raise ConfigError(expected("is_init", "states of zero where it is true", "others"))
            first = [each[:, 0].transpose(0, 1).contiguous() for each in rows]
            hx = tuple(first) if len(first) > 1 else first[0]
        x = x.reshape(-1, steps, width)
        trajectories: list[Any] = []
        if starts.any():
            y, final, trajectories = layer.trajectories(x, hx, resets=starts)
        else:
            y, final = layer(x, hx)
        tensordict.set(self.out_keys[0], y.reshape(*batch, steps, -1))  # type: ignore[attr-defined]
        finals = final if isinstance(final, tuple) else (final,)
        for out_key, name, value in zip(self.out_keys[1:], layer.cell.states, finals, strict=True):  # type: ignore[attr-defined]
            after = _at_ends(value.transpose(0, 1), [getattr(each, name) for each in trajectories], starts)
            tensordict.set(out_key, after.reshape(*batch, *after.shape[1:]))
        return tensordict


def _at_ends(final: torch.Tensor, every: list[torch.Tensor], starts: torch.Tensor) -> torch.Tensor:
    """Return a state [B, T, L, H] at the last step of each trajectory and zero elsewhere, as TorchRL does.

    Args:
        final: [B, L, H], after the last step. every: [T, B, H] of each layer, where a row has several
            trajectories. starts: [B, T], true where a later one begins.
    """
    after = final.new_zeros(final.shape[0], starts.shape[1], *final.shape[1:])
    if every:
        ends = starts[:, 1:, None, None]
        steps = torch.stack([each.transpose(0, 1) for each in every], 2)  # [B, T, L, H]
        after[:, :-1] = steps[:, :-1].masked_fill(~ends, 0)
    after[:, -1] = final
    return after


class LSTMModule(Resets, modules.LSTMModule):
    """TorchRL's module of an LSTM."""

    kind = "lstm"


class GRUModule(Resets, modules.GRUModule):
    """TorchRL's module of a GRU."""

    kind = "gru"


def module_of(layer: Recurrent, **options: Any) -> Any:
    """Return the module of a layer."""
    kinds: dict[type, Any] = {LSTM: LSTMModule, GRU: GRUModule}
    fits = type(layer) in kinds and layer.batch_first and not layer.bidirectional
    if not fits:
        raise ConfigError(expected("layer", "an LSTM or GRU with batch_first, in one direction", str(layer)))
    kind = kinds[type(layer)]
    return kind(**{kind.kind: layer}, **options)
