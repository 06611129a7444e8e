"""Step 5 of the numerics ladder: laws, and a loop over torch.nn that shares no code with the ops."""

from __future__ import annotations

import pytest
import torch
from ops_cases import (
    PAIRS,
    assert_equal,
    call,
    evaluate,
    make,
    outputs_and_gradients,
    ragged,
    twin,
)

T, B, H = 9, 5, 4

pytestmark = pytest.mark.parametrize(("variant", "backend"), PAIRS)


def names_of_states(case):
    return [name for name in ("h_0", "c_0") if name in case]


def with_states(case, states):
    return case | dict(zip(names_of_states(case), states, strict=True))


def row_by_row(variant, case, lengths, resets, reverse):
    """Every row alone, every step a call of torch.nn's layer on one step: DESIGN.md's words as Python."""
    module = twin(variant, case)
    y = torch.zeros(T, B, case["h_0"].shape[1], dtype=torch.float64)
    finals = [case[name].detach().clone() for name in names_of_states(case)]
    for row in range(B):
        state = tuple(case[name].detach()[None, row : row + 1] for name in names_of_states(case))
        order = range(int(lengths[row]))
        for t in reversed(order) if reverse else order:
            cut = (t + 1 < int(lengths[row]) and resets[t + 1, row]) if reverse else resets[t, row]
            if cut:
                state = tuple(torch.zeros_like(each) for each in state)
            hx = state if len(state) == 2 else state[0]
            out, new = module(case["x"].detach()[t : t + 1, row : row + 1], hx)
            state = new if isinstance(new, tuple) else (new,)
            y[t, row] = out[0, 0].detach()
        for final, each in zip(finals, state, strict=True):
            final[row] = each[0, 0].detach()
    return (y, *finals)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_lengths_and_resets_equal_a_loop_over_torch_nn(variant, backend, reverse, seed):
    case, rows = make(variant, T=T, B=B, H=H, seed=seed), ragged(T, B, seed)
    got = call(variant, case, backend=backend, reverse=reverse, **rows)
    want = row_by_row(variant, case, rows["lengths"], rows["resets"], reverse)
    torch.testing.assert_close(tuple(value.detach() for value in got), want, rtol=1e-9, atol=1e-10)


def test_one_run_equals_two_with_the_state_carried(variant, backend):
    case, rows = make(variant, T=T, B=B, H=H), ragged(T, B)
    for cut in (0, 4, T):
        y1, *states = call(
            variant,
            case | {"x": case["x"][:cut]},
            backend=backend,
            lengths=rows["lengths"].clamp(max=cut),
            resets=rows["resets"][:cut],
        )
        y2, *states = call(
            variant,
            with_states(case, states) | {"x": case["x"][cut:]},
            backend=backend,
            lengths=(rows["lengths"] - cut).clamp(min=0),
            resets=rows["resets"][cut:],
        )
        got = outputs_and_gradients((torch.cat([y1, y2]), *states), case)
        assert_equal(got, evaluate(variant, case, backend=backend, **rows))


@pytest.mark.parametrize("reverse", [False, True])
def test_padding_changes_nothing_even_where_it_is_nan(variant, backend, reverse):
    case, rows = make(variant, T=T, B=B, H=H), ragged(T, B)
    want = evaluate(variant, case, backend=backend, reverse=reverse, **rows)
    padding = torch.arange(T + 3)[:, None] >= rows["lengths"]
    longer = torch.cat([case["x"].detach(), torch.zeros(3, B, 3, dtype=torch.float64)])
    longer = longer.masked_fill(padding[..., None], float("nan")).requires_grad_()
    resets = torch.cat([rows["resets"], torch.ones(3, B, dtype=torch.bool)])
    y, *states = call(
        variant,
        case | {"x": longer},
        backend=backend,
        reverse=reverse,
        lengths=rows["lengths"],
        resets=resets,
    )
    assert not y[padding].any()
    got = outputs_and_gradients((y[:T], *states), case | {"x": longer})
    assert not got["gradient of x"][padding].any()
    got["gradient of x"] = got["gradient of x"][:T]
    assert_equal(got, want)


def test_permuting_the_batch_permutes_the_result(variant, backend):
    case, rows = make(variant, T=T, B=B, H=H), ragged(T, B)
    order = torch.tensor([3, 0, 4, 2, 1])
    permuted = with_states(case, [case[name][order] for name in names_of_states(case)])
    y, *states = call(
        variant,
        permuted | {"x": case["x"][:, order]},
        backend=backend,
        lengths=rows["lengths"][order],
        resets=rows["resets"][:, order],
    )
    back = order.argsort()
    got = outputs_and_gradients((y[:, back], *(state[back] for state in states)), case)
    assert_equal(got, evaluate(variant, case, backend=backend, **rows))


