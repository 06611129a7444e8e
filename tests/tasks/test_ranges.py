"""Errors by ranges of lengths, and their standard errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unrolled.tasks.ranges import ranges, standard_error


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(1, 30), st.floats(0, 1)), min_size=1, max_size=40))
def test_each_sample_is_in_one_range_with_its_error(pairs):
    lengths, errors = np.array([length for length, _ in pairs]), np.array([error for _, error in pairs])
    found = ranges(lengths, errors)
    assert found.samples.sum() == len(pairs)
    assert (found.samples * found.error).sum() == pytest.approx(errors.sum())
    for label, count in zip(found.labels, found.samples, strict=True):
        low, _, high = label.partition(" to ")
        assert ((lengths >= int(low)) & (lengths <= int(high or low))).sum() == count


def test_four_times_as_many_values_halve_the_standard_error():
    values = np.array([1.0, 2.0, 4.0])
    assert standard_error(values) == pytest.approx(values.std() / 3**0.5)
    assert standard_error(np.tile(values, 4)) == pytest.approx(standard_error(values) / 2)
