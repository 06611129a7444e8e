"""Symbols as input: the bits of the rows looked up, their gradients, and everything around an op."""

# ruff: noqa: E741, N803  # T, B, I, H and V are the axes' names in the design

from __future__ import annotations

from typing import Any

import pytest
import torch
from ops_cases import (
    VARIANTS,
    assert_equal,
    call,
    evaluate,
    make,
    needs_kernels,
    outputs_and_gradients,
    ragged,
)
from torch.nn.functional import embedding
from torch.utils.flop_counter import FlopCounterMode

from unrolled import kernels, ops
from unrolled.errors import DtypeError, ShapeError
from unrolled.ops import Embedded

V = 7
each_cell = pytest.mark.parametrize("variant", VARIANTS)


class Symbols:
    """A case whose x is ids of V symbols, and the same case with the rows looked up."""

    def __init__(
        self, variant: str, *, T: int = 9, B: int = 5, V: int = V, H: int = 19, I: int = 3, **options: Any
    ):
        self.variant = variant
        self.case = make(variant, T=T, B=B, H=H, I=I, **options)
        generator = torch.Generator().manual_seed(5)
        self.ids = torch.randint(V, (T, B), generator=generator)
        weight = torch.randn(V, I, generator=generator, dtype=torch.float64).to(self.case["x"].dtype)
        self.case["x"] = weight.requires_grad_()

    def as_ids(self, **options: Any) -> dict[str, torch.Tensor]:
        outputs = call(self.variant, self.case | {"x": Embedded(self.ids, self.case["x"])}, **options)
        return outputs_and_gradients(outputs, self.case)

    def looked_up(self, **options: Any) -> dict[str, torch.Tensor]:
        outputs = call(self.variant, self.case | {"x": embedding(self.ids, self.case["x"])}, **options)
        return outputs_and_gradients(outputs, self.case)


def outputs_of(found: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in found.items() if not name.startswith("gradient")}


@needs_kernels
@each_cell
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("reverse", [False, True])
def test_outputs_have_the_bits_of_the_rows_looked_up_and_gradients_are_as_near(variant, dtype, reverse):
    symbols, rows = Symbols(variant, dtype=dtype), ragged(9, 5)
    got = symbols.as_ids(backend="native", reverse=reverse, **rows)
    want = symbols.looked_up(backend="native", reverse=reverse, **rows)
    assert all(torch.equal(value, outputs_of(want)[name]) for name, value in outputs_of(got).items())
    assert_equal(got, want)


@needs_kernels
@each_cell
def test_every_instruction_set_gives_the_bits_of_the_rows_looked_up(variant, monkeypatch):
    symbols, rows = Symbols(variant, dtype=torch.float32, T=33, B=4, H=21, I=18), ragged(33, 4)
    exact = Symbols(variant, T=33, B=4, H=21, I=18).as_ids(backend="reference", **rows)
    for isa in kernels.isas():
        monkeypatch.setenv("UNROLLED_ISA", isa)
        for narrow in (False, True):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=narrow):
                got, want = (way(backend="native", **rows) for way in (symbols.as_ids, symbols.looked_up))
            assert all(torch.equal(value, outputs_of(want)[name]) for name, value in outputs_of(got).items())
            if not narrow:
                assert_equal(got, {name: value.to(torch.float32) for name, value in exact.items()})


@needs_kernels
@each_cell
@pytest.mark.parametrize("narrow", [False, True])
def test_results_and_gradients_are_the_same_bits_whatever_the_thread_count(variant, narrow):
    symbols = Symbols(variant, T=40, B=6, H=70, I=33, dtype=torch.float32)
    found = []
    for threads in (1, 2, 3, 2):
        torch.set_num_threads(threads)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=narrow):
            found.append(symbols.as_ids(backend="native", **ragged(40, 6)))
    assert all(torch.equal(each[name], found[0][name]) for each in found for name in each)


