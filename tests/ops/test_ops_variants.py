"""Every registered variant of a cell, and zoneout and recurrent dropout in every cell, against loops by hand."""

from __future__ import annotations

import pytest
import torch
from ops_cases import needs_kernels
from torch import Tensor

from unrolled import ops
from unrolled.errors import BackendError, ConfigError, DtypeError, ShapeError
from unrolled.spec import CELLS

T, B, I, H = 5, 3, 4, 6  # noqa: E741  # the axes' names in the design
VARIANTS = [name for name, cell in CELLS.items() if cell.variant_of]
PLAIN = [name for name in VARIANTS if CELLS[name].plain]
RAGGED = {"lengths": torch.tensor([5, 0, 3]), "resets": torch.rand(T, B, generator=torch.Generator()) < 0.3}


def draw(name, *, steps=T, rows=B, hidden=H, proj_size=0, bias=True, seed=0):
    """Draw x, the states and the weights by name, each a leaf."""
    generator = torch.Generator().manual_seed(seed)

    def values(*shape):
        drawn = torch.randn(*shape, generator=generator, dtype=torch.float64) * 0.6
        return drawn.requires_grad_()

    cell, sizes = CELLS[name], (rows, hidden)
    states = {f"{state}_0": values(*sizes) for state in cell.states}
    if proj_size:
        states["h_0"] = values(rows, proj_size)
    shapes = cell.weights(I, hidden, proj_size=proj_size, bias=bias)
    return {"x": values(steps, rows, I), **states, **{each: values(*shape) for each, shape in shapes.items()}}


def run(name, case, **options):
    """Run the op on a case; return y, the states and, where asked for, the trajectory, as one tuple."""
    given, cell = dict(case), CELLS[name]
    state = tuple(given.pop(f"{each}_0") for each in cell.states)
    further = tuple(given.pop(each) for each, *_ in cell.further)
    x = given.pop("x")
    y, final, trajectory = ops.run(name, x, state, **given, further=further, **options)
    return (y, *final, trajectory) if trajectory is not None else (y, *final)


def normal(a, gain, bias=0.0):
    mean = a.mean()
    return (a - mean) / ((a - mean).square().mean() + 1e-5).sqrt() * gain + bias


def by_hand(name, x, states, case, left=1.0):
    """Take one step of one row [I], as the papers write it, gate by gate; W_hh sees `left` of each h."""
    w, u = case["weight_ih"], case["weight_hh"]
    b, d = (case.get(each, 0.0 * w[:, 0]) for each in ("bias_ih", "bias_hh"))
    h, c = states[0], states[-1]
    seen_h = left * h
    of_x, of_h = w @ x + b, (u * seen_h if u.dim() == 1 else u @ seen_h) + d
    if name.startswith("layernorm"):
        of_x = normal(w @ x, case["gain_ih"], b)
        of_h = normal(u @ seen_h, case["gain_hh"], d)
    if name in ("rnn", "indrnn"):
        return ((of_x + of_h).tanh(),)
    if name in ("gru", "layernorm_gru"):
        (xr, xz, xn), (hr, hz, hn) = of_x.chunk(3), of_h.chunk(3)
        r, z = torch.sigmoid(xr + hr), torch.sigmoid(xz + hz)
        return (z * h + (1 - z) * torch.tanh(xn + r * hn),)
    if name == "reset_before_gru":
        (wr, wz, wn), (ur, uz, un) = of_x.chunk(3), u.chunk(3)
        dr, dz, dn = d.chunk(3)
        r, z = torch.sigmoid(wr + ur @ seen_h + dr), torch.sigmoid(wz + uz @ seen_h + dz)
        return (z * h + (1 - z) * torch.tanh(wn + un @ (r * seen_h) + dn),)
    if name == "coupled_lstm":
        f, g, o = (of_x + of_h).chunk(3)
        f = torch.sigmoid(f)
        c = f * c + (1 - f) * torch.tanh(g)
        h = torch.sigmoid(o) * c.tanh()
        return (case["weight_hr"] @ h if "weight_hr" in case else h), c
    i, f, g, o = (of_x + of_h).chunk(4)
    seen = torch.zeros(3, len(i), dtype=x.dtype)
    if name == "peephole_lstm":
        seen = case["peephole"].view(3, -1)
    i, f = torch.sigmoid(i + seen[0] * c), torch.sigmoid(f + seen[1] * c)
    c = f * c + i * torch.tanh(g)
    o = torch.sigmoid(o + seen[2] * c)
    shown = c
    if name.startswith("layernorm"):
        shown = normal(c, case["gain_c"], case["bias_c"])
        c = shown if name.endswith("carried") else c
    h = o * shown.tanh()
    return (case["weight_hr"] @ h if "weight_hr" in case else h), c


