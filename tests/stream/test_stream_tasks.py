"""Classifiers and regressors step by step: the bits of the batch, whatever is missing, cut or saved."""

from __future__ import annotations

import hashlib
import io
import itertools
import random
import re
import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_cases import on, token_model
from task_cases import contents, samples, schema_of, text_schema

from unrolled import checkpoint, kernels, stream
from unrolled.data import Samples
from unrolled.errors import CheckpointError, ConfigError, DataError, StateError, UnrolledError
from unrolled.quantize import _microseconds, quantize
from unrolled.tasks import SequenceClassifier, SequenceRegressor
from unrolled.tasks.loading import assemble
from unrolled.tasks.streaming import streaming_lines

pytestmark = pytest.mark.skipif(not kernels.available(), reason=str(kernels.why_not()))

LAW = settings(deadline=None, max_examples=25)
shapes = st.fixed_dictionaries(
    {
        "cell": st.sampled_from(["gru", "lstm", "rnn"]),
        "pooling": st.sampled_from(["last", "mean+max"]),
        "num_layers": st.integers(1, 2),
        "neighbours": st.integers(0, 2),
        "seed": st.integers(0, 99),
        "hidden_size": st.sampled_from([1, 6, 17]),
    }
)
lengths = st.lists(st.integers(1, 12), min_size=1, max_size=4)


def signed(body: bytes) -> bytes:
    """Bytes with a check sum that fits."""
    return bytes(body) + hashlib.sha256(body).digest()[:16]


