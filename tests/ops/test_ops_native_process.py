"""The engine among threads and processes: many callers at once, and after fork."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from ops_cases import call, evaluate, make, needs_kernels, ragged

from unrolled import kernels
from unrolled.ops.native import backend

pytestmark = needs_kernels


def test_python_threads_that_call_at_once_get_the_bits_that_each_gets_alone():
    torch.set_num_threads(3)
    jobs = [(variant, seed) for seed in range(4) for variant in ("rnn_tanh", "lstm", "gru")]

    def job(variant_and_seed):
        variant, seed = variant_and_seed
        case = make(variant, T=20, B=24, H=48, dtype=torch.float32, seed=seed)
        torch.set_num_threads(3)  # it is per thread
        return [evaluate(variant, case, backend="native", **ragged(20, 24, seed)) for _ in range(3)]

    alone = [job(each) for each in jobs]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(job, jobs))
    for one, other in zip(alone, together, strict=True):
        for first, second in zip(one, other, strict=True):
            assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_engines_own_threads_give_the_bits_of_torchs():
    torch.set_num_threads(2)
    case = make("lstm", T=20, B=24, H=48, dtype=torch.float32, seed=1)
    lent = evaluate("lstm", case, backend="native")
    kernels.borrow_team(parallel=0, size=0, in_parallel=0)
    try:
        own = evaluate("lstm", case, backend="native")
    finally:
        backend.lend_team()
    assert all(torch.equal(lent[name], own[name]) for name in lent)


def lend_team_of(most, nice=0):
    """Lend the engine a team of `most[0]` threads at most, however many it asks for; return what must outlive it.

    With `nice` the others than the caller's own come after it where they share a core with it.
    """
    local = threading.local()
    job_type = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
    number_type = ctypes.CFUNCTYPE(ctypes.c_int)

    def parallel(job, data, asked, _flags):
        size = min(most[0], asked)

        def member(nice=nice):
            if nice:
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)
            local.size = size
            job_type(job)(data)
            local.size = 1

        others = [threading.Thread(target=member) for _ in range(size - 1)]
        for other in others:
            other.start()
        member(0)
        for other in others:
            other.join()

    held = (
        ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)(parallel),
        number_type(lambda: local.size),
        number_type(lambda: getattr(local, "size", 1) > 1),
    )
    names = ("parallel", "size", "in_parallel")
    addresses = [ctypes.cast(function, ctypes.c_void_p).value for function in held]
    kernels.borrow_team(**dict(zip(names, addresses, strict=True)))
    return held


def test_a_team_of_any_size_gives_the_same_bits():
    case = make("lstm", T=20, B=24, H=48, dtype=torch.float32, seed=1)
    want = evaluate("lstm", case, backend="native")
    most = [3]
    held = lend_team_of(most)
    try:
        torch.set_num_threads(3)
        for most[0] in (3, 2, 1, 3):  # as under OMP_DYNAMIC, on a machine that is busy for a while
            got = evaluate("lstm", case, backend="native")
            assert all(torch.equal(got[name], want[name]) for name in want)
    finally:
        backend.lend_team()
    del held


@pytest.mark.skipif(sys.platform != "linux", reason="a thread has a core and a priority of its own")
@pytest.mark.parametrize("variant", ["rnn_tanh", "lstm", "gru"])
def test_a_thread_that_is_some_blocks_ahead_changes_no_gradient(variant):
    """Two threads share the rows; where these end one by one, a row's place in the blocks of gradients moves.

    Both are on one core, where the second hardly runs before the first waits for it.
    """
    case = make(variant, T=600, B=48, I=4, H=40, dtype=torch.float32)
    lengths = ragged(600, 48)["lengths"]
    want = evaluate(variant, case, backend="native", lengths=lengths)
    cores = os.sched_getaffinity(0)
    held = lend_team_of([2], nice=19)
    try:
        os.sched_setaffinity(0, {min(cores)})
        torch.set_num_threads(2)
        got = evaluate(variant, case, backend="native", lengths=lengths)
    finally:
        os.sched_setaffinity(0, cores)
        backend.lend_team()
    del held
    assert all(torch.equal(got[name], value) for name, value in want.items())


@pytest.mark.skipif(sys.platform != "linux", reason="the runtime is looked for in what Linux says is loaded")
def test_torchs_threads_are_found_and_work_for_the_engine():
    script = """
        import os, torch, unrolled
        from unrolled.ops.native import backend
        threads = lambda: len(os.listdir("/proc/self/task"))
        torch.set_num_threads(2)
        assert backend._runtime() is not None
        torch.ones(10**6).sum()  # torch's threads are there from here on
        before = threads()
        with torch.no_grad():
            unrolled.nn.LSTM(32, 64, backend="native")(torch.randn(50, 32, 32))
        assert threads() == before, (before, threads())
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, timeout=120)


@pytest.mark.parametrize("used_before", [True, False])
def test_a_forked_child_runs_with_threads_and_gives_the_same_bits(used_before, tmp_path):
    # Few enough elements that no operation of torch's own runs in parallel: in the child of a process
    # that has used its OpenMP threads those hang, with or without this package.
    script = f"""
        import os, signal, sys, torch, unrolled
        torch.manual_seed(0)
        torch.set_num_threads(2)
        layer = unrolled.nn.LSTM(32, 64, backend="native")
        x = torch.randn(50, 8, 32)
        if {used_before}:
            layer(x)
        child = os.fork()
        signal.alarm(60)  # a child that hangs is a failure, not a wait
        y, _ = layer(x)
        y.sum().backward()
        with open(sys.argv[1] + ("/parent" if child else "/child"), "wb") as file:
            file.write(y.detach().numpy().tobytes() + layer.weight_hh_l0.grad.numpy().tobytes())
        if not child:
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script), tmp_path], check=True, timeout=120)
    assert (tmp_path / "parent").read_bytes() == (tmp_path / "child").read_bytes()


def test_a_refused_call_leaves_the_engine_usable():
    case = make("gru", T=4, B=3, H=5)
    want, _ = call("gru", case, backend="native")
    layer = torch.ops.unrolled.layer
    tensors = (
        [case[n] for n in ("x", "h_0")],
        [case[n] for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")],
    )
    for _ in range(3):
        with pytest.raises(ValueError, match="lengths"):
            layer("gru", *tensors[0], None, *tensors[1], torch.tensor([9, 0, 0]), None, False, True, False)
    assert torch.equal(call("gru", case, backend="native")[0], want)
