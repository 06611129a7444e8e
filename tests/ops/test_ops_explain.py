"""What `explain` says, and what backends asked for by name do."""

from __future__ import annotations

import pytest
import torch
from ops_cases import call, make, needs_kernels

from unrolled import kernels, ops
from unrolled.errors import BackendError, ConfigError, ShapeError

NO_KERNELS = "this install holds no compiled kernels"
LOOP = "a loop over time in plain torch operations, which does everything"
SLOW = "a Python loop over time, slower than one call of a kernel"
EYE = torch.eye(4, 3).bool()


@pytest.fixture
def without_kernels(monkeypatch):
    """As after an install that found no compiler."""
    monkeypatch.setattr(kernels, "available", lambda: False)
    monkeypatch.setattr(kernels, "why_not", lambda: NO_KERNELS)


def explained(case, op="gru", **options):
    return ops.explain(op, **case, **options)


def refusal(asking, variant, case, **options):
    with pytest.raises(BackendError) as caught:
        asking(variant, case, **options)
    return str(caught.value).removeprefix("backend: expected one that can run this call, got ")


@needs_kernels
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_on_the_cpu_a_call_goes_to_the_native_engine(dtype):
    case = make("gru", T=4, B=3, H=5, dtype=dtype)
    want = ops.Explanation(
        op="gru",
        backend="native",
        reason=f"the whole sequence is one call of its kernels ({kernels.isa()}, 1 thread)",
        refused={"torch": "native comes first", "reference": SLOW},
    )
    assert explained(case) == want
    assert explained(case, op=ops.gru) == want
    torch.set_num_threads(2)
    assert explained(case, lengths=torch.tensor([4, 2, 0])).reason == (
        f"the whole sequence is one call of its kernels ({kernels.isa()}, at most 2 threads, lengths inside)"
    )
    both = explained(case, lengths=torch.tensor([4, 2, 0]), resets=EYE)
    assert both.reason.endswith("at most 2 threads, lengths and resets inside)")
    assert call("gru", case)[0].grad_fn.name() == "_LayerBackward"


@needs_kernels
def test_trajectories_go_to_the_native_engine():
    got = explained(make("rnn_relu", T=4, B=3, H=5), op="rnn", nonlinearity="relu", trajectories=True)
    assert got.backend == "native"
    assert got.refused["torch"] == "its kernels do not hand out gates, so no trajectories"


@needs_kernels
def test_the_instruction_set_of_the_environment_is_the_one_named(monkeypatch):
    for isa in kernels.isas():
        monkeypatch.setenv("UNROLLED_ISA", isa)
        assert f"({isa}, " in explained(make("gru", T=4, B=3, H=5)).reason


@needs_kernels
def test_float16_goes_to_torch():
    case = make("gru", T=4, B=3, H=5, dtype=torch.float16)
    got = explained(case)
    assert got.backend == "torch"
    assert got.refused["native"] == "it computes in float32, float64 and bfloat16, not in float16"
    assert refusal(call, "gru", case, backend="native") == f"'native': {got.refused['native']}"
    with torch.autocast("cpu", dtype=torch.float16):
        assert explained(make("gru", T=4, B=3, H=5, dtype=torch.float32)).backend == "torch"


