"""What the C code reads of a step and makes of the network's outputs; of forecasters see series.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from unrolled.export.c.fields import Field
from unrolled.export.c.scaling import channel_list, scaler_checks, scaler_fields, scaler_step, scaler_tables
from unrolled.export.c.text import array, comment, number, strings
from unrolled.schema import CLIP, Scaler, SequenceSchema

__all__ = ["Numbers", "Samples", "Symbols"]


class Numbers:
    """Layers alone: what is read goes to the first layer, and h comes out."""

    standardises = False
    parameters, given, answer_type = "const float x[MODEL_INPUTS]", "x", "float"

    def __init__(self, inputs: int, outputs: int) -> None:
        self.inputs, self.outputs, self.answers = inputs, outputs, outputs

    def header(self) -> str:
        return f"#define MODEL_INPUTS {self.inputs} /* numbers of a step */\n"

    def functions(self) -> str:
        return ""

    def tables(self) -> str:
        return ""

    def names(self, prefix: str) -> str:
        return ""

    def fields(self) -> list[Field]:
        return []

    def read(self) -> str:
        return "    if (!model_finite(x, MODEL_INPUTS)) return MODEL_BAD_INPUT;\n"

    def after(self) -> str:
        return ""

    def finish(self) -> str:
        return _copying(self.answers)


class Symbols:
    """A text: the input is a symbol's id; logits of the next one come out, or what a schema makes of them."""

    standardises = False
    parameters, given, answer_type = "int32_t id", "id", "float"

    def __init__(self, tokens: Any, symbols: int, outputs: int, schema: SequenceSchema | None = None) -> None:
        self.tokens, self.symbols, self.schema = tokens, symbols, schema
        self.outputs = self.answers = outputs
        stored = {} if tokens is None else tokens.to_json()
        self.kind = stored.get("kind", "")
        self.texts: list[str] = stored.get("symbols", []) if self.kind in ("char", "word") else []

    def header(self) -> str:
        lines = [f"#define MODEL_SYMBOLS {self.symbols} /* an input is an id from 0 to {self.symbols - 1} */"]
        if self.tokens is not None:
            lines.append(f"#define MODEL_BOUNDARY {self.tokens.boundary} /* the id of the end of a line */")
        if self.kind == "byte":
            lines.append("/* The id of a byte of UTF-8 is that byte. */")
        if self.kind == "char":
            lines += [
                "/* The symbols as code points of Unicode; U+FFFD is the one that stands for all others. */",
                "extern const uint32_t model_code_points[MODEL_SYMBOLS];",
            ]
        if self.kind == "word":
            lines += ["/* The symbols in UTF-8. */", "extern const char *const model_symbols[MODEL_SYMBOLS];"]
        return "\n".join(lines) + "\n" + _answer_header(self.schema)

    def functions(self) -> str:
        if self.kind != "char":
            return ""
        return "/* Returns the id of a code point. */\nint32_t model_id(uint32_t code_point);\n"

    def tables(self) -> str:
        if self.kind != "char":
            return ""
        points = np.array([0xFFFD, *map(ord, self.texts[1:])], np.uint32)
        table = (
            array("model_code_points", points)
            .replace("static const", "const")
            .replace(f"[{len(points)}]", "[MODEL_SYMBOLS]")
        )
        return (
            table
            + """
int32_t model_id(uint32_t code_point)
{
    int32_t id;
    for (id = 1; id < MODEL_SYMBOLS; id++)
        if (model_code_points[id] == code_point) return id;
    return 0;
}
"""
        )

    def names(self, prefix: str) -> str:
        found = _class_names(self.schema, prefix)
        if self.kind == "word":
            found += strings(f"{prefix}_symbols", self.texts, f"{prefix.upper()}_SYMBOLS")
        return found

    def fields(self) -> list[Field]:
        return []

    def read(self) -> str:
        return "    if (id < 0 || id >= MODEL_SYMBOLS) return MODEL_BAD_INPUT;\n"

    def after(self) -> str:
        return ""

    def finish(self) -> str:
        return _copying(self.answers) if self.schema is None else _answering(self.schema)


