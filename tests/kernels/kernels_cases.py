"""A small LSTM call of the engine: every buffer there, every argument right."""

from __future__ import annotations

from typing import Any

import numpy as np

from unrolled import kernels

T, B, I, H = 3, 2, 4, 5  # noqa: E741


class Call:
    """Buffers that live as long as this does, and the arguments that name them, as engine.h does."""

    def __init__(self) -> None:
        self.buffers: dict[str, np.ndarray] = {}
        weights = {"weight_ih": (4 * H, I), "weight_hh": (4 * H, H)}
        self.weights: dict[str, Any] = self._addresses(weights, 0.25) | {
            "cell": kernels.CELLS["lstm"],
            "isa": 0,
            "storage": 0,
            "operand": 0,
            "accumulator": 0,
            "I": I,
            "H": H,
            "bias_ih": 0,
            "bias_hh": 0,
            "copy": False,
        }
        inputs = self._addresses({"x": (T, B, I), "h_0": (B, H), "c_0": (B, H)}, 0.25)
        sequences = inputs | {"threads": 1, "reverse": False, "T": T, "B": B, "lengths": 0}
        sequences |= {"resets": (0, 0, 0), "x": (inputs["x"], B * I, I)}
        size = kernels.kept_size("lstm", T, B, H)
        outputs = self._addresses({"y": (T, B, H), "h_n": (B, H), "c_n": (B, H), "kept": (size,)}, np.nan)
        y = (outputs["y"], B * H, H)
        self.forward: dict[str, Any] = sequences | outputs | {"y": y, "traces": ()}
        gradients = self._addresses({"dx": (T, B, I), "dh_0": (B, H), "dweight_hh": (4 * H, H)}, np.nan)
        gradients |= dict.fromkeys(("dh_n", "dc_n", "dc_0", "dweight_ih", "dbias_ih", "dbias_hh"), 0)
        gradients |= {"dy": (0, 0, 0), "dx": (gradients["dx"], B * I, I)}
        self.backward: dict[str, Any] = sequences | {"y": y, "kept": outputs["kept"]} | gradients

    def pack(self, **changes: Any) -> kernels.Handle:
        """Return a handle of the weights."""
        return kernels._engine.pack(**self.weights | changes)

    def run(self, handle: kernels.Handle | None = None, **changes: Any) -> None:
        """Run forward, by a handle or by one of the weights; changes to them are made there."""
        self._run("forward", handle, changes)

    def run_backward(self, **changes: Any) -> None:
        self._run("backward", None, changes)

    def _run(self, name: str, handle: kernels.Handle | None, changes: dict[str, Any]) -> None:
        of_weights = {key: value for key, value in changes.items() if key in self.weights}
        others = {key: value for key, value in changes.items() if key not in of_weights}
        given = getattr(self, name) | others
        getattr(kernels._engine, name)(handle=handle or self.pack(**of_weights), **given)

    def ints(self, *values: int) -> int:
        """Return the address of an int64 array that holds these."""
        self.buffers["ints"] = np.array(values, np.int64)
        return int(self.buffers["ints"].ctypes.data)

    def address(self, name: str) -> int:
        return int(self.buffers[name].ctypes.data)

    def _addresses(self, shapes: dict[str, tuple[int, ...]], value: float) -> dict[str, Any]:
        made = {name: np.full(shape, value, np.float32) for name, shape in shapes.items()}
        self.buffers |= made
        return {name: int(array.ctypes.data) for name, array in made.items()}
