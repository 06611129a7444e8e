"""What `explain` says, and what backends asked for by name do."""

from __future__ import annotations

import pytest
import torch
from ops_cases import call, make

from unrolled import ops
from unrolled.errors import BackendError, ConfigError, ShapeError

NATIVE = "this build has no native kernels"
LOOP = "a loop over time in plain torch operations, which does everything"


def explained(case, op="gru", **options):
    return ops.explain(op, **case, **options)


def test_a_full_batch_goes_to_torch_in_one_direct_call():
    case = make("gru", T=4, B=3, H=5)
    want = ops.Explanation(
        op="gru",
        backend="torch",
        reason="full rows without resets inside go to torch's kernel in one direct call",
        refused={"native": NATIVE, "reference": "a Python loop over time, slower than one call of a kernel"},
    )
    assert explained(case) == want
    assert explained(case, op=ops.gru) == want
    only_at_the_start = torch.zeros(4, 3, dtype=torch.bool)
    only_at_the_start[0, 1] = True
    assert explained(case, lengths=torch.tensor([4, 4, 4]), resets=only_at_the_start) == want
    assert str(want) == (
        "gru runs on torch: full rows without resets inside go to torch's kernel in one direct call "
        "(not native: this build has no native kernels; "
        "not reference: a Python loop over time, slower than one call of a kernel)."
    )


@pytest.mark.parametrize("rows", [{"lengths": torch.tensor([4, 2, 0])}, {"resets": torch.eye(4, 3).bool()}])
def test_ragged_rows_go_to_torch_as_one_packed_batch(rows):
    got = explained(make("gru", T=4, B=3, H=5), **rows)
    assert got.backend == "torch"
    assert (
        got.reason == "rows cut into segments at lengths and resets go to torch's kernel as one packed batch"
    )


def test_trajectories_go_to_the_reference():
    got = explained(make("rnn_relu", T=4, B=3, H=5), op="rnn", nonlinearity="relu", trajectories=True)
    assert (got.backend, got.reason) == ("reference", LOOP)
    assert got.refused == {
        "native": NATIVE,
        "torch": "its kernels do not hand out gates, so no trajectories",
    }


def test_meta_tensors_and_a_projection_to_the_hidden_size_go_to_the_reference():
    case = {name: leaf.detach().to("meta") for name, leaf in make("gru", T=4, B=3, H=5).items()}
    assert explained(case).refused["torch"] == "it needs values, and meta tensors have none"
    assert call("gru", case)[0].shape == (4, 3, 5)
    case = make("lstm", T=4, B=3, H=5)
    square = {**case, "weight_hr": torch.eye(5, dtype=torch.float64)}
    state = (square.pop("h_0"), square.pop("c_0"))
    got = ops.explain("lstm", state=state, **square)
    assert got.refused["torch"] == "its kernel takes no projection to the hidden size itself"
    torch.testing.assert_close(ops.lstm(state=state, **square)[0], call("lstm", case)[0])


def test_a_backend_asked_for_by_name_is_taken():
    got = explained(make("gru", T=4, B=3, H=5), backend="reference")
    assert (got.backend, got.reason) == ("reference", f"asked for by name; {LOOP}")
    assert got.refused == {"native": NATIVE, "torch": "reference was asked for by name"}


@pytest.mark.parametrize(
    "asking", [call, lambda variant, case, **options: explained(case, variant, **options)]
)
def test_native_and_unknown_backends_are_refused_in_words(asking):
    case = make("gru", T=4, B=3, H=5)
    with pytest.raises(BackendError) as caught:
        asking("gru", case, backend="native")
    assert str(caught.value) == (
        "backend: expected one that can run this call, got 'native': this build has no native kernels"
    )
    with pytest.raises(BackendError) as caught:
        asking("gru", case, backend="cuda")
    assert str(caught.value) == "backend: expected one of 'auto', 'native', 'reference', 'torch', got 'cuda'"


def test_explain_checks_what_the_call_would_check():
    case = make("gru", T=4, B=3, H=5)
    with pytest.raises(ShapeError) as caught:
        explained(case | {"h_0": case["h_0"][:2]})
    assert str(caught.value) == "h_0: expected [3, 5], got [2, 5]"
    with pytest.raises(ConfigError) as config:
        ops.explain("elman", case["x"])
    assert str(config.value) == "op: expected one of 'gru', 'lstm', 'rnn', got 'elman'"
