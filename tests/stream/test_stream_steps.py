"""Steps as lines: JSON by position or by name, CSV with a header, texts; what is not fit changes nothing."""

from __future__ import annotations

import io
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from task_cases import contents, samples, schema_of, text_schema

from unrolled import checkpoint, cli, kernels, stream
from unrolled.data import Samples, Scaler
from unrolled.schema import SequenceSchema
from unrolled.stream.step_lines import seconds
from unrolled.tasks.loading import assemble

pytestmark = pytest.mark.skipif(not kernels.available(), reason=str(kernels.why_not()))

SERIES = samples([9, 6], 2, missing=0.2)
READ_AS = {"label": "kind", "id": "unit", "time": "when"}


def model(classes: int = 3, **sizes: object) -> stream.TaskModel:
    named = Scaler.fit(SERIES, ("speed", "heat"))
    schema = replace(schema_of(SERIES, classes=classes), scaler=named, read_as=READ_AS)
    found = stream.assemble(contents(schema, **sizes))
    assert isinstance(found, stream.TaskModel)
    return found


def answers(model: stream.TaskModel, text: str, *, as_json: bool = True, top: int = 5) -> list[str]:
    found: list[str] = []
    reader = stream.StepReader(model, model.open())
    stream.answer_lines(reader, io.StringIO(text), found.append, as_json=as_json, top=top)
    return found


def number(value: np.float32) -> float | None:
    return None if np.isnan(value) else float(value)


def in_json(row: np.ndarray, **more: object) -> str:
    return json.dumps({"speed": number(row[0]), "heat": number(row[1]), **more})


def test_lines_by_name_by_position_and_of_csv_get_the_answers_of_steps():
    made = model()
    session = made.open()
    expected = [session.step(row).tolist() for row in SERIES[0]]
    named = [in_json(row) for row in SERIES[0]]
    placed = [json.dumps({"x": [number(v) for v in row]}) for row in SERIES[0]]
    cells = [",".join("" if np.isnan(v) else repr(float(v)) for v in row[::-1]) for row in SERIES[0]]
    for lines, first in ((named, 1), (placed, 1), (['"heat",speed', *cells], 2)):
        told = [json.loads(line) for line in answers(made, "\n".join(lines) + "\n")]
        assert [each["line"] for each in told] == list(range(first, first + 9))
        assert [each["steps"] for each in told] == list(range(1, 10))
        for each, probabilities in zip(told, expected, strict=True):
            assert [each["probabilities"][name] for name in made.classes] == probabilities
            assert each["class"] == made.classes[int(np.argmax(probabilities))]
    (line,) = answers(made, named[0] + "\n", as_json=False, top=2)
    first, second = sorted(expected[0], reverse=True)[:2]
    assert line.endswith(f"{second:.3f}")
    assert f" {first:.3f}, class " in line


def test_a_number_is_told_in_the_targets_unit():
    made = model(classes=0)
    value = made.open().step(SERIES[0][0])
    assert json.loads(answers(made, in_json(SERIES[0][0]))[0]) == {"line": 1, "steps": 1, "value": value}
    assert answers(made, in_json(SERIES[0][0]), as_json=False) == [f"{value:.6g}"]


def test_a_reset_or_another_id_starts_anew():
    made = model()
    first, second = (answers(made, in_json(rows[0])) for rows in SERIES)
    lines = [
        in_json(SERIES[0][0], unit="a"),
        in_json(SERIES[1][0], unit="b"),
        in_json(SERIES[0][0], reset=True),
    ]
    told = [json.loads(line)["probabilities"] for line in answers(made, "\n".join(lines))]
    fresh = [json.loads(each[0])["probabilities"] for each in (first, second, first)]
    assert told == fresh
    assert json.loads(answers(made, '{"reset": true}')[0]) == {"line": 1, "steps": 0}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"speed": 1}', "expected the column 'heat', null where its value is missing"),
        ('{"speed": 1, "heat": 1, "colour": 2}', "expected columns of the training data, got 'colour'"),
        (
            '{"speed": "fast", "heat": 1}',
            "'speed': expected a number, or null where it is missing, got 'fast'",
        ),
        ('{"x": [1]}', '"x": expected 2 values, got 1'),
        ('{"x": [1, 1e39]}', "channel 'heat': expected finite float32 numbers"),
        ('{"speed": 1, "heat": 1, "when": "noon"}', "time: expected a number, or a time such as"),
        ('{"speed": 1, "heat": 1, "time": 3}', "time: expected none, as the steps before had none"),
        ('{"x": [1, 2], "save": true}', "expected a file for the state, by --state FILE"),
        ('{"x": [1, 2], "reset": 1}', '"reset": expected true or false'),
        ("speed;heat", "expected the column 'speed'"),
        ("{", "line: expected a JSON object"),
    ],
)
def test_a_line_that_is_not_fit_is_named_and_changes_nothing(line: str, words: str):
    good = in_json(SERIES[0][0])
    told = [json.loads(each) for each in answers(model(), f"{good}\n{line}\n{good}\n")]
    plain = [json.loads(each) for each in answers(model(), f"{good}\n{good}\n")]
    assert words in told[1]["error"]
    assert told[2]["probabilities"] == plain[1]["probabilities"]


