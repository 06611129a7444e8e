"""How long an epoch of the tagger takes, beside the same network on torch.nn with packed sequences.

    python bench/tagger.py DATA/conll2000/train.txt [--steps 100] [--threads 1]

The network of comparison is what one writes with torch alone: torch.nn.GRU on packed sequences, a
convolution over the characters of every word of the batch, a conditional random field by a loop of logsumexp
that autograd follows (as pytorch-crf does it), and torch.optim.AdamW. Sizes, batches, dropout and optimizer
settings are the same. `--distinct` lets it, too, read each different word of a batch once. Both take the same
steps in turn, in one process; seconds are CPU seconds of the process.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from unrolled import spec, tasks
from unrolled.tasks.tag.batches import SentenceBatch
from unrolled.train.fit import make_optimizer

CLIP = 1.0


class Plain(nn.Module):
    """The tagger with torch.nn alone; its weights are copied from ours."""

    def __init__(self, ours: Any, *, distinct: bool) -> None:
        super().__init__()
        config = ours.config
        self.config, self.distinct = config, distinct
        self.word, self.shape, self.affix, self.character = (
            nn.Embedding(*getattr(ours, name).weight.shape)
            for name in ("word", "shape", "affix", "character")
        )
        self.column = None if ours.column is None else nn.Embedding(*ours.column.weight.shape)
        self.convolution = nn.Conv1d(config.character_size, config.character_hidden, 3)
        self.recurrent = nn.GRU(config.seen, config.hidden_size, config.num_layers, bidirectional=True)
        self.readout = nn.Linear(2 * config.hidden_size, config.tags)
        self.transitions = nn.Parameter(torch.zeros_like(ours.transitions))
        self.register_buffer("barred", ours.barred)
        self.dropout = nn.Dropout(config.dropout)
        stored = {name: value for name, value in ours.state_dict().items() if "convolution" not in name}
        filters = ours.convolution.weight.detach().view(-1, 3, config.character_size)
        stored["convolution.weight"] = filters.transpose(1, 2)
        stored["convolution.bias"] = ours.convolution.bias.detach()
        self.load_state_dict(stored, strict=False)

    def loss(self, batch: SentenceBatch) -> Tensor:
        """Return the mean −log probability of a word's tag."""
        forms, places = batch.forms, batch.inputs
        words, shapes, affixes, letters, lengths = (
            torch.from_numpy(each)
            for each in (forms.words, forms.shapes, forms.affixes, forms.characters, forms.lengths)
        )
        if not self.distinct:  # every word of the batch
            flat = places.flatten()
            words, shapes, affixes, letters, lengths = (
                each[flat] for each in (words, shapes, affixes, letters, lengths)
            )
        spelled = self.convolution(self.character(nn.functional.pad(letters, (1, 1))).transpose(1, 2))
        outside = torch.arange(letters.shape[1]) >= lengths[:, None]
        spelled = spelled.masked_fill(outside[:, None], -torch.inf).amax(-1).relu()
        x = torch.cat([self.word(words), self.shape(shapes), self.affix(affixes).flatten(1), spelled], -1)
        x = x[places] if self.distinct else x.view(*places.shape, -1)
        if self.column is not None:
            x = torch.cat([x, self.column(batch.columns).flatten(2)], -1)
        assert batch.lengths is not None
        packed = pack_padded_sequence(self.dropout(x), batch.lengths, enforce_sorted=False)
        y, _ = pad_packed_sequence(self.recurrent(packed)[0])
        emissions = self.readout(self.dropout(y))
        barred: Any = self.barred
        moves = self.transitions.masked_fill(barred, -1e4)
        mask = torch.arange(len(y))[:, None] < batch.lengths
        nats = self._partition(emissions, moves, mask) - self._score(emissions, moves, batch, mask)
        return nats.sum() / batch.lengths.sum()

    def _partition(self, emissions: Tensor, moves: Tensor, mask: Tensor) -> Tensor:
        count = self.config.tags
        score = moves[count, :count] + emissions[0]
        for step in range(1, len(emissions)):
            paths = score[:, :, None] + moves[:count, :count] + emissions[step][:, None]
            score = torch.where(mask[step][:, None], paths.logsumexp(1), score)
        return (score + moves[:count, count + 1]).logsumexp(1)

    def _score(self, emissions: Tensor, moves: Tensor, batch: SentenceBatch, mask: Tensor) -> Tensor:
        count, tags = self.config.tags, batch.targets.clamp(min=0)
        columns = torch.arange(tags.shape[1])
        score = moves[count, tags[0]] + emissions[0, columns, tags[0]]
        for step in range(1, len(emissions)):
            more = moves[tags[step - 1], tags[step]] + emissions[step, columns, tags[step]]
            score = score + more * mask[step]
        assert batch.lengths is not None
        return score + moves[tags[batch.lengths - 1, columns], count + 1]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--distinct", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    torch.manual_seed(0)
    task: Any = tasks.named("tag")
    with tempfile.TemporaryDirectory() as folder:
        data = spec.TagData(asked.source)
        dataset = task.prepare(data, Path(folder), seed=0)
    config = task.resolve(spec.TrainConfig(data), dataset)
    ours = task.network(task.model_config(config, dataset), seed=0, backend="auto", dataset=dataset)
    theirs = Plain(ours, distinct=asked.distinct)
    batches = task.batches(config, dataset)
    taken = [batch for batch, _ in zip(batches.epoch(0), range(asked.steps), strict=False)]
    check(ours, theirs, taken[0])
    seconds = {"unrolled": 0.0, "torch.nn": 0.0}
    both: dict[str, Any] = {"unrolled": ours, "torch.nn": theirs}
    optimizers = {name: make_optimizer(each, lr=1e-3, weight_decay=0.01) for name, each in both.items()}
    for batch in taken:
        for name, network in both.items():
            begin = time.process_time()
            step(name, network, optimizers[name], batch)
            seconds[name] += time.process_time() - begin
    words = sum(int(batch.lengths.sum()) for batch in taken)
    each_epoch = batches.tokens_of(0) / words
    print(task.describe(ours.config), f"batch {config.batch_size}, {len(taken)} steps, {words:,} words")
    for name, spent in seconds.items():
        each, epoch = 1000 * spent / len(taken), spent * each_epoch
        print(f"{name:>9}: {each:6.1f} ms a step, {epoch:6.1f} s an epoch (CPU)")
    print(f"    ratio: {seconds['torch.nn'] / seconds['unrolled']:.2f}")


def check(ours: Any, theirs: Plain, batch: SentenceBatch) -> None:
    """Refuse to compare networks that do not give the same loss."""
    ours.eval()
    theirs.eval()
    with torch.no_grad():
        total, count, _ = ours.loss(batch, ours.initial_state(batch.inputs.shape[1]))
        torch.testing.assert_close(theirs.loss(batch), total / count, rtol=1e-3, atol=1e-4)
    ours.train()
    theirs.train()


def step(name: str, network: Any, optimizer: Any, batch: SentenceBatch) -> None:
    """Take one step of training, as the trainer does."""
    if name == "unrolled":
        total, count, _ = network.loss(batch, network.initial_state(batch.inputs.shape[1]))
        loss = total / count
    else:
        loss = network.loss(batch)
    network.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
    optimizer.step()


if __name__ == "__main__":
    main()
