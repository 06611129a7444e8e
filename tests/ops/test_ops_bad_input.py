"""Every argument of every op, wrong in every way: one line, with its name, what was wanted and what came."""

# ruff: noqa: E741  # T, B, I and H are the axes' names in the design

from __future__ import annotations

import pytest
import torch
from ops_cases import BACKENDS, GATES, VARIANTS, call, make

from unrolled import ops
from unrolled.errors import ConfigError, DeviceError, DtypeError, ShapeError

T, B, I, H = 4, 2, 3, 6


def refused(error, message, variant, changes, **options):
    case = {name: leaf for name, leaf in make(variant, T=T, B=B, H=H, I=I).items() if leaf is not None}
    with pytest.raises(error) as caught:
        call(variant, case | changes, **options)
    assert str(caught.value) == message
    assert type(caught.value) is error


def zeros(*shape, dtype=torch.float64, device="cpu"):
    return torch.zeros(*shape, dtype=dtype, device=device)


def sizes(variant):
    rows, projected = GATES[variant] * H, H // 2 if variant == "lstm_projected" else H
    wanted = {
        "h_0": [B, projected],
        "weight_ih": [rows, I],
        "weight_hh": [rows, projected],
        "bias_ih": [rows],
        "bias_hh": [rows],
    }
    return wanted | ({"c_0": [B, H]} if variant.startswith("lstm") else {})


EVERY = [(variant, name) for variant in VARIANTS for name in sizes(variant)]


@pytest.mark.parametrize(("variant", "name"), EVERY)
def test_wrong_sizes_are_refused(variant, name):
    want = sizes(variant)[name]
    for got in ([*want[:-1], want[-1] + 1], [*want, 1], want[1:] or [1, *want]):
        shown = f"{want}"
        if name == "weight_hh" and variant != "lstm_projected":
            # It is weight_hh that says what H is; a matrix that fits itself makes weight_ih the odd one.
            rows = "H" if GATES[variant] == 1 else f"{GATES[variant]}H"
            shown = f"[{rows}, H]"
        message = f"{name}: expected {shown}, got {got}"
        if name == "weight_hh" and variant != "lstm_projected" and len(got) == 2:
            message = (
                f"weight_ih: expected [{GATES[variant] * got[1]}, {I}], got {sizes(variant)['weight_ih']}"
            )
        refused(ShapeError, message, variant, {name: zeros(*got)})


@pytest.mark.parametrize(("variant", "name"), EVERY)
def test_wrong_dtypes_devices_and_types_are_refused(variant, name):
    want = sizes(variant)[name]
    refused(DtypeError, f"{name}: expected float64, as x, got float32", variant, {name: zeros(*want).float()})
    refused(DtypeError, f"{name}: expected float64, as x, got int64", variant, {name: zeros(*want).long()})
    elsewhere = zeros(*want, device="meta")
    refused(DeviceError, f"{name}: expected device cpu, as x, got meta", variant, {name: elsewhere})
    refused(DtypeError, f"{name}: expected a tensor, got list", variant, {name: [[0.0]]})


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_wrong_x_is_refused(variant):
    rows = GATES[variant] * H
    refused(ShapeError, "x: expected [T, B, I], got [4, 3]", variant, {"x": zeros(T, I)})
    refused(ShapeError, "x: expected [T, B, I] with I > 0, got [4, 2, 0]", variant, {"x": zeros(T, B, 0)})
    wide = {"x": zeros(T, B, I + 1)}
    refused(ShapeError, f"weight_ih: expected [{rows}, 4], got [{rows}, 3]", variant, wide)
    projected = H // 2 if variant == "lstm_projected" else H
    refused(
        ShapeError, f"h_0: expected [3, {projected}], got [2, {projected}]", variant, {"x": zeros(T, 3, I)}
    )
    floats = "float16, bfloat16, float32 or float64"
    refused(DtypeError, f"x: expected {floats}, got int64", variant, {"x": zeros(T, B, I).long()})
    refused(DtypeError, f"x: expected {floats}, got complex64", variant, {"x": zeros(T, B, I).cfloat()})
    refused(DtypeError, "x: expected a tensor, got NoneType", variant, {"x": None})


