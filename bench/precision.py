"""Measure training steps of the default sizes in float32 and bfloat16, cell by cell, interleaved.

    python bench/precision.py

Prints tokens per second, medians of 15 steps after 3 warm ones. It is what `--dtype auto` rests on.
"""

from __future__ import annotations

import itertools
import statistics

import torch

from unrolled import ModelConfig
from unrolled.data import Batch
from unrolled.tasks import LanguageModel
from unrolled.train import fit

ROWS, STEPS, VOCABULARY = 16, 64, 66
WARM, COUNTED = 3, 15


def main() -> None:
    ids = torch.randint(VOCABULARY, (STEPS + 1, ROWS), generator=torch.Generator().manual_seed(0))
    batch = Batch(ids[:-1], ids[1:])
    print("| cell, 2 x 256, batch 16 x 64 | float32 tokens/s | bfloat16 tokens/s | ratio |")
    print("| --- | --- | --- | --- |")
    for cell in ("lstm", "gru", "rnn"):
        seconds: dict[str, list[float]] = {"float32": [], "bfloat16": []}
        model = LanguageModel(ModelConfig(VOCABULARY, 256, 256, 2, cell))
        fits = {
            dtype: fit(model, itertools.repeat(batch), learning_rate=1e-4, dtype=dtype) for dtype in seconds
        }
        for _ in range(WARM + COUNTED):
            for dtype, taken in seconds.items():
                taken.append(next(fits[dtype]).seconds)
        rates = {d: STEPS * ROWS / statistics.median(taken[WARM:]) for d, taken in seconds.items()}
        ratio = rates["bfloat16"] / rates["float32"]
        print(f"| {cell} | {rates['float32']:,.0f} | {rates['bfloat16']:,.0f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
