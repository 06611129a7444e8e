"""Time series to forecast: the data (`ForecastData`) and the network (`ForecastModel`)."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from typing import Any

from unrolled.errors import ConfigError, expected
from unrolled.spec.cells import CELLS
from unrolled.spec.fields import check, setting
from unrolled.spec.model import LARGEST
from unrolled.spec.tasks import Steps, TaskKind, register_task

__all__ = ["DISTRIBUTIONS", "FORECAST", "ForecastData", "ForecastModel", "interval_levels", "names_in"]

DISTRIBUTIONS = ("point", "quantiles", "gaussian", "student-t", "negative-binomial")
PARAMETERS = {"point": 1, "gaussian": 2, "student-t": 3, "negative-binomial": 2}  # of one forecast value
MOST_LEVELS = 20
MOST_CORRECTIONS = (
    30_000  # numbers that correct intervals, one for each level and step ahead: config.json has them
)
LONGEST_HORIZON = 100_000
MOST_SERIES = 10_000_000


@dataclass(frozen=True)
class ForecastData:
    """Series to forecast: `ForecastData("load.csv", horizon=48, known="temperature", intervals="80,95")`."""

    source: str = setting(
        MISSING,
        "a table (.csv, .tsv, .parquet) with a row per time step, long or wide, .jsonl or .tsf",
        flag="SOURCE",
    )
    horizon: int = setting(
        MISSING,
        "number of steps to forecast",
        flag="--horizon",
        minimum=1,
        maximum=LONGEST_HORIZON,
        metavar="STEPS",
    )
    target: str | None = setting(
        None,
        "columns to forecast, separated by commas; default: found by their names, or every numeric column "
        "without another role",
        flag="--target",
    )
    id: str | None = setting(
        None, "column that identifies the series of each row; default: found by its name", flag="--id"
    )
    time: str | None = setting(
        None, "column with the time of each step; default: found by its name", flag="--time"
    )
    freq: str | None = setting(
        None,
        "time between two steps, such as h, 15min, D, W or MS; default: inferred from the times",
        flag="--freq",
    )
    season: int | None = setting(
        None,
        "number of steps in the main season; default: by the frequency, such as 24 for hourly data",
        flag="--season",
        minimum=1,
        maximum=1_000_000,
    )
    known: str | None = setting(
        None,
        "columns whose future values are known, separated by commas, such as those of a calendar",
        flag="--known",
        metavar="A,B",
    )
    static: str | None = setting(
        None,
        "columns with one value for each series, separated by commas",
        flag="--static",
        metavar="A,B",
    )
    columns: str | None = setting(
        None,
        "further input columns, whose values are known up to the present, separated by commas",
        flag="--columns",
        metavar="A,B",
    )
    window: int | None = setting(
        None,
        "number of past steps that a forecast is made from; default: by season, horizon and length of "
        "the series",
        flag="--window",
        minimum=1,
        maximum=1_000_000,
        metavar="STEPS",
    )
    intervals: str | None = setting(
        None,
        "levels of prediction intervals in percent, separated by commas, such as 80,95; default: no "
        "intervals",
        flag="--intervals",
        metavar="80,95",
    )
    distribution: str = setting(
        "auto",
        "form of the forecast of a value; auto: quantiles with --intervals, else a point, the median; "
        "negative-binomial is for counts",
        flag="--distribution",
        choices=("auto", *DISTRIBUTIONS),
    )
    normalise: str = setting(
        "last",
        "how a window is normalised; last: its last value is subtracted; instance: its mean is "
        "subtracted, and "
        "it is divided by its standard deviation (Kim et al. 2022); none: not at all",
        flag="--normalise",
        choices=("last", "instance", "none"),
    )
    missing: str = setting(
        "mask",
        "how missing values are treated; mask: the network is given which values are missing, and the time "
        "since the last one; drop: windows with such steps are left out; refuse: a missing value is an error",
        flag="--missing",
        choices=("mask", "drop", "refuse"),
    )
    causal: bool = setting(
        False,
        "read step by step, with one state that is carried through the series, so that the model can be "
        "streamed",
        flag="--causal",
    )
    backtest: int = setting(
        0,
        "make the test part of the last N forecasts of each series, one horizon apart; 0: no backtest",
        flag="--backtest",
        minimum=0,
        maximum=1000,
        metavar="N",
    )
    validation_share: float = setting(
        0.2,
        "share of each series, before the test part, that is held out to choose the best network and to "
        "correct "
        "its intervals",
        flag="--validation",
        above=0,
        below=1,
    )
    test: str | None = setting(
        None,
        "file of later values or of other series, which is scored once, at the end",
        flag="--test",
        metavar="FILE",
    )
    test_share: float | None = setting(
        None,
        "share at the end of each series that is the test part, which is scored once; default: 0.2, or 0 "
        "with a "
        "test file or a backtest",
        flag="--test-share",
        minimum=0,
        below=1,
    )
    controls: bool = setting(
        True, "also fit simple models on the same split, for comparison", flag="--controls", negative=True
    )

    def __post_init__(self) -> None:
        check(self)
        for name in ("source", "test"):
            path = getattr(self, name)
            if path is not None and (not path or "\0" in path):
                raise ConfigError(expected(name, "a path", repr(path)))
        shares = self.validation_share + (self.test_share or 0)
        if shares >= 1:
            raise ConfigError(expected("validation_share + test_share", "below 1", shares))
        for name, other in (("test", self.test), ("backtest", self.backtest)):
            if other and self.test_share:
                raise ConfigError(expected("test_share", f"none beside `{name}`", self.test_share))
        if self.test and self.backtest:
            raise ConfigError(expected("backtest", "none beside a test file", self.backtest))
        levels = interval_levels(self.intervals)
        if len(levels) * self.horizon > MOST_CORRECTIONS:
            want = f"at most {MOST_CORRECTIONS // self.horizon} levels with a horizon of {self.horizon}"
            raise ConfigError(expected("intervals", want, len(levels)))
        if levels and self.distribution == "point":
            raise ConfigError(expected("distribution", "another than point with `intervals`", "point"))
        if self.distribution == "quantiles" and not levels:
            raise ConfigError(expected("intervals", "levels with the distribution quantiles", "none"))
        if self.distribution == "negative-binomial" and self.normalise == "instance":
            raise ConfigError(expected("normalise", "last or none with negative-binomial", "instance"))
        if self.causal and self.missing == "drop":
            raise ConfigError(expected("missing", "mask or refuse with `causal`", "drop"))
        if self.causal and self.distribution == "negative-binomial":
            raise ConfigError(expected("distribution", "another with `causal`", "negative-binomial"))
        if self.causal and self.normalise == "instance":
            raise ConfigError(expected("normalise", "last or none with `causal`", "instance"))
        roles: dict[str, str] = {}
        for role in ("target", "known", "static", "columns"):
            for name in names_in(getattr(self, role)):
                if name in roles:
                    raise ConfigError(expected(role, f"columns that are not in `{roles[name]}`", name))
                roles[name] = role

    @property
    def levels(self) -> tuple[float, ...]:
        """The levels of intervals in percent, rising."""
        return interval_levels(self.intervals)

    @property
    def outputs(self) -> str:
        """The distribution, one of `DISTRIBUTIONS`."""
        if self.distribution != "auto":
            return self.distribution
        return "quantiles" if self.levels else "point"


def interval_levels(text: str | None) -> tuple[float, ...]:
    """Return the levels in "80,95", rising. Raises ConfigError: no numbers above 0 and below 100."""
    if text is None:
        return ()
    found = set()
    for each in text.split(","):
        try:
            level = float(each)
        except ValueError:
            level = 0.0
        if not 0 < level < 100:
            raise ConfigError(expected("intervals", "levels in percent such as 80,95", repr(text)))
        found.add(level)
    if len(found) > MOST_LEVELS:
        raise ConfigError(expected("intervals", f"at most {MOST_LEVELS} levels", len(found)))
    return tuple(sorted(found))


def names_in(text: str | None) -> tuple[str, ...]:
    """Return the names in "a, b"."""
    return () if text is None else tuple(name.strip() for name in text.split(",") if name.strip())


@dataclass(frozen=True)
class ForecastModel:
    """A network that forecasts `horizon` steps from `window` steps, read in segments or one by one."""

    horizon: int = setting(MISSING, "steps that it forecasts", minimum=1, maximum=LONGEST_HORIZON)
    window: int = setting(MISSING, "steps that a forecast is made from", minimum=1, maximum=1_000_000)
    segment: int = setting(
        MISSING,
        "steps that are read at once; 0: one by one, the state carried on",
        minimum=0,
        maximum=1_000_000,
    )
    input_size: int = setting(
        MISSING, "input channels: the value, masks, covariates", minimum=1, maximum=LARGEST
    )
    outputs: int = setting(MISSING, "numbers that describe one forecast value", minimum=1, maximum=1000)
    hidden_size: int = setting(MISSING, "hidden units per layer", minimum=1, maximum=LARGEST)
    known_size: int = setting(0, "channels that are known ahead", minimum=0, maximum=LARGEST)
    static_size: int = setting(0, "numbers of each series", minimum=0, maximum=LARGEST)
    series: int = setting(0, "series that have an embedding of their own", minimum=0, maximum=MOST_SERIES)
    distribution: str = setting("point", "what they are", choices=DISTRIBUTIONS)
    normalise: str = setting("last", "what is taken off a window", choices=("last", "instance", "none"))
    num_layers: int = setting(1, "number of recurrent layers", minimum=1, maximum=1024)
    cell: str = setting("gru", "kind of recurrent cell", choices=CELLS)
    nonlinearity: str = setting("tanh", "activation function of the rnn cell", choices=("tanh", "relu"))
    dropout: float = setting(0.0, "share of activations dropped during training", minimum=0, below=1)
    chrono_steps: int | None = setting(None, "longest lag that the gates are initialised for", minimum=2)
    init: str = setting("orthogonal", "initial recurrent weights", choices=("orthogonal", "uniform"))
    forget_bias: float = setting(1.0, "initial bias of an LSTM's forget gate", minimum=-20, maximum=20)
    zoneout: float = setting(
        0.0, "chance that a unit keeps its state at a step during training", minimum=0, below=1
    )
    input_dropout: float = setting(
        0.0, "share of each layer's input dropped during training, the same at every step", minimum=0, below=1
    )
    recurrent_dropout: float = setting(
        0.0, "share of h dropped on its way to the next step, the same at every step", minimum=0, below=1
    )

    def __post_init__(self) -> None:
        check(self)
        if self.segment and self.window % self.segment:
            raise ConfigError(expected("window", f"a multiple of segment {self.segment}", self.window))
        want = PARAMETERS.get(self.distribution)
        if want is not None and self.outputs != want:
            raise ConfigError(expected("outputs", f"{want} of {self.distribution}", self.outputs))
        if self.causal and (self.series or self.normalise == "instance"):
            raise ConfigError(expected("segment", "more than 0 with embeddings of series or instances", 0))

    @property
    def causal(self) -> bool:
        """Whether it reads step by step, and its state is carried on."""
        return self.segment == 0

    @property
    def written(self) -> int:
        """The steps that one piece of the forecast has."""
        return min(self.segment or self.horizon, self.horizon)

    @property
    def pieces(self) -> int:
        """The pieces of a forecast; the last may reach beyond the horizon."""
        return -(-self.horizon // self.written)

    @property
    def seen(self) -> int:
        """The numbers that the recurrent layers read at a step."""
        if self.causal:
            return self.input_size + self.horizon * self.known_size + self.static_size
        return self.hidden_size


def _tensors(config: ForecastModel) -> dict[str, tuple[str, tuple[int, ...]]]:
    hidden = config.hidden_size
    shapes: dict[str, tuple[int, ...]] = {}
    if not config.causal:
        shapes["segment.weight"] = (hidden, config.segment * config.input_size)
        shapes["segment.bias"] = (hidden,)
        shapes["position.weight"] = (config.pieces, hidden)
        if config.series:
            shapes["series.weight"] = (config.series + 1, hidden)  # the last is of a series not known
        if config.known_size:
            shapes["known.weight"] = (hidden, config.written * config.known_size)
        if config.static_size:
            shapes["static.weight"] = (hidden, config.static_size)
    shapes |= CELLS[config.cell].stack(config.seen, hidden, config.num_layers)
    shapes["readout.weight"] = (config.written * config.outputs, hidden)
    shapes["readout.bias"] = (config.written * config.outputs,)
    return {name: ("float32", shape) for name, shape in shapes.items()}


def _states(config: ForecastModel) -> dict[str, tuple[int | None, ...]]:
    return dict.fromkeys(CELLS[config.cell].states, (config.num_layers, None, config.hidden_size))


def _steps(config: Any) -> Steps:
    """Return how a causal network runs. Raises ConfigError: it reads segments."""
    if not config.causal:
        want = "one that reads step by step, trained with causal=True or --causal"
        raise ConfigError(expected("network", want, "one that reads segments of a window"))
    return Steps(
        cell=config.cell,
        nonlinearity=config.nonlinearity,
        num_layers=config.num_layers,
        recurrent="recurrent.",
        head="readout.weight",
        head_bias="readout.bias",
    )


FORECAST = register_task(
    TaskKind(
        name="forecast",
        data=ForecastData,
        model=ForecastModel,
        tensors=_tensors,
        states=_states,
        asked_by="horizon",
        loss="loss_per_value",
        units=(("standardised loss per value", 1.0),),
        steps=_steps,
    )
)
