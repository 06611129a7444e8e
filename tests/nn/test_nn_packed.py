"""The packed form: the bits of the usual path, the weights of the entry, and when a call takes which path."""

from __future__ import annotations

import copy
import io
import threading
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.utils.rnn import pack_sequence

from unrolled import kernels, nn
from unrolled.errors import ConfigError, DtypeError, NonFiniteError, ShapeError
from unrolled.nn import inference

pytestmark = pytest.mark.skipif(not kernels.available(), reason="no compiled kernels")
KINDS = ("LSTM", "GRU", "RNN")


def states_of(result: Any) -> tuple[Tensor, ...]:
    return result if isinstance(result, tuple) else (result,)


def same(ours: Any, theirs: Any) -> bool:
    return all(torch.equal(a, b) for a, b in zip(states_of(ours), states_of(theirs), strict=True))


def state(kind: str, *sizes: int, width: int | None = None) -> Any:
    h = torch.randn(*sizes[:-1], width or sizes[-1])
    return (h, torch.randn(*sizes)) if kind == "LSTM" else h


@pytest.fixture
def packed_calls(monkeypatch: pytest.MonkeyPatch) -> list[inference.Pack]:
    """Of each call on packed weights its pack."""
    calls: list[inference.Pack] = []
    run = inference.Pack.run

    def spy(self: inference.Pack, *args: Any) -> bool:
        done = run(self, *args)
        calls.extend([self] * done)
        return done

    monkeypatch.setattr(inference.Pack, "run", spy)
    return calls


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    layers=st.integers(1, 3),
    sizes=st.tuples(st.integers(1, 40), st.integers(1, 67)),
    rows=st.sampled_from((None, 1, 2, 16, 100)),
    steps=st.sampled_from((1, 2, 5, 8)),
    batch_first=st.booleans(),
    bias=st.booleans(),
    given_state=st.booleans(),
    with_resets=st.booleans(),
    dense=st.booleans(),
    mode=st.sampled_from((torch.no_grad, torch.inference_mode)),
    seed=st.integers(0, 2**31),
)
def test_a_packed_layer_has_the_bits_of_its_native_path(
    kind, layers, sizes, rows, steps, batch_first, bias, given_state, with_resets, dense, mode, seed
):
    torch.manual_seed(seed)
    inputs, hidden = sizes
    layer = getattr(nn, kind)(inputs, hidden, layers, bias=bias, batch_first=batch_first, backend="native")
    shape = (steps,) if rows is None else (rows, steps) if batch_first else (steps, rows)
    x = torch.randn(*shape, 2 * inputs)[..., ::2] if not dense else torch.randn(*shape, inputs)
    between = () if rows is None else (rows,)
    hx = state(kind, layers, *between, hidden) if given_state else None
    resets = torch.rand(shape) < 0.4 if with_resets else None
    with mode():
        y, final = layer(x, hx, resets=resets)
        with layer.packed():
            assert "packed:" in str(nn.explain(layer, x, hx, resets=resets))
            packed_y, packed_final = layer(x, hx, resets=resets)
    assert torch.equal(packed_y, y)
    assert same(packed_final, final)
    assert packed_y.is_inference() == (mode is torch.inference_mode)


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    nonlinearity=st.sampled_from(("tanh", "relu")),
    sizes=st.tuples(st.integers(1, 40), st.integers(1, 67)),
    rows=st.sampled_from((None, 1, 2, 16)),
    bias=st.booleans(),
    given_state=st.booleans(),
    with_resets=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_a_packed_cell_has_the_bits_of_a_native_layer_of_one_step_and_is_torchs_cell(
    kind, nonlinearity, sizes, rows, bias, given_state, with_resets, seed
):
    torch.manual_seed(seed)
    inputs, hidden = sizes
    choice = {"nonlinearity": nonlinearity} if kind == "RNN" else {}
    cell = getattr(nn, f"{kind}Cell")(inputs, hidden, bias=bias, **choice)
    layer = getattr(nn, kind)(inputs, hidden, bias=bias, backend="native", **choice)
    layer.load_state_dict({f"{name}_l0": value for name, value in cell.state_dict().items()})
    between = () if rows is None else (rows,)
    x = torch.randn(*between, inputs)
    hx = state(kind, *between, hidden) if given_state else None
    resets = torch.rand(between) < 0.4 if with_resets else None
    with torch.no_grad():
        usual = cell(x, hx, resets=resets)
        with cell.packed():
            assert "packed:" in str(nn.explain(cell, x, hx, resets=resets))
            got = cell(x, hx, resets=resets)
        stacked = None if hx is None else tuple(each[None] for each in states_of(hx))
        if stacked is not None and kind != "LSTM":
            (stacked,) = stacked
        _, final = layer(x[None], stacked, resets=None if resets is None else resets[None])
    for ours, of_layer, of_torch in zip(states_of(got), states_of(final), states_of(usual), strict=True):
        assert torch.equal(ours, of_layer[0])
        torch.testing.assert_close(ours, of_torch, rtol=1e-5, atol=1e-5)


