"""Memory of what calls return and keep: used again once nothing refers to it, and never while something does."""

from __future__ import annotations

import gc
import os
import sys
import threading
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from ops_cases import call, make, outputs_and_gradients, ragged  # noqa: E402

from unrolled import kernels, ops  # noqa: E402
from unrolled.ops.native import memory  # noqa: E402

pytestmark = pytest.mark.skipif(not kernels.available(), reason=f"no kernels: {kernels.why_not()}")

T, B, I, H = 40, 32, 3, 64  # noqa: E741  # keeps 1.6 MB


@pytest.fixture(autouse=True)
def nothing_free(monkeypatch):
    gc.collect()
    monkeypatch.setattr(memory, "_free", [])


def draw(seed, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((T, B, I), (B, H), (B, H), (4 * H, I), (4 * H, H))
    return [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]


def run(tensors):
    x, h_0, c_0, weight_ih, weight_hh = tensors
    return ops.lstm(x, (h_0, c_0), weight_ih, weight_hh, backend="native")[0]


def gradients(tensors):
    return torch.autograd.grad(run(tensors).sum(), tensors)


def addresses():
    return {piece.data_ptr() for piece in memory._free}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_training_step_takes_the_memory_of_the_one_before(dtype):
    tensors = draw(0, dtype)
    first = gradients(tensors)
    held = addresses()
    assert len(held) == 1
    again = gradients(tensors)
    assert addresses() == held
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))


def test_graphs_that_live_at_once_share_no_memory():
    several = [draw(seed) for seed in range(3)]
    want = [gradients(tensors) for tensors in several]
    outputs = [run(tensors) for tensors in several]
    assert not memory._free
    for y, tensors, gradient in reversed(list(zip(outputs, several, want, strict=True))):
        for _ in range(2):  # a retained graph keeps its memory
            found = torch.autograd.grad(y.sum(), tensors, retain_graph=True)
            assert all(torch.equal(one, other) for one, other in zip(found, gradient, strict=True))
            gradients(draw(9))  # another call between them
    del outputs, y, found
    gc.collect()
    assert len(addresses()) == len(memory._free) == 4


@pytest.mark.parametrize("view_of", [lambda t: t[5:9], torch.Tensor.detach, torch.Tensor.numpy])
def test_a_view_of_what_was_kept_holds_its_memory(view_of):
    like = torch.zeros(())
    tensor = memory.room((memory.LEAST,), like)
    view = view_of(tensor)
    del tensor
    assert not memory._free
    del view
    assert len(memory._free) == 1


def test_free_memory_is_bounded_and_serves_its_own_size():
    like = torch.zeros(())
    size = memory.MOST // 4 // 4  # numbers in a quarter of all
    several = [memory.room((size,), like) for _ in range(7)]
    del several
    assert 0 < sum(map(len, memory._free)) <= memory.MOST
    count = len(memory._free)
    smaller = memory.room((size // 2,), like)  # much too large a piece for it
    assert len(memory._free) == count
    near = memory.room((size - 1000,), like)
    assert len(memory._free) == count - 1
    assert near.shape == (size - 1000,)
    assert near.data_ptr() % 64 == smaller.data_ptr() % 64 == 0
    assert memory.room((memory.MOST,), like).shape == (
        memory.MOST,
    )  # four times as many bytes: not from here
    assert len(memory._free) == count - 1


def test_threads_that_call_at_once_share_no_memory():
    want = gradients(draw(5))
    wrong = []

    def call():
        tensors = draw(5)
        for _ in range(10):
            found = gradients(tensors)
            wrong.extend(not torch.equal(one, other) for one, other in zip(found, want, strict=True))

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wrong) == 3 * 10 * 5
    assert not any(wrong)


def test_outputs_and_gradients_take_free_memory_and_may_be_written_over():
    steps, rows, size = 33, 64, 128  # y and dx are 1.1 MB
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(steps, rows, size, generator=generator, requires_grad=True)
    weights = [torch.randn(4 * size, size, generator=generator) / 16 for _ in range(2)]
    state = (torch.zeros(rows, size), torch.zeros(rows, size))

    def step():
        y = ops.lstm(x, state, *weights, backend="native")[0]
        y *= 2  # as torch.nn allows; a view made within a Function would refuse it
        (dx,) = torch.autograd.grad(y.square().sum(), x)
        return {y.data_ptr(), dx.data_ptr()}, dx.clone()

    _, first = step()
    held = addresses()
    assert len(held) == 4  # what is kept, y, dx, and y that is computed again
    taken, again = step()
    assert taken < held == addresses()
    assert torch.equal(again, first)


@pytest.mark.parametrize("dynamic", [False, True])
def test_a_compiled_call_is_traced_without_memory(dynamic):
    tensors = draw(1)
    torch.compiler.reset()
    compiled = torch.compile(run, backend="aot_eager", fullgraph=True, dynamic=dynamic)
    got = torch.autograd.grad(compiled(tensors).sum(), tensors)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(got, gradients(tensors), strict=True))
    assert len(memory._free) > 0  # the compiled calls themselves take it


def resident():
    """How much memory this process holds, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(sys.platform != "linux", reason="Linux says how much memory a process holds")
def test_calls_larger_than_the_memory_that_is_kept_give_theirs_back():
    """Packed weights of 72 MB, where 32 MB are kept between calls."""
    size = 1500
    x, h = torch.zeros(2, 1, size), torch.zeros(1, size)
    weights = [torch.zeros(4 * size, size) for _ in range(2)]
    before = resident()
    for _ in range(4):
        ops.lstm(x, (h, h), *weights, backend="native")
    assert resident() - before < 48 << 20


def fill(value):
    """Fill the memory that the engine keeps between calls: with 8 MB of weights that it packs."""
    size = 500
    x, h, weight = torch.zeros(2, 1, size), torch.zeros(1, size), torch.full((4 * size, size), value)
    with torch.no_grad():
        for _ in range(2):  # what the first call takes beside it is kept for the second
            ops.lstm(x, (h, h), weight, weight, backend="native")


@pytest.mark.parametrize("symbols", [0, 9])
@pytest.mark.parametrize(("variant", "dtype"), [("lstm_projected", torch.float32), ("gru", torch.bfloat16)])
def test_what_an_earlier_call_left_in_the_engines_memory_reaches_no_result(variant, dtype, symbols):
    """Padding, symbols that no step takes and are NaN, one thread and two that share the rows."""
    steps, count = 40, 48
    case = make(variant, T=steps, B=count, H=40, I=5, dtype=dtype)
    rows = ragged(steps, count) if symbols else {}
    given = case
    if symbols:
        case["x"] = case["x"].detach()[0, :symbols].requires_grad_()
        with torch.no_grad():
            case["x"][-1] = torch.nan
        ids = torch.arange(steps * count).view(steps, count) % (symbols - 1)
        given = case | {"x": ops.Embedded(ids, case["x"])}
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found = []
        for value in (0.0, torch.nan):
            fill(value)
            outputs = call(variant, given, backend="native", **rows)
            fill(value)
            found.append(outputs_and_gradients(outputs, case))
        assert all(torch.equal(found[1][name], one) for name, one in found[0].items())
        assert not any(one.isnan().any() for one in found[1].values())
    torch.set_num_threads(1)