class Samples:
    """A classifier's or a regressor's raw numbers, standardised as in training."""

    standardises = True
    answer_type = "float"

    def __init__(self, schema: SequenceSchema, scaler: Scaler) -> None:
        self.schema, self.scaler = schema, scaler
        self.outputs = self.answers = schema.outputs
        self.parameters = "const float x[MODEL_INPUTS]" + (", double time" if scaler.gaps else "")
        self.given = "x, time" if scaler.gaps else "x"

    def header(self) -> str:
        lines = [
            f"#define MODEL_INPUTS {len(self.scaler.channels)} /* raw numbers of a step */",
            channel_list(self.scaler.channels),
        ]
        if self.scaler.masked:
            lines.append("/* NaN stands for a missing value, in the channels in which training had some. */")
        if self.scaler.gaps:
            lines.append("/* The time of a step is in training's unit and rises from step to step. */")
        lines.append("extern const char *const model_inputs[MODEL_INPUTS]; /* their names */")
        return "\n".join(lines) + "\n" + _answer_header(self.schema)

    def functions(self) -> str:
        return ""

    def tables(self) -> str:
        return scaler_tables("input", self.scaler)

    def names(self, prefix: str) -> str:
        return strings(f"{prefix}_inputs", self.scaler.channels, f"{prefix.upper()}_INPUTS") + _class_names(
            self.schema, prefix
        )

    def fields(self) -> list[Field]:
        return scaler_fields("", self.scaler)

    def read(self) -> str:
        checks = scaler_checks(self.scaler, "x")
        return checks + scaler_step("input", "", self.scaler, "x", "row", CLIP)

    def after(self) -> str:
        return ""

    def finish(self) -> str:
        return _answering(self.schema)


def _copying(count: int) -> str:
    return f"""static void model_answer(const model_state *s, const float *raw, float *answer)
{{
    (void)s;
    if (answer != raw) model_copy(answer, raw, {count});
}}
"""


def _answer_header(schema: SequenceSchema | None) -> str:
    if schema is None:
        return "/* An answer is the logits of the next symbol. */\n"
    if schema.classes:
        kind = "the probability of each label" if schema.several else "the probabilities of the classes"
        return (
            f"#define MODEL_CLASSES {len(schema.classes)}\n/* An answer is {kind}. */\n"
            "extern const char *const model_classes[MODEL_CLASSES]; /* their names */\n"
        )
    names = ", ".join(map(comment, schema.numbers))
    return f"/* An answer is {names or 'a number'}, in the unit of training. */\n"


def _class_names(schema: SequenceSchema | None, prefix: str) -> str:
    if schema is None or not schema.classes:
        return ""
    return strings(f"{prefix}_classes", schema.classes, f"{prefix.upper()}_CLASSES")


def _answering(schema: SequenceSchema) -> str:
    count = schema.outputs
    if not schema.classes:
        pairs = [
            (number(m, "float64"), number(s, "float64"))
            for m, s in zip(schema.mean, schema.scale, strict=True)
        ]
        lines = "".join(
            f"    answer[{k}] = (float)((double)answer[{k}] * {scale} + {mean});\n"
            for k, (mean, scale) in enumerate(pairs)
        )
    elif schema.several:
        lines = (
            f"    int32_t k;\n    for (k = 0; k < {count}; k++) "
            f"answer[k] = model_sigmoid(answer[k] / {number(schema.temperature, 'float32')});\n"
        )
    else:
        lines = f"    model_softmax(answer, {count}, {number(schema.temperature, 'float32')});\n"
    return f"""static void model_answer(const model_state *s, const float *raw, float *answer)
{{
{_declared_first(lines)}    (void)s;
    if (answer != raw) model_copy(answer, raw, {count});
{_statements(lines)}}}
"""


def _declared_first(lines: str) -> str:
    return "    int32_t k;\n" if lines.startswith("    int32_t k;\n") else ""


def _statements(lines: str) -> str:
    return lines.removeprefix("    int32_t k;\n")
