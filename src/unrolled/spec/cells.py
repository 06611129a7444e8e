"""The recurrent cells, and everything that a room may know of one without computing it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from unrolled.errors import ConfigError, expected

__all__ = ["CELLS", "CLOSED", "OPEN", "Cell", "cell_of_mode", "normalised", "register_cell"]

CLOSED = 0.1  # a gate below this is closed (Karpathy et al. 2015)
OPEN = 0.9  # a gate above this is open; a tanh beyond ± 0.9 is saturated


@dataclass(frozen=True)
class Cell:
    """A kind of recurrent cell.

    A gate is a block of H rows in weight_ih and weight_hh; a trace is a value that a trajectory records at
    every step beside h.

    Attributes:
        name: as settings and checkpoints spell it: "lstm".
        gates: their names, in the order of the blocks.
        sigmoid: the gates that lie between 0 and 1.
        states: what is carried from step to step, h first; the last one is the cell's memory.
        traces: what a trajectory records before h.
        keep: the gate that keeps the memory where it is 1; None where the cell has none.
        admit: the gate that lets new content in; chrono initialisation starts it at the negative of `keep`.
        candidate: the trace of the new content, after its nonlinearity: what saturates at ±1.
        forget_bias: whether the bias of `keep` starts at the setting `forget_bias`.
        stuck: (gate, "closed" or "open") at which a unit lets nothing in, or nothing out.
        titles: what people call each trace and state: "forget gate f".
        modes: torch's names of the cell's layers → their nonlinearity, None where there is no choice.
        projects: whether the layer takes `proj_size`.
        further: the cell's own weights beside torch's, each a vector: (name, its length in multiples of H,
            the value that it starts from).
        diagonal: whether weight_hh is [H]: each unit sees its own state alone.
        plain: the cell whose kernels compute this one, on its weights rewritten; None: no kernel does.
        blocks: (sign, gate) of this cell for each gate of `plain`, where they differ.
        variant_of: the cell that this one is a variant of; None for a kind of its own.
        norm: what normalises within a step: "layer", or "" for nothing.
    """

    name: str
    gates: tuple[str, ...]
    sigmoid: tuple[str, ...]
    states: tuple[str, ...]
    traces: tuple[str, ...]
    keep: str | None = None
    admit: str | None = None
    candidate: str = "h"
    forget_bias: bool = False
    stuck: tuple[tuple[str, str], ...] = ()
    titles: Mapping[str, str] = field(default_factory=dict)
    modes: Mapping[str, str | None] = field(default_factory=dict)
    projects: bool = False
    further: tuple[tuple[str, int, float], ...] = ()
    diagonal: bool = False
    plain: str | None = None
    blocks: tuple[tuple[int, str], ...] = ()
    variant_of: str | None = None
    norm: str = ""

    @property
    def label(self) -> str:
        """What people call the cell: "LSTM"."""
        return self.name.upper()

    @property
    def memory(self) -> str:
        """The state that keeps what the cell remembers: the last one."""
        return self.states[-1]

    @property
    def nonlinearities(self) -> tuple[str, ...]:
        """The choices of the setting `nonlinearity`; empty where there is none."""
        return tuple(each for each in self.modes.values() if each is not None)

    @property
    def has_kernels(self) -> bool:
        """Whether kernels compute it: its own, which torch's cells have, or those of `plain`."""
        return self.plain is not None or (self.variant_of is None and bool(self.modes))

    def title(self, trace: str) -> str:
        """Return what people call a trace or a state."""
        return self.titles.get(trace, trace)

    def weights(
        self, input_size: int, hidden_size: int, *, proj_size: int = 0, bias: bool = True
    ) -> dict[str, tuple[int, ...]]:
        """Return the shape of every weight of one layer in one direction, torch's first, in torch's order."""
        blocks, width = len(self.gates) * hidden_size, proj_size or hidden_size
        shapes: dict[str, tuple[int, ...]] = {"weight_ih": (blocks, input_size)}
        shapes["weight_hh"] = (blocks,) if self.diagonal else (blocks, width)
        if bias:
            shapes |= {"bias_ih": (blocks,), "bias_hh": (blocks,)}
        if proj_size:
            shapes["weight_hr"] = (proj_size, hidden_size)
        return shapes | {name: (count * hidden_size,) for name, count, _ in self.further}

    def stack(
        self, input_size: int, hidden_size: int, num_layers: int, directions: int = 1
    ) -> dict[str, tuple[int, ...]]:
        """Return the shape of every weight of a stack, as a module that calls it `recurrent` names them."""
        shapes = {}
        for layer in range(num_layers):
            incoming = input_size if layer == 0 else hidden_size * directions
            for way in ("", "_reverse")[:directions]:
                for name, shape in self.weights(incoming, hidden_size).items():
                    shapes[f"recurrent.{name}_l{layer}{way}"] = shape
        return shapes


