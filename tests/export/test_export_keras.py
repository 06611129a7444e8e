"""Keras: our weights in its layers and its weights in ours, and whole models; on torch as its backend."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from export_cases import CELLS, language, layer, sequence, tagger

from unrolled import export
from unrolled.errors import ConfigError

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras", reason="keras is not installed: pip install 'unrolled[keras]'")
pytestmark = pytest.mark.filterwarnings("ignore")  # Keras' own
NETWORKS = {
    "both ways": lambda: layer("lstm", bidirectional=True),
    "no bias": lambda: layer("gru", bias=False),
    "relu": lambda: layer("rnn", nonlinearity="relu"),
    "a language model": lambda: language("gru", tied=True),
    "classes, pooled": lambda: sequence("gru"),
    "a number, last, both ways": lambda: sequence("lstm", classes=0, pooling="last", layers=2),
    "classes, attention, steps beside each": lambda: sequence("gru", pooling="attention", neighbours=2),
    "a number of a text, causal, steps beside each": lambda: sequence(
        "lstm", classes=0, pooling="last", neighbours=1, text=True, causal=True
    ),
    "labels at each step of a text": lambda: sequence("rnn", pooling="step", text=True, several=True),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_a_keras_file_that_says_the_same(name, tmp_path):
    found = export.export(NETWORKS[name](), to="keras", out=tmp_path / "m.keras")
    assert found.passed
    assert found.check.largest < 1e-5
    model = keras.saving.load_model(tmp_path / "m.keras")  # with Keras alone
    assert model.inputs[0].name.startswith("x")


def theirs_of(cell, both, **options):
    kinds = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU, "rnn": keras.layers.SimpleRNN}
    if cell == "reset_before_gru":
        kinds[cell], options = keras.layers.GRU, {"reset_after": False}
    made = kinds[cell](5, return_sequences=True, **options)
    return keras.layers.Bidirectional(made) if both else made


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("cell", [*CELLS, "reset_before_gru"])
def test_weights_go_to_keras_and_back(cell, both):
    stack, x = [theirs_of(cell, both), theirs_of(cell, both)], np.random.default_rng(0).normal(size=(3, 7, 4))
    y, draw = x.astype(np.float32), np.random.default_rng(1)
    stack[1](stack[0](y))  # which builds them
    for each in stack:  # biases begin at zero, which would hide their order
        each.set_weights([draw.normal(scale=0.4, size=value.shape) for value in each.get_weights()])
    want = stack[1](stack[0](y)).detach().cpu().numpy()
    ours = export.from_keras(stack)
    np.testing.assert_allclose(ours(torch.from_numpy(y))[0].detach(), want, atol=1e-5)
    again = export.to_keras(ours)
    states = [np.zeros((3, 5), np.float32)] * (len(again.inputs) - 1)
    np.testing.assert_allclose(again([y, *states])[0].detach().cpu(), want, atol=1e-5)


def test_what_torchs_layers_do_not_do_is_refused_in_one_line():
    x = np.zeros((1, 2, 3), np.float32)

    def built(made):
        made(x)
        return made

    layers = keras.layers
    for made, words in (
        (built(layers.LSTM(4, activation="relu")), r"activation tanh, got relu"),
        (built(layers.LSTM(4, recurrent_activation="relu")), r"recurrent_activation sigmoid, got relu"),
        (built(layers.LSTM(4, go_backwards=True)), r"go_backwards=False"),
        (built(layers.Bidirectional(layers.LSTM(4), merge_mode="sum")), r"merge_mode concat, got sum"),
        (built(layers.Dense(4)), r"an LSTM, GRU, SimpleRNN or Bidirectional of Keras, got Dense"),
        (layers.LSTM(4), r"a layer that is built"),
    ):
        with pytest.raises(ConfigError, match=rf"^layers\[0\]: expected {words}"):
            export.from_keras(made)
    with pytest.raises(
        ConfigError, match=r"^layers\[1\]: expected layers of one kind and size, LSTM\(4\), got"
    ):
        export.from_keras([built(layers.LSTM(4)), built(layers.GRU(4))])
    with pytest.raises(ConfigError, match=r"^network: expected layers, .* got one of the task tag"):
        export.to_keras(tagger())
    with pytest.raises(ConfigError, match=r"^network: expected layers that Keras has: .* got proj_size 2"):
        export.to_keras(layer("lstm", proj_size=2))
    with pytest.raises(ConfigError, match=r"^network: expected layers without zoneout, .* got zoneout 0.1"):
        export.to_keras(layer("gru", zoneout=0.1))
