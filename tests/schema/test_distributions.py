"""Quantiles of what a forecaster gives, against independent formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unrolled.schema import FREEDOM, LEAST, log_gamma, rising
from unrolled.schema.distributions import quantiles


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


def test_quantiles_of_distributions_are_scipys():
    stats = pytest.importorskip("scipy.stats")
    raw = np.random.default_rng(0).normal(0, 2, (20, 3))
    points = (0.025, 0.1, 0.5, 0.9, 0.975)
    spread = np.logaddexp(0.0, raw[:, 1]) + LEAST
    freedom = np.logaddexp(0.0, raw[:, 2]) + FREEDOM
    given = quantiles("gaussian", raw[:, :2], points, None)
    assert np.allclose(given, stats.norm.ppf(points, raw[:, :1], spread[:, None]))
    given = quantiles("student-t", raw, points, None)
    assert np.allclose(given, stats.t.ppf(points, freedom[:, None], raw[:, :1], spread[:, None]), rtol=1e-5)
    scale = np.full(20, 30.0)
    given = quantiles("negative-binomial", raw[:, :2], points, scale) * 30
    mean = (np.logaddexp(0.0, raw[:, 0]) * 30 + 1e-6)[:, None]
    number = 1 / spread[:, None]
    assert np.allclose(given, stats.nbinom.ppf(points, number, number / (number + mean)))
