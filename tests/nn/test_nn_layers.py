"""Our layers give torch.nn's results, whatever the options and the form of the input."""

# T and B are the axes' names in the design
from __future__ import annotations

import copy
import inspect
import itertools
import pickle  # noqa: TID251  # users pickle modules, whatever we do
import typing
import weakref

import numpy as np
import pytest
import torch
from nn_cases import BACKENDS, KINDS, assert_same, flat, pair, state_for
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence, pad_packed_sequence

from unrolled import kernels, nn, ops
from unrolled.errors import BackendError, ConfigError, DtypeError, ShapeError

OPTIONS = [
    {"num_layers": layers, "bias": bias, "batch_first": first, "bidirectional": both}
    for layers, bias, first, both in itertools.product((1, 3), (True, False), (True, False), (True, False))
]
EVERY = [(kind, options) for kind in KINDS for options in OPTIONS]
EVERY += [("LSTM", options | {"proj_size": 2}) for options in OPTIONS]
EVERY += [("RNN", options | {"nonlinearity": "relu"}) for options in OPTIONS[:4]]

T, B, I, H = 6, 4, 3, 5  # noqa: E741
LENGTHS = torch.tensor([4, 6, 1, 3])


def drawn(*shape, seed=2):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()


def leaves(layer, *tensors):
    return [*tensors, *layer.parameters()]


@pytest.mark.parametrize("form", ["batched", "unbatched", "no state"])
@pytest.mark.parametrize(("kind", "options"), EVERY)
def test_every_option_gives_torchs_results(kind, options, form):
    theirs, ours = pair(kind, I, H, **options)
    x = drawn(T, I) if form == "unbatched" else drawn(B, T, I) if options["batch_first"] else drawn(T, B, I)
    hx = None if form == "no state" else state_for(theirs, None if form == "unbatched" else B)
    states = () if hx is None else hx if isinstance(hx, tuple) else (hx,)
    got, want = ours(x, hx), theirs(x, hx)
    assert type(got[1]) is type(want[1])
    assert_same(got, want, leaves(ours, x, *states), leaves(theirs, x, *states))


@pytest.mark.parametrize("enforce_sorted", [True, False])
@pytest.mark.parametrize(("kind", "options"), EVERY)
def test_a_packed_sequence_gives_torchs_results(kind, options, enforce_sorted):
    theirs, ours = pair(kind, I, H, **options)
    x, hx = drawn(T, B, I), state_for(theirs, B)
    lengths = LENGTHS.sort(descending=True)[0] if enforce_sorted else LENGTHS
    packed = pack_padded_sequence(x, lengths, enforce_sorted=enforce_sorted)
    got, want = ours(packed, hx), theirs(packed, hx)
    assert isinstance(got[0], PackedSequence)
    for field in ("batch_sizes", "sorted_indices", "unsorted_indices"):
        left, right = getattr(got[0], field), getattr(want[0], field)
        assert (left is None and right is None) or torch.equal(left, right)
    states = hx if isinstance(hx, tuple) else (hx,)
    assert_same(got, want, leaves(ours, x, *states), leaves(theirs, x, *states))


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_lengths_give_what_a_packed_sequence_gives(kind, batch_first):
    theirs, ours = pair(kind, I, H, num_layers=2, bidirectional=True, batch_first=batch_first)
    x = drawn(B, T, I) if batch_first else drawn(T, B, I)
    packed = pack_padded_sequence(x, LENGTHS, enforce_sorted=False, batch_first=batch_first)
    output, state = theirs(packed)
    want = (pad_packed_sequence(output, batch_first=batch_first)[0], state)
    for lengths in (LENGTHS, LENGTHS.tolist(), tuple(LENGTHS.tolist())):
        assert_same(ours(x, lengths=lengths), want, leaves(ours, x), leaves(theirs, x))


@pytest.mark.parametrize("kind", KINDS)
def test_resets_have_the_layout_of_the_input(kind):
    _, time_first = pair(kind, I, H, num_layers=2, bidirectional=True)
    _, rows_first = pair(kind, I, H, num_layers=2, bidirectional=True, batch_first=True)
    x, resets = drawn(T, B, I), torch.rand(T, B, generator=torch.Generator().manual_seed(0)) < 0.3
    want, state = time_first(x, lengths=LENGTHS, resets=resets)
    got, rows_state = rows_first(x.transpose(0, 1), lengths=LENGTHS, resets=resets.T)
    torch.testing.assert_close(got.transpose(0, 1), want)
    torch.testing.assert_close(rows_state, state)
    packed = pack_padded_sequence(x, LENGTHS, enforce_sorted=False)
    for layer in (time_first, rows_first):
        from_packed, packed_state = layer(packed, resets=resets)
        torch.testing.assert_close(pad_packed_sequence(from_packed)[0], want)
        torch.testing.assert_close(packed_state, state)
    for row in range(B):
        alone, _ = time_first(x[: LENGTHS[row], row], resets=resets[: LENGTHS[row], row])
        torch.testing.assert_close(alone, want[: LENGTHS[row], row])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_backend_gives_torchs_results_on_a_packed_stack(kind, backend):
    theirs, ours = pair(kind, I, H, num_layers=2, bidirectional=True)
    ours.backend = backend
    x, hx = drawn(T, B, I), state_for(theirs, B)
    packed = pack_padded_sequence(x, LENGTHS, enforce_sorted=False)
    assert_same(ours(packed, hx), theirs(packed, hx), leaves(ours, x), leaves(theirs, x))


