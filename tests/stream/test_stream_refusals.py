"""What a stream refuses: one line that names the argument, what was expected and what came; the state is as before."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from stream_cases import inputs, layer_tensors, recurrent, same_state, token_model

from unrolled import UnrolledError, kernels, nn, stream
from unrolled.errors import (
    ConfigError,
    DtypeError,
    NonFiniteError,
    RunError,
    ShapeError,
    StateError,
    TokenError,
)

pytestmark = pytest.mark.skipif(not kernels.available(), reason=str(kernels.why_not()))

F = np.float32


def refused(call: Callable[[], object], kind: type[UnrolledError], message: str) -> None:
    """The call raises exactly this kind, in one line of the house's form that begins with `message`."""
    with pytest.raises(UnrolledError) as caught:
        call()
    assert type(caught.value) is kind, caught.value
    said = str(caught.value)
    assert re.fullmatch(r"[^:\n]+: expected [^\n]+, got [^\n]+", said), said
    assert said.startswith(message), said


def read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


DENSE: dict[str, tuple[Any, Any, type[UnrolledError], str]] = {
    "a list": ([0.0, 0.0, 0.0], None, DtypeError, "x: expected a numpy array of float32, got list"),
    "none": (None, None, DtypeError, "x: expected a numpy array of float32, got NoneType"),
    "a tensor": (torch.zeros(3), None, DtypeError, "x: expected a numpy array of float32, got Tensor"),
    "float64": (np.zeros(3), None, DtypeError, "x: expected float32, got float64"),
    "float16": (np.zeros(3, np.float16), None, DtypeError, "x: expected float32, got float16"),
    "int32": (np.zeros(3, np.int32), None, DtypeError, "x: expected float32, got int32"),
    "uint32": (np.zeros(3, np.uint32), None, DtypeError, "x: expected float32, got uint32"),
    "another byte order": (np.zeros(3, ">f4"), None, DtypeError, "x: expected float32, got >f4"),
    "objects": (np.zeros(3, object), None, DtypeError, "x: expected float32, got object"),
    "a record": (np.zeros(3, [("a", F)]), None, DtypeError, "x: expected float32, got [('a', '<f4')]"),
    "complex": (np.zeros(1, np.complex64), None, DtypeError, "x: expected float32, got complex64"),
    "a scalar": (np.float32(1), None, DtypeError, "x: expected a numpy array of float32, got float32"),
    "no axis": (np.array(1, F), None, ShapeError, "x: expected [3], got []"),
    "too narrow": (np.zeros(2, F), None, ShapeError, "x: expected [3], got [2]"),
    "too wide": (np.zeros(4, F), None, ShapeError, "x: expected [3], got [4]"),
    "empty": (np.zeros(0, F), None, ShapeError, "x: expected [3], got [0]"),
    "with gaps": (np.zeros(6, F)[::2], None, ShapeError, "x: expected a contiguous array, got one with strides [8]"),
    "at an odd address": (np.zeros(13, np.uint8)[1:].view(F), None, ShapeError, "x: expected an aligned array, got one at the address"),
    "out: at an odd address": (np.zeros(3, F), np.zeros(21, np.uint8)[1:].view(F), ShapeError, "out: expected an aligned array"),
    "backwards": (np.zeros(3, F)[::-1], None, ShapeError, "x: expected a contiguous array, got one with strides [-4]"),
    "out: a list": (np.zeros(3, F), [0.0] * 5, DtypeError, "out: expected a numpy array of float32, got list"),
    "out: float64": (np.zeros(3, F), np.zeros(5), DtypeError, "out: expected float32, got float64"),
    "out: too wide": (np.zeros(3, F), np.zeros(6, F), ShapeError, "out: expected [5], got [6]"),
    "out: with gaps": (np.zeros(3, F), np.zeros(10, F)[::2], ShapeError, "out: expected a contiguous array"),
    "out: read only": (np.zeros(3, F), read_only(np.zeros(5, F)), UnrolledError, "out: expected a writable array"),
    "NaN": (np.array([0, np.nan, 0], F), None, NonFiniteError, "x: expected finite numbers, got NaN or infinity"),
    "infinity": (np.array([0, 0, -np.inf], F), None, NonFiniteError, "x: expected finite numbers"),
}  # fmt: skip


