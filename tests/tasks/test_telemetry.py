"""What a model measures of itself in the middle of training."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from unrolled.data import Batch
from unrolled.spec import ModelConfig
from unrolled.tasks import LanguageModel
from unrolled.tasks.telemetry import ROWS

CELLS = {"lstm": nn.LSTMCell, "gru": nn.GRUCell, "rnn": nn.RNNCell}
STEPS, LAYERS = 12, 2


def model_of(cell: str, **changes: object) -> LanguageModel:
    sizes = {"vocab_size": 11, "embedding_size": 6, "hidden_size": 8, "num_layers": LAYERS, "cell": cell}
    return LanguageModel(ModelConfig(**{**sizes, **changes}), seed=3).double()  # type: ignore[arg-type]


def batch_of(rows: int = 3, **parts: Tensor) -> Batch:
    ids = torch.randint(11, (STEPS + 1, rows), generator=torch.Generator().manual_seed(0))
    return Batch(ids[:-1], ids[1:], **parts)


def state_of(model: LanguageModel, rows: int = 3) -> object:
    generator = torch.Generator().manual_seed(1)
    zero = model.initial_state(rows)
    parts = zero if isinstance(zero, tuple) else (zero,)
    drawn = tuple(torch.rand(p.shape, generator=generator, dtype=p.dtype) for p in parts)
    return drawn if len(drawn) > 1 else drawn[0]


def by_autograd(model: LanguageModel, batch: Batch, state: object) -> dict[str, list[float]]:
    """The mean norms by lag, from torch's own cells run step by step."""
    cells = []
    for level in range(LAYERS):
        size = model.config.embedding_size if level == 0 else model.config.hidden_size
        cell = CELLS[model.config.cell](size, model.config.hidden_size, dtype=torch.float64)
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(cell, kind).data.copy_(getattr(model.recurrent, f"{kind}_l{level}"))
        cells.append(cell)
    parts = state if isinstance(state, tuple) else (state,)
    states = [tuple(part[level] for part in parts) for level in range(LAYERS)]
    nodes: dict[str, list[Tensor]] = {}
    for t in range(STEPS):
        x = model.embedding(batch.inputs[t])
        for level, cell in enumerate(cells):
            after = cell(x, states[level] if len(parts) > 1 else states[level][0])
            states[level] = after if isinstance(after, tuple) else (after,)
            x = states[level][0]
            for name, node in zip("hc", states[level], strict=False):
                nodes.setdefault(f"recurrent.l{level} {name}", []).append(node)
    loss = nn.functional.cross_entropy(model.readout(x), batch.targets[-1], reduction="sum")
    found = {}
    for name, each in nodes.items():
        back = torch.autograd.grad(loss, each, retain_graph=True)
        found[name] = [float(g.norm(dim=-1).mean()) for g in reversed(back)]
    return found


@pytest.mark.parametrize("cell", CELLS)
def test_the_norms_are_those_of_autograd_through_torchs_own_cells(cell: str):
    model, batch = model_of(cell), batch_of()
    state = state_of(model)
    found = model.telemetry(batch, state)
    assert found.lags == (0, 1, 2, 4, 8)
    want = by_autograd(model, batch, state)
    assert found.grad_norm.keys() == want.keys()
    for name, norms in found.grad_norm.items():
        torch.testing.assert_close(list(norms), [want[name][lag] for lag in found.lags])


def test_a_reset_ends_the_gradient_of_its_row():
    model = model_of("lstm")
    resets = torch.zeros(STEPS, 3, dtype=torch.bool)
    resets[-2] = True  # every row: between lag 1 and lag 2
    norms = model.telemetry(batch_of(resets=resets), model.initial_state(3)).grad_norm["recurrent.l0 c"]
    assert norms[1] > 0
    assert norms[2:] == (0.0, 0.0, 0.0)


def test_the_loss_is_that_of_the_last_step_that_every_row_reaches():
    model, lengths = model_of("gru"), torch.tensor([12, 7, 9])
    whole = batch_of()
    cut = Batch(whole.inputs[:7], whole.targets[:7])
    state = model.initial_state(3)
    assert model.telemetry(batch_of(lengths=lengths), state) == model.telemetry(cut, state)


def test_a_few_rows_are_enough_whatever_the_batch():
    model, many = model_of("lstm"), batch_of(rows=ROWS + 4)
    few = Batch(many.inputs[:, :ROWS], many.targets[:, :ROWS])
    ours = model.telemetry(many, model.initial_state(ROWS + 4))
    assert ours == model.telemetry(few, model.initial_state(ROWS))


def test_the_longest_rows_are_taken():
    model, many = model_of("lstm"), batch_of(rows=ROWS + 2)
    lengths = torch.full((ROWS + 2,), STEPS)
    lengths[0], lengths[3] = 1, 2
    ragged = Batch(many.inputs, many.targets, lengths)
    kept = [row for row in range(ROWS + 2) if row not in (0, 3)]
    few = Batch(many.inputs[:, kept], many.targets[:, kept])
    assert model.telemetry(ragged, model.initial_state(ROWS + 2)) == model.telemetry(
        few, model.initial_state(ROWS)
    )


def test_the_shares_of_gates_are_those_of_the_trajectories():
    model, batch = model_of("lstm"), batch_of(rows=1)
    with torch.no_grad():
        model.recurrent.weight_ih_l0.mul_(20)  # gates that saturate
    found = model.telemetry(batch, model.initial_state(1))
    seen = model.trajectories(batch.inputs[:, 0])[0]
    assert found.closed["recurrent.l0 f"] == pytest.approx(float((seen.f < 0.1).double().mean()))
    assert found.open["recurrent.l0 i"] == pytest.approx(float((seen.i > 0.9).double().mean()))
    assert 0 < found.open["recurrent.l0 i"] < 1


def test_a_plain_rnn_has_no_gates_and_its_states_are_counted():
    model, batch = model_of("rnn"), batch_of(rows=1)
    with torch.no_grad():
        model.recurrent.weight_ih_l0.mul_(20)
    found = model.telemetry(batch, model.initial_state(1))
    h = model.trajectories(batch.inputs[:, 0])[0].h
    assert found.closed["recurrent.l0 h"] == pytest.approx(float((h < -0.9).double().mean()))
    assert found.open["recurrent.l0 h"] == pytest.approx(float((h > 0.9).double().mean()))


def test_nothing_is_touched():
    model, batch = model_of("lstm", dropout=0.5).train(), batch_of()
    model.embedding.eval()
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    model.telemetry(batch, model.initial_state(3))
    assert model.training
    assert model.recurrent.training
    assert not model.embedding.training
    assert torch.equal(torch.get_rng_state(), random)
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_batch_of_empty_rows_has_nothing_to_say():
    model = model_of("lstm")
    found = model.telemetry(batch_of(lengths=torch.tensor([0, 3, 5])), model.initial_state(3))
    assert found.lags == ()
    assert found.grad_norm == {}
