"""The exported C in other hands: strict gcc and clang, C++, sanitizers, other flags, and an ARM processor."""

from __future__ import annotations

from pathlib import Path

import c_cases as c
import export_cases as cases
import numpy as np
import pytest

from unrolled import kernels
from unrolled.export import subject_of
from unrolled.export.c import CFormat
from unrolled.export.c import check as checking

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not kernels.available(), reason=str(kernels.why_not())),
    pytest.mark.skipif(checking.compiler() is None, reason="no C compiler (cc, gcc, clang)"),
]

SANITIZED = (
    "-std=c99",
    "-O1",
    "-g",
    "-fsanitize=address,undefined,float-cast-overflow",
    "-fno-sanitize-recover=all",
)
PORTABLE = ("-ffp-contract=off", "-DMODEL_FMA=0")
ARM = ("arm-linux-gnueabihf-gcc", "qemu-arm", "-L", "/usr/arm-linux-gnueabihf")

BUILDS = {
    "LSTM": lambda: c.layers("LSTM", 5, 41, 2),
    "GRU": lambda: c.layers("GRU", 3, 32),
    "RNN": lambda: c.layers("RNN", 1, 1),
    "ReLU": lambda: c.layers("RNN", 4, 9, 2, nonlinearity="relu"),
    "projection": lambda: c.layers("LSTM", 5, 19, 2, proj_size=7),
    "no bias": lambda: c.layers("GRU", 5, 9, bias=False),
    "language": lambda: cases.language("lstm"),
    "tied": lambda: cases.language("gru", tied=True),
    "class": lambda: cases.sequence("gru", pooling="mean+max", causal=True, neighbours=2),
    "labels": lambda: cases.sequence("rnn", pooling="last", causal=True, several=True),
    "times": lambda: cases.sequence("lstm", pooling="step", causal=True, missing=True, uneven=True),
    "numbers": lambda: cases.sequence("gru", classes=0, numbers=("a", "b"), pooling="mean+max", causal=True),
    "text": lambda: cases.sequence("gru", text=True, pooling="mean+max", causal=True, neighbours=1),
    "point": lambda: c.forecaster(distribution="point", normalise="none"),
    "quantiles": lambda: c.forecaster(series=3, missing=0.3, columns=2),
    "gaussian": lambda: c.forecaster(distribution="gaussian", missing=0.3, cell="lstm"),
}


def model_in(folder: Path, name: str, weights: str, *, apart: bool = False):
    """Write the files that a build needs, and return the model with the judge of what it says."""
    form, subject = CFormat(apart=apart), subject_of(BUILDS[name]())
    form.check(subject)
    model = form.model(subject, weights)
    form.put(model, folder, name)
    with kernels.using("baseline"):
        return model, subject.streamed(weights)


def outputs(model, folder: Path, *, steps: int = 200, **how):
    inputs = checking.inputs_for(model, steps)
    return checking.run(model, folder, inputs, **{"command": ["cc"], **how})[:2], inputs


def agree(model, found, wanted):
    """The same bits; where the runtime adds up in float64 and C in float32, the same numbers."""
    if model.network.pools or "softplus" in model.code():
        assert checking.difference(found[0], wanted[0]) < 1e-5
    else:
        assert np.array_equal(found[0], wanted[0])
    assert checking.difference(found[1], wanted[1]) < 1e-5


EACH = [(name, ("float32", "int8")[place % 2]) for place, name in enumerate(BUILDS)]
OTHER = [(name, ("int8", "float32")[place % 2]) for place, name in enumerate(BUILDS)]


@pytest.mark.parametrize(("name", "weights"), EACH)
def test_under_sanitizers_it_has_the_bits_of_the_runtime(name: str, weights: str, tmp_path: Path):
    model, judge = model_in(tmp_path, name, weights)
    (found, answers), inputs = outputs(model, tmp_path, flags=(*SANITIZED, *PORTABLE))
    agree(model, (found, answers), checking.ours(judge, inputs))


@pytest.mark.parametrize("command", ["gcc", "clang"])
@pytest.mark.parametrize(("name", "weights"), OTHER)
def test_no_compiler_has_a_word_to_say(name: str, weights: str, command: str, tmp_path: Path):
    if not c.found(command):
        pytest.skip(f"{command} is not installed")
    model_in(tmp_path, name, weights, apart=name in ("LSTM", "times", "quantiles"))
    c.built(tmp_path, "model.c", command=command, flags=(*c.STRICT, "-c"))
    more = ("-Wconversion", "-Wshadow", "-Wdouble-promotion", "-Wcast-align", "-Wstrict-prototypes")
    for extra in (("-DMODEL_LIBM",), more):
        c.built(tmp_path, "model.c", command=command, flags=(*c.STRICT, *extra, "-fsyntax-only"))


