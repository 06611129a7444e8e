"""The format torch: a folder with the weights and a short script of plain torch, which loads without us."""

from __future__ import annotations

import copy
import importlib.util
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from unrolled import checkpoint
from unrolled.errors import ConfigError, counted, expected
from unrolled.export.checks import Check
from unrolled.export.full_rows import FullRows
from unrolled.export.interface import Feeds, Interface, tensor
from unrolled.export.sequences import SequenceInterface, interface_of
from unrolled.export.subject import Subject
from unrolled.nn import to_torch
from unrolled.spec import cell_of_mode

__all__ = ["TorchScript"]

Array = npt.NDArray[Any]
TOLERANCE = 1e-5
LENGTHS, ROWS = (1, 7, 16), (1, 3)
BY_NAME = ("columns", "future", "static", "series")  # of inputs, in the script; `lengths` too
OF_FORECASTERS = ("horizon", "outputs", "segment", "written", "distribution", "normalise")
WEIGHTS, SCRIPT, SIZES = "model.safetensors", "model.py", "model.json"
TEMPLATE = Path(__file__).with_name("plain_model.py")  # is written as it is


class TorchScript:
    """A folder: model.py, model.safetensors, model.json. It needs torch and nothing else."""

    name = "torch"
    weights = ("float32",)
    directory = True

    def check(self, subject: Subject) -> None:
        """Raise ConfigError where torch.nn has no such network."""
        interface_of(subject)
        cell, _ = cell_of_mode(subject.layers.mode)
        if cell.variant_of is not None:
            raise ConfigError(expected("network", "a cell that torch.nn has: lstm, gru, rnn", cell.name))
        to_torch(copy.deepcopy(subject.network))  # says which layers torch.nn does not have

    def write(self, subject: Subject, place: Path, *, weights: str) -> Check:
        """Write the folder, load it and compare, on ragged rows too."""
        stored = {
            name if subject.kind is not None else f"recurrent.{name}": checkpoint.Tensor(
                "float32", array.shape, array.tobytes()
            )
            for name, array in _arrays(subject).items()
        }
        chunks = checkpoint.tensor_chunks(stored, WEIGHTS)
        (place / WEIGHTS).write_bytes(b"".join(map(bytes, chunks)))
        (place / SCRIPT).write_bytes(TEMPLATE.read_bytes())
        (place / SIZES).write_text(json.dumps(_sizes(subject), indent=2), encoding="utf-8")
        interface, draw = interface_of(subject), np.random.default_rng(1)
        batches = [interface.example(draw, steps, rows) for steps in LENGTHS for rows in ROWS]
        told = f"torch {torch.__version__}, sequences of up to 16 steps, ragged ones too, states not zero"
        return _compared(interface, place, batches, told)

    def compare(self, subject: Subject, place: Path, source: str, *, weights: str) -> Check:
        """Run what was written, and ours, on a user's file."""
        interface = interface_of(subject)
        batches = list(interface.on_file(source))
        count = sum(feeds["h_0"].shape[1] for feeds in batches)
        told = f"torch {torch.__version__}, {counted(count, 'sequence')} of {Path(source).name}"
        return _compared(interface, place, batches, told)


def _arrays(subject: Subject) -> dict[str, Array]:
    """Return the weights by name; of a tagger, transitions that are barred are −inf."""
    if subject.task != "tag":
        return subject.arrays
    return {**subject.arrays, "transitions": subject.network.moves().detach().numpy()}


def _form(subject: Subject) -> str:
    """Return which class of the script it is."""
    if subject.task == "forecast":
        return "steps" if subject.config.causal else "segments"
    return "tags" if subject.task == "tag" else "sequences"


def _sizes(subject: Subject) -> dict[str, Any]:
    """Return what the script builds its modules of."""
    layers, config, schema = subject.layers, subject.config, subject.schema
    return {
        "form": _form(subject),
        "kind": layers.mode.partition("_")[0],
        "nonlinearity": layers.mode.partition("_")[2].lower() or None,
        "sizes": [layers.input_size, layers.hidden_size, layers.num_layers],
        "bias": layers.bias,
        "bidirectional": layers.bidirectional,
        "proj_size": layers.proj_size,
        "pooling": getattr(config, "pooling", "step"),
        "neighbours": getattr(config, "neighbours", 0),
        "neighbours_after": not getattr(config, "causal", True),
        "classes": list(getattr(schema, "classes", ())),
        "several": bool(getattr(schema, "several", False)),
        "temperature": getattr(schema, "temperature", 1.0),
        "mean": list(getattr(schema, "mean", (0.0,))),
        "scale": list(getattr(schema, "scale", (1.0,))),
        "tags": list(getattr(schema, "inside", ())),
        **{name: getattr(config, name, None) for name in OF_FORECASTERS},
    }


def _compared(interface: Interface, place: Path, batches: Iterable[Feeds], what: str) -> Check:
    model, names = _loaded(place), list(interface.outputs)

    def pairs() -> Iterator[tuple[Array, Array]]:
        for feeds in batches:
            with torch.no_grad():
                found = _run(model, interface, feeds)
            if isinstance(interface, SequenceInterface):
                yield from zip(found, FullRows(interface).ours(feeds), strict=True)
            else:
                ours = interface.ours(feeds)
                yield from ((one, ours[name]) for name, one in zip(names, found, strict=True))

    return Check.of(what, pairs(), TOLERANCE)


def _run(model: Any, interface: Interface, feeds: Feeds) -> list[Array]:
    """Return the outputs of the script's model."""
    states = [f"{name}_0" for name in interface.state_names]
    given = {name: tensor(value) for name, value in feeds.items()}
    if isinstance(interface, SequenceInterface):
        found = model(
            tensor(interface.read(feeds)), *(given[name] for name in states), lengths=given["lengths"]
        )
    else:
        first = [name for name in interface.own_inputs if name not in BY_NAME]
        named = {name: value for name, value in given.items() if name not in (*first, *states)}
        found = model(*(given[name] for name in (*first, *states)), **named)
    return [each.numpy() for each in found]


def _loaded(place: Path) -> Any:
    """Return the model of the script that was written."""
    found = importlib.util.spec_from_file_location("unrolled_exported_model", place / SCRIPT)
    assert found is not None  # by the name of the file
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module.load(place)
