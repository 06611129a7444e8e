"""The native engine: whole sequences of a recurrent layer in one call; addresses and sizes in, no torch.

`pack` makes a handle of a layer's weights; `forward` and `backward` run sequences through it. Every argument
is described in `csrc/engine.h`. `pack_network` makes a whole network of layers that `Streams` run step by
step, see `csrc/network.h`. Where this install was built without a C++ compiler everything here still
imports, and `why_not()` says what is missing.

Internal, for `ops`: `borrow_team`, `kept_size`, `kept_format`; for `export`: `using`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from enum import IntEnum
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from unrolled.errors import BackendError, ConfigError, DtypeError, expected, older_names

__all__ = [
    "CELLS",
    "DTYPES",
    "ISAS",
    "OPERANDS",
    "STORAGES",
    "Caches",
    "Handle",
    "LayerWeights",
    "Network",
    "Outcome",
    "Streams",
    "available",
    "backward",
    "caches",
    "forward",
    "isa",
    "isas",
    "pack",
    "pack_network",
    "why_not",
]

# Names → the numbers of engine.h. An ISA's number is its place here; a later one is the faster.
ISAS = ("baseline", "avx2", "avx512", "avx512_bf16")
CELLS = {"rnn_tanh": 0, "rnn_relu": 1, "gru": 2, "lstm": 3}
DTYPES = {"float32": 0, "float64": 1}
OPERANDS = DTYPES | {"bfloat16": 2}  # in which a layer multiplies: as it stores, or bfloat16 of float32
STORAGES = {"float32": 0, "bfloat16": 1, "int8": 2}  # of the weights of a network that runs step by step

_engine: ModuleType | None = None
_why_not: str | None = None
try:
    import unrolled.kernels._engine as _engine
except ModuleNotFoundError:
    _why_not = (
        "this install holds no compiled kernels: no C++ compiler was found, or the build failed; reinstall "
        "unrolled with g++ 9, clang 10 or newer on the PATH (pip install -v shows the build)"
    )
except ImportError as error:
    _why_not = f"the compiled kernels do not load ({' '.join(str(error).split())}); reinstall unrolled here"
_caches: Any = getattr(_engine, "caches", None)
_runs = tuple(name for number, name in enumerate(ISAS) if _engine is not None and _engine.runs(number))


def available() -> bool:
    """Return whether the compiled kernels are installed."""
    return _engine is not None


def why_not() -> str | None:
    """Return one line that says why the compiled kernels are not there; None where they are."""
    return _why_not


def isas() -> tuple[str, ...]:
    """Return the instruction sets that this build holds and this machine runs, the fastest last."""
    return _runs


def isa() -> str:
    """Return the instruction set to use: UNROLLED_ISA of the environment, else the fastest.

    The environment is read on every call. A name that cannot run here is a BackendError.
    """
    return _default_isa()


class Caches(NamedTuple):
    """The processor's data caches, in bytes: what the kernels' blocks are sized for."""

    first: int  # of each core
    second: int  # of each core; of a cache that several cores share, one core's part
    third: int  # of the whole; 0 for none
    known: bool  # false where the system does not say: small guesses


def caches() -> Caches | None:
    """Return the caches that the kernels have found; None where there are no kernels."""
    return None if _caches is None else Caches(*_caches())


def kept_size(cell: str, steps: int, rows: int, hidden: int) -> int:
    """Return how many numbers `forward` writes into `kept`; also of symbolic sizes."""
    return 16 + steps * rows * _padded(hidden) * {"lstm": 5, "gru": 4}.get(cell, 0)


def kept_format(kept: int, dtype: str) -> tuple[str, str] | None:
    """Return how a forward pass wrote `kept`, [kept_size] of `dtype` at an address; None where none did.

    Returns:
        (the instruction set, one of ISAS; the type of the operands, one of OPERANDS).
    """
    isa, operand = _need_engine().kept_format(kept, DTYPES[dtype])
    return None if isa < 0 else (ISAS[isa], list(OPERANDS)[operand])


def pack(
    cell: str,
    weights: tuple[int, int, int, int],
    *,
    input_size: int,
    hidden_size: int,
    projection: tuple[int, int] = (0, 0),
    storage: str = "float32",
    operand: str | None = None,
    accumulator: str | None = None,
    isa: str | None = None,
    copy: bool = True,
) -> Handle:
    """Make a handle of a layer's weights, which remembers how it computes.

    Args:
        cell: one of CELLS.
        weights: addresses of weight_ih [G·H, I], weight_hh [G·H, P], bias_ih and bias_hh [G·H]; a bias may
            be 0 for none.
        input_size, hidden_size: I and H.
        projection: the address of an LSTM's weight_hr [P, H], and P; (0, 0) for none, when P is H.
        storage: type of the weights, one of DTYPES.
        operand: type in which numbers are multiplied: `storage`, the default, or "bfloat16" for float32. Then
            weights, x, h and the gradients of pre-activations are rounded where they are multiplied; sums,
            states and what is computed of each number by itself stay float32.
        accumulator: type in which products are added up; `storage`, and today nothing else.
        isa: instruction set; default `isa()`.
        copy: pack the weights now, once: they may change or go afterwards, and the handle serves `forward`
            alone. False: the handle refers to them, they must outlive it, and every call packs them for
            itself; for training, where they change with every step.
    Returns:
        A handle; any number of threads may use it at once.
    Raises:
        ConfigError: no such cell. DtypeError: no such type, or types that do not go together. BackendError:
        the instruction set does not run here, or there are no kernels. ValueError: a size or an address
        cannot be. MemoryError.
    """
    operand, accumulator = operand or storage, accumulator or storage
    operands = [storage, "bfloat16"] if storage == "float32" else [storage]
    for name, dtype, known in (
        ("storage", storage, list(DTYPES)),
        ("operand", operand, operands),
        ("accumulator", accumulator, [storage]),
    ):
        if dtype not in known:
            raise DtypeError(expected(name, " or ".join(known), dtype))
    if cell not in CELLS:
        raise ConfigError(expected("cell", f"one of {', '.join(CELLS)}", repr(cell)))
    number = DTYPES[storage]
    place = ISAS.index(_that_runs("isa", isa) if isa else _default_isa())
    made: Handle = _need_engine().pack(
        CELLS[cell],
        place,
        number,
        OPERANDS[operand],
        number,
        input_size,
        hidden_size,
        *weights,
        copy,
        *projection,
    )
    return made


def _padded(hidden: int) -> int:
    return (hidden + 15) // 16 * 16


__getattr__ = older_names(
    "unrolled.kernels",
    {
        "padded": ("kernels.kept_size, of one buffer", _padded),
        "gates_width": (
            "kernels.kept_size, of one buffer",
            lambda cell, hidden: 4 * _padded(hidden) if cell in ("lstm", "gru") else 0,
        ),
    },
)


class LayerWeights(NamedTuple):
    """One layer of a network: addresses of weights in its storage, each with its scales (0 but for int8)."""

    cell: str  # one of CELLS
    input_size: int
    hidden_size: int
    proj_size: int  # size of h: hidden_size where there is no projection
    weight_ih: tuple[int, int]  # [G·H, I], scales [G·H]
    weight_hh: tuple[int, int]  # [G·H, P]
    weight_hr: tuple[int, int]  # [P, H], LSTM only; (0, 0) for none
    bias_ih: int  # [G·H] float32, or 0
    bias_hh: int


class Outcome(IntEnum):
    """What a call of `Streams` returns: `ok`, or what is wrong, and then nothing has changed."""

    ok = 0
    input_not_finite = 1
    state_not_finite = 2  # what the state would have become
    id_out_of_range = 3
    closed = 4
    busy = 5  # another thread is in a call on the same streams
    no_memory = 6
    forked = 7  # the copy that a fork made in the middle of another thread's call: neither before nor after
    bad_x = 16
    bad_out = 17
    bad_active = 18
    bad_overlap = 19  # out with x or active, where not a single step of a single stream


def pack_network(
    layers: Sequence[LayerWeights],
    *,
    storage: str = "float32",
    vocabulary: int = 0,
    embedding: int = 0,
    output_size: int,
    head: tuple[int, int] = (0, 0),
    head_bias: int = 0,
    isa: str | None = None,
) -> Network:
    """Pack a whole network for `Streams`, once: afterwards the weights may change or go.

    Args:
        layers: first to last; each takes what the one before puts out.
        storage: type of the weights, one of STORAGES: bfloat16 as its 16 bits, int8 with a scale per row.
        vocabulary, embedding: V, and the address of [V, I] float32 for a network that takes ids; 0 for one
            that takes [I] numbers.
        output_size: O; without a head the size of h.
        head: the read-out's weight [O, P] in the same storage, or (0, 0) for none.
        head_bias: [O] float32, or 0.
        isa: instruction set; default `isa()`.
    Raises:
        BackendError: the instruction set does not run here, or there are no kernels. ValueError: sizes or
        addresses that cannot be. MemoryError.
    """
    place = ISAS.index(_that_runs("isa", isa) if isa else _default_isa())
    numbered = [(CELLS[layer.cell], *layer[1:]) for layer in layers]
    made: Network = _need_engine().pack_network(
        STORAGES[storage], place, numbered, vocabulary, embedding, output_size, head, head_bias
    )
    return made


if TYPE_CHECKING:
    from unrolled.kernels._engine import Handle, Network, Streams, backward, forward
    from unrolled.kernels._engine import borrow_team as borrow_team
else:
    Handle, Network, Streams = (getattr(_engine, name, None) for name in ("Handle", "Network", "Streams"))

    def forward(handle: Handle, *arguments: Any) -> None:
        """Run a handle's layer over a whole batch of sequences.

        Arguments in the order of `Sequences` and `ForwardOut` in engine.h: sizes as numbers, tensors as
        addresses (0: none), those that may have strides as (address, stride over T, stride over B);
        `traces` is a sequence of addresses.
        Raises: ValueError, naming argument, expected, got; MemoryError; BackendError without kernels.
        """
        _need_engine().forward(handle, *arguments)

    def backward(handle: Handle, *arguments: Any) -> None:
        """Run the backward pass of `forward`: `Sequences`, `BackwardIn` and `BackwardOut` in engine.h."""
        _need_engine().backward(handle, *arguments)

    def borrow_team(**addresses: int) -> None:
        """Run from now on on the threads of an OpenMP runtime; all 0: on the engine's own.

        Addresses of its functions GOMP_parallel (`parallel`), omp_get_num_threads (`size`) and
        omp_in_parallel (`in_parallel`); see csrc/pool.h.
        """
        _need_engine().borrow_team(**addresses)


_asked: ContextVar[str | None] = ContextVar("instruction set", default=None)


@contextmanager
def using(isa: str) -> Iterator[None]:
    """Within, what this thread packs takes an instruction set. Raises BackendError: it does not run here."""
    _need_engine()
    token = _asked.set(_that_runs("isa", isa))
    try:
        yield
    finally:
        _asked.reset(token)


def _default_isa() -> str:
    _need_engine()
    return _asked.get() or _that_runs("UNROLLED_ISA", os.environ.get("UNROLLED_ISA") or _runs[-1])


def _that_runs(name: str, asked: str) -> str:
    if asked not in _runs:
        raise BackendError(expected(name, f"one that runs here: {', '.join(_runs)}", repr(asked)))
    return asked


def _need_engine() -> Any:
    if _engine is None:
        raise BackendError(str(_why_not))
    return _engine
