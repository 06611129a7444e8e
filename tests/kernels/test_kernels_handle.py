"""A handle of a layer's weights: packed once, and it remembers how it computes."""

from __future__ import annotations

import numpy as np
import pytest
from kernels_cases import Call, H, I

from unrolled import kernels
from unrolled.errors import BackendError, ConfigError, DtypeError

pytestmark = pytest.mark.skipif(not kernels.available(), reason="this install holds no kernels")


def outputs(call: Call, handle: kernels.Handle) -> list[np.ndarray]:
    for name in ("y", "h_n", "c_n"):
        call.buffers[name][:] = np.nan
    call.run(handle)
    return [call.buffers[name].copy() for name in ("y", "h_n", "c_n")]


def of(call: Call, cell: str = "lstm", **options: object) -> kernels.Handle:
    weights = (call.address("weight_ih"), call.address("weight_hh"), 0, 0)
    return kernels.pack(cell, weights, input_size=I, hidden_size=H, **options)


@pytest.mark.parametrize("isa", kernels.isas())
def test_weights_are_packed_once_for_a_handle_and_may_change_afterwards(isa: str):
    call = Call()
    packed, referring = of(call, isa=isa), of(call, isa=isa, copy=False)
    want = outputs(call, referring)
    for name in ("weight_ih", "weight_hh"):
        call.buffers[name][:] = np.nan  # who packs again sees this
    for _ in range(2):
        for one, other in zip(outputs(call, packed), want, strict=True):
            np.testing.assert_array_equal(one, other)
    assert np.isnan(outputs(call, referring)[0]).all()


@pytest.mark.parametrize("copy", [True, False])
@pytest.mark.parametrize("isa", kernels.isas())
def test_a_handle_remembers_its_format(isa: str, copy: bool):
    for cell in kernels.CELLS:
        handle = of(Call(), cell, isa=isa, copy=copy)
        assert (handle.cell, handle.input_size, handle.hidden_size) == (kernels.CELLS[cell], I, H)
        assert (kernels.ISAS[handle.isa], handle.packed) == (isa, copy)
        types = (handle.storage, handle.operand, handle.accumulator)
        assert types == (kernels.DTYPES["float32"],) * 3


def test_the_environment_chooses_a_handles_instruction_set_when_it_is_made(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("UNROLLED_ISA", "baseline")
    call = Call()
    handle = of(call)
    monkeypatch.setenv("UNROLLED_ISA", kernels.isas()[-1])
    assert kernels.ISAS[handle.isa] == "baseline"
    call.run(handle)
    assert kernels.kept_format(call.address("kept"), "float32") == ("baseline", "float32")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"cell": "lru"}, ConfigError, "cell: expected one of rnn_tanh, rnn_relu, gru, lstm, got 'lru'"),
        ({"storage": "int8"}, DtypeError, "storage: expected float32 or float64, got int8"),
        ({"operand": "float64"}, DtypeError, "operand: expected float32 or bfloat16, got float64"),
        (
            {"storage": "float64", "operand": "bfloat16"},
            DtypeError,
            "operand: expected float64, got bfloat16",
        ),
        ({"accumulator": "float64"}, DtypeError, "accumulator: expected float32, got float64"),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_line(
    options: dict[str, str], error: type[Exception], message: str
):
    with pytest.raises(error) as caught:
        of(Call(), **options)
    assert str(caught.value) == message


def test_an_instruction_set_by_name_that_does_not_run_here_is_refused():
    with pytest.raises(BackendError, match=r"^isa: expected one that runs here: .*, got 'avx9000'$"):
        of(Call(), isa="avx9000")
