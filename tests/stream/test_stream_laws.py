"""Laws of a stream: however its input is cut, whoever shares its calls, wherever it was saved, the bits are the same."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_cases import MODES, advance, inputs, layer_tensors, on, same_state, token_model

from unrolled import kernels, nn, stream
from unrolled.stream.weights import convert

pytestmark = pytest.mark.skipif(not kernels.available(), reason=str(kernels.why_not()))

WEIGHTS = ("float32", "bfloat16", "int8")


class Network(NamedTuple):
    mode: str
    input_size: int
    hidden_size: int
    num_layers: int
    proj_size: int
    bias: bool
    weights: str
    isa: str
    seed: int

    def tensors(self) -> dict[str, np.ndarray]:
        return layer_tensors(
            self.mode, self.input_size, self.hidden_size, self.num_layers,
            proj_size=self.proj_size, bias=self.bias, seed=self.seed,
        )  # fmt: skip

    def model(self) -> stream.Recurrent:
        with on(self.isa):
            return stream.Recurrent.from_tensors(self.mode, self.tensors(), weights=self.weights)

    def batch(self, x: np.ndarray) -> np.ndarray:
        """The native batch run, [T, B, H]."""
        kind, _, nonlinearity = self.mode.partition("_")
        options: dict[str, Any] = {"nonlinearity": nonlinearity.lower()} if nonlinearity else {}
        if self.proj_size:
            options["proj_size"] = self.proj_size
        sizes = (self.input_size, self.hidden_size, self.num_layers)
        module = getattr(nn, kind)(
            *sizes, bias=self.bias, backend="auto" if self.proj_size else "native", **options
        )
        module.load_state_dict({name: torch.from_numpy(value) for name, value in self.tensors().items()})
        with on(self.isa), torch.no_grad():
            return module(torch.from_numpy(x))[0].numpy()


@st.composite
def networks(draw: st.DrawFn, weights: tuple[str, ...] = WEIGHTS, *, projected: bool = True) -> Network:
    mode = draw(st.sampled_from(MODES))
    hidden = draw(st.integers(1, 70))
    projects = projected and mode == "LSTM" and hidden > 1 and draw(st.booleans())
    return Network(
        mode, draw(st.integers(1, 70)), hidden, draw(st.integers(1, 3)),
        draw(st.integers(1, hidden - 1)) if projects else 0, draw(st.booleans()),
        draw(st.sampled_from(weights)), draw(st.sampled_from(kernels.isas() or ("baseline",))),
        draw(st.integers(0, 2**32)),
    )  # fmt: skip


cuts = st.lists(st.sampled_from([1, 1, 2, 3, 7, 97]), max_size=12)


@settings(max_examples=60)
@given(
    network=networks(("float32",), projected=False),
    batch=st.integers(1, 9),
    steps=st.integers(0, 12),
    seed=st.integers(0, 2**32),
)
def test_float32_has_the_bits_of_the_native_batch_run(network: Network, batch: int, steps: int, seed: int):
    """Streams of a pool that advance at random moments, each handed over to a session of its own."""
    x = np.stack([inputs(steps, network.input_size, seed + b) for b in range(batch)], axis=1)
    y, model, chance = network.batch(x), network.model(), np.random.default_rng(seed)
    pool, done = model.pool(batch, threads=int(chance.integers(1, 4))), np.zeros(batch, int)
    for _ in range(steps):
        active = (chance.random(batch) < 0.6) & (done < steps)
        at = np.minimum(done, steps - 1)
        out = pool.step(np.ascontiguousarray(x[at, np.arange(batch)]), active=active)
        assert np.array_equal(out[active], y[at, np.arange(batch)][active])
        done += active
    for b in range(batch):
        session = model.open(pool.save(b))
        rest = np.ascontiguousarray(x[done[b] :, b])
        assert np.array_equal(advance(session, rest, chance.integers(1, 4, 3).tolist()), y[done[b] :, b])


@settings(max_examples=60)
@given(
    network=networks(), cut=cuts, steps=st.integers(0, 230), seed=st.integers(0, 2**32), out_of=st.booleans()
)
def test_a_stream_is_the_same_however_it_is_cut(
    network: Network, cut: list[int], steps: int, seed: int, out_of: bool
):
    model, x = network.model(), inputs(steps, network.input_size, seed)
    whole, stepped, last = model.open(), model.open(), model.open()
    y = whole.run(x)
    if out_of:
        buffer = np.full((steps, model.output_size), np.nan, np.float32)
        for t in range(steps):
            stepped.step(x[t], buffer[t])
        assert np.array_equal(buffer, y)
    else:
        assert np.array_equal(advance(stepped, x, cut), y)
    assert same_state(stepped.state, whole.state)
    if steps:
        assert np.array_equal(last.run(x, last=True), y[-1])
        assert same_state(last.state, whole.state)


@settings(max_examples=40)
@given(network=networks(), streams=st.integers(1, 230), threads=st.integers(1, 4), seed=st.integers(0, 2**32))
def test_a_stream_of_a_pool_is_a_stream_of_its_own(network: Network, streams: int, threads: int, seed: int):
    model, chance = network.model(), np.random.default_rng(seed)
    pool = model.pool(streams, threads=threads)
    own = {
        n: model.open()
        for n in {0, streams - 1, int(chance.integers(streams)), int(chance.integers(streams))}
    }
    for tick in range(4):
        x = inputs(streams, network.input_size, seed + tick)
        active = chance.random(streams) < chance.choice([0.02, 0.5, 1.0])
        x[~active] = chance.choice([np.nan, np.inf, 1e38])
        out = np.full((streams, model.output_size), np.nan, np.float32)
        pool.step(x, active=active, out=out)
        assert np.isnan(out[~active]).all()
        assert np.isfinite(out[active]).all()
        for n, session in own.items():
            assert not active[n] or np.array_equal(session.step(x[n]), out[n])
    for n, session in own.items():
        assert same_state(pool.state(n), session.state)


@settings(max_examples=40)
@given(network=networks(), seed=st.integers(0, 2**32))
def test_projected_and_quantised_layers_are_near_the_batch_run(network: Network, seed: int):
    if network.mode == "RNN_RELU":
        return  # grows without bound: there is no tolerance for it
    x = inputs(20, network.input_size, seed)
    y = network.model().open().run(x)
    most = {"float32": 2e-6, "bfloat16": 0.05, "int8": 0.12}[network.weights]
    assert np.abs(y - network.batch(x[:, None])[:, 0]).max() < most * np.sqrt(network.num_layers)


@settings(max_examples=50)
@given(
    mode=st.sampled_from(MODES), sizes=st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40)),
    layers=st.integers(1, 2), weights=st.sampled_from(WEIGHTS), isa=st.sampled_from(kernels.isas() or ("baseline",)),
    tied=st.booleans(), seed=st.integers(0, 2**32),
)  # fmt: skip
def test_logits_are_the_same_in_steps_chunks_and_pools_and_near_torch(
    mode: str, sizes: tuple[int, int, int], layers: int, weights: str, isa: str, tied: bool, seed: int
):
    vocabulary, size, hidden = sizes
    hidden = size if tied else hidden
    with on(isa):
        model, tensors = token_model(
            mode, vocabulary, size, hidden, layers, tied=tied, weights=weights, seed=seed
        )
    ids = np.random.default_rng(seed).integers(0, vocabulary, 103)
    logits = model.open().run(ids)
    assert np.array_equal(advance(model.open(), ids, [1, 5, 1, 1]), logits)
    pool = model.pool(3, threads=2)
    for t in range(6):
        assert np.array_equal(pool.step(np.repeat(ids[t], 3)), np.repeat(logits[t : t + 1], 3, axis=0))
    if weights == "float32" and mode != "RNN_RELU":
        assert np.abs(logits - of_torch(mode, tensors, ids, tied)).max() < 1e-4


def of_torch(mode: str, tensors: dict[str, np.ndarray], ids: np.ndarray, tied: bool) -> np.ndarray:
    """The logits of torch.nn, in float64."""
    kind, _, nonlinearity = mode.partition("_")
    found = {name: torch.from_numpy(value).double() for name, value in tensors.items()}
    layers = {name: value for name, value in found.items() if name not in ("embedding", "head", "head_bias")}
    sizes = (found["embedding"].shape[1], found["weight_hh_l0"].shape[1], len(layers) // 4)
    options = {"nonlinearity": nonlinearity.lower()} if nonlinearity else {}
    module = getattr(torch.nn, kind)(*sizes, **options).double()
    module.load_state_dict(layers)
    with torch.no_grad():
        y, _ = module(found["embedding"][torch.from_numpy(ids)])
        return (y @ found["embedding" if tied else "head"].T + found["head_bias"]).numpy()


@pytest.mark.parametrize("isa", kernels.isas())
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("mode", ["LSTM", "GRU", "RNN_TANH"])
@pytest.mark.parametrize("vocabulary", [5, 2100])
def test_ids_give_the_bits_of_their_embeddings(mode: str, weights: str, isa: str, vocabulary: int):
    """With W_ih multiplied out for every symbol beforehand, where the vocabulary is small, and without."""
    hidden = 259  # gates of 2,100 symbols are more than the 8 MiB that such a table may have
    with on(isa):
        model, tensors = token_model(mode, vocabulary, 6, hidden, head=False, weights=weights)
        layers = {name: value for name, value in tensors.items() if name != "embedding"}
        dense = stream.Recurrent.from_tensors(mode, layers, weights=weights)
    ids = np.random.default_rng(0).integers(0, vocabulary, 11)
    y = model.open().run(ids)
    assert np.array_equal(y, dense.open().run(tensors["embedding"][ids]))
    session = model.open()
    assert np.array_equal(np.stack([session.step(int(i)) for i in ids]), y)


def test_a_bfloat16_is_the_nearest_one_and_half_way_the_even_one():
    bits = np.random.default_rng(0).integers(0, 2**32, 4000, dtype=np.uint32)
    bits[::2] = bits[::2] >> 16 << 16 | 0x8000  # half-way between two
    x = bits.view(np.float32)
    x = x[np.isfinite(x)].reshape(1, -1)
    want = torch.from_numpy(x).to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)
    assert np.array_equal(convert(x, "bfloat16").data, want)


@pytest.mark.parametrize("seed", range(5))
def test_sixty_four_interleaved_sessions_are_each_their_solo_run(seed: int):
    """200 steps of each, in random order, with sessions closed, opened, saved, restored and reset between them."""
    sessions, steps, chance = 64, 200, random.Random(seed)
    model = stream.Recurrent.from_tensors("LSTM", layer_tensors("LSTM", 5, 19, 2, seed=seed))
    x = [inputs(steps, 5, 1000 * seed + n) for n in range(sessions)]
    solo = [model.open().run(given) for given in x]
    running = {n: (model.open(), 0) for n in range(sessions)}
    while running:
        n = chance.choice(list(running))
        session, at = running[n]
        assert np.array_equal(session.step(x[n][at]), solo[n][at])
        at += 1
        event = chance.random()
        if event < 0.02:  # another process, another day
            blob = session.save()
            session.close()
            session = model.open(blob)
        elif event < 0.04:  # a try that is taken back
            state = session.state
            session.run(x[0])
            session.state = state
        elif event < 0.05:  # from the beginning
            session.reset()
            at = 0 if chance.random() < 0.1 else advance_to(session, x[n], at)
        running[n] = (session, at)
        if at == steps:
            del running[n]
            session.close()


def advance_to(session: stream.Session, x: np.ndarray, at: int) -> int:
    session.run(x[:at])
    return at
