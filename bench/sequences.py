"""Train on one labelled set with the defaults, beside controls: the reach of the task of sequences.

python bench/sequences.py names DATA --minutes 2             # DATA/names/*.txt, a line per name
python bench/sequences.py mnist1d DATA --minutes 1.5 --causal
python bench/sequences.py mnist DATA --minutes 3.5           # rows of DATA/mnist/*.gz as steps
"""

from __future__ import annotations

import argparse
import gzip
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from unrolled import train
from unrolled.data import Samples
from unrolled.spec import ClassifyData, TrainConfig
from unrolled.tasks import write_samples  # not public


def names(folder: Path) -> tuple[Samples, Samples | None]:
    pairs = [
        (line.strip(), path.stem)
        for path in sorted((folder / "names").glob("*.txt"))
        for line in path.read_text("utf-8").splitlines()
        if line.strip()
    ]
    return Samples.from_arrays([name for name, _ in pairs], [label for _, label in pairs], name="names"), None


def mnist1d(folder: Path) -> tuple[Samples, Samples | None]:
    with np.load(folder / "mnist1d" / "mnist1d.npz", allow_pickle=False) as file:
        parts = [(file[f"x{end}"][:, :, None], file[f"y{end}"].tolist()) for end in ("", "_test")]
    first, second = (Samples.from_arrays(x, y, channels=["x"], name="mnist1d") for x, y in parts)
    return first, second


def mnist(folder: Path) -> tuple[Samples, Samples | None]:
    found = []
    for part in ("train", "t10k"):
        images = _idx(folder / "mnist" / f"{part}-images-idx3-ubyte.gz") / np.float32(255)
        labels = _idx(folder / "mnist" / f"{part}-labels-idx1-ubyte.gz").tolist()
        columns = [f"column {k}" for k in range(images.shape[-1])]
        found.append(Samples.from_arrays(images, labels, channels=columns, name="mnist"))
    return found[0], found[1]


def _idx(path: Path) -> Any:
    raw = gzip.decompress(path.read_bytes())
    shape = [int.from_bytes(raw[4 + 4 * k : 8 + 4 * k], "big") for k in range(raw[3])]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)


SETS = {"names": names, "mnist1d": mnist1d, "mnist": mnist}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("set", choices=SETS)
    parser.add_argument("data", type=Path)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--causal", action="store_true")
    parser.add_argument("--balance", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        samples, test = SETS[args.set](args.data)
        write_samples(place / "train", samples)
        if test is not None:
            write_samples(place / "test", test)
        data = ClassifyData(
            str(place / "train"),
            test=None if test is None else str(place / "test"),
            causal=args.causal,
            balance=args.balance,
        )
        config = TrainConfig(
            data, run=str(place / "run"), cell="gru", minutes=args.minutes, seed=args.seed, threads=1
        )
        result = train.run(config)
    print(result.evaluation)
    steps = f"best at step {result.best_step} of {result.schedule.steps}"
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{result.seconds:.0f} s with controls and report, {steps}, load {load}")


if __name__ == "__main__":
    main()
