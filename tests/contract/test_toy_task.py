"""A task in one file: parity of bits. It trains, resumes, evaluates, loads and is probed."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unrolled import load, probe, spec, tasks, train
from unrolled import nn as recurrent
from unrolled.data import Batch
from unrolled.errors import CheckpointError, ConfigError
from unrolled.train import Observer

UNITS = (("bits per answer", 1.0),)


@dataclass(frozen=True)
class ParityData:
    """Rows of random bits; the answer at each step is whether this bit and the one before it differ."""

    rows: int = 8
    steps: int = 6  # of a window
    windows: int = 4  # of an epoch; the state is carried through them


@dataclass(frozen=True)
class ParityModel:
    hidden_size: int
    cell: str = "gru"


def tensors(config: ParityModel) -> dict[str, tuple[str, tuple[int, ...]]]:
    gates, units = len(spec.CELLS[config.cell].gates), config.hidden_size
    shapes: dict[str, tuple[int, ...]] = {
        "layer.weight_ih_l0": (gates * units, 1),
        "layer.weight_hh_l0": (gates * units, units),
        "layer.bias_ih_l0": (gates * units,),
        "layer.bias_hh_l0": (gates * units,),
        "answer.weight": (1, units),
        "answer.bias": (1,),
    }
    return {name: ("float32", shape) for name, shape in shapes.items()}


PARITY = spec.TaskKind(
    name="parity",
    data=ParityData,
    model=ParityModel,
    tensors=tensors,
    states=lambda config: dict.fromkeys(spec.CELLS[config.cell].states, (1, None, config.hidden_size)),
    loss="bits_per_answer",
    units=UNITS,
)


@dataclass(frozen=True)
class Bits:
    """The dataset, and its batches: everything follows from the seed."""

    data: ParityData
    seed: int
    name: str = "parity of bits"
    tokens: None = None
    validation_is_train: bool = False
    carries_state: bool = True

    @property
    def sha256(self) -> str:
        return hashlib.sha256(repr(self.data).encode()).hexdigest()

    @property
    def identity(self) -> str:
        return hashlib.sha256(repr((self.data, self.seed)).encode()).hexdigest()

    @property
    def rows(self) -> int:
        return self.data.rows

    def len_of(self, epoch: int) -> int:
        return self.data.windows

    def tokens_of(self, epoch: int) -> int:
        return self.data.rows * self.data.steps * self.data.windows

    def epoch(self, n: int, *, start: int = 0, rank: int = 0, world_size: int = 1) -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(1000 * self.seed + n)
        shape = (self.data.windows * self.data.steps, self.data.rows)
        bits = torch.randint(2, shape, generator=generator)
        answers = (bits + bits.roll(1, 0)) % 2
        answers[0] = bits[0]  # the bit before the first is 0
        windows = zip(bits.split(self.data.steps), answers.split(self.data.steps), strict=True)
        return (Batch(x[..., None].float(), y[..., None].float()) for x, y in list(windows)[start:])


class ParityNetwork(nn.Module):
    def __init__(self, config: ParityModel, seed: int | None, backend: str) -> None:
        super().__init__()
        self.config = config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed or 0)
            self.layer = recurrent.layer(config.cell, 1, config.hidden_size, backend=backend)
            self.answer = nn.Linear(config.hidden_size, 1)
        self.dropout = nn.Dropout(0.1)  # draws from torch's generator, whose state a resumed run restores

    def initial_state(self, batch_size: int) -> Any:
        zeros = [
            torch.zeros(1, batch_size, self.config.hidden_size) for _ in spec.CELLS[self.config.cell].states
        ]
        return tuple(zeros) if len(zeros) > 1 else zeros[0]

    def forward(self, inputs: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        y, after = self.layer(inputs, state)
        return self.answer(self.dropout(y)), after

    def loss(self, batch: Batch, state: Any) -> tuple[Tensor, int, Any]:
        logits, after = self(batch.inputs, state)
        nats = nn.functional.binary_cross_entropy_with_logits(logits, batch.targets, reduction="sum")
        return nats / math.log(2), batch.targets.numel(), after

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Batch], *, carry: bool) -> tuple[float, int]:
        total, count, state, was_training = 0.0, 0, None, self.training
        self.eval()
        for batch in batches:
            state = state if carry and state is not None else self.initial_state(batch.inputs.shape[1])
            bits, n, state = self.loss(batch, state)
            total, count = total + float(bits), count + n
        self.train(was_training)
        return total, count


class Parity(tasks.Task):
    kind = PARITY

    def prepare(self, data: ParityData, directory: Path, *, seed: int) -> Bits:
        return Bits(data, seed)

    def resolve(self, config: spec.TrainConfig, dataset: Bits) -> spec.TrainConfig:
        chosen = {"hidden_size": 8, "batch_size": dataset.rows, "learning_rate": 0.03}
        missing = {name: value for name, value in chosen.items() if getattr(config, name) is None}
        return replace(config, **missing, steps=config.steps or 40)

    def model_config(self, config: spec.TrainConfig, dataset: Bits) -> ParityModel:
        return ParityModel(config.hidden_size or 8, config.cell)

    def network(
        self, model: ParityModel, *, seed: int | None, backend: str, dataset: Any = None
    ) -> ParityNetwork:
        return ParityNetwork(model, seed, backend)

    def batches(self, config: spec.TrainConfig, dataset: Bits) -> Bits:
        return dataset

    def validation(self, dataset: Bits) -> Bits:
        return replace(dataset, seed=dataset.seed + 1)

    def evaluate(self, network: ParityNetwork, dataset: Bits) -> tasks.Means:
        batch = next(self.validation(dataset).epoch(7))
        right = (network(batch.inputs)[0] > 0) == (batch.targets > 0)
        return tasks.Means(
            {**super().evaluate(network, dataset).to_dict(), "accuracy": float(right.float().mean())}
        )


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    tasks.register(Parity())
    yield
    spec.TASKS.pop("parity", None)


def config(path: Path, **changes: Any) -> spec.TrainConfig:
    settings: dict[str, Any] = {
        "run": str(path),
        "cell": "lstm",
        "steps": 30,
        "save_every": 7,
        "dtype": "float32",
    }
    return spec.TrainConfig(ParityData(), **{**settings, **changes})


class Stop(Observer):
    def __init__(self, at: int) -> None:
        self.at = at

    def step(self, record: train.StepRecord) -> None:
        if record.step == self.at:
            raise KeyboardInterrupt


def test_it_trains_with_the_loss_under_its_own_name(tmp_path: Path):
    result = train.run(config(tmp_path / "run", steps=300, telemetry_every=50), observers=[])
    rows = [json.loads(line) for line in (result.run / "metrics.jsonl").read_text().splitlines()]
    losses = [row["val_bits_per_answer"] for row in rows if row.get("val_bits_per_answer") is not None]
    assert losses[0] == pytest.approx(1.0, abs=0.2)  # a fair coin's
    assert losses[-1] < 0.5
    assert any("telemetry" in row for row in rows)
    stored = json.loads((result.run / "config.json").read_text())
    assert (stored["task"], stored["data"]["steps"]) == ("parity", 6)
    assert not list(result.run.rglob("tokens.json"))
    assert json.loads((result.run / "evaluation.json").read_text())["accuracy"] > 0.8
    assert (result.run / "loss.png").exists()
    assert (result.run / "telemetry.png").exists()


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_stopped_and_resumed_it_ends_at_the_same_bits(tmp_path: Path, cell: str):
    whole = train.run(config(tmp_path / "whole", cell=cell), observers=[]).run
    parts = config(tmp_path / "parts", cell=cell)
    for at in (10, 17):
        with pytest.raises(KeyboardInterrupt):
            train.run(replace(parts, resume=at > 10), observers=[Stop(at)])
    result = train.run(replace(parts, resume=True), observers=[])
    for name in ("model/model.safetensors", "evaluation.json"):
        assert (whole / name).read_bytes() == (result.run / name).read_bytes()


def test_it_is_loaded_evaluated_and_probed(tmp_path: Path):
    done = train.run(config(tmp_path / "run", steps=60), observers=[])
    loaded = load(done.run)
    task = tasks.of(ParityData())
    assert loaded.tokens is None
    assert task.evaluate(loaded.model, Bits(ParityData(), 0)).to_dict() == done.evaluation.to_dict()
    found = probe.examine(done.run, lags=3)
    assert found.facts["data"] == "parity of bits"
    assert [flow.layer for flow in found.gradient_flow.flows] == ["layer.l0", "layer.l0"]
    again = train.run(config(tmp_path / "run", steps=60, resume=True), observers=[])
    assert again.evaluation.to_dict() == done.evaluation.to_dict()


def test_a_run_of_a_task_that_nobody_registered_says_so(tmp_path: Path):
    run = train.run(config(tmp_path / "run", steps=2), observers=[]).run
    del spec.TASKS["parity"]
    with pytest.raises(
        CheckpointError, match=r"task: expected a registered one \(language, classify, regress.*\)"
    ):
        load(run)
    with pytest.raises(
        ConfigError, match=r"data: expected a DataConfig or a ClassifyData or .*, got ParityData"
    ):
        config(run)


def test_a_name_or_a_config_class_belongs_to_one_kind():
    with pytest.raises(ConfigError, match="task: expected a name and config classes that no other kind has"):
        spec.register_task(replace(PARITY, data=spec.DataConfig, name="other"))
