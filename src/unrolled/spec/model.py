"""The architecture of a language model, and the tensors it consists of."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import MISSING, dataclass

from unrolled.errors import ConfigError, expected
from unrolled.spec.cells import CELLS, Cell
from unrolled.spec.data import DataConfig
from unrolled.spec.fields import check, setting, takes_older_names
from unrolled.spec.tasks import Steps, TaskKind, register_task

__all__ = ["INITS", "LANGUAGE", "ModelConfig", "check_cell"]

INITS = ("orthogonal", "uniform")
LARGEST = 2**20  # no axis of a network for a CPU is longer; keeps every size below 2**63 bytes


@takes_older_names
@dataclass(frozen=True)
class ModelConfig:
    """A language model: embedding, recurrent stack, linear read-out. All sizes are known."""

    vocab_size: int = setting(MISSING, "symbols in the vocabulary", minimum=2, maximum=2**24)
    embedding_size: int = setting(MISSING, "size of a symbol's embedding", minimum=1, maximum=LARGEST)
    hidden_size: int = setting(MISSING, "hidden units per recurrent layer", minimum=1, maximum=LARGEST)
    num_layers: int = setting(1, "number of recurrent layers", minimum=1, maximum=1024)
    cell: str = setting("lstm", "kind of recurrent cell", choices=CELLS)
    nonlinearity: str = setting("tanh", "activation function of the rnn cell", choices=("tanh", "relu"))
    dropout: float = setting(0.0, "share of activations dropped during training", minimum=0, below=1)
    tie_weights: bool = setting(False, "the read-out uses the embedding's weights")
    chrono_steps: int | None = setting(None, "longest lag that the gates are initialised for", minimum=2)
    init: str = setting("orthogonal", "initial recurrent weights", choices=INITS, was="start")
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
        if self.tie_weights and self.embedding_size != self.hidden_size:
            raise ConfigError(
                expected(
                    "tie_weights",
                    f"embedding_size equal to hidden_size {self.hidden_size}",
                    self.embedding_size,
                )
            )
        check_cell(self.cell, self.nonlinearity, self.forget_bias, self.chrono_steps)


def check_cell(name: str, nonlinearity: str, forget_bias: float, chrono_steps: int | None) -> None:
    """Raise ConfigError for a setting that the cell of this name does not have."""
    cell, got = CELLS[name], f"`cell` {name}"
    if nonlinearity != "tanh" and nonlinearity not in cell.nonlinearities:
        raise ConfigError(expected("nonlinearity", f"`cell` {_those(lambda c: c.nonlinearities)}", got))
    if chrono_steps is not None and cell.keep is None:
        gated = _those(lambda c: c.keep is not None, ", ")
        raise ConfigError(expected("chrono_steps", f"a gated cell ({gated})", got))
    if forget_bias != 1 and (not cell.forget_bias or chrono_steps is not None):
        got = "chrono_steps beside it" if cell.forget_bias else got
        want = f"`cell` {_those(lambda c: c.forget_bias)} without chrono_steps"
        raise ConfigError(expected("forget_bias", want, got))


def _those(fitting: Callable[[Cell], object], between: str = " or ") -> str:
    return between.join(name for name, cell in CELLS.items() if fitting(cell) and cell.variant_of is None)


def _tensors(config: ModelConfig) -> dict[str, tuple[str, tuple[int, ...]]]:
    """A tied read-out weight is stored once, under the embedding's name."""
    width, hidden = config.embedding_size, config.hidden_size
    shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (config.vocab_size, width)}
    shapes |= CELLS[config.cell].stack(width, hidden, config.num_layers)
    if not config.tie_weights:
        shapes["readout.weight"] = (config.vocab_size, hidden)
    shapes["readout.bias"] = (config.vocab_size,)
    return {name: ("float32", shape) for name, shape in shapes.items()}


def _states(config: ModelConfig) -> dict[str, tuple[int | None, ...]]:
    return dict.fromkeys(CELLS[config.cell].states, (config.num_layers, None, config.hidden_size))


def _steps(config: ModelConfig) -> Steps:
    """Return how a network runs step by step."""
    head = "embedding.weight" if config.tie_weights else "readout.weight"
    return Steps(
        config.cell, config.nonlinearity, config.num_layers,
        recurrent="recurrent.", embedding="embedding.weight", head=head, head_bias="readout.bias",
    )  # fmt: skip


LANGUAGE = register_task(
    TaskKind(
        name="language",
        data=DataConfig,
        model=ModelConfig,
        tensors=_tensors,
        states=_states,
        loss="nats_per_token",
        units=(("nats per token", 1.0), ("bits per token", 1 / math.log(2))),
        vocabulary=True,
        steps=_steps,
        cell="lstm",
    )
)