def test_a_row_of_csv_that_is_not_fit_changes_nothing():
    lines = answers(model(), "speed,heat,kind\n1,2,a\n1\nx,2,a\n3,4,b\n", as_json=False)
    assert lines[1] == "line 3: line: expected 3 fields, as the header has, got 1"
    assert lines[2] == "line 4: 'speed': expected a number, or nothing, got 'x'"
    assert lines[3] == answers(model(), "speed,heat\n1,2\n3,4\n", as_json=False)[1]


def test_times_may_be_dates():
    named = Scaler.fit(SERIES, ("speed", "heat"), times=[np.arange(9) * 60.0, np.arange(6) ** 2 * 60.0])
    made = stream.assemble(contents(SequenceSchema(("a", "b"), scaler=named, read_as=READ_AS)))
    dates = [in_json(SERIES[0][k], when=f"2024-05-01T12:0{k}:00") for k in range(3)]
    numbers = [in_json(SERIES[0][k], time=1714564800 + 60 * k) for k in range(3)]
    assert answers(made, "\n".join(dates)) == answers(made, "\n".join(numbers))
    (wrong,) = answers(made, in_json(SERIES[0][0]))
    assert "time: expected a time" in wrong


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_a_time_without_a_zone_is_of_utc_wherever_the_machine_is(zone: str, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("TZ", zone)
        time.tzset()
        assert seconds("2024-05-01 12:00") == seconds("2024-05-01T14:00+02:00") == 1714564800
    time.tzset()


def test_a_text_is_a_line_or_goes_on_from_line_to_line():
    schema, vocabulary = text_schema()
    made = contents(schema, vocabulary)
    loaded, running = assemble(made), stream.assemble(made)
    texts = ["Fay and Ben", "dance."]
    inputs = loaded.model.schema.inputs(Samples.from_arrays(texts), loaded.tokens)
    expected = loaded.model.schema.answers(loaded.model.answers(inputs)).tolist()
    told = answers(running, "\n".join(texts) + "\n")
    assert [list(json.loads(each)["probabilities"].values()) for each in told] == [
        sorted(each, reverse=True) for each in expected
    ]
    lines = '{"text": "Fay"}\n{"text": " and Ben", "end": true}\n{"text": 3}\n{"x": 3}\n'
    last = [json.loads(each) for each in answers(running, lines)]
    assert last[1]["probabilities"] == json.loads(told[0])["probabilities"]
    assert "expected a text" in last[2]["error"]
    assert 'expected "text"' in last[3]["error"]


def test_the_command_keeps_its_state(tmp_path: Path, monkeypatch, capsys):
    schema = replace(schema_of(SERIES, classes=0), read_as=READ_AS)
    checkpoint.write_into(tmp_path / "model", contents(schema))
    arguments = ["stream", str(tmp_path / "model"), "--state", str(tmp_path / "state"), "--health"]
    told = []
    for part in (SERIES[0][:4], SERIES[0][4:]):
        text = "".join(json.dumps({"x": [number(v) for v in row]}) + "\n" for row in part)
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        assert cli.main(arguments) == 0
        out, err = capsys.readouterr()
        told += out.splitlines()
        assert "h_l0: norm" in err
    session = stream.load(tmp_path / "model").open()
    assert told == [f"{session.step(row):.6g}" for row in SERIES[0]]
    assert (tmp_path / "state").read_bytes() == session.save()


def test_several_labels_numbers_and_answers_at_each_step_stream_too():
    scaler = Scaler.fit(SERIES)
    several = SequenceSchema(("a", "b"), scaler=scaler, several=True)
    made = contents(several)
    (line,) = answers(stream.assemble(made), '{"x": [1, 2]}')
    told = json.loads(line)
    assert told["labels"] == [name for name, share in told["probabilities"].items() if share >= 0.5]
    numbers = SequenceSchema((), (1.0, 2.0), (3.0, 4.0), scaler, numbers=("u", "v"), per_step=True)
    made = contents(numbers, outputs=2, pooling="step")
    model, network = stream.assemble(made), assemble(made).model
    inputs = network.schema.inputs(Samples.from_arrays(SERIES[:1]), None)
    expected = network.schema.answers(network.answers(inputs))
    lines = "\n".join(json.dumps({"x": [number(v) for v in row]}) for row in SERIES[0])
    told = [json.loads(line)["values"] for line in answers(model, lines)]
    assert [list(each.values()) for each in told] == expected.tolist()
    assert answers(model, '{"x": [1, 2]}', as_json=False)[0].startswith("u ")