@pytest.mark.parametrize("backend", ["reference", "torch"])
def test_other_backends_look_the_rows_up(backend):
    symbols = Symbols("lstm")
    assert_equal(symbols.as_ids(backend=backend), symbols.looked_up(backend=backend))


@needs_kernels
def test_more_symbols_than_half_the_steps_are_looked_up_and_explain_says_so():
    for count, said in (
        (22, "x·W_ih once for each of 22 symbols"),
        (23, "the rows of 23 symbols are looked up"),
    ):
        symbols = Symbols("gru", V=count)
        case = symbols.case | {"x": Embedded(symbols.ids, symbols.case["x"])}
        assert said in ops.explain("gru", **case).reason
        assert_equal(symbols.as_ids(), symbols.looked_up())


@needs_kernels
@each_cell
def test_each_wanted_gradient_alone_is_the_one_of_all(variant):
    symbols, rows = Symbols(variant), ragged(9, 5)
    want = symbols.as_ids(backend="native", **rows)
    for name in symbols.case:
        alone = Symbols(variant)
        for other, leaf in alone.case.items():
            leaf.requires_grad_(other == name)
        y, *_ = outputs = call(variant, alone.case | {"x": Embedded(alone.ids, alone.case["x"])}, **rows)
        got = outputs_and_gradients(outputs, {name: alone.case[name]})
        torch.testing.assert_close(got[f"gradient of {name}"], want[f"gradient of {name}"])
        assert y.requires_grad


@needs_kernels
@each_cell
@pytest.mark.parametrize("sizes", [{"T": 0}, {"B": 0}, {"lengths": torch.zeros(5, dtype=torch.int64)}])
def test_nothing_to_compute_gives_zero_gradients(variant, sizes):
    options = {"lengths": sizes.pop("lengths")} if "lengths" in sizes else {}
    symbols = Symbols(variant, V=1, **sizes)
    got, want = symbols.as_ids(**options), symbols.looked_up(**options)
    assert_equal(got, want)


@needs_kernels
@each_cell
def test_a_symbol_that_no_step_takes_changes_nothing_even_where_it_is_not_finite(variant):
    symbols = Symbols(variant)
    symbols.ids[symbols.ids == 3] = 4
    want = symbols.as_ids(backend="native")
    with torch.no_grad():
        symbols.case["x"][3] = torch.nan
    got = symbols.as_ids(backend="native")
    assert all(torch.equal(got[name], want[name]) for name in got)
    assert not got["gradient of x"][3].any()


@needs_kernels
@each_cell
def test_tensors_of_any_strides_are_read_as_values(variant):
    symbols = Symbols(variant, I=4)
    want = symbols.as_ids(backend="native")
    symbols.ids = symbols.ids.T.contiguous().T
    wide = torch.zeros(V, 9, dtype=torch.float64)
    wide[:, 1:9:2] = symbols.case["x"].detach()
    for weight in (wide[:, 1:9:2], wide[:, 1:9:2].T.contiguous().T, wide[:, 1:9:2].contiguous()):
        symbols.case["x"] = weight.requires_grad_()
        assert_equal(symbols.as_ids(backend="native"), want)


@needs_kernels
def test_one_hot_inputs_are_ids_with_the_identity():
    symbols = Symbols("lstm", I=V)
    with torch.no_grad():
        symbols.case["x"].copy_(torch.eye(V))
    hot = torch.nn.functional.one_hot(symbols.ids, V).double()
    got = call("lstm", symbols.case | {"x": Embedded(symbols.ids, symbols.case["x"])})
    torch.testing.assert_close(got, call("lstm", symbols.case | {"x": hot}), rtol=0, atol=0)


