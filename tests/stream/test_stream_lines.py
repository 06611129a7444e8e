"""Lines in, answers out; a score by the runtime; a network with smaller weights and what it costs."""

from __future__ import annotations

import io
import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from unrolled import DataConfig, TrainConfig, checkpoint, cli, load, stream, tasks, train
from unrolled.errors import CheckpointError, ConfigError, DataError, NonFiniteError
from unrolled.quantize import quantize
from unrolled.stream import lines as reading
from unrolled.tasks import evaluate_text
from unrolled.tokens import build

TEXT = "the cat sat on the mat\n\nthe dog sat on the log\n" * 40


@pytest.fixture(scope="module", params=["stream", "lines"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("lines")
    (place / "text.txt").write_text(TEXT)
    data = DataConfig(str(place / "text.txt"), shape=request.param)
    config = TrainConfig(data, run=str(place / "run"), steps=30, hidden_size=24, dtype="float32")
    return train.run(config, observers=[]).run


@pytest.fixture
def model(run: Path) -> stream.Model:
    return stream.load(run)


def answers(model: stream.Model, text: str, *, as_json: bool = True, top: int = 2) -> list[str]:
    found: list[str] = []
    reader = stream.LineReader(model, model.open())
    stream.answer_lines(reader, io.StringIO(text), found.append, as_json=as_json, top=top)
    return found


def test_a_score_is_that_of_unrolled_eval(run: Path, model: stream.Model, tmp_path: Path):
    (tmp_path / "other.txt").write_text("the cat sat on the log\nthe dog\n")
    expected = evaluate_text(load(run), str(tmp_path / "other.txt")).carried
    ids = model.tokens.encode("\nthe cat sat on the log\nthe dog\n")
    by_line = model.config["data"]["shape"] == "lines"
    starts = [i for i in range(len(ids) - 1) if ids[i] == model.tokens.boundary] if by_line else [0]
    nats, count = stream.score(model, ids, starts=starts)
    assert count == expected.tokens
    assert nats == pytest.approx(expected.nats, rel=1e-5)


def test_every_line_is_answered_as_the_model_reads_it(model: stream.Model):
    told = [json.loads(line) for line in answers(model, '{"text": "the cat\\n"}\n{"text": "sat"}\n')]
    assert [one["line"] for one in told] == [1, 2]
    assert told[0]["tokens"] == 8
    assert len(told[0]["next"]) == 2
    assert told[0]["next"][0]["probability"] >= told[0]["next"][1]["probability"]
    ids = model.tokens.encode("\nthe cat\n")
    nats, count = stream.score(model, ids)
    assert told[0]["nats_per_token"] == pytest.approx(nats / count)


def test_text_and_objects_say_the_same(model: stream.Model):
    end = "" if model.config["data"]["shape"] == "lines" else "\\n"
    (as_object,) = answers(model, f'{{"text": "the dog{end}"}}\n')
    (as_text,) = answers(model, "the dog\n", as_json=False)
    assert as_text.startswith(f"{json.loads(as_object)['nats_per_token']:.4f} nats per token")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("not json", "expected a JSON object"),
        ('{"text": 1}', '"text": expected a text'),
        ('{"ids": [1, 9999]}', '"ids": expected a list of whole numbers'),
        ('{"ids": [true]}', '"ids": expected a list'),
        ('{"text": "a", "ids": [1]}', 'expected "text" or "ids"'),
        ('{"temperature": 1}', 'expected "text" or "ids"'),
        ('{"reset": 1, "text": "a"}', '"reset": expected true or false'),
        ('{"save": 1}', '"save": expected true or false'),
        ('{"save": true, "text": "a"}', '"save": expected a file for the state, by --state FILE, got none'),
    ],
)
def test_a_line_that_is_not_fit_is_answered_and_changes_nothing(model: stream.Model, line: str, words: str):
    good = '{"text": "the"}\n'
    plain, with_bad = answers(model, good + good), answers(model, good + line + "\n" + good)
    assert words in json.loads(with_bad[1])["error"]
    one, other = json.loads(plain[1]), json.loads(with_bad[2])
    assert (one["nats_per_token"], one["next"]) == (other["nats_per_token"], other["next"])


def test_a_long_line_is_read_in_pieces(model: stream.Model, monkeypatch: pytest.MonkeyPatch):
    text = "the cat sat on the mat " * 50 + "\n"
    whole = answers(model, text, as_json=False)
    monkeypatch.setattr(reading, "PIECE", 7)
    assert answers(model, text, as_json=False) == whole
    monkeypatch.setattr(reading, "LONGEST", 20)
    told = [json.loads(line) for line in answers(model, '{"text": "the cat sat"}\n{"text": "a"}\n')]
    assert "at most 20 characters" in told[0]["error"]
    assert told[1]["tokens"] == 1


