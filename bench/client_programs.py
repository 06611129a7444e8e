"""Programs of other people, on torch.nn and on our layers: agents, forecasts, tags, privacy."""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import client_record
import unrolled
from timing import settle

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
SIDES = ("torch.nn", "unrolled")


@dataclass
class Program:
    """What is measured: a call on each side that does the same work in a given round."""

    what: str  # for people
    asked: float  # the ratio that issue 16 asks for
    sides: dict[str, Callable[[int], object]]
    seconds: dict[str, list[float]] = field(default_factory=lambda: {side: [] for side in SIDES})
    results: dict[str, list[float]] = field(default_factory=lambda: {side: [] for side in SIDES})

    def ratio(self) -> float:
        """Time on torch.nn in times of ours: the median of the ratios within a round."""
        pairs = zip(self.seconds["torch.nn"], self.seconds["unrolled"], strict=True)
        return statistics.median(theirs / ours for theirs, ours in pairs)


def recurrent_ppo(asked: argparse.Namespace) -> Program:
    """Train RecurrentPPO on CartPole without velocities, a fresh model of another seed in each round."""
    import gymnasium
    from sb3_contrib import RecurrentPPO
    from stable_baselines3.common.env_util import make_vec_env

    class WithoutVelocities(gymnasium.ObservationWrapper):  # type: ignore[misc]
        def __init__(self, env: Any) -> None:
            super().__init__(env)
            low, high = env.observation_space.low[::2], env.observation_space.high[::2]
            self.observation_space = gymnasium.spaces.Box(low, high)

        def observation(self, observation: Any) -> Any:
            return observation[::2]

    def train(policy: Any) -> Callable[[int], float]:
        def call(seed: int) -> float:
            env = make_vec_env("CartPole-v1", 8, seed=seed, wrapper_class=WithoutVelocities)
            model = RecurrentPPO(
                policy, env, n_steps=128, batch_size=256, learning_rate=1e-3, ent_coef=0.01, seed=seed
            )
            model.learn(asked.ppo_steps)
            return float(statistics.mean(info["r"] for info in model.ep_info_buffer))

        return call

    from unrolled.adapters import recurrent_policy

    what = f"RecurrentPPO, LSTM of 256, {asked.ppo_steps:,} steps of CartPole without velocities"
    return Program(what, 2, {"torch.nn": train("MlpLstmPolicy"), "unrolled": train(recurrent_policy())})


def deepar(cell: str) -> Callable[[argparse.Namespace], Program]:
    """Take training steps of pytorch-forecasting's DeepAR on series with encoders of unequal length."""

    def program(_: argparse.Namespace) -> Program:
        import numpy as np
        import pandas as pd
        from pytorch_forecasting import DeepAR, TimeSeriesDataSet

        steps = np.arange(400)
        tables = [
            pd.DataFrame({"series": str(n), "step": steps, "y": np.sin(steps / (3 + n)) + 0.1 * n})
            for n in range(16)
        ]
        data = TimeSeriesDataSet(
            pd.concat(tables, ignore_index=True), time_idx="step", target="y", group_ids=["series"],
            min_encoder_length=24, max_encoder_length=96, max_prediction_length=24,
            time_varying_unknown_reals=["y"], time_varying_known_reals=["step"], randomize_length=True,
        )  # fmt: skip
        model = DeepAR.from_dataset(data, cell_type=cell, hidden_size=64, rnn_layers=2, dropout=0.1)
        torch.manual_seed(0)
        batch = next(iter(data.to_dataloader(batch_size=64)))

        def loss(network: Any) -> Tensor:
            x, y = batch
            found: Tensor = network.loss(network(x)["prediction"], y)
            return found

        return Program(
            f"DeepAR of pytorch-forecasting, {cell} 2 x 64, a training step", 3, _steps(model, loss)
        )

    return program


