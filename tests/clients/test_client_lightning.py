"""Lightning with our callback, beside Lightning alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from client_cases import QUIETLY, client

from unrolled import adapters, nn
from unrolled.errors import ConfigError

lightning = client("pytorch_lightning")
pytestmark = QUIETLY


class Forecaster(lightning.LightningModule):
    def __init__(self, kind: str = "GRU", ragged: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.memory = getattr(torch.nn, kind)(2, 6, num_layers=2, bidirectional=True)
        self.head = torch.nn.Linear(12, 1)
        self.ragged = ragged

    def forward(self, x):
        given = {"lengths": torch.arange(1, len(x) + 1)} if self.ragged else {}
        return self.head(self.memory(x.transpose(0, 1), **given)[0][0])

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = torch.nn.functional.mse_loss(self(x), y)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 0.01)


def data() -> Any:
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(16, 5, 2, generator=generator), torch.randn(16, 1, generator=generator)
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=4)


def fitted(module: Any, place: Any, *callbacks: Any) -> Any:
    trainer = lightning.Trainer(
        max_epochs=2, callbacks=list(callbacks), default_root_dir=place, logger=False, accelerator="cpu",
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, data())
    return trainer


def test_a_training_gives_what_it_gives_without_us_and_its_checkpoint_needs_nothing_of_ours(tmp_path):
    plain, ours = Forecaster(), Forecaster()
    fitted(plain, tmp_path / "plain")
    trainer = fitted(ours, tmp_path / "ours", adapters.lightning_callback())
    assert type(ours.memory) is nn.GRU
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, atol=1e-4, rtol=1e-3)
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    again = Forecaster.load_from_checkpoint(tmp_path / "model.ckpt", weights_only=False)
    assert type(again.memory) is torch.nn.GRU
    x = torch.randn(3, 5, 2)
    torch.testing.assert_close(again(x), ours(x))


def test_a_log_leaves_the_training_as_it_is(tmp_path):
    found = []
    for gates_every in (0, 1):
        module = Forecaster()
        module.memory.dropout = 0.5
        fitted(module, tmp_path, adapters.lightning_callback(gates_every=gates_every))
        found.append(module.state_dict())
    for name, value in found[0].items():
        assert torch.equal(found[1][name], value), name


@pytest.mark.parametrize(("kind", "gates"), [("GRU", "rz"), ("LSTM", "ifo"), ("RNN", "h")])
def test_it_logs_the_share_of_closed_and_open_gates(kind, gates, tmp_path):
    module = Forecaster(kind)
    trainer = fitted(module, tmp_path, adapters.lightning_callback(gates_every=3))
    found = {name: float(value) for name, value in trainer.callback_metrics.items() if name != "loss"}
    layers = ("l0", "l0_reverse", "l1", "l1_reverse")
    names = {
        f"gates/memory.{each} {gate} {what}"
        for each in layers
        for gate in gates
        for what in ("closed", "open")
    }
    assert found.keys() == names
    assert all(0 <= value <= 1 for value in found.values())


def test_padding_counts_for_nothing_in_the_gates(tmp_path):
    module = Forecaster("LSTM", ragged=True)
    with torch.no_grad():
        for name, weight in module.memory.named_parameters():
            weight.fill_(10.0 if "bias" in name else 0.0)
    module.configure_optimizers = lambda: torch.optim.SGD(module.parameters(), 0.0)
    trainer = fitted(module, tmp_path, adapters.lightning_callback(gates_every=1))
    shares = {name: float(value) for name, value in trainer.callback_metrics.items() if name != "loss"}
    assert all(value == name.endswith("open") for name, value in shares.items())


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_shares_are_those_of_a_run_from_the_state_that_is_given(kind):
    """Counted by hand among the values of the first eight rows; of an RNN those of h below −0.9 and above 0.9."""
    from unrolled.adapters.lightning import shares

    torch.manual_seed(0)
    layer = getattr(nn, kind)(2, 6, num_layers=2)
    nn.init_recurrent(layer, gain=4.0)
    with torch.no_grad():
        layer.weight_ih_l0.mul_(4)
    x, lengths, resets = 2 * torch.randn(7, 10, 2), [7, 1, 4, 6, 7, 3, 2, 5, 7, 7], torch.rand(7, 10) < 0.2
    states = (torch.randn(2, 10, 6), 3 * torch.randn(2, 10, 6))
    hx = states if kind == "LSTM" else states[0]
    found = {name: float(value) for name, value in shares(layer, x, hx, lengths=lengths, resets=resets)}
    *_, traces = layer.trajectories(x, hx, lengths=lengths, resets=resets)
    for level, trace in enumerate(traces):
        for gate in {"LSTM": "ifo", "GRU": "rz", "RNN": "h"}[kind]:
            values = getattr(trace, gate)
            numbers = [n for row in range(8) for n in values[: lengths[row], row].flatten().tolist()]
            for what in ("closed", "open"):
                low = 0.1 if kind != "RNN" else -0.9
                count = sum(n < low if what == "closed" else n > 0.9 for n in numbers)
                assert found[f"l{level} {gate} {what}"] == pytest.approx(count / len(numbers), abs=1e-6)
                assert 0 < count < len(numbers)


def test_another_number_of_steps_is_refused_in_one_line():
    for wrong in (-1, 0.5, True):
        with pytest.raises(ConfigError, match=r"^gates_every: expected a number of steps, 0 for none, got "):
            adapters.lightning_callback(gates_every=wrong)
