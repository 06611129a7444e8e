"""Settings: what a config accepts, and what it refuses."""

from __future__ import annotations

import pytest

from unrolled.errors import ConfigError
from unrolled.spec import CELLS, Cell, DataConfig, ModelConfig, TrainConfig, register_cell, setting_of

SIZES = {"vocab_size": 4, "embedding_size": 3, "hidden_size": 3}


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Cell:
    """A cell without a gate that keeps, registered after the config classes were made."""
    monkeypatch.delitem(CELLS, "plain", raising=False)
    cell = Cell(name="plain", gates=("a",), sigmoid=(), states=("h",), traces=("a",))
    monkeypatch.setitem(CELLS, "plain", cell)
    return register_cell(cell)


@pytest.mark.usefixtures("plain")
def test_a_cell_that_was_registered_later_is_a_choice():
    assert ModelConfig(**SIZES, cell="plain").cell == "plain"
    assert TrainConfig(DataConfig("sentences"), cell="plain").cell == "plain"
    assert setting_of(TrainConfig, "cell").choices == tuple(CELLS)


@pytest.mark.parametrize(
    "make", [lambda **s: ModelConfig(**SIZES, **s), lambda **s: TrainConfig(DataConfig("sentences"), **s)]
)
@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"chrono_steps": 9}, r"chrono_steps: expected a gated cell \(lstm, gru\), got cell plain"),
        ({"forget_bias": 2.0}, "forget_bias: expected cell lstm without chrono_steps, got cell plain"),
        ({"nonlinearity": "relu"}, "nonlinearity: expected cell rnn, got cell plain"),
    ],
)
def test_a_setting_that_the_cell_does_not_have_is_refused(plain: Cell, make, asked, message):
    with pytest.raises(ConfigError, match=message):
        make(cell=plain.name, **asked)
