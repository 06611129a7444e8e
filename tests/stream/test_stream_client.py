"""A real client: the voice detector of the silero-vad wheel, its LSTM run by a stream.

`pip install 'unrolled[clients]'` brings the wheel; without it these tests are skipped. The package itself is not
imported: its weights and its own TorchScript program are read from its folder.
"""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as f

from unrolled import kernels, stream

FOUND = importlib.util.find_spec("silero_vad")
pytestmark = [
    pytest.mark.skipif(not kernels.available(), reason=str(kernels.why_not())),
    pytest.mark.skipif(FOUND is None, reason="silero-vad is not installed: pip install 'unrolled[clients]'"),
]
RATE, CHUNK, CONTEXT = 16_000, 512, 64  # Hz, samples


@pytest.fixture(scope="module")
def program() -> Any:
    assert FOUND is not None
    assert FOUND.origin is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's, of TorchScript
        return torch.jit.load(Path(FOUND.origin).parent / "data" / "silero_vad.jit").eval()


def waveform(seconds: int) -> torch.Tensor:
    """Something like speech: gliding harmonics under syllables, with pauses and noise."""
    t = torch.arange(seconds * RATE) / RATE
    pitch = 2 * torch.pi * (120 * t + 8 * torch.sin(2 * torch.pi * 0.7 * t))
    voice = sum(torch.sin(n * pitch) / n for n in range(1, 20))
    syllables = torch.sin(2 * torch.pi * 2.1 * t).clamp(min=0) * (torch.sin(2 * torch.pi * 0.2 * t) > -0.3)
    noise = torch.randn(len(t), generator=torch.Generator().manual_seed(0))
    return 0.2 * voice * syllables + 0.005 * noise


def own_probabilities(program: Any, wave: torch.Tensor) -> list[float]:
    program.reset_states()
    with torch.no_grad():
        return [program(chunk, RATE).item() for chunk in wave.split(CHUNK)]


def features(w: dict[str, torch.Tensor], wave: torch.Tensor) -> torch.Tensor:
    """The detector's front, a chunk at a time: a spectrum, then four convolutions; [chunks, 128]."""
    chunks = torch.stack(
        [f.pad(wave, (CONTEXT, 0))[at : at + CONTEXT + CHUNK] for at in range(0, len(wave), CHUNK)]
    )
    x = f.conv1d(f.pad(chunks[:, None], (0, 64), "reflect"), w["stft.forward_basis_buffer"], stride=128)
    x = (x[:, :129] ** 2 + x[:, 129:] ** 2).sqrt()
    for n, stride in enumerate((1, 2, 2, 1)):
        name = f"encoder.{n}.reparam_conv"
        x = f.conv1d(x, w[f"{name}.weight"], w[f"{name}.bias"], stride=stride, padding=1).relu()
    return x.squeeze(-1)


@pytest.mark.parametrize(("weights", "most"), [("float32", 1e-4), ("bfloat16", 0.03), ("int8", 0.05)])
def test_the_lstm_of_a_voice_detector_gives_its_own_probabilities(program: Any, weights: str, most: float):
    wave = waveform(10)[: 10 * RATE // CHUNK * CHUNK]
    want = np.array(own_probabilities(program, wave))
    assert want.min() < 0.1
    assert want.max() > 0.5, "the waveform should have something of speech"
    w = {
        name.removeprefix("_model."): value
        for name, value in program.state_dict().items()
        if name.startswith("_model.")
    }
    tensors = {
        f"{name}_l0": w[f"decoder.rnn.{name}"].numpy()
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    }
    layer = stream.Recurrent.from_tensors("LSTM", tensors, weights=weights)
    assert (layer.input_size, layer.hidden_size) == (128, 128)
    x = features(w, wave).numpy()
    read_out, bias = w["decoder.decoder.2.weight"].numpy().reshape(128), w["decoder.decoder.2.bias"].item()
    session, found = layer.open(), []
    for number, row in enumerate(x):
        if number % 40 == 39:  # as a server does between packets
            session = layer.open(session.save())
        y = session.step(np.ascontiguousarray(row))
        found.append(1 / (1 + np.exp(-(np.maximum(y, 0) @ read_out + bias))))
    assert np.abs(np.array(found) - want).max() < most
    assert np.array_equal(layer.open().run(x)[-1], y)