@pytest.mark.parametrize("what", DENSE)
def test_a_step_refuses(what: str):
    x, out, kind, message = DENSE[what]
    session = recurrent("LSTM", 3, 5, 2).open()
    session.run(inputs(4, 3))
    before = session.state
    refused(lambda: session.step(x, out), kind, message)
    assert same_state(session.state, before)


IDS: dict[str, tuple[Any, type[UnrolledError], str]] = {
    "below": (-1, TokenError, "x: expected an id from 0 to 6, got -1"),
    "above": (7, TokenError, "x: expected an id from 0 to 6, got 7"),
    "huge": (2**70, TokenError, f"x: expected an id from 0 to 6, got {2**70}"),
    "numpy's": (np.int8(-3), TokenError, "x: expected an id from 0 to 6, got -3"),
    "unsigned": (np.uint64(2**64 - 1), TokenError, f"x: expected an id from 0 to 6, got {2**64 - 1}"),
    "a bool": (True, DtypeError, "x: expected an id, a whole number, got True"),
    "numpy's bool": (np.True_, DtypeError, "x: expected an id, a whole number, got"),
    "a fraction": (1.0, DtypeError, "x: expected an id, a whole number, got 1.0"),
    "a text": ("1", DtypeError, "x: expected an id, a whole number, got '1'"),
    "an array": (np.zeros(2, np.int64), DtypeError, "x: expected an id, a whole number, got an array of shape [2]"),
    "none": (None, DtypeError, "x: expected an id, a whole number, got None"),
}  # fmt: skip


@pytest.mark.parametrize("what", IDS)
def test_a_step_of_ids_refuses(what: str):
    x, kind, message = IDS[what]
    session = token_model("GRU", 7, 3, 5)[0].open()
    session.step(3)
    before = session.state
    refused(lambda: session.step(x), kind, message)
    assert same_state(session.state, before)


RUNS: dict[str, tuple[Any, dict[str, Any], type[UnrolledError], str]] = {
    "no axis": (np.float32(3), {}, ShapeError, "x: expected [T, 3], got []"),
    "one axis": (np.zeros(3, F), {}, ShapeError, "x: expected [T, 3], got [3]"),
    "another width, as many numbers": (np.zeros((6, 4), F), {}, ShapeError, "x: expected [T, 3], got [6, 4]"),
    "another width, last": (np.zeros((6, 4), F), {"last": True}, ShapeError, "x: expected [T, 3] with T of at least 1, got [6, 4]"),
    "no steps of another width": (np.zeros((0, 7), F), {}, ShapeError, "x: expected [T, 3], got [0, 7]"),
    "no last step": (np.zeros((0, 3), F), {"last": True}, ShapeError, "x: expected [T, 3] with T of at least 1"),
    "float64": (np.zeros((2, 3)), {}, DtypeError, "x: expected float32, got float64"),
    "turned": (np.zeros((3, 2), F).T, {}, ShapeError, "x: expected a contiguous array"),
    "rows of unequal lengths": ([[1, 2, 3], [4]], {}, DtypeError, "x: expected an array, got list"),
    "texts": ([["a", "b", "c"]], {}, DtypeError, "x: expected float32, got <U1"),
    "too large for float32": ([[1e300, 0, 0]], {}, NonFiniteError, "x[0]: expected finite numbers"),
    "NaN at a step": (np.array([[0] * 3, [0, np.nan, 0]], F), {}, NonFiniteError, "x[1]: expected finite numbers"),
    "out of other steps": (np.zeros((2, 3), F), {"out": np.zeros((3, 5), F)}, ShapeError, "out: expected [2, 5], got [3, 5]"),
    "out of all steps for the last": (np.zeros((2, 3), F), {"out": np.zeros((2, 5), F), "last": True}, ShapeError, "out: expected [5], got [2, 5]"),
}  # fmt: skip


@pytest.mark.parametrize("what", RUNS)
def test_a_run_refuses(what: str):
    x, options, kind, message = RUNS[what]
    session = recurrent("GRU", 3, 5).open()
    session.run(inputs(4, 3))
    before = session.state
    refused(lambda: session.run(x, **options), kind, message)
    assert same_state(session.state, before)


