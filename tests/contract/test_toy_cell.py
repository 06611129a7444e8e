"""A cell that is registered in this one file goes through every room: none lists gates or compares names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import linear

from unrolled import nn, ops, probe, spec, train
from unrolled.errors import BackendError, ConfigError

T, B, I, H = 7, 3, 4, 5  # noqa: E741  # the axes' names in the design

CELL = spec.Cell(
    name="mgu",
    gates=("k", "n"),
    sigmoid=("k",),
    states=("h",),
    traces=("k", "n"),
    keep="k",
    candidate="n",
    stuck=(("k", "open"),),
    titles={"k": "keep gate k", "n": "candidate n", "h": "hidden state h"},
)


def reference(call: ops.Call) -> ops.Result:
    """Run a minimal gated unit (Zhou et al. 2016), k = 1 − their f, reset after the matmul."""

    def project(x: Tensor) -> Tensor:  # [T, B, I] → [T, B, 2H]
        return linear(x, call.weight_ih, call.bias_ih)

    def step(x: Tensor, states: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        (h,) = states
        xk, xn = x.chunk(2, dim=-1)
        hk, hn = linear(h, call.weight_hh, call.bias_hh).chunk(2, dim=-1)
        k = (xk + hk).sigmoid()
        n = (xn + (1 - k) * hn).tanh()
        return (k * h + (1 - k) * n,), (k, n)

    return ops.scan(call, project, step)


class Jacobian(ops.StepJacobian):
    """The step Jacobian; its factors are k, ∂h/∂a of n, h W_hn, h − n and k (1 − k)."""

    @staticmethod
    def factors_of(call, trajectory, before, /):
        k, n, _ = trajectory
        h = before("h")
        hn = linear(h, call.weight_hh, call.bias_hh).chunk(2, dim=-1)[1]
        return k, (1 - k) * (1 - n * n), hn, h - n, k * (1 - k)

    def vjp(self, at, gradients):
        k, of_n, hn, gap, of_k = self.at(at)
        (dh,) = gradients
        an = dh * of_n
        ak = (dh * gap - an * hn) * of_k
        before = dh * k + torch.cat((ak, an * (1 - k)), dim=-1) @ self.weight_hh
        return gradients, self.edge(at, (before,)), torch.cat((ak, an), dim=-1)

    def jvp(self, step, tangents):
        k, of_n, hn, gap, of_k = self.during(step)
        (h,) = self.edge(step, tangents)
        ak, an = (h @ self.weight_hh.T).chunk(2, dim=-1)
        dk = ak * of_k
        return (k * h + gap * dk + of_n * ((1 - k) * an - hn * dk),)


@pytest.fixture(autouse=True)
def mgu() -> Iterator[None]:
    ops.register(ops.Op(CELL, reference, jacobian=Jacobian))
    yield
    ops.unregister("mgu")
    assert "mgu" not in spec.CELLS


def arguments(dtype: torch.dtype = torch.float64) -> tuple[Tensor, tuple[Tensor, ...], *tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        values = torch.randn(*shape, generator=generator, dtype=torch.float64) / 2
        return values.to(dtype).requires_grad_()

    return (
        draw(T, B, I),
        (draw(B, H),),
        draw(2 * H, I),
        draw(2 * H, H),
        draw(2 * H),
        draw(2 * H),
    )


RAGGED = {"lengths": torch.tensor([7, 0, 4]), "resets": torch.rand(T, B, generator=torch.Generator()) < 0.3}


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("ragged", [{}, RAGGED], ids=["full", "ragged"])
def test_the_op_passes_gradcheck_and_keeps_the_laws(ragged, reverse):
    x, (h_0,), *weights = arguments()
    flat = (x, h_0, *weights)

    def y_and_state(x, h_0, *weights):
        y, (h_n,), _ = ops.run("mgu", x, (h_0,), *weights, reverse=reverse, **ragged)
        return y, h_n

    assert torch.autograd.gradcheck(y_and_state, flat)
    if not ragged and not reverse:
        first, middle, _ = ops.run("mgu", x[:3], (h_0,), *weights)
        second, last, _ = ops.run("mgu", x[3:], middle, *weights)
        y, h_n = y_and_state(*flat)
        torch.testing.assert_close(torch.cat((first, second)), y)
        torch.testing.assert_close(last[0], h_n)


def test_auto_takes_the_reference_and_says_why_no_other():
    x, state, *weights = arguments()
    why = ops.explain("mgu", x, state, *weights)
    assert why.backend == "reference"
    assert why.refused["native"].startswith(("it has no kernels for the mgu", "no "))
    assert why.refused["torch"] == "it has no kernel for the mgu"
    for backend in ("native", "torch"):
        with pytest.raises(BackendError, match="backend: expected one that can run this call"):
            ops.run("mgu", x, state, *weights, backend=backend)
    with pytest.raises(ConfigError, match=r"^weight_hr: expected None, as the mgu has no projection"):
        ops.run("mgu", x, state, *weights, torch.zeros(2, H, dtype=torch.float64))


def test_the_step_jacobian_is_that_of_autograd():
    x, state, *weights = arguments()
    resets = torch.zeros(T, B, dtype=torch.bool)
    resets[4, 1] = True
    call = ops.Call("mgu", x.detach(), tuple(s.detach() for s in state), *(w.detach() for w in weights))
    call = call._replace(trajectories=True, resets=resets)
    jacobian = ops.linearise(call, ops.execute(call).trajectory)
    given = torch.randn(B, H, dtype=torch.float64)
    for t in range(T):
        before = call.states if t == 0 else ops.execute(call._replace(x=call.x[:t], resets=resets[:t])).states

        def step(h, t=t):
            return ops.execute(
                call._replace(x=call.x[t : t + 1], states=(h,), resets=resets[t : t + 1])
            ).states[0]

        (want,) = torch.autograd.grad(step(h := before[0].requires_grad_()), h, given)
        _, (got,), _ = jacobian.vjp(torch.tensor([t]), (given[None],))
        torch.testing.assert_close(got[0], want)
        _, pushed = torch.autograd.functional.jvp(step, before[0].detach(), given)
        torch.testing.assert_close(jacobian.jvp(t, (given[:, None],))[0][:, 0], pushed)


def test_a_layer_is_built_run_saved_and_recorded():
    layer = nn.layer("mgu", I, H, 2, bidirectional=True, batch_first=True, dtype=torch.float64)
    assert repr(layer) == "Recurrent('MGU', 4, 5, num_layers=2, batch_first=True, bidirectional=True)"
    shapes = {name: tuple(weight.shape) for name, weight in layer.state_dict().items()}
    assert shapes["weight_ih_l0"] == (2 * H, I)
    assert shapes["weight_hh_l1_reverse"] == (2 * H, H)
    assert shapes["bias_hh_l0"] == (2 * H,)
    twin = nn.layer("mgu", I, H, 2, bidirectional=True, batch_first=True, dtype=torch.float64)
    twin.load_state_dict(layer.state_dict())
    x = torch.randn(B, T, I, dtype=torch.float64)
    ragged = {"lengths": [7, 0, 4], "resets": RAGGED["resets"].T}
    y, h_n, traces = layer.trajectories(x, **ragged)
    torch.testing.assert_close(twin(x, **ragged), (y, h_n))
    assert [each._fields for each in traces] == [("k", "n", "h")] * 4
    assert not y[1].any()
    alone, _ = layer(x[2:, :4], resets=ragged["resets"][2:, :4])
    torch.testing.assert_close(y[2:, :4], alone)
    assert all(why.backend == "reference" for why in nn.explain(layer, x).calls.values())


def test_it_starts_by_its_gate_that_keeps():
    layer = nn.layer("mgu", I, H)
    nn.init_recurrent(layer, chrono_steps=20, generator=torch.Generator().manual_seed(0))
    keep, candidate = layer.bias_ih_l0.detach().split(H)
    assert bool((keep > 0).all())
    assert not candidate.any()
    with pytest.raises(ConfigError, match=r"^forget_bias: expected a cell that has one \(lstm\)"):
        nn.init_recurrent(layer, forget_bias=2.0)


def test_accelerate_leaves_what_has_no_twin_and_to_torch_refuses():
    class TorchsWay(torch.nn.RNNBase):
        pass

    model = torch.nn.ModuleDict({"a": nn.layer("mgu", I, H), "b": TorchsWay("GRU", H, H)})
    with pytest.warns(
        UserWarning, match=r"accelerate left 1 recurrent layer: b \(unrolled.nn has none like it"
    ):
        nn.accelerate(model)
    assert nn.acceleration_report(model).replaced == {"a": "Recurrent"}
    with pytest.raises(ConfigError, match=r"^module: expected layers that torch.nn has, got a \(.* MGU\)$"):
        nn.to_torch(model)


def test_it_is_measured_found_fault_with_and_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    layer = nn.layer("mgu", I, H, dtype=torch.float64)
    with torch.no_grad():
        layer.bias_ih_l0[:H] = -3.0  # gates that keep nothing
    x = torch.randn(40, B, I, dtype=torch.float64)
    report = probe.report(layer, x, lags=8, title="a toy")
    assert report.gates is not None
    assert report.gradient_flow is not None
    (seen,) = report.gates.layers
    assert (seen.cell, list(seen.gates), seen.spectrum) == ("MGU", ["k"], None)
    assert [flow.state for flow in report.gradient_flow.flows] == ["h"]
    (forgets,) = [finding for finding in report.findings if finding.name == "forgets"]
    assert forgets.python == "unrolled.nn.init_recurrent(layer, chrono_steps=8)"
    by_nodes = probe.gradient_flow(layer, x, lags=8, loss=lambda y: y.cumsum(0).sum(-1))
    assert by_nodes.flows[0].state == "h"
    report.plot(tmp_path / "report.html")
    words = (tmp_path / "report.html").read_text()
    assert "the keep gate k has the mean" in words
    assert "Keep gate k, mean" in words


def test_it_trains_and_its_run_is_measured_and_drawn(tmp_path: Path):
    result = train.run(
        spec.TrainConfig(
            spec.DataConfig("sentences"),
            run=str(tmp_path / "run"),
            cell="mgu",
            hidden_size=16,
            chrono_steps=8,
            steps=6,
            telemetry_every=3,
        )
    )
    model = result.model
    assert model.config.cell == "mgu"
    assert (tmp_path / "run" / "gates.png").stat().st_size > 10_000
    assert (tmp_path / "run" / "telemetry.png").exists()
    ids = torch.randint(model.config.vocab_size, (30, 4), generator=torch.Generator().manual_seed(0))
    flow = probe.gradient_flow(model, ids, lags=8, steps=4)
    assert [(each.layer, each.state) for each in flow.flows] == [("recurrent.l0", "h")]
    assert list(probe.gates(model, ids).layers[0].gates) == ["k"]
    found = probe.examine(result.run)
    assert found.gates is not None
