"""Layers of every variant, and what every layer may do beside torch's: zoneout, dropout over time, reverse."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn.functional import dropout
from torch.nn.utils.rnn import pack_padded_sequence

from unrolled import kernels, nn, ops, stream
from unrolled.errors import ConfigError
from unrolled.nn.options import options_of
from unrolled.spec import CELLS

T, B, I, H = 6, 4, 3, 5  # noqa: E741  # the axes' names in the design
VARIANTS = [name for name, cell in CELLS.items() if cell.variant_of]
LENGTHS = torch.tensor([6, 2, 0, 5])
RAGGED = {"lengths": LENGTHS, "resets": torch.rand(T, B, generator=torch.Generator()) < 0.3}
needs_kernels = pytest.mark.skipif(not kernels.available(), reason=str(kernels.why_not()))


def build(name, *sizes, seed=0, **options):
    """Build a layer in float64 whose weights are all drawn: gains and peepholes too."""
    layer = nn.layer(name, I, H, *sizes, dtype=torch.float64, **options)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator, dtype=torch.float64) * 0.5)
    return layer


def inputs(seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(T, B, I, generator=generator, dtype=torch.float64)


def op(layer, x, suffix="l0", **options):
    """Run one layer and direction by its op, from zeros."""
    cell = layer.cell
    weights = {name: getattr(layer, f"{name}_{suffix}") for name in cell.weights(I, H, bias=layer.bias)}
    further = tuple(weights.pop(name) for name, *_ in cell.further)
    state = tuple(x.new_zeros(x.shape[1], H) for _ in cell.states)
    return ops.run(cell.name, x, state, **weights, further=further, **options)


def flat(state):
    return list(state) if isinstance(state, tuple) else [state]


def states_of(outputs):
    return [each.states for each in outputs]


@pytest.mark.parametrize("name", VARIANTS)
def test_a_layer_of_a_variant_is_its_op_in_each_direction_and_each_form(name):
    layer, x = build(name, bidirectional=True), inputs()
    y, state = layer(x, **RAGGED)
    ways = [op(layer, x, suffix, reverse="reverse" in suffix, **RAGGED) for suffix in ("l0", "l0_reverse")]
    torch.testing.assert_close(y, torch.cat([way.y for way in ways], dim=-1))
    torch.testing.assert_close(
        flat(state), [torch.stack(each) for each in zip(*states_of(ways), strict=True)]
    )
    rows_first = copy.deepcopy(layer)
    rows_first.batch_first = True
    again, _ = rows_first(x.transpose(0, 1), lengths=LENGTHS, resets=RAGGED["resets"].T)
    torch.testing.assert_close(again.transpose(0, 1), y)
    sorted_lengths, order = LENGTHS.clamp(min=1).sort(descending=True)
    packed, _ = layer(pack_padded_sequence(x[:, order], sorted_lengths))
    padded, _ = layer(x[:, order], lengths=sorted_lengths)
    torch.testing.assert_close(packed.data[: len(order)], padded[0])
    alone, _ = layer(x[:, 0])
    torch.testing.assert_close(alone, layer(x[:, :1])[0][:, 0])


@pytest.mark.parametrize("name", VARIANTS)
def test_a_layer_of_a_variant_is_saved_copied_and_shown(name):
    layer, x = build(name, 2), inputs()
    y, _ = layer(x)
    twin = nn.layer(name, I, H, 2, dtype=torch.float64)
    twin.load_state_dict(layer.state_dict())
    for other in (twin, copy.deepcopy(layer)):
        torch.testing.assert_close(other(x)[0], y, rtol=0, atol=0)
        assert type(other) is type(layer)
        assert repr(other) == repr(layer)
    shapes = {each: tuple(weight.shape) for each, weight in layer.state_dict().items()}
    first = layer.cell.weights(I, H)
    assert list(shapes)[: len(first)] == [f"{each}_l0" for each in first]
    assert shapes == {
        f"{each}_l{level}": shape
        for level in (0, 1)
        for each, shape in layer.cell.weights(I if level == 0 else H, H).items()
    }
    assert not hasattr(nn.layer(name, I, H, bias=False), "bias_ih_l0")
    with pytest.raises(ConfigError, match=r"layers that torch\.nn has"):
        nn.to_torch(layer)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_starts_from_its_spec_and_from_init_recurrent(name):
    torch.manual_seed(0)
    layer = nn.layer(name, I, H)
    for filled in (
        lambda: None,
        lambda: nn.init_recurrent(layer, generator=torch.Generator().manual_seed(0)),
    ):
        filled()
        for own, _, start in layer.cell.further:
            assert bool((getattr(layer, f"{own}_l0") == start).all())
        if layer.cell.diagonal:
            assert bool(((layer.weight_hh_l0 >= 0) & (layer.weight_hh_l0 <= 1)).all())
    assert not layer.bias_hh_l0.any()
    if layer.cell.keep:
        nn.init_recurrent(layer, chrono_steps=9)
        place = layer.cell.gates.index(layer.cell.keep)
        assert bool((layer.bias_ih_l0.detach().chunk(len(layer.cell.gates))[place] >= 0).all())


def test_the_classes_take_what_people_know_them_by():
    assert nn.LayerNormLSTM(I, H, carry_normalised=True).cell.name == "layernorm_lstm_carried"
    assert nn.LayerNormLSTM(I, H, 1, True).cell.name == "layernorm_lstm"
    assert nn.IndRNN(I, H, nonlinearity="relu").mode == "INDRNN_RELU"
    assert nn.PeepholeLSTM(I, H, proj_size=2)(torch.zeros(T, B, I))[0].shape == (T, B, 2)
    with pytest.raises(ValueError, match="proj_size"):
        nn.LayerNormGRU(I, H, proj_size=2)
    with pytest.raises(ValueError, match="Unknown nonlinearity 'sin'"):
        nn.IndRNN(I, H, nonlinearity="sin")


@pytest.mark.parametrize("name", CELLS)
def test_zoneout_draws_while_training_and_takes_its_expected_share_else(name):
    shares = (0.4, 0.1)[: len(CELLS[name].states)]
    layer, x = build(name, 2, zoneout=shares), inputs()
    torch.manual_seed(5)
    first = layer(x, **RAGGED)[0]
    assert not torch.equal(layer(x, **RAGGED)[0], first)
    torch.manual_seed(5)
    torch.testing.assert_close(layer(x, **RAGGED)[0], first, rtol=0, atol=0)
    torch.manual_seed(5)  # the first layer's masks are drawn first, of h and then of c
    masks = tuple(torch.rand(T, B, H) < share for share in shares)
    single = build(name, zoneout=shares)
    torch.manual_seed(5)
    torch.testing.assert_close(single(x, **RAGGED)[0], op(single, x, zoneout=masks, **RAGGED).y)
    single.eval()
    want = op(single, x, zoneout=shares, **RAGGED).y
    torch.testing.assert_close(single(x, **RAGGED)[0], want)
    with torch.no_grad():  # whatever shorter way a call may take
        torch.testing.assert_close(single(x)[0], op(single, x, zoneout=shares).y)


@pytest.mark.parametrize(("of_x", "of_h"), [(0.5, 0.3), (0.5, 0.0), (0.0, 0.3)])
@pytest.mark.parametrize("name", CELLS)
def test_input_and_recurrent_dropout_take_one_mask_for_all_steps(name, of_x, of_h):
    layer, x = build(name, input_dropout=of_x, recurrent_dropout=of_h), inputs()
    for rows, grad in ((RAGGED, True), ({}, False)):  # and whatever shorter way a call may take
        torch.manual_seed(5)
        with torch.set_grad_enabled(grad):
            y, _ = layer(x, **rows)
        torch.manual_seed(5)
        left = dropout(x.new_ones(B, I), of_x) if of_x else x.new_ones(B, I)
        masks = {"recurrent_mask": dropout(x.new_ones(B, H), of_h)} if of_h else {}
        assert set(left.unique().tolist()) == ({0.0, 2.0} if of_x else {1.0})
        torch.testing.assert_close(y, op(layer, x * left, **masks, **rows).y)
    layer.eval()
    with torch.no_grad():
        torch.testing.assert_close(layer(x)[0], op(layer, x).y)
    assert nn.explain(layer, x).calls["l0"].backend == nn.explain(build(name), x).calls["l0"].backend


@pytest.mark.parametrize("name", CELLS)
def test_a_layer_in_reverse_is_the_second_half_of_a_bidirectional_one(name):
    both, x = build(name, bidirectional=True), inputs()
    layer = build(name, reverse=True)
    layer.load_state_dict(
        {each[: -len("_reverse")]: w for each, w in both.state_dict().items() if each.endswith("_reverse")}
    )
    for given in ({}, RAGGED):
        want, state = both(x, **given)
        with torch.no_grad():
            torch.testing.assert_close(layer(x, **given)[0], want[..., H:])
        y, found = layer(x, **given)
        torch.testing.assert_close(y, want[..., H:])
        for got, of_both in zip(flat(found), flat(state), strict=True):
            torch.testing.assert_close(got, of_both[1:])


def test_explaining_a_call_draws_nothing_and_says_what_keeps_it_from_the_kernels():
    layer, x = build("lstm", zoneout=0.1, recurrent_dropout=0.1), inputs()
    before = torch.get_rng_state()
    why = nn.explain(layer, x).calls["l0"]
    assert torch.equal(torch.get_rng_state(), before)
    assert why.backend == "reference"
    assert "several times as slow" in why.reason
    assert "zoneout changes the states" in why.refused["native"]
    assert repr(layer) == "LSTM(3, 5, zoneout=(0.1, 0.1), recurrent_dropout=0.1)"


@needs_kernels
@pytest.mark.parametrize("options", [{"reverse": True}, {"input_dropout": 0.3}, {}])
@pytest.mark.parametrize("name", ["gru", "coupled_lstm", "indrnn"])
def test_what_kernels_can_do_runs_on_them(name, options):
    assert nn.explain(build(name, **options), inputs()).calls["l0"].backend == "native"


@pytest.mark.filterwarnings("ignore:`torch.jit.trace:DeprecationWarning")
@pytest.mark.parametrize("options", [{"zoneout": 0.1}, {"reverse": True}])
def test_what_knows_torchs_layers_alone_refuses_the_options(options):
    layer = nn.LSTM(I, H, **options)
    assert options_of(layer).keys() == options.keys()
    with pytest.raises(ConfigError, match=r"layers that torch.nn has, got .*LSTM\) with (zoneout|reverse)="):
        nn.to_torch(layer)
    with pytest.raises(ConfigError, match=r"^module: expected .*(reverse|zoneout)"):
        stream.Recurrent.from_torch(layer)
    with pytest.raises(ConfigError, match=r"LSTM with (zoneout|reverse)="):
        torch.jit.trace(layer, torch.zeros(T, B, I))
    if kernels.available():
        with torch.no_grad(), nn.packed(layer.eval()) as report:
            assert set(report.left.values()) <= {"it runs in reverse", "it has zoneout"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"zoneout": 1}, r"^zoneout: expected a share from 0 to below 1, got 1$"),
        ({"zoneout": (0.1,)}, r"^zoneout: expected a share, or one for each state \(h, c\), got \(0.1,\)$"),
        ({"recurrent_dropout": -0.1}, r"^recurrent_dropout: expected a share from 0 to below 1, got -0.1$"),
        ({"input_dropout": "a"}, r"^input_dropout: expected a share from 0 to below 1, got 'a'$"),
        ({"reverse": 1}, r"^reverse: expected True or False, in a layer of one direction, got 1$"),
        ({"reverse": True, "bidirectional": True}, r"^reverse: .*, got bidirectional beside it$"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_in_one_line(options, message):
    with pytest.raises(ConfigError, match=message):
        nn.LSTM(I, H, **options)
    with pytest.raises(TypeError, match="unexpected keyword argument 'zone_out'"):
        nn.LSTM(I, H, zone_out=0.1)


def test_a_cell_whose_step_is_not_known_takes_no_recurrent_dropout(monkeypatch):
    from unrolled.ops.registry import OPS

    monkeypatch.setitem(OPS, "gru", ops.Op(CELLS["gru"], OPS["gru"].reference))
    with pytest.raises(
        ConfigError, match=r"^recurrent_dropout: expected none for a cell .* recurrence, got gru$"
    ):
        nn.GRU(I, H, recurrent_dropout=0.1)


@needs_kernels
@pytest.mark.parametrize("weights", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("name", ["coupled_lstm", "indrnn"])
def test_a_variant_with_kernels_streams(name, weights):
    layer = nn.layer(name, I, H, 2)
    x = inputs().float()
    with torch.no_grad():
        y = layer(x[:, :1])[0][:, 0]
    model = stream.Recurrent.from_torch(layer, weights=weights)
    assert model.cell == name
    session = model.open()
    found = torch.stack([torch.from_numpy(session.step(step.numpy()).copy()) for step in x[:, 0]])
    if weights == "float32":
        assert torch.equal(found, y)
    else:
        torch.testing.assert_close(found, y, rtol=0.1, atol=0.03)


def test_a_variant_without_kernels_does_not_stream():
    with pytest.raises(ConfigError, match=r"^cell: expected one that has a kernel \(lstm, gru, rnn, coupled"):
        stream.Recurrent.from_torch(nn.LayerNormLSTM(I, H))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lstm", "layernorm_gru"])
def test_a_layer_with_options_compiles_whole_and_is_exported(name):
    torch._dynamo.reset()
    layer, x = build(name, zoneout=0.1, recurrent_dropout=0.1, input_dropout=0.1), inputs()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    compiled(x, **RAGGED)[0].sum().backward()
    assert all(weight.grad is not None for weight in layer.parameters())
    layer.eval()
    torch.testing.assert_close(compiled(x, **RAGGED)[0], layer(x, **RAGGED)[0])
    exported = torch.export.export(layer, (x,), strict=False).module()
    torch.testing.assert_close(exported(x)[0], layer(x)[0])


@pytest.mark.parametrize("name", VARIANTS)
def test_under_autocast_a_variant_computes_in_bfloat16(name):
    layer, x = build(name, zoneout=0.1, recurrent_dropout=0.1).float(), inputs().float()
    with torch.autocast("cpu", torch.bfloat16):
        y, state = layer(x, **RAGGED)
        assert y.dtype == torch.bfloat16
        assert flat(state)[0].dtype == torch.float32
        near, _ = layer.eval()(x, **RAGGED)
    y.float().sum().backward()
    torch.testing.assert_close(near.float(), layer(x, **RAGGED)[0], rtol=5e-2, atol=1e-1)
