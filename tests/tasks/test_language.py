"""The language model: its tensors, its loss, its starting values, its protocol."""

from __future__ import annotations

import math

import pytest
import torch

from unrolled import tasks
from unrolled.data import Batch
from unrolled.errors import ShapeError
from unrolled.spec import ModelConfig, tensors
from unrolled.tasks import LanguageModel, detach

CELLS = ("lstm", "gru", "rnn")


def config(cell: str = "lstm", **changes: object) -> ModelConfig:
    sizes = {"vocab_size": 11, "embedding_size": 6, "hidden_size": 8, "num_layers": 2, "cell": cell}
    return ModelConfig(**{**sizes, **changes})  # type: ignore[arg-type]


def random_batch(steps: int = 7, rows: int = 3, **parts: torch.Tensor) -> Batch:
    ids = torch.randint(11, (steps + 1, rows), generator=torch.Generator().manual_seed(0))
    return Batch(ids[:-1], ids[1:], **parts)


def parts_of(state: object) -> tuple[torch.Tensor, ...]:
    return state if isinstance(state, tuple) else (state,)  # type: ignore[return-value]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("tied", [False, True])
def test_the_parameters_are_those_that_spec_lists(cell: str, tied: bool):
    model = LanguageModel(config(cell, embedding_size=8, tie_weights=tied))
    named = {n: ("float32", tuple(p.shape)) for n, p in model.named_parameters()}
    assert named == tensors(model.config)


@pytest.mark.parametrize("cell", CELLS)
def test_the_loss_is_the_summed_cross_entropy_of_the_logits(cell: str):
    model, batch = LanguageModel(config(cell)).eval(), random_batch()
    nats, count, _ = model.loss(batch, model.initial_state(3))
    logits, _ = model(batch.inputs)
    chosen = logits.log_softmax(-1).gather(-1, batch.targets.unsqueeze(-1))
    torch.testing.assert_close(nats, -chosen.sum())
    assert count == 21


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("tied", [False, True])
def test_symbols_give_the_loss_of_their_embeddings(cell: str, tied: bool, monkeypatch: pytest.MonkeyPatch):
    model = LanguageModel(config(cell, embedding_size=8, tie_weights=tied))
    batch = random_batch(10, lengths=torch.tensor([10, 4, 2]))
    found = []
    for way in (LanguageModel._embedded, lambda self, ids: self.embedding(ids)):
        monkeypatch.setattr(LanguageModel, "_embedded", way)
        model.zero_grad()
        nats, _, state = model.loss(batch, model.initial_state(3))
        nats.backward()
        found.append((nats.detach(), *parts_of(state), [p.grad.clone() for p in model.parameters()]))
    torch.testing.assert_close(found[0][:-1], found[1][:-1], rtol=0, atol=0)
    torch.testing.assert_close(found[0][-1], found[1][-1])


@pytest.mark.parametrize("cell", CELLS)
def test_padding_never_reaches_the_loss_or_the_gradient(cell: str):
    model = LanguageModel(config(cell)).eval()
    lengths = torch.tensor([7, 4, 2])
    batch = random_batch(lengths=lengths)
    nats, count, _ = model.loss(batch, model.initial_state(3))
    assert count == 13
    one_by_one = 0.0
    for row, length in enumerate(lengths.tolist()):
        alone = Batch(batch.inputs[:length, row : row + 1], batch.targets[:length, row : row + 1])
        one_by_one += float(model.loss(alone, model.initial_state(1))[0].detach())
    assert float(nats.detach()) == pytest.approx(one_by_one, rel=1e-5)

    nats.backward()
    before = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    batch.inputs[5:, 1:] = 0
    batch.targets[5:, 1:] = 0
    model.zero_grad()
    model.loss(batch, model.initial_state(3))[0].backward()
    for old, p in zip(before, model.parameters(), strict=True):
        torch.testing.assert_close(p.grad, old)


