"""What is exported: a trained network with what belongs to it, or recurrent layers alone."""

from __future__ import annotations

import copy
import hashlib
import json
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from unrolled import data, stream, tasks
from unrolled.errors import ConfigError, DataError, NonFiniteError, expected
from unrolled.nn import Recurrent, accelerate, beside_torch
from unrolled.schema import SequenceReading, SeriesReading
from unrolled.spec import Steps, TaskKind, cell_of_mode, kind_of, tensors, to_json

__all__ = ["Subject", "subject_of"]

Array = npt.NDArray[Any]
LAYER = "layer"


class Subject:
    """A network that is exported.

    Attributes:
        network: the module, in evaluation mode: a task's network, or an RNN, LSTM or GRU.
        kind: of task; None of layers. config: its sizes; None of layers.
        stored: config.json; empty where it came from no file.
    """

    def __init__(self, network: torch.nn.Module, stored: dict[str, Any] | None = None) -> None:
        self.network: Any = network
        self.stored = stored or {}
        config = getattr(network, "config", None)
        self.kind: TaskKind | None = None if config is None else kind_of(config)
        self.config: Any = config

    @property
    def task(self) -> str:
        """Its kind of task: "language", "classify", "regress", "tag", "forecast"; or "layer"."""
        return LAYER if self.kind is None else self.kind.name

    @property
    def schema(self) -> Any:
        """What reads raw values as training read its own; None where there is none."""
        return getattr(self.network, "schema", None)

    @property
    def tokens(self) -> Any:
        """The vocabulary, None where there is none."""
        return getattr(self.network, "tokens", None)

    @property
    def layers(self) -> Any:
        """The recurrent stack."""
        return self.network if self.kind is None else self.network.recurrent

    @cached_property
    def arrays(self) -> dict[str, Array]:
        """The weights as float32, by the names of the state_dict; a tied read-out is the embedding alone."""
        state = self.network.state_dict()
        names = list(state) if self.kind is None else list(tensors(self.config))
        return {name: state[name].detach().cpu().float().contiguous().numpy() for name in names}

    def check(self, *, zoneout: bool = False) -> None:
        """Raise ConfigError for layers that no format has, NonFiniteError for a weight that is not finite.

        Args:
            zoneout: whether the format holds what zoneout keeps of a state once trained.
        """
        if self.layers.zoneout and not zoneout:
            want = "layers without zoneout, which a step of onnx-step alone can hold"
            raise ConfigError(expected("network", want, f"zoneout {_share(self.layers.zoneout)}"))
        why = beside_torch(self.layers)
        if why and not self.layers.zoneout:
            raise ConfigError(expected("network", "layers that do what torch.nn's do", f"other ones: {why}"))
        for name, array in self.arrays.items():
            if not np.isfinite(array).all():
                raise NonFiniteError(expected(name, "finite weights", "NaN or infinity"))

    @cached_property
    def fingerprint(self) -> str:
        """64 hexadecimal digits that tell these weights and sizes from any others."""
        found = hashlib.sha256(json.dumps([self.task, self._sizes()], sort_keys=True).encode())
        for name, array in self.arrays.items():
            found.update(f"{name} {array.shape} ".encode())
            found.update(array.tobytes())
        return found.hexdigest()

    def _sizes(self) -> dict[str, Any]:
        if self.config is not None:
            return to_json(self.config)
        names = ("mode", "input_size", "hidden_size", "num_layers", "bias", "bidirectional", "proj_size")
        return {name: getattr(self.network, name) for name in names}

    def describe(self) -> str:
        """Return what it is in words: "GRU 1 x 64, classify"."""
        layers = self.layers
        both = ", both ways" if layers.bidirectional else ""
        kind = self.task if self.kind is not None else "layers alone"
        name = cell_of_mode(layers.mode)[0].name.upper()
        return f"{name} {layers.num_layers} x {layers.hidden_size}{both}, {kind}"

    def metadata(self) -> dict[str, Any]:
        """Return what reads raw values and says what outputs mean, as JSON; None where there is none."""
        return {
            "unrolled": version("unrolled"),
            "task": self.task,
            "model": self._sizes(),
            "fingerprint": self.fingerprint,
            "vocabulary": None if self.tokens is None else self.tokens.to_json(),
            "schema": None if self.schema is None else self.schema.to_json(),
        }

    # ------------------------------------------------------------------------------------ step by step

    def steps(self) -> Steps:
        """Return how it runs step by step. Raises ConfigError: it reads both ways, or whole windows."""
        if self.kind is not None:
            if self.kind.steps is None:
                want = "one that reads one way"
                raise ConfigError(
                    expected("network", want, f"one of the task {self.task}, which reads both ways")
                )
            return self.kind.steps(self.config)
        if self.network.bidirectional:
            raise ConfigError(expected("network", "one that reads one way", "layers that read both ways"))
        cell, nonlinearity = cell_of_mode(self.network.mode)
        return Steps(cell.name, nonlinearity or "tanh", self.network.num_layers, recurrent="")

    def streamed(self, weights: str = "float32") -> stream.Model:
        """Return what `unrolled.stream` runs of it, its weights in a type.

        Raises:
            ConfigError: it does not run step by step. BackendError: this install has no compiled kernels.
        """
        steps = self.steps()
        if self.kind is None:
            return stream.Recurrent.from_torch(self.network, weights=weights)
        self.kind.streamed(self.config)
        chosen = steps.matrices(self.arrays)
        found = {
            name: stream.convert(array, weights if name in chosen else "float32")
            for name, array in self.arrays.items()
        }
        if self.schema is None:
            model = stream.Model(found, steps, weights)
            model.tokens = self.tokens
            return model
        reading: Any
        if self.task == "forecast":
            reading = SeriesReading(self.schema, outputs=self.config.outputs, normalise=self.config.normalise)
        else:
            reading = SequenceReading(self.schema)
        return stream.TaskModel(found, steps, weights, reading, self.tokens)

    def rounded(self, weights: str) -> Subject:
        """Return the same network with its matrices rounded to a type of weights, still in float32.

        As `unrolled.stream` rounds them: what a step multiplies, to int8 with a scale for each row.
        """
        if weights == "float32":
            return self
        found = Subject(copy.deepcopy(self.network), self.stored)
        state = found.network.state_dict()
        for name in found.matrices():
            made = stream.convert(self.arrays[name], weights)
            assert made.scales is not None
            state[name].copy_(torch.from_numpy(made.data * made.scales[:, None]))
        return found

    def matrices(self) -> list[str]:
        """Return the names of the weights that `rounded` rounds: those that a step multiplies."""
        try:
            return sorted(self.steps().matrices(self.arrays))
        except ConfigError:  # it reads both ways, or whole windows
            of_layers = ("weight_",) if self.kind is None else ("recurrent.weight_",)
            return sorted(name for name in self.arrays if name.startswith(of_layers))

    # --------------------------------------------------------------------------------------- a file

    def sequences(self, source: str) -> list[Array]:
        """Return what the network reads of each sequence of a user's file: ids [T], or float32 [T, C'].

        Raises:
            DataError: the file does not have the columns of training, or the network reads no file.
        """
        if self.task == "language":
            return self._texts(source)
        if self.task in ("classify", "regress"):
            return list(self.schema.inputs(self.samples(source), self.tokens))
        if self.task == "forecast" and self.config.causal:
            calls = self.calls_on(source, lambda network: network.recurrent)
            return [x[:, row].numpy() for (x, *_), _ in calls for row in range(x.shape[1])]
        raise DataError(expected("check", "none for a network of this kind", source))

    def samples(self, source: str) -> data.Samples:
        """Return the samples of a file, read as those of training were."""
        return data.read_samples(source, **(self.schema.read_as or {}), labelled=False, read_labels=False)

    def time_series(self, source: str) -> data.Series:
        """Return the series of a file, read as those of training were.

        Raises:
            DataError: it does not have the columns of training, or steps of another length.
        """
        found = data.read_series(source, **dict(self.schema.read_as or {}))
        tasks.check_columns(found, self.schema)
        return found

    def _texts(self, source: str) -> list[Array]:
        if self.tokens is None:
            raise DataError(expected("check", "a model with its vocabulary", "one without"))
        stored = self.stored.get("data", self.network.data_config) or {}
        shape = "lines" if stored.get("shape") == "lines" else "stream"
        with tempfile.TemporaryDirectory() as folder:
            split = data.encode_source(source, self.tokens, shape, Path(folder))
            ids = np.array(split.ids, np.int64)
        return [each for each in np.split(ids, split.starts[split.starts > 0]) if len(each)]

    def calls_on(
        self, source: str, module: Callable[[Any], torch.nn.Module]
    ) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        """Return the arguments of each call of a module within the network, while it predicts for a file."""
        calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

        def keep(_: torch.nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
            calls.append((given, named))

        handle = module(self.network).register_forward_pre_hook(keep, with_kwargs=True)
        try:
            with self._on_torch():
                tasks.named(self.task).predict(
                    tasks.Loaded(self.network, self.tokens, self.stored, Path(), None), source
                )
        finally:
            handle.remove()
        return calls

    @contextmanager
    def _on_torch(self) -> Iterator[None]:
        """Within, answers are those of torch's forward pass, which can be watched, and not of the engine."""
        layers = self.layers
        before = layers.backend
        layers.backend = "torch"
        try:
            yield
        finally:
            layers.backend = before


def _share(zoneout: tuple[float, ...]) -> str:
    return " and ".join(f"{share:g}" for share in dict.fromkeys(zoneout))


def subject_of(source: Any) -> Subject:
    """Return what is exported of a run's path, of what `load` returned, of a task's network, or of layers.

    Raises:
        ConfigError: something else. RunError, CheckpointError: a path that cannot be loaded.
    """
    if isinstance(source, Subject):
        return source
    if isinstance(source, str | Path):
        source = tasks.load(source)
    if isinstance(source, tasks.Loaded):
        return Subject(source.model, dict(source.config))
    network = getattr(source, "network_", source)
    if isinstance(network, torch.nn.RNNBase):
        network = copy.deepcopy(network).eval().float()
        network.batch_first = False
        if not isinstance(network, Recurrent):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a subclass, which is refused below
                network = accelerate(network)
    elif hasattr(network, "config") and isinstance(network, torch.nn.Module):
        network = copy.deepcopy(network).eval() if network.training else network
    if not isinstance(network, Recurrent) and not hasattr(network, "config"):
        want = "a run, a loaded model, a task's network, or an RNN, LSTM or GRU"
        raise ConfigError(expected("source", want, type(source).__name__))
    return Subject(network)
