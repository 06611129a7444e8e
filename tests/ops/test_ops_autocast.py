"""Autocast: one dtype inside, and states that any next call takes."""

from __future__ import annotations

import pytest
import torch
from ops_cases import PAIRS, TOLERANCES, VARIANTS, call, make, ragged

from unrolled.errors import DtypeError


@pytest.mark.parametrize("with_rows", ["full", "ragged"])
@pytest.mark.parametrize(("variant", "backend"), PAIRS)
def test_autocast_computes_in_bfloat16_and_gives_gradients_in_float32(variant, backend, with_rows):
    case = make(variant, T=5, B=3, H=6, dtype=torch.float32)
    options = ragged(5, 3) if with_rows == "ragged" else {}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, *states = call(variant, case, backend=backend, **options)
    assert y.dtype == torch.bfloat16
    assert all(state.dtype == torch.float32 for state in states)
    gradients = torch.autograd.grad(y.float().sum() + sum(map(torch.sum, states)), list(case.values()))
    assert all(gradient.dtype == torch.float32 for gradient in gradients)
    rtol, atol = TOLERANCES[torch.bfloat16]
    want, *_ = call(variant, case, backend=backend, **options)
    torch.testing.assert_close(y.float(), want, rtol=rtol, atol=atol)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_state_from_autocast_is_taken_within_it_and_after_it(variant):
    case = make(variant, T=5, B=3, H=6, dtype=torch.float32)
    names = [name for name in ("h_0", "c_0") if name in case]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, *states = call(variant, case)
        carried = case | dict(zip(names, states, strict=True))
        inside, *states = call(variant, carried | {"x": carried["x"].bfloat16()})
    after, *_ = call(variant, case | dict(zip(names, states, strict=True)))
    assert (y.dtype, inside.dtype, after.dtype) == (torch.bfloat16, torch.bfloat16, torch.float32)


def test_autocast_leaves_float64_alone_and_never_mixes_it():
    case = make("gru", T=2, B=1, H=2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert call("gru", case)[0].dtype == torch.float64
        with pytest.raises(DtypeError) as caught:
            call("gru", case | {"h_0": case["h_0"].float()})
    assert str(caught.value) == "h_0: expected float64, as x, got float32"
