"""Lines in batches: each once, of about one length, padding never counted."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unrolled.data import Batch, Batches, Document, LineBatches, StreamBatches, encode_text, encoding
from unrolled.errors import ConfigError
from unrolled.tokens import build

LAW = settings(deadline=None, max_examples=60)
lines = st.lists(st.text("abc", min_size=1, max_size=9), min_size=1, max_size=40)
sizes = {"rows": st.integers(1, 9), "seed": st.integers(0, 9), "epoch": st.integers(0, 3)}
TOKENS = build("char", ["abc"])


def split_of(lines):
    return encode_text([Document("", "\n".join(lines))], TOKENS, "lines")


def rows_of(batch):
    """Return the lines of a batch, read from inputs and from targets."""
    found = []
    for row, length in enumerate(batch.lengths.tolist()):
        line = TOKENS.decode(batch.targets[:length, row].numpy())
        assert TOKENS.decode(batch.inputs[:length, row].numpy()) == "\n" + line[:-1]
        assert line.endswith("\n")
        found.append(line[:-1])
    return found


@LAW
@given(lines=lines, **sizes)
def test_every_line_is_in_one_batch_and_padding_in_none(lines, rows, seed, epoch):
    batches = LineBatches(split_of(lines), batch_size=rows, seed=seed)
    found = list(batches.epoch(epoch))
    assert len(found) == batches.len_of(epoch) == -(-len(lines) // min(rows, len(lines)))
    assert sorted(line for batch in found for line in rows_of(batch)) == sorted(lines)
    assert (
        sum(batch.count for batch in found) == batches.tokens_of(epoch) == sum(map(len, lines)) + len(lines)
    )
    for batch in found:
        assert batch.resets is None
        assert len(batch.inputs) == int(batch.lengths.max())
        assert batch.inputs.dtype == batch.targets.dtype == batch.lengths.dtype == torch.int64
        valid = batch.valid()
        assert valid.sum(0).tolist() == batch.lengths.tolist()
        assert (batch.inputs[~valid] == TOKENS.boundary).all()
        assert (batch.targets[~valid] == TOKENS.boundary).all()


@LAW
@given(lines=lines, **sizes, world_size=st.integers(1, 4))
def test_ranks_partition_the_rows_of_every_batch(lines, rows, seed, epoch, world_size):
    batches = LineBatches(split_of(lines), batch_size=rows, seed=seed)
    ranks = [list(batches.epoch(epoch, rank=r, world_size=world_size)) for r in range(world_size)]
    for whole, *parts in zip(batches.epoch(epoch), *ranks, strict=True):
        for rank, part in enumerate(parts):
            assert rows_of(part) == rows_of(whole)[rank::world_size]


@LAW
@given(lines=lines, **sizes, data=st.data())
def test_start_skips_batches(lines, rows, seed, epoch, data):
    batches = LineBatches(split_of(lines), batch_size=rows, seed=seed)
    start = data.draw(st.integers(0, batches.len_of(epoch)))
    whole = [rows_of(batch) for batch in batches.epoch(epoch)]
    assert [rows_of(batch) for batch in batches.epoch(epoch, start=start)] == whole[start:]


def many(count=3000):
    generator = np.random.default_rng(0)
    return split_of(["".join(generator.choice(list("abc"), n)) for n in generator.integers(1, 60, count)])


@pytest.mark.parametrize("count", [1, 37, 3000])
def test_the_order_is_a_shuffle_sorted_by_length_in_chunks_whose_batches_are_shuffled(count):
    """As it is written down with whole arrays; `LineBatches` holds four bytes a line."""
    split = many(count)
    batches = LineBatches(split, batch_size=7, seed=5)
    lengths = np.diff(split.starts, append=split.num_targets)
    generator = np.random.default_rng([5, 2])
    shuffled = generator.permutation(count)
    ordered = shuffled[np.lexsort((lengths[shuffled], np.arange(count) // (50 * batches.rows)))]
    expected = [ordered[i : i + batches.rows] for i in range(0, count, batches.rows)]
    expected = [expected[i] for i in generator.permutation(len(expected))]
    for rows, batch in zip(expected, batches.epoch(2), strict=True):
        assert batch.lengths.tolist() == lengths[rows].tolist()
        assert batch.inputs[1:2].tolist() == split.ids[split.starts[rows] + 1][None, :].tolist()


def test_the_longest_line_is_found_in_chunks(monkeypatch):
    split = many(100)
    lengths = np.diff(split.starts, append=split.num_targets)
    assert split.longest == lengths.max()
    monkeypatch.setattr(encoding, "CHUNK", 7)
    assert split.longest == lengths.max()
    assert split.lengths(np.array([99, 0, 5])).tolist() == lengths[[99, 0, 5]].tolist()
    assert encode_text([], TOKENS, "lines").longest == 0


def test_the_order_is_a_function_of_seed_and_epoch():
    def order(seed, epoch):
        return [
            row
            for batch in LineBatches(many(40), batch_size=4, seed=seed).epoch(epoch)
            for row in rows_of(batch)
        ]

    assert order(0, 1) == order(0, 1)
    assert len({tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4


def test_lines_of_about_one_length_share_a_batch():
    batches = LineBatches(many(), batch_size=16, seed=0)
    found = list(batches.epoch(0))
    padded = sum(batch.inputs.numel() for batch in found)
    assert batches.tokens_of(0) / padded > 0.95
    longest = [len(batch.inputs) for batch in found]
    assert longest != sorted(longest)  # the batches are shuffled


def test_a_rank_without_rows_gets_an_empty_batch():
    batch = next(LineBatches(split_of(["ab"]), batch_size=4, seed=0).epoch(0, rank=1, world_size=2))
    assert batch.inputs.shape == batch.targets.shape == batch.valid().shape == (0, 0)
    assert batch.count == 0


def test_both_kinds_of_batches_are_what_a_trainer_reads():
    split = split_of(["ab", "b"])
    kinds: list[Batches] = [
        LineBatches(split, batch_size=9, seed=0),
        StreamBatches(split, batch_size=9, bptt_steps=2, seed=0),
    ]
    assert [each.carries_state for each in kinds] == [False, True]
    assert [each.rows for each in kinds] == [2, 2]
    assert all(isinstance(batch, Batch) for each in kinds for batch in each.epoch(0))


def test_sizes_that_are_none_are_refused():
    with pytest.raises(ConfigError, match=r"^batch_size: expected a whole number of at least 1, got 0$"):
        LineBatches(split_of(["a"]), batch_size=0, seed=0)
    with pytest.raises(ConfigError, match=r"^start: expected 0 to 1, the batches of the epoch, got 2$"):
        LineBatches(split_of(["a"]), batch_size=1, seed=0).epoch(0, start=2)