def loop_by_hand(name, case, *, lengths, resets, reverse=False, zoneout=(), recurrent_mask=None):
    """Every row alone, every step by hand; a reset cuts the edge between its step and the one before."""
    x, cell = case["x"], CELLS[name]
    rows, finals = [], []
    for row in range(x.shape[1]):
        states, length = tuple(case[f"{each}_0"][row] for each in cell.states), int(lengths[row])
        seen: dict[int, Tensor] = {}
        for t in reversed(range(length)) if reverse else range(length):
            cut = (t + 1 < length and resets[t + 1, row]) if reverse else resets[t, row]
            states = tuple(torch.zeros_like(each) for each in states) if cut else states
            before, left = states, 1.0 if recurrent_mask is None else recurrent_mask[row]
            states = by_hand(name, x[t, row], states, case, left)
            if zoneout:  # of each unit the state before, or what is computed
                keeps = [k[t, row].to(x.dtype) if isinstance(k, Tensor) else k for k in zoneout]
                states = tuple(k * a + (1 - k) * b for k, a, b in zip(keeps, before, states, strict=True))
            seen[t] = states[0]
        zero = torch.zeros_like(case["h_0"][row])
        rows.append(torch.stack([seen.get(t, zero) for t in range(len(x))]))
        finals.append(states)
    return (torch.stack(rows, dim=1), *(torch.stack(each) for each in zip(*finals, strict=True)))


