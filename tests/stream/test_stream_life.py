"""The life of a stream: threads, forks, errors in the middle of a chunk, and ten million steps."""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from stream_cases import MODES, inputs, layer_tensors, recurrent, same_state, token_model

from unrolled import kernels, stream
from unrolled.errors import NonFiniteError, StateError

pytestmark = pytest.mark.skipif(not kernels.available(), reason=str(kernels.why_not()))

F = np.float32
LONG = 60_000  # steps of one call; it leaves the GIL to others all the while


@contextmanager
def at_work(session: stream.Session, x: np.ndarray) -> Iterator[list[np.ndarray]]:
    """Another thread is inside `run` of this session for as long as this lasts, or at its end."""
    results: list[np.ndarray] = []
    worker = threading.Thread(target=lambda: results.append(session.run(x, last=True)))
    worker.start()
    try:
        deadline = time.monotonic() + 60
        while True:  # until the call has begun
            try:
                session.save()
            except StateError:
                break
            assert time.monotonic() < deadline
            assert not results, "the call was over before it was seen"
        yield results
    finally:
        worker.join()


def test_two_threads_on_one_session_are_told_so_and_the_first_is_not_disturbed():
    model = recurrent("LSTM", 32, 128)
    x = inputs(LONG, 32)
    want, session = model.open(), model.open()
    y = want.run(x, last=True)
    refusals = 0
    with at_work(session, x) as results:
        row = x[0].copy()
        calls: list[Callable[[], object]] = [
            lambda: session.step(row), lambda: session.run(x[:2]), session.save, session.reset, session.close,
            session.health, lambda: session.state, lambda: setattr(session, "state", None),
        ]  # fmt: skip
        for call in calls:
            with pytest.raises(
                StateError,
                match=r"^session: expected one thread at a time, got a call while another thread is in one$",
            ):
                call()
            refusals += 1
        assert not results, "the machine was too fast for this test: more steps are needed"
    assert refusals == len(calls)
    assert np.array_equal(results[0], y)
    assert same_state(session.state, want.state)


def test_sessions_on_threads_of_their_own_share_one_model():
    model = recurrent("GRU", 16, 64, 2)
    x = [inputs(3000, 16, seed) for seed in range(8)]
    want = [model.open().run(given) for given in x]
    with ThreadPoolExecutor(4) as threads:
        assert all(map(np.array_equal, threads.map(lambda given: model.open().run(given), x), want))
    pools = [model.pool(30, threads=2) for _ in range(3)]
    rows = inputs(30, 16)
    alone = model.pool(30)
    y, *_, last = [alone.step(rows) for _ in range(50)]
    with ThreadPoolExecutor(3) as threads:
        found = threads.map(lambda pool: [pool.step(rows) for _ in range(50)], pools)
        assert all(np.array_equal(ticks[0], y) and np.array_equal(ticks[-1], last) for ticks in found)


