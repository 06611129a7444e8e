"""The native engine: whole sequences of a recurrent layer in one call; addresses and sizes in, no torch.

`csrc/engine.h` describes every argument of `forward` and `backward`. Where this install was built
without a C++ compiler everything here still imports, and `why_not()` says what is missing.
"""

from __future__ import annotations

import os
from types import ModuleType
from typing import TYPE_CHECKING, Any

from unrolled.errors import BackendError, expected

__all__ = [
    "CELLS",
    "DTYPES",
    "ISAS",
    "available",
    "backward",
    "borrow_team",
    "forward",
    "gates_width",
    "isa",
    "isas",
    "padded",
    "why_not",
]

# Names → the numbers of engine.h. An ISA's number is its place here; a later one is the faster.
ISAS = ("baseline", "avx2", "avx512", "avx512_bf16")
CELLS = {"rnn_tanh": 0, "rnn_relu": 1, "gru": 2, "lstm": 3}
DTYPES = {"float32": 0, "float64": 1}

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
_runs = tuple(name for number, name in enumerate(ISAS) if _engine is not None and _engine.runs(number))


def available() -> bool:
    """Return whether the compiled kernels are there."""
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
    _need_engine()
    asked = os.environ.get("UNROLLED_ISA") or _runs[-1]
    if asked not in _runs:
        raise BackendError(expected("UNROLLED_ISA", f"one that runs here: {', '.join(_runs)}", repr(asked)))
    return asked


def padded(hidden: int) -> int:
    """Return the width of a row of `cells`: hidden, rounded up to a multiple of 16."""
    return (hidden + 15) // 16 * 16


def gates_width(cell: str, hidden: int) -> int:
    """Return the width of a row of `gates`: 4 padded(hidden) for LSTM and GRU, else 0."""
    return 4 * padded(hidden) if cell in ("lstm", "gru") else 0


if TYPE_CHECKING:
    from unrolled.kernels._engine import backward, borrow_team, forward
else:

    def forward(**arguments: Any) -> None:
        """Run one layer over a whole batch of sequences; see engine.h.

        Every argument is an int and given by name: cell, dtype, isa and sizes as numbers, tensors as
        addresses (0: none), strides in elements; `traces` is a sequence of addresses.
        Raises: ValueError, naming argument, expected, got; MemoryError; BackendError without kernels.
        """
        _need_engine().forward(**arguments)

    def backward(**arguments: Any) -> None:
        """Run the backward pass of `forward`; see engine.h, and `forward` for how arguments are given."""
        _need_engine().backward(**arguments)

    def borrow_team(**addresses: int) -> None:
        """Run from now on on the threads of an OpenMP runtime; all 0: on the engine's own.

        Addresses of its functions GOMP_parallel (`parallel`), omp_get_num_threads (`size`) and
        omp_in_parallel (`in_parallel`); see csrc/pool.h.
        """
        _need_engine().borrow_team(**addresses)


def _need_engine() -> Any:
    if _engine is None:
        raise BackendError(str(_why_not))
    return _engine
