"""Variants of the LSTM, the GRU and the RNN: a step of each is its definition. `run` runs them by name.

| cell | what differs | source |
| --- | --- | --- |
| layernorm_lstm | both products and, on its way to h, c are normalised | Ba et al. 2016; haste |
| layernorm_lstm_carried | the normalised c is carried on as well | torch's benchmark custom_lstms.py |
| layernorm_gru | both products are normalised | Ba et al. 2016; haste |
| peephole_lstm | the gates see c | Gers & Schmidhuber 2000 |
| coupled_lstm | i = 1 − f | Greff et al. 2017 |
| reset_before_gru | r is applied before the matmul | Cho et al. 2014; ONNX's linear_before_reset = 0 |
| indrnn | each unit sees its own state alone | Li et al. 2018 |
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import layer_norm, linear

from unrolled.ops import native, packed
from unrolled.ops.call import Call, States
from unrolled.ops.plain import Run, by_plain
from unrolled.ops.recurrence import Define, Recurrence, by_steps, kept, of_hidden
from unrolled.ops.registry import Op, register
from unrolled.ops.rnn import by_torch
from unrolled.spec import CELLS

_Step = tuple[States, tuple[Tensor, ...]]


def _normalised(product: Tensor, gain: Tensor, bias: Tensor | None) -> Tensor:
    """Normalise a product [.., G·H] over all gates at once, as haste and torch's benchmark do."""
    return layer_norm(product, gain.shape, gain, bias)


def _projected(call: Call, h: Tensor) -> Tensor:
    return h if call.weight_hr is None else linear(h, call.weight_hr)  # [B, H] → [B, P]


def layernorm_lstm(call: Call, *, carried: bool = False) -> Recurrence:
    """Define an LSTM with layer normalisation; `carried`: c goes on as it was normalised."""
    gain_ih, gain_hh, gain_c, bias_c = call.further

    def of_input(product: Tensor) -> Tensor:
        return _normalised(product, gain_ih, call.bias_ih)

    def step(x: Tensor, states: States) -> _Step:
        h, c = states
        of_h = _normalised(linear(kept(call, h), call.weight_hh), gain_hh, call.bias_hh)
        i, f, g, o = (x + of_h).chunk(4, dim=-1)  # each [B, H]
        i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
        c = f * c + i * g
        normal = layer_norm(c, gain_c.shape, gain_c, bias_c)
        h = _projected(call, o * normal.tanh())
        c = normal if carried else c
        return (h, c), (i, f, g, o, c)

    return Recurrence(step, of_input)


def layernorm_gru(call: Call) -> Recurrence:
    """Define a GRU with layer normalisation, the reset after the matmul."""
    gain_ih, gain_hh = call.further

    def of_input(product: Tensor) -> Tensor:
        return _normalised(product, gain_ih, call.bias_ih)

    def step(x: Tensor, states: States) -> _Step:
        (h,) = states
        xr, xz, xn = x.chunk(3, dim=-1)  # each [B, H]
        of_h = _normalised(linear(kept(call, h), call.weight_hh), gain_hh, call.bias_hh)
        hr, hz, hn = of_h.chunk(3, dim=-1)
        r, z = (xr + hr).sigmoid(), (xz + hz).sigmoid()
        n = (xn + r * hn).tanh()
        return ((1 - z) * n + z * h,), (r, z, n)

    return Recurrence(step, of_input)


def peephole_lstm(call: Call) -> Recurrence:
    """Define an LSTM whose gates see c: i and f the one before, o the one after."""
    pi, pf, po = call.further[0].chunk(3)  # each [H]

    def step(x: Tensor, states: States) -> _Step:
        h, c = states
        i, f, g, o = (x + of_hidden(call, h)).chunk(4, dim=-1)  # each [B, H]
        i, f, g = (i + pi * c).sigmoid(), (f + pf * c).sigmoid(), g.tanh()
        c = f * c + i * g
        o = (o + po * c).sigmoid()
        return (_projected(call, o * c.tanh()), c), (i, f, g, o, c)

    return Recurrence(step)


def coupled_lstm(call: Call) -> Recurrence:
    """Define an LSTM that lets in what it forgets: i = 1 − f."""

    def step(x: Tensor, states: States) -> _Step:
        h, c = states
        f, g, o = (x + of_hidden(call, h)).chunk(3, dim=-1)  # each [B, H]
        f, g, o = f.sigmoid(), g.tanh(), o.sigmoid()
        c = f * c + (1 - f) * g
        return (_projected(call, o * c.tanh()), c), (f, g, o, c)

    return Recurrence(step)


def reset_before_gru(call: Call) -> Recurrence:
    """Define a GRU that resets h before the matmul."""
    hidden = call.weight_hh.shape[1]
    sizes = [2 * hidden, hidden]
    gates, candidate = torch.split(call.weight_hh, sizes)
    of_gates, of_candidate = (None, None) if call.bias_hh is None else torch.split(call.bias_hh, sizes)

    def step(x: Tensor, states: States) -> _Step:
        (h,) = states
        seen = kept(call, h)
        xr, xz, xn = x.chunk(3, dim=-1)  # each [B, H]
        hr, hz = linear(seen, gates, of_gates).chunk(2, dim=-1)
        r, z = (xr + hr).sigmoid(), (xz + hz).sigmoid()
        n = (xn + linear(r * seen, candidate, of_candidate)).tanh()
        return ((1 - z) * n + z * h,), (r, z, n)

    return Recurrence(step)


def indrnn(call: Call) -> Recurrence:
    """Define an RNN in which each unit sees its own state alone."""
    activation = torch.relu if call.nonlinearity == "relu" else torch.tanh

    def step(x: Tensor, states: States) -> _Step:
        a = x + kept(call, states[0]) * call.weight_hh
        a = a if call.bias_hh is None else a + call.bias_hh
        return (activation(a),), (a,)

    return Recurrence(step)


def _register(name: str, define: Define, *, native: Run | None = None, torch: Run | None = None) -> None:
    kernels = [None if run is None else by_plain(run) for run in (native, torch)]
    register(Op(CELLS[name], by_steps(define), recurrence=define, native=kernels[0], torch=kernels[1]))


_register("layernorm_lstm", layernorm_lstm)
_register("layernorm_lstm_carried", partial(layernorm_lstm, carried=True))
_register("layernorm_gru", layernorm_gru)
_register("peephole_lstm", peephole_lstm)
_register("coupled_lstm", coupled_lstm, native=native.run, torch=partial(packed.run, kernel=torch.lstm))
_register("reset_before_gru", reset_before_gru)
_register("indrnn", indrnn, native=native.run, torch=by_torch)
