"""MNIST-1D: ten digit-like curves, shifted, scaled and sheared in noise, read point by point."""

from __future__ import annotations

import functools
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Generator

from unrolled import files
from unrolled.data import Batch, npy_header
from unrolled.errors import ConfigError, DataError, expected
from unrolled.lab.problems import Problem

__all__ = ["Mnist1d"]

STEPS, CLASSES = 40, 10
MOST_ROWS = 1_000_000  # a file that holds more is not this data
ARRAYS = ("x", "y", "x_test", "y_test")

Array = npt.NDArray[Any]
refused = functools.partial(files.refusal, DataError)


@dataclass(frozen=True, eq=False)
class Mnist1d(Problem):
    """Tell which of ten curves was read; built by `Mnist1d.read`.

    inputs [40, B, 1]: the curve. targets [B]: its class; outputs are logits over the 10. Score: accuracy.
    Solved: at least 0.93, between a GRU (0.91) and a convolutional network (0.94) in the source. Control:
    the class that is most frequent in training, about 1/10.

    `draw` takes rows of the training part with replacement, `held_out` is the part set aside to decide by,
    `final` the file's own test part, which nothing else looks at.

    Source: Greydanus & Kobak 2024, "Scaling down deep learning with MNIST-1D".
    """

    training: Batch
    development: Batch
    testing: Batch

    name, steps, input_size, output_size = "mnist1d", STEPS, 1, CLASSES
    solved_at = 0.93

    @classmethod
    def read(cls, path: str | os.PathLike[str], *, development: int = 400, seed: int = 0) -> Mnist1d:
        """Read an .npz file with x [N, 40], y [N], x_test [M, 40], y_test [M]; nothing in it is executed.

        Args:
            path: the file.
            development: rows of x that are set aside, drawn by `seed`.
        Raises:
            DataError: no such file, no .npz, an array is missing, or has another shape, type or value.
            ConfigError: `development` leaves nothing to train on, or nothing to decide by.
        """
        arrays = _arrays(Path(path))
        rows = len(arrays["x"])
        if not 0 < development < rows:
            raise ConfigError(expected("development", f"1 to {rows - 1}", development))
        order = np.random.default_rng(seed).permutation(rows)
        aside, kept = order[:development], order[development:]
        x, y = arrays["x"], arrays["y"]
        return cls(
            _examples(x[kept], y[kept]),
            _examples(x[aside], y[aside]),
            _examples(arrays["x_test"], arrays["y_test"]),
        )

    @property
    def control(self) -> float:
        """The share of the most frequent class in training."""
        counts = torch.bincount(self.training.targets)
        return (counts.max() / counts.sum()).item()

    def draw(self, rows: int, generator: Generator) -> Batch:
        """Return rows of the training part, drawn with replacement."""
        targets = self.training.targets
        chosen = torch.randint(len(targets), (rows,), generator=generator)
        return Batch(self.training.inputs[:, chosen], targets[chosen])

    def held_out(self, rows: int, generator: Generator) -> Batch:
        """Return the whole development part."""
        return self.development

    def final(self, rows: int, generator: Generator) -> Batch:
        """Return the whole test part."""
        return self.testing


def _examples(x: Array, y: Array) -> Batch:
    inputs = torch.from_numpy(np.ascontiguousarray(x.T, np.float32))[..., None]  # [T, B, 1]
    return Batch(inputs, torch.from_numpy(y.astype(np.int64)))


def _arrays(path: Path) -> Mapping[str, Array]:
    """Return the four arrays, checked."""
    try:
        with zipfile.ZipFile(path) as archive:
            for name in ARRAYS:
                _check_header(path, archive, name)
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name]) for name in ARRAYS}
    except DataError:
        raise
    except OSError as error:
        raise refused(path, "a file that can be read", (error.strerror or str(error)).lower()) from None
    except Exception as error:  # of zipfile, of struct, and of each of the decompressors
        raise refused(path, "an .npz file", str(error).partition("\n")[0]) from None
    for part in ("", "_test"):
        _check_values(path, arrays[f"x{part}"], arrays[f"y{part}"], part)
    return arrays


def _check_header(path: Path, archive: zipfile.ZipFile, name: str) -> None:
    """Refuse an array by what its header declares, before any memory is taken for it."""
    if f"{name}.npy" not in archive.namelist():
        raise refused(path, "the arrays " + ", ".join(ARRAYS), f"no {name}")
    with archive.open(f"{name}.npy") as member:
        shape, _, dtype = npy_header(member)
    kind, want = ("f", f"[N, {STEPS}]") if name.startswith("x") else ("iu", "[N]")
    if not shape or shape[1:] != (STEPS,) * (kind == "f") or not 0 < shape[0] <= MOST_ROWS:
        raise refused(path, f"{name} {want}, N in 1 … {MOST_ROWS}", list(shape))
    if dtype.kind not in kind:
        raise refused(path, f"{name} of {'floating-point' if kind == 'f' else 'whole'} numbers", dtype)


def _check_values(path: Path, x: Array, y: Array, part: str) -> None:
    if len(x) != len(y):
        raise refused(path, f"y{part} as long as x{part}, {len(x)}", len(y))
    if not np.isfinite(x).all():
        raise refused(path, f"finite numbers in x{part}", "others")
    if y.min() < 0 or y.max() >= CLASSES:
        raise refused(path, f"classes 0 to {CLASSES - 1} in y{part}", f"{y.min()} to {y.max()}")
