"""Inside an LSTM: each measurement beside an independent one, on states and networks that are made up."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from unrolled.lab import inside
from unrolled.lab.inside import Recording, around, explained, extract, record, told_apart
from unrolled.lab.learning import Network, NetworkSettings
from unrolled.lab.problems import Adding

T, ROWS, H = 20, 400, 3
TASK = Adding(T)
STEPS = {"first": 2, "unmarked": 5, "second": 17}


def network(size: int = 5) -> Network:
    return Network(TASK, NetworkSettings("lstm", size), torch.Generator().manual_seed(0)).eval()


class Adder(torch.nn.Module):
    """Answers with the sum of what is marked; its read-out takes it from the first unit."""

    def __init__(self) -> None:
        super().__init__()
        self.readout = torch.nn.Linear(H, 1)
        with torch.no_grad():
            self.readout.weight.copy_(torch.eye(H)[:1])
            self.readout.bias.zero_()

    def forward(self, inputs: Tensor) -> Tensor:
        return (inputs[..., 0] * inputs[..., 1]).sum(0)[:, None]


def recording(marks: tuple[int, int] | None = None) -> Recording:
    """Return drawn sequences beside an LSTM that sums what is marked in unit 0 and forgets in unit 1."""
    inputs = TASK.draw(ROWS, torch.Generator().manual_seed(1)).inputs
    if marks is not None:
        inputs[..., 1] = 0
        inputs[list(marks), :, 1] = 1
    value, mark = inputs.double().unbind(-1)
    sums = (value * mark).cumsum(0)
    c = torch.stack([sums, value / 10, torch.zeros_like(value)], dim=-1).float().numpy()
    i = torch.stack([0.1 + 0.8 * mark] * H, dim=-1).float().numpy()
    f = np.broadcast_to(np.float32([1.0, 0.5, math.exp(-1 / 8)]), c.shape).copy()
    o = np.full_like(c, 0.5)
    places = inputs[..., 1].T.nonzero()[:, 1].view(-1, 2).T.numpy()
    g = np.ones_like(c)
    return Recording(inputs, places, {"i": i, "f": f, "g": g, "o": o, "c": c, "h": c.copy()})


def test_a_linear_read_out_explains_what_its_normal_equations_give_on_other_rows():
    draw = np.random.default_rng(0)
    x = draw.normal(size=(400, 4))
    y = x @ [1.0, -2.0, 0.5, 0.0] + 3 + draw.normal(size=400)
    a, b = np.c_[x[:300], np.ones(300)], np.c_[x[300:], np.ones(100)]
    guess = b @ np.linalg.solve(a.T @ a, a.T @ y[:300])
    expected = 1 - np.mean((y[300:] - guess) ** 2) / np.var(y[300:])
    assert explained(x, y) == pytest.approx(expected, abs=1e-9)
    assert explained(x, x[:, 0] * 2 + 1) == pytest.approx(1.0)
    assert explained(draw.normal(size=(400, 4)), y) < 0.05


def test_pairs_are_told_apart_as_counting_them_says():
    high, low = [1.0, 2.0, 2.0, 5.0], [0.0, 2.0, 3.0]
    wins = sum((a > b) + 0.5 * (a == b) for a in high for b in low)
    assert told_apart(high, low) == pytest.approx(wins / 12)


def test_what_lies_around_a_place_is_cut_at_the_ends_of_the_sequence():
    values = np.arange(5.0)[:, None] + [0.0, 10.0]
    found = around(values, np.array([0, 4]), range(-1, 2))
    np.testing.assert_array_equal(found, [[np.nan, 13.0], [0.0, 14.0], [1.0, np.nan]])


def test_a_recording_is_the_network_step_by_step():
    net = network()
    seen = record(net, TASK.draw(7, torch.Generator().manual_seed(3)).inputs)
    cell = torch.nn.LSTMCell(2, 5)
    weights = [getattr(net.stack, f"{name}_l0") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    for own, given in zip(cell.parameters(), weights, strict=True):
        own.data.copy_(given.data)
    h = c = torch.zeros(7, 5)
    for t in range(T):
        h, c = cell(seen.inputs[t], (h, c))
        np.testing.assert_allclose(seen.trace["c"][t], c.detach(), atol=1e-5)
    answers = net.readout(h)[:, 0]
    torch.testing.assert_close(net(seen.inputs)[:, 0], answers, atol=1e-5, rtol=1e-4)
    assert seen.marked.sum(0).tolist() == [2] * 7
    assert all(seen.marked[seen.marks[k], np.arange(7)].all() for k in (0, 1))


def test_all_words_are_measured_with_the_marks_a_tenth_from_either_end():
    found = inside.measured(network(), TASK, rows=160, seed=0)
    assert found["places"] == STEPS
    assert found["preserve"]["gap"] == 17 - 2 - 1
    assert inside.measured(network(), TASK, rows=160, seed=0) == found
    assert found.keys() - {"places"} == inside.CURVES.keys()


def test_recognise_compares_what_is_written_at_marked_and_other_steps():
    found = inside.recognise(recording())
    assert found["ratio"] == pytest.approx(9, rel=1e-4)
    assert found["gate_ratio"] == pytest.approx(9, rel=1e-4)
    assert found["told_apart"] == 1
    assert found["means"]["input_gate"] == pytest.approx({"marked": 0.9, "unmarked": 0.1}, rel=1e-5)
    along = dict(zip(found["around"]["offset"], found["around"]["input_gate"], strict=True))
    assert along.pop(0) == pytest.approx(0.9)
    assert list(along.values()) == pytest.approx([0.1] * len(along))


def test_store_finds_the_slope_of_c_by_the_marked_number():
    seen = recording()
    found = inside.store(seen, inside.elsewhere(seen, 0))
    rows = np.arange(ROWS)
    value, change = seen.values[seen.marks[0], rows], seen.changes[seen.marks[0], rows]
    slopes = [np.polyfit(value, change[:, unit], 1)[0] for unit in range(H)]
    assert found["follows"]["marked"] == pytest.approx(np.linalg.norm(slopes), rel=1e-4)
    assert found["follows"]["unmarked"] == pytest.approx(0.1, abs=0.05)
    assert found["readable"] == pytest.approx(1.0)


def test_an_unmarked_step_is_never_the_marked_one():
    seen = recording()
    found = inside.elsewhere(seen, 0)
    assert (found != seen.marks[0]).all()
    assert set(found.tolist()) == set(range(T // 2))


def test_preserve_reads_the_sum_and_knows_how_fast_each_unit_forgets():
    first, second = STEPS["first"], STEPS["second"]
    found = inside.preserve(recording((first, second)), STEPS)
    along = found["along"]
    assert along["first"][first - 1] < 0.1 < 0.999 < along["first"][first]
    assert found["kept"] == pytest.approx(1.0)
    assert found["sum_at_the_end"] == pytest.approx(1.0)
    assert found["unmarked"] < 0.1
    assert found["trace_left"] == pytest.approx(1.0, abs=0.01)
    assert found["gap"] == second - 1 - first
    assert found["time_constant"] == {"median": pytest.approx(8, rel=1e-3), "longest": None}
    assert found["units_that_keep"] == 1


def test_the_answer_of_an_adder_follows_the_marks_and_no_other_input():
    seen = recording((STEPS["first"], STEPS["second"]))
    found = extract(Adder(), seen, STEPS)  # type: ignore[arg-type]
    follows = {"first": pytest.approx(1, rel=1e-4), "second": pytest.approx(1, rel=1e-4), "unmarked": 0}
    assert found["follows"] == follows
    marked = {STEPS["first"], STEPS["second"]}
    assert found["along"]["slope"] == [float(t in marked) for t in range(T)]
    assert found["ready_at_the_end"] == pytest.approx(1.0)
    assert found["mse"] == pytest.approx(0, abs=1e-9)
    between = slice(STEPS["first"] + 1, STEPS["second"])
    for part, gate in ((slice(None), 0.5), (between, 0.2), (-1, 0.9)):
        seen.trace["o"][part] = gate
    gates = extract(Adder(), seen, STEPS)  # type: ignore[arg-type]
    assert gates["output_gate"] == {"last": pytest.approx(0.9), "between": pytest.approx(0.2)}
    assert gates["timed"] == pytest.approx(4.5)
    sums = seen.trace["c"][-1, :, 0].astype(np.float64)
    assert found["mse_mean_gate"] == pytest.approx(((0.5 * np.tanh(sums) - sums) ** 2).mean(), rel=1e-4)
