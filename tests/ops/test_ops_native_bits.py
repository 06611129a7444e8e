"""The promise of the canonical order: the same bits whatever the batch, the threads and the cuts in time."""

# ruff: noqa: N803  # T, B, I and H are the axes' names in the design

from __future__ import annotations

import pytest
import torch
from ops_cases import call, evaluate, make, needs_kernels, ragged

from unrolled import kernels

VARIANTS = ("rnn_tanh", "rnn_relu", "lstm", "lstm_projected", "gru")
# Split by rows, by units, and not at all; whole vectors and rests of them.
SIZES = [(24, 40, 67, 33), (40, 3, 200, 48), (31, 1, 130, 7), (9, 7, 17, 3)]

pytestmark = [
    needs_kernels,
    pytest.mark.parametrize("isa", kernels.isas()),
    pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16]),
    pytest.mark.parametrize("variant", VARIANTS),
    pytest.mark.parametrize(("T", "B", "H", "I"), SIZES),
]


@pytest.fixture(autouse=True)
def of_the_isa(isa, dtype, monkeypatch):
    """Run on the instruction set; bfloat16 under autocast, where states stay float32: bfloat16 tensors round."""
    monkeypatch.setenv("UNROLLED_ISA", isa)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        yield


def made(variant, T, B, H, I, dtype):  # noqa: E741
    given = torch.float32 if dtype == torch.bfloat16 else dtype
    return make(variant, T=T, B=B, H=H, I=I, dtype=given)


def case_of(variant, T, B, H, I, dtype):  # noqa: E741
    case = made(variant, T, B, H, I, dtype)
    return {name: leaf.detach() for name, leaf in case.items()}, ragged(T, B)


def states_of(case):
    return [name for name in ("h_0", "c_0") if name in case]


def assert_same_bits(got, want):
    for one, other in zip(got, want, strict=True):
        assert torch.equal(one, other), f"largest difference {(one - other).abs().max():.3g}"


@pytest.mark.parametrize("reverse", [False, True])
def test_thread_counts_change_no_bit(variant, T, B, H, I, dtype, reverse):  # noqa: E741
    case, rows = case_of(variant, T, B, H, I, dtype)
    options = {"backend": "native", "reverse": reverse}
    want, want_full = call(variant, case, **options, **rows), call(variant, case, **options)
    for threads in (2, 3):
        torch.set_num_threads(threads)
        assert_same_bits(call(variant, case, **options, **rows), want)
        assert_same_bits(call(variant, case, **options), want_full)


def test_a_row_alone_has_the_bits_that_it_has_in_a_batch(variant, T, B, H, I, dtype):  # noqa: E741
    case, rows = case_of(variant, T, B, H, I, dtype)
    y, *states = call(variant, case, backend="native", **rows)
    for row in {0, 1, B // 2, B - 1} & set(range(B)):
        only = slice(row, row + 1)
        alone = case | {"x": case["x"][:, only]} | {name: case[name][only] for name in states_of(case)}
        y_alone, *states_alone = call(
            variant, alone, backend="native", lengths=rows["lengths"][only], resets=rows["resets"][:, only]
        )
        assert_same_bits(
            (y_alone[:, 0], *(s[0] for s in states_alone)), (y[:, row], *(s[row] for s in states))
        )


def test_a_permuted_batch_has_the_same_bits(variant, T, B, H, I, dtype):  # noqa: E741
    case, rows = case_of(variant, T, B, H, I, dtype)
    y, *states = call(variant, case, backend="native", **rows)
    order = torch.randperm(B, generator=torch.Generator().manual_seed(0))
    moved = case | {"x": case["x"][:, order]} | {name: case[name][order] for name in states_of(case)}
    got = call(
        variant, moved, backend="native", lengths=rows["lengths"][order], resets=rows["resets"][:, order]
    )
    assert_same_bits(got, (y[:, order], *(state[order] for state in states)))


def test_a_run_cut_in_time_has_the_bits_of_the_whole(variant, T, B, H, I, dtype):  # noqa: E741
    case, rows = case_of(variant, T, B, H, I, dtype)
    want = call(variant, case, backend="native", **rows)
    parts, state, begin = [], case, 0
    for end in (1, 2, T // 2, T):
        span = case["x"][begin:end]
        lengths = (rows["lengths"] - begin).clamp(0, end - begin)
        y, *states = call(
            variant, state | {"x": span}, backend="native", lengths=lengths, resets=rows["resets"][begin:end]
        )
        parts, begin = [*parts, y], end
        state = case | dict(zip(states_of(case), states, strict=True))
    assert_same_bits((torch.cat(parts), *states), want)


def test_gradients_repeat_bit_for_bit_on_any_number_of_threads(variant, T, B, H, I, dtype):  # noqa: E741
    case, rows = made(variant, T, B, H, I, dtype), ragged(T, B)
    want = evaluate(variant, case, backend="native", **rows)
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        assert_same_bits(evaluate(variant, case, backend="native", **rows).values(), want.values())
