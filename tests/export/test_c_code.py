"""C99: what is written compiles without a warning, and says what `unrolled.stream` says, bit for bit."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from pathlib import Path

import c_cases as c
import export_cases as cases
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unrolled import kernels, stream
from unrolled.errors import BackendError, ConfigError, DataError, NonFiniteError
from unrolled.export import export, subject_of
from unrolled.export.c import CFormat
from unrolled.export.c import check as checking
from unrolled.export.c.plan import Matrix
from unrolled.export.c.source import Model
from unrolled.export.c.text import array, comment, prefixed, string

pytestmark = pytest.mark.skipif(not kernels.available(), reason=str(kernels.why_not()))
compiled = pytest.mark.skipif(checking.compiler() is None, reason="no C compiler (cc, gcc, clang)")


@pytest.fixture(autouse=True)
def unmeasured(monkeypatch: pytest.MonkeyPatch):
    """Time and size are not measured: that takes two more builds."""
    monkeypatch.setattr(checking, "_measure", lambda *_: None)


def bits_are_ours(check) -> bool:
    return check.passed and check.largest == 0 and "every bit" in check.what


@compiled
@pytest.mark.parametrize(
    ("build", "weights"),
    [
        (lambda: c.layers("LSTM", 5, 40, 2), "float32"),
        (lambda: c.layers("GRU", 3, 33), "int8"),
        (lambda: cases.language("lstm"), "int8"),
        (lambda: cases.sequence("gru", pooling="step", causal=True, missing=True, uneven=True), "float32"),
        (lambda: c.forecaster(series=2, missing=0.3, columns=2, distribution="gaussian"), "float32"),
    ],
)
def test_a_thousand_steps_have_the_bits_of_the_stream(build, weights: str, tmp_path: Path):
    assert bits_are_ours(c.written(build(), tmp_path, weights=weights))
    program = c.built(tmp_path, "main.c", "model.c")
    assert b"equal to unrolled over 8 steps" in c.said(program)


@compiled
def test_weights_as_a_file_give_the_same_and_are_verified(tmp_path: Path):
    """The harness of the check also gives an altered file, which is refused."""
    module = c.layers("LSTM", 3, 9)
    assert bits_are_ours(c.written(module, tmp_path, apart=True))
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "README.md", "main.c", "model.bin", "model.c", "model.h",
    ]  # fmt: skip
    assert b"equal" in c.said(c.built(tmp_path, "main.c", "model.c"))


@compiled
def test_two_models_link_into_one_program_and_refuse_each_others_states(tmp_path: Path):
    c.written(c.layers("LSTM", 2, 8), tmp_path, prefix="amp")
    c.written(c.layers("GRU", 2, 8), tmp_path, prefix="cab")
    (tmp_path / "both.c").write_text(
        """
        #include "amp.h"
        #include "cab.h"
        int main(void)
        {
            static amp_state a;
            static cab_state b;
            static unsigned char bytes[AMP_SAVED_BYTES + CAB_SAVED_BYTES];
            const float x[2] = {0.5f, -0.25f};
            float y[AMP_ANSWERS], z[CAB_ANSWERS];
            if (amp_init(&a) != AMP_OK || cab_init(&b) != CAB_OK) return 1;
            if (amp_step(&a, x, y) != AMP_OK || cab_step(&b, x, z) != CAB_OK || y[0] == z[0]) return 2;
            amp_save(&a, bytes);
            if (cab_load(&b, bytes, AMP_SAVED_BYTES) != CAB_WRONG_MODEL) return 3;
            return amp_load(&a, bytes, AMP_SAVED_BYTES) == AMP_OK ? 0 : 4;
        }
        """
    )
    c.said(c.built(tmp_path, "both.c", "amp.c", "cab.c"))


HOSTILE = (
    '"); system("true"); ("', "line\nbreak", "??/", "*/ int x; /*", "\\", "%s%n", "\t", "é∂", "🎸" * 3, "x" * 5000,
    "\u2028", "model_step", "#define a b", "\x01",
)  # fmt: skip


@compiled
def test_names_of_strangers_stay_names(tmp_path: Path):
    """Class names with quotes, trigraphs and comments come out as they went in, to the byte."""
    network = cases.sequence("gru", classes=len(HOSTILE), pooling="last", causal=True)
    network.schema = type(network.schema)(
        HOSTILE, scaler=network.schema.scaler, mean=network.schema.mean, scale=network.schema.scale
    )
    c.written(network, tmp_path)
    (tmp_path / "names.c").write_text(
        '#include <stdio.h>\n#include "model.h"\nint main(void)\n{\n    int k;\n'
        '    for (k = 0; k < MODEL_CLASSES; k++) printf("%s%c", model_classes[k], 0);\n    return 0;\n}\n'
    )
    printed = c.said(c.built(tmp_path, "names.c", "model.c")).split(b"\0")[:-1]
    assert printed == [name.encode()[:255] for name in HOSTILE]


@given(st.text())
def test_a_comment_is_one_line_and_cannot_end(text: str):
    assert not re.search(r"[*/\\?\n\r]", comment(text))


@given(st.text(max_size=40))
def test_a_string_literal_is_ascii_and_reads_back(text: str):
    literal = string(text)
    assert literal.isascii()
    assert literal.isprintable()
    assert "?" not in literal
    decoded = re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), literal[1:-1])
    assert decoded.encode("latin-1") == text.encode("utf-8", "replace")
    assert '"' not in literal[1:-1]


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_constants_read_back_to_the_bit(seed: int):
    wanted = np.random.default_rng(seed).integers(0, 2**32, 200, np.uint32).view(np.float32)
    wanted = np.append(wanted[np.isfinite(wanted)], np.float32([0.0, -0.0, 1e-45, 1e16]))
    body = array("model_x", wanted).partition("{")[2].partition("}")[0]
    found = np.array(
        [float(word.strip().removesuffix("f")) for word in body.split(",") if word.strip()], np.float32
    )
    assert found.tobytes() == wanted.tobytes()


@given(st.integers(1, 80), st.integers(1, 5))
def test_panels_hold_every_weight_once(rows: int, columns: int):
    matrix = Matrix(np.arange(rows * columns, dtype=np.float32).reshape(rows, columns))
    assert sorted(matrix.laid_out.tolist()) == list(range(rows * columns))


def test_only_the_prefix_of_names_is_replaced():
    code = '#include "model.h"\nmodel_step(MODEL_OK); a_model_x, remodel_y; models; "model.bin"'
    assert (
        prefixed(code, "amp") == '#include "amp.h"\namp_step(AMP_OK); a_model_x, remodel_y; models; "amp.bin"'
    )


@pytest.mark.parametrize(
    "prefix",
    ["", "1x", "a-b", "main", "x" * 41, "a_", "a b", "é", "../x", "math", "Stdio", "harness", "strings"],
)
def test_a_prefix_that_is_no_name_is_refused(prefix: str):
    with pytest.raises(ConfigError, match="prefix: expected a name in C"):
        CFormat().with_options(prefix=prefix)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: c.layers("LSTM", 3, 5, 1, bidirectional=True), "both ways"),
        (lambda: cases.sequence("gru"), "both ways"),
        (lambda: cases.tagger(), "both ways"),
        (lambda: c.forecaster(distribution="student-t"), "distribution: expected a forecaster of points"),
        (lambda: cases.forecaster(causal=False), "segments"),
    ],
)
def test_what_does_not_run_step_by_step_is_refused_in_one_line(build, words: str):
    with pytest.raises(ConfigError) as refused:
        CFormat().check(subject_of(build()))
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_weights_too_large_for_code_are_refused_and_a_file_is_named(monkeypatch: pytest.MonkeyPatch):
    from unrolled.export.c import form

    monkeypatch.setattr(form, "MOST_IN_CODE", 1000)
    with pytest.raises(
        ConfigError, match=r"network: expected weights of at most 1,000 bytes in the code, or as a file, got"
    ):
        CFormat().check(subject_of(c.layers()))
    CFormat(apart=True).check(subject_of(c.layers()))


def test_weights_that_are_not_finite_are_refused(tmp_path: Path):
    module = c.layers()
    with torch.no_grad():
        module.weight_hh_l1[3, 2] = float("nan")
    with pytest.raises(NonFiniteError, match="weight_hh_l1: expected finite"):
        export(module, to="c", out=tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


CELL = "model_lstm(s->work, s->h0,"


@compiled
@pytest.mark.parametrize(
    ("defect", "error"), [("s->c0, 18);", NonFiniteError), ("no_such_name, 19);", BackendError)]
)
def test_code_that_says_something_else_leaves_nothing(
    defect: str, error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A unit that is left out, and code that does not compile."""
    right = Model.code
    monkeypatch.setattr(
        Model, "code", lambda self: right(self).replace(f"{CELL} s->c0, 19);", f"{CELL} {defect}")
    )
    with pytest.raises(error, match="expected") as failed:
        export(c.layers(), to="c", out=tmp_path / "x")
    assert "\n" not in str(failed.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("named", "reason"),
    [
        ("/nonexistent", "$CC is '/nonexistent', which is not a command here"),
        ("", "no C compiler (cc, gcc, clang) was found"),
    ],
)
def test_without_a_compiler_nothing_is_called_equal(
    named: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CC", named)
    monkeypatch.setattr("shutil.which", lambda _: None)
    (tmp_path / "lines.txt").write_text(cases.TEXT)
    network = cases.language("gru")
    network.data_config = {"source": "lines.txt", "shape": "lines"}
    found = export(network, to="c", out=tmp_path / "x", check=str(tmp_path / "lines.txt"))
    assert reason in str(found)
    assert reason in str(found.warning)
    stored = json.loads((tmp_path / "x" / "export.json").read_text())["check"]
    assert stored["result"] == "not compiled"
    assert not stored["passed"]
    assert not found.passed
    assert found.file_check is not None
    assert found.file_check.result == "not compiled"
    assert "Not compiled, and so not checked" in (tmp_path / "x" / "README.md").read_text()


def test_a_compiler_for_another_machine_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    script = tmp_path / "cross"
    script.write_text(
        '#!/bin/sh\nwhile test "$1" != -o; do shift; done\nprintf "\\177ELF" >"$2"; chmod +x "$2"\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("CC", str(script))
    with pytest.raises(
        BackendError, match=r"expected a program that runs on this machine, .*got Exec format error"
    ):
        export(c.layers(), to="c", out=tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_compiler_that_cannot_be_read_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CC", 'gcc "')
    with pytest.raises(ConfigError, match="CC: expected the command of a C compiler, got 'gcc"):
        export(c.layers(), to="c", out=tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CC", "/nonexistent")
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "mine").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(ConfigError, match="out: expected"):
            export(c.layers(), to="c", out=tmp_path / "x", overwrite=overwrite)
    assert [each.name for each in (tmp_path / "x").iterdir()] == ["mine"]


def test_a_difference_is_measured_in_what_an_output_is_worth():
    ours = np.array([[1.0, 0.0], [-4.0, 0.001]], np.float32)
    assert checking.difference(ours + np.array([[0, 0], [0.004, 0]]), ours) == pytest.approx(1e-3, rel=1e-3)
    assert checking.difference(ours + np.array([[0, 1e-6], [0, 0]]), ours) == pytest.approx(1e-3, rel=1e-3)
    assert np.isnan(checking.difference(np.full((2, 2), np.nan), ours))
    assert np.isnan(checking.difference(ours[:1], ours))


def test_one_step_of_int8_is_what_a_flip_of_one_number_changes():
    """A head's output changes by a weight times the scale of h, and by no more where one number flips."""
    network = cases.language("gru")
    model = CFormat().model(subject_of(network), "int8")
    step = checking.one_step(model, 127.0)  # a scale of 1: one number off is one off
    head = model.network.head
    assert np.allclose(step, np.abs(head.data * head.scales[:, None]).max(axis=1))


def test_an_id_table_stands_in_where_it_is_smaller():
    small, large = (
        CFormat().model(subject_of(model), "float32")
        for model in (cases.language("lstm", tied=True), _wide_vocabulary())
    )
    assert small.network.table is not None
    assert large.network.table is None
    assert large.network.embedding is not None
    assert isinstance(subject_of(cases.language()).streamed(), stream.Model)


def _wide_vocabulary():
    from unrolled import spec, tokens
    from unrolled.tasks.language.network import LanguageModel

    vocabulary = tokens.build("char", ["".join(map(chr, range(0x100, 0x300)))])
    return LanguageModel(spec.ModelConfig(vocabulary.size, 2, 16, 1, "lstm"), tokens=vocabulary)


@compiled
def test_a_users_file_is_compared_sample_by_sample(tmp_path: Path):
    """The check on a file: a text for a language model, a table of raw values for a classifier."""
    network, folder = cases.language("gru"), tmp_path / "text"
    folder.mkdir()
    (tmp_path / "lines.txt").write_text(cases.TEXT * 3)
    form, subject = CFormat(), subject_of(network)
    form.write(subject, folder, weights="int8")
    found = form.compare(subject, folder, str(tmp_path / "lines.txt"), weights="int8")
    assert found.passed
    assert found.largest == 0
    assert found.count >= 50 * network.config.vocab_size
    network, folder = cases.sequence("lstm", pooling="last", causal=True, missing=True), tmp_path / "table"
    folder.mkdir()
    rows = "".join(f"{k // 9},{k},{'' if k % 4 == 1 else k * 0.5},{3 - k}\n" for k in range(27))
    (tmp_path / "table.csv").write_text("id,a,b,c\n" + rows)
    network.schema = type(network.schema).from_json(
        {**network.schema.to_json(), "read_as": {"id": "id", "columns": ["a", "b", "c"]}}
    )
    subject = subject_of(network)
    form.write(subject, folder, weights="float32")
    found = form.compare(subject, folder, str(tmp_path / "table.csv"), weights="float32")
    assert found.passed
    assert found.count == 2 * 27 * 4  # scores and probabilities
    (tmp_path / "other.csv").write_text("id,a,b\n0,1,2\n0,1,2\n")
    with pytest.raises(DataError):
        form.compare(subject, folder, str(tmp_path / "other.csv"), weights="float32")
    (folder / "model_weights.h").write_text((folder / "model_weights.h").read_text().replace("0.1", "0.2"))
    assert not form.compare(subject, folder, str(tmp_path / "table.csv"), weights="float32").passed


@compiled
def test_every_form_of_a_forecast_compiles_without_a_warning(tmp_path: Path):
    """Distributions, intervals, series, missing values, past columns: what is declared is used."""
    forms = itertools.product(("quantiles", "gaussian"), ("80", "80,95"), (1, 2), (0.0, 0.3), (0, 1))
    for distribution, levels, series, missing, columns in list(forms)[::3]:  # spread over all values
        made = c.forecaster(
            distribution=distribution, levels=levels, series=series, missing=missing, columns=columns
        )
        model = CFormat().model(subject_of(made), "float32")
        (tmp_path / "model.h").write_text(model.header("a forecaster"))
        (tmp_path / "model_weights.h").write_text(model.weights_header())
        (tmp_path / "model.c").write_text(model.code())
        c.built(tmp_path, "model.c", flags=(*c.STRICT, "-fsyntax-only"))


@compiled
@pytest.mark.parametrize(
    ("series", "distribution", "weights"), [(2, "quantiles", "int8"), (1, "gaussian", "float32")]
)
def test_a_forecaster_is_compared_on_the_series_of_a_file(series, distribution, weights, tmp_path: Path):
    network = c.forecaster(series=series, missing=0.3, columns=1, distribution=distribution).model
    rows = [
        f"{name},{t},{'' if t % 5 == 2 else t * 0.3},{t % 3}\n" for name in ("s0", "s1") for t in range(20)
    ]
    (tmp_path / "load.csv").write_text("id,time,y,c0\n" + "".join(rows))
    network.schema = dataclasses.replace(network.schema, read_as={"columns": ["c0"]})
    folder, subject, form = tmp_path / "m", subject_of(network), CFormat()
    folder.mkdir()
    form.write(subject, folder, weights=weights)
    found = form.compare(subject, folder, str(tmp_path / "load.csv"), weights=weights)
    assert found.passed
    assert found.what.startswith("2 sequences, 40 steps of load.csv")
    assert found.count == 40 * (network.config.horizon * network.config.outputs + 4 * 5)
    code = (folder / "model.c").read_text()
    (folder / "model.c").write_text(re.sub(r"model_mean\[(s->series|0)\];", "0.0;", code))  # of answers alone
    assert not form.compare(subject, folder, str(tmp_path / "load.csv"), weights=weights).passed
    other = "".join(row.replace("s0", "t0").replace("s1", "t1") for row in rows)
    for table, words in (
        ("id,time,y,c1\n" + "".join(rows), "columns"),
        *(
            [("id,time,y,c0\n" + other, "check: expected series of training, such as 's0', got 't0', 't1'")]
            * (series > 1)
        ),
    ):
        (tmp_path / "other.csv").write_text(table)
        with pytest.raises(DataError, match=words):
            form.compare(subject, folder, str(tmp_path / "other.csv"), weights=weights)


def test_settings_of_another_format_are_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="prefix: expected `to` c beside it, got onnx"):
        export(c.layers(), to="onnx", out=tmp_path / "x", prefix="amp")
    with pytest.raises(ConfigError, match="weights_file: expected `to` c beside it, got onnx"):
        export(c.layers(), to="onnx", out=tmp_path / "x", weights_file=True)
    with pytest.raises(ConfigError, match="opset: expected"):
        export(c.layers(), to="c", out=tmp_path / "x", opset=17)


@compiled
def test_a_compiler_with_options_is_taken_as_make_takes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """$CC may hold flags, and may not know --version."""
    right = checking.compiler()
    assert right is not None
    script = tmp_path / "my cc"
    script.write_text(
        f'#!/bin/sh\ntest "$1" = -DMINE && shift\ntest "$1" = --version && exit 1\nexec {right[0]} "$@"\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("CC", f"'{script}' -DMINE")
    found = export(c.layers("GRU", 2, 3), to="c", out=tmp_path / "x")
    assert found.passed
    assert "built by my cc" in found.check.what