def test_a_projection_is_packed_and_agrees_with_torch(packed_calls):
    torch.manual_seed(0)
    layer = nn.LSTM(5, 24, 2, proj_size=7, backend="torch")
    x, hx = torch.randn(3, 4, 5), state("LSTM", 2, 4, 24, width=7)
    with torch.no_grad():
        want, want_final = layer(x, hx)
        layer.backend = "auto"
        with layer.packed():
            y, final = layer(x, hx)
    assert len(packed_calls) == 1
    for got, wanted in zip((y, *final), (want, *want_final), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)


def test_two_threads_share_the_rows_and_give_the_same_bits():
    torch.manual_seed(0)
    layer = nn.LSTM(64, 128, 2)
    x, before = torch.randn(3, 200, 64), torch.get_num_threads()
    try:
        with torch.no_grad(), layer.packed():
            torch.set_num_threads(1)
            y, final = layer(x)
            torch.set_num_threads(2)
            shared, shared_final = layer(x)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(shared, y)
    assert same(shared_final, final)


def test_nan_goes_through_as_it_goes_through_the_usual_path():
    layer = nn.GRU(3, 20)
    x = torch.randn(2, 3, 3)
    x[0, 1, 2] = float("nan")
    with torch.no_grad():
        y, _ = layer(x)
        with layer.packed():
            packed_y, _ = layer(x)
    torch.testing.assert_close(packed_y, y, rtol=0, atol=0, equal_nan=True)
    assert packed_y[:, 1].isnan().all()


def test_results_own_their_memory():
    layer = nn.LSTM(3, 4)
    hx = state("LSTM", 1, 2, 4)
    kept = [each.clone() for each in hx]
    with torch.no_grad(), layer.packed():
        y, (h, c) = layer(torch.randn(1, 2, 3), hx)
        y.zero_(), c.zero_()
        assert h.any()
    assert same(hx, tuple(kept))


# --- the weights are those of the entry ---------------------------------------------------------------


def test_weights_that_are_written_are_not_seen_before_the_context_is_left():
    layer, x = nn.LSTM(3, 4), torch.randn(1, 2, 3)
    with torch.no_grad():
        before, _ = layer(x)
        with layer.packed():
            layer.weight_ih_l0.data.zero_()
            layer.bias_ih_l0.add_(1)
            within, _ = layer(x)
        after, _ = layer(x)
    assert torch.equal(within, before)
    assert not torch.equal(after, before)


def test_the_inner_of_two_contexts_holds_until_it_is_left_and_they_may_be_left_in_any_order():
    layer, x = nn.GRU(3, 4), torch.randn(1, 2, 3)
    outer, inner = layer.packed(), layer.packed()
    with torch.no_grad():
        first, _ = layer(x)
        outer.__enter__()
        layer.weight_ih_l0.data.neg_()
        assert torch.equal(layer(x)[0], first)
        inner.__enter__()
        second, _ = layer(x)
        assert not torch.equal(second, first)
        outer.__exit__(None, None, None)
        layer.weight_ih_l0.data.zero_()
        assert torch.equal(layer(x)[0], second)
        inner.__exit__(None, None, None)
        assert not torch.equal(layer(x)[0], second)
    assert "_packs" not in vars(layer)


def test_an_exception_leaves_the_context():
    layer = nn.LSTM(3, 4)
    with pytest.raises(ZeroDivisionError), layer.packed():
        raise ZeroDivisionError
    assert not layer._packs


