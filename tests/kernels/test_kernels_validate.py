"""Hostile arguments are refused in one line, before any pointer is formed; good ones run."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from kernels_cases import B, Call, H, T

from unrolled import kernels

pytestmark = pytest.mark.skipif(not kernels.available(), reason="this install holds no kernels")
HUGE = 2**62


def too_large(what: str, t: int, b: int, i: int, h: int) -> str:
    return f"{what}: expected at most 2^57 bytes, got T {t}, B {b}, I {i}, H {h}"


# (arguments to change, the whole message)
REFUSED_WEIGHTS = [
    ({"cell": 4}, "cell: expected 0 to 3, got 4"),
    ({"cell": -1}, "cell: expected 0 to 3, got -1"),
    ({"storage": 2}, "storage: expected 0 to 1, got 2"),
    (
        {"operand": 1},
        "operand, accumulator: expected the type of storage, 0, or bfloat16 operands of float32, got 1 and 0",
    ),
    (
        {"accumulator": 1},
        "operand, accumulator: expected the type of storage, 0, or bfloat16 operands of float32, got 0 and 1",
    ),
    ({"isa": 4}, "isa: expected 0 to 3, got 4"),
    ({"I": 0}, "I: expected 1 to 18014398509481984, got 0"),
    ({"H": 0}, "H: expected 1 to 2251799813685248, got 0"),
    ({"H": HUGE}, f"H: expected 1 to 2251799813685248, got {HUGE}"),
    ({"I": 2**51}, too_large("4 * H * I", 0, 0, 2**51, 5)),
    ({"H": 2**40}, too_large("4 * H * R", 0, 0, 4, 2**40)),
    ({"weight_ih": 0}, "weight_ih: expected an address, got null"),
    ({"weight_hh": 0}, "weight_hh: expected an address, got null"),
    ({"bias_ih": 0x1002}, "bias_ih: expected an address divisible by 4, got 0x1002"),
]
REFUSED = [
    ({"threads": 0}, "threads: expected 1 to 2147483647, got 0"),
    ({"T": -1}, "T: expected 0 to 18014398509481984, got -1"),
    ({"B": -(2**63)}, "B: expected 0 to 18014398509481984, got -9223372036854775808"),
    ({"T": 2**52, "B": 2**40}, too_large("T * B * I", 2**52, 2**40, 4, 5)),
    ({"T": 2**25, "B": 2**25}, too_large("5 * T * B * H", 2**25, 2**25, 4, 5)),
    ({"B": 2**52, "T": 0}, too_large("4 * B * H", 0, 2**52, 4, 5)),
    ({"x": (64, 2**62, 4)}, f"x: expected strides within 2^57 bytes, got {HUGE} and 4"),
    ({"x": (64, 8, -(2**63))}, f"x: expected strides within 2^57 bytes, got 8 and {-(2**63)}"),
    ({"y": (64, 2**62, 5)}, f"y: expected strides within 2^57 bytes, got {HUGE} and 5"),
    ({"y": (64, 0, 5)}, "y: expected strides that keep rows apart, got 0 and 5"),
    ({"y": (64, 6, 5)}, "y: expected strides that keep rows apart, got 6 and 5"),
    ({"y": (64, 10, 4)}, "y: expected strides that keep rows apart, got 10 and 4"),
    ({"resets": (64, 0, 2**60)}, f"resets: expected strides within 2^57 bytes, got 0 and {2**60}"),
    ({"x": (0, 8, 4)}, "x: expected an address, got null"),
    ({"h_0": 0}, "h_0: expected an address, got null"),
    ({"c_0": 0}, "c_0: expected an address, got null"),
    ({"y": (0, 10, 5)}, "y: expected an address, got null"),
    ({"h_n": 0}, "h_n: expected an address, got null"),
    ({"c_n": 0}, "c_n: expected an address, got null"),
    ({"kept": 0x1002}, "kept: expected an address divisible by 4, got 0x1002"),
    ({"traces": (64, 64)}, "traces: expected none or 5 for this cell, got 2"),
    ({"traces": (64,) * 6}, "traces: expected at most 5 addresses"),
    ({"cell": kernels.CELLS["gru"]}, "c_0: expected null for this cell, got an address"),
]
REFUSED_BACKWARD = [
    ({"kept": 0}, "kept: expected an address, got null"),
    ({"dx": (64, 8, 3)}, "dx: expected strides that keep rows apart, got 8 and 3"),
    ({"dy": (64, 2**58, 0)}, f"dy: expected strides within 2^57 bytes, got {2**58} and 0"),
    ({"dweight_ih": 0x1001}, "dweight_ih: expected an address divisible by 4, got 0x1001"),
    (
        {"cell": kernels.CELLS["gru"], "c_0": 0, "dc_0": 64},
        "dc_0: expected null for this cell, got an address",
    ),
]


def messages(cases: list[tuple[dict[str, int], str]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("changes", "message"), cases, ids=[message for _, message in cases])


@messages(REFUSED_WEIGHTS)
@pytest.mark.parametrize("copy", [False, True])
def test_pack_refuses_in_one_line(changes: dict[str, int], message: str, copy: bool):
    with pytest.raises(ValueError) as error:
        Call().pack(**changes, copy=copy)
    assert str(error.value) == message


@messages(REFUSED)
def test_forward_refuses_in_one_line_and_writes_nothing(changes: dict[str, int], message: str):
    call = Call()
    with pytest.raises(ValueError) as error:
        call.run(**changes)
    assert str(error.value) == message
    assert all(np.isnan(call.buffers[name]).all() for name in ("y", "h_n", "c_n", "kept"))


def refuse_backward(call: Call, message: str, **changes: int) -> None:
    with pytest.raises(ValueError) as error:
        call.run_backward(**changes)
    assert str(error.value) == message
    assert all(np.isnan(call.buffers[name]).all() for name in ("dx", "dh_0", "dweight_hh"))


@messages(REFUSED_BACKWARD)
def test_backward_refuses_in_one_line_and_writes_nothing(changes: dict[str, int], message: str):
    call = Call()
    call.run()
    refuse_backward(call, message, **changes)


def test_backward_refuses_a_handle_that_has_packed_its_weights():
    call = Call()
    call.run()
    message = "handle: expected one that refers to its weights, got one that packed them"
    refuse_backward(call, message, copy=True)


@pytest.mark.skipif(len(kernels.isas()) < 2, reason="this machine runs one instruction set")
def test_backward_refuses_what_another_instruction_set_kept():
    call = Call()
    call.run(isa=1)
    assert kernels.kept_format(call.address("kept"), "float32") == (kernels.ISAS[1], "float32")
    wanted = "kept: expected what a forward pass of the handle's format wrote, instruction set"
    refuse_backward(call, f"{wanted} 0 and operands 0, got 1 and 0")
    call.run(operand=kernels.OPERANDS["bfloat16"])
    assert kernels.kept_format(call.address("kept"), "float32") == ("baseline", "bfloat16")
    refuse_backward(call, f"{wanted} 0 and operands 0, got 0 and 2")
    call.buffers["kept"][:] = 0
    assert kernels.kept_format(call.address("kept"), "float32") is None
    refuse_backward(call, f"{wanted} 0 and operands 0, got -1 and -1")


@pytest.mark.parametrize("lengths", [(T + 1, 0), (0, -1), (2**62, 1)])
def test_a_length_outside_the_sequence_is_refused(lengths: tuple[int, int]):
    call = Call()
    bad = next(n for n in lengths if not 0 <= n <= T)
    with pytest.raises(ValueError, match=f"^lengths: expected 0 to {T}, got {bad}$"):
        call.run(lengths=call.ints(*lengths))


@pytest.mark.parametrize("changes", [{"T": 2**63}, {"x": -1}, {"weights": 1}, {"T": 1.5}, {"resets": (1, 2)}])
def test_what_is_no_argument_of_the_engine_is_a_type_error(changes: dict[str, int]):
    with pytest.raises(TypeError, match="incompatible function arguments"):
        Call().run(**changes)


def test_an_instruction_set_that_does_not_run_here_is_refused():
    for number, name in enumerate(kernels.ISAS):
        if name not in kernels.isas():
            with pytest.raises(ValueError, match=f"isa: .* this machine runs, got {number}"):
                Call().run(isa=number)


@pytest.mark.parametrize("name", kernels.isas())
def test_a_good_call_writes_all_that_it_promises(name: str):
    call = Call()
    call.run(isa=kernels.ISAS.index(name), threads=2**31 - 1)
    call.run_backward(isa=kernels.ISAS.index(name))
    assert all(
        np.isfinite(call.buffers[out]).all() for out in ("y", "h_n", "c_n", "dx", "dh_0", "dweight_hh")
    )
    np.testing.assert_array_equal(call.buffers["y"][-1], call.buffers["h_n"])


@pytest.mark.parametrize("nothing", [{"T": 0}, {"B": 0}, {"T": 2**50, "B": 0}])
def test_no_steps_and_no_rows_are_legal_and_need_no_x_and_no_y(nothing: dict[str, int]):
    call, none = Call(), (0, 0, 0)
    call.run(**nothing, x=none, y=none, kept=0)
    call.run_backward(**nothing, x=none, y=none, kept=0, dx=none)
    assert (call.buffers["dweight_hh"] == 0).all()
    if nothing != {"T": 0}:
        return
    np.testing.assert_array_equal(call.buffers["h_n"], call.buffers["h_0"])
    np.testing.assert_array_equal(call.buffers["dh_0"], np.zeros((B, H), np.float32))


def test_one_row_or_one_step_may_have_any_stride():
    call = Call()
    (x, *_), (y, *_) = call.forward["x"], call.forward["y"]
    call.run(T=1, y=(y, 0, H), x=(x, -7, 4))
    call.run(B=1, y=(y, B * H, -3), x=(x, 8, 2**62))


def test_what_is_kept_has_the_size_that_the_engine_says():
    for cell, number in kernels.CELLS.items():
        for hidden in (1, 15, 16, 17, 512, 513):
            size = kernels._engine.kept_size(number, 3, 2, hidden)
            assert kernels.kept_size(cell, 3, 2, hidden) == size


def test_python_runs_on_while_the_engine_works():
    call, ticks, done = Call(), [0], threading.Event()
    x, y = np.zeros((20_000, 1, 1), np.float32), np.zeros((20_000, 1, H), np.float32)
    long = {"T": 20_000, "B": 1, "x": (x.ctypes.data, 1, 1), "y": (y.ctypes.data, H, H), "kept": 0}
    seen: list[int] = []

    def work() -> None:
        while not any(seen) and len(seen) < 1000:
            before = ticks[0]
            call.run(**long, I=1)
            seen.append(ticks[0] - before)
        done.set()

    # Nobody gives Python's lock away unasked now: it ticks within a call only if the call gave it away.
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        threading.Thread(target=work).start()
        while not done.is_set():
            ticks[0] += 1
            time.sleep(0.0005)
    finally:
        sys.setswitchinterval(switch)
    assert any(seen)


OUT_OF_MEMORY = """
import resource
import numpy as np
from unrolled import kernels