@pytest.mark.parametrize(
    ("x", "kind", "message"),
    [
        ([1, 2, 7], TokenError, "x[2]: expected an id from 0 to 6, got 7"),
        ([1.5, 2.0], DtypeError, "x: expected int64, got float64"),
        ([True, False], DtypeError, "x: expected int64, got bool"),
        ([2**63], DtypeError, "x: expected int64, got uint64"),
        ([2**70], DtypeError, "x: expected int64, got object"),
        (["1"], DtypeError, "x: expected int64, got <U1"),
        (np.zeros(3, np.int32), DtypeError, "x: expected int64, got int32"),
        (np.zeros(3, ">i8"), DtypeError, "x: expected int64, got >i8"),
        (np.zeros(3, np.uint64), DtypeError, "x: expected int64, got uint64"),
        (np.zeros((3, 1), np.int64), ShapeError, "x: expected [T], got [3, 1]"),
    ],
)
def test_a_run_of_ids_refuses(x: Any, kind: type[UnrolledError], message: str):
    session = token_model("LSTM", 7, 3, 5)[0].open()
    session.run([1, 2, 3])
    before = session.state
    refused(lambda: session.run(x), kind, message)
    assert same_state(session.state, before)


def test_a_run_takes_lists_ranges_and_no_steps():
    model = token_model("LSTM", 7, 3, 5)[0]
    assert np.array_equal(model.open().run([0, 1, 2]), model.open().run(range(3)))
    assert model.open().run([]).shape == (0, 7)
    dense = recurrent("GRU", 2, 5)
    assert np.array_equal(dense.open().run([[1, 2]]), dense.open().run(np.array([[1, 2]], F)))