def test_a_parameter_that_is_replaced_is_seen(packed_calls):
    layer, x = nn.LSTM(3, 4), torch.randn(1, 2, 3)
    other = {name: value.detach() * 2 for name, value in layer.named_parameters()}
    with torch.no_grad():
        want = torch.func.functional_call(layer, other, (x,))[0]
        with layer.packed():
            assert torch.equal(torch.func.functional_call(layer, other, (x,))[0], want)
            assert not packed_calls
            layer(x)
            assert packed_calls
            layer.weight_ih_l0 = torch.nn.Parameter(layer.weight_ih_l0 * 0)
            assert "a parameter was replaced" in str(nn.explain(layer, x))


def test_a_parametrised_weight_is_packed_as_it_is_at_the_entry(packed_calls):
    layer = torch.nn.utils.parametrizations.weight_norm(nn.LSTM(3, 4), "weight_hh_l0")
    x = torch.randn(1, 2, 3)
    with torch.no_grad():
        want, _ = layer(x)
        with nn.packed(layer):
            assert torch.equal(layer(x)[0], want)
    assert len(packed_calls) == 1


@pytest.mark.parametrize("kind", ["LSTM", "LSTMCell"])
def test_copies_are_not_packed(kind):
    layer = getattr(nn, kind)(3, 4)
    x = torch.randn(2, 3) if kind == "LSTMCell" else torch.randn(1, 2, 3)
    with torch.no_grad(), layer.packed():
        want = layer(x)
        stored = io.BytesIO()
        torch.save(layer, stored)  # noqa: TID251  # what a user may do
        stored.seek(0)
        copies = [copy.copy(layer), copy.deepcopy(layer)]
        copies.append(torch.load(stored, weights_only=False))  # noqa: TID251
        for each in copies:
            assert not each._packs
            torch.testing.assert_close(each(x)[0], want[0], rtol=1e-5, atol=1e-6)


def test_what_shares_the_modules_dict_takes_its_usual_path_afterwards(packed_calls):
    layer, x = nn.LSTM(3, 4), torch.randn(1, 2, 3)
    with torch.no_grad():
        with layer.packed():
            replica = layer._replicate_for_data_parallel()
            assert replica._packs
        replica._parameters = layer._parameters
        replica(x)
    replica(x)[0].sum().backward()
    assert not packed_calls


def test_to_torch_within_the_context_is_torch(packed_calls):
    model = torch.nn.Sequential(nn.LSTM(3, 4))
    with torch.no_grad(), nn.packed(model):
        nn.to_torch(model)
        model(torch.randn(1, 2, 3))
    assert type(model[0]) is torch.nn.LSTM
    assert "_packs" not in vars(model[0])
    assert not packed_calls


