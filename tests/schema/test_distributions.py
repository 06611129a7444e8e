"""Quantiles of what a forecaster gives, against independent formulas."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from unrolled.schema import log_gamma, rising


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(1e-3, 1e8), min_size=1, max_size=9))
def test_log_gamma_is_that_of_the_standard_library(numbers):
    expected = np.array([math.lgamma(x) for x in numbers])
    assert np.allclose(log_gamma(np.array(numbers)), expected, rtol=1e-12, atol=1e-11)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=7).filter(lambda row: len(row) % 2))
def test_quantiles_rise_about_the_median_and_a_row_depends_on_itself_alone(row):
    found = rising(np.array([row, row[::-1]], np.float32))
    assert (np.diff(found[0]) > 0).all()
    assert found[0, len(row) // 2] == np.float32(row[len(row) // 2])
    assert np.array_equal(found[:1], rising(np.array([row], np.float32)))
