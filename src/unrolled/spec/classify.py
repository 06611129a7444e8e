"""Whole sequences with one answer each: a class (`ClassifyData`) or a number (`RegressData`)."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from typing import Any

from unrolled.errors import ConfigError, expected
from unrolled.spec.cells import CELLS
from unrolled.spec.data import bpe_size
from unrolled.spec.fields import check, setting
from unrolled.spec.model import LARGEST
from unrolled.spec.tasks import Steps, TaskKind, register_task

__all__ = [
    "CLASSIFY",
    "POOLINGS",
    "REGRESS",
    "ClassifyData",
    "ClassifyModel",
    "RegressData",
    "RegressModel",
]

POOLINGS = ("mean+max", "last", "attention")
STEP = "step"  # of a model: no pooling, an answer at each step
MOST_CLASSES = 10_000


@dataclass(frozen=True)
class _SequenceData:
    """The settings of the data that both tasks have."""

    source: str = setting(
        MISSING,
        "a table (.csv, .tsv, .parquet), .jsonl, .ts, .arff or .npz, or a folder with a file or a folder "
        "per class",
        flag="SOURCE",
    )
    group: str | None = setting(
        None,
        "column of groups, such as persons: no group is in two parts",
        flag="--group",
        metavar="COLUMN",
    )
    id: str | None = setting(
        None,
        "column that identifies the sample of each row; default: found by its name",
        flag="--id",
        metavar="COLUMN",
    )
    time: str | None = setting(
        None,
        "column with the time of each step; default: found by its name",
        flag="--time",
        metavar="COLUMN",
    )
    columns: str | None = setting(
        None,
        "input columns, separated by commas; default: every numeric column without another role",
        flag="--columns",
        metavar="A,B",
    )
    static: str | None = setting(
        None,
        "columns with one value for each sample, separated by commas",
        flag="--static",
        metavar="A,B",
    )
    split: str = setting(
        "auto",
        "how samples are held out; group: whole groups; time: the latest samples; random: at random, "
        "stratified by class; auto: group with --group, else random",
        flag="--split",
        choices=("auto", "group", "time", "random"),
    )
    validation_share: float = setting(
        0.1,
        "share of the samples that is held out to choose the best network and to calibrate it",
        flag="--validation",
        above=0,
        below=1,
    )
    test: str | None = setting(
        None,
        "file of test samples, which are scored once, at the end; default: X_TEST beside a source X_TRAIN",
        flag="--test",
        metavar="FILE",
    )
    test_share: float | None = setting(
        None,
        "share of the samples in the test part, which is scored once, at the end; default: 0.1, or 0 "
        "where the "
        "source has a test part or a test file, or fewer than 100 samples",
        flag="--test-share",
        minimum=0,
        below=1,
    )
    missing: str = setting(
        "mask",
        "how missing values are treated; mask: the network is given which values are missing, and the time "
        "since the last one; drop: such steps are left out; refuse: a missing value is an error",
        flag="--missing",
        choices=("mask", "drop", "refuse"),
    )
    tokens: str = setting(
        "auto",
        "what a symbol of a text is; auto: a character, or a byte where there are more than 512 "
        "different ones",
        flag="--tokens",
        choices=("auto", "char", "byte", "word", "bpe:N"),
    )
    causal: bool = setting(
        False,
        "read in one direction, so that an answer depends on no later step and the model can be streamed",
        flag="--causal",
    )
    pooling: str = setting(
        "mean+max",
        "how the outputs of the steps become one answer; mean+max and attention pool those of all steps, "
        "last "
        "takes that of the last one",
        flag="--pooling",
        choices=POOLINGS,
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
        bpe_size(self.tokens)
        if self.validation_share + (self.test_share or 0) >= 1:
            raise ConfigError(
                expected(
                    "validation_share + test_share",
                    "below 1",
                    self.validation_share + (self.test_share or 0),
                )
            )
        if self.test is not None and self.test_share:
            raise ConfigError(expected("test_share", "none beside a test file", self.test_share))
        if self.causal and self.pooling == "attention":
            raise ConfigError(expected("pooling", "mean+max or last with `causal`", "attention"))


@dataclass(frozen=True)
class ClassifyData(_SequenceData):
    """Sequences with a class each, or at each step: `ClassifyData("gestures.csv", label="activity")`."""

    label: str | None = setting(
        None,
        "column of the classes to predict; folder: the names of files or folders; A,B: several labels, each "
        "a column of 0 and 1, any number of which may apply; without a value: the column that is called "
        "label "
        "or class, or the only candidate",
        flag="--label",
        metavar="COLUMN",
    )
    balance: bool = setting(
        False, "give every class the same weight in training, however rare it is", flag="--balance"
    )


@dataclass(frozen=True)
class RegressData(_SequenceData):
    """Sequences with a number each, or each step: `RegressData("pump.parquet", target="rul", id="unit")`."""

    target: str | None = setting(
        None,
        "column of the numbers to predict: one for each sequence, or one for each step where it varies "
        "within a "
        "sequence; A,B: several; without a value: the only candidate",
        flag="--target",
        metavar="COLUMN",
    )


@dataclass(frozen=True)
class _SequenceModel:
    """A stack over steps, pooling, and a linear read-out."""

    input_size: int = setting(
        MISSING, "input channels, masks among them; 0 for symbols", minimum=0, maximum=LARGEST
    )
    vocab_size: int = setting(MISSING, "symbols in the vocabulary; 0 for numbers", minimum=0, maximum=2**24)
    embedding_size: int = setting(
        MISSING, "size of a symbol's embedding; 0 for numbers", minimum=0, maximum=LARGEST
    )
    outputs: int = setting(MISSING, "classes or numbers", minimum=1, maximum=MOST_CLASSES)
    hidden_size: int = setting(MISSING, "hidden units per layer and direction", minimum=1, maximum=LARGEST)
    num_layers: int = setting(1, "number of recurrent layers", minimum=1, maximum=1024)
    cell: str = setting("gru", "kind of recurrent cell", choices=CELLS)
    nonlinearity: str = setting("tanh", "activation function of the rnn cell", choices=("tanh", "relu"))
    causal: bool = setting(False, "one direction, and nothing that looks ahead")
    neighbours: int = setting(
        0,
        "steps before and after each that it is shown beside; before alone where causal",
        minimum=0,
        maximum=64,
    )
    pooling: str = setting(
        "mean+max",
        "what the answer is read from; step: an answer at each step, read from its output",
        choices=(*POOLINGS, STEP),
    )
    dropout: float = setting(0.0, "share of activations dropped during training", minimum=0, below=1)
    chrono_steps: int | None = setting(None, "longest lag that the gates are initialised for", minimum=2)
    init: str = setting("orthogonal", "initial recurrent weights", choices=("orthogonal", "uniform"))
    forget_bias: float = setting(1.0, "initial bias of an LSTM's forget gate", minimum=-20, maximum=20)
    symbol_dropout: float = setting(
        0.0, "share of symbols whose whole embedding is dropped during training", minimum=0, below=1
    )
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
        symbols = self.vocab_size > 0
        if symbols == (self.input_size > 0) or symbols != (self.embedding_size > 0):
            got = f"{self.input_size} channels, {self.vocab_size} symbols embedded in {self.embedding_size}"
            raise ConfigError(expected("input_size", "channels, or symbols with an embedding", got))
        if self.symbol_dropout and not symbols:
            raise ConfigError(expected("symbol_dropout", "0 for channels of numbers", self.symbol_dropout))

    @property
    def directions(self) -> int:
        """1 or 2."""
        return 1 if self.causal else 2

    @property
    def seen(self) -> int:
        """The numbers that the first layer reads at a step."""
        around = 1 + self.neighbours * (1 if self.causal else 2)
        return (self.input_size or self.embedding_size) * around

    @property
    def pooled(self) -> int:
        """The numbers that the read-out reads."""
        return self.hidden_size * self.directions * (2 if self.pooling == "mean+max" else 1)


@dataclass(frozen=True)
class ClassifyModel(_SequenceModel):
    """A classifier of sequences; `outputs` are its classes."""


@dataclass(frozen=True)
class RegressModel(_SequenceModel):
    """A network that predicts a number from a sequence."""


def _tensors(config: Any) -> dict[str, tuple[str, tuple[int, ...]]]:
    hidden = config.hidden_size
    shapes: dict[str, tuple[int, ...]] = {}
    if config.vocab_size:
        shapes["embedding.weight"] = (config.vocab_size, config.embedding_size)
    shapes |= CELLS[config.cell].stack(config.seen, hidden, config.num_layers, config.directions)
    if config.pooling == "attention":
        shapes["attention.weight"] = (1, hidden * config.directions)
    shapes["readout.weight"] = (config.outputs, config.pooled)
    shapes["readout.bias"] = (config.outputs,)
    return {name: ("float32", shape) for name, shape in shapes.items()}


def _states(config: Any) -> dict[str, tuple[int | None, ...]]:
    shape = (config.num_layers * config.directions, None, config.hidden_size)
    return dict.fromkeys(CELLS[config.cell].states, shape)


def _steps(config: Any) -> Steps:
    """Return how a causal network runs step by step. Raises ConfigError: it reads both ways."""
    if not config.causal:
        want = "one that reads one way, trained with causal=True or --causal"
        raise ConfigError(expected("network", want, "one that reads both ways"))
    return Steps(
        cell=config.cell,
        nonlinearity=config.nonlinearity,
        num_layers=config.num_layers,
        recurrent="recurrent.",
        embedding="embedding.weight" if config.vocab_size else None,
        head="readout.weight",
        head_bias="readout.bias",
        pooling=None if config.pooling in ("last", STEP) else config.pooling,
        neighbours=config.neighbours,
    )


CLASSIFY = register_task(
    TaskKind(
        name="classify",
        data=ClassifyData,
        model=ClassifyModel,
        tensors=_tensors,
        states=_states,
        steps=_steps,
        asked_by="label",
        loss="nats_per_sample",
        units=(("nats per sample", 1.0),),
        vocabulary=lambda config: config.vocab_size > 0,
    )
)
REGRESS = register_task(
    TaskKind(
        name="regress",
        data=RegressData,
        model=RegressModel,
        tensors=_tensors,
        states=_states,
        steps=_steps,
        asked_by="target",
        loss="squared_error_per_sample",
        units=(("standardised squared error per sample", 1.0),),
        vocabulary=lambda config: config.vocab_size > 0,
    )
)
