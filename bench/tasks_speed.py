"""Time an epoch of a task's network beside the same network on torch.nn with packed sequences.

    python bench/tasks_speed.py DATA            # names: a classifier of ragged texts

The same rows of an epoch in batches of the same size, with torch's fused AdamW and equal clipping; all take
turns within one process. torch.nn gets the batches that a shuffling DataLoader gives, rows by chance; in a
second comparison unrolled's own, whose rows are of like length. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import machine
from record import commit
from report import table
from timing import Local, interleave
from unrolled import tasks, train
from unrolled.data import Batch
from unrolled.spec import ClassifyData, TrainConfig

BATCHES = 100  # of a block
ROUNDS = 15
HEADS = (
    "network",
    "batches",
    "unrolled, ms",
    "torch.nn packed, ms",
    "as fast",
    "with unrolled's batches, ms",
    "as fast",
)


class PackedClassifier(nn.Module):
    """What a user of torch.nn writes: embedding, packed GRU, mean and maximum of valid steps, read-out."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size)
        self.recurrent = nn.GRU(
            config.embedding_size, config.hidden_size, config.num_layers, bidirectional=not config.causal
        )
        self.dropout = nn.Dropout(config.dropout)
        self.readout = nn.Linear(config.pooled, config.outputs)

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the summed loss of a batch."""
        assert batch.lengths is not None
        x = self.dropout(self.embedding(batch.inputs))
        packed = pack_padded_sequence(x, batch.lengths, enforce_sorted=False)
        y, _ = pad_packed_sequence(self.recurrent(packed)[0])
        valid = (torch.arange(len(y)).unsqueeze(1) < batch.lengths).unsqueeze(-1)
        mean = y.sum(0) / batch.lengths.unsqueeze(-1)
        largest = y.masked_fill(~valid, -torch.inf).amax(0)
        answer = self.readout(self.dropout(torch.cat([mean, largest], -1)))
        return nn.functional.cross_entropy(answer, batch.targets, reduction="sum")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = [_names(args.data)]
    print(f"{machine.line(machine.facts(args.threads, limit=True))} Commit {commit()}.\n")
    print("\n".join(table(HEADS, rows)))


def _names(folder: Path) -> list[str]:
    """A classifier of surnames: 18 classes, 3 to 21 characters."""
    data = ClassifyData(str(folder / "names"), label="folder", controls=False)
    config = TrainConfig(data, minutes=1, seed=0)
    task = tasks.of(data)
    with tempfile.TemporaryDirectory() as place:
        dataset: Any = task.prepare(data, Path(place), seed=0)
        config = train.resolve(config, dataset)
        sizes = task.model_config(config, dataset)
        batches = list(task.batches(config, dataset).epoch(0))[:BATCHES]
        network = task.network(sizes, seed=0, backend="auto", dataset=dataset)
    peers = [PackedClassifier(sizes) for _ in range(2)]

    def ours(batch: Batch) -> torch.Tensor:
        loss: torch.Tensor = network.loss(batch, network.initial_state(batch.inputs.shape[1]))[0]
        return loss

    sides = {
        "unrolled": _trainer(network, ours, config, batches),
        "shuffled": _trainer(peers[0], peers[0].loss, config, _shuffled(batches)),
        "same": _trainer(peers[1], peers[1].loss, config, batches),
    }
    return _compared("names, GRU 128 both ways", len(batches), sides)


def _shuffled(batches: Sequence[Batch]) -> list[Batch]:
    """Return the rows of some batches in batches by chance."""
    rows = [
        (batch.inputs[: int(length), row], batch.targets[row])
        for batch in batches
        for row, length in enumerate(batch.lengths.tolist())  # type: ignore[union-attr]
    ]
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0)).tolist()
    size = max(batch.inputs.shape[1] for batch in batches)
    found = []
    for first in range(0, len(order), size):
        inputs, targets = zip(*(rows[row] for row in order[first : first + size]), strict=True)
        lengths = torch.tensor([len(each) for each in inputs])
        found.append(Batch(nn.utils.rnn.pad_sequence(list(inputs)), torch.stack(targets), lengths))
    return found


def _compared(name: str, batches: int, sides: Mapping[str, Callable[[], None]]) -> list[str]:
    samples = interleave({who: Local(call, 0.0) for who, call in sides.items()}, ROUNDS)
    row = [name, str(batches), f"{statistics.median(samples['unrolled']) * 1e3:.0f}"]
    for peer in ("shuffled", "same"):
        ratio = statistics.median(b / a for a, b in zip(samples["unrolled"], samples[peer], strict=True))
        row += [f"{statistics.median(samples[peer]) * 1e3:.0f}", f"{ratio:.2f}x"]
    return row


def _trainer(
    network: nn.Module, loss: Callable[[Any], torch.Tensor], config: TrainConfig, batches: Sequence[Batch]
) -> Callable[[], None]:
    """Return a function that trains on some batches."""
    network.train()
    parameters = [weight for weight in network.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate or 1e-3, fused=True)

    def once() -> None:
        for batch in batches:
            optimizer.zero_grad()
            (loss(batch) / batch.inputs.shape[1]).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(parameters, config.clip_norm)
            optimizer.step()

    return once


if __name__ == "__main__":
    main()