def gradients(outputs, case):
    generator = torch.Generator().manual_seed(7)
    loss = sum((o * torch.randn(o.shape, generator=generator, dtype=o.dtype)).sum() for o in outputs)
    found = torch.autograd.grad(loss, list(case.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(case, found, strict=True))


def backends(name):
    return (
        ["reference", "torch", pytest.param("native", marks=needs_kernels)]
        if name in PLAIN
        else ["reference"]
    )


PAIRS = [
    pytest.param(name, *getattr(backend, "values", (backend,)), marks=getattr(backend, "marks", ()))
    for name in VARIANTS
    for backend in backends(name)
]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("name", "backend"), PAIRS)
def test_a_variant_and_all_its_gradients_equal_a_loop_by_hand(name, backend, reverse):
    for proj_size, bias in [(0, True), (2 if CELLS[name].projects else 0, False)]:
        case = draw(name, proj_size=proj_size, bias=bias)
        got = run(name, case, backend=backend, reverse=reverse, **RAGGED)
        want = loop_by_hand(name, case, reverse=reverse, **RAGGED)
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-10)
        torch.testing.assert_close(gradients(got, case), gradients(want, case), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("ragged", [{}, {"lengths": torch.tensor([3, 2]), "resets": torch.eye(3)[:, 1:] > 0}])
@pytest.mark.parametrize(("name", "backend"), PAIRS)
def test_gradients_of_a_variant_equal_finite_differences(name, backend, ragged):
    case = draw(name, steps=3, rows=2, hidden=3)
    wrapped = lambda *leaves: run(name, dict(zip(case, leaves, strict=True)), backend=backend, **ragged)  # noqa: E731
    assert torch.autograd.gradcheck(wrapped, tuple(case.values()), fast_mode=bool(ragged))


@pytest.mark.parametrize("name", PLAIN)
def test_what_a_plain_cells_kernels_give_is_the_references_trajectory(name):
    case = draw(name)
    *_, want = run(name, case, backend="reference", trajectories=True, **RAGGED)
    *_, got = run(name, case, trajectories=True, **RAGGED)
    assert got._fields == want._fields
    torch.testing.assert_close(got, want)


def test_peepholes_of_zero_and_open_gains_are_an_lstm():
    case = draw("peephole_lstm")
    case["peephole"] = torch.zeros_like(case["peephole"])
    plain = {name: value for name, value in case.items() if name != "peephole"}
    torch.testing.assert_close(run("peephole_lstm", case, **RAGGED), run("lstm", plain, **RAGGED))


def masks(name, case, share=0.4, seed=3):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(len(case["x"]), *case[f"{each}_0"].shape) for each in CELLS[name].states]
    zoneout = tuple(torch.rand(shape, generator=generator) < share for shape in shapes)
    dropped = torch.rand(case["h_0"].shape, generator=generator) < share
    return {"zoneout": zoneout, "recurrent_mask": (~dropped).double() / (1 - share)}


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_zoneout_and_recurrent_dropout_equal_a_loop_by_hand(name, reverse):
    """A reset comes before zoneout, which then keeps zeros; what is dropped of h is what weight_hh sees."""
    case = draw(name)
    options = {**RAGGED, **masks(name, case), "reverse": reverse}
    if reverse:  # of the last state a share
        options["zoneout"] = (*options["zoneout"][:-1], 0.3)
    *got, trajectory = run(name, case, trajectories=True, **options)
    want = loop_by_hand(name, case, **options)
    torch.testing.assert_close(tuple(got), want, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(gradients(got, case), gradients(want, case), rtol=1e-8, atol=1e-9)
    last = (torch.arange(B), (torch.tensor([0] * B) if reverse else RAGGED["lengths"] - 1).clamp(min=0))
    for state, final in zip(CELLS[name].states, got[1:], strict=True):  # a trace is the state carried on
        values = getattr(trajectory, state)[last[1], last[0]]
        ran = RAGGED["lengths"] > 0
        torch.testing.assert_close(values[ran], final[ran])


@pytest.mark.parametrize("name", CELLS)
def test_a_share_of_zoneout_is_the_mean_over_masks_of_one_step(name):
    case = draw(name, steps=1)
    states = [case[f"{each}_0"] for each in CELLS[name].states]
    _, *plain = run(name, case)
    _, *found = run(name, case, zoneout=(0.3,) * len(states))
    want = [0.3 * old + 0.7 * new for old, new in zip(states, plain, strict=True)]
    torch.testing.assert_close(found, want)
    nothing = run(name, case, zoneout=(0.0,) * len(states))
    torch.testing.assert_close(nothing, run(name, case, backend="reference"), rtol=0, atol=0)


@pytest.mark.parametrize("name", CELLS)
def test_segments_that_are_run_again_give_the_same_outputs_and_gradients(name):
    case = draw(name)
    for reverse in (False, True):
        options = {**RAGGED, **masks(name, case), "reverse": reverse}
        want = run(name, case, **options)
        got = run(name, case, recompute=2, **options)
        torch.testing.assert_close(got, want)
        torch.testing.assert_close(gradients(got, case), gradients(want, case))


def call_of(name, case, **options):
    """Return the call of a case, with trajectories."""
    cell = CELLS[name]
    weights = (case.get(each) for each in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"))
    further = tuple(case[each] for each, *_ in cell.further)
    states = tuple(case[f"{each}_0"] for each in cell.states)
    options |= {"trajectories": True, "further": further, "nonlinearity": (cell.nonlinearities or ("",))[0]}
    return ops.Call(name, case["x"], states, *weights, **options)


@pytest.mark.parametrize("what", ["plain", "zoneout", "projection"])
@pytest.mark.parametrize("name", CELLS)
def test_the_step_jacobian_is_that_of_autograd(name, what):
    projects = what == "projection" and CELLS[name].projects
    if what == "projection" and not projects:
        pytest.skip("a cell without a projection")
    drawn = draw(name, proj_size=2 if projects else 0)
    case = {each: value.detach() for each, value in drawn.items()}
    resets = torch.zeros(T, B, dtype=torch.bool)
    resets[3, 1] = True
    shares = (0.3,) * len(CELLS[name].states) if what == "zoneout" else ()
    call = call_of(name, case, resets=resets, zoneout=shares)
    jacobian = ops.linearise(call, ops.execute(call).trajectory)
    generator = torch.Generator().manual_seed(2)
    given = tuple(torch.randn(each.shape, dtype=torch.float64, generator=generator) for each in call.states)
    for t in range(T):
        part = call._replace(x=call.x[:t], resets=resets[:t])
        before = [each.clone().requires_grad_() for each in (ops.execute(part).states if t else call.states)]
        x = call.x[t : t + 1].clone().requires_grad_()

        def step(*before, x=x, t=t):
            return ops.execute(call._replace(x=x, states=tuple(before), resets=resets[t : t + 1])).states

        *want, of_x = torch.autograd.grad(step(*before), [*before, x], given)
        _, got, da = jacobian.vjp(torch.tensor([t]), tuple(each[None] for each in given))
        torch.testing.assert_close([each[0] for each in got], list(want))
        torch.testing.assert_close(da[0] @ call.weight_ih, of_x[0])
        plain = tuple(each.detach() for each in before)
        _, pushed = torch.autograd.functional.jvp(step, plain, given)
        moved = jacobian.jvp(t, tuple(each[:, None] for each in given))
        torch.testing.assert_close([each[:, 0] for each in moved], list(pushed))


def test_gradients_by_lag_are_autograds_with_respect_to_every_state_of_a_stack():
    """Of losses at three steps, the first among them, of an LSTM that projects under a GRU."""
    resets = torch.zeros(T, B, dtype=torch.bool)
    resets[2, 1] = True
    lower = call_of("lstm", draw("lstm", proj_size=I), resets=resets)
    upper = call_of("gru", draw("gru", seed=1) | {"x": ops.execute(lower).y}, resets=resets)
    with torch.no_grad():
        jacobians = [ops.linearise(call, ops.execute(call).trajectory) for call in (lower, upper)]
    states, seen = [lower.states, upper.states], []
    for t in range(T):
        x = lower.x[t : t + 1]
        for level, call in enumerate((lower, upper)):
            here = call._replace(x=x, states=states[level], resets=resets[t : t + 1])
            states[level] = ops.execute(here, "reference").states
            x = states[level][0][None]
        seen.append([state for each in states for state in each])
    at, first = torch.tensor([0, 2, 4]), [0, 1, 1, 2, 2]
    seeds = torch.randn(3, B, H, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    lags = list(ops.gradients_by_lag(jacobians, seeds, at, T, inputs=True))
    assert [lag.first for lag in lags] == first
    for lag in lags:
        found = [*(state for each in lag.states for state in each), lag.x]
        for place, n in enumerate(range(lag.first, len(at))):
            loss, step = (seeds[n] * seen[at[n]][-1]).sum(), int(at[n]) - lag.k
            wanted = [*seen[step], lower.x]
            *want, of_x = torch.autograd.grad(
                loss, wanted, retain_graph=True, allow_unused=True, materialize_grads=True
            )
            torch.testing.assert_close([each[place] for each in found], [*want, of_x[step]])


@pytest.mark.parametrize("name", VARIANTS)
def test_explain_says_which_variant_has_kernels(name):
    case = draw(name)
    given, cell = dict(case), CELLS[name]
    state = tuple(given.pop(f"{each}_0") for each in cell.states)
    further = tuple(given.pop(each) for each, *_ in cell.further)
    why = ops.explain(name, given.pop("x"), state, **given, further=further)
    if name in PLAIN:
        assert why.backend in ("native", "torch")
        assert f"as an {cell.plain} whose weights are rewritten" in why.reason or why.backend == "torch"
    else:
        assert why.backend == "reference"
        assert "several times as slow as a kernel" in why.reason
        assert name in why.refused["native"]


def test_explain_says_that_no_kernel_changes_states_within_a_step():
    case = draw("indrnn")
    weights = {name: case[name] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    why = ops.explain("indrnn", case["x"], (case["h_0"],), **weights, zoneout=(0.1,))
    assert why.backend == "reference"
    assert (
        why.refused["native"]
        == why.refused["torch"]
        == ("zoneout changes the states at every step, which no kernel does")
    )
    with pytest.raises(BackendError, match="zoneout changes the states"):
        run("indrnn", case, zoneout=(0.1,), backend="torch")
    with pytest.raises(BackendError, match="recurrent dropout changes h"):
        run("indrnn", case, recurrent_mask=torch.ones_like(case["h_0"]), backend="torch")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"zoneout": (0.1,)},
            ConfigError,
            r"^zoneout: expected one value for each state \(h, c\), got 1 values$",
        ),
        ({"zoneout": (0.1, 2)}, ConfigError, r"^zoneout: expected a share from 0 to 1, or a mask, got 2$"),
        ({"zoneout": (0.1, torch.ones(T, B, H))}, DtypeError, r"^zoneout: expected bool masks, got float32$"),
        (
            {"zoneout": (0.1, torch.ones(T, B, 1) > 0)},
            ShapeError,
            r"^zoneout: expected \[5, 3, 6\], got \[5, 3, 1\]$",
        ),
        (
            {"recurrent_mask": torch.ones(B, 1)},
            ShapeError,
            r"^recurrent_mask: expected \[3, 6\], got \[3, 1\]$",
        ),
        ({"further": (torch.ones(1),)}, ConfigError, r"^further: expected none for the lstm, got 1 values$"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(options, error, message):
    case = draw("lstm")
    state = case.pop("h_0"), case.pop("c_0")
    with pytest.raises(error, match=message):
        ops.run("lstm", case.pop("x"), state, **case, **options)


def test_a_variants_own_weights_are_checked():
    case = draw("layernorm_lstm")
    with pytest.raises(ShapeError, match=r"^gain_c: expected \[6\], got \[5\]$"):
        run("layernorm_lstm", case | {"gain_c": case["gain_c"][:5]})
    state = case["h_0"], case["c_0"]
    with pytest.raises(
        ConfigError, match=r"^further: expected \(gain_ih, gain_hh, gain_c, bias_c\), the lay"
    ):
        ops.run("layernorm_lstm", case["x"], state, case["weight_ih"], case["weight_hh"])
    with pytest.raises(ShapeError, match=r"^weight_hh: expected \[H\], got \[6, 6\]$"):
        run("indrnn", draw("indrnn") | {"weight_hh": torch.zeros(6, 6, dtype=torch.float64)})
    with pytest.raises(
        ConfigError, match=r"^weight_hr: expected None, as the layernorm_gru has no projection"
    ):
        run("layernorm_gru", draw("layernorm_gru") | {"weight_hr": torch.zeros(2, 6, dtype=torch.float64)})


@pytest.mark.parametrize("name", CELLS)
def test_the_references_backward_pass_grows_with_the_steps_alone(name):
    """An index into x at each step would have a derivative as large as x at each step."""
    case = draw(name)
    y, *_ = run(name, case, backend="reference")
    seen, open_ones = set(), [y.grad_fn]
    while open_ones:
        node = open_ones.pop()
        if node is not None and node not in seen:
            seen.add(node)
            open_ones += [after for after, _ in node.next_functions]
    names = [node.name() for node in seen]
    assert "UnbindBackward0" in names
    assert "SelectBackward0" not in names
