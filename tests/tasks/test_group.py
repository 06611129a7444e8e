"""What several processes answer is put together in the order of the samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from unrolled.tasks import Group
from unrolled.tasks.group import gathered


class Recorder(Group):
    """A rank that leaves what it would send, and hears what all of them left."""

    def __init__(self, rank: int, sent: list[Tensor]) -> None:
        self.rank, self.world_size, self._sent = rank, len(sent), sent

    def whole(self, part: Tensor, axis: int, rows: int) -> Tensor:
        assert (axis, rows, len(part)) == (0, self.world_size, 1)
        self._sent[self.rank] = part
        return torch.cat(self._sent)


@pytest.mark.parametrize("ranks", [1, 2, 3, 7])
@pytest.mark.parametrize("samples", [1, 2, 5, 12])
def test_answers_of_all_ranks_come_in_the_order_of_the_samples(ranks: int, samples: int):
    random = np.random.default_rng(ranks * samples)
    sizes = random.integers(0, 4, samples)
    rows = random.normal(size=(int(sizes.sum()), 2)).astype(np.float32)
    pieces = np.split(rows, np.cumsum(sizes)[:-1])
    most = max(int(sizes[rank::ranks].sum()) for rank in range(ranks))
    sent = [torch.zeros(1, most, 2)] * ranks
    for rank in [*range(ranks), *range(ranks)]:  # in the second round everybody has sent
        own = np.concatenate([rows[:0], *pieces[rank::ranks]])
        found = gathered(Recorder(rank, sent), own, sizes)
    assert (found == rows).all()
    assert found.dtype == rows.dtype
