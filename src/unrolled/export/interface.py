"""What a network takes and gives that reads whole sequences: names, types and axes; examples; our answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from unrolled.errors import DataError, expected
from unrolled.export.subject import Subject
from unrolled.spec import CELLS, cell_of_mode

__all__ = ["Feeds", "Interface", "LanguageInterface", "LayerInterface", "Port", "batches_of", "tensor"]

Array = npt.NDArray[Any]
Feeds: TypeAlias = dict[str, Array]
BATCH = 64  # sequences of a file side by side


class Port(NamedTuple):
    """An input or an output."""

    dtype: str  # numpy's name
    axes: tuple[str | int, ...]  # a number, or the name of an axis of any size: "T", "B"


class Interface(ABC):
    """How a network that reads whole sequences is called. `lengths` [B] says how many steps each row has."""

    def __init__(self, subject: Subject) -> None:
        self.subject, self.network = subject, subject.network
        layers = subject.layers
        cell, _ = cell_of_mode(layers.mode)
        self.state_names = CELLS[cell.name].states
        self.width = layers.proj_size or layers.hidden_size  # of h, P
        self._count = layers.num_layers * (2 if layers.bidirectional else 1)

    @property
    @abstractmethod
    def own_inputs(self) -> Mapping[str, Port]:
        """The inputs without `lengths` and the states."""

    @property
    @abstractmethod
    def own_outputs(self) -> Mapping[str, Port]:
        """The outputs without the states."""

    has_lengths = True

    @property
    def inputs(self) -> dict[str, Port]:
        """Every input, in order."""
        lengths = {"lengths": Port("int64", ("B",))} if self.has_lengths else {}
        return {**self.own_inputs, **lengths, **self._states("0")}

    @property
    def outputs(self) -> dict[str, Port]:
        """Every output, in order."""
        return {**self.own_outputs, **self._states("n")}

    def _states(self, which: str) -> dict[str, Port]:
        hidden = self.subject.layers.hidden_size
        return {
            f"{name}_{which}": Port("float32", (self._count, "B", self.width if name == "h" else hidden))
            for name in self.state_names
        }

    def example(self, draw: np.random.Generator, steps: int, rows: int) -> Feeds:
        """Return inputs drawn at random: rows of unequal length, the first of all steps; no state is zero."""
        lengths = draw.integers(1, steps + 1, rows)
        lengths[0] = steps
        return {**self.own_example(draw, lengths), **({"lengths": lengths} if self.has_lengths else {}),
                **self.state(rows, draw)}  # fmt: skip

    def state(self, rows: int, draw: np.random.Generator | None = None) -> Feeds:
        """Return states for so many rows: zeros, or drawn at random."""
        found = {}
        for name, port in self._states("0").items():
            shape = (self._count, rows, int(port.axes[2]))
            found[name] = np.zeros(shape, np.float32)
            if draw is not None:
                found[name] += draw.uniform(-0.9, 0.9, shape).astype(np.float32)
        return found

    @abstractmethod
    def own_example(self, draw: np.random.Generator, lengths: Array) -> Feeds:
        """Return the own inputs of rows of these lengths; what lies past an end is arbitrary."""

    @abstractmethod
    def ours(self, feeds: Feeds) -> dict[str, Array]:
        """Return the outputs that our network gives."""

    def on_file(self, source: str) -> Iterator[Feeds]:
        """Yield inputs for the samples of a user's file, from the zero state.

        Raises:
            DataError: it does not have the columns of training, or the network reads no file.
        """
        raise DataError(expected("check", "none for layers alone", source))

    def pairs(
        self, theirs: dict[str, Array], ours: dict[str, Array], feeds: Feeds, *, within: bool
    ) -> Iterator[tuple[Array, Array]]:
        """Yield outputs side by side.

        Args:
            within: leave out what lies past a row's length.
        """
        for name, port in self.outputs.items():
            pair = theirs[name], ours[name]
            if within and port.axes[0] == "T":
                inside = np.arange(len(pair[1]))[:, None] < feeds["lengths"]
                pair = pair[0][inside], pair[1][inside]
            yield self.compared(name, pair[0]), self.compared(name, pair[1])

    def compared(self, name: str, values: Array) -> Array:
        """Return an output as it is compared: a number in its unit, standardised."""
        return values

    def given_state(self, feeds: Feeds) -> Any:
        """Return the states as our networks take them."""
        parts = tuple(tensor(feeds[f"{name}_0"]) for name in self.state_names)
        return parts if len(parts) > 1 else parts[0]

    def after(self, state: Any) -> dict[str, Array]:
        """Return the states as outputs."""
        parts = state if isinstance(state, tuple) else (state,)
        return {f"{name}_n": part.numpy() for name, part in zip(self.state_names, parts, strict=True)}


class LayerInterface(Interface):
    """Of layers alone: x to y."""

    @property
    def own_inputs(self) -> Mapping[str, Port]:
        return {"x": Port("float32", ("T", "B", self.network.input_size))}

    @property
    def own_outputs(self) -> Mapping[str, Port]:
        width = self.width * (2 if self.network.bidirectional else 1)
        return {"y": Port("float32", ("T", "B", width))}

    def own_example(self, draw: np.random.Generator, lengths: Array) -> Feeds:
        shape = (int(lengths.max()), len(lengths), self.network.input_size)
        return {"x": draw.normal(size=shape).astype(np.float32)}

    @torch.no_grad()
    def ours(self, feeds: Feeds) -> dict[str, Array]:
        y, after = self.network(tensor(feeds["x"]), self.given_state(feeds), lengths=tensor(feeds["lengths"]))
        return {"y": y.numpy(), **self.after(after)}


class LanguageInterface(Interface):
    """Of a language model: ids to the logits of the next symbol."""

    @property
    def own_inputs(self) -> Mapping[str, Port]:
        return {"ids": Port("int64", ("T", "B"))}

    @property
    def own_outputs(self) -> Mapping[str, Port]:
        return {"logits": Port("float32", ("T", "B", self.subject.config.vocab_size))}

    def own_example(self, draw: np.random.Generator, lengths: Array) -> Feeds:
        return {"ids": draw.integers(0, self.subject.config.vocab_size, (int(lengths.max()), len(lengths)))}

    @torch.no_grad()
    def ours(self, feeds: Feeds) -> dict[str, Array]:
        state, lengths = self.given_state(feeds), tensor(feeds["lengths"])
        y, after = self.network.hidden(tensor(feeds["ids"]), state, lengths)
        return {"logits": self.network.readout(y).numpy(), **self.after(after)}

    def on_file(self, source: str) -> Iterator[Feeds]:
        for ids, lengths in batches_of(self.subject.sequences(source)):
            yield {"ids": ids, "lengths": lengths, **self.state(len(lengths))}


def batches_of(sequences: list[Array], most_steps: int = 4096) -> Iterator[tuple[Array, Array]]:
    """Yield some sequences at a time, [T, B, …] with zeros past their ends, and their lengths [B].

    Args:
        most_steps: where a sequence is longer, its first steps are taken.
    """
    for first in range(0, len(sequences), BATCH):
        some = [each[:most_steps] for each in sequences[first : first + BATCH]]
        lengths = np.array([len(each) for each in some], np.int64)
        found = np.zeros((int(lengths.max()), len(some), *some[0].shape[1:]), some[0].dtype)
        for row, each in enumerate(some):
            found[: len(each), row] = each
        yield found, lengths


def tensor(array: Array) -> torch.Tensor:
    """Return an array as a tensor."""
    return torch.from_numpy(np.ascontiguousarray(array))
