"""The compiled module, for type checkers; every argument is described in csrc/engine.h."""

from collections.abc import Sequence

def forward(
    *,
    cell: int,
    dtype: int,
    isa: int,
    threads: int = 1,
    reverse: bool = False,
    T: int,  # noqa: N803
    B: int,  # noqa: N803
    I: int,  # noqa: N803
    H: int,  # noqa: N803
    lengths: int = 0,
    resets: int = 0,
    resets_t: int = 0,
    resets_b: int = 0,
    x: int = 0,
    x_t: int = 0,
    x_b: int = 0,
    h_0: int = 0,
    c_0: int = 0,
    weight_ih: int = 0,
    weight_hh: int = 0,
    bias_ih: int = 0,
    bias_hh: int = 0,
    y: int = 0,
    y_t: int = 0,
    y_b: int = 0,
    h_n: int = 0,
    c_n: int = 0,
    gates: int = 0,
    cells: int = 0,
    traces: Sequence[int] = (),
) -> None: ...
def backward(
    *,
    cell: int,
    dtype: int,
    isa: int,
    threads: int = 1,
    reverse: bool = False,
    T: int,  # noqa: N803
    B: int,  # noqa: N803
    I: int,  # noqa: N803
    H: int,  # noqa: N803
    lengths: int = 0,
    resets: int = 0,
    resets_t: int = 0,
    resets_b: int = 0,
    x: int = 0,
    x_t: int = 0,
    x_b: int = 0,
    h_0: int = 0,
    c_0: int = 0,
    weight_ih: int = 0,
    weight_hh: int = 0,
    bias_ih: int = 0,
    bias_hh: int = 0,
    y: int = 0,
    y_t: int = 0,
    y_b: int = 0,
    gates: int = 0,
    cells: int = 0,
    dy: int = 0,
    dy_t: int = 0,
    dy_b: int = 0,
    dh_n: int = 0,
    dc_n: int = 0,
    dx: int = 0,
    dx_t: int = 0,
    dx_b: int = 0,
    dh_0: int = 0,
    dc_0: int = 0,
    dweight_ih: int = 0,
    dweight_hh: int = 0,
    dbias_ih: int = 0,
    dbias_hh: int = 0,
) -> None: ...
def borrow_team(*, parallel: int, size: int, in_parallel: int) -> None: ...
def runs(isa: int) -> bool: ...
def padded(hidden: int) -> int: ...
def gates_width(cell: int, hidden: int) -> int: ...
def activate(*, dtype: int, isa: int, which: int, x: int, y: int, n: int) -> None: ...