def test_a_model_knows_what_its_states_were_in_training(model: stream.Model):
    session = model.open()
    session.run(np.ascontiguousarray(model.tokens.encode(TEXT[:200])))
    assert session.health().known
    assert session.health().well
    session.state = {name: 50 + value for name, value in session.state.items()}
    assert not session.health().well
    assert "NOT as in training" in str(session.health())


@pytest.mark.parametrize("weights", ["int8", "bfloat16"])
def test_a_network_is_quantised_and_its_cost_is_told(run: Path, weights: str):
    found = quantize(run, weights=weights, overwrite=True)
    assert found.path == run / f"model-{weights}"
    stored = json.loads((run / "evaluation.json").read_text())
    assert found.tokens == stored["tokens"]
    assert found.before.nats_per_token == pytest.approx(stored["nats_per_token"], rel=1e-4)
    assert abs(found.loss) < 0.02
    assert found.after.nbytes < found.before.nbytes
    made = stream.load(found.path)
    assert made.weights == weights
    assert made.config["weights"]["nats_per_token"] == found.after.nats_per_token
    direct = stream.load(run, weights=weights)
    assert np.array_equal(made.open().step(1), direct.open().step(1))
    assert made.known_states == direct.known_states
    with pytest.raises(CheckpointError, match=f"expected float32 weights, got {weights}"):
        load(found.path)
    with pytest.raises(ConfigError, match="overwrite: expected true"):
        quantize(run, weights=weights)
    with pytest.raises(ConfigError, match="which is quantised"):
        quantize(found.path)
    with pytest.raises(ConfigError, match=f"weights: expected {weights}, as they are stored"):
        stream.load(found.path, weights="float32")


def test_a_loss_past_the_limit_is_a_warning_and_a_model_alone_asks_for_a_text(run: Path, tmp_path: Path):
    found = quantize(run, weights="int8", most_loss=0.0, overwrite=True)
    assert (found.warning is not None) == (found.loss > 0)
    contents = stream.load(run).path
    alone = tmp_path / "alone" / "model"
    alone.mkdir(parents=True)
    for file in contents.iterdir():
        (alone / file.name).write_bytes(file.read_bytes())
    with pytest.raises(DataError, match="source: expected a text"):
        quantize(alone)


