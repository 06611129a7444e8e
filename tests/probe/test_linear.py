"""The Jacobians of a step against automatic differentiation and finite differences of the cells."""

import pytest
import torch
from probe_cases import F64, noise

from unrolled.probe import record

KINDS = {
    "rnn": lambda: torch.nn.RNN(3, 4, dtype=F64),
    "relu": lambda: torch.nn.RNN(3, 4, nonlinearity="relu", dtype=F64),
    "lstm": lambda: torch.nn.LSTM(3, 4, dtype=F64),
    "lstm_projected": lambda: torch.nn.LSTM(3, 4, proj_size=2, dtype=F64),
    "gru": lambda: torch.nn.GRU(3, 4, dtype=F64),
    "gru_without_bias": lambda: torch.nn.GRU(3, 4, bias=False, dtype=F64),
}
STEPS, ROWS = 5, 2


def flat_step(layer, x, state):
    """The state after one step as one vector, of the state before as one vector; torch's own layer."""
    sizes = [layer.proj_size or layer.hidden_size] + [layer.hidden_size] * (layer.mode == "LSTM")
    parts = [part[None, None] for part in state.split(sizes)]
    _, after = layer(x[None, None], tuple(parts) if len(parts) == 2 else parts[0])
    return torch.cat([part.flatten() for part in (after if isinstance(after, tuple) else (after,))])


def measured(kind):
    torch.manual_seed(0)
    layer, x = KINDS[kind](), noise(STEPS, ROWS, 3)
    (seen,) = record(layer, x).run.layers
    return layer, x, seen, seen.linear


def state_at(seen, step, row):
    return torch.cat([values[step, row] for values in seen.states.values()])


def finite_differences(layer, x, state, eps=1e-6):
    columns = []
    for unit in torch.eye(len(state), dtype=F64):
        up, down = (flat_step(layer, x, state + sign * eps * unit) for sign in (1, -1))
        columns.append((up - down) / (2 * eps))
    return torch.stack(columns, dim=1).detach()


@pytest.mark.parametrize("kind", KINDS)
def test_a_pushed_tangent_is_that_of_finite_differences(kind):
    layer, x, seen, linear = measured(kind)
    width = sum(linear.sizes)
    tangents = torch.eye(width, dtype=F64)[None].expand(ROWS, -1, -1)
    pushed = torch.cat(linear.jvp(3, tangents.split(linear.sizes, dim=-1)), dim=-1)  # [B, D, width]
    for row in range(ROWS):
        want = finite_differences(layer, x[3, row], state_at(seen, 2, row))
        torch.testing.assert_close(pushed[row].T, want, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_pulling_is_the_transpose_of_pushing_and_gives_the_input_its_gradient(kind):
    layer, x, seen, linear = measured(kind)
    at = torch.tensor([2, 3])
    cotangent = noise(2, ROWS, sum(linear.sizes), seed=1)
    _, before, da = linear.vjp(at, cotangent.split(linear.sizes, dim=-1))
    before, dx = torch.cat(before, dim=-1), da @ linear.weight_ih
    for n, step in enumerate(at.tolist()):
        for row in range(ROWS):
            state = state_at(seen, step - 1, row).requires_grad_()
            into = x[step, row].clone().requires_grad_()
            want = torch.autograd.grad(flat_step(layer, into, state) @ cotangent[n, row], (state, into))
            torch.testing.assert_close(before[n, row], want[0])
            torch.testing.assert_close(dx[n, row], want[1])