@pytest.mark.parametrize("name", ["LSTM", "language", "times", "quantiles"])
def test_a_cplusplus_compiler_takes_header_and_code(name: str, tmp_path: Path):
    if not c.found("g++"):
        pytest.skip("g++ is not installed")
    model_in(tmp_path, name, "int8")
    flags = ("-std=c++11", "-Wall", "-Wextra", "-Werror", "-c", "-x", "c++")
    c.built(tmp_path, "model.c", command="g++", flags=flags)


@pytest.mark.parametrize(
    "flags",
    [
        ("-std=c99", "-O0"), ("-std=gnu11", "-O3", "-march=native"), ("-std=c99", "-O2", "-DMODEL_LIBM"),
        ("-std=c99", "-O2", "-ffast-math"), ("-std=c99", "-Os"),
    ],
    ids=" ".join,
)  # fmt: skip
@pytest.mark.parametrize("name", ["LSTM", "class", "times", "quantiles"])
def test_other_flags_round_elsewhere_and_no_more(name: str, flags: tuple[str, ...], tmp_path: Path):
    model, judge = model_in(tmp_path, name, "float32")
    (found, answers), inputs = outputs(model, tmp_path, flags=flags)
    wanted, wanted_answers, _ = checking.ours(judge, inputs)
    assert checking.difference(found, wanted) < 1e-5
    assert checking.difference(answers, wanted_answers) < 1e-5


@pytest.mark.parametrize(("name", "weights"), OTHER)
def test_an_arm_processor_says_the_same(name: str, weights: str, tmp_path: Path):
    """Cross-built and run by an emulator, with the runtime's roundings asked for: its bits."""
    if not c.found(ARM[0], ARM[1]):
        pytest.skip(f"{ARM[0]} or {ARM[1]} is not installed")
    model, judge = model_in(tmp_path, name, weights)
    flags = ("-std=c99", "-O2", "-mfpu=vfpv3", *PORTABLE)
    (found, answers), inputs = outputs(model, tmp_path, command=[ARM[0]], launch=ARM[1:], flags=flags)
    agree(model, (found, answers), checking.ours(judge, inputs))


