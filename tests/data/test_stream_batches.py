"""Streams in windows: nothing lost, state carried, borders seeded."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unrolled.data import Split, StreamBatches
from unrolled.errors import ConfigError

LAW = settings(deadline=None, max_examples=80)


def split_of(targets, starts=(0,)):
    ids = np.arange(targets + 1, dtype=np.uint16)  # each id is its own place
    return Split(ids, np.array([s for s in starts if s < targets], np.int64), targets)


def joined(batches, field="inputs"):
    return torch.cat([getattr(batch, field) for batch in batches])


sizes = {"targets": st.integers(1, 200), "rows": st.integers(1, 12), "steps": st.integers(1, 40)}


@LAW
@given(**sizes, epoch=st.integers(0, 3), seed=st.integers(0, 9))
def test_the_windows_of_a_row_join_to_its_stream(targets, rows, steps, epoch, seed):
    batches = StreamBatches(split_of(targets), batch_size=rows, bptt_steps=steps, seed=seed)
    found = list(batches.epoch(epoch))
    assert len(found) == batches.len_of(epoch)
    inputs, goals = joined(found), joined(found, "targets")
    assert inputs.dtype == goals.dtype == torch.int64
    length = targets // batches.rows
    assert inputs.T.flatten().tolist() == list(range(length * batches.rows))
    assert torch.equal(goals, inputs + 1)  # so each is a target once
    assert sum(batch.count for batch in found) == batches.tokens_of(epoch) == inputs.numel()
    assert targets - inputs.numel() <= batches.rows - 1
    assert all(1 <= len(batch.inputs) <= steps and batch.lengths is None for batch in found)
    assert all(len(batch.inputs) == steps for batch in found[1:-1])


@LAW
@given(**sizes)
def test_a_short_split_takes_fewer_rows_of_at_least_two_steps(targets, rows, steps):
    batches = StreamBatches(split_of(targets), batch_size=rows, bptt_steps=steps, seed=0)
    assert batches.rows == max(1, min(rows, targets // 2))
    assert next(batches.epoch(0)).inputs.shape[1] == batches.rows


@LAW
@given(**sizes, world_size=st.integers(1, 5), epoch=st.integers(0, 2), starts=st.sets(st.integers(0, 199)))
def test_ranks_partition_the_rows_of_every_window(targets, rows, steps, world_size, epoch, starts):
    split = split_of(targets, sorted(starts))
    batches = StreamBatches(split, batch_size=rows, bptt_steps=steps, seed=3)
    ranks = [list(batches.epoch(epoch, rank=r, world_size=world_size)) for r in range(world_size)]
    for whole, *parts in zip(batches.epoch(epoch), *ranks, strict=True):
        for rank, part in enumerate(parts):
            assert torch.equal(part.inputs, whole.inputs[:, rank::world_size])
            assert torch.equal(part.targets, whole.targets[:, rank::world_size])
            assert torch.equal(resets_of(part), resets_of(whole)[:, rank::world_size])


def resets_of(batch):
    assert batch.resets is None or batch.resets.any()
    return torch.zeros_like(batch.inputs, dtype=torch.bool) if batch.resets is None else batch.resets


@LAW
@given(**sizes, epoch=st.integers(0, 2), starts=st.sets(st.integers(0, 199)))
def test_resets_are_true_where_a_document_starts_and_nowhere_else(targets, rows, steps, epoch, starts):
    split = split_of(targets, sorted(starts))
    batches = StreamBatches(split, batch_size=rows, bptt_steps=steps, seed=0)
    for batch in batches.epoch(epoch):
        expected = torch.isin(batch.inputs, torch.tensor(split.starts))
        assert torch.equal(resets_of(batch), expected)


@LAW
@given(**sizes, epoch=st.integers(0, 2), data=st.data())
def test_start_skips_batches(targets, rows, steps, epoch, data):
    batches = StreamBatches(split_of(targets), batch_size=rows, bptt_steps=steps, seed=0)
    start = data.draw(st.integers(0, batches.len_of(epoch)))
    whole = [batch.inputs.tolist() for batch in batches.epoch(epoch)]
    assert [batch.inputs.tolist() for batch in batches.epoch(epoch, start=start)] == whole[start:]


def first_windows(seed, bptt_steps=50):
    batches = StreamBatches(split_of(1000), batch_size=2, bptt_steps=bptt_steps, seed=seed)
    return [len(next(batches.epoch(n)).inputs) for n in range(8)]


def test_window_borders_move_with_the_epoch_and_the_seed_alone():
    assert first_windows(0)[0] == first_windows(1)[0] == 50
    assert len(set(first_windows(0))) > 4
    assert first_windows(0) == first_windows(0)
    assert first_windows(0) != first_windows(1)
    assert min(first_windows(0)) >= 1


def test_state_is_carried_and_every_step_is_valid():
    batches = StreamBatches(split_of(10), batch_size=2, bptt_steps=3, seed=0)
    assert batches.carries_state
    assert next(batches.epoch(0)).valid().all()


def test_a_batch_owns_its_memory():
    split = split_of(10)
    batch = next(StreamBatches(split, batch_size=2, bptt_steps=5, seed=0).epoch(0))
    batch.inputs.zero_()
    assert split.ids[4] == 4
    assert batch.inputs.is_contiguous()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size: expected a whole number of at least 1, got 0"),
        ({"bptt_steps": 1.5}, "bptt_steps: expected a whole number of at least 1, got 1.5"),
        ({"seed": -1}, "seed: expected a whole number of at least 0, got -1"),
    ],
)
def test_sizes_that_are_none_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=f"^{message}$"):
        StreamBatches(split_of(10), **{"batch_size": 1, "bptt_steps": 1, "seed": 0, **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": -1}, "epoch: expected a whole number of at least 0, got -1"),
        ({"n": 0, "start": 6}, "start: expected 0 to 5, the batches of the epoch, got 6"),
        ({"n": 0, "rank": 2, "world_size": 2}, "rank: expected 0 to 1, got 2"),
        ({"n": 0, "world_size": 0}, "world_size: expected a whole number of at least 1, got 0"),
    ],
)
def test_a_place_outside_the_epoch_is_refused_at_the_call(arguments, message):
    batches = StreamBatches(split_of(10), batch_size=1, bptt_steps=2, seed=0)
    with pytest.raises(ConfigError, match=f"^{message}$"):
        batches.epoch(**arguments)


def test_restarts_fall_on_the_first_step_of_windows_and_are_seeded():
    made = {"batch_size": 8, "bptt_steps": 5, "restart_share": 0.3}
    batches = StreamBatches(split_of(1000), seed=1, **made)
    found = list(batches.epoch(1))
    drawn = torch.stack(
        [b.resets[0] if b.resets is not None else torch.zeros(8, dtype=torch.bool) for b in found]
    )
    assert 0.15 < drawn.float().mean() < 0.45
    assert len({tuple(row) for row in drawn.tolist()}) > len(found) / 2  # not the same rows each time
    assert all(b.resets is None or not b.resets[1:].any() for b in found)
    again = list(StreamBatches(split_of(1000), seed=1, **made).epoch(1, start=3))
    assert all(
        torch.equal(a.resets, b.resets) for a, b in zip(found[3:], again, strict=True) if a.resets is not None
    )
    other = list(StreamBatches(split_of(1000), seed=2, **made).epoch(1))
    assert any((a.resets is None) != (b.resets is None) or not torch.equal(a.resets, b.resets)
               for a, b in zip(found, other, strict=False) if a.resets is not None)  # fmt: skip


def test_restarts_of_a_rank_are_those_of_its_rows():
    batches = StreamBatches(split_of(1000), batch_size=8, bptt_steps=5, seed=1, restart_share=0.3)
    ranks = [list(batches.epoch(1, rank=r, world_size=3)) for r in range(3)]
    for whole, *parts in zip(batches.epoch(1), *ranks, strict=True):
        for rank, part in enumerate(parts):
            mine = None if whole.resets is None else whole.resets[:, rank::3]
            assert (part.resets is None) == (mine is None or not mine.any())
            assert part.resets is None or torch.equal(part.resets, mine)


def test_without_a_share_only_documents_restart():
    batches = StreamBatches(split_of(100), batch_size=4, bptt_steps=5, seed=0)
    assert all(batch.resets is None for batch in list(batches.epoch(0))[1:])


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_of_restarts_outside_0_to_1_is_refused(share):
    with pytest.raises(ConfigError, match=r"^restart_share: expected 0 to 1, got"):
        StreamBatches(split_of(9), batch_size=1, bptt_steps=1, seed=0, restart_share=share)
