"""Keras' recurrent layers: our weights in theirs and theirs in ours; whole models as .keras files.

Keras keeps kernels [I, G·H] and recurrent kernels [H, G·H]. Gates of the LSTM stand in our order (i f c o);
those of the GRU are z r h, and with reset_after=True, as torch computes it, there is a row of biases for each
product. The others have the sum of both biases. With reset_after=False it is our ResetBeforeGRU.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from unrolled import files
from unrolled import nn as recurrent
from unrolled.errors import ConfigError, MissingExtraError, counted, expected
from unrolled.export.checks import Check
from unrolled.export.full_rows import FullRows, examples
from unrolled.export.interface import Feeds
from unrolled.export.sequences import interface_of
from unrolled.export.subject import Subject, subject_of
from unrolled.spec import cell_of_mode

__all__ = ["KerasModel", "from_keras", "to_keras"]

Array = npt.NDArray[Any]
# Of our blocks, in Keras' order.
GATES = {"lstm": (0, 1, 2, 3), "gru": (1, 0, 2), "rnn": (0,), "reset_before_gru": (1, 0, 2)}
NAMES = {"lstm": "LSTM", "gru": "GRU", "rnn": "SimpleRNN", "reset_before_gru": "GRU"}
TOLERANCE = 1e-5


def keras_package() -> ModuleType:
    """Return the package keras, on torch where nobody chose. Raises MissingExtraError: it is not there."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    try:
        import keras
    except ModuleNotFoundError as error:
        want = "keras, from the extra: pip install 'unrolled[keras]'"
        raise MissingExtraError(expected("to", want, "an install without it")) from error
    return keras  # type: ignore[no-any-return, unused-ignore]


# ------------------------------------------------------------------------------------ weights, both ways


def weights_to_keras(arrays: dict[str, Array], cell: str, suffix: str) -> list[Array]:
    """Return what `set_weights` of a layer of Keras takes.

    Args:
        arrays: by torch's names. suffix: "_l0", "_l1_reverse".
    """
    kernels = [_ordered(arrays[f"{name}{suffix}"], GATES[cell]).T for name in ("weight_ih", "weight_hh")]
    if f"bias_ih{suffix}" not in arrays:
        return kernels
    biases = [_ordered(arrays[f"{name}{suffix}"], GATES[cell]) for name in ("bias_ih", "bias_hh")]
    return [*kernels, np.stack(biases) if cell == "gru" else biases[0] + biases[1]]


def weights_of_keras(layer: Any, cell: str, suffix: str) -> dict[str, Array]:
    """Return the weights of one layer of Keras by torch's names."""
    kernel, recurrent_kernel, *bias = map(np.asarray, layer.get_weights())
    back = tuple(np.argsort(GATES[cell]))
    found = {"weight_ih": kernel.T, "weight_hh": recurrent_kernel.T}
    if bias:
        both = bias[0] if bias[0].ndim == 2 else np.stack([bias[0], np.zeros_like(bias[0])])
        found |= {"bias_ih": both[0], "bias_hh": both[1]}
    return {f"{name}{suffix}": _ordered(value, back) for name, value in found.items()}


def _ordered(array: Array, gates: Sequence[int]) -> Array:
    blocks = np.split(np.asarray(array, np.float32), len(gates))
    return np.concatenate([blocks[gate] for gate in gates])