@pytest.mark.parametrize("kind", KINDS)
def test_the_constructors_refuse_what_torchs_refuse_in_the_same_words(kind):
    def refusals(*args, **options):
        said = []
        for module in (nn, torch.nn):
            with pytest.raises((ValueError, TypeError)) as caught:
                getattr(module, kind)(*args, **options)
            said.append(str(caught.value))
        return said

    wrongs = [((0, 4), {}), ((3, 4.0), {}), ((3, 4), {"num_layers": 0}), ((3, 4), {"dropout": 2})]
    wrongs += [((3, 4), {"proj_size": 4 if kind == "LSTM" else 2})]
    wrongs += [((3, 4), {"nonlinearity": "gelu"}), ((3, 4, 1, "gelu"), {})] if kind == "RNN" else []
    for args, options in wrongs:
        ours, theirs = refusals(*args, **options)
        assert ours == theirs
    if kind == "RNN":
        assert nn.RNN(3, 4, 2, "relu", False).nonlinearity == "relu"
        assert not nn.RNN(3, 4, 2, "relu", False).bias


@pytest.mark.parametrize("kind", KINDS)
def test_a_reset_in_every_layer_equals_a_fresh_call_of_torchs_stack(kind):
    theirs, ours = pair(kind, I, H, num_layers=3)
    x, resets = drawn(T, B, I), torch.zeros(T, B, dtype=torch.bool)
    resets[2] = True
    want = torch.cat([theirs(x[:2])[0], theirs(x[2:])[0]])
    assert_same(ours(x, resets=resets), (want, theirs(x[2:])[1]), leaves(ours, x), leaves(theirs, x))


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_between_layers_is_torchs_for_the_same_seed(kind):
    with_dropout = {"num_layers": 3, "dropout": 0.5, "bidirectional": True}
    theirs, ours = pair(kind, I, H, **with_dropout)
    x = drawn(T, B, I)
    torch.manual_seed(5)
    want = theirs(x)
    torch.manual_seed(5)
    got = ours(x)
    torch.testing.assert_close(flat(got), flat(want))
    without, _ = pair(kind, I, H, num_layers=3, bidirectional=True)
    assert not torch.allclose(got[0], without(x)[0])
    torch.testing.assert_close(flat(ours.eval()(x)), flat(theirs.eval()(x)))


@pytest.mark.parametrize("kind", KINDS)
def test_no_steps_no_rows_and_no_lengths_leave_the_state(kind):
    _, ours = pair(kind, I, H, num_layers=2, bidirectional=True)
    for steps, rows, lengths in ((0, 3, None), (4, 0, None), (4, 3, [0, 0, 0])):
        hx = state_for(ours, rows)
        output, state = ours(drawn(steps, rows, I), hx, lengths=lengths)
        assert output.shape == (steps, rows, 2 * H)
        assert not output.any()
        torch.testing.assert_close(state, hx)


@pytest.mark.parametrize("kind", KINDS)
def test_layers_are_torchs_by_type_state_dict_and_print(kind):
    theirs, ours = pair(kind, I, H, 2, bidirectional=True)
    assert isinstance(ours, getattr(torch.nn, kind))
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    asked = getattr(nn, kind)(I, H, backend="reference")
    assert repr(asked) == f"{kind}(3, 5, backend='reference')"
    torch.manual_seed(0)
    mine = getattr(nn, kind)(I, H)
    torch.manual_seed(0)
    assert torch.equal(mine.weight_hh_l0, getattr(torch.nn, kind)(I, H).weight_hh_l0)


@pytest.mark.parametrize("kind", KINDS)
def test_layers_survive_deepcopy_pickle_and_changes_of_dtype(kind):
    ours = getattr(nn, kind)(I, H, num_layers=2, backend="reference")
    x = drawn(T, B, I).detach().float()
    want = ours(x)[0]
    for again in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):  # noqa: S301
        assert type(again) is type(ours)
        assert again.backend == "reference"
        assert torch.equal(again(x)[0], want)
    assert ours.to(torch.float64)(x.double())[0].dtype == torch.float64
    assert ours.to(torch.bfloat16)(x.bfloat16())[0].dtype == torch.bfloat16


