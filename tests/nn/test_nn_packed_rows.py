"""A PackedSequence runs on its rows where they lie: the bits of padded rows, and everything around an op."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from nn_cases import KINDS, assert_same, flat, needs_kernels, pair, state_for
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence
from torch.utils.flop_counter import FlopCounterMode

import unrolled
from unrolled import kernels, nn, ops
from unrolled.errors import ShapeError

I, H, T, B = 3, 5, 9, 6  # noqa: E741  # axes of the design
LENGTHS = torch.tensor([4, 9, 1, 4, 9, 7])
FALLING = LENGTHS.sort(descending=True)[0]
FORMS: dict[str, dict[str, Any]] = {
    "one layer": {},
    "stacked": {"num_layers": 2},
    "both directions": {"bidirectional": True, "num_layers": 2},
    "without bias": {"bias": False},
    "projected": {"proj_size": 2, "num_layers": 2},
    "float32": {"dtype": torch.float32, "bidirectional": True},
    "bfloat16": {"dtype": torch.bfloat16, "num_layers": 2},
}
EVERY = [(kind, form) for kind in KINDS for form in FORMS if kind == "LSTM" or form != "projected"]


def drawn(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(T, B, I, generator=torch.Generator().manual_seed(2), dtype=torch.float64).to(dtype)


def resets_of() -> torch.Tensor:
    return torch.rand(T, B, generator=torch.Generator().manual_seed(3)) < 0.25


def gradients(layer: torch.nn.Module, x: torch.Tensor, hx: Any, result: Any) -> tuple[torch.Tensor, ...]:
    generator, states = torch.Generator().manual_seed(4), hx if isinstance(hx, tuple) else (hx,)
    output, final = result
    if isinstance(output, PackedSequence):
        output = pad_packed_sequence(output)[0]
    loss = torch.zeros((), dtype=torch.float64)
    for value in (output, *(final if isinstance(final, tuple) else (final,))):
        weight = torch.randn(value.shape, generator=generator, dtype=torch.float64)
        loss = loss + (value.double() * weight).sum()
    return torch.autograd.grad(loss, [x, *states, *layer.parameters()])


@needs_kernels
@pytest.mark.parametrize("lengths", [FALLING, LENGTHS, torch.full((B,), T)], ids=["falling", "any", "full"])
@pytest.mark.parametrize(("kind", "form"), EVERY)
def test_packed_rows_give_the_bits_of_padded_ones(kind, form, lengths):
    _, layer = pair(kind, I, H, **FORMS[form])
    x, hx, resets = drawn(layer.weight_ih_l0.dtype).requires_grad_(), state_for(layer, B), resets_of()
    packed = pack_padded_sequence(x, lengths, enforce_sorted=lengths is not LENGTHS)
    got, want = layer(packed, hx, resets=resets), layer(x, hx, lengths=lengths, resets=resets)
    unpacked = (pad_packed_sequence(got[0])[0], got[1])
    torch.testing.assert_close(flat(unpacked), flat(want), rtol=0, atol=0)
    found = gradients(layer, x, hx, got), gradients(layer, x, hx, want)
    # Rows of one length are added up in the order of packing, so gradients have the same bits in that order.
    near = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 5e-2}[x.dtype]
    exact = {"rtol": 0, "atol": 0} if lengths is not LENGTHS else {"rtol": near, "atol": near}
    torch.testing.assert_close(*found, **exact)


@needs_kernels
def test_the_engine_reads_and_writes_packed_rows_where_they_lie(monkeypatch):
    seen: dict[str, list[Any]] = {"forward": [], "backward": []}
    for name, calls in seen.items():
        engine = getattr(kernels, name)
        monkeypatch.setattr(kernels, name, lambda *a, e=engine, c=calls: (c.append(a), e(*a))[1])
    layer = nn.GRU(I, H)
    data = pack_padded_sequence(drawn(torch.float32), FALLING)
    output, _ = layer(data)
    output.data.sum().backward()
    (forward,), (backward,) = seen.values()
    assert forward[7] == (data.data.data_ptr(), 0, I)
    assert forward[10] == (output.data.data_ptr(), 0, H)
    assert forward[-1] == backward[-1] == data.batch_sizes.data_ptr()
    assert "packed as one" not in str(unrolled.explain(layer, data))


@needs_kernels
@pytest.mark.parametrize("kind", KINDS)
def test_dropout_between_layers_falls_where_torchs_does(kind):
    theirs, ours = pair(kind, I, H, num_layers=3, dropout=0.5)
    data = pack_padded_sequence(drawn(), LENGTHS, enforce_sorted=False)
    torch.manual_seed(0)
    want = theirs(data)
    torch.manual_seed(0)
    torch.testing.assert_close(flat(ours(data)), flat(want))


def loss_of(result: Any) -> torch.Tensor:
    return sum(value.sin().sum() for value in flat(result))


@needs_kernels
@pytest.mark.parametrize("kind", KINDS)
def test_second_and_batched_gradients_equal_the_references(kind):
    found = []
    for backend in ("native", "reference"):
        _, layer = pair(kind, I, H, bidirectional=True)
        layer.backend = backend
        x = drawn().requires_grad_()
        leaves = [x, *layer.parameters()]
        result = layer(pack_padded_sequence(x, LENGTHS, enforce_sorted=False), resets=resets_of())
        first = torch.autograd.grad(loss_of(result), leaves, create_graph=True)
        second = torch.autograd.grad(sum(each.square().sum() for each in first), leaves, retain_graph=True)
        y = result[0].data
        weights = torch.randn(3, *y.shape, generator=torch.Generator().manual_seed(0), dtype=y.dtype)
        batched = torch.autograd.grad(y, leaves, weights, is_grads_batched=True)
        found.append([*first, *second, *batched])
    torch.testing.assert_close(*found)


@needs_kernels
@pytest.mark.parametrize("kind", KINDS)
def test_packed_y_may_be_written_in_place(kind):
    _, layer = pair(kind, I, H)
    found = []
    for copied in (True, False):
        x = drawn().requires_grad_()
        output, state = layer(pack_padded_sequence(x, FALLING))
        y = (output.data.clone() if copied else output.data).mul_(2)
        found.append(torch.autograd.grad(loss_of((y.square(), state)), [x, *layer.parameters()]))
    torch.testing.assert_close(*found, rtol=0, atol=0)


@needs_kernels
def test_torch_func_autocast_and_recompute_give_the_results_of_padded_rows():
    _, layer = pair("LSTM", I, H, num_layers=2)
    x = drawn()
    data = pack_padded_sequence(x, LENGTHS, enforce_sorted=False)
    parameters = dict(layer.named_parameters())

    def loss(given: dict[str, torch.Tensor]) -> torch.Tensor:
        return loss_of(torch.func.functional_call(layer, given, (data,)))

    got = torch.func.grad(loss)(parameters)
    want = torch.autograd.grad(loss(parameters), list(parameters.values()))
    torch.testing.assert_close(list(got.values()), list(want))
    layer.recompute = 4
    torch.testing.assert_close(torch.autograd.grad(loss(parameters), list(parameters.values())), want)
    narrow = nn.LSTM(I, H)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        packed = narrow(pack_padded_sequence(x.float(), FALLING))[0]
        padded = narrow(x.float(), lengths=FALLING)[0]
    torch.testing.assert_close(pad_packed_sequence(packed)[0], padded, rtol=0, atol=0)


@needs_kernels
@pytest.mark.parametrize("mapped", ["rows", "a state", "weights"])
def test_vmap_gives_the_bits_and_gradients_of_a_loop(mapped):
    _, layer = pair("LSTM", I, H, num_layers=2, bidirectional=True)
    packed = pack_padded_sequence(drawn(), LENGTHS, enforce_sorted=False)
    h_0, c_0 = state_for(layer, B)
    weight = layer.weight_hh_l1
    factors = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64, requires_grad=True)

    def run(factor: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        rows = packed._replace(data=packed.data * factor) if mapped == "rows" else packed
        hx = (h_0 * factor, c_0) if mapped == "a state" else (h_0, c_0)
        weights = {"weight_hh_l1": weight * factor} if mapped == "weights" else {}
        output, (h_n, c_n) = torch.func.functional_call(layer, weights, (rows, hx))
        return output.data, h_n, c_n

    got = torch.vmap(run)(factors)
    want = [torch.stack(each) for each in zip(*map(run, factors), strict=True)]
    gradients = []
    for outputs in (got, want):
        loss = sum((n + 1) * output.square().sum() for n, output in enumerate(outputs))
        gradients.append(torch.autograd.grad(loss, [factors, *layer.parameters()]))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(got, want, strict=True))
    torch.testing.assert_close(*gradients)


@needs_kernels
@pytest.mark.parametrize("order", ["falling", "any"])
def test_a_compiled_layer_takes_packed_rows(order):
    torch._dynamo.reset()
    layer = nn.GRU(I, H, bidirectional=True)
    lengths = FALLING if order == "falling" else LENGTHS
    data = pack_padded_sequence(drawn(torch.float32), lengths, enforce_sorted=order == "falling")
    compiled = torch.compile(layer, backend="aot_eager")
    torch.testing.assert_close(flat(compiled(data)), flat(layer(data)), rtol=0, atol=0)


@needs_kernels
def test_data_of_any_strides_is_read_as_values():
    _, layer = pair("LSTM", I, H)
    data = pack_padded_sequence(drawn(), FALLING)
    want = layer(data)
    wide = torch.zeros(2 * len(data.data), 2 * I, dtype=torch.float64)
    for view in (wide[::2, :I], wide[::2, ::2], wide.T.contiguous().T[::2, I:]):
        view.copy_(data.data)
        torch.testing.assert_close(flat(layer(data._replace(data=view))), flat(want), rtol=0, atol=0)


@needs_kernels
@pytest.mark.parametrize("variant", ["lstm", "gru"])
def test_the_registered_ops_pass_torchs_own_checks(variant, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "new_empty", torch.Tensor.new_zeros)  # kept is not all written
    data = pack_padded_sequence(drawn(), FALLING)
    gates = {"lstm": 4, "gru": 3}[variant]
    state, cells = (torch.zeros(B, H, dtype=torch.float64, requires_grad=True) for _ in range(2))
    weights = [torch.randn(gates * H, n, dtype=torch.float64, requires_grad=True) for n in (I, H)]
    first = (variant, data.data, state, cells if variant == "lstm" else None, *weights, None, None)
    rest = (None, resets_of(), True, True, False, None, None, None)
    torch.library.opcheck(torch.ops.unrolled.layer.default, (*first, *rest, data.batch_sizes))
    for sizes, message in (
        (torch.tensor([6, 7, 21]), "batch_sizes: expected 1 to 6, got 7"),
        (torch.tensor([0, 34]), "batch_sizes: expected 1 to 6, got 0"),
        (torch.tensor([6, 5]), "x: expected 11 rows, as batch_sizes add up to, got 34"),
    ):
        with pytest.raises(ShapeError) as caught:
            torch.ops.unrolled.layer(*first, None, None, *rest[2:], sizes)
        assert str(caught.value) == message


@needs_kernels
def test_flops_are_those_of_valid_steps():
    layer, data = nn.LSTM(I, H), pack_padded_sequence(drawn(torch.float32), FALLING)
    with FlopCounterMode(display=False) as counter:
        layer(data)
    assert counter.get_total_flops() == 2 * 4 * H * (I + H) * int(LENGTHS.sum())


@pytest.mark.parametrize("backend", ["reference", "torch"])
def test_backends_that_take_padded_rows_are_given_them(backend):
    _, layer = pair("LSTM", I, H, num_layers=2, bidirectional=True)
    data, x = pack_padded_sequence(drawn(), LENGTHS, enforce_sorted=False), drawn()
    layer.backend = backend
    hx, resets = state_for(layer, B), resets_of()
    got = layer(data, hx, resets=resets)
    want = layer(x, hx, lengths=LENGTHS, resets=resets)
    torch.testing.assert_close(flat((pad_packed_sequence(got[0])[0], got[1])), flat(want))
    assert unrolled.explain(layer, data).calls["l1_reverse"].backend == backend


def test_trajectories_of_a_packed_sequence_have_the_callers_rows():
    _, layer = pair("GRU", I, H, num_layers=2)
    data, x = pack_padded_sequence(drawn(), LENGTHS, enforce_sorted=False), drawn()
    output, state, traces = layer.trajectories(data)
    want, final, padded = layer.trajectories(x, lengths=LENGTHS)
    torch.testing.assert_close(pad_packed_sequence(output)[0], want)
    torch.testing.assert_close((state, traces), (final, padded))


def test_a_call_on_packed_rows_keeps_trajectories_of_padded_ones():
    _, layer = pair("LSTM", I, H)
    data = pack_padded_sequence(drawn(), FALLING)
    weights = [getattr(layer, f"{name}_l0") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    state = torch.zeros(B, H, dtype=torch.float64)
    call = ops.Call(
        "lstm", data.data, (state, state), *weights, batch_sizes=data.batch_sizes, trajectories=True
    )
    found = ops.execute(call)
    assert found.trajectory.h.shape == (T, B, H)
    torch.testing.assert_close(data._replace(data=found.y).data, layer(data)[0].data)
    states = tuple(each[None] for each in found.states)
    assert_same((found.y, states), layer(data), list(layer.parameters()), list(layer.parameters()))