CELLS: dict[str, Cell] = {}  # by name; `register_cell` adds to it


def normalised(name: str) -> str:
    """Return the name of a cell with layer normalisation. Raises ConfigError: there is none of it."""
    if CELLS[name].norm:
        return name
    known = {str(cell.variant_of): each for each, cell in CELLS.items() if cell.norm == "layer"}
    if name not in known:
        raise ConfigError(expected("norm", f"none, or `cell` {' or '.join(known)}", f"`cell` {name}"))
    return known[name]


def register_cell(cell: Cell) -> Cell:
    """Make a cell known to every room; the same one twice is once. Raises ConfigError: the name is taken."""
    if CELLS.setdefault(cell.name, cell) != cell:
        raise ConfigError(expected("cell", "a name that no other cell has", repr(cell.name)))
    return cell


def cell_of_mode(mode: str) -> tuple[Cell, str | None]:
    """Return the cell of a layer's `mode` ("LSTM", "RNN_RELU"), and its nonlinearity or None.

    Where torch has no such layer, the mode is the cell's label.
    """
    for cell in CELLS.values():
        if mode in cell.modes or (mode == cell.label and not cell.modes):
            return cell, cell.modes.get(mode)
    known = [mode for cell in CELLS.values() for mode in cell.modes or (cell.label,)]
    raise ConfigError(expected("mode", f"one of {', '.join(known)}", mode))


register_cell(
    Cell(
        name="lstm",
        gates=("i", "f", "g", "o"),
        sigmoid=("i", "f", "o"),
        states=("h", "c"),
        traces=("i", "f", "g", "o", "c"),
        keep="f",
        admit="i",
        candidate="g",
        forget_bias=True,
        stuck=(("i", "closed"), ("o", "closed")),
        titles={
            "i": "input gate i",
            "f": "forget gate f",
            "g": "candidate g",
            "o": "output gate o",
            "c": "cell state c",
            "h": "hidden state h",
        },
        modes={"LSTM": None},
        projects=True,
    )
)
register_cell(
    Cell(
        name="gru",
        gates=("r", "z", "n"),
        sigmoid=("r", "z"),
        states=("h",),
        traces=("r", "z", "n"),
        keep="z",
        candidate="n",
        stuck=(("z", "open"),),
        titles={"r": "reset gate r", "z": "update gate z", "n": "candidate n", "h": "hidden state h"},
        modes={"GRU": None},
    )
)
register_cell(
    Cell(
        name="rnn",
        gates=("a",),
        sigmoid=(),
        states=("h",),
        traces=("a",),
        titles={"a": "pre-activation a", "h": "hidden state h"},
        modes={"RNN_TANH": "tanh", "RNN_RELU": "relu"},
    )
)

# Variants of these: what they are called. docs/cells.md has their equations, ops/variants.py computes them.
_LSTM, _GRU, _RNN = (replace(CELLS[name], modes={}, variant_of=name) for name in ("lstm", "gru", "rnn"))
_GAINS = (("gain_ih", 4, 1.0), ("gain_hh", 4, 1.0), ("gain_c", 1, 1.0), ("bias_c", 1, 0.0))
register_cell(replace(_LSTM, name="layernorm_lstm", further=_GAINS, norm="layer"))
register_cell(replace(_LSTM, name="layernorm_lstm_carried", further=_GAINS, norm="layer, carried"))
register_cell(
    replace(_GRU, name="layernorm_gru", further=(("gain_ih", 3, 1.0), ("gain_hh", 3, 1.0)), norm="layer")
)
register_cell(replace(_LSTM, name="peephole_lstm", further=(("peephole", 3, 0.0),)))
register_cell(
    replace(
        _LSTM,
        name="coupled_lstm",
        gates=("f", "g", "o"),
        sigmoid=("f", "o"),
        traces=("f", "g", "o", "c"),
        admit=None,
        stuck=(("f", "open"), ("o", "closed")),
        plain="lstm",
        blocks=((-1, "f"), (1, "f"), (1, "g"), (1, "o")),
    )
)
register_cell(replace(_GRU, name="reset_before_gru"))
register_cell(
    replace(
        _RNN,
        name="indrnn",
        modes={"INDRNN_TANH": "tanh", "INDRNN_RELU": "relu"},
        diagonal=True,
        plain="rnn",
    )
)
