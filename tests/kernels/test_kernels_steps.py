"""Networks that run step by step, by the engine alone: symbols and their rows, int8 products, a thread's registers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernels_cases import Call

from unrolled import kernels
from unrolled.kernels import LayerWeights, Outcome

pytestmark = pytest.mark.skipif(not kernels.available(), reason="this install holds no kernels")
F = np.float32
each_set = pytest.mark.parametrize("isa", kernels.isas())


def address(array: np.ndarray | None) -> int:
    return 0 if array is None else int(array.ctypes.data)


def layer(cell: str, weight_ih: Any, weight_hh: Any, *scales: Any) -> LayerWeights:
    """Describe a layer without biases; its weights must live until it is packed."""
    hidden = weight_hh.shape[1]
    of_ih, of_hh = scales or (None, None)
    return LayerWeights(
        cell,
        weight_ih.shape[1],
        hidden,
        hidden,
        (address(weight_ih), address(of_ih)),
        (address(weight_hh), address(of_hh)),
        (0, 0),
        0,
        0,
    )


@pytest.mark.parametrize("vocabulary", [5, 8000])  # a table of W_ih · embedding fits into 8 MB, or does not
@each_set
def test_a_symbol_is_its_row_after_the_embedding_is_gone_and_beyond_the_last_one_nothing(isa, vocabulary):
    draw = np.random.default_rng(0)
    inputs, hidden = 3, 70
    weights = [draw.normal(size=(4 * hidden, n)).astype(F) / 8 for n in (inputs, hidden)]
    rows = draw.normal(size=(vocabulary, inputs)).astype(F)
    lstm, embedding = layer("lstm", *weights), rows.copy()
    dense = kernels.pack_network([lstm], output_size=hidden, isa=isa)
    network = kernels.pack_network(
        [lstm], vocabulary=vocabulary, embedding=address(embedding), output_size=hidden, isa=isa
    )
    embedding[:] = np.nan
    ids = np.array([0, vocabulary - 1, 2, vocabulary // 2, vocabulary - 1], np.int64)
    found, want, one = np.empty((3, 5, hidden), F)
    by_rows, by_steps, by_run = (kernels.Streams(net, 1, 1) for net in (dense, network, network))
    assert not by_rows.run(rows[ids], want, True)
    assert not by_run.run(ids, found, True)
    assert not any(by_steps.step(int(symbol), one[t]) for t, symbol in enumerate(ids))
    np.testing.assert_array_equal(found, want)
    np.testing.assert_array_equal(one, want)
    for wrong in (-1, vocabulary):
        assert by_steps.step(wrong, one[0]) == Outcome.id_out_of_range
        assert by_run.run(np.array([0, wrong], np.int64), found[:2], True) == Outcome.id_out_of_range
        assert by_run.failed == 1


@pytest.mark.parametrize("size", [1, 16, 37])
@each_set
def test_int8_rounds_to_the_nearest_of_127_steps_of_the_largest_number(isa, size):
    """A relu network that is the identity puts out what its input has become."""
    identity, none = 127 * np.eye(size, dtype=np.int8), np.zeros((size, size), np.int8)
    of_identity, of_none = np.full(size, F(1) / F(127)), np.ones(size, F)
    network = kernels.pack_network(
        [layer("rnn_relu", identity, none, of_identity, of_none)],
        storage="int8",
        output_size=size,
        isa=isa,
    )
    x = np.random.default_rng(1).normal(size=(50, size)).astype(F)
    y = np.empty((2, 50, size), F)
    for found, sign in zip(y, (F(1), F(-1)), strict=True):
        assert not kernels.Streams(network, 1, 1).run(sign * x, found, True)
    most = np.abs(x).max(axis=1, keepdims=True)
    steps = np.rint(x * (F(127) / most))
    want = steps * F(127) * (of_identity[0] * (most / F(127)))
    np.testing.assert_array_equal(y[0] - y[1], want)


def test_a_call_leaves_the_threads_subnormal_numbers_as_they_were():
    """The engine takes them for zero, in its own sums: whatever the thread computes next must not."""
    least = F(2e-39)
    call = Call()
    network = kernels.pack_network([layer("rnn_tanh", np.eye(2, dtype=F), np.eye(2, dtype=F))], output_size=2)
    stream = kernels.Streams(network, 1, 1)
    for run in (call.run, call.run_backward, lambda: stream.step(np.ones(2, F), None)):
        run()
        assert least * F(0.5) > 0
