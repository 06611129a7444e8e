"""Settings: what a config accepts, and what it refuses."""

from __future__ import annotations

import dataclasses
import inspect

import pytest

from unrolled.errors import ConfigError
from unrolled.spec import (
    CELLS,
    Cell,
    DataConfig,
    EvalConfig,
    LabConfig,
    ModelConfig,
    PredictConfig,
    ProbeConfig,
    SampleConfig,
    TrainConfig,
    from_json,
    register_cell,
    setting_of,
    settings,
    to_json,
)

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
        ({"chrono_steps": 9}, r"chrono_steps: expected a gated cell \(lstm, gru\), got `cell` plain"),
        ({"forget_bias": 2.0}, "forget_bias: expected `cell` lstm without chrono_steps, got `cell` plain"),
        ({"nonlinearity": "relu"}, "nonlinearity: expected `cell` rnn, got `cell` plain"),
    ],
)
def test_a_setting_that_the_cell_does_not_have_is_refused(plain: Cell, make, asked, message):
    with pytest.raises(ConfigError, match=message):
        make(cell=plain.name, **asked)


@pytest.mark.parametrize("cls", [DataConfig, EvalConfig, LabConfig, ProbeConfig, SampleConfig, TrainConfig])
def test_every_field_can_be_set_on_the_command_line_and_is_explained(cls: type):
    found = settings(cls)
    assert {s.name for s in found} == {field.name for field in dataclasses.fields(cls)} - {"data"}
    assert all(s.flag and s.help for s in found)
    assert len({s.flag for s in found}) == len(found)


def test_a_function_has_the_defaults_of_the_settings_of_its_command():
    pytest.importorskip("torch")
    from unrolled.predict import evaluate, predict
    from unrolled.probe import examine
    from unrolled.sample import sample

    pairs = ((sample, SampleConfig), (evaluate, EvalConfig), (predict, PredictConfig), (examine, ProbeConfig))
    for function, cls in pairs:
        taken = inspect.signature(function).parameters
        for s in settings(cls):
            if s.name != "run" or s.name in taken:
                wanted = inspect.Parameter.empty if s.default is dataclasses.MISSING else s.default
                assert taken[s.name].default == wanted, f"{function.__name__} {s.name}"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"length": 0}, "length: expected at least 1, got 0"),
        ({"seed": -1}, "seed: expected at least 0, got -1"),
        ({"temperature": float("nan")}, "temperature: expected a finite number, got nan"),
        ({"top_k": 1.5}, "top_k: expected a whole number, got 1.5"),
        ({"top_p": 0}, "top_p: expected more than 0, got 0"),
    ],
)
def test_a_sample_is_refused_settings_out_of_bounds(settings: dict[str, float], message: str):
    with pytest.raises(ConfigError, match=message):
        SampleConfig("runs/book", **settings)


def test_a_renamed_field_is_taken_and_given_by_its_older_name_with_a_warning():
    with pytest.warns(DeprecationWarning, match=r"^TrainConfig: start is now init"):
        config = TrainConfig(DataConfig("sentences"), start="uniform")
    assert config.init == "uniform"
    with pytest.warns(DeprecationWarning, match=r"^TrainConfig: start is now init"):
        assert config.start == "uniform"
    with pytest.warns(DeprecationWarning, match=r"^ModelConfig: start is now init"):
        assert ModelConfig(**SIZES, start="uniform").init == "uniform"
    assert dataclasses.replace(config, seed=1).init == "uniform"
    assert "start" not in to_json(config)


def test_a_config_that_an_older_version_stored_is_read():
    stored = to_json(ModelConfig(**SIZES, init="uniform"))
    older = {("start" if name == "init" else name): value for name, value in stored.items()}
    assert from_json(ModelConfig, older) == from_json(ModelConfig, stored)
    with pytest.raises(ConfigError, match="config: expected each field once, got one by its older and its"):
        from_json(ModelConfig, {**stored, "start": "uniform"})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: TrainConfig(DataConfig("a"), run=""),
            "run: expected a directory or a new path, got an empty",
        ),
        (
            lambda: TrainConfig(DataConfig("a"), run="a\0b"),
            r"run: expected a directory or a new path, got 'a\\x00b'",
        ),
        (lambda: DataConfig("a\0b"), r"source: expected a path, got 'a\\x00b'"),
    ],
)
def test_a_text_that_can_be_no_path_is_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_setting_by_its_older_and_its_present_name_is_refused():
    with (
        pytest.warns(DeprecationWarning, match="TrainConfig: start is now init"),
        pytest.raises(ConfigError, match="start: expected init alone, got both"),
    ):
        TrainConfig(DataConfig("a"), start="uniform", init="orthogonal")
