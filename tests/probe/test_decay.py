"""When a half, a tenth and a hundredth of a gradient is left: on curves that bend, and however far is measured."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from probe_cases import F64, delay_line, forced_lstm, noise

from unrolled import probe
from unrolled.probe.decay import decay


def curve_of(values):
    """A curve [lags + 1] as that of three losses in two rows."""
    logs = np.broadcast_to(np.asarray(values, float)[:, None, None], (len(values), 3, 2)).copy()
    return decay(logs, ~np.isfinite(logs))


def test_a_sum_of_two_exponentials_has_a_fast_and_a_slow_part():
    lag = np.arange(200)
    found = curve_of(np.log(0.8 * 0.5**lag + 0.2 * 0.97**lag))
    assert found.start == 0
    for left, share in ((found.half, 0.5), (found.tenth, 0.1), (found.hundredth, 0.01)):
        exact = np.interp(-share, -(0.8 * 0.5**lag + 0.2 * 0.97**lag), lag)
        assert left.steps == pytest.approx(exact, abs=0.2)
    assert found.fast == pytest.approx(-math.log(10) / found.tenth.steps)
    assert found.slow == pytest.approx(math.log(0.97), rel=0.02)
    assert found.slow > found.fast


def test_more_lags_add_to_what_is_known_and_change_none_of_it():
    """A layer whose units keep for 1 to 60 steps: its mean slope changes with the lags, these numbers must not."""
    torch.manual_seed(0)
    layer = torch.nn.LSTM(3, 16, dtype=F64)
    with torch.no_grad():
        layer.bias_ih_l0[16:32] = torch.logit(torch.exp(-1 / torch.linspace(1, 60, 16, dtype=F64)))
    seen = {
        lags: probe.gradient_flow(layer, noise(400, 8, 3), lags=lags, steps=64).flows[1]
        for lags in (4, 16, 64, 200)
    }
    most = seen[200].decay
    assert seen[4].rate < 3 * seen[200].rate  # the mean slope over the lags does change
    for lags, flow in seen.items():
        for name in ("half", "tenth", "hundredth"):
            have, want = getattr(flow.decay, name), getattr(most, name)
            if want.steps < lags - 1:
                assert have.steps == pytest.approx(want.steps, rel=0.1), (lags, name)
            elif want.steps > lags + 1:
                assert math.isinf(have.steps), (lags, name)
    assert seen[4].verdict == "undecided"
    assert {seen[lags].verdict for lags in (16, 64, 200)} == {"steady"}


def test_what_is_read_later_is_counted_from_the_lag_at_which_it_is_largest():
    """A delay line of 4 steps after one of 3: a state of the first is read between 4 and 7 steps later."""

    class Lines(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = delay_line(3), delay_line(4)

        def forward(self, x):
            return self.second(self.first(x)[0][..., -1:])[0][..., -1:]

    flows = {flow.layer: flow for flow in probe.gradient_flow(Lines(), noise(60, 3, 1).abs(), lags=16).flows}
    assert flows["first.l0"].decay.start == 4
    assert flows["first.l0"].decay.half.steps == 4  # from lag 8 on nothing is left
    assert flows["first.l0"].verdict == "vanishing"
    np.testing.assert_allclose(flows["first.l0"].nats[4:8], 0, atol=1e-12)
    assert flows["second.l0"].decay.start == 0
    assert flows["second.l0"].decay.hundredth.steps == 5


def test_no_gradient_beyond_lag_0_is_none():
    assert curve_of([0.0, -np.inf, -np.inf]) is None
    h, c = probe.gradient_flow(forced_lstm(0.9), noise(40, 3, 3), lags=16).flows
    assert h.decay is None
    assert c.decay is not None


@settings(max_examples=50)
@given(st.lists(st.floats(-6, 0), min_size=2, max_size=12))
def test_a_share_is_left_until_no_later_lag_has_it(values):
    """Whatever the curve does in between: up to the last lag that has it, and not to the one after."""
    found, curve = curve_of([0.0, *values]), [0.0, *values]
    for left, share in ((found.half, 0.5), (found.tenth, 0.1), (found.hundredth, 0.01)):
        assume(min(abs(value - math.log(share)) for value in curve) > 1e-9)
        last = max(lag for lag, value in enumerate(curve) if value > math.log(share))
        if last == len(values):
            assert math.isinf(left.steps)
        else:
            assert last <= left.steps <= last + 1


def test_a_share_that_is_not_reached_is_infinite_and_said_so():
    found = curve_of(np.log(0.9) * np.arange(10))
    assert found.half.steps == pytest.approx(math.log(2) / -math.log(0.9))
    assert math.isinf(found.tenth.steps)
    assert math.isnan(found.fast)
    assert (
        found.summary
        == "a half is left after 6.58 steps, more than a tenth is left after 9 steps, the last measured"
    )
    assert found.slopes == ""


def test_the_interval_of_a_half_life_holds_the_truth_in_95_of_100_draws():
    """Rows that fall at rates of their own, drawn around a known mean: the half-life is that of the mean."""
    generator, hits = np.random.default_rng(0), 0
    for _ in range(400):
        rates = -0.1 + 0.02 * generator.standard_normal(12)
        logs = np.arange(30.0)[:, None, None] * rates[None, None, :]
        interval = decay(logs, np.zeros_like(logs, dtype=bool)).half.interval
        hits += interval.low <= math.log(2) / 0.1 <= interval.high
    assert 365 <= hits <= 393
