"""One unit of a recurrent layer at work: the numbers that stand in its equation, step after step."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unrolled.spec import CELLS
from unrolled.tasks import LanguageModel
from unrolled.tokens import Tokens

__all__ = ["UNIT", "one_unit"]

UNIT = 0  # which unit of the layer is looked at

Vector = npt.NDArray[np.float64]


def one_unit(model: LanguageModel, ids: Tensor, tokens: Tokens, *, steps: int) -> dict[str, Any]:
    """Return unit 0's weights, and for each of the first `steps` steps what comes in and what goes out.

    A gate is activation(weight_ih · x_t + weight_hh · h_{t−1} + bias): "input", "recurrent" and "bias" are
    the three parts, "sum" their sum, "value" the gate; "along" has curves over all steps. x and h_{t−1} are
    the network's own, to the bit; the parts are computed here from these in float64. An LSTM or a plain RNN.

    Args:
        ids: [T] what the network reads, the boundary first.
    """
    x = model.embedding(ids).detach().double().numpy()  # [T, E]
    seen = model.trajectories(ids)[0]._asdict()
    states = {name: seen[name][:, 0].double().numpy() for name in CELLS[model.config.cell].states}  # [T, H]
    gates = _gates(model)
    found = []
    for t in range(steps):
        before = states["h"][t - 1] if t else np.zeros(model.config.hidden_size)
        step: dict[str, Any] = {"t": t + 1, "symbol": tokens.decode([int(ids[t])])}
        step |= {"x": x[t].tolist(), "h_before": before.tolist()}
        step["parts"] = {name: _parts(name, gate, x[t], before) for name, gate in gates.items()}
        if "c" in states:
            step["c_before"] = float(states["c"][t - 1, UNIT]) if t else 0.0
            step["c"] = float(states["c"][t, UNIT])
        step["h"] = float(states["h"][t, UNIT])
        found.append(step)
    weights = {name: {part: v.tolist() for part, v in gate.items()} for name, gate in gates.items()}
    along = _along(gates, x, states)
    return {"unit": UNIT, "weights": weights, "steps": found, "along": along}


def _along(
    gates: dict[str, dict[str, Vector]], x: Vector, states: dict[str, Vector]
) -> dict[str, list[float]]:
    """Return over all steps [T]: the parts of an RNN's unit, or the gates of an LSTM's; and its states."""
    before = np.concatenate([np.zeros((1, states["h"].shape[1])), states["h"][:-1]])
    parts = {
        name: [_parts(name, gate, *row) for row in zip(x, before, strict=True)]
        for name, gate in gates.items()
    }
    if "h" in parts:
        curves = {part: [step[part] for step in parts["h"]] for part in ("input", "recurrent")}
    else:
        curves = {name: [step["value"] for step in steps] for name, steps in parts.items()}
    return curves | {name: values[:, UNIT].tolist() for name, values in reversed(states.items())}


@torch.no_grad()
def _gates(model: LanguageModel) -> dict[str, dict[str, Vector]]:
    """Return the unit's row of every gate: weight_ih [E], weight_hh [H] and the summed bias []."""
    layer, hidden = model.recurrent, model.config.hidden_size
    names = "ifgo" if model.config.cell == "lstm" else "h"
    rows = {name: place * hidden + UNIT for place, name in enumerate(names)}
    return {
        name: {
            "weight_ih": layer.weight_ih_l0[row].double().numpy(),
            "weight_hh": layer.weight_hh_l0[row].double().numpy(),
            "bias": (layer.bias_ih_l0[row].double() + layer.bias_hh_l0[row].double()).numpy(),
        }
        for name, row in rows.items()
    }


def _parts(name: str, gate: dict[str, Vector], x: Vector, before: Vector) -> dict[str, float]:
    parts = {
        "input": float(gate["weight_ih"] @ x),
        "recurrent": float(gate["weight_hh"] @ before),
        "bias": float(gate["bias"]),
    }
    total = sum(parts.values())
    value = np.tanh(total) if name in "gh" else 1 / (1 + np.exp(-total))
    return {**parts, "sum": total, "value": float(value)}