@pytest.mark.parametrize("kind", KINDS)
def test_functional_call_runs_with_the_weights_that_it_is_given(kind):
    theirs, ours = pair(kind, I, H)
    x = drawn(T, B, I)
    other = {name: 2 * value for name, value in theirs.named_parameters()}
    doubled, _ = pair(kind, I, H)
    doubled.load_state_dict(other)
    torch.testing.assert_close(torch.func.functional_call(ours, other, (x,))[0], doubled(x)[0])
    stacked = {name: torch.stack([value, 2 * value]) for name, value in theirs.named_parameters()}
    both = torch.vmap(lambda weights: torch.func.functional_call(ours, weights, (x,))[0])(stacked)
    torch.testing.assert_close(both, torch.stack([theirs(x)[0], doubled(x)[0]]))


def test_weight_norms_hooks_and_parametrisations_work():
    theirs, ours = pair("LSTM", I, H)
    x = drawn(T, B, I)
    for layer in (theirs, ours):
        with pytest.warns(FutureWarning, match="deprecated"):
            torch.nn.utils.weight_norm(layer, "weight_hh_l0")
        with torch.no_grad():
            layer.weight_hh_l0_g.mul_(0.5)
    assert_same(ours(x), theirs(x), leaves(ours, x), leaves(theirs, x))

    theirs, ours = pair("LSTM", I, H)
    for layer in (theirs, ours):
        torch.nn.utils.parametrizations.weight_norm(layer, "weight_hh_l0")
        with torch.no_grad():
            layer.parametrizations.weight_hh_l0.original0.mul_(0.5)
    assert_same(ours(x), theirs(x), leaves(ours, x), leaves(theirs, x))


@pytest.mark.parametrize("kind", KINDS)
def test_autocast_gives_an_output_in_bfloat16_and_a_state_that_any_call_takes(kind):
    layer = getattr(nn, kind)(I, H, num_layers=2, bidirectional=True)
    x = drawn(T, B, I).detach().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, state = layer(x)
        again, state = layer(x.bfloat16(), state, lengths=LENGTHS)
    assert (output.dtype, again.dtype) == (torch.bfloat16, torch.bfloat16)
    layer(x, state)
    again.float().sum().backward()
    assert all(parameter.grad.dtype == torch.float32 for parameter in layer.parameters())


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_trajectories_come_for_every_layer_and_direction(kind, batch_first):
    theirs, ours = pair(kind, I, H, num_layers=2, bidirectional=True, batch_first=batch_first)
    x = drawn(B, T, I) if batch_first else drawn(T, B, I)
    output, state, traces = ours.trajectories(x)
    torch.testing.assert_close(flat((output, state)), flat(theirs(x)))
    assert [type(trace) for trace in traces] == [getattr(ops, f"{kind}Trajectory")] * 4
    time_first = output.transpose(0, 1) if batch_first else output
    torch.testing.assert_close(torch.cat([traces[2].h, traces[3].h], dim=-1), time_first)
    torch.testing.assert_close(traces[0].h[-1], flat((output, state))[1][0])
    unbatched, _, traces = ours.trajectories(drawn(T, I), lengths=None)
    assert unbatched.shape == (T, 2 * H)
    assert traces[0].h.shape == (T, 1, H)


def test_trajectories_never_fall_back_in_silence():
    _, ours = pair("LSTM", I, H)
    ours.backend = "torch"
    with pytest.raises(BackendError, match=r"^backend: expected one that can run this call, got 'torch'"):
        ours.trajectories(drawn(T, B, I))
    assert len(ours.trajectories(drawn(T, B, I), backend="reference")[2]) == 1


def test_a_pack_of_sequences_comes_back_in_order():
    _, ours = pair("GRU", I, H)
    rows = [drawn(length, I, seed=length) for length in (2, 5, 3)]
    output, _ = ours(pack_sequence(rows, enforce_sorted=False))
    for row, got in zip(rows, torch.nn.utils.rnn.unpack_sequence(output), strict=True):
        torch.testing.assert_close(got, ours(row)[0])


@pytest.mark.parametrize(
    "given",
    [
        torch.tensor([5, 0, 3], dtype=torch.int32),
        torch.tensor([5, 0, 3], dtype=torch.uint8),
        np.array([5, 0, 3]),
        np.array([5, 0, 3], dtype=np.uint16),
        [np.int64(5), np.int32(0), 3],
        (5, 0, 3),
        list(torch.tensor([5, 0, 3])),
    ],
)
def test_lengths_come_in_every_form_of_whole_numbers(given):
    layer, x = nn.GRU(3, 4), torch.randn(5, 3, 3)
    want = layer(x, lengths=torch.tensor([5, 0, 3]))
    torch.testing.assert_close(layer(x, lengths=given), want)


