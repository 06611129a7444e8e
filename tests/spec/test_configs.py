"""Settings: what a config accepts, and what it refuses."""

from __future__ import annotations

import dataclasses
import inspect
import math

import pytest

from unrolled.errors import ConfigError
from unrolled.spec import (
    CELLS,
    Cell,
    ClassifyData,
    DataConfig,
    EvalConfig,
    LabConfig,
    ModelConfig,
    PredictConfig,
    ProbeConfig,
    SampleConfig,
    TrainConfig,
    check,
    from_json,
    kind_named,
    register_cell,
    setting,
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


@dataclasses.dataclass(frozen=True)
class Bounds:
    closed: float = setting(0.5, "with both ends", minimum=0, maximum=1)
    opened: float = setting(0.5, "without them", above=0, below=1)


def test_a_bound_belongs_to_what_it_bounds_or_not():
    inside, outside = (0.0, 5e-324, 1.0, math.nextafter(1, 0)), (-5e-324, math.nextafter(1, 2))
    for value in (*inside, *outside):
        for name, fits in (("closed", value in inside), ("opened", value in inside and value not in (0, 1))):
            config = Bounds(**{name: value})
            if fits:
                check(config)
            else:
                with pytest.raises(ConfigError, match=f"^{name}: expected "):
                    check(config)


def test_parts_that_are_held_out_leave_something_to_train_on():
    assert ClassifyData("a", validation_share=0.5, test_share=0.25).test_share == 0.25
    for share in (0.5, 0.75):
        with pytest.raises(ConfigError, match=r"^validation_share \+ test_share: expected below 1, got 1"):
            ClassifyData("a", validation_share=0.5, test_share=share)


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("name", ["lstm", "gru", "rnn"])
def test_the_declared_weights_of_a_stack_are_torchs(name: str, directions: int):
    torch = pytest.importorskip("torch")
    stack = getattr(torch.nn, name.upper())(3, 4, 3, bidirectional=directions == 2)
    shapes = {f"recurrent.{each}": tuple(weight.shape) for each, weight in stack.named_parameters()}
    assert CELLS[name].stack(3, 4, 3, directions) == shapes


def test_a_loss_is_shown_in_nats_and_bits():
    assert kind_named("language").shown(3 * math.log(2)) == "2.0794 nats 3.0000 bits"


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
