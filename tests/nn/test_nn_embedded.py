"""Layers on symbols: what they give on the rows looked up, in every form of input."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from nn_cases import KINDS, assert_same, flat, needs_kernels, pair, state_for
from torch.nn.functional import embedding

import unrolled
from unrolled import nn
from unrolled.errors import DtypeError, ShapeError
from unrolled.ops import Embedded

V, I, H = 5, 4, 6  # noqa: E741  # axes of the design
FORMS: dict[str, dict[str, Any]] = {
    "one layer": {},
    "stacked": {"num_layers": 2},
    "batch first": {"batch_first": True, "num_layers": 2},
    "both directions": {"bidirectional": True, "num_layers": 2},
    "without bias": {"bias": False},
    "dropout": {"num_layers": 2, "dropout": 0.5},
}


def symbols(rows: int | None = 3, steps: int = 8, seed: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw ids [T, B], or [T], and a weight."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(V, (steps,) if rows is None else (steps, rows), generator=generator)
    return ids, torch.randn(V, I, generator=generator, dtype=torch.float64).requires_grad_()


@needs_kernels
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_gives_what_it_gives_on_the_rows_looked_up(kind, form):
    _, layer = pair(kind, I, H, **FORMS[form])
    ids, weight = symbols()
    lengths, resets = [8, 3, 0], torch.rand(8, 3, generator=torch.Generator().manual_seed(0)) < 0.3
    if layer.batch_first:
        ids, resets = ids.T.contiguous(), resets.T
    hx = state_for(layer, 3)
    leaves = [weight, *(hx if isinstance(hx, tuple) else (hx,)), *layer.parameters()]
    torch.manual_seed(0)
    got = layer(Embedded(ids, weight), hx, lengths=lengths, resets=resets)
    torch.manual_seed(0)
    want = layer(embedding(ids, weight), hx, lengths=lengths, resets=resets)
    torch.testing.assert_close(flat(got), flat(want), rtol=0, atol=0)
    assert_same(got, want, leaves, leaves)


@needs_kernels
def test_a_projection_and_bfloat16_take_symbols_too():
    layer = nn.LSTM(I, H, proj_size=3, num_layers=2).bfloat16()
    ids, weight = symbols()
    weight = weight.detach().bfloat16()
    torch.testing.assert_close(layer(Embedded(ids, weight)), layer(embedding(ids, weight)), rtol=0, atol=0)


@needs_kernels
def test_unbatched_ids_and_calls_without_gradients():
    _, layer = pair("LSTM", I, H)
    ids, weight = symbols(rows=None, steps=20)
    with torch.no_grad():
        got, want = layer(Embedded(ids, weight)), layer(embedding(ids, weight))
    torch.testing.assert_close(got, want, rtol=0, atol=0)
    assert got[0].shape == (20, H)
    with torch.no_grad(), layer.float().packed():
        short = Embedded(ids[:4], weight.float())
        torch.testing.assert_close(layer(short), layer(short.look_up()), rtol=0, atol=0)


@needs_kernels
def test_explain_says_whether_a_table_is_taken():
    layer = nn.LSTM(I, H, num_layers=2)
    ids, weight = symbols()
    weight = weight.detach().float()
    lines = str(unrolled.explain(layer, Embedded(ids, weight))).splitlines()
    assert "x·W_ih once for each of 5 symbols, in a table that steps look up" in lines[1]
    assert "symbols" not in lines[2]
    few = str(unrolled.explain(layer, Embedded(ids[:2], weight)))
    assert "the rows of 5 symbols are looked up first" in few


def test_trajectories_of_symbols_are_those_of_the_rows():
    _, layer = pair("GRU", I, H, num_layers=2)
    ids, weight = symbols()
    got, want = layer.trajectories(Embedded(ids, weight)), layer.trajectories(embedding(ids, weight))
    torch.testing.assert_close(got, want)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
def test_torch_fx_and_tracing_see_the_rows_looked_up():
    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.recurrent = torch.nn.Embedding(V, I), nn.GRU(I, H)

        def forward(self, ids: torch.Tensor) -> Any:
            return self.recurrent(Embedded(ids, self.embedding.weight))[0]

    model, (ids, _) = Model(), symbols()
    want = model(ids)
    torch.testing.assert_close(torch.fx.symbolic_trace(model)(ids), want)
    traced = torch.jit.trace(model, (ids,), check_trace=False)
    torch.testing.assert_close(traced(ids), want)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (torch.zeros(2, 3, 4, dtype=torch.int64), "input.ids: expected [T, B], got [2, 3, 4]"),
        (torch.full((8, 3), V), "input.ids: expected values from 0 to 4, got 5"),
    ],
)
def test_ids_that_do_not_fit_are_refused_in_one_line(ids, message):
    with pytest.raises(ShapeError) as caught:
        nn.LSTM(I, H)(Embedded(ids, torch.ones(V, I)))
    assert str(caught.value) == message


def test_a_weight_that_does_not_fit_is_refused_in_one_line():
    ids, _ = symbols()
    with pytest.raises(ShapeError, match=r"input\.weight: expected \[V, 4\], got \[5, 3\]"):
        nn.LSTM(I, H)(Embedded(ids, torch.ones(V, 3)))
    with pytest.raises(DtypeError, match=r"input\.weight: expected float32, as weight_ih_l0, got float64"):
        nn.LSTM(I, H)(Embedded(ids, torch.ones(V, I, dtype=torch.float64)))
