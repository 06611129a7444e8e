"""A stream gives the bits of the native batch run, and one bit pattern in steps, chunks and pools."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unrolled import kernels, nn, stream

pytestmark = pytest.mark.skipif(not kernels.available(), reason=str(kernels.why_not()))


def layers(cell: str, input_size: int, hidden_size: int, num_layers: int, bias: bool) -> torch.nn.Module:
    torch.manual_seed(3)
    kind, *nonlinearity = cell.split()
    options = {"nonlinearity": nonlinearity[0]} if nonlinearity else {}
    return getattr(nn, kind)(input_size, hidden_size, num_layers, bias=bias, backend="native", **options)


@pytest.mark.parametrize("isa", kernels.isas())
@pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN tanh", "RNN relu"])
def test_float32_has_the_bits_of_the_batch_run(cell: str, isa: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("UNROLLED_ISA", isa)
    for sizes in [(1, 1, 1, True), (5, 7, 2, False), (16, 48, 1, True), (37, 67, 2, True)]:
        module = layers(cell, *sizes)
        x = torch.randn(9, 11, sizes[0])
        with torch.no_grad():
            y, _ = module(x)
        model = stream.Recurrent.from_torch(module)
        pool, session = model.pool(11, threads=2), model.open()
        ticks = np.stack([pool.step(step.numpy()) for step in x])
        steps = np.stack([session.step(step[4].numpy().copy()) for step in x])
        chunk = model.open().run(x[:, 4].contiguous().numpy())
        assert np.array_equal(ticks, y.numpy())
        assert np.array_equal(steps, y[:, 4].numpy())
        assert np.array_equal(chunk, steps)


@pytest.mark.parametrize("weights", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN relu", "projected"])
def test_a_long_chunk_is_its_steps(cell: str, weights: str):
    if cell == "projected":
        module: torch.nn.Module = torch.nn.LSTM(5, 19, 2, proj_size=7)
    else:
        module = layers(cell, 5, 19, 2, True)
    model = stream.Recurrent.from_torch(module, weights=weights)
    x = np.random.default_rng(0).standard_normal((250, 5), np.float32)
    session = model.open()
    steps = np.stack([session.step(row) for row in x])
    chunks = model.open()
    parts = [chunks.run(x[first:last]) for first, last in [(0, 1), (1, 98), (98, 98), (98, 250)]]
    assert np.array_equal(np.concatenate(parts), steps)
    assert np.array_equal(model.open().run(x, last=True), steps[-1])
    assert chunks.save() == session.save()


@pytest.mark.parametrize("isa", kernels.isas())
@pytest.mark.parametrize("weights", ["bfloat16", "int8"])
def test_smaller_weights_give_one_result_in_steps_chunks_and_pools(
    weights: str, isa: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("UNROLLED_ISA", isa)
    for cell in ("LSTM", "GRU", "RNN tanh"):
        module = layers(cell, 21, 35, 2, True)
        x = torch.randn(9, 8, 21)
        with torch.no_grad():
            y, _ = module(x)
        model = stream.Recurrent.from_torch(module, weights=weights)
        pool, session = model.pool(8), model.open()
        ticks = np.stack([pool.step(step.numpy()) for step in x])
        steps = np.stack([session.step(step[4].numpy().copy()) for step in x])
        assert np.array_equal(ticks[:, 4], steps)
        assert np.array_equal(model.open().run(x[:, 4].contiguous().numpy()), steps)
        assert np.abs(ticks - y.numpy()).max() < 0.05