T, B, I, H = 50, 8, 512, 1024
f = lambda *shape: np.zeros(shape, np.float32)
a = dict(x=f(T, B, I), h_0=f(B, H), weight_ih=f(H, I), weight_hh=f(H, H), y=f(T, B, H), h_n=f(B, H))
x, h_0, weight_ih, weight_hh, y, h_n = (array.ctypes.data for array in a.values())
handle = kernels.pack("rnn_tanh", (weight_ih, weight_hh, 0, 0), input_size=I, hidden_size=H, copy=False)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**20, used + 2**20))
none = (0, 0, 0)
try:
    kernels.forward(handle, 1, False, T, B, 0, none, (x, B * I, I), h_0, 0, (y, B * H, H), h_n, 0, 0, ())
except MemoryError as error:
    print(error)
try:
    kernels.pack("rnn_tanh", (weight_ih, weight_hh, 0, 0), input_size=I, hidden_size=H)
except MemoryError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits its own address space by what Linux says")
def test_too_little_memory_is_a_memory_error_with_the_sizes():
    run = subprocess.run([sys.executable, "-c", OUT_OF_MEMORY], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == [
        "memory: expected room for the engine's own buffers, got none for T 50, B 8, I 512, H 1024",
        "memory: expected room for the packed weights, got none for I 512, H 1024",
    ]