def test_threads_may_call_at_once():
    torch.manual_seed(0)
    layer = nn.LSTM(16, 32, 2)
    inputs = torch.randn(8, 1, 3, 16)
    with torch.no_grad():
        wants = [layer(x)[0] for x in inputs]
    failures: list[int] = []

    def calls(index: int) -> None:
        with torch.no_grad():
            equal = [torch.equal(layer(inputs[index])[0], wants[index]) for _ in range(200)]
            failures.extend([index] * (not all(equal)))

    with layer.packed():
        threads = [threading.Thread(target=calls, args=(index,)) for index in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures


# --- which path a call takes --------------------------------------------------------------------------


def test_a_call_that_wants_gradients_is_refused():
    layer, cell = nn.LSTM(3, 4), nn.GRUCell(3, 4)
    with layer.packed(), cell.packed():
        with pytest.raises(ConfigError, match="grad mode: expected"):
            layer(torch.randn(1, 2, 3))
        with pytest.raises(ConfigError, match="grad mode: expected"):
            cell(torch.randn(2, 3))
        with pytest.raises(ConfigError, match="grad mode"):
            nn.explain(layer, torch.randn(1, 2, 3))
    layer(torch.randn(1, 2, 3))[0].sum().backward()
    assert layer.weight_ih_l0.grad is not None


def test_a_frozen_layer_needs_no_mode_and_whatever_given_wants_gradients_is_refused(packed_calls):
    layer, cell = (kind(3, 4).requires_grad_(False) for kind in (nn.LSTM, nn.LSTMCell))
    with layer.packed(), cell.packed():
        for module, sizes in ((layer, (1, 2)), (cell, (2,))):
            given = [torch.randn(*sizes, 3), torch.zeros(*sizes, 4), torch.zeros(*sizes, 4)]
            assert not module(given[0], (given[1], given[2]))[0].requires_grad
            for each in given:
                each.requires_grad_()
                with pytest.raises(ConfigError, match="grad mode"):
                    module(given[0], (given[1], given[2]))
                each.requires_grad_(False)
        assert len(packed_calls) == 2


X = torch.randn(2, 3, 4)


@pytest.mark.parametrize(
    ("call", "why"),
    [
        ({"lengths": [2, 1, 0]}, "its rows have lengths"),
        ({"input": pack_sequence([X[:, 0], X[:1, 1]])}, "its rows have lengths"),
        ({"input": torch.randn(9, 3, 4)}, "it has 9 steps"),
        ({"input": X[:0]}, "it has 0 steps"),
        ({"input": X[:, :0]}, "it has no rows"),
    ],
)
def test_what_does_not_fit_takes_its_usual_path_and_explain_says_why(call, why, packed_calls):
    layer = nn.LSTM(4, 5)
    arguments = {"input": X, **call}
    x = arguments.pop("input")
    with torch.no_grad():
        want, _ = layer(x, **arguments)
        with layer.packed():
            got, _ = layer(x, **arguments)
            found = nn.explain(layer, x, **arguments)
    assert not packed_calls
    assert f"not packed: {why}" in found.calls["l0"].reason
    assert torch.equal(getattr(got, "data", got), getattr(want, "data", want))


@pytest.mark.filterwarnings("ignore:.torch.jit.trace:DeprecationWarning")
def test_what_watches_or_casts_takes_the_usual_path(packed_calls):
    layer, cell, x = nn.LSTM(4, 5), nn.LSTMCell(4, 5), torch.randn(2, 3, 4)

    def both() -> Any:
        why = "not packed: something traces, counts, transforms or casts"
        assert why in str(nn.explain(layer, x))
        assert why in str(nn.explain(cell, x[0]))
        return layer(x)[0], cell(x[0])[0]

    with torch.no_grad(), layer.packed(), cell.packed():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert both()[0].dtype == torch.bfloat16
        with torch.utils.flop_counter.FlopCounterMode(display=False) as counter:
            both()
        with torch.autograd.profiler.profile():
            layer(x), cell(x[0])
        mapped = torch.func.vmap(lambda one: layer(one)[0])(torch.randn(3, 2, 3, 4))
        traced = torch.jit.trace(cell, (x[0],), check_trace=False)
    assert counter.get_total_flops() > 0
    assert mapped.shape == (3, 2, 3, 5)
    assert traced(x[0])[0].shape == (3, 5)
    assert not packed_calls


@pytest.mark.parametrize("dropout", ["dropout", "input_dropout", "recurrent_dropout"])
def test_dropout_takes_the_usual_path_while_training_alone(dropout, packed_calls):
    layer, x = nn.LSTM(4, 5, 2, **{dropout: 0.5}), torch.randn(2, 3, 4)
    with torch.no_grad(), layer.packed():
        assert "dropout" in str(nn.explain(layer, x))
        layer(x)
        assert not packed_calls
        layer.eval()(x)
        assert packed_calls


def test_torch_compile_within_the_context_takes_the_usual_path(packed_calls):
    layer, x = nn.LSTM(4, 5), torch.randn(1, 3, 4)
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    with torch.no_grad():
        want, _ = layer(x)
        with layer.packed():
            assert torch.equal(compiled(x)[0], want)
            assert not packed_calls
            layer(x)
    assert len(packed_calls) == 1
    compiled(x)[0].sum().backward()
    assert layer.weight_ih_l0.grad is not None


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (nn.LSTM(3, 4, bidirectional=True), "bidirectional"),
        (nn.LSTM(3, 4, dtype=torch.float64), "its weights are float64"),
        (nn.GRU(3, 4, device="meta"), "its weights lie on meta"),
        (nn.GRU(3, 4, backend="torch"), "its backend is 'torch'"),
        (nn.LSTMCell(3, 4, dtype=torch.bfloat16), "its weights are bfloat16"),
        (torch.nn.LSTM(3, 4), "torch.nn.modules.rnn.LSTM is not of unrolled.nn"),
    ],
)
def test_what_cannot_be_packed_is_left_and_named(layer, why):
    model = torch.nn.ModuleDict({"one": layer, "two": nn.RNN(3, 4)})
    with nn.packed(model) as report:
        assert not getattr(layer, "_packs", ())
    assert report.packed == {"two": "RNN"}
    assert why in report.left["one"]
    assert str(report).splitlines()[0] == "two: packed RNN"


