"""Windows for evaluation: every target once, none left out."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unrolled.data import Document, Split, carried_windows, cold_windows, encode_text
from unrolled.errors import ConfigError
from unrolled.tokens import build

LAW = settings(deadline=None, max_examples=80)


def split_of(targets, starts):
    ids = np.arange(targets + 1, dtype=np.uint16)
    return Split(ids, np.array(sorted({0, *starts} & set(range(targets))), np.int64), targets)


splits = st.builds(split_of, st.integers(0, 120), st.sets(st.integers(0, 119)))


def read(batches):
    """Return inputs, targets and starts, row by row, without the padding."""
    inputs, targets, starts = [], [], []
    for batch in batches:
        valid = batch.valid().T
        inputs += batch.inputs.T[valid].tolist()
        targets += batch.targets.T[valid].tolist()
        if batch.resets is not None:
            assert batch.resets.any()
            assert not batch.resets.T[~valid].any()
            starts += batch.inputs.T[batch.resets.T].tolist()
    return inputs, targets, starts


@LAW
@given(splits, st.integers(1, 50))
def test_carried_windows_join_to_the_split(split, window):
    found = list(carried_windows(split, window))
    inputs, targets, starts = read(found)
    assert inputs == list(range(split.num_targets))
    assert targets == list(range(1, split.num_targets + 1))
    assert starts == split.starts.tolist()
    assert all(batch.inputs.shape == (window, 1) for batch in found[:-1])


@LAW
@given(splits, st.integers(1, 50), st.integers(1, 5))
def test_cold_windows_hold_every_target_once_in_rows_of_one_size(split, size, rows):
    found = list(cold_windows(split, size, rows))
    inputs, targets, starts = read(found)
    assert inputs == list(range(split.num_targets))
    assert targets == list(range(1, split.num_targets + 1))
    assert starts == split.starts.tolist()
    firsts = [i for batch in found for i in batch.inputs[0].tolist()]
    assert firsts == list(range(0, split.num_targets, size))
    assert all(batch.inputs.shape == (size, rows) and batch.lengths is None for batch in found[:-1])
    assert sum(batch.count for batch in found) == split.num_targets


def test_the_last_window_is_shorter_and_padded_with_the_boundary():
    split = Split(np.array([7, 1, 2, 3, 4, 5], np.uint8), np.array([0], np.int64), 5)
    (batch,) = cold_windows(split, size=3, rows=4)
    assert batch.inputs.T.tolist() == [[7, 1, 2], [3, 4, 7]]
    assert batch.targets.T.tolist() == [[1, 2, 3], [4, 5, 7]]
    assert batch.lengths.tolist() == [3, 2]
    assert batch.resets.T.tolist() == [[True, False, False], [False] * 3]


def test_lines_read_as_carried_windows_reset_at_each_line():
    tokens = build("char", ["ab"])
    split = encode_text([Document("", "ab\na\n")], tokens, "lines")
    (batch,) = carried_windows(split)
    assert tokens.decode(batch.inputs[:, 0].numpy()) == "\nab\na"
    assert tokens.decode(batch.targets[:, 0].numpy()) == "ab\na\n"
    assert batch.resets[:, 0].tolist() == [True, False, False, True, False]
    assert batch.inputs.dtype == torch.int64


def test_sizes_that_are_none_are_refused():
    split = split_of(4, ())
    with pytest.raises(ConfigError, match=r"^window: expected a whole number of at least 1, got 0$"):
        carried_windows(split, 0)
    with pytest.raises(ConfigError, match=r"^size: expected a whole number of at least 1, got 0$"):
        cold_windows(split, 0)
    with pytest.raises(ConfigError, match=r"^rows: expected a whole number of at least 1, got 0$"):
        cold_windows(split, rows=0)
