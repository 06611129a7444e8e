"""The compiled module, for type checkers; every argument is described in csrc/engine.h."""

# ruff: noqa: N803  # T, B, I and H are the axes' names in the design

from collections.abc import Sequence

_Strided = tuple[int, int, int]  # address, strides over T and B; an address of 0 is none

class Handle:
    cell: int
    input_size: int
    hidden_size: int
    projected: int  # the size of h where it is projected, else 0
    isa: int
    storage: int
    operand: int
    accumulator: int
    packed: bool

def caches() -> tuple[int, int, int, bool]: ...
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
    weight_hr: int = 0,
    projected: int = 0,
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
    ids: _Strided = ...,
    V: int = 0,
    batch_sizes: int = 0,
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
    dweight_hr: int = 0,
    ids: _Strided = ...,
    V: int = 0,
    batch_sizes: int = 0,
) -> None: ...
def borrow_team(*, parallel: int, size: int, in_parallel: int) -> None: ...
def runs(isa: int) -> bool: ...
def kept_size(cell: int, T: int, B: int, hidden: int) -> int: ...
def kept_format(kept: int, storage: int) -> tuple[int, int]: ...
def activate(*, type: int, isa: int, which: int, x: int, y: int, n: int) -> None: ...

class Network:
    input_ids: int  # V; 0: the input is dense
    input_size: int
    output_size: int
    state_size: int  # floats of a stream's state: of each layer h, then c
    multiply_adds: int
    bytes: int
    isa: int
    storage: int
    def rollout(
        self,
        threads: int,
        T: int,
        B: int,
        x: int,
        x_t: int,
        x_b: int,
        resets: int,
        resets_t: int,
        resets_b: int,
        h_0: int,
        c_0: int,
        y: int,
        y_t: int,
        y_b: int,
        h_n: int,
        c_n: int,
        /,
    ) -> int: ...  # an `unrolled.kernels.Outcome`; see `Rollout` in csrc/network.h
    def bare_product(self, repeats: int) -> list[float]: ...

def pack_network(
    storage: int,
    isa: int,
    layers: Sequence[tuple[object, ...]],
    V: int,
    embedding: int,
    O: int,
    head: tuple[int, int],
    head_bias: int,
) -> Network: ...

class Streams:
    """Calls return an `unrolled.kernels.Outcome` as a number; x and out are contiguous buffers."""

    count: int
    closed: bool
    failed: int  # the stream or step at which the last failing call failed
    def __init__(self, network: Network, count: int, threads: int) -> None: ...
    def step(self, x: object, out: object) -> int: ...
    def run(self, x: object, out: object, all: bool) -> int: ...
    def step_rows(self, x: object, out: object, active: object) -> int: ...
    def read(self, stream: int, state: object) -> int: ...
    def write(self, stream: int, state: object) -> int: ...
    def close(self) -> int: ...
