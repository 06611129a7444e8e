"""A callback of Lightning: the layers of the module that is trained, and how its gates are used."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from unrolled.nn import Recurrent, accelerate, run_stack, validate_layer
from unrolled.ops import valid_steps
from unrolled.spec import CLOSED, OPEN

_NAMES = ("pytorch_lightning", "lightning.pytorch")  # one library under two names: the one that is in use
_used = [name for name in _NAMES if name in sys.modules]
_installed = [name for name in _NAMES if importlib.util.find_spec(name.partition(".")[0])]
lightning: Any = importlib.import_module([*_used, *_installed, *_NAMES][0])

ROWS = 8  # of a batch: enough for a mean


class Accelerate(lightning.Callback):
    """Accelerates before the first step; logs `gates/PATH.LAYER GATE closed` and `… open`."""

    def __init__(self, gates_every: int) -> None:
        self.gates_every = gates_every
        self._watched: list[Any] = []  # handles of hooks
        self._given: dict[str, tuple[Any, Any, Any]] = {}  # path → a layer, and what it was given

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Accelerate; an optimizer made before or after has the same parameters."""
        accelerate(pl_module)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Keep what the layers are given, in the steps that are logged."""
        if not self.gates_every or trainer.global_step % self.gates_every:
            return
        for path, layer in pl_module.named_modules():
            if isinstance(layer, Recurrent):
                hook = self._keeper(path)
                self._watched.append(layer.register_forward_pre_hook(hook, with_kwargs=True))

    def _keeper(self, path: str) -> Any:
        def keep(layer: Any, args: Any, kwargs: Any) -> None:
            self._given[path] = (layer, args, kwargs)

        return keep

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log the gates of what was kept."""
        for handle in self._watched:
            handle.remove()
        self._watched.clear()
        for path, (layer, args, kwargs) in self._given.items():
            with torch.random.fork_rng(
                devices=[]
            ):  # dropout between layers draws; the training's own draws stay
                found = dict(shares(layer, *args, **kwargs))
            pl_module.log_dict({f"gates/{path}.{name}": value for name, value in found.items()})
        self._given.clear()


@torch.no_grad()
def shares(layer: Recurrent, input: Any, hx: Any = None, **rows: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield the share of units and valid steps at which each gate is closed, and open.

    An RNN has no gates: of it, the shares of h below −0.9 and above 0.9.
    """
    given = validate_layer(layer, input, hx, rows.get("lengths"), rows.get("resets"))
    given = given._replace(
        x=given.x[:, :ROWS],
        states=tuple(state[:, :ROWS] for state in given.states),
        lengths=None if given.lengths is None else given.lengths[:ROWS],
        resets=None if given.resets is None else given.resets[:, :ROWS],
    )
    for run in run_stack(layer, given, trajectories=True).layers:
        for gate in layer.cell.sigmoid or ("h",):
            value = getattr(run.output.trajectory, gate)
            if given.lengths is not None:
                value = value[valid_steps(given.lengths, len(value))]
            low = CLOSED if layer.cell.sigmoid else -OPEN
            yield f"{run.name} {gate} closed", (value < low).float().mean()
            yield f"{run.name} {gate} open", (value > OPEN).float().mean()
