"""Measure the sizing rule: several sizes on cuts of a text, one after another, under one time budget.

    python bench/sizing.py TEXT --cuts 0.01 0.1 1 --minutes 1

Prints a table row a run: cut, sizes, the carried validation loss of the best checkpoint. Nothing else should
run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from unrolled import DataConfig, TrainConfig
from unrolled.train import run

GRID = [  # hidden, layers, dropout, batch, bptt, lr
    (128, 1, 0.3, 8, 32, 3e-3),
    (128, 2, 0.5, 8, 32, 3e-3),
    (128, 2, 0.3, 16, 64, 3e-3),
    (256, 2, 0.3, 16, 64, 3e-3),
    (256, 2, 0.1, 16, 64, 3e-3),
    (512, 2, 0.2, 32, 64, 2e-3),
]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("text", type=Path)
    parser.add_argument("--cuts", type=float, nargs="+", default=[0.01, 0.1, 1.0], help="shares of the text")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    text = args.text.read_text(encoding="utf-8")
    print("| characters | hidden x layers | dropout | batch x window | lr | carried nats | at step | of |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for share in args.cuts:
        with tempfile.TemporaryDirectory() as folder:
            cut = Path(folder) / "cut.txt"
            cut.write_text(text[: int(share * len(text))], encoding="utf-8")
            for sizes in GRID:
                print(row(cut, Path(folder), sizes, args.minutes, args.seed), flush=True)


def row(
    cut: Path, folder: Path, sizes: tuple[int, int, float, int, int, float], minutes: float, seed: int
) -> str:
    """Train once and return the table's row."""
    hidden, layers, dropout, batch, bptt, lr = sizes
    config = TrainConfig(
        DataConfig(str(cut), shape="stream"), run=str(folder / "run"), overwrite=True, minutes=minutes,
        seed=seed, hidden_size=hidden, num_layers=layers, dropout=dropout, batch_size=batch, bptt_steps=bptt,
        learning_rate=lr,
    )  # fmt: skip
    result = run(config, observers=[])
    nats = result.evaluation.carried.nats_per_token
    return (
        f"| {cut.stat().st_size:,} | {hidden} x {layers} | {dropout} | {batch} x {bptt} | {lr} | {nats:.4f} "
        f"| {result.best_step} | {result.schedule.steps} |"
    )


if __name__ == "__main__":
    main()
