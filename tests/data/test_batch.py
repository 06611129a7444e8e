"""A batch of ids or numbers, with a target for each step or for each row."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unrolled.data import IGNORED, Batch, to_tensor
from unrolled.errors import DtypeError, ShapeError

sizes = st.integers(0, 5)


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    steps, rows, width = draw(sizes), draw(sizes), draw(sizes)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    floating, per_row, vector = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())
    inputs = (
        torch.randn(steps, rows, width) if floating else torch.randint(9, (steps, rows), generator=generator)
    )
    shape = (rows,) if per_row else (steps, rows, width) if vector else (steps, rows)
    targets = torch.randn(shape) if draw(st.booleans()) else torch.randint(9, shape, generator=generator)
    if not targets.is_floating_point() and draw(st.booleans()):
        targets = targets.masked_fill(targets < 3, IGNORED)
    lengths = torch.randint(steps + 1, (rows,), generator=generator) if draw(st.booleans()) else None
    return Batch(inputs, targets, lengths)


@given(batches())
def test_each_prediction_is_scored_once_and_padding_never(batch: Batch):
    """Against a loop over rows and steps."""
    steps, rows = batch.inputs.shape[:2]
    scored = []
    for row in range(rows):
        if batch.per_row:
            scored += [batch.targets[row]]
            continue
        last = steps if batch.lengths is None else int(batch.lengths[row])
        scored += list(batch.targets[:last, row])
    counted = [each for each in scored if each.ndim or each.is_floating_point() or each != IGNORED]
    assert batch.count == len(counted) == int(batch.valid().sum())
    assert batch.valid().shape == ((rows,) if batch.per_row else (steps, rows))
    assert batch.valid().dtype == torch.bool


@given(batches())
def test_padding_and_the_order_of_rows_change_no_count(batch: Batch):
    order = torch.arange(batch.inputs.shape[1]).flip(0)
    lengths = torch.full((len(order),), len(batch.inputs)) if batch.lengths is None else batch.lengths
    targets = batch.targets if batch.per_row else torch.cat([batch.targets, batch.targets[:1]])
    padded = Batch(torch.cat([batch.inputs, batch.inputs[:1]]), targets, lengths)
    turned = Batch(batch.inputs[:, order], batch.targets[..., order] if batch.targets.ndim < 3
                   else batch.targets[:, order], lengths[order])  # fmt: skip
    if len(batch.inputs):
        assert padded.count == batch.count
    assert turned.count == batch.count
    if not batch.per_row:  # each prediction is in one of the parts, however a batch is cut
        parts = [batch.part(begin, 2) for begin in range(0, len(batch.inputs), 2)]
        assert sum(part.count for part in parts) == batch.count
        assert all(p.lengths is None or (p.lengths <= len(p.inputs)).all() for p in parts)


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ({"inputs": torch.zeros(3, 2)}, ShapeError, "inputs: expected [T, B, I] of numbers, got [3, 2]"),
        ({"inputs": torch.zeros(3, 2, 1).long()}, ShapeError, "inputs: expected [T, B] of ids, got [3, 2, 1]"),
        ({"inputs": torch.zeros(3, 2).int()}, DtypeError, "inputs: expected int64 or floating point, got torch.int32"),
        ({"targets": torch.zeros(2, 3)}, ShapeError, "targets: expected [3, 2, …] or [2], got [2, 3]"),
        ({"targets": torch.zeros(3)}, ShapeError, "targets: expected [3, 2, …] or [2], got [3]"),
        ({"targets": torch.zeros(2, 4)}, ShapeError, "targets: expected [3, 2, …] or [2], got [2, 4]"),
        ({"targets": torch.zeros(2).bool()}, DtypeError, "targets: expected int64 or floating point, got torch.bool"),
        ({"lengths": torch.zeros(3).long()}, ShapeError, "lengths: expected [2], got [3]"),
        ({"lengths": torch.zeros(2)}, DtypeError, "lengths: expected int64, got torch.float32"),
        ({"resets": torch.zeros(2, 3).bool()}, ShapeError, "resets: expected [3, 2], got [2, 3]"),
        ({"resets": torch.zeros(3, 2)}, DtypeError, "resets: expected bool, got torch.float32"),
    ],
)  # fmt: skip
def test_parts_that_do_not_fit_are_refused_in_one_line(parts: dict, error: type, message: str):
    whole = {"inputs": torch.zeros(3, 2).long(), "targets": torch.zeros(3, 2).long()}
    with pytest.raises(error) as caught:
        Batch(**{**whole, **parts})
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("uint8", "int64"), ("uint32", "int64"), ("int64", "int64"), ("float64", "float32"), ("float32", "float32"),
     ("float16", "float32"), ("bool", "bool")],
)  # fmt: skip
def test_numbers_stay_numbers_in_a_tensor(kind: str, dtype: str):
    array = np.array([[0, 1], [1, 0]], kind).T
    found = to_tensor(array)
    assert found.dtype == getattr(torch, dtype)
    assert found.is_contiguous()
    np.testing.assert_array_equal(found.numpy(), array)
    found[0, 0] = 1
    assert array[0, 0] == 0
