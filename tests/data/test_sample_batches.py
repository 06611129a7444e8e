"""Whole samples in batches: each once, of about one length, and the same order wherever it starts."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unrolled.data import IGNORED, Batches, SampleBatches
from unrolled.errors import ConfigError, DtypeError, ShapeError

LAW = settings(deadline=None, max_examples=60)
sizes = {
    "lengths": st.lists(st.integers(0, 9), min_size=1, max_size=40),
    "rows": st.integers(1, 9),
    "seed": st.integers(0, 9),
    "epoch": st.integers(0, 3),
}


def numbers_of(lengths):
    """Return sequences [T, 2] each full of its own number, from 1, and these numbers as targets."""
    inputs = [np.full((length, 2), index + 1, np.float32) for index, length in enumerate(lengths)]
    return inputs, np.arange(1, len(lengths) + 1)


@LAW
@given(**sizes, shuffle=st.booleans())
def test_every_sample_is_in_one_batch_with_its_target_and_padding_is_zero(
    lengths, rows, seed, epoch, shuffle
):
    inputs, targets = numbers_of(lengths)
    batches = SampleBatches(inputs, targets, batch_size=rows, seed=seed, shuffle=shuffle)
    found = list(batches.epoch(epoch))
    assert len(found) == batches.len_of(epoch) == -(-len(lengths) // min(rows, len(lengths)))
    assert sorted(torch.cat([batch.targets for batch in found]).tolist()) == targets.tolist()
    assert sum(batch.count for batch in found) == batches.tokens_of(epoch) == len(lengths)
    for batch, chosen in zip(found, batches.indices(epoch), strict=True):
        assert batch.per_row
        assert batch.targets.tolist() == (chosen + 1).tolist()
        assert batch.lengths.tolist() == [lengths[index] for index in chosen]
        valid = torch.arange(len(batch.inputs)).unsqueeze(1) < batch.lengths
        want = torch.where(valid, batch.targets, 0).float().unsqueeze(2).expand(-1, -1, 2)
        assert torch.equal(batch.inputs, want)


@pytest.mark.parametrize("kind", [np.int64, np.float32])
@LAW
@given(lengths=sizes["lengths"], rows=sizes["rows"], seed=st.integers(0, 9))
def test_the_targets_of_an_epoch_are_the_steps_that_have_one(kind, lengths, rows, seed):
    none = np.nan if kind is np.float32 else IGNORED
    has = [np.random.default_rng([seed, length]).random(length) < 0.6 for length in lengths]
    targets = [np.where(each, 1, none).astype(kind) for each in has]
    batches = SampleBatches(numbers_of(lengths)[0], targets, batch_size=rows, seed=seed)
    found = sum(int((batch.targets == 1).sum()) for batch in batches.epoch(0))
    assert batches.tokens_of(0) == found == sum(int(each.sum()) for each in has)


@LAW
@given(**sizes, start=st.integers(0, 40))
def test_an_epoch_can_start_anywhere(lengths, rows, seed, epoch, start):
    batches = SampleBatches(*numbers_of(lengths), batch_size=rows, seed=seed)
    start = min(start, batches.len_of(epoch))
    whole = [batch.targets.tolist() for batch in batches.epoch(epoch)]
    assert [batch.targets.tolist() for batch in batches.epoch(epoch, start=start)] == whole[start:]


@LAW
@given(**sizes, world_size=st.integers(1, 4))
def test_ranks_share_the_rows_of_every_batch(lengths, rows, seed, epoch, world_size):
    batches = SampleBatches(*numbers_of(lengths), batch_size=rows, seed=seed)
    ranks = [list(batches.epoch(epoch, rank=r, world_size=world_size)) for r in range(world_size)]
    for whole, *parts in zip(batches.epoch(epoch), *ranks, strict=True):
        for rank, part in enumerate(parts):
            assert part.targets.tolist() == whole.targets[rank::world_size].tolist()


def test_the_order_is_another_in_each_epoch_unless_nothing_is_shuffled():
    inputs, targets = numbers_of([3] * 64)

    def order(epoch, **given):
        batches: Batches = SampleBatches(inputs, targets, batch_size=8, seed=1, **given)
        return [number for batch in batches.epoch(epoch) for number in batch.targets.tolist()]

    assert order(0) == order(0) != order(1)
    assert order(0, shuffle=False) == order(5, shuffle=False) == targets.tolist()


def test_a_batch_holds_rows_of_like_length():
    lengths = np.random.default_rng(0).integers(1, 100, 1000)
    batches = SampleBatches(*numbers_of(lengths), batch_size=10, seed=0)
    padded = sum(batch.inputs.shape[0] * batch.inputs.shape[1] for batch in batches.epoch(0))
    assert padded < 1.05 * lengths.sum()


def test_ids_are_int64_and_targets_keep_their_kind():
    ids = [np.array([3, 4, 5], np.int32), np.array([6], np.uint8)]
    batch = next(SampleBatches(ids, np.array([0.5, 1.5]), batch_size=2, seed=0, shuffle=False).epoch(0))
    assert batch.inputs.tolist() == [[6, 3], [0, 4], [0, 5]]
    assert (batch.inputs.dtype, batch.targets.dtype, batch.lengths.dtype) == (
        torch.int64,
        torch.float32,
        torch.int64,
    )


@pytest.mark.parametrize(
    ("inputs", "targets", "error", "message"),
    [
        ([np.zeros((3, 2))], [0, 1], ShapeError, "targets: expected [1], got [2]"),
        ([np.zeros((3, 2)), np.zeros((3, 1))], [0, 1], ShapeError, "inputs[1]: expected [T, 2] of floating point, got [3, 1]"),
        ([np.zeros((3, 2)), np.zeros(3, int)], [0, 1], DtypeError, "inputs[1]: expected [T, 2] of floating point, got int64"),
        ([np.array(["a"])], [0], DtypeError, "inputs[0]: expected ids [T], got <U1"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(inputs, targets, error, message):
    with pytest.raises(error) as caught:
        SampleBatches(inputs, np.array(targets), batch_size=2, seed=0)
    assert str(caught.value) == message


def test_a_batch_of_no_rows_is_refused():
    with pytest.raises(ConfigError, match="batch_size: expected a whole number of at least 1, got 0"):
        SampleBatches([np.zeros((1, 1))], np.zeros(1), batch_size=0, seed=0)