def test_a_row_alone_equals_the_row_in_its_batch(variant, backend):
    case, rows = make(variant, T=T, B=B, H=H), ragged(T, B)
    y, *states = call(variant, case, backend=backend, **rows)
    for row in range(B):
        alone = with_states(case, [case[name][row : row + 1] for name in names_of_states(case)])
        y_alone, *states_alone = call(
            variant,
            alone | {"x": case["x"][:, row : row + 1]},
            backend=backend,
            lengths=rows["lengths"][row : row + 1],
            resets=rows["resets"][:, row : row + 1],
        )
        torch.testing.assert_close(y_alone[:, 0], y[:, row])
        for state, state_alone in zip(states, states_alone, strict=True):
            torch.testing.assert_close(state_alone[0], state[row])


@pytest.mark.parametrize("at", [0, 4])
def test_a_reset_equals_a_fresh_start(variant, backend, at):
    case = make(variant, T=T, B=B, H=H)
    resets = torch.zeros(T, B, dtype=torch.bool)
    resets[at] = True
    fresh = [torch.zeros_like(case[name]) for name in names_of_states(case)]
    y1, *_ = call(variant, case | {"x": case["x"][:at]}, backend=backend)
    y2, *states = call(variant, with_states(case, fresh) | {"x": case["x"][at:]}, backend=backend)
    got = evaluate(variant, case, backend=backend, resets=resets)
    assert_equal(got, outputs_and_gradients((torch.cat([y1, y2]), *states), case))


def test_in_reverse_a_reset_cuts_the_same_edge(variant, backend):
    case = make(variant, T=T, B=B, H=H)
    resets = torch.zeros(T, B, dtype=torch.bool)
    resets[4] = True
    fresh = [torch.zeros_like(case[name]) for name in names_of_states(case)]
    late, *_ = call(variant, case | {"x": case["x"][4:]}, backend=backend, reverse=True)
    early, *states = call(
        variant, with_states(case, fresh) | {"x": case["x"][:4]}, backend=backend, reverse=True
    )
    got = evaluate(variant, case, backend=backend, resets=resets, reverse=True)
    assert_equal(got, outputs_and_gradients((torch.cat([early, late]), *states), case))


def test_in_reverse_a_reset_at_step_0_cuts_nothing(variant, backend):
    case = make(variant, T=T, B=B, H=H)
    resets = torch.zeros(T, B, dtype=torch.bool)
    resets[0] = True
    got = evaluate(variant, case, backend=backend, resets=resets, reverse=True)
    assert_equal(got, evaluate(variant, case, backend=backend, reverse=True))


def test_reverse_of_the_reversed_rows_equals_forward(variant, backend):
    case, lengths = make(variant, T=T, B=B, H=H), ragged(T, B)["lengths"]
    step = torch.arange(T)[:, None]
    turned = torch.where(step < lengths, lengths - 1 - step, step)[..., None]  # its own inverse

    def turn(values):
        return values.gather(0, turned.expand_as(values))

    y, *states = call(variant, case | {"x": turn(case["x"])}, backend=backend, lengths=lengths, reverse=True)
    got = outputs_and_gradients((turn(y), *states), case)
    assert_equal(got, evaluate(variant, case, backend=backend, lengths=lengths))


@pytest.mark.parametrize("reverse", [False, True])
def test_one_reset_in_full_rows_equals_a_loop_over_torch_nn_wherever_it_falls(variant, backend, reverse):
    case, full = make(variant, T=T, B=B, H=H), torch.full((B,), T)
    for at in (0, 1, T - 1):
        resets = torch.zeros(T, B, dtype=torch.bool)
        resets[at, 2] = True
        got = call(variant, case, backend=backend, reverse=reverse, resets=resets)
        want = row_by_row(variant, case, full, resets, reverse)
        torch.testing.assert_close(tuple(value.detach() for value in got), want, rtol=1e-9, atol=1e-10)


def test_resets_past_a_rows_length_mean_nothing(variant, backend):
    case, rows = make(variant, T=T, B=B, H=H), ragged(T, B)
    past = torch.arange(T)[:, None] >= rows["lengths"]
    for reverse in (False, True):
        options = {"backend": backend, "reverse": reverse, "lengths": rows["lengths"]}
        with_them = evaluate(variant, case, resets=rows["resets"] | past, **options)
        assert_equal(with_them, evaluate(variant, case, resets=rows["resets"] & ~past, **options))
