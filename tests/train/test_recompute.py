"""Windows that are run in segments: the gradient of the whole window, in the memory of a segment."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from train_cases import stopped

from unrolled.data import Batch
from unrolled.errors import ConfigError
from unrolled.spec import ClassifyData, ModelConfig, TrainConfig
from unrolled.tasks import LanguageModel
from unrolled.tasks.language.sizing import bytes_needed
from unrolled.train import Observer, describe, resources, run, segments

Make = Callable[..., TrainConfig]
SIZES: dict[str, Any] = {"vocab_size": 7, "embedding_size": 5, "hidden_size": 6, "num_layers": 2}


def batch(steps: int = 23, rows: int = 3, lengths: list[int] | None = None) -> Batch:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(7, (steps + 1, rows), generator=generator)
    resets = torch.rand(steps, rows, generator=generator) < 0.1
    given = None if lengths is None else torch.tensor(lengths)
    return Batch(ids[:-1], ids[1:], given, resets)


@pytest.mark.parametrize("lengths", [None, [23, 0, 9]])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_the_gradients_are_those_of_the_whole_window(cell: str, lengths: list[int] | None):
    one = batch(lengths=lengths)
    found = []
    for size in (23, 22, 7, 1):
        network = LanguageModel(ModelConfig(cell=cell, **SIZES)).double()
        torch.manual_seed(0)
        state = network.initial_state(3)
        state = tuple(torch.rand_like(each) for each in state) if cell == "lstm" else torch.rand_like(state)
        done = segments.forward(network, one, state, size=size, dtype="float32")
        done.backward()
        grads = [p.grad for p in network.parameters() if p.grad is not None]
        after = done.after if isinstance(done.after, tuple) else (done.after,)
        found.append((done.mean, done.targets, torch.cat([g.flatten() for g in grads]), torch.stack(after)))
        total, count, _ = network.loss(one, state)
        assert done.mean == pytest.approx(
            float(total.detach()) / count, rel=1e-6
        )  # nats are summed in float32
    for mean, count, grads, after in found[1:]:
        assert (mean, count) == (pytest.approx(found[0][0], rel=1e-6), found[0][1])
        torch.testing.assert_close(grads, found[0][2], rtol=1e-5, atol=1e-7)
        assert torch.equal(after, found[0][3])


def test_the_second_pass_drops_what_the_first_one_dropped():
    network = LanguageModel(ModelConfig(dropout=0.5, **SIZES))
    torch.manual_seed(3)
    done = segments.forward(network, batch(), network.initial_state(3), size=5, dtype="float32")
    end = torch.get_rng_state()
    again = []
    keep = network.loss

    def watched(*arguments: Any) -> Any:
        result = keep(*arguments)
        again.append(float(result[0].detach()))
        return result

    network.loss = watched  # type: ignore[method-assign]
    done.backward()
    assert torch.equal(torch.get_rng_state(), end)
    assert sum(again) / done.targets == pytest.approx(done.mean, rel=1e-6)


def test_a_run_in_segments_has_the_weights_of_one_that_is_not(small: Make, tmp_path: Path):
    weights = {}
    for name, changes in (("whole", {}), ("long", {"recompute": 16}), ("cut", {"recompute": 5})):
        result = run(small(steps=9, run=str(tmp_path / name), **changes), observers=[])
        weights[name] = dict(result.model.named_parameters())
        assert json.loads((result.run / "config.json").read_text())["training"]["recompute"] == changes.get(
            "recompute"
        )
    for name, tensor in weights["whole"].items():
        assert torch.equal(tensor, weights["long"][name])  # no window is longer than 16: to the bit
        torch.testing.assert_close(tensor, weights["cut"][name], rtol=1e-4, atol=1e-5)


def test_a_run_in_segments_is_resumed_to_the_bit(small: Make, tmp_path: Path):
    whole, parts = (small(recompute=6, dropout=0.3, steps=12, run=str(tmp_path / n)) for n in ("a", "b"))
    run(whole, observers=[])
    stopped(parts, 5)
    run(replace(parts, resume=True, recompute=None), observers=[])
    a, b = ((tmp_path / n / "model" / "model.safetensors").read_bytes() for n in ("a", "b"))
    assert a == b


def test_memory_is_that_of_a_segment_and_the_states_between():
    model = ModelConfig(65, 256, 256, 2)
    whole = bytes_needed(model, rows=16, steps=1_000_000)
    cut = bytes_needed(model, rows=16, steps=1_000_000, recompute=1000)
    assert bytes_needed(model, rows=16, steps=1000, recompute=1000) == bytes_needed(
        model, rows=16, steps=1000
    )
    states = 4 * 1000 * 16 * 2 * 2 * 256
    ids = 16 * 16 * 999_000
    assert cut == bytes_needed(model, rows=16, steps=1000) + states - 4 * 16 * 2 * 2 * 256 + ids
    assert whole > 300 * cut


class Notes(Observer):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


def test_a_window_that_does_not_fit_is_cut_and_that_is_said(small: Make, monkeypatch: pytest.MonkeyPatch):
    config = small(bptt_steps=512, batch_size=2)
    free = describe(config)
    assert free.config.recompute is None
    assert free.memory_bytes is not None
    monkeypatch.setattr(resources, "memory_limit", lambda: free.memory_bytes // 2)
    found = describe(config)
    assert found.config.recompute == 128
    assert found.memory_bytes is not None
    assert found.memory_bytes < 0.8 * free.memory_bytes / 2
    assert any(note.startswith("memory ") and "128 steps are kept at a time" in note for note in found.notes)
    notes = Notes()
    result = run(config, observers=[notes])
    assert result.config.recompute == 128
    assert [note for note in notes.lines if note.startswith("memory ")] == [found.notes[-1]]
    assert any("x 512 steps, 128 steps kept at a time" in note for note in notes.lines)
    monkeypatch.setattr(resources, "memory_limit", lambda: 1000)
    with pytest.raises(ConfigError, match=r"^sizes: expected a run within"):
        describe(config)


def test_other_tasks_refuse_it(tmp_path: Path):
    table = tmp_path / "table.csv"
    table.write_text("text,label\n" + "good,1\nbad,0\n" * 30)
    with pytest.raises(
        ConfigError, match=r"^recompute: expected a language model, got a network of the task"
    ):
        run(
            TrainConfig(ClassifyData(str(table), label="label"), run=str(tmp_path / "run"), recompute=4),
            observers=[],
        )
