"""What the answer is made of: the inputs it follows, since when it is ready, what the output gate adds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unrolled.lab.memory.recording import Recording
from unrolled.lab.network import Network

__all__ = ["extract"]


def extract(network: Network, seen: Recording, steps: Mapping[str, int]) -> dict[str, Any]:
    """Measure how the answer follows the marked inputs.

    "follows": change of the answer over change of one input's number, which is replaced by another;
    "ready": R² of the sum with what the read-out would answer at each step.
    """
    values, gate = seen.values, seen.trace["o"]
    wanted = torch.from_numpy(values[steps["first"]] + values[steps["second"]])
    answers = _answers(network, torch.from_numpy(seen.trace["h"]))  # [T, B]
    still = torch.from_numpy(gate.mean((0, 1)) * np.tanh(seen.trace["c"][-1]))  # [B, H]
    errors = ((answers - wanted) ** 2).mean(1)  # [T]
    share = 1 - errors / wanted.var(correction=0)
    between = gate[steps["first"] + 1 : steps["second"]]
    return {
        "follows": {name: _follows(network, seen.inputs, step) for name, step in steps.items()},
        "ready_at_the_end": float(share[-1]),
        "mse": float(errors[-1]),
        "mse_mean_gate": float(((_answers(network, still) - wanted) ** 2).mean()),
        "output_gate": {"last": float(gate[-1].mean()), "between": float(between.mean())},
        "along": {
            "step": list(range(len(values))),
            "slope": _slopes(network, seen.inputs),
            "ready": [float(v) for v in share],
            "output_gate": [float(v) for v in gate.mean((1, 2))],
        },
    }


@torch.no_grad()
def _answers(network: Network, h: Tensor) -> Tensor:
    """Return what the read-out gives for states [..., H]."""
    answers: Tensor = network.readout(h)[..., 0]
    return answers


@torch.no_grad()
def _follows(network: Network, inputs: Tensor, step: int) -> float:
    """Return the slope of the answer's change, where the number at one step is another row's."""
    other = inputs.clone()
    other[step, :, 0] = inputs[step, :, 0].roll(1)
    moved = (other - inputs)[step, :, 0].double()
    change = (network(other) - network(inputs))[:, 0].double()
    return float((moved * change).sum() / (moved**2).sum())


def _slopes(network: Network, inputs: Tensor) -> list[float]:
    """Return, a step each, the size of the answer's derivative by the number at that step, over the rows."""
    leaf = inputs.clone().requires_grad_()
    (slope,) = torch.autograd.grad(network(leaf).sum(), leaf)
    return [float(v) for v in slope[..., 0].abs().mean(1)]