def test_the_commands(run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    state = run.parent / "state.bin"
    for _ in range(2):  # the second one goes on from the first
        monkeypatch.setattr("sys.stdin", io.StringIO("the cat\nthe dog\n"))
        assert cli.main(["stream", str(run), "--top", "1", "--state", str(state), "--health"]) == 0
        out, err = capsys.readouterr()
        assert len(out.splitlines()) == 2
        assert "h_l0: norm" in err
    assert cli.main(["stream", str(run), "--weights", "int8", "--state", str(state)]) == 2
    assert "--state: expected one of this model" in capsys.readouterr().err
    state.write_bytes(b"x")
    assert cli.main(["stream", str(run), "--state", str(state)]) == 2
    assert state.read_bytes() == b"x"
    assert cli.main(["quantize", str(run), "--overwrite"]) == 0
    assert "times as fast" in capsys.readouterr().out
    assert cli.main(["quantize", str(run)]) == 2
    assert "--overwrite: expected true" in capsys.readouterr().err
    assert cli.main(["quantize", str(run), "--weights", "int4"]) == 2
    assert "--weights: expected" in capsys.readouterr().err


def grown(run: Path, weight: float) -> checkpoint.Contents:
    """Return a run's model as a relu network whose state grows by a factor with each step."""
    contents = checkpoint.read(checkpoint.locate(run))
    config = contents.config["model"] | {"cell": "rnn", "nonlinearity": "relu", "forget_bias": 1.0}
    hidden, tensors = config["hidden_size"], dict(contents.model)
    for name, tensor in contents.model.items():
        if name.startswith("recurrent."):
            shape = (hidden, *tensor.shape[1:])
            value = np.full(shape, weight / shape[-1] if "weight" in name else 1, np.float32)
            tensors[name] = checkpoint.Tensor("float32", shape, value.tobytes())
    return replace(contents, config=contents.config | {"model": config}, model=tensors)


def test_a_line_that_fails_half_way_leaves_the_state_as_it_was(run: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reading, "PIECE", 16)
    model = stream.assemble(grown(run, 1e6))
    reader, found = stream.LineReader(model, model.open()), []
    before, expecting = reader.session.state, reader.next(3)
    stream.answer_lines(reader, io.StringIO("the cat " * 9 + "\n"), found.append)
    assert len(found) == 1
    assert found[0].startswith("line 1: state: expected finite numbers")
    assert all(np.array_equal(reader.session.state[name], before[name]) for name in before)
    assert reader.next(3) == expecting


def test_ctrl_c_within_a_line_leaves_the_state_after_the_line_before_it(model: stream.Model):
    class Source(io.StringIO):
        def readline(self, size: int | None = -1, /) -> str:
            line = super().readline(size)
            if line == "":
                raise KeyboardInterrupt
            return line

    reader = stream.LineReader(model, model.open())
    with pytest.raises(KeyboardInterrupt):
        stream.answer_lines(reader, Source("the cat\nthe dog"), lambda _: None)  # the second one has no end
    other = stream.LineReader(model, model.open())
    stream.answer_lines(other, io.StringIO("the cat\n"), lambda _: None)
    assert reader.session.save() == other.session.save()


def test_pieces_of_a_long_line_end_where_no_word_goes_on():
    tokens = build("word", [TEXT])
    line = "the cat sat on the mat " * 4 + "cats" * 9 + " the dog\n"
    for size in (5, 7, 16, 1000):
        pieces = [line[i : i + size] for i in range(0, len(line), size)]
        cut = list(reading._uncut(tokens, iter(pieces)))
        assert "".join(cut) == line
        assert max(map(len, cut)) <= 2 * size
        words = [token for piece in cut for token in tokens.encode(piece).tolist() if token != tokens.unknown]
        assert words == [token for token in tokens.encode(line).tolist() if token != tokens.unknown]


def test_a_line_may_ask_for_the_state_to_be_saved(model: stream.Model):
    reader, saved, found = stream.LineReader(model, model.open()), [], []
    source = io.StringIO('{"text": "the"}\n{"text": " cat", "save": true}\n{"save": false}\n{"ids": [1]}\n')
    stream.answer_lines(
        reader, source, found.append, as_json=True, save=lambda: saved.append(reader.session.save())
    )
    assert [json.loads(line)["tokens"] for line in found] == [3, 4, 0, 1]
    (blob,) = saved
    later = stream.LineReader(model, model.open())
    stream.answer_lines(later, io.StringIO('{"text": "the"}\n{"text": " cat"}\n'), found.append, as_json=True)
    assert later.session.save() == blob


def test_the_first_symbol_after_a_saved_state_is_read_and_not_scored(model: stream.Model):
    before, ids = (model.tokens.encode(text) for text in ("\nthe cat", "the dog"))
    session = model.open()
    session.run(np.ascontiguousarray(before, np.int64))
    reader, read = stream.LineReader(model, session, fresh=False), reading.Read()
    reader.feed(ids, read)
    whole, first = (stream.score(model, np.concatenate([before, part]))[0] for part in (ids, ids[:1]))
    assert (read.tokens, read.scored) == (len(ids), len(ids) - 1)
    assert read.nats_per_token == pytest.approx((whole - first) / (len(ids) - 1))


def test_without_symbols_to_show_an_answer_has_none(model: stream.Model):
    read = 3 if model.config["data"]["shape"] == "lines" else 4
    assert answers(model, "the\n", as_json=False, top=0)[0].endswith(f"per token over {read}")
    assert json.loads(answers(model, '{"text": "the"}\n', top=0)[0])["next"] == []


@pytest.mark.parametrize("weight", [1e6, 10.0])
def test_states_that_run_towards_infinity_are_not_stored_and_fail_no_run(run: Path, weight: float):
    class Held:
        class validation:  # noqa: N801
            ids = np.full(34, 2)
            starts = np.array([0])

    contents = grown(run, weight)
    with pytest.raises(NonFiniteError):
        stream.states_on(stream.assemble(contents), Held.validation.ids)
    assert tasks.named("language").known_states(contents, Held()) is None


class Interrupting(io.StringIO):
    """Lines, after which a signal comes instead of the end."""

    def __init__(self, text: str, signum: int) -> None:
        super().__init__(text)
        self.signum = signum

    def readline(self, size: int | None = -1, /) -> str:
        line = super().readline(size)
        if not line:
            os.kill(os.getpid(), self.signum)
        return line


@pytest.fixture
def handlers() -> Iterator[None]:
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}
    yield
    assert {signum: signal.getsignal(signum) for signum in before} == before


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize(
    ("signum", "code", "said"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "ended by SIGTERM")],
)
def test_a_signal_ends_the_command_with_its_state_written(
    run: Path, tmp_path: Path, signum: int, code: int, said: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    state = tmp_path / "state.bin"
    monkeypatch.setattr("sys.stdin", Interrupting("the cat\n", signum))
    assert cli.main(["stream", str(run), "--state", str(state)]) == code
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1
    assert err == f"unrolled: {said}\n"
    model = stream.load(run)
    reader = stream.LineReader(model, model.open())
    stream.answer_lines(reader, io.StringIO("the cat\n"), lambda _: None)
    assert state.read_bytes() == reader.session.save()


def test_a_state_without_a_directory_is_refused_before_anything_is_read(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    place = str(tmp_path / "none" / "state.bin")
    assert cli.main(["stream", str(run), "--state", place]) == 2
    out, err = capsys.readouterr()
    assert (out, err) == (
        "",
        f"unrolled: --state: expected a file in a directory that exists, got {place!r}\n",
    )