@pytest.mark.parametrize(
    ("module", "options", "error", "message"),
    [
        (torch.nn.Linear(2, 2), {}, ConfigError, "module: expected one with a recurrent layer or cell"),
        ("a layer", {}, DtypeError, "module: expected a torch.nn.Module, got str"),
        (nn.LSTM(2, 2), {"weights": "int4"}, ConfigError, "weights: expected one of float32, bfloat16, int8"),
    ],
)
def test_bad_input_is_named(module, options, error, message):
    with pytest.raises(error, match=message), nn.packed(module, **options):
        pass


@pytest.mark.parametrize(
    ("x", "hx", "resets"),
    [
        (torch.randn(1, 2, 4), None, None),
        (torch.randn(4), None, None),
        (torch.randn(1, 2, 3, dtype=torch.float64), None, None),
        ("x", None, None),
        (torch.randn(1, 2, 3), torch.zeros(1, 2, 4), None),
        (torch.randn(1, 2, 3), (torch.zeros(1, 2, 4), torch.zeros(1, 2, 5)), None),
        (torch.randn(1, 2, 3), None, torch.zeros(2, 1, dtype=torch.bool)),
        (torch.randn(1, 2, 3), None, torch.full((1, 2), 0.5)),
    ],
)
def test_errors_are_those_of_the_usual_path(x, hx, resets):
    layer, cell = nn.LSTM(3, 4), nn.LSTMCell(3, 4)
    with torch.no_grad():
        for module in (layer, cell):
            with pytest.raises((ShapeError, DtypeError)) as usual:
                module(x, hx, resets=resets)
            with module.packed(), pytest.raises(type(usual.value)) as found:
                module(x, hx, resets=resets)
            assert str(found.value) == str(usual.value)


@pytest.mark.parametrize("weights", ["bfloat16", "int8"])
def test_smaller_weights_are_near_and_have_the_bits_of_a_stream(weights):
    from unrolled import stream

    torch.manual_seed(0)
    layer, x = nn.LSTM(6, 32, 2), torch.randn(4, 1, 6)
    session = stream.Recurrent.from_torch(layer, weights=weights).open()
    with torch.no_grad():
        want, _ = layer(x)
        with layer.packed(weights=weights):
            y, _ = layer(x)
    torch.testing.assert_close(y, want, rtol=0.1, atol=0.02)
    for each, got in zip(x[:, 0], y[:, 0], strict=True):
        assert torch.equal(torch.from_numpy(session.step(each.numpy())), got)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_int8_refuses_what_is_not_finite_unless_a_reset_forgets_it(kind, batch_first):
    layer, ill = getattr(nn, kind)(3, 20, 2, batch_first=batch_first), torch.zeros(2, 5, 20)
    x, resets = torch.randn(2, 5, 3), torch.zeros(2, 5, dtype=torch.bool)
    ill[1, 3, 2], resets[0, 3] = torch.nan, True
    x, resets = (x.transpose(0, 1), resets.T) if batch_first else (x, resets)
    with torch.no_grad(), layer.packed(weights="int8"):
        want = layer(x)
        for hx in [ill] if kind != "LSTM" else [(ill, 0 * ill.nan_to_num()), (0 * ill.nan_to_num(), ill)]:
            with pytest.raises(NonFiniteError, match="input: expected finite"):
                layer(x, hx)
            assert same(layer(x, hx, resets=resets)[1], layer(x, resets=resets)[1])
        assert torch.equal(layer(x)[0], want[0])


def test_int8_refuses_inputs_and_weights_that_are_not_finite():
    layer = nn.LSTM(3, 4)
    with torch.no_grad():
        with layer.packed(weights="int8"), pytest.raises(NonFiniteError, match="input: expected finite"):
            layer(torch.full((1, 1, 3), float("inf")))
        layer.weight_ih_l0.data[0, 0] = float("nan")
        with pytest.raises(NonFiniteError, match="weights: expected finite"), layer.packed(weights="int8"):
            pass