def test_a_weight_that_does_not_fit_its_layer_is_refused_by_name():
    layer, x = nn.GRU(3, 4, num_layers=2), torch.randn(5, 2, 3)
    given = dict(layer.named_parameters()) | {"weight_hh_l1": torch.zeros(12, 5)}
    with pytest.raises(ShapeError, match=r"^weight_hh_l1: expected \[12, 4\], got \[12, 5\]$"):
        torch.func.functional_call(layer, given, (x,))
    given = dict(layer.named_parameters()) | {"bias_ih_l0": torch.zeros(12, dtype=torch.float64)}
    with pytest.raises(DtypeError, match=r"^bias_ih_l0: expected float32, as weight_ih_l0, got float64$"):
        torch.func.functional_call(layer, given, (x,))


def test_a_state_can_be_detached_in_place():
    _, state = nn.LSTM(3, 4)(torch.randn(5, 2, 3))
    for part in state:
        assert part.detach_() is part


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_an_output_can_be_detached_in_place_where_torchs_can(kind, backend, bidirectional, batch_first):
    theirs, ours = pair(kind, I, H, num_layers=2, bidirectional=bidirectional, batch_first=batch_first)
    ours.backend = backend
    for layer in (ours, theirs):
        output, _ = layer(drawn(B, T, I))
        if not output._is_view():
            assert output.detach_() is output
        else:
            assert (layer, kind) == (theirs, "LSTM") or backend == "torch"


@pytest.mark.skipif(not kernels.available(), reason="no compiled kernels")
@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_swapping_the_axes_of_an_output_computes_nothing_again(kind, write, monkeypatch):
    ran, engine = [], kernels.forward
    monkeypatch.setattr(kernels, "forward", lambda *arguments: ran.append(engine(*arguments)))
    theirs, ours = pair(kind, I, H, batch_first=True)
    ours.backend, found = "native", []
    for layer in (theirs, ours):
        x = drawn(B, T, I).requires_grad_()
        output, _ = layer(x)
        output = output.add_(1) if write else output + 1
        found.append(torch.autograd.grad(output.square().sum(), [x, *layer.parameters()]))
    torch.testing.assert_close(*found)
    assert len(ran) == 1 + write


@pytest.mark.parametrize("kind", KINDS)
def test_a_layers_signature_is_torchs_in_torchs_order(kind):
    ours = list(inspect.signature(getattr(nn, kind)).parameters)
    theirs, *_ = typing.get_overloads(getattr(torch.nn, kind).__init__)
    names = [name for name in inspect.signature(theirs).parameters if name != "self"]
    assert ours[: len(names)] == names
    assert "backend" in ours[len(names) :]


@pytest.mark.parametrize(
    ("cell", "kind", "options"),
    [("lstm", nn.LSTM, {"proj_size": 2}), ("gru", nn.GRU, {}), ("rnn", nn.RNN, {"nonlinearity": "relu"})],
)
def test_a_layer_is_built_by_the_name_of_its_cell(cell, kind, options):
    built = nn.layer(cell, 3, 4, 2, batch_first=True, backend="reference", **options)
    assert type(built) is kind
    assert repr(built) == repr(kind(3, 4, 2, batch_first=True, backend="reference", **options))
    assert built.cell.name == cell
    assert vars(built).keys() == vars(kind(3, 4)).keys()


def test_a_layer_of_no_cell_or_of_a_nonlinearity_that_it_has_not_is_refused():
    with pytest.raises(ConfigError, match=r"^cell: expected one of coupled_lstm, gru, .*, got 'tcn'$"):
        nn.layer("tcn", 3, 4)
    with pytest.raises(ConfigError, match=r"^nonlinearity: expected 'tanh' or 'relu', got 'gelu'$"):
        nn.layer("rnn", 3, 4, nonlinearity="gelu")
    with pytest.raises(
        ConfigError, match=r"^nonlinearity: expected None, as the gru has no choice, got 'tanh'$"
    ):
        nn.layer("gru", 3, 4, nonlinearity="tanh")


def test_what_lies_between_layers_is_let_go_while_the_stack_runs(monkeypatch):
    layer, alive, execute = nn.GRU(3, 4, num_layers=4, backend="reference"), [], ops.execute

    def watched(call, backend):
        output = execute(call, backend)
        alive.append(weakref.ref(output.y))
        assert sum(ref() is not None for ref in alive) <= 2  # this layer's input, and its output
        return output

    monkeypatch.setattr(ops, "execute", watched)
    with torch.no_grad():
        layer(torch.randn(5, 2, 3))
    assert len(alive) == 4