def test_a_cortex_m4_has_room_for_it(tmp_path: Path):
    """What the header says of flash and RAM is what the linker will find."""
    if not c.found(ARM[0]):
        pytest.skip(f"{ARM[0]} is not installed")
    model, _ = model_in(tmp_path, "LSTM", "int8")
    command = [ARM[0], "-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"]
    code, constants = checking.object_bytes(model, tmp_path, command, tmp_path, "arm-linux-gnueabihf-size")
    assert model.weight_bytes <= constants <= model.weight_bytes + 300
    assert code < 8000
    (tmp_path / "size.c").write_text('#include "model.h"\nchar state[sizeof(model_state)];\n')
    done = c.subprocess.run([*command, "-c", "size.c", "-o", "size.o"], cwd=tmp_path, check=True)
    assert done.returncode == 0
    printed = c.subprocess.run(
        ["arm-linux-gnueabihf-size", "-A", "size.o"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert f".bss {model.ram_bytes} " in " ".join(printed.stdout.split())


@pytest.mark.parametrize("name", ["LSTM", "times", "text", "quantiles"])
def test_a_thousand_spoilt_states_are_refused_and_change_nothing(name: str, tmp_path: Path):
    """A program flips every byte of a saved state, and cuts it everywhere, under the sanitizers."""
    model_in(tmp_path, name, "float32")
    symbols = name == "text"
    x = "1" if symbols else "x, 1.0" if name == "times" else "x"
    kind = "double" if name == "quantiles" else "float"
    (tmp_path / "spoil.c").write_text(
        f"""
        #include <string.h>
        #include "model.h"
        static model_state s;
        static unsigned char bytes[MODEL_SAVED_BYTES], again[MODEL_SAVED_BYTES];
        int main(void)
        {{
            {"" if symbols else f"const {kind} x[MODEL_INPUTS] = {{1.0f}};"}
            size_t i;
            int code = model_init(&s);
            {"code += model_choose(&s, 1);" if name == "quantiles" else ""}
            code += model_step(&s, {x}, 0);
            if (code != MODEL_OK) return 1;
            model_save(&s, bytes);
            for (i = 0; i < MODEL_SAVED_BYTES; i++) {{
                bytes[i] ^= 0x10;
                if (model_load(&s, bytes, MODEL_SAVED_BYTES) == MODEL_OK) return 2;
                bytes[i] ^= 0x10;
                if (model_load(&s, bytes, i) == MODEL_OK) return 3;
                model_save(&s, again);
                if (memcmp(bytes, again, sizeof bytes) != 0) return 4;
            }}
            if (model_load(&s, bytes, MODEL_SAVED_BYTES) != MODEL_OK) return 5;
            {"s.series = MODEL_SERIES; model_save(&s, again);" if name == "quantiles" else ""}
            {"return model_load(&s, again, sizeof again) == MODEL_OK ? 6 : 0;" if name == "quantiles" else ""}
            return 0;
        }}
        """
    )
    c.said(c.built(tmp_path, "spoil.c", "model.c", flags=(*SANITIZED, "-Wall")))


@pytest.mark.parametrize("name", ["LSTM", "class", "times", "quantiles", "language"])
def test_bad_inputs_give_a_code_and_leave_the_state(name: str, tmp_path: Path):
    model_in(tmp_path, name, "float32")
    kind = {"language": "int32_t", "quantiles": "double"}.get(name, "float")
    count = "1" if name == "language" else "MODEL_INPUTS"
    given = {"language": "x[0]", "times": "x, time"}.get(name, "x")
    bad = ["-1", "MODEL_SYMBOLS", "2147483647"] if name == "language" else ["HUGE_VAL", "-HUGE_VAL"]
    if name in ("LSTM", "class"):
        bad.append("NAN")
    tries = "\n".join(
        f"x[0] = ({kind}){value}; if (model_step(&s, {given}, 0) == MODEL_OK) return 2; x[0] = 0;"
        for value in bad
    )
    if name == "times":
        tries += "if (model_step(&s, x, time, 0) != MODEL_BAD_TIME) return 5; time = 0.5;\n"
        tries += "if (model_step(&s, x, time, 0) != MODEL_BAD_TIME) return 7;\n"
        tries += "time = NAN; if (model_step(&s, x, time, 0) != MODEL_BAD_TIME) return 6;\n"
    far = ""  # what no training had counts as twenty deviations, however far it is
    if name == "class":
        for value, into in (("1e6f", "bytes"), ("1e9f", "again")):
            far += f"model_reset(&s); x[0] = {value}; model_step(&s, x, 0); model_save(&s, {into});\n"
        far += "if (memcmp(bytes, again, sizeof bytes) != 0) return 8;"
    (tmp_path / "bad.c").write_text(
        f"""
        #include <math.h>
        #include <string.h>
        #include "model.h"
        static model_state s;
        static unsigned char bytes[MODEL_SAVED_BYTES], again[MODEL_SAVED_BYTES];
        int main(void)
        {{
            {kind} x[{count}] = {{0}};
            double time = 1.0;
            int code = model_init(&s);
            {
            "if (model_step(&s, x, 0) != MODEL_NO_SERIES || model_choose(&s, 3) != MODEL_NO_SERIES) return 7;"
            "code += model_choose(&s, 2);"
            if name == "quantiles"
            else ""
        }
            code += model_step(&s, {given}, 0);
            (void)time;
            if (code != MODEL_OK) return 1;
            model_save(&s, bytes);
            {tries}
            model_save(&s, again);
            if (memcmp(bytes, again, sizeof bytes) != 0) return 3;
            {far}
            return 0;
        }}
        """
    )
    c.said(c.built(tmp_path, "bad.c", "model.c", flags=(*SANITIZED, "-Wall"), libraries=("-lm",)))


def test_a_value_beyond_twenty_deviations_is_read_as_no_farther(tmp_path: Path):
    model_in(tmp_path, "class", "float32")  # it reads no missing values
    (tmp_path / "far.c").write_text(
        """
        #include <string.h>
        #include "model.h"
        static model_state s;
        int main(void)
        {
            float x[MODEL_INPUTS], near[MODEL_ANSWERS], far[MODEL_ANSWERS];
            int i;
            for (i = 0; i < MODEL_INPUTS; i++) x[i] = 150.0f;
            if (model_init(&s) != MODEL_OK || model_step(&s, x, near) != MODEL_OK) return 1;
            for (i = 0; i < MODEL_INPUTS; i++) x[i] = 1e8f;
            if (model_reset(&s) != MODEL_OK || model_step(&s, x, far) != MODEL_OK) return 2;
            return memcmp(near, far, sizeof near) == 0 ? 0 : 3;
        }
        """
    )
    c.said(c.built(tmp_path, "far.c", "model.c", flags=(*SANITIZED, "-Wall"), libraries=("-lm",)))


def test_inputs_near_the_end_of_float_are_a_code_and_never_undefined(tmp_path: Path):
    """Sums that overflow: the state is to be reset, and then all is well."""
    model_in(tmp_path, "GRU", "int8")
    (tmp_path / "huge.c").write_text(
        """
        #include "model.h"
        static model_state s;
        int main(void)
        {
            const float x[MODEL_INPUTS] = {3e38f, -3e38f, 3e38f}, fine[MODEL_INPUTS] = {1.0f};
            float y[MODEL_ANSWERS];
            int code, i;
            if (model_init(&s) != MODEL_OK) return 1;
            code = model_step(&s, x, y);
            if (code != MODEL_OK && code != MODEL_BAD_STATE) return 2;
            if (model_reset(&s) != MODEL_OK || model_step(&s, fine, y) != MODEL_OK) return 3;
            for (i = 0; i < MODEL_ANSWERS; i++)
                if (!(y[i] >= -1.0f && y[i] <= 1.0f)) return 4;
            return 0;
        }
        """
    )
    c.said(c.built(tmp_path, "huge.c", "model.c", flags=(*SANITIZED, "-Wall")))