@needs_kernels
def test_bfloat16_and_autocast_to_it_go_to_the_native_engine():
    narrow = ", products of bfloat16 summed in float32)"
    assert explained(make("gru", T=4, B=3, H=5, dtype=torch.bfloat16)).reason.endswith(narrow)
    case = make("gru", T=4, B=3, H=5, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert explained(case).reason.endswith(narrow)
        assert "bfloat16" not in explained(make("gru", T=4, B=3, H=5)).reason
    assert "bfloat16" not in explained(case).reason


@needs_kernels
def test_a_projection_goes_to_the_native_engine():
    case = make("lstm_projected", T=4, B=3, H=6)
    state = (case.pop("h_0"), case.pop("c_0"))
    assert ops.explain("lstm", state=state, **case).backend == "native"
    assert ops.lstm(state=state, **case)[0].grad_fn.name() == "_LayerBackward"


@pytest.mark.usefixtures("without_kernels")
def test_without_kernels_a_full_batch_goes_to_torch_in_one_direct_call():
    case = make("gru", T=4, B=3, H=5)
    want = ops.Explanation(
        op="gru",
        backend="torch",
        reason="full rows without resets inside go to torch's kernel in one direct call",
        refused={"native": NO_KERNELS, "reference": SLOW},
    )
    assert explained(case) == want
    only_at_the_start = torch.zeros(4, 3, dtype=torch.bool)
    only_at_the_start[0, 1] = True
    assert explained(case, lengths=torch.tensor([4, 4, 4]), resets=only_at_the_start) == want
    assert str(want) == (
        "gru runs on torch: full rows without resets inside go to torch's kernel in one direct call "
        f"(not native: {NO_KERNELS}; not reference: {SLOW})."
    )
    assert call("gru", case)[0].grad_fn.name() != "_LayerBackward"


@pytest.mark.parametrize("rows", [{"lengths": torch.tensor([4, 2, 0])}, {"resets": EYE}])
@pytest.mark.usefixtures("without_kernels")
def test_without_kernels_ragged_rows_go_to_torch_as_one_packed_batch(rows):
    got = explained(make("gru", T=4, B=3, H=5), **rows)
    assert got.backend == "torch"
    assert (
        got.reason == "rows cut into segments at lengths and resets go to torch's kernel as one packed batch"
    )


@pytest.mark.usefixtures("without_kernels")
def test_without_kernels_trajectories_go_to_the_reference():
    got = explained(make("rnn_relu", T=4, B=3, H=5), op="rnn", nonlinearity="relu", trajectories=True)
    assert (got.backend, got.reason) == ("reference", LOOP)
    assert got.refused == {
        "native": NO_KERNELS,
        "torch": "its kernels do not hand out gates, so no trajectories",
    }


def test_meta_tensors_and_a_projection_to_the_hidden_size_go_to_the_reference():
    case = {name: leaf.detach().to("meta") for name, leaf in make("gru", T=4, B=3, H=5).items()}
    assert explained(case).refused["torch"] == "it needs values, and meta tensors have none"
    if kernels.available():
        assert explained(case).refused["native"] == "it runs on the CPU, and these tensors lie on meta"
    assert call("gru", case)[0].shape == (4, 3, 5)
    case = make("lstm", T=4, B=3, H=5)
    square = {**case, "weight_hr": torch.eye(5, dtype=torch.float64)}
    state = (square.pop("h_0"), square.pop("c_0"))
    got = ops.explain("lstm", state=state, **square)
    assert got.refused["torch"] == "its kernel takes no projection to the hidden size itself"
    torch.testing.assert_close(ops.lstm(state=state, **square)[0], call("lstm", case)[0])


@pytest.mark.usefixtures("without_kernels")
def test_a_backend_asked_for_by_name_is_taken():
    got = explained(make("gru", T=4, B=3, H=5), backend="reference")
    assert (got.backend, got.reason) == ("reference", f"asked for by name; {LOOP}")
    assert got.refused == {"native": NO_KERNELS, "torch": "reference was asked for by name"}


@needs_kernels
def test_native_asked_for_by_name_is_taken():
    got = explained(make("gru", T=4, B=3, H=5), backend="native")
    assert got.backend == "native"
    assert got.reason.startswith("asked for by name; the whole sequence is one call of its kernels (")
    assert set(got.refused.values()) == {"native was asked for by name"}


@pytest.mark.parametrize(
    "asking", [call, lambda variant, case, **options: explained(case, variant, **options)]
)
@pytest.mark.usefixtures("without_kernels")
def test_backends_that_are_not_there_are_refused_in_words(asking):
    case = make("gru", T=4, B=3, H=5)
    assert refusal(asking, "gru", case, backend="native") == f"'native': {NO_KERNELS}"
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
    assert str(config.value).startswith("op: expected one of 'coupled_lstm', 'gru', ")
    assert str(config.value).endswith(", got 'elman'")