def second_derivatives(symbols: Symbols, backend: str, **options: Any) -> list[torch.Tensor]:
    leaves = [leaf for leaf in symbols.case.values() if leaf is not None]
    case = symbols.case | {"x": Embedded(symbols.ids, symbols.case["x"])}
    y, *states = call(symbols.variant, case, backend=backend, **options)
    loss = y.square().sum() + sum(state.sin().sum() for state in states)
    first = torch.autograd.grad(loss, leaves, create_graph=True)
    return [*first, *torch.autograd.grad(sum(each.square().sum() for each in first), leaves)]


@needs_kernels
@each_cell
def test_second_gradients_equal_the_references(variant):
    symbols, rows = Symbols(variant, T=5, B=3, H=4, V=2), ragged(5, 3)
    torch.testing.assert_close(
        second_derivatives(symbols, "native", **rows), second_derivatives(symbols, "reference", **rows)
    )


@needs_kernels
def test_batched_gradients_equal_one_after_the_other():
    symbols = Symbols("lstm", T=5, B=3, H=4, V=2)
    y = call("lstm", symbols.case | {"x": Embedded(symbols.ids, symbols.case["x"])}, backend="native")[0]
    grads, leaves = torch.randn(4, *y.shape, dtype=y.dtype), [symbols.case["x"], symbols.case["weight_ih"]]
    got = torch.autograd.grad(y, leaves, grads, is_grads_batched=True, retain_graph=True)
    alone = [torch.autograd.grad(y, leaves, grad, retain_graph=True) for grad in grads]
    torch.testing.assert_close(got, tuple(torch.stack(each) for each in zip(*alone, strict=True)))


