"""The text of model.c, and of the weights that it includes."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unrolled.export.c.fields import Field, Reader
from unrolled.export.c.header import header
from unrolled.export.c.plan import Layer, Matrix, Network
from unrolled.export.c.reading import Symbols
from unrolled.export.c.state import FINGERPRINT, SLOTS, counts_steps, members, saved_bytes, saving, zeroed
from unrolled.export.c.text import array, prefixed
from unrolled.export.c.weights_file import file_bytes, pointers, use, weights_file

__all__ = ["Model"]

BEGIN = """#include <float.h>

#include "model.h"

/* The size that the header states. */
typedef char model_size_check[sizeof(model_state) == MODEL_RAM_BYTES ? 1 : -1];

#if defined(__GNUC__)
#define MODEL_ALIGNED __attribute__((aligned(16)))
#else
#define MODEL_ALIGNED
#endif
"""
DEFINED = re.compile(
    r"^(?:(?:static|MODEL_INLINE)\b[^;={]*?|typedef union )\b(model_\w+)(?=\(| \{)", re.MULTILINE
)


@functools.cache
def _pieces() -> dict[str, str]:
    text = (Path(__file__).parent / "pieces.c").read_text(encoding="utf-8")
    parts = text.split("/* == ")[1:]
    return {name: code.strip("\n") + "\n" for name, _, code in (part.partition(" == */\n") for part in parts)}


@dataclass(frozen=True)
class Model:
    """A network and the C code around it.

    Attributes:
        apart: whether the weights are a file, model.bin, and not arrays in the code.
    """

    network: Network
    reader: Reader
    prefix: str = "model"
    apart: bool = False

    # ---- what there is

    @functools.cached_property
    def constants(self) -> dict[str, npt.NDArray[np.generic]]:
        """The arrays of weights by their names in the code, as they lie in memory."""
        network, found = self.network, {}

        def add(name: str, matrix: Matrix) -> None:
            found[f"model_{name}"] = matrix.laid_out
            if matrix.scales is not None:
                found[f"model_{name}_scales"] = matrix.scales

        if network.table is not None:
            found["model_table"] = network.table
        if network.embedding is not None:
            found["model_embedding"] = network.embedding
        for number, layer in enumerate(network.layers):
            if layer.weight_ih is not None:
                add(f"ih{number}", layer.weight_ih)
            add(f"hh{number}", layer.weight_hh)
            if number or network.table is None:
                found[f"model_bias{number}"] = layer.bias
            if layer.projection is not None:
                add(f"hr{number}", layer.projection)
        if network.head is not None:
            add("head", network.head)
            found["model_head_bias"] = network.head_bias
        return found

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights."""
        return sum(each.nbytes for each in self.constants.values())

    @functools.cached_property
    def fields(self) -> list[Field]:
        """The members of the state, the widest first."""
        return members(self.network, self.reader)

    @property
    def ram_bytes(self) -> int:
        """Bytes of one state."""
        return sum(field.nbytes for field in self.fields)

    @property
    def saved_bytes(self) -> int:
        """Bytes of a saved state."""
        return saved_bytes(self.fields)

    @property
    def file_bytes(self) -> int:
        """Bytes of model.bin."""
        return file_bytes(self.constants)

    # ---- the files

    def header(self, about: str, code_bytes: int | None = None) -> str:
        """Return model.h; see `header.header`."""
        return header(self, about, code_bytes)

    def weights_file(self) -> bytes:
        """Return model.bin."""
        return weights_file(self.constants, self.network.fingerprint)

    def code(self) -> str:
        """Return model.c."""
        own = [
            self._fingerprint(),
            use() if self.apart else "",
            self.reader.tables(),
            self.reader.finish(),
            self._forward(),
            self._functions(),
        ]
        parts = [BEGIN, pointers(self.constants) if self.apart else '#include "model_weights.h"\n']
        parts += [*self._with_pieces("\n".join(own)), *own]
        text = prefixed("\n".join(part for part in parts if part), self.prefix)
        names = self.reader.names(self.prefix)
        return text + ("\n" + names if names else "")

    def weights_header(self) -> str:
        """Return model_weights.h."""
        text = "/* Weights, as model.c reads them. */\n" + "\n".join(
            array(name, values) for name, values in self.constants.items()
        )
        return prefixed(text, self.prefix)

    def _with_pieces(self, code: str) -> list[str]:
        """Return the pieces that some code calls, and those that these call, in their order."""
        found: list[str] = []
        for name in reversed(list(_pieces())):
            piece = _pieces()[name]
            if name in ("rnn_tanh", "rnn_relu") and name not in {layer.cell for layer in self.network.layers}:
                continue
            called = any(re.search(rf"\b{each}\b", code) for each in DEFINED.findall(piece))
            if not called and name != "bits":
                continue
            if name == "nearest" and "model_quantise(" not in code:  # else libm's functions take its place
                piece = f"#ifndef MODEL_LIBM\n{piece}#endif\n"
            found.insert(0, piece)
            code += piece
        return found

    def _fingerprint(self) -> str:
        numbers = ", ".join(map(str, self.network.fingerprint[:FINGERPRINT]))
        return f"static const unsigned char model_fingerprint[{FINGERPRINT}] = {{{numbers}}};\n"

    def _forward(self) -> str:
        """Return the function that reads a step and runs the network, without making an answer of it."""
        reader, network = self.reader, self.network
        read = reader.read()
        body = [read] if read else []
        x = "x"
        if isinstance(reader, Symbols):
            x = f"model_embedding + (size_t)id * {network.input_size}"
        elif reader.standardises:
            x = "s->row"
        if network.reach:
            size, seen = network.input_size, network.input_size * network.reach
            body.append(
                f"    for (c = 0; c < {seen}; c++) s->seen[c] = s->seen[c + {size}];\n"
                f"    model_copy(s->seen + {seen}, {x}, {size});\n"
            )
            x = "s->seen"
        for number, layer in enumerate(network.layers):
            body.append(self._layer(number, layer, x))
            x = f"s->h{number}"
        top = network.layers[-1].output_size
        if network.pools:
            body.append(
                f"    for (c = 0; c < {top}; c++) {{\n        const float y = {x}[c] + 0.0f;\n"
                "        s->total[c] = s->steps == 0 ? y : s->total[c] + y;\n"
                "        s->most[c] = s->steps == 0 || y > s->most[c] ? y : s->most[c];\n    }\n"
            )
        if counts_steps(network, reader):
            body.append("    if (s->steps < 0xffffffffu) s->steps++;\n")
        body.append("    if (raw == 0) return MODEL_OK;\n")
        if network.head is None:
            body.append(f"    model_copy(raw, {x}, {top});\n")
        else:
            if network.pools:
                body.append(
                    f"    for (c = 0; c < {top}; c++) {{\n"
                    "        s->work[c] = s->total[c] / (float)s->steps;\n"
                    f"        s->work[{top} + c] = s->most[c];\n    }}\n"
                )
                x = "s->work"
            body.append(f"    model_copy(raw, model_head_bias, {network.head.rows});\n")
            body.append(_product("raw", "head", network.head, x))
        body.append(reader.after())
        text = "".join(body)
        uses_c = "    int32_t c;\n" if "(c = " in text else ""
        scale = "    float scale;\n" if "scale = model_quantise" in text else ""
        return (
            "/* Reads a step and runs the network; raw, which may be null, is what it gives. */\n"
            f"static int model_forward(model_state *s, {reader.parameters}, float *raw)\n{{\n"
            f"{uses_c}{scale}{text}    return MODEL_OK;\n}}\n"
        )

    def _layer(self, number: int, layer: Layer, x: str) -> str:
        size, h = layer.hidden_size, f"s->h{number}"
        table = number == 0 and self.network.table is not None
        slots = SLOTS[layer.cell] * size
        start = f"model_table + (size_t)id * {slots}" if table else f"model_bias{number}"
        name = {"lstm": "LSTM", "gru": "GRU"}.get(layer.cell, "RNN")
        code = f"    /* layer {number}: {name} of {size} */\n    model_copy(s->work, {start}, {slots});\n"
        if layer.weight_ih is not None:
            code += _product("s->work", f"ih{number}", layer.weight_ih, x)
        to = f"s->work + {layer.first_h}" if layer.first_h else "s->work"
        code += _product(to, f"hh{number}", layer.weight_hh, h)
        code += f"    if (!model_finite(s->work, {slots})) return MODEL_BAD_STATE;\n"
        given = "s->hidden" if layer.projection is not None else h
        if layer.cell == "lstm":
            code += f"    model_lstm(s->work, {given}, s->c{number}, {size});\n"
        else:
            code += f"    {'model_gru' if layer.cell == 'gru' else 'model_rnn'}(s->work, {h}, {size});\n"
        if layer.projection is not None:
            code += f"    model_zero({h}, {layer.output_size});\n"
            code += _product(h, f"hr{number}", layer.projection, "s->hidden")
            code += f"    if (!model_finite({h}, {layer.output_size})) return MODEL_BAD_STATE;\n"
        return code

    def _functions(self) -> str:
        reader = self.reader
        code = zeroed(self.fields)
        uses_c = "    int32_t c;\n" if "(c = " in code else ""
        bound = "    if (model_weights == 0) return MODEL_NO_WEIGHTS;\n" if self.apart else ""
        begin = "    return MODEL_OK;\n"
        if isinstance(reader, Symbols) and reader.schema is not None:
            begin = "    return model_forward(s, MODEL_BOUNDARY, 0); /* what starts every text */\n"
        raw = "s->raw" if reader.answer_type == "double" else "answer"
        wanted = f"answer == 0 ? 0 : {raw}" if raw != "answer" else "answer"
        return f"""int model_reset(model_state *s)
{{
{uses_c}{bound}{code}{begin}}}

int model_init(model_state *s) {{ return model_reset(s); }}

int model_step(model_state *s, {reader.parameters}, {reader.answer_type} *answer)
{{
{bound if self.apart else ""}    const int code = model_forward(s, {reader.given}, {wanted});
    if (code == MODEL_OK && answer != 0) model_answer(s, {raw}, answer);
    return code;
}}

{saving([field for field in self.fields if field.saved])}"""


def _product(to: str, name: str, matrix: Matrix, x: str) -> str:
    sizes = f"{matrix.rows}, {matrix.columns}"
    if matrix.scales is None:
        return f"    model_product({to}, model_{name}, {x}, {sizes});\n"
    return (
        f"    scale = model_quantise(s->whole, {x}, {matrix.columns});\n"
        f"    model_product8({to}, model_{name}, model_{name}_scales, s->whole, scale, {sizes});\n"
    )