@pytest.mark.parametrize(
    ("x", "options", "kind", "message"),
    [
        (np.zeros((4, 3), F), {}, ShapeError, "x: expected [5, 3], got [4, 3]"),
        (np.zeros((5, 3)), {}, DtypeError, "x: expected float32, got float64"),
        ([[1], [2, 3]], {}, DtypeError, "x: expected an array, got list"),
        (np.zeros((5, 3), F), {"active": np.ones(4, bool)}, ShapeError, "active: expected [5], got [4]"),
        (np.zeros((5, 3), F), {"active": np.ones(5, np.uint8)}, DtypeError, "active: expected bool, got uint8"),
        (np.zeros((5, 3), F), {"active": [1, 0, 1, 0, 1]}, DtypeError, "active: expected bool, got int64"),
        (np.zeros((5, 3), F), {"active": [[True], [True, False]]}, DtypeError, "active: expected an array"),
        (np.zeros((5, 3), F), {"out": np.zeros((5, 6), F)}, ShapeError, "out: expected [5, 4], got [5, 6]"),
        (np.zeros((5, 3), F), {"out": read_only(np.zeros((5, 4), F))}, UnrolledError, "out: expected a writable"),
        (np.full((5, 3), np.nan, F), {"active": np.arange(5) == 3}, NonFiniteError, "x[3]: expected finite"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("threads", [1, 2])
def test_a_pool_refuses(
    x: Any, options: dict[str, Any], kind: type[UnrolledError], message: str, threads: int
):
    pool = recurrent("LSTM", 3, 4, 2).pool(5, threads=threads)
    pool.step(inputs(5, 3))
    before = [pool.state(n) for n in range(5)]
    refused(lambda: pool.step(x, **options), kind, message)
    assert all(same_state(pool.state(n), before[n]) for n in range(5))


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_the_first_row_at_fault_is_the_one_named(threads: int):
    pool = recurrent("RNN_TANH", 2, 3).pool(300, threads=threads)
    x = inputs(300, 2)
    x[[7, 120, 299]] = np.nan
    for _ in range(20):
        refused(lambda: pool.step(x), NonFiniteError, "x[7]: expected finite numbers")


@pytest.mark.parametrize("threads", [1, 3])
def test_ids_of_streams_that_rest_are_not_looked_at(threads: int):
    model = token_model("GRU", 7, 3, 5)[0]
    pool = model.pool(4, threads=threads)
    out = pool.step(np.array([1, 99, 2, -5]), active=np.array([True, False, True, False]))
    assert np.array_equal(out[0], model.open().step(1))
    assert not out[1].any()
    refused(
        lambda: pool.step(np.array([1, 99, 2, 3])), TokenError, "x[1]: expected an id from 0 to 6, got 99"
    )


@pytest.mark.parametrize("number", [0, -1, 2.0, True, "3", None, 2**62])
@pytest.mark.parametrize("name", ["streams", "threads"])
def test_a_pool_of_no_whole_number_is_refused(name: str, number: Any):
    model = recurrent("GRU", 3, 4)
    options = {"streams": 3, "threads": 1} | {name: number}
    refused(lambda: model.pool(**options), ConfigError, f"{name}: expected a whole number of at least 1, got")


def test_a_pool_larger_than_the_memory_is_refused_before_any_is_taken(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("unrolled.stream.session.memory_limit", lambda: 2**30)
    model = recurrent("GRU", 3, 4)
    refused(lambda: model.pool(2**31), ConfigError, "streams: expected states of at most 1,073,741,824 bytes")


@pytest.mark.parametrize("stream_of", [-1, 3, 1.0, True, "0", None])
def test_a_pool_has_no_such_stream(stream_of: Any):
    pool = recurrent("GRU", 3, 4).pool(3)
    for call in (pool.save, pool.state, pool.health, lambda n: pool.restore(n, None)):
        refused(lambda call=call: call(stream_of), ConfigError, "stream: expected a number from 0 to 2, got")


def test_memory_that_out_and_x_share():
    """A step of one stream may write over its own input; a chunk and a pool, which read on, may not."""
    model = recurrent("GRU", 4, 4, 2)
    x = inputs(6, 4)
    steps = model.open().run(x)
    session, shared = model.open(), x.copy()
    assert all(np.array_equal(session.step(shared[t], shared[t]), steps[t]) for t in range(6))
    for out in (x, x[::-1][::-1], np.concatenate([x, x])[3:9]):
        kept = out.base if out.base is not None and out is not x else out
        given = kept[:6] if kept is not x else x
        for call in (model.open().run, model.pool(6).step):
            refused(
                lambda call=call, a=given, o=out: call(a, out=o),
                ConfigError,
                "out: expected memory of its own",
            )
    assert np.array_equal(model.open().run(x), steps)
    ids = np.arange(6)
    refused(
        lambda: token_model("GRU", 7, 3, 2, head=False)[0].open().run(ids, out=ids.view(F).reshape(6, 2)),
        ConfigError, "out: expected memory of its own",
    )  # fmt: skip
    mask = np.ones(16, bool)
    refused(
        lambda: recurrent("GRU", 2, 1).pool(4).step(np.zeros((4, 2), F), active=mask[:4], out=mask.view(F).reshape(4, 1)),
        ConfigError, "out: expected memory of its own",
    )  # fmt: skip


def test_subclassed_and_mapped_arrays_are_read_for_what_they_hold(tmp_path):
    model = recurrent("LSTM", 3, 5)
    x = inputs(1, 3)[0]
    want = model.open().step(x)
    mapped = np.memmap(tmp_path / "x", F, "w+", shape=3)
    mapped[:] = x
    for given in (mapped, np.ma.masked_array(x, mask=[0, 1, 0]), x.view(np.recarray)):
        assert np.array_equal(model.open().step(given), want)


STATES: dict[str, tuple[Any, type[UnrolledError], str]] = {
    "no bytes": ("x", DtypeError, "state: expected bytes that `save` returned, got str"),
    "torch's pair": ((np.zeros((2, 5)),) * 2, DtypeError, "state: expected bytes that `save` returned, got tuple"),
    "h alone": ({"h": np.zeros((2, 5))}, StateError, "state: expected h and c, got h"),
    "other names": ({1: 2}, StateError, "state: expected h and c, got 1"),
    "nothing": ({}, StateError, "state: expected h and c, got none"),
    "another shape": ({"h": np.zeros((2, 4)), "c": np.zeros((2, 5))}, ShapeError, "state h: expected [2, 5], got [2, 4]"),
    "unequal rows": ({"h": [[1, 2], [3]], "c": np.zeros((2, 5))}, DtypeError, "state h: expected an array, got list"),
    "complex": ({"h": np.zeros((2, 5), complex), "c": np.zeros((2, 5))}, DtypeError, "state h: expected real numbers, got complex128"),
    "objects": ({"h": np.zeros((2, 5), object), "c": np.zeros((2, 5))}, DtypeError, "state h: expected real numbers, got object"),
    "NaN": ({"h": np.zeros((2, 5)), "c": np.full((2, 5), np.nan)}, NonFiniteError, "state c: expected finite float32 numbers"),
    "too large for float32": ({"h": np.zeros((2, 5)), "c": np.full((2, 5), 1e300)}, NonFiniteError, "state c: expected finite float32 numbers"),
}  # fmt: skip


@pytest.mark.parametrize("what", STATES)
def test_a_state_that_does_not_fit_is_refused_everywhere(what: str):
    given, kind, message = STATES[what]
    model = recurrent("LSTM", 3, 5, 2)
    session, pool = model.open(), model.pool(2)
    session.run(inputs(4, 3))
    before, pooled = session.state, pool.save(1)
    refused(lambda: model.open(given), kind, message)
    refused(lambda: setattr(session, "state", given), kind, message)
    refused(lambda: pool.restore(1, given), kind, message)
    assert same_state(session.state, before)
    assert pool.save(1) == pooled


def test_a_state_is_of_one_model_and_its_weights():
    tensors = layer_tensors("RNN_TANH", 3, 5)
    model = stream.Recurrent.from_tensors("RNN_TANH", tensors)
    blob = model.open().save()
    again = stream.Recurrent.from_tensors("RNN_TANH", dict(reversed(tensors.items())))
    assert again.open(blob).save() == blob  # the order in which the tensors came is nothing
    touched = {name: value.copy() for name, value in tensors.items()}
    touched["weight_hh_l0"][4, 4] = np.nextafter(touched["weight_hh_l0"][4, 4], F(9))
    others = {
        "another rectifier": stream.Recurrent.from_tensors("RNN_RELU", tensors),
        "another type of weights": stream.Recurrent.from_tensors("RNN_TANH", tensors, weights="int8"),
        "one bit": stream.Recurrent.from_tensors("RNN_TANH", touched),
        "another cell": recurrent("GRU", 3, 5),
    }
    for name, other in others.items():
        assert other.fingerprint != model.fingerprint, name
        refused(
            lambda other=other: other.open(blob),
            StateError,
            "state: expected one of this model and these weights",
        )


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_that_would_share_the_state_is_refused(copied: Callable[[Any], Any]):
    model = recurrent("GRU", 3, 5)
    for one in (model.open(), model.pool(2)):
        refused(lambda one=one: copied(one), StateError, "session: expected `save`")


def test_after_close_every_call_is_refused_and_the_model_goes_on():
    model = recurrent("LSTM", 3, 5)
    with model.open() as session, model.pool(2) as pool:
        blob = session.save()
    assert session.closed
    assert pool.closed
    session.close()  # twice is once
    x = inputs(2, 3)
    for call in (
        lambda: session.step(x[0]), lambda: session.run(x), session.save, session.reset, session.health,
        lambda: session.state, lambda: setattr(session, "state", None), lambda: pool.step(x), lambda: pool.save(0),
        lambda: pool.state(0), pool.reset, lambda: pool.restore(0, blob), lambda: pool.health(1),
    ):  # fmt: skip
        refused(call, StateError, "session: expected an open one, got one that is closed")
    assert np.array_equal(model.open(blob).run(x), model.open().run(x))


@pytest.mark.parametrize("weights", ["int4", "", None, 8, ["int8"], "Float32"])
def test_an_unknown_type_of_weights_is_refused(weights: Any):
    want = "weights: expected one of float32, bfloat16, int8, got"
    refused(lambda: recurrent("GRU", 3, 5, weights=weights), ConfigError, want)
    if weights is not None:
        refused(lambda: stream.load("nowhere", weights=weights), ConfigError, want)


def tensors_with(**changes: Any) -> dict[str, Any]:
    found = layer_tensors("LSTM", 3, 5) | changes
    return {name: value for name, value in found.items() if value is not None}


TENSORS: dict[str, tuple[Any, type[UnrolledError], str]] = {
    "none": ({}, ConfigError, "tensors: expected weight_ih_l0, got none"),
    "one missing": (tensors_with(weight_hh_l0=None), ConfigError, "tensors: expected 'weight_hh_l0', got none of that name"),
    "one bias": (tensors_with(bias_hh_l0=None), ConfigError, "tensors: expected 'bias_hh_l0'"),
    "one unknown": (tensors_with(weight_ih_l9=np.zeros(3, F)), ConfigError, "tensors: expected those of the layers, got unknown"),
    "the other direction": (tensors_with(weight_ih_l0_reverse=np.zeros((20, 3), F)), ConfigError, "tensors: expected those of the layers"),
    "another shape": (tensors_with(weight_hh_l0=np.zeros((20, 4), F)), ShapeError, "weight_hh_l0: expected [20, 5], got [20, 4]"),
    "rows that are no gates": (tensors_with(weight_ih_l0=np.zeros((21, 3), F)), ShapeError, "weight_ih_l0: expected [4·H, I], got [21, 3]"),
    "no columns": (tensors_with(weight_ih_l0=np.zeros((20, 0), F)), ShapeError, "weight_ih_l0: expected [4·H, I], got [20, 0]"),
    "unequal rows": (tensors_with(weight_ih_l0=[[1], [2, 3]]), DtypeError, "weight_ih_l0: expected an array"),
    "a projection without axes": (tensors_with(weight_hr_l0=F(3)), ShapeError, "weight_hr_l0: expected [P, 5], got []"),
    "a projection to nothing": (tensors_with(weight_hr_l0=np.zeros((0, 5), F), weight_hh_l0=np.zeros((20, 0), F)), ShapeError, "weight_hr_l0: expected [P, 5], got [0, 5]"),
    "float64": (tensors_with(bias_ih_l0=np.zeros(20)), DtypeError, "bias_ih_l0: expected float32, got float64"),
    "NaN": (tensors_with(bias_ih_l0=np.full(20, np.nan, F)), NonFiniteError, "bias_ih_l0: expected finite weights, got NaN"),
}  # fmt: skip


@pytest.mark.parametrize("what", TENSORS)
def test_tensors_that_do_not_fit_are_refused(what: str):
    given, kind, message = TENSORS[what]
    refused(lambda: stream.Recurrent.from_tensors("LSTM", given), kind, message)


def test_sizes_beyond_the_engine_are_refused():
    many = layer_tensors("RNN_TANH", 1, 1, 65)
    refused(
        lambda: stream.Recurrent.from_tensors("RNN_TANH", many),
        ConfigError,
        "layers: expected 1 to 64, got 65",
    )
    wide = layer_tensors("RNN_TANH", 2**16 + 1, 1)
    assert stream.Recurrent.from_tensors("RNN_TANH", wide).input_size == 2**16 + 1
    refused(
        lambda: stream.Recurrent.from_tensors("RNN_TANH", wide, weights="int8"),
        ConfigError, "columns of int8 weights: expected 1 to 65536, got 65537",
    )  # fmt: skip


def test_a_module_that_no_stream_can_be_made_of_is_refused():
    kinds: list[tuple[torch.nn.Module, type[UnrolledError], str]] = [
        (torch.nn.LSTM(3, 5, bidirectional=True), ConfigError, "module: expected one direction"),
        (torch.nn.LSTMCell(3, 5), ConfigError, "module: expected an RNN, LSTM or GRU of torch.nn or unrolled.nn, got LSTMCell"),
        (torch.nn.Linear(3, 5), ConfigError, "module: expected an RNN, LSTM or GRU"),
        (torch.nn.GRU(3, 5, dtype=torch.float64), DtypeError, "weight_ih_l0: expected float32, got float64"),
        (nn.GRU(3, 5, dtype=torch.bfloat16), DtypeError, "weight_ih_l0: expected float32, got bfloat16"),
    ]  # fmt: skip
    for module, kind, message in kinds:
        refused(lambda module=module: stream.Recurrent.from_torch(module), kind, message)


def test_there_is_nothing_to_load(tmp_path):
    for path in (tmp_path / "nowhere", tmp_path):
        refused(lambda path=path: stream.load(path), RunError, "run: expected")
