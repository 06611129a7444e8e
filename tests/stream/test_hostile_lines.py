"""Lines from strangers: each wrong one is answered by what is wrong with it, and the answers of the others stay."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from task_cases import contents, samples, schema_of, text_schema

from unrolled import cli, kernels, stream
from unrolled.checkpoint import write_into
from unrolled.errors import NonFiniteError, StateError
from unrolled.stream import StepReader, TaskModel, answer_lines

pytestmark = pytest.mark.skipif(not kernels.available(), reason=str(kernels.why_not()))

WRONG = (
    "{", "[1,2]", "nonsense", '"', "\0", '{"a\0": 1}', "[" * 100_000, '{"x":' * 5000, "x" * 10**5, "a\rb", "1;2",
    '{"x": [1]}', '{"x": [1, 2, 3]}', '{"x": []}', '{"x": [[1], [2]]}', '{"x": "ab"}', '{"x": null}', '{"x": {}}',
    '{"x": [NaN, 1]}', '{"x": [-Infinity, 1]}', '{"x": [1e999, 1]}', '{"x": [1e39, 1]}', '{"x": ["1", 1]}',
    '{"x": [1.' + "1" * 10**5 + ", 1]}", '{"x": [' + "1," * 10**5 + "1]}", '{"x": [' + "9" * 60 + ", 1]}",
    '{"0": 1}', '{"0": 1, "0": 2}', '{"0": 1, "1": 2, "2": 3}', '{"text": "a"}', '{"x": [1, 2], "time": "never"}',
    '{"x": [1, 2], "time": 1e308}', '{"x": [1, 2], "time": null}', '{"x": [1, 2], "reset": 1}',
    '{"x": [1, 2], "save": true}', '{"x": [1, 2], "end": []}', '{"x": [1, 2], "id": null}',
    '{"x": [1, 2], "id": {}}', '{"x": [1, 2], "id": true}', '{"x": "\udcff"}', '{"id": "\ud800", "x": [1, 2]}',
)  # fmt: skip
WRONG_TEXTS = (
    '{"text": 5}', '{"text": ["a"]}', '{"text": null}', '{"text": "a", "x": 1}', '{"text": "\udcff"}', "{",
    '{"text": "a", "end": 1}', '{"x": [1, 2]}', '{"text": NaN}',
)  # fmt: skip


def model_of_series() -> TaskModel:
    schema = schema_of(samples([5, 6], 2))
    object.__setattr__(schema, "read_as", {"id": "id"})
    return stream.assemble(contents(schema, pooling="mean+max"))


def answers(model: TaskModel, lines: list[str], *, as_json: bool) -> list[str]:
    told: list[str] = []
    reader = StepReader(model, model.open())
    answer_lines(reader, io.StringIO("\n".join(lines), newline="\n"), told.append, as_json=as_json)
    return told


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("kind", ["series", "texts"])
def test_a_wrong_line_is_answered_in_one_line_and_changes_no_other_answer(kind: str, as_json: bool):
    if kind == "series":
        model, wrong, good = model_of_series(), WRONG, '{{"x": [{}, 2]}}'
    else:
        model, wrong, good = stream.assemble(contents(*text_schema())), WRONG_TEXTS, '{{"text": "F{}y"}}'
    right = [good.format(n) for n in range(len(wrong) + 1)]
    alone = answers(model, right, as_json=as_json)
    mixed = answers(
        model, [line for pair in zip(right, (*wrong, ""), strict=True) for line in pair], as_json=as_json
    )
    assert len(mixed) >= 2 * len(right) - 1
    assert not any("\n" in line or len(line) > 2000 for line in mixed)
    if as_json:
        alone, kept = ([json.loads(line) for line in each] for each in (alone, mixed[::2]))
        assert all("error" in json.loads(line) for line in mixed[1 : 2 * len(wrong) : 2])
        assert [each | {"line": 0} for each in alone] == [each | {"line": 0} for each in kept]
    else:
        assert all(
            line.startswith(f"line {2 * n + 2}: ") for n, line in enumerate(mixed[1 : 2 * len(wrong) : 2])
        )
        assert alone == mixed[::2]


@pytest.mark.parametrize("encoding", ["utf-8:strict", "ascii:strict"])
def test_bytes_that_are_no_text_are_a_wrong_line_whatever_the_terminal_says(tmp_path: Path, encoding: str):
    write_into(tmp_path / "model", contents(schema_of(samples([5, 6], 2))))
    lines = b'\xef\xbb\xbf{"x": [1, 2]}\n' if encoding.startswith("utf") else b'{"x": [1, 2]}\n'
    lines += b'\xff\xfe\n{"x": "\xe9"}\n{"x": [1, 2]}\n'
    command = "import sys; from unrolled.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", command, "stream", str(tmp_path / "model")], input=lines, capture_output=True,
        env={"PYTHONIOENCODING": encoding, "PYTHONPATH": ":".join(sys.path)}, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    found = done.stdout.decode().splitlines()
    assert [line.startswith("line ") for line in found] == [False, True, True, False]


def test_a_signed_state_with_extreme_numbers_is_refused_or_answers_are_finite():
    model, extremes = model_of_series(), (np.nan, np.inf, 3e38, -3e38, 1e30, 1e-45, 1e15, -1, 2**40)
    session = model.open()
    session.step([1, 2])
    blob, parts, taken = session.save(), session._parts(0), 0
    for number, part in enumerate(parts):
        for value in extremes:
            changed = [np.array(each) for each in parts]
            with np.errstate(all="ignore"):
                changed[number][...] = np.array(value).astype(part.dtype)
            raw = b"".join(each.tobytes() for each in changed)
            body = blob[:48] + len(raw).to_bytes(8, "little") + raw
            try:
                session.restore(body + hashlib.sha256(body).digest()[:16])
                for n in range(3):
                    assert np.isfinite(session.step([n, 2])).all()
                taken += 1
            except (StateError, NonFiniteError):
                continue
    assert taken > 10


def test_a_file_that_is_no_state_of_the_model_ends_the_command_in_one_line_and_stays(
    tmp_path, capsys, monkeypatch
):
    write_into(tmp_path / "model", contents(schema_of(samples([5, 6], 2))))
    session, state = stream.load(tmp_path / "model").open(), tmp_path / "state"
    session.step([1, 2])
    blob, other = session.save(), model_of_series().open().save()
    huge = blob[:48] + (2**63).to_bytes(8, "little") + blob[56:-16]
    for wrong in (
        b"",
        blob[:-1],
        blob[:40],
        blob * 2,
        other,
        huge + hashlib.sha256(huge).digest()[:16],
        None,
    ):
        state.write_bytes(wrong or b"")
        if wrong is None:
            with state.open("wb") as file:
                file.truncate(2**33)  # a hole
        size = state.stat().st_size
        monkeypatch.setattr("sys.stdin", io.StringIO('{"x": [1, 2]}\n'))
        assert cli.main(["stream", str(tmp_path / "model"), "--state", str(state)]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n"), state.stat().st_size) == ("", 1, size)