def from_keras(layers: Any, *, batch_first: bool = True) -> recurrent.Recurrent:
    """Return the layers of Keras as one of `unrolled.nn`, with copies of their weights.

    Args:
        layers: an LSTM, GRU or SimpleRNN of Keras, a Bidirectional of one, or a list of them, stacked: each
            but the last returns sequences, and all have one size.
        batch_first: of the layer that is returned; Keras is.
    Raises:
        ConfigError: another kind of layer, sizes that differ, or what torch's layers do not do: other
            activations, outputs of both ways that are not put side by side, go_backwards.
    """
    given = list(layers) if isinstance(layers, list | tuple) else [layers]
    stacks = [_directions(each, place) for place, each in enumerate(given)]
    if not stacks:
        raise ConfigError(expected("layers", "at least one layer of Keras", "none"))
    cell, nonlinearity = _kind(stacks[0][0])
    hidden, bias = stacks[0][0].units, stacks[0][0].use_bias
    arrays: dict[str, Array] = {}
    for level, ways in enumerate(stacks):
        same = len(ways) == len(stacks[0])
        for way, each in zip(("", "_reverse"), ways, strict=False):
            if not same or (*_kind(each), each.units, each.use_bias) != (cell, nonlinearity, hidden, bias):
                want = f"layers of one kind and size, {NAMES[cell]}({hidden})"
                raise ConfigError(expected(f"layers[{level}]", want, f"{type(each).__name__}({each.units})"))
            arrays |= weights_of_keras(each, cell, f"_l{level}{way}")
    made: recurrent.Recurrent = recurrent.layer(
        cell, arrays["weight_ih_l0"].shape[1], hidden, len(stacks), nonlinearity=nonlinearity, bias=bias,
        batch_first=batch_first, bidirectional=len(stacks[0]) == 2,
    )  # fmt: skip
    made.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    return made


def _directions(layer: Any, place: int) -> list[Any]:
    """Return the layers of each direction. Raises ConfigError: torch's do not do what they do."""
    name, ways = type(layer).__name__, [layer]
    if name == "Bidirectional":
        if layer.merge_mode != "concat":
            raise ConfigError(expected(f"layers[{place}]", "merge_mode concat", layer.merge_mode))
        ways = [layer.forward_layer, layer.backward_layer]
    for each in ways:
        if type(each).__name__ not in NAMES.values():
            want = f"an {', '.join(dict.fromkeys(NAMES.values()))} or Bidirectional of Keras"
            raise ConfigError(expected(f"layers[{place}]", want, type(each).__name__))
        _check_layer(each, place)
    if ways[0].go_backwards or (len(ways) == 2 and not ways[1].go_backwards):
        raise ConfigError(expected(f"layers[{place}]", "go_backwards=False", "a layer that goes backwards"))
    return ways


def _check_layer(layer: Any, place: int) -> None:
    activation = layer.activation.__name__
    choices = ("tanh", "relu") if type(layer).__name__ == "SimpleRNN" else ("tanh",)
    if activation not in choices:
        raise ConfigError(expected(f"layers[{place}]", f"activation {' or '.join(choices)}", activation))
    gate = getattr(layer, "recurrent_activation", None)
    if gate is not None and gate.__name__ != "sigmoid":
        raise ConfigError(expected(f"layers[{place}]", "recurrent_activation sigmoid", gate.__name__))
    if not layer.built:
        raise ConfigError(expected(f"layers[{place}]", "a layer that is built: it has weights then", "none"))


def _kind(layer: Any) -> tuple[str, str | None]:
    cell = next(cell for cell, name in NAMES.items() if name == type(layer).__name__)
    if not getattr(layer, "reset_after", True):
        cell = "reset_before_gru"
    return cell, layer.activation.__name__ if cell == "rnn" else None


# ----------------------------------------------------------------------------------------- whole models


def to_keras(source: Any) -> Any:
    """Return a network as a model of Keras: x [B, T, I] or ids [B, T], and states, to outputs and states.

    Inputs are x, and h_0_l0, c_0_l0, h_0_l0_reverse, … [B, H] of every layer and direction; outputs, in
    order, are y or the logits, and the states after in the same order. Rows have one length. Channels of a
    task are standardised, as its schema says.

    Args:
        source: as `export` takes it: layers, a language model, or a classifier or regressor.
    Raises:
        ConfigError: Keras has no such layers, or it is another task. MissingExtraError: it is not installed.
    """
    subject = subject_of(source)
    subject.check()
    KerasModel().check(subject)
    return _built(keras_package(), subject)


