"""What estimators have in common, in scikit-learn's conventions; nothing of scikit-learn is imported."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from unrolled import checkpoint
from unrolled.errors import CheckpointError, ConfigError, expected
from unrolled.spec import TaskKind, TrainConfig, kind_of_stored, trainer
from unrolled.tasks.loading import assemble

__all__ = ["Estimator", "seed_of"]

SEEDS = 2**31  # that a generator of seeds is asked for


class Estimator:
    """Parameters by name, training in a directory of its own, files.

    To derive one: `kind`, a constructor that keeps its keyword arguments by `_keep`, `fit`, which calls
    `_train`, and `_loaded`.
    """

    kind: ClassVar[TaskKind]
    network_: Any  # the trained network; set by `_train` and `load`
    evaluation_: Any
    n_iter_: int
    _contents: checkpoint.Contents

    @classmethod
    def _names(cls) -> list[str]:
        return [name for name in inspect.signature(cls).parameters if name != "self"]

    def _keep(self, given: Mapping[str, Any]) -> None:
        """Keep each parameter as it was given, as scikit-learn asks of a constructor."""
        for name in self._names():
            setattr(self, name, given[name])

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name, as they were given."""
        return {name: getattr(self, name) for name in self._names()}

    def set_params(self, **params: Any) -> Self:
        """Change parameters by name. Raises ConfigError: there is none of that name."""
        unknown = sorted(set(params) - set(self._names()))
        if unknown:
            raise ConfigError(expected("params", "among " + ", ".join(self._names()), unknown[0]))
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self)).parameters
        given = [
            f"{name}={value!r}"
            for name, value in self.get_params().items()
            if value is not defaults[name].default and value != defaults[name].default
        ]
        return f"{type(self).__name__}({', '.join(given)})"

    def _train(self, data: Any, run: str | None, folder: Path, params: dict[str, Any]) -> None:
        """Train into `run`, or into a folder that the caller removes.

        Args:
            data: the data config. params: of `spec.TrainConfig`, with `random_state` for its seed.
        """
        seed = seed_of(params.pop("random_state"))
        place = run or str(folder / "run")
        config = TrainConfig(data, run=place, overwrite=run is None, seed=seed, **params)
        result = trainer().run(config, observers=[], pictures=run is not None)
        self._contents = checkpoint.read(result.run / "model")
        self.network_, self.evaluation_ = result.model, result.evaluation
        self.n_iter_ = result.best_step

    def _fitted(self) -> Any:
        """Return the trained network. Raises ConfigError: `fit` was not called."""
        network = getattr(self, "network_", None)
        if network is None:
            raise ConfigError(expected(type(self).__name__, "a call of fit before this one", "none"))
        return network

    def save(self, directory: str | os.PathLike[str]) -> Path:
        """Write the fitted model: weights, scaling, vocabulary, classes and calibration; nothing is pickled.

        Args:
            directory: made where it is missing; a model that was saved there before is replaced.
        Raises:
            ConfigError: it is not fitted. RunError: the directory is a run, or cannot be written.
        """
        self._fitted()
        return checkpoint.write_into(Path(directory), self._contents)

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> Self:
        """Return a fitted model from its directory, or from a run; every file is verified.

        Raises:
            CheckpointError: it is damaged, or of another task. RunError: there is none.
        """
        contents = checkpoint.read_run(Path(directory))
        kind = kind_of_stored(contents.config)
        if kind is not cls.kind:
            raise CheckpointError(expected(str(directory), f"a model of the task {cls.kind.name}", kind.name))
        stored = {**contents.config.get("training", {}), **contents.config.get("data", {})}
        stored["random_state"] = stored.pop("seed", 0)
        stored = cls._given(stored)
        made = cls(**{name: stored[name] for name in cls._names() if name in stored and name != "run"})
        made._contents, made.network_ = contents, assemble(contents).model
        made._loaded()
        return made

    @classmethod
    def _given(cls, stored: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters among a run's settings, by the names that they have here."""
        return dict(stored)

    def __getstate__(self) -> dict[str, Any]:
        """Return what copies and other processes take: the weights, not the network around them."""
        state = dict(self.__dict__)
        if state.pop("network_", None) is not None:
            tensors = {n: t._replace(data=bytes(t.data)) for n, t in self._contents.model.items()}
            state["_contents"] = replace(self._contents, model=tensors)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if "_contents" in state:
            self.network_ = assemble(self._contents).model

    def _loaded(self) -> None:
        """Take what follows from the schema."""


def seed_of(random_state: Any) -> int:
    """Return a seed: a whole number as it is, else one that is drawn."""
    if random_state is None:
        return 0
    if hasattr(random_state, "integers"):
        return int(random_state.integers(SEEDS))
    if hasattr(random_state, "randint"):
        return int(random_state.randint(SEEDS))
    if isinstance(random_state, bool) or not isinstance(random_state, int | np.integer):
        raise ConfigError(
            expected("random_state", "a whole number or a generator of numpy", repr(random_state))
        )
    return int(random_state)