class Forecaster(nn.Module):
    """A two-layer GRU over a window, and the next day from its last state."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.gru = nn.GRU(8, hidden_size, num_layers=2, dropout=0.1, batch_first=True)
        self.head = nn.Linear(hidden_size, 24)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.gru(x)[0][:, -1])
        return y


def gru_forecaster(hidden_size: int) -> Callable[[argparse.Namespace], Program]:
    """Take training steps of a forecaster on windows of a week of hours."""

    def program(_: argparse.Namespace) -> Program:
        torch.manual_seed(0)
        x, y = torch.randn(64, 168, 8), torch.randn(64, 24)
        what = f"a forecaster, GRU 2 x {hidden_size}, 64 windows of 168 steps, a training step"
        sides = _steps(Forecaster(hidden_size), lambda network: nn.functional.mse_loss(network(x), y))
        return Program(what, 3, sides)

    return program


class Tagger(nn.Module):
    """Words, a BiLSTM on packed sequences, a CRF: as pytorch-crf's users write it."""

    def __init__(self, words: int, tags: int) -> None:
        super().__init__()
        from torchcrf import CRF

        self.embedding = nn.Embedding(words, 100)
        self.lstm = nn.LSTM(100, 128, bidirectional=True, batch_first=True)
        self.head = nn.Linear(256, tags)
        self.crf = CRF(tags, batch_first=True)

    def forward(self, words: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(self.embedding(words), lengths, batch_first=True, enforce_sorted=False)
        y, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        mask = torch.arange(words.shape[1]) < lengths[:, None]
        loss: Tensor = -self.crf(self.head(y), tags, mask=mask, reduction="token_mean")
        return loss


def bilstm_crf(asked: argparse.Namespace) -> Program:
    """Run an epoch of a tagger, on CoNLL-2000 where it is given, else on sentences as long as its."""
    lengths, tags = _sentences(asked.conll)
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model = Tagger(10_000, tags)
    batches = []
    for part in torch.split(lengths[: 32 * asked.crf_batches], 32):
        size = (len(part), int(part.max()))
        words = torch.randint(10_000, size, generator=generator)
        batches.append((words, torch.randint(tags, size, generator=generator), part))
    sides: dict[str, Callable[[int], object]] = {}
    for side, network in _both(model).items():
        optimizer = torch.optim.Adam(network.parameters())

        def epoch(_: int, network: Any = network, optimizer: Any = optimizer) -> None:
            for batch in batches:
                optimizer.zero_grad()
                network(*batch).backward()
                optimizer.step()

        sides[side] = epoch
    what = f"BiLSTM-CRF with pytorch-crf, 2 x 128, {len(batches)} batches of 32 sentences"
    return Program(what, 2, sides)


def opacus_lstm(_: argparse.Namespace) -> Program:
    """Take steps with gradients of each sample: opacus' DPLSTM, and our layer as opacus has it fixed."""
    import opacus
    from opacus.validators import ModuleValidator

    from unrolled.adapters import register_opacus

    register_opacus()
    torch.manual_seed(0)
    layer, x = nn.LSTM(32, 128, batch_first=True), torch.randn(64, 100, 32)
    sides: dict[str, Callable[[int], object]] = {}
    for side, network in _both(layer).items():
        model = opacus.GradSampleModule(ModuleValidator.fix(network))

        def call(_: int, model: Any = model) -> None:
            model.zero_grad(set_to_none=True)
            model(x)[0].sum().backward()

        sides[side] = call
    what = "opacus, gradients of each of 64 samples of 100 steps, LSTM of 128; beside DPLSTM"
    return Program(what, 1, sides)


def _sentences(path: Path | None) -> tuple[Tensor, int]:
    """Return the lengths of sentences, in a random order, and the number of tags."""
    if path is None:
        draw = torch.Generator().manual_seed(1)
        return (torch.randn(8936, generator=draw) * 11 + 24).clamp(2, 78).long(), 23
    lengths = [len(each.splitlines()) for each in path.read_text().strip().split("\n\n")]
    tags = {line.split()[-1] for line in path.read_text().splitlines() if line.strip()}
    order = torch.randperm(len(lengths), generator=torch.Generator().manual_seed(1))
    return torch.tensor(lengths)[order], len(tags)


def _both(model: Any) -> dict[str, Any]:
    """Return the model and a copy of it that is accelerated."""
    return {"torch.nn": model, "unrolled": unrolled.accelerate(copy.deepcopy(model))}


def _steps(model: Any, loss: Callable[[Any], Tensor], count: int = 5) -> dict[str, Callable[[int], object]]:
    """Return some training steps of the model on either side."""
    sides: dict[str, Callable[[int], object]] = {}
    for side, network in _both(model).items():
        network.train()
        optimizer = torch.optim.Adam(network.parameters())

        def call(_: int, network: Any = network, optimizer: Any = optimizer) -> None:
            for _ in range(count):
                optimizer.zero_grad()
                torch.autograd.backward(loss(network))
                optimizer.step()

        sides[side] = call
    return sides


PROGRAMS: dict[str, Callable[[argparse.Namespace], Program]] = {
    "recurrent_ppo": recurrent_ppo,
    "deepar_gru": deepar("GRU"),
    "deepar_lstm": deepar("LSTM"),
    "gru_forecaster": gru_forecaster(64),
    "gru_forecaster_128": gru_forecaster(128),
    "bilstm_crf": bilstm_crf,
    "opacus_lstm": opacus_lstm,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--only", nargs="+", choices=PROGRAMS, help="default: every program")
    parser.add_argument("--rounds", type=int, default=9, help="of training steps and epochs")
    parser.add_argument("--seeds", type=int, default=3, help="of whole trainings, one a round")
    parser.add_argument("--ppo-steps", type=int, default=32_768, help="of the environment, a training")
    parser.add_argument("--crf-batches", type=int, default=280, help="of an epoch; all of CoNLL-2000 is 280")
    parser.add_argument("--conll", type=Path, help="CoNLL-2000's train.txt, for the lengths of its sentences")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--keep", action="store_true", help="write bench/clients.json")


def run(asked: argparse.Namespace) -> int:
    torch.set_num_threads(asked.threads)
    warnings.simplefilter("ignore")  # the clients' own
    rows = []
    for name, program in _measured(asked):
        ratio = program.ratio()
        each = {side: statistics.median(program.seconds[side]) for side in SIDES}
        print(f"{name}: {ratio:.2f}x (asked for {program.asked:g}x); {program.what}")
        print("  " + ", ".join(f"{side} {seconds:.4g} s" for side, seconds in each.items()))
        row = {"program": name, "what": program.what, "asked": program.asked, "ratio": round(ratio, 3)}
        row |= {"seconds": program.seconds, "clock": asked.clock, "threads": asked.threads}
        if program.results["unrolled"]:
            row["results"] = program.results
            print("  " + ", ".join(f"{side} {program.results[side]}" for side in SIDES))
        rows.append(row)
        if asked.keep:
            client_record.put("programs", rows, threads=asked.threads, key="program")
    return 0


def _measured(asked: argparse.Namespace) -> Iterator[tuple[str, Program]]:
    for name in asked.only or PROGRAMS:
        try:
            program = PROGRAMS[name](asked)
        except ModuleNotFoundError as error:
            print(f"{name}: left out, {error.name} is not installed", file=sys.stderr)
            continue
        whole = name == "recurrent_ppo"
        if not whole:
            for call in program.sides.values():  # warm
                call(0)
        clock = CLOCKS[asked.clock]
        for turn in range(asked.seeds if whole else asked.rounds):
            for side in SIDES if turn % 2 else SIDES[::-1]:
                settle()
                begin = clock()
                result = program.sides[side](turn)
                program.seconds[side].append(clock() - begin)
                if isinstance(result, float):
                    program.results[side].append(result)
        yield name, program