def _built(keras: Any, subject: Subject) -> Any:
    layers, arrays = subject.layers, subject.arrays
    prefix = "" if subject.kind is None else "recurrent."
    own = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    embedding = getattr(subject.network, "embedding", None)
    reach, causal = getattr(subject.config, "neighbours", 0), getattr(subject.config, "causal", True)
    if embedding is None:
        width = layers.input_size // (1 + reach * (1 if causal else 2))
        first = y = keras.Input((None, width), name="x")
    else:
        first = keras.Input((None,), dtype="int64", name="x")
        y = keras.layers.Embedding(*embedding.weight.shape, name="embedding")(first)
    if reach:
        y = _beside(keras, y, reach, causal=causal)
    inputs, after, filled = [first], [], []
    for level in range(layers.num_layers):
        y, before, states, weights = _level(keras, layers, own, level, y)
        inputs += before
        after += states
        filled += weights
    outputs = y if subject.kind is None else _headed(keras, subject, y, after)
    model = keras.Model(inputs, [outputs, *after], name="unrolled")
    for layer, weights in filled:
        layer.set_weights(weights)
    if embedding is not None:
        model.get_layer("embedding").set_weights([arrays["embedding.weight"]])
    if "attention.weight" in arrays:
        model.get_layer("attention").set_weights([arrays["attention.weight"].T])
    if subject.kind is not None:
        head = arrays.get("readout.weight", arrays.get("embedding.weight"))
        assert head is not None  # of every task
        model.get_layer("readout").set_weights([head.T, arrays["readout.bias"]])
    return model


def _level(keras: Any, layers: Any, own: dict[str, Array], level: int, y: Any) -> tuple[Any, Any, Any, Any]:
    """Return the outputs of one layer of the stack, its inputs and states after, and what fills it."""
    cell, nonlinearity = cell_of_mode(layers.mode)
    options: dict[str, Any] = {"return_sequences": True, "return_state": True, "use_bias": layers.bias}
    if NAMES[cell.name] == "GRU":
        options["reset_after"] = cell.name == "gru"
    if nonlinearity is not None:
        options["activation"] = nonlinearity
    ways = ("", "_reverse") if layers.bidirectional else ("",)
    before = [
        keras.Input((layers.hidden_size,), name=f"{state}_0_l{level}{way}")
        for way in ways
        for state in cell.states
    ]
    made = getattr(keras.layers, NAMES[cell.name])(layers.hidden_size, name=f"l{level}", **options)
    parts = [made]
    if len(ways) == 2:
        made = keras.layers.Bidirectional(made, name=f"l{level}")
    y, *states = made(y, initial_state=before)
    if len(ways) == 2:
        parts = [made.forward_layer, made.backward_layer]
    filled = [
        (part, weights_to_keras(own, cell.name, f"_l{level}{way}"))
        for part, way in zip(parts, ways, strict=True)
    ]
    return y, before, states, filled


def _beside(keras: Any, x: Any, reach: int, *, causal: bool) -> Any:
    """Put the steps around each beside it, zeros beyond an end."""
    padded = keras.layers.ZeroPadding1D(reach)(x)
    shifts = range(-reach, 1 if causal else reach + 1)
    parts = [keras.layers.Cropping1D((reach + shift, reach - shift))(padded) for shift in shifts]
    return keras.layers.Concatenate()(parts)


