"""What states are like, worked by hand; and that a state is judged by what training gave."""

from __future__ import annotations

import math

import numpy as np
import pytest
from stream_cases import token_model

from unrolled import kernels
from unrolled.stream.health import LayerHealth, health_of, measured
from unrolled.stream.scoring import states_on

F = np.float32
STATES = [
    {"h": np.array([[3, 4]], F), "c": np.array([[0.0, 1.2]], F)},
    {"h": np.array([[0, 0]], F), "c": np.array([[2, -2]], F)},
]


def test_norms_deviations_and_saturated_shares_are_those_by_hand():
    """Of h, beyond ±0.9; of c, whose tanh is: that of 1.2 is 0.83, that of 2 is 0.96."""
    half = math.sqrt(12.5) / 2
    c = [math.sqrt(0.72), 2]
    assert measured(STATES) == {
        "h_l0": pytest.approx({"norm": half, "norm_sd": half, "saturated": 0.5}),
        "c_l0": pytest.approx({"norm": sum(c) / 2, "norm_sd": (c[1] - c[0]) / 2, "saturated": 0.5}),
    }
    (found,) = health_of({"h": np.array([[0.5, -0.5]], F)}, measured(STATES)).layers
    assert (found.norm, found.saturated) == (0.5, 0)
    assert found.drift == pytest.approx((0.5 - half) / half)


@pytest.mark.parametrize(
    ("drift", "more_saturated", "well"),
    [(-4.1, 0, False), (-3.9, 0, True), (3.9, 0, True), (4.1, 0, False), (0, 0.26, False), (0, 0.24, True), (0, -0.9, True)],
)  # fmt: skip
def test_a_state_is_well_within_four_deviations_of_training_on_either_side(drift, more_saturated, well):
    assert LayerHealth(0, "h", 1.0, 0.9 + more_saturated, drift, 1.0, 0.9).well is well


@pytest.mark.skipif(not kernels.available(), reason=str(kernels.why_not()))
def test_states_are_looked_at_every_sixteen_steps_and_where_a_line_ends_from_zero_each():
    model, _ = token_model("LSTM", 11, 3, 8, 2)
    ids = np.random.default_rng(0).integers(0, 11, 40)
    seen = []
    for line, ends in ((ids[:21], (16, 21)), (ids[21:], (11, 19))):  # after 16, 21, 32 and 40 steps
        for end in ends:
            session = model.open()
            session.run(np.ascontiguousarray(line[:end]))
            seen.append(session.state)
    want = measured(seen)
    found = states_on(model, ids, starts=[0, 21])
    assert {name: pytest.approx(each) for name, each in want.items()} == found
