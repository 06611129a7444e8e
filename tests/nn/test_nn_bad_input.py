"""Every argument of every layer and cell, wrong in every way: one line, and the right class."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nn_cases import KINDS
from torch.nn.utils.rnn import pack_sequence

from unrolled import kernels, nn
from unrolled.errors import BackendError, DeviceError, DtypeError, ShapeError, UnrolledError

CELLS = ("RNNCell", "LSTMCell", "GRUCell")
X = torch.randn(5, 2, 3)


def refused(error, message, call):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message
    assert type(caught.value) is error


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_input_is_refused(kind):
    layer, first = getattr(nn, kind)(3, 4), getattr(nn, kind)(3, 4, batch_first=True)

    def bad(error, message, value, layer=layer):
        refused(error, f"input: expected {message}", lambda: layer(value))

    bad(ShapeError, "[T, B, 3] or [T, 3], got [5, 2, 4]", torch.randn(5, 2, 4))
    bad(ShapeError, "[T, B, 3] or [T, 3], got [5, 4]", torch.randn(5, 4))
    bad(ShapeError, "[T, B, 3] or [T, 3], got [3]", torch.randn(3))
    bad(ShapeError, "[B, T, 3] or [T, 3], got [1, 5, 2, 3]", torch.randn(1, 5, 2, 3), layer=first)
    bad(DtypeError, "float32, as weight_ih_l0, got float64", X.double())
    bad(DtypeError, "float32, as weight_ih_l0, got int64", X.long())
    bad(DeviceError, "device cpu, as weight_ih_l0, got meta", X.to("meta"))
    bad(DtypeError, "a tensor or a PackedSequence, got list", X.tolist())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        bad(DtypeError, "float32, as weight_ih_l0, got int64", X.long())


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_packed_input_is_refused(kind):
    layer = getattr(nn, kind)(3, 4)
    rows = pack_sequence([torch.randn(5, 3), torch.randn(2, 3)])
    wide = pack_sequence([torch.randn(5, 4)])
    refused(ShapeError, "input.data: expected [n, 3], got [5, 4]", lambda: layer(wide))
    message = "input.data: expected float32, as weight_ih_l0, got float64"
    refused(DtypeError, message, lambda: layer(rows.double()))
    message = "lengths: expected None with a PackedSequence, got list"
    refused(ShapeError, message, lambda: layer(rows, lengths=[5, 2]))
    message = "resets: expected [5, 2], got [2, 5]"
    refused(ShapeError, message, lambda: layer(rows, resets=torch.zeros(2, 5, dtype=torch.bool)))


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_lengths_are_refused(kind):
    layer = getattr(nn, kind)(3, 4, num_layers=2)

    def bad(error, message, lengths, x=X):
        refused(error, f"lengths: expected {message}", lambda: layer(x, lengths=lengths))

    bad(ShapeError, "[2], got [3]", [5, 2, 1])
    bad(ShapeError, "values from 0 to 5, got 6", [6, 1])
    bad(ShapeError, "values from 0 to 5, got -1", torch.tensor([-1, 1]))
    bad(ShapeError, f"values from 0 to 5, got {10**30}", [10**30, 1])
    bad(ShapeError, f"values from 0 to 5, got {2**64 - 1}", np.array([2**64 - 1, 1], dtype=np.uint64))
    bad(DtypeError, "whole numbers, got a float among them", [5.0, 2.0])
    bad(DtypeError, "whole numbers, got a bool among them", [True, False])
    bad(DtypeError, "whole numbers, got float32", torch.tensor([5.0, 2.0]))
    bad(DtypeError, "whole numbers, got bool", torch.tensor([True, False]))
    bad(DtypeError, "whole numbers, got a float64 among them", np.array([5.0, 2.0]))
    bad(ShapeError, "values from 0 to 5, got 6", np.array([5, 6], dtype=np.uint8))
    bad(DtypeError, "a tensor, a list or an array of whole numbers, got int", 5)
    bad(DtypeError, "a tensor, a list or an array of whole numbers, got str", "52")
    bad(DeviceError, "device cpu, got meta", torch.ones(2, dtype=torch.int64, device="meta"))
    bad(ShapeError, "None with an unbatched input, got list", [5], x=X[:, 0])


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_resets_are_refused(kind):
    layer, first = getattr(nn, kind)(3, 4), getattr(nn, kind)(3, 4, batch_first=True)

    def bad(error, message, resets, layer=layer, x=X):
        refused(error, f"resets: expected {message}", lambda: layer(x, resets=resets))

    flags = torch.zeros(5, 2, dtype=torch.bool)
    bad(ShapeError, "[5, 2], got [2, 5]", flags.T)
    bad(ShapeError, "[2, 5], got [5, 2]", flags, layer=first, x=X.transpose(0, 1))
    bad(ShapeError, "[5], got [5, 2]", flags, x=X[:, 0])
    numbers = "bool, or numbers that are 0 or 1"
    bad(DtypeError, f"{numbers}, got 0.5", flags + 0.5)
    bad(DtypeError, f"{numbers}, got nan", flags * torch.nan)
    bad(DtypeError, f"{numbers}, got 2", (2 * (flags.int() + 1)).numpy())
    bad(DtypeError, f"{numbers}, got complex numbers", flags.to(torch.complex64))
    bad(DtypeError, f"{numbers}, got a list of <U4", [["True", "True"]] * 5)
    bad(DtypeError, f"{numbers}, got str", "00")
    bad(DtypeError, f"{numbers}, got int", 1)
    bad(ShapeError, "rows of one length, got rows of several", [[0, 1], [0]])
    bad(ShapeError, "[5, 2], got [2, 5]", flags.T.tolist())
    bad(DeviceError, "device cpu, as input, got meta", flags.to("meta"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_state_is_refused(kind):
    layer = getattr(nn, kind)(3, 4, num_layers=2, bidirectional=True)
    good = torch.zeros(4, 2, 4)

    def bad(error, message, h_0, x=X):
        hx = (h_0, good) if kind == "LSTM" else h_0
        refused(error, f"h_0: expected {message}", lambda: layer(x, hx))

    bad(ShapeError, "[4, 2, 4], got [4, 2, 5]", torch.zeros(4, 2, 5))
    bad(ShapeError, "[4, 2, 4], got [1, 2, 4]", torch.zeros(1, 2, 4))
    bad(ShapeError, "[4, 2, 4], got [4, 4]", torch.zeros(4, 4))
    bad(ShapeError, "[4, 4], got [4, 2, 4]", good, x=X[:, 0])
    bad(DtypeError, "float32, as weight_ih_l0, got float64", good.double())
    bad(DeviceError, "device cpu, as weight_ih_l0, got meta", good.to("meta"))
    if kind != "LSTM":
        refused(DtypeError, "h_0: expected a tensor, got tuple", lambda: layer(X, (good, good)))


def test_a_wrong_pair_of_states_is_refused():
    layer = nn.LSTM(3, 4, proj_size=2)
    h_0, c_0 = torch.zeros(1, 2, 2), torch.zeros(1, 2, 4)
    refused(DtypeError, "hx: expected a pair (h_0, c_0), got Tensor", lambda: layer(X, h_0))
    refused(DtypeError, "hx: expected a pair (h_0, c_0), got 3 values", lambda: layer(X, (h_0, c_0, c_0)))
    refused(ShapeError, "h_0: expected [1, 2, 2], got [1, 2, 4]", lambda: layer(X, (c_0, c_0)))
    refused(ShapeError, "c_0: expected [1, 2, 4], got [1, 2, 2]", lambda: layer(X, (h_0, h_0)))
    refused(DtypeError, "c_0: expected a tensor, got NoneType", lambda: layer(X, (h_0, None)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_backend_that_cannot_run_is_refused(kind, monkeypatch):
    names = "'auto', 'native', 'reference', 'torch'"
    message = f"backend: expected one of {names}, got 'cudnn'"
    refused(BackendError, message, lambda: getattr(nn, kind)(3, 4, backend="cudnn"))
    layer = getattr(nn, kind)(3, 4, backend="native")
    monkeypatch.setattr(kernels, "available", lambda: False)
    monkeypatch.setattr(kernels, "why_not", lambda: "no compiler was found")
    message = "backend: expected one that can run this call, got 'native': no compiler was found"
    refused(BackendError, message, lambda: layer(X))


@pytest.mark.parametrize("kind", CELLS)
def test_a_cell_refuses_wrong_input_and_resets(kind):
    cell = getattr(nn, kind)(3, 4)
    x = X[0]

    def bad(error, message, value, **options):
        refused(error, message, lambda: cell(value, **options))

    bad(ShapeError, "input: expected [B, 3] or [3], got [2, 4]", torch.randn(2, 4))
    bad(ShapeError, "input: expected [B, 3] or [3], got [5, 2, 3]", X)
    bad(DtypeError, "input: expected float32, as weight_ih, got int64", x.long())
    bad(DeviceError, "input: expected device cpu, as weight_ih, got meta", x.to("meta"))
    bad(DtypeError, "input: expected a tensor, got NoneType", None)
    bad(ShapeError, "resets: expected [2], got [3]", x, resets=torch.zeros(3, dtype=torch.bool))
    bad(ShapeError, "resets: expected [], got [1]", x[0], resets=torch.zeros(1, dtype=torch.bool))
    message = "resets: expected bool, or numbers that are 0 or 1, got 3"
    bad(DtypeError, message, x, resets=torch.full((2,), 3))
    elsewhere = torch.zeros(2, dtype=torch.bool, device="meta")
    bad(DeviceError, "resets: expected device cpu, as input, got meta", x, resets=elsewhere)


@pytest.mark.parametrize("kind", CELLS)
def test_a_cell_refuses_a_wrong_state(kind):
    cell, name = getattr(nn, kind)(3, 4), "h_0" if kind == "LSTMCell" else "hx"
    good = torch.zeros(2, 4)

    def bad(error, message, state, x=X[0]):
        hx = (state, good) if kind == "LSTMCell" else state
        refused(error, f"{name}: expected {message}", lambda: cell(x, hx))

    bad(ShapeError, "[2, 4], got [2, 5]", torch.zeros(2, 5))
    bad(ShapeError, "[2, 4], got [4]", torch.zeros(4))
    bad(ShapeError, "[4], got [2, 4]", good, x=X[0, 0])
    bad(DtypeError, "float32, as weight_ih, got float64", good.double())
    bad(DeviceError, "device cpu, as weight_ih, got meta", good.to("meta"))
    if kind == "LSTMCell":
        refused(DtypeError, "hx: expected a pair (h_0, c_0), got Tensor", lambda: cell(X[0], good))


def wrong_calls(kind):
    """Yield (input, hx) that torch.nn's module of (10, 20) refuses too."""
    cell = "Cell" in kind
    rows, pair = (3,) if cell else (2, 3), kind.startswith("LSTM")

    def state(*size):
        one = torch.randn(*size)
        return (one, torch.randn(3, 20) if cell else torch.randn(1, 3, 20)) if pair else one

    yield torch.randn(*rows, 11), None
    yield torch.randn(*rows, 10).double(), None
    yield torch.randn(*rows, 10), state(*(() if cell else (1,)), 3, 21)
    yield torch.randn(*rows, 10), state(*(() if cell else (1,)), 5, 20)
    if cell:
        one = torch.randn(3, 1, 1, 20)
        yield torch.randn(*rows, 10), (one, one) if pair else one
    else:
        yield torch.randn(*rows, 10), state(2, 3, 20)
        yield torch.randn(1, 1, *rows, 10), None


