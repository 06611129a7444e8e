"""Student's t against its table, and the coverage of the interval of a mean."""

import numpy as np
import pytest

from unrolled.probe.exchange import share_interval
from unrolled.probe.result import mean_interval, student


@pytest.mark.parametrize(
    ("freedom", "quantile"),
    [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (5, 2.5706), (7, 2.3646), (10, 2.2281),
     (15, 2.1314), (30, 2.0423), (63, 1.9983), (1000, 1.9623)],
)  # fmt: skip
def test_the_quantile_is_that_of_the_table(freedom, quantile):
    assert student(freedom) == pytest.approx(quantile, abs=1e-4)


@pytest.mark.parametrize("rows", [2, 5, 16])
def test_the_interval_of_a_mean_holds_it_in_95_of_100_draws(rows):
    draws = np.random.default_rng(0).normal(3.0, 2.0, size=(rows, 20000))
    _, low, high = mean_interval(draws)
    assert ((low <= 3) & (high >= 3)).mean() == pytest.approx(0.95, abs=0.005)


def test_the_interval_of_a_share_of_sums_holds_it_in_nearly_95_of_100_draws():
    """Rows of unequal size of which half belongs, on average; a hundred draws of 60 rows give a little less than 95."""
    generator, hits = np.random.default_rng(0), 0
    for _ in range(500):
        whole = generator.gamma(2, size=60)
        parts, drawn = whole * generator.beta(2, 2, size=60), generator.integers(0, 60, (100, 60))
        share, low, high = share_interval(parts[:, None], whole, drawn)
        assert share[0] == pytest.approx(parts.sum() / whole.sum())
        hits += bool(low[0] <= 0.5 <= high[0])
    assert 0.91 <= hits / 500 <= 0.96


def test_one_repeat_has_no_interval():
    mean, low, high = mean_interval(np.array([[1.0, 2.0]]))
    assert mean.tolist() == [1.0, 2.0]
    assert np.isnan(low).all()
    assert np.isnan(high).all()