@needs_kernels
def test_torch_func_takes_the_reference():
    symbols = Symbols("gru", T=5, B=3, H=4, V=2)
    plain = {name: leaf.detach() for name, leaf in symbols.case.items()}

    def loss(weight: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        return call("gru", plain | {"x": Embedded(ids, weight)})[0].square().sum()

    weight, ids = plain["x"], torch.stack([symbols.ids, 1 - symbols.ids])
    got = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(weight, ids)
    leaf = weight.clone().requires_grad_()
    want = [torch.autograd.grad(loss(leaf, each), leaf)[0] for each in ids]
    torch.testing.assert_close(got, torch.stack(want))


@needs_kernels
@pytest.mark.parametrize("mapped", [(None, 0), (1, 2), (1, None)], ids=str)
def test_vmap_over_symbols_gives_the_bits_and_gradients_of_a_loop(mapped):
    symbols = Symbols("lstm", T=5, B=3, H=4, V=2)
    weight, ids = symbols.case["x"], symbols.ids
    in_dims, given = mapped, [weight, ids]
    members = [[weight + n for n in range(3)], [ids, 1 - ids, ids.flip(0)]]
    for place, axis in enumerate(in_dims):
        if axis is None:
            members[place] = [given[place]] * 3
        else:
            given[place] = torch.stack(members[place], axis)

    def run(weight: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(call("lstm", symbols.case | {"x": Embedded(ids, weight)}, backend="native"))

    got = torch.vmap(run, in_dims=in_dims)(*given)
    want = [torch.stack(each) for each in zip(*map(run, *members), strict=True)]
    found = [outputs_and_gradients(tuple(outputs), symbols.case) for outputs in (got, want)]
    assert all(torch.equal(value, outputs_of(found[1])[name]) for name, value in outputs_of(found[0]).items())
    assert_equal(*found)


@needs_kernels
@each_cell
def test_y_may_be_written_in_place(variant):
    symbols, rows = Symbols(variant), ragged(9, 5)
    found = []
    for copied in (True, False):
        case = symbols.case | {"x": Embedded(symbols.ids, symbols.case["x"])}
        y, *states = call(variant, case, backend="native", reverse=True, **rows)
        y = (y.clone() if copied else y).mul_(2)
        found.append(outputs_and_gradients((y, *states), symbols.case))
    assert_equal(*found)


@needs_kernels
@pytest.mark.parametrize("variant", ["lstm_projected", "gru"])
def test_the_registered_ops_pass_torchs_own_checks(variant, monkeypatch):
    # Memory that the engine has no need to write, in kept, must not differ between two runs.
    monkeypatch.setattr(torch.Tensor, "new_empty", torch.Tensor.new_zeros)
    symbols = Symbols(variant, T=4, B=3, H=5)
    case, rows = symbols.case, ragged(4, 3)
    named = [case.get(n) for n in ("x", "h_0", "c_0", "weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    cell = variant.partition("_")[0]
    arguments = (cell, *named, *rows.values(), False, True, False, None, case.get("weight_hr"), symbols.ids)
    torch.library.opcheck(torch.ops.unrolled.layer.default, arguments)
    with pytest.raises(ShapeError, match="ids: expected 0 to 6, got 7"):
        torch.ops.unrolled.layer(*arguments[:-1], torch.full((4, 3), 7))


@needs_kernels
def test_flops_count_products_once_per_symbol():
    symbols = Symbols("lstm", T=10, B=4, H=8, I=6)
    with FlopCounterMode(display=False) as counter:
        y = call("lstm", symbols.case | {"x": Embedded(symbols.ids, symbols.case["x"])})[0]
        y.sum().backward()
    assert counter.get_total_flops() == 3 * 2 * 4 * 8 * (V * 6 + 40 * 8)


@needs_kernels
def test_a_compiled_and_an_exported_call_give_the_same_numbers():
    symbols = Symbols("lstm", T=6, B=4, H=5)
    plain = {name: leaf.detach() for name, leaf in symbols.case.items()}

    class Model(torch.nn.Module):
        def forward(self, ids: torch.Tensor) -> Any:
            return call("lstm", plain | {"x": Embedded(ids, plain["x"])})

    want = Model()(symbols.ids)
    compiled = torch.compile(Model(), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(symbols.ids), want)
    torch.testing.assert_close(torch.export.export(Model(), (symbols.ids,)).module()(symbols.ids), want)


def test_recompute_looks_the_rows_up():
    symbols = Symbols("lstm")
    assert_equal(symbols.as_ids(recompute=4), symbols.looked_up(recompute=4))


BAD = {
    "x.ids: expected [T, B], got [5]": (ShapeError, torch.zeros(5, dtype=torch.int64), torch.ones(V, 3)),
    "x.ids: expected int64, got int32": (DtypeError, torch.zeros(9, 5, dtype=torch.int32), torch.ones(V, 3)),
    "x.ids: expected a tensor, got list": (DtypeError, [[0]], torch.ones(V, 3)),
    "x.ids: expected values from 0 to 6, got -1": (ShapeError, torch.full((9, 5), -1), torch.ones(V, 3)),
    "x.ids: expected values from 0 to 6, got 7": (ShapeError, torch.full((9, 5), 7), torch.ones(V, 3)),
    "x.weight: expected [V, I], got [3]": (ShapeError, torch.zeros(9, 5, dtype=torch.int64), torch.ones(3)),
    "x.weight: expected float16, bfloat16, float32 or float64, got int64": (
        DtypeError,
        torch.zeros(9, 5, dtype=torch.int64),
        torch.ones(V, 3, dtype=torch.int64),
    ),
    "weight_ih: expected [76, 4], got [76, 3]": (
        ShapeError,
        torch.zeros(9, 5, dtype=torch.int64),
        torch.ones(V, 4),
    ),
    "h_0: expected [4, 19], got [5, 19]": (
        ShapeError,
        torch.zeros(9, 4, dtype=torch.int64),
        torch.ones(V, 3),
    ),
}


@pytest.mark.parametrize("message", BAD)
def test_what_does_not_fit_is_refused_in_one_line(message):
    error, ids, weight = BAD[message]
    case = make("lstm", T=9, B=5, H=19, dtype=torch.float32)
    with pytest.raises(error) as caught:
        evaluate("lstm", case | {"x": Embedded(ids, weight)})
    assert str(caught.value) == message