@pytest.mark.parametrize("cell", CELLS)
def test_two_windows_with_the_state_carried_equal_one_long_window(cell: str):
    model, batch = LanguageModel(config(cell)).eval(), random_batch(10)
    whole, _, end = model.loss(batch, model.initial_state(3))
    first, _, middle = model.loss(Batch(batch.inputs[:4], batch.targets[:4]), model.initial_state(3))
    second, _, after = model.loss(Batch(batch.inputs[4:], batch.targets[4:]), detach(middle))
    torch.testing.assert_close(first + second, whole)
    for a, b in zip(parts_of(end), parts_of(after), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("cell", CELLS)
def test_a_step_gives_the_logits_of_the_whole_run(cell: str):
    model, batch = LanguageModel(config(cell)).eval(), random_batch(5)
    logits, _ = model(batch.inputs)
    state = model.initial_state(3)
    for t in range(5):
        scores, state = model.step(batch.inputs[t], state)
        torch.testing.assert_close(scores, logits[t])


def test_a_reset_forgets_what_came_before():
    model, batch = LanguageModel(config()).eval(), random_batch(6, 1)
    resets = torch.zeros(6, 1, dtype=torch.bool)
    resets[3] = True
    whole = model.loss(Batch(batch.inputs, batch.targets, resets=resets), model.initial_state(1))[0]
    parts = [
        model.loss(Batch(batch.inputs[s], batch.targets[s]), model.initial_state(1))[0]
        for s in (slice(0, 3), slice(3, 6))
    ]
    torch.testing.assert_close(whole, parts[0] + parts[1])


def test_evaluation_needs_no_gradient_and_gives_the_mode_back():
    model, batch = LanguageModel(config(dropout=0.5)), random_batch()
    first = model.evaluate([batch], carry=True)
    assert first == model.evaluate([batch], carry=True), "dropout must be off"
    assert model.training
    assert all(p.grad is None for p in model.parameters())


def test_inputs_of_one_axis_are_refused_in_one_line():
    with pytest.raises(ShapeError, match=r"^inputs: expected \[T, B\], got \[4\]$"):
        LanguageModel(config())(torch.zeros(4, dtype=torch.int64))


def test_the_seed_decides_the_weights():
    same = [LanguageModel(config(), seed=s).readout.weight for s in (3, 3, 4)]
    assert torch.equal(same[0], same[1])
    assert not torch.equal(same[0], same[2])


@pytest.mark.parametrize("cell", CELLS)
def test_recurrent_weights_start_orthogonal_gate_by_gate(cell: str):
    model = LanguageModel(config(cell))
    for layer in range(2):
        for gate in getattr(model.recurrent, f"weight_hh_l{layer}").split(8):
            torch.testing.assert_close(gate @ gate.T, torch.eye(8), atol=1e-5, rtol=0)


def test_a_relu_network_starts_at_the_identity():
    model = LanguageModel(config("rnn", nonlinearity="relu"))
    assert torch.equal(model.recurrent.weight_hh_l1, torch.eye(8))


def test_the_forget_bias_of_an_lstm_is_one_and_every_other_bias_zero():
    model = LanguageModel(config())
    total = model.recurrent.bias_ih_l0 + model.recurrent.bias_hh_l0
    expected = torch.zeros(32)
    expected[8:16] = 1
    assert torch.equal(total, expected)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_chrono_starts_the_gates_for_lags_up_to_the_one_asked_for(cell: str):
    steps = 50
    model = LanguageModel(config(cell, hidden_size=400, chrono_steps=steps))
    bias = (model.recurrent.bias_ih_l0 + model.recurrent.bias_hh_l0).split(400)
    keep = bias[1].detach()
    # a gate of bias b forgets over 1 + e^b steps: uniform between 2 and the lag
    lags = 1 + keep.exp()
    assert float(lags.min()) >= 2
    assert float(lags.max()) <= steps
    assert float(lags.mean()) == pytest.approx(1 + steps / 2, rel=0.1)
    if cell == "lstm":
        assert torch.equal(bias[0], -keep)


def test_an_untrained_model_is_close_to_a_uniform_guess():
    model, batch = LanguageModel(config()), random_batch(20)
    nats, count = model.evaluate([batch], carry=True)
    assert nats / count == pytest.approx(math.log(11), abs=0.1)


def test_tied_weights_are_one_tensor():
    model = LanguageModel(config(embedding_size=8, tie_weights=True))
    assert model.readout.weight is model.embedding.weight


@pytest.mark.parametrize(("tied", "reach"), [(False, 1.0), (True, 0.1)])
def test_training_starts_with_embeddings_of_the_size_of_what_a_layer_gives(tied: bool, reach: float):
    task = tasks.named("language")
    sizes = config(embedding_size=8, tie_weights=tied)
    weight = task.network(sizes, seed=3, backend="auto").embedding.weight
    assert 0.8 * reach < weight.abs().max() <= reach
    torch.testing.assert_close(LanguageModel(sizes, seed=3).embedding.weight * (10 * reach), weight)