def _headed(keras: Any, subject: Subject, y: Any, after: list[Any]) -> Any:
    pooling = getattr(subject.config, "pooling", "step")
    if pooling == "last":
        ways, states = 2 if subject.layers.bidirectional else 1, len(interface_of(subject).state_names)
        last = after[-ways * states :: states]
        y = last[0] if ways == 1 else keras.layers.Concatenate()(last)
    elif pooling == "attention":
        scores = keras.layers.Dense(1, use_bias=False, name="attention")(y)
        attended = keras.layers.Dot(axes=(1, 1))([keras.layers.Softmax(axis=1)(scores), y])
        y = keras.layers.Flatten()(attended)
    elif pooling == "mean+max":
        pooled = [keras.layers.GlobalAveragePooling1D()(y), keras.layers.GlobalMaxPooling1D()(y)]
        y = keras.layers.Concatenate()(pooled)
    outputs = subject.config.vocab_size if subject.task == "language" else subject.config.outputs
    return keras.layers.Dense(outputs, name="readout")(y)


class KerasModel:
    """The format keras: a .keras file, of whole sequences of one length, with the states in and out."""

    name = "keras"
    weights = ("float32",)
    directory = False
    suffix = ".keras"

    def check(self, subject: Subject) -> None:
        """Raise where Keras has no such network."""
        keras_package()
        cell, _ = cell_of_mode(subject.layers.mode)
        if cell.name not in NAMES or subject.layers.proj_size:
            got = f"proj_size {subject.layers.proj_size}" if subject.layers.proj_size else cell.name
            raise ConfigError(expected("network", "layers that Keras has: LSTM, GRU, SimpleRNN", got))
        if subject.task in ("tag", "forecast"):
            want = "layers, a language model, a classifier or a regressor, with `to` keras"
            raise ConfigError(expected("network", want, f"one of the task {subject.task}"))
        interface_of(subject)

    def write(self, subject: Subject, place: Path, *, weights: str) -> Check:
        """Write the file, load it again and compare."""
        keras = keras_package()
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.keras"  # Keras knows a format by its ending
            _built(keras, subject).save(file)
            with files.writing(place):
                shutil.copyfile(file, place)
        rows, backend = FullRows(interface_of(subject)), keras.backend.backend()
        told = f"Keras {keras.__version__} on {backend}, sequences of up to 16 steps, states not zero"
        return self._compared(rows, place, examples(rows), told)

    def compare(self, subject: Subject, place: Path, source: str, *, weights: str) -> Check:
        """Run what was written, and ours, on a user's file, a sequence at a time."""
        rows = FullRows(interface_of(subject))
        found = rows.on_file(source)
        told = (
            f"Keras {keras_package().__version__}, {counted(len(found), 'sequence')} of {Path(source).name}"
        )
        return self._compared(rows, place, found, told)

    def _compared(self, rows: FullRows, place: Path, batches: list[Feeds], what: str) -> Check:
        keras = keras_package()
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.keras"
            shutil.copyfile(place, file)
            model = keras.saving.load_model(file)

        def pairs() -> Iterator[tuple[Array, Array]]:
            for feeds in batches:
                ours, *states = rows.ours(feeds)
                theirs, *after = _run(model, rows, feeds)
                steps = ours.ndim == 3
                yield theirs.swapaxes(0, 1) if steps else theirs, ours
                yield from zip(_stacked(rows, after), states, strict=True)

        return Check.of(what, pairs(), TOLERANCE)


def _run(model: Any, rows: FullRows, feeds: Feeds) -> list[Array]:
    """Return the outputs of Keras' model, rows first."""
    x, *states = rows.arguments(feeds)
    layers, names = rows.interface.subject.layers, rows.interface.state_names
    ways = 2 if layers.bidirectional else 1
    each = [states[place][row] for row in range(layers.num_layers * ways) for place in range(len(names))]
    found = model([x.swapaxes(0, 1), *each], training=False)
    return [_numpy(value) for value in found]


def _numpy(value: Any) -> Array:
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)


def _stacked(rows: FullRows, after: list[Array]) -> list[Array]:
    """Return the states after as ours are, [L·D, B, H] each."""
    count = len(rows.interface.state_names)
    return [np.stack(after[place::count]) for place in range(count)]