def rising(lengths: list[int], seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [np.cumsum(rng.integers(1, 4, size=steps)).astype(np.float64) for steps in lengths]


@LAW
@given(lengths, shapes, st.sampled_from([0.0, 0.4]), st.booleans(), st.integers(0, 3), st.data())
def test_the_answer_after_the_last_step_has_the_bits_of_the_batch(
    lengths, sizes, missing, timed, classes, data
):
    classes = 0 if classes == 1 else classes
    series = samples(lengths, 2, seed=sizes["seed"], missing=missing)
    times = rising(lengths, sizes["seed"]) if timed else None
    made = contents(schema_of(series, classes=classes, times=times), **sizes)
    with on(data.draw(st.sampled_from(kernels.isas()))):
        model, network = stream.assemble(made), assemble(made).model
        encoded = network.schema.inputs(Samples.from_arrays(series, channels="01", times=times), None)
        outputs = network.answers(encoded)
        answers = network.schema.answers(outputs)
        for number, each in enumerate(series):
            session, parts = model.open(), network._engine().per_step(encoded[number])
            for step, row in enumerate(each):
                answer = session.step(row, time=None if times is None else times[number][step])
                assert np.array_equal(session.output[0], parts[step])
            assert np.array_equal(session.output[0], outputs[number])
            assert np.array_equal(answer, answers[number])


@LAW
@given(lengths, shapes, st.integers(0, 99))
def test_torch_gives_the_same_answers_to_tolerance(lengths, sizes, seed):
    import torch

    series = samples(lengths, 2, seed=seed)
    network = assemble(contents(schema_of(series), **sizes)).model
    encoded = network.schema.inputs(Samples.from_arrays(series, channels="01"), None)
    with torch.no_grad():
        plain = np.stack([network(torch.from_numpy(each)[:, None]).numpy()[0] for each in encoded])
    assert np.allclose(network.answers(encoded), plain, rtol=1e-4, atol=1e-5)
    widest = max(map(len, encoded))
    padded = torch.zeros(widest, len(encoded), encoded[0].shape[1])
    for row, each in enumerate(encoded):
        padded[: len(each), row] = torch.from_numpy(each)
    per_step = network.per_step(padded, torch.tensor(lengths))
    plain_steps = network._per_step(padded, torch.tensor(lengths)).detach()
    assert torch.allclose(per_step, plain_steps, rtol=1e-4, atol=1e-5)


@LAW
@given(shapes, st.integers(0, 9), st.integers(1, 4))
def test_a_pool_has_the_bits_of_sessions_whichever_streams_share_a_call(sizes, cut, streams):
    series = samples([10] * streams, 2, seed=sizes["seed"], missing=0.3)
    model = stream.assemble(contents(schema_of(series), **sizes))
    pool, sessions = model.pool(streams), [model.open() for _ in range(streams)]
    rng = np.random.default_rng(cut)
    for step in range(10):
        active = rng.random(streams) < 0.6
        x = np.stack([each[step] for each in series])
        found = pool.step(x, active=active)
        for number in np.flatnonzero(active):
            assert np.array_equal(sessions[number].step(x[number]), found[number])
    for number, session in enumerate(sessions):
        assert pool.save(number) == session.save()
    pool.reset(0)
    assert pool.save(0) == model.open().save()
    pool.restore(0, sessions[-1].save())
    assert pool.save(0) == sessions[-1].save()


@LAW
@given(shapes, st.integers(1, 8), st.sampled_from(["float32", "bfloat16", "int8"]))
def test_a_saved_stream_goes_on_to_the_bit(sizes, cut, weights):
    (series,) = samples([9], 2, seed=cut, missing=0.2)
    model = stream.assemble(contents(schema_of([series]), **sizes), weights)
    whole, first = model.open(), model.open()
    for row in series[:cut]:
        first.step(row)
    later = model.open(first.save())
    assert later.save() == first.save()
    for number, row in enumerate(series):
        answer = whole.step(row)
        if number >= cut:
            assert np.array_equal(later.step(row), answer)


def test_spoilt_states_are_refused_and_change_nothing():
    series = samples([9], 2, missing=0.2)
    model = stream.assemble(contents(schema_of(series), pooling="mean+max", neighbours=2))
    other = stream.assemble(contents(schema_of(series), pooling="mean+max", neighbours=2, seed=1))
    moved = stream.assemble(contents(schema_of([series[0] + 1]), pooling="mean+max", neighbours=2))
    session = model.open()
    for row in series[0]:
        session.step(row)
    blob, chance = session.save(), random.Random(0)
    bad = [b"", blob[:-1], blob + b"\0", other.open().save(), moved.open().save(), blob[::-1]]
    for _ in range(200):
        body = bytearray(blob[:-16])
        body[chance.randrange(56)] ^= 1 << chance.randrange(8)
        bad += [signed(body), bytes(body) + blob[-16:], signed(blob[: chance.randrange(len(blob) - 16)])]
    for raw in bad:
        with pytest.raises(UnrolledError) as caught:
            model.open(raw)
        assert type(caught.value) is StateError
        with pytest.raises(StateError):
            session.restore(raw)
    assert session.save() == blob


def test_a_state_that_somebody_made_up_is_refused_or_runs():
    series = samples([9], 2, missing=0.2)
    model = stream.assemble(contents(schema_of(series, times=rising([9], 0)), pooling="mean+max"))
    session = model.open()
    for time, row in enumerate(series[0]):
        session.step(row, time=time)
    blob, chance, refused = session.save(), random.Random(0), 0
    for _ in range(400):
        body = bytearray(blob[:-16])
        at = 56 + 4 * chance.randrange((len(body) - 56) // 4)
        word = chance.choice([b"\0\0\xc0\x7f", b"\0\0\x80\xff", b"\xff" * 4, chance.randbytes(4)])
        body[at : at + 4] = word
        try:
            found = model.open(signed(body)).step([1, 2], time=1e9)
            assert np.isfinite(found).all()
        except UnrolledError:
            refused += 1
    assert refused > 200


def test_a_text_is_read_symbol_by_symbol_and_its_end_is_asked_for():
    schema, vocabulary = text_schema()
    for sizes in ({"pooling": "last"}, {"pooling": "mean+max", "neighbours": 1}):
        made = contents(schema, vocabulary, **sizes)
        model, loaded = stream.assemble(made), assemble(made)
        (answer,) = loaded.model.schema.answers(
            loaded.model.answers(loaded.model.schema.inputs(Samples.from_arrays(["Fay and"]), loaded.tokens))
        )
        session = model.open()
        session.step("Fay")
        for token in vocabulary.encode(" and"):
            session.step(int(token))
        so_far = session.save()
        assert np.array_equal(session.at_end(), answer)
        assert session.save() == so_far
        session.reset()
        assert session.save() == model.open().save()


def test_what_is_not_fit_is_refused_and_changes_nothing():
    series = samples([9, 5], 2)
    model = stream.assemble(contents(schema_of(series, times=[np.arange(9.0) ** 2, np.arange(5.0)])))
    session = model.open()
    with pytest.raises(StateError, match="at least one step"):
        _ = session.answer
    session.step(series[0][0], time=0)
    before = session.save()
    for x, time, words in [
        ([1, 2, 3], 1, r"x: expected \[2\], got \[3\]"),
        (["a", "b"], 1, "x: expected numbers"),
        ("a", 1, "x: expected numbers of 2 channels"),
        ([1, np.inf], 1, "channel '1': expected finite"),
        ([1, 1e39], 1, "channel '1': expected finite"),
        ([None, 1], 1, "channel '0': expected a value, as in training"),
        ([1, 2], None, "time: expected a time"),
        ([1, 2], 0, "time: expected more than that of the step before, 0, got 0"),
        ([1, 2], np.nan, "time: expected a finite number"),
        ([1, 2], "noon", "time: expected a number"),
    ]:
        with pytest.raises(UnrolledError, match=words):
            session.step(x, time=time)
        assert session.save() == before
    session.close()
    with pytest.raises(StateError, match="closed"):
        session.step([1, 2], time=1)


def test_the_time_of_a_step_is_in_microseconds(monkeypatch):
    ticks = itertools.count(0, 5000)  # nanoseconds: each look at the clock takes 5 µs
    monkeypatch.setattr("time.perf_counter_ns", lambda: next(ticks))
    assert stream.assemble(contents(schema_of(samples([9], 2)))).step_microseconds() == 5
    assert _microseconds(token_model("GRU", 7, 3, 4)[0], np.arange(7)) == 5


def test_a_step_that_training_would_leave_out_changes_nothing():
    series = samples([9], 2, missing=0.2)
    model = stream.assemble(contents(schema_of(series, missing="drop")))
    session = model.open()
    with pytest.raises(DataError, match="a first step without missing values"):
        session.step([1, None])
    answer, before = session.step([1, 2]), session.save()
    assert np.array_equal(session.step([None, 2]), answer)
    assert session.save() == before


def test_a_second_thread_is_told_to_wait():
    series = samples([9], 2)
    session = stream.assemble(contents(schema_of(series))).open()
    found: list[BaseException] = []

    def call() -> None:
        try:
            session.step(series[0][0])
        except StateError as error:
            found.append(error)

    with session._claimed():
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
    assert "one thread at a time" in str(found[0])
    session.step(series[0][0])


def test_networks_that_cannot_stream_are_refused_in_one_line():
    made = contents(schema_of(samples([9], 2)))
    both = contents(schema_of(samples([9], 2)), causal=False)
    with pytest.raises(ConfigError, match="causal=True or --causal, got one that reads both ways"):
        stream.assemble(both)
    with pytest.raises(ConfigError, match="causal"):
        assemble(both).model.per_step(None)
    for broken in ({}, {"schema": {}}, {"schema": schema_of(samples([9], 3)).to_json()}):
        config = {**{k: v for k, v in made.config.items() if k != "schema"}, **broken}
        with pytest.raises(CheckpointError, match="schema"):
            stream.assemble(replace(made, config=config))


@pytest.mark.parametrize("name", ["time", "id", "label", "group", "target"])
def test_what_a_stranger_says_of_columns_does_no_harm(name):
    for value in ([1], {"a": 1}, 5, None, "x" * 1000):
        made = contents(replace(schema_of(samples([9], 2)), read_as={name: value}))
        try:
            model = stream.assemble(made)
        except CheckpointError:
            continue
        told: list[str] = []
        reader = stream.StepReader(model, model.open())
        stream.answer_lines(reader, io.StringIO('{"x": [1, 2]}\n'), told.append)
        assert told[0].startswith("class ")


def test_a_checkpoint_is_read_from_files(tmp_path):
    series = samples([9], 2)
    made = contents(schema_of(series, classes=0), path=tmp_path)
    checkpoint.write_into(tmp_path / "model", made)
    model = stream.load(tmp_path / "model")
    assert isinstance(model.open().step(series[0][0]), float)
    assert (model.classes, model.channels) == ((), ("0", "1"))
    assert isinstance(model, stream.TaskModel)
    assert checkpoint.read(tmp_path / "model").config["task"] == "regress"


def test_estimators_stream_with_the_bits_of_predict(tmp_path):
    series = samples([6, 9, 4] * 8, 2, missing=0.2)
    labels = np.array([len(each) for each in series])  # 4, 6, 9: of another order than their names
    classifier = SequenceClassifier(causal=True, steps=2, hidden_size=5).fit(series, labels)
    running, probabilities = classifier.stream(), classifier.predict_proba(series[:1])[0]
    for row in series[0]:
        answer = running.step(row)
    assert np.array_equal(answer, probabilities)
    again = SequenceClassifier.load(classifier.save(tmp_path / "c")).stream(running.save())
    assert np.array_equal(again.at_end(), probabilities)
    running.reset()
    assert running.save() == classifier.stream().save()
    regressor = SequenceRegressor(causal=True, steps=2, hidden_size=5, pooling="last").fit(
        series, labels * 0.5
    )
    running = regressor.stream()
    for row in series[1]:
        answer = running.step(row)
    assert answer == regressor.predict(series[1:2])[0]
    assert running.session.health().known
    said = streaming_lines(regressor.network_.streamed(), "run")[1]
    assert re.search(r"`unrolled stream run < steps.jsonl` .* A step takes \d+ µs here", said)
    with pytest.raises(ConfigError, match="causal: expected True, set before fit"):
        SequenceRegressor(steps=1, hidden_size=3).fit(series, labels * 0.5).stream()
    with pytest.raises(ConfigError, match="run: expected a language model"):
        quantize(tmp_path / "c")