def in_child(body: Callable[[], None]) -> int:
    """Run in a fork; return its exit code, 0 where all went well."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork with threads, which is what is tested
        pid = os.fork()
    if pid == 0:
        try:
            body()
            os._exit(0)
        except BaseException as error:
            os.write(2, f"in the child: {type(error).__name__}: {error}\n".encode())
            os._exit(1)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    pytest.fail("the child hangs")


def test_a_child_goes_on_with_every_stream_of_its_parent():
    model = recurrent("LSTM", 8, 32, 2)
    pool, session, x = model.pool(40, threads=2), model.open(), inputs(40, 8)
    pool.step(x)  # its threads are there now
    session.run(x)
    blob = session.save()
    other, solo = model.pool(40), model.open(blob)
    other.step(x)
    second, on = other.step(x), solo.run(x)

    def goes_on() -> None:
        assert np.array_equal(pool.step(x), second)
        assert np.array_equal(session.run(x), on)
        assert np.array_equal(model.open(blob).run(x), on)
        assert in_child(lambda: model.pool(40, threads=2).step(x) is None) == 0

    assert in_child(goes_on) == 0
    goes_on()  # and the parent


def test_a_fork_in_the_middle_of_a_call_leaves_the_child_all_but_that_session():
    model = recurrent("LSTM", 32, 128)
    x = inputs(LONG, 32)
    session, idle, pool = model.open(), model.open(), model.pool(20, threads=2)
    pool.step(x[:20])
    idle.run(x[:5])
    blob, y = idle.save(), model.open().run(x[:5])

    def goes_on() -> None:
        torn = r"^session: expected one between calls, got the copy that a fork made in the middle of another thread's call$"
        for call in (session.save, session.reset, lambda: session.step(x[0])):
            with pytest.raises(StateError, match=torn):
                call()
        session.close()
        with pytest.raises(StateError, match="one that is closed"):
            session.save()
        assert idle.save() == blob
        assert np.array_equal(model.open().run(x[:5]), y)
        assert pool.step(x[:20]).shape == (20, 128)

    with at_work(session, x) as results:
        code = in_child(goes_on)
        assert not results, "the machine was too fast for this test: more steps are needed"
    assert code == 0
    session.save()


def overflowing() -> stream.Recurrent:
    """A rectifier whose every state is 4,096 times the one before, and its input."""
    tensors = layer_tensors("RNN_RELU", 2, 3, bias=False)
    tensors["weight_ih_l0"][:] = 1
    tensors["weight_hh_l0"][:] = 4096 * np.eye(3)
    return stream.Recurrent.from_tensors("RNN_RELU", tensors)


def test_a_state_that_would_overflow_stays_what_it_was():
    model, x = overflowing(), np.ones((300, 2), F)
    session = model.open()
    steps = 0
    while float(session.state["h"].max()) * 4096 < float(np.finfo(F).max):
        session.step(x[0])
        steps += 1
    before = session.state
    with pytest.raises(
        NonFiniteError, match=r"^state: expected finite numbers, got NaN or infinity after step 0$"
    ):
        session.step(x[0])
    assert 5 < steps < 20
    assert same_state(session.state, before)
    for already in (0, 3):
        chunk = model.open()
        chunk.run(x[:already])
        before = chunk.state
        with pytest.raises(
            NonFiniteError,
            match=rf"^state: expected finite numbers, got NaN or infinity after step {steps - already}$",
        ):
            chunk.run(x)
        assert same_state(chunk.state, before)
    x[steps + 2] = np.nan  # behind the first step at fault: a call of `step` would not come there
    with pytest.raises(NonFiniteError, match=rf"^state: .* after step {steps}$"):
        model.open().run(x)
    x[steps - 1] = np.inf
    with pytest.raises(NonFiniteError, match=rf"^x\[{steps - 1}\]: expected finite numbers"):
        model.open().run(x)
    late = np.zeros((300, 2), F)  # in a later part of the chunk
    late[290 - steps :] = 1
    with pytest.raises(NonFiniteError, match=r"after step 290$"):
        model.open().run(late)


@pytest.mark.parametrize("threads", [1, 2])
def test_an_overflow_in_a_pool_changes_no_stream_of_it(threads: int):
    model, x = overflowing(), np.ones((250, 2), F)
    pool = model.pool(250, threads=threads)
    pool.step(x)
    for stream_of in (60, 240):
        pool.restore(stream_of, {"h": np.full((1, 3), 1e36)})
    before = [pool.save(n) for n in range(250)]
    with pytest.raises(
        NonFiniteError, match=r"^state: expected finite numbers, got NaN or infinity after stream 60$"
    ):
        pool.step(x)
    assert [pool.save(n) for n in range(250)] == before
    mask = np.ones(250, bool)
    mask[[60, 240]] = False
    pool.step(x, active=mask)
    assert (pool.save(60), pool.save(240)) == (before[60], before[240])


def test_a_nan_before_an_int8_projection_is_seen():
    """An output gate of infinity minus infinity: rounded to int8, NaN would be some number. A chain of fused
    multiply-adds never gets there from finite numbers."""
    tensors = layer_tensors("LSTM", 2, 4, proj_size=2)
    for name in ("weight_ih_l0", "weight_hh_l0"):
        tensors[name][12:] = 0
    tensors["weight_ih_l0"][12] = 3e38
    tensors["weight_hh_l0"][12] = [-3e38, 3e38]
    model = stream.Recurrent.from_tensors("LSTM", tensors, weights="int8")
    start = {"h": np.array([[3e38, -3e38]]), "c": np.full((1, 4), 0.5)}
    x = np.full((3, 2), 3e38, F)
    for call in (lambda s: s.step(x[0]), lambda s: s.run(x)):
        session = model.open(start)
        before = session.state
        with pytest.raises(
            NonFiniteError, match=r"^state: expected finite numbers, got NaN or infinity after step 0$"
        ):
            call(session)
        assert same_state(session.state, before)


@pytest.mark.parametrize("mode", MODES)
def test_inputs_of_every_magnitude_give_finite_states(mode: str):
    """Saturated, not broken: but for the rectifier, which is told when it overflows."""
    for weights in ("float32", "bfloat16", "int8"):
        session = recurrent(mode, 3, 9, 2, weights=weights).open()
        for size in (0.0, 1e-45, 1e-38, 1e-20, 1.0, 1e20, 1e30):
            y = session.step(np.array([size, -size, 0], F))
            assert np.isfinite(y).all(), (weights, size)
            if mode == "RNN_RELU":
                session.reset()


def test_a_session_is_collected_with_its_state_and_without_its_model():
    import gc
    import weakref

    model = recurrent("GRU", 3, 5)
    session, pool = model.open(), model.pool(4)
    seen = [weakref.ref(one) for one in (model, session, pool)]
    del model
    assert session.step(np.zeros(3, F)).shape == (5,)  # the model stays for as long as a stream of it does
    del session, pool
    gc.collect()
    assert [one() for one in seen] == [None, None, None]


def resident() -> int:
    return 4096 * int(Path("/proc/self/statm").read_text().split()[1])


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("steps", [100_000, pytest.param(10_000_000, marks=pytest.mark.slow)])
def test_an_endless_stream_keeps_its_memory_flat_and_its_state_finite(steps: int):
    dense, tokens = recurrent("LSTM", 3, 8, 2).open(), token_model("GRU", 11, 3, 8)[0].open()
    pool = recurrent("RNN_TANH", 3, 8).pool(10)
    x, ids = inputs(5000, 3), np.random.default_rng(0).integers(0, 11, 5000)
    out, logits, rows = np.empty((5000, 8), F), np.empty((5000, 11), F), np.empty((10, 8), F)
    at_start = 0
    for turn in range(steps // 10_000):
        dense.run(x, out)
        tokens.run(ids, logits)
        for row in range(0, 200, 10):
            dense.step(x[row], out[0])
            pool.step(x[row : row + 10], out=rows)
        if turn % 5 == 0:  # opened, saved and gone
            blob = dense.save()
            assert dense.model.open(blob).save() == blob
        if turn == 4:
            at_start = resident()
    assert resident() - at_start < 4 * 2**20
    assert all(
        np.isfinite(part).all() for part in (*dense.state.values(), *tokens.state.values(), out, logits, rows)
    )