@pytest.mark.parametrize("kind", [*KINDS, *CELLS])
def test_what_catches_torchs_refusal_catches_ours(kind):
    for arguments in wrong_calls(kind):
        with pytest.raises(Exception) as theirs:  # torch's choice
            getattr(torch.nn, kind)(10, 20)(*arguments)
        with pytest.raises(UnrolledError) as ours:
            getattr(nn, kind)(10, 20)(*arguments)
        assert isinstance(ours.value, theirs.type), arguments[0].shape


# torch's own module tests, in this order: sizes, then the types of every argument.
WRONG_CONSTRUCTIONS = [
    ((10, 0, 1), {}),
    ((10, 10, 0), {}),
    ((0, 5), {}),
    ((-1, 5), {}),
    ((3, 5.0), {}),
    ((3.0, 5), {}),
    (("10", 5), {}),
    *(((3, 5), {name: value}) for name in ("bias", "batch_first") for value in (0, 1, "True")),
    *(((3, 5), {"dropout": value}) for value in (-0.1, 1.5, True, "0.1")),
    ((3, 5), {"proj_size": 5}),
    ((3, 5), {"proj_size": -1}),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("arguments", "options"), WRONG_CONSTRUCTIONS)
def test_what_torch_refuses_to_construct_is_refused_in_its_words(kind, arguments, options):
    with pytest.raises((TypeError, ValueError)) as theirs:
        getattr(torch.nn, kind)(*arguments, **options)
    with pytest.raises(theirs.type) as ours:
        getattr(nn, kind)(*arguments, **options)
    if "proj_size" not in options:
        assert str(ours.value) == str(theirs.value)


@pytest.mark.parametrize("kind", KINDS)
def test_lengths_by_position_are_refused_with_the_way_to_give_them(kind):
    layer = getattr(nn, kind)(3, 4)
    message = "forward: expected input, hx, and the rest by name (lengths=…, resets=…), got 3 arguments"
    refused(DtypeError, message, lambda: layer(X, None, torch.tensor([5, 2])))
    with pytest.raises(TypeError):  # as torch's own
        layer(X, None, [5, 2], [])
