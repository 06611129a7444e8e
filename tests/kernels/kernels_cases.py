"""A small LSTM call for the door: every buffer there, every argument right."""

from __future__ import annotations

from typing import Any

import numpy as np

from unrolled import kernels

T, B, I, H = 3, 2, 4, 5  # noqa: E741
WIDTH = kernels.gates_width("lstm", H)


class Call:
    """Buffers that live as long as this does, and the arguments that name them."""

    def __init__(self) -> None:
        self.buffers: dict[str, np.ndarray] = {}
        shapes = {
            "x": (T, B, I),
            "h_0": (B, H),
            "c_0": (B, H),
            "weight_ih": (4 * H, I),
            "weight_hh": (4 * H, H),
        }
        self.layer = self._addresses(shapes, 0.25) | {
            "cell": kernels.CELLS["lstm"],
            "dtype": kernels.DTYPES["float32"],
            "isa": 0,
            "T": T,
            "B": B,
            "I": I,
            "H": H,
            "x_t": B * I,
            "x_b": I,
        }
        outputs = {
            "y": (T, B, H),
            "h_n": (B, H),
            "c_n": (B, H),
            "gates": (T * B, WIDTH),
            "cells": (T * B, WIDTH // 4),
        }
        strides = {"y_t": B * H, "y_b": H}
        self.forward = self.layer | self._addresses(outputs, np.nan) | strides
        kept = {name: self.forward[name] for name in ("y", "y_t", "y_b", "gates", "cells")}
        gradients = {"dx": (T, B, I), "dh_0": (B, H), "dweight_hh": (4 * H, H)}
        self.backward = self.layer | kept | self._addresses(gradients, np.nan) | {"dx_t": B * I, "dx_b": I}

    def run(self, **changes: Any) -> None:
        kernels.forward(**self.forward | changes)

    def run_backward(self, **changes: Any) -> None:
        kernels.backward(**self.backward | changes)

    def ints(self, *values: int) -> int:
        """Return the address of an int64 array that holds these."""
        self.buffers["ints"] = np.array(values, np.int64)
        return int(self.buffers["ints"].ctypes.data)

    def _addresses(self, shapes: dict[str, tuple[int, ...]], value: float) -> dict[str, int]:
        made = {name: np.full(shape, value, np.float32) for name, shape in shapes.items()}
        self.buffers |= made
        return {name: int(array.ctypes.data) for name, array in made.items()}