@pytest.mark.parametrize("backend", [*BACKENDS, "auto"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_wrong_lengths_are_refused(variant, backend):
    def bad(error, message, lengths):
        refused(error, f"lengths: expected {message}", variant, {}, lengths=lengths, backend=backend)

    bad(ShapeError, "[2], got [3]", torch.tensor([1, 2, 3]))
    bad(ShapeError, "[2], got [2, 1]", torch.tensor([[1], [2]]))
    bad(ShapeError, "values from 0 to 4, got 5", torch.tensor([5, 1]))
    bad(ShapeError, "values from 0 to 4, got -1", torch.tensor([4, -1]))
    bad(DtypeError, "int64, got int32", torch.tensor([4, 1], dtype=torch.int32))
    bad(DtypeError, "int64, got float32", torch.tensor([4.0, 1.0]))
    bad(DeviceError, "device cpu, got meta", torch.ones(2, dtype=torch.int64, device="meta"))
    bad(DtypeError, "a tensor, got list", [4, 1])


@pytest.mark.parametrize("backend", [*BACKENDS, "auto"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_wrong_resets_are_refused(variant, backend):
    def bad(error, message, resets):
        refused(error, f"resets: expected {message}", variant, {}, resets=resets, backend=backend)

    bad(ShapeError, "[4, 2], got [2, 4]", torch.zeros(B, T, dtype=torch.bool))
    bad(ShapeError, "[4, 2], got [4]", torch.zeros(T, dtype=torch.bool))
    bad(DtypeError, "bool, got uint8", torch.zeros(T, B, dtype=torch.uint8))
    bad(DeviceError, "device cpu, as x, got meta", torch.zeros(T, B, dtype=torch.bool, device="meta"))
    bad(DtypeError, "a tensor, got bool", True)


def test_a_wrong_projection_is_refused():
    def bad(message, tensor, error=ShapeError):
        refused(error, message, "lstm_projected", {"weight_hr": tensor})

    bad("weight_hr: expected [P, H], got [3]", zeros(3))
    bad("weight_hr: expected sizes above 0, got [0, 6]", zeros(0, 6))
    bad("weight_ih: expected [20, 3], got [24, 3]", zeros(3, 5))
    bad("weight_hh: expected [24, 2], got [24, 3]", zeros(2, 6))
    bad("weight_hr: expected float64, as x, got float16", zeros(3, 6).half(), DtypeError)
    bad("weight_hr: expected device cpu, as x, got meta", zeros(3, 6, device="meta"), DeviceError)


def test_no_hidden_units_are_refused():
    message = "weight_hh: expected sizes above 0, got [0, 0]"
    refused(ShapeError, message, "gru", {"weight_hh": zeros(0, 0)})


@pytest.mark.parametrize(
    ("state", "got"), [(zeros(B, H), "Tensor"), (None, "NoneType"), ((zeros(B, H),), "1 values")]
)
def test_an_lstm_state_that_is_no_pair_is_refused(state, got):
    with pytest.raises(DtypeError) as caught:
        ops.lstm(zeros(T, B, I), state, zeros(4 * H, I), zeros(4 * H, H))
    assert str(caught.value) == f"state: expected a pair (h_0, c_0), got {got}"


def test_an_unknown_nonlinearity_is_refused():
    with pytest.raises(ConfigError) as caught:
        ops.rnn(zeros(T, B, I), zeros(B, H), zeros(H, I), zeros(H, H), nonlinearity="gelu")
    assert str(caught.value) == "nonlinearity: expected 'tanh' or 'relu', got 'gelu'"
