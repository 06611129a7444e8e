"""Calls that nothing watches go straight to the engine or to torch's cell: with the same bits and errors."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nn_cases import KINDS, flat, needs_kernels

from unrolled import kernels, nn, ops
from unrolled.nn import direct


@pytest.fixture
def direct_calls(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each call that asked for the direct path, whether it took it."""
    asked: list[bool] = []
    run = direct.run_layer

    def spy(*args: Any) -> Any:
        done = run(*args)
        asked.append(done is not None)
        return done

    monkeypatch.setattr(direct, "run_layer", spy)
    return asked


@needs_kernels
@settings(max_examples=120, deadline=None)
@given(
    kind=st.sampled_from((*KINDS, "LSTM projected")),
    layers=st.integers(1, 2),
    sizes=st.tuples(st.integers(1, 140), st.integers(1, 140)),
    rows=st.sampled_from((None, 1, 2, 16)),
    steps=st.sampled_from((1, 2, 5)),
    batch_first=st.booleans(),
    bias=st.booleans(),
    given_state=st.booleans(),
    with_resets=st.booleans(),
    dtype=st.sampled_from((torch.float32, torch.float64)),
    seed=st.integers(0, 2**31),
)
def test_a_direct_call_has_the_bits_the_layout_and_the_gradients_of_the_usual_one(
    kind, layers, sizes, rows, steps, batch_first, bias, given_state, with_resets, dtype, seed
):
    torch.manual_seed(seed)
    inputs, hidden = sizes[0], sizes[1] + 1
    options = {"proj_size": max(1, hidden // 3)} if "projected" in kind else {}
    kind = kind.split()[0]
    options |= {"bias": bias, "batch_first": batch_first}
    layer = getattr(nn, kind)(inputs, hidden, layers, dtype=dtype, backend="native", **options)
    shape = (steps,) if rows is None else (rows, steps) if batch_first else (steps, rows)
    x = torch.randn(*shape, inputs, dtype=dtype)
    between = () if rows is None else (rows,)
    widths = (layer.proj_size or hidden, hidden)[: 1 + (kind == "LSTM")]
    states = [torch.randn(layers, *between, width, dtype=dtype) for width in widths]
    hx = None if not given_state else tuple(states) if kind == "LSTM" else states[0]
    resets = torch.rand(shape) < 0.4 if with_resets else None
    leaves = [x.requires_grad_(), *layer.parameters()] + [
        each.requires_grad_() for each in states if given_state
    ]
    with patch.object(direct, "run_layer", lambda *_: None):
        usual = flat(layer(x, hx, resets=resets))
    with torch.no_grad():
        assert direct.run_layer(layer, x, hx, resets) is not None
        got = flat(layer(x, hx, resets=resets))
    assert (direct.run_layer(layer, x, hx, resets) is None) == (rows is None)
    wanting = flat(layer(x, hx, resets=resets))
    for ours, theirs, wants in zip(got, usual, wanting, strict=True):
        assert torch.equal(ours, theirs)
        assert torch.equal(wants, theirs)
        assert ours.stride() == wants.stride() == theirs.stride()
        assert not ours._is_view()
        assert rows is None or not wants._is_view()
        assert (ours.requires_grad, wants.requires_grad) == (False, True)
    gradients = [
        torch.autograd.grad(sum(each.sin().sum() for each in way), leaves) for way in (usual, wanting)
    ]
    assert all(map(torch.equal, *gradients))


@needs_kernels
@pytest.mark.parametrize("kind", KINDS)
def test_states_of_a_direct_call_are_detached_in_place_and_written_over(kind, direct_calls):
    layer, x = getattr(nn, kind)(4, 5, backend="native"), torch.randn(3, 2, 4)
    y, final = layer(x)
    for state in final if isinstance(final, tuple) else (final,):
        state.detach_().mul_(0)
        assert state.shape == (1, 2, 5)
    y.sum().backward()
    y, _ = layer(x, final)
    y.mul_(2).sum().backward()
    assert direct_calls == [True, True]
    assert torch.equal(y, 2 * layer(x)[0])


@needs_kernels
def test_a_direct_call_is_seen_by_hooks_of_saved_tensors_checkpoints_and_transforms(direct_calls):
    layer, x = nn.GRU(4, 5), torch.randn(3, 2, 4)
    parameters = dict(layer.named_parameters())
    (want,) = torch.autograd.grad(layer(x)[0].sin().sum(), [layer.weight_hh_l0])
    packed: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: packed.append(t) or t.clone(), lambda t: t):
        y = layer(x)[0]
    assert len(packed) > 5
    assert torch.equal(torch.autograd.grad(y.sin().sum(), [layer.weight_hh_l0])[0], want)
    run = torch.utils.checkpoint.checkpoint(lambda x: layer(x)[0], x, use_reentrant=False)
    assert torch.equal(torch.autograd.grad(run.sin().sum(), [layer.weight_hh_l0])[0], want)
    assert all(direct_calls)
    got = torch.func.grad(lambda p: torch.func.functional_call(layer, p, (x,))[0].sin().sum())(parameters)
    torch.testing.assert_close(got["weight_hh_l0"], want)
    assert not direct_calls[-1]
    swapped = {name: (2 * value).detach().requires_grad_() for name, value in parameters.items()}
    y = torch.func.functional_call(layer, swapped, (x,))[0]
    assert direct_calls[-1]
    torch.autograd.grad(y.sum(), list(swapped.values()))


@needs_kernels
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("isa", kernels.isas())
@pytest.mark.parametrize("kind", KINDS)
def test_one_step_which_packs_piece_by_piece_has_the_bits_of_the_first_of_two(
    kind, isa, threads, monkeypatch
):
    monkeypatch.setenv("UNROLLED_ISA", isa)
    torch.manual_seed(0)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for dtype in (torch.float32, torch.float64):
            for inputs, hidden in ((1, 1), (63, 67), (64, 64), (65, 128), (200, 130), (256, 512)):
                layer = getattr(nn, kind)(inputs, hidden, backend="native", dtype=dtype)
                for rows in (1, 2, 7, 16):
                    x = torch.randn(2, rows, inputs, dtype=dtype)
                    h = torch.randn(1, rows, hidden, dtype=dtype)
                    hx = (h, h.flip(0)) if kind == "LSTM" else h
                    with torch.no_grad():
                        both, _ = layer(x, hx)
                        one, _ = layer(x[:1], hx)
                    assert torch.equal(one[0], both[0])
                    *_, two_traces = layer.trajectories(x, hx)
                    *_, one_traces = layer.trajectories(x[:1], hx)
                    for ours, theirs in zip(one_traces[0], two_traces[0], strict=True):
                        assert torch.equal(ours[0], theirs[0])
    finally:
        torch.set_num_threads(before)


@needs_kernels
def test_one_step_goes_through_lengths_resets_and_reverse_as_the_reference_does():
    torch.manual_seed(0)
    weights = [torch.randn(300, size) for size in (40, 100)]
    for lengths in (None, torch.tensor([1, 0, 1])):
        for reverse in (False, True):
            call = (torch.randn(1, 3, 40), torch.randn(3, 100), *weights)
            options = {"lengths": lengths, "resets": torch.tensor([[True, False, False]]), "reverse": reverse}
            got = ops.gru(*call, **options, backend="native")
            want = ops.gru(*call, **options, backend="reference")
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


@needs_kernels
def test_what_is_watched_or_not_plain_takes_the_usual_path(direct_calls):
    layer, x = nn.LSTM(4, 5, backend="native"), torch.randn(2, 3, 4)
    with (
        torch.utils.flop_counter.FlopCounterMode(display=False) as counter,
        torch.autograd.profiler.profile(),
    ):
        layer(x)[0].sum().backward()
    assert counter.get_total_flops() > 0
    assert not any(direct_calls)
    with torch.no_grad():
        with torch.utils.flop_counter.FlopCounterMode(display=False) as counter:
            layer(x)
        with torch.autograd.profiler.profile() as profile:
            layer(x)
        with torch.autocast("cpu"):
            layer(x)
        layer(torch.randn(2, 3, 8)[..., ::2])
        torch.func.vmap(lambda one: layer(one)[0])(torch.randn(2, 2, 3, 4))
        nn.LSTM(4, 5, backend="torch")(x)
        nn.LSTM(4, 5, bidirectional=True)(x)
        nn.LSTM(4, 5, 2, dropout=0.5)(x)
        torch.nn.utils.parametrizations.weight_norm(nn.LSTM(4, 5), "weight_hh_l0")(x)
        assert not any(direct_calls)
        layer(x)
    assert direct_calls[-1]
    assert counter.get_total_flops() > 0
    assert any("unrolled::layer" in event.name for event in profile.function_events)


def negated(tensor: torch.Tensor) -> torch.Tensor:
    """Return a view of these numbers in memory that holds their negatives."""
    view = torch._neg_view(-tensor)
    assert view.is_neg()
    assert view.is_contiguous()  # whoever copies it anyway reads it right
    return view


@needs_kernels
@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("place", ["x", "h_0", "weight"])
def test_a_negated_view_is_read_with_its_sign(place, is_packed):
    torch.manual_seed(0)
    layer, x, h = nn.GRU(3, 4), torch.randn(2, 5, 3), torch.randn(1, 5, 4)
    with torch.no_grad():
        want = flat(layer(x, h))
        if place == "weight":
            layer.weight_hh_l0 = torch.nn.Parameter(negated(layer.weight_hh_l0))
            assert layer.weight_hh_l0.is_neg()
        x, h = negated(x) if place == "x" else x, negated(h) if place == "h_0" else h
        with layer.packed() if is_packed else nullcontext():
            got = flat(layer(x, h))
    assert all(map(torch.equal, got, want))


@pytest.mark.parametrize("rows", [(4,), (1,), (0,), ()])
@pytest.mark.parametrize("kind", ["LSTMCell", "GRUCell", "RNNCell"])
def test_a_cell_is_torchs_to_the_bit_with_its_gradients(kind, rows):
    torch.manual_seed(0)
    ours = getattr(nn, kind)(3, 5)
    theirs = getattr(torch.nn, kind)(3, 5)
    theirs.load_state_dict(ours.state_dict())
    x, h = torch.randn(*rows, 3), torch.randn(*rows, 5)
    for hx in (None, [h, h + 1] if kind == "LSTMCell" else h):
        results = []
        for cell in (ours, theirs):
            given_x = x.clone().requires_grad_()
            out = cell(given_x, hx)
            out = out if isinstance(out, tuple) else (out,)
            sum(each.square().sum() for each in out).backward()
            results.append([*out, given_x.grad, *(p.grad for p in cell.parameters())])
            cell.zero_grad()
        for got, want in zip(*results, strict=True):
            assert torch.equal(got, want)
            assert got.shape == want.shape


def test_a_cell_of_an_unknown_nonlinearity_says_so_as_torchs_does():
    cell = nn.RNNCell(3, 5)
    cell.nonlinearity = "sine"
    with pytest.raises(RuntimeError, match="Unknown nonlinearity: sine"):
        cell(torch.randn(2, 3))
