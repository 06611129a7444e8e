"""The compiled module, for type checkers; every argument is described in csrc/engine.h."""

# ruff: noqa: N803  # T, B, I and H are the axes' names in the design

from collections.abc import Sequence

_Strided = tuple[int, int, int]  # address, strides over T and B; an address of 0 is none

class Handle:
    cell: int
    input_size: int
    hidden_size: int
    isa: int
    storage: int
    operand: int
    accumulator: int
    packed: bool

def pack(
    cell: int,
    isa: int,
    storage: int,
    operand: int,
    accumulator: int,
    I: int,
    H: int,
    weight_ih: int,
    weight_hh: int,
    bias_ih: int,
    bias_hh: int,
    copy: bool,
) -> Handle: ...
def forward(
    handle: Handle,
    threads: int,
    reverse: bool,
    T: int,
    B: int,
    lengths: int,
    resets: _Strided,
    x: _Strided,
    h_0: int,
    c_0: int,
    y: _Strided,
    h_n: int,
    c_n: int,
    kept: int,
    traces: Sequence[int],
) -> None: ...
def backward(
    handle: Handle,
    threads: int,
    reverse: bool,
    T: int,
    B: int,
    lengths: int,
    resets: _Strided,
    x: _Strided,
    h_0: int,
    c_0: int,
    y: _Strided,
    kept: int,
    dy: _Strided,
    dh_n: int,
    dc_n: int,
    dx: _Strided,
    dh_0: int,
    dc_0: int,
    dweight_ih: int,
    dweight_hh: int,
    dbias_ih: int,
    dbias_hh: int,
) -> None: ...
def borrow_team(*, parallel: int, size: int, in_parallel: int) -> None: ...
def runs(isa: int) -> bool: ...
def kept_size(cell: int, T: int, B: int, hidden: int) -> int: ...
def kept_isa(kept: int, type: int) -> int: ...
def activate(*, type: int, isa: int, which: int, x: int, y: int, n: int) -> None: ...
