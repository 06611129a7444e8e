"""Sentences with a tag for each word: parts of speech, chunks, named entities."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from typing import Any

from unrolled.errors import ConfigError, expected
from unrolled.spec.cells import CELLS
from unrolled.spec.fields import check, setting
from unrolled.spec.model import LARGEST
from unrolled.spec.tasks import TaskKind, register_task

__all__ = ["AFFIXES", "TAG", "TagData", "TagModel"]

MOST_TAGS = 10_000
MOST_SYMBOLS = 2**22
AFFIXES = 5  # ends of 2, 3 and 4 characters, beginnings of 2 and 3
SHAPES, SHAPE_SIZE = (
    48,
    12,
)  # kinds of capitals, digits and other signs in a word; the size of their embedding
CHARACTER_WINDOW = 3  # of the convolution


@dataclass(frozen=True)
class TagData:
    """Tagged words: `TagData("train.conll", tags="2", test="test.conll")`."""

    source: str = setting(
        MISSING,
        "a file in the column format of CoNLL, .jsonl with tokens and tags, or a table with a row per word",
        flag="SOURCE",
    )
    tags: str | None = setting(
        None,
        "column of the tags: its number, counted from 0, or from the end as -1, or its name; default: "
        "the last",
        flag="--tags",
        metavar="COLUMN",
    )
    words: str | None = setting(
        None, "column of the words; default: the first, or found by its name", flag="--words",
        metavar="COLUMN",
    )  # fmt: skip
    columns: str | None = setting(
        None,
        "input columns beside the words, separated by commas; default: every column between words and tags",
        flag="--columns",
        metavar="A,B",
    )
    id: str | None = setting(
        None, "column that identifies the sentence of each row; default: found by its name", flag="--id"
    )
    split: str = setting(
        "auto",
        "how sentences are held out; group: whole documents; time: the last sentences; random: at random; "
        "auto: group where there are several documents, else random",
        flag="--split",
        choices=("auto", "group", "time", "random"),
    )
    validation_share: float = setting(
        0.1,
        "share of the sentences that is held out to choose the best network",
        flag="--validation",
        above=0,
        below=1,
    )
    test: str | None = setting(
        None, "file of test sentences, which are scored once, at the end", flag="--test", metavar="FILE"
    )
    test_share: float | None = setting(
        None,
        "share of the sentences in the test part, which is scored once, at the end; default: 0.1, or 0 where "
        "there is a test file, or fewer than 100 sentences",
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
        if self.test is not None and self.test_share:
            raise ConfigError(expected("test_share", "none beside a test file", self.test_share))


@dataclass(frozen=True)
class TagModel:
    """Words, their characters and further columns; a two-way stack; a conditional random field."""

    words: int = setting(MISSING, "different words, unknown ones as one", minimum=1, maximum=MOST_SYMBOLS)
    word_size: int = setting(MISSING, "size of a word's embedding", minimum=1, maximum=LARGEST)
    characters: int = setting(MISSING, "different characters, padding and unknown among them", minimum=2,
                              maximum=MOST_SYMBOLS)  # fmt: skip
    character_size: int = setting(MISSING, "size of a character's embedding", minimum=1, maximum=LARGEST)
    character_hidden: int = setting(MISSING, "what a word's characters become", minimum=1, maximum=LARGEST)
    affixes: int = setting(MISSING, "buckets of words' ends", minimum=1, maximum=MOST_SYMBOLS)
    affix_size: int = setting(MISSING, "size of an affix's embedding", minimum=1, maximum=LARGEST)
    columns: int = setting(MISSING, "further columns", minimum=0, maximum=1000)
    column_values: int = setting(MISSING, "their different values, all together", minimum=0,
                                 maximum=MOST_SYMBOLS)  # fmt: skip
    column_size: int = setting(MISSING, "size of a value's embedding", minimum=0, maximum=LARGEST)
    tags: int = setting(MISSING, "different tags inside", minimum=2, maximum=4 * MOST_TAGS)
    hidden_size: int = setting(MISSING, "hidden units per layer and direction", minimum=1, maximum=LARGEST)
    num_layers: int = setting(1, "number of recurrent layers", minimum=1, maximum=1024)
    cell: str = setting("gru", "kind of recurrent cell", choices=CELLS)
    nonlinearity: str = setting("tanh", "activation function of the rnn cell", choices=("tanh", "relu"))
    dropout: float = setting(0.0, "share of activations dropped during training", minimum=0, below=1)
    word_dropout: float = setting(
        0.0, "share of a batch's words that are made unknown during training", minimum=0, below=1
    )
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
        if (self.columns > 0) != (self.column_values > 0) or (self.columns > 0) != (self.column_size > 0):
            got = f"{self.column_values} values of size {self.column_size}"
            raise ConfigError(expected("columns", f"values for {self.columns} columns", got))

    @property
    def of_word(self) -> int:
        """The numbers that a word alone becomes."""
        return self.word_size + SHAPE_SIZE + AFFIXES * self.affix_size + self.character_hidden

    @property
    def seen(self) -> int:
        """The numbers that the first layer reads at a step."""
        return self.of_word + self.columns * self.column_size


def _tensors(config: Any) -> dict[str, tuple[str, tuple[int, ...]]]:
    hidden = config.hidden_size
    shapes: dict[str, tuple[int, ...]] = {
        "word.weight": (config.words, config.word_size),
        "shape.weight": (SHAPES, SHAPE_SIZE),
        "affix.weight": (config.affixes, config.affix_size),
        "character.weight": (config.characters, config.character_size),
        "convolution.weight": (config.character_hidden, CHARACTER_WINDOW * config.character_size),
        "convolution.bias": (config.character_hidden,),
    }
    if config.columns:
        shapes["column.weight"] = (config.column_values, config.column_size)
    shapes |= CELLS[config.cell].stack(config.seen, hidden, config.num_layers, directions=2)
    shapes["readout.weight"] = (config.tags, 2 * hidden)
    shapes["readout.bias"] = (config.tags,)
    shapes["transitions"] = (config.tags + 2, config.tags + 2)
    return {name: ("float32", shape) for name, shape in shapes.items()}


def _states(config: Any) -> dict[str, tuple[int | None, ...]]:
    shape = (config.num_layers * 2, None, config.hidden_size)
    return dict.fromkeys(CELLS[config.cell].states, shape)


TAG = register_task(
    TaskKind(
        name="tag",
        data=TagData,
        model=TagModel,
        tensors=_tensors,
        states=_states,
        asked_by="tags",
        loss="nats_per_word",
        units=(("nats per word", 1.0),),
    )
)
