"""The text of model.h, model.c and the weights beside them."""

from __future__ import annotations

import functools
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unrolled.export.c.fields import Field, Reader
from unrolled.export.c.plan import Layer, Matrix, Network
from unrolled.export.c.reading import Symbols
from unrolled.export.c.text import array, prefixed

__all__ = ["Model"]

CODES = (
    ("OK", "done"),
    ("BAD_INPUT", "an input is not finite, or an id out of range; the state is as it was"),
    ("BAD_STATE", "a sum is not finite, as the input is too large; reset the state before the next step"),
    ("MISSING", "a value is missing that never was in training; the state is as it was"),
    ("LEFT_OUT", "a value is missing, and training left out such steps; the state is as it was"),
    ("BAD_TIME", "the time does not rise; the state is as it was"),
    ("NO_SERIES", "the series was not chosen, or there is none of that number"),
    ("NO_WEIGHTS", "the file of weights was not given"),
    ("WRONG_SIZE", "bytes of another length"),
    ("WRONG_MODEL", "bytes of another model or of other weights"),
    ("DAMAGED", "torn or altered bytes, or numbers that are not finite"),
)
STATE_MAGIC, FILE_MAGIC = b"uCs\x01", b"uCw\x01"
FINGERPRINT = 16  # bytes of it
HEAD = 4 + FINGERPRINT + 4  # of a saved state and of a file of weights: magic, fingerprint, bytes that follow
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
SLOTS = {"lstm": 4, "gru": 4, "rnn_tanh": 1, "rnn_relu": 1}


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
        network, reader = self.network, self.reader
        found = reader.fields()
        if self._counts:
            found.append(Field("uint32_t", "steps", 0, True, "since the start"))
        for number, layer in enumerate(network.layers):
            found.append(Field("float", f"h{number}", layer.output_size, True, f"of layer {number}"))
            if layer.cell == "lstm":
                found.append(Field("float", f"c{number}", layer.hidden_size, True, f"of layer {number}"))
        top = network.layers[-1].output_size
        if network.pools:
            found.append(Field("float", "total", top, True, "the sum of h over the steps"))
            found.append(Field("float", "most", top, True, "its maximum"))
        if network.reach:
            seen = network.input_size * (1 + network.reach)
            found.append(Field("float", "seen", seen, True, "this step behind those before it"))
        if reader.standardises:
            found.append(Field("float", "row", network.input_size, False, "this step, standardised"))
        pre = max(SLOTS[layer.cell] * layer.hidden_size for layer in network.layers)
        found.append(Field("float", "work", max(pre, 2 * top if network.pools else 0), False, "of a step"))
        if any(layer.projection is not None for layer in network.layers):
            most = max(layer.hidden_size for layer in network.layers)
            found.append(Field("float", "hidden", most, False, "before a projection"))
        if reader.answer_type == "double":
            found.append(Field("float", "raw", reader.outputs, False, "what the network gave"))
        if network.weights == "int8":
            most = max(
                [network.input_size * (1 + network.reach)]
                + [max(layer.hidden_size, layer.output_size) for layer in network.layers]
            )
            found.append(Field("int8_t", "whole", most, False, "what is multiplied with int8 weights"))
        found.sort(key=lambda field: {"double": 0, "float": 1, "int8_t": 3}.get(field.type, 2))
        return self._filled_up(found)

    @property
    def _counts(self) -> bool:
        needs = ("clock", "time", "value", "past_clock")
        return self.network.pools or any(field.name in needs for field in self.reader.fields())

    @staticmethod
    def _filled_up(found: list[Field]) -> list[Field]:
        """Return the members with as many bytes at the end that the size is the same for every compiler."""
        align = 8 if any(field.type == "double" for field in found) else 4
        left = -sum(field.nbytes for field in found) % align
        if left:
            found.append(Field("int8_t", "unused", left, False, "so that the size is the same everywhere"))
        return found

    @property
    def ram_bytes(self) -> int:
        """Bytes of one state."""
        return sum(field.nbytes for field in self.fields)

    @property
    def saved(self) -> list[Field]:
        return [field for field in self.fields if field.saved]

    @property
    def saved_bytes(self) -> int:
        """Bytes of a saved state."""
        return HEAD + sum(field.nbytes for field in self.saved) + 4

    # ---- model.h

    def header(self, about: str, code_bytes: int | None = None) -> str:
        """Return model.h.

        Args:
            about: one line for people, without anything that could end a comment.
            code_bytes: of what is in flash beside the weights, where it was measured.
        """
        code = (
            "the code is not in it" if code_bytes is None else f"code and tables take about {code_bytes} more"
        )
        members = "\n".join(
            f"    {field.type} {field.name}{f'[{field.count}]' if field.count else ''}; /* {field.words} */"
            for field in self.fields
        )
        codes = "\n".join(
            f"    MODEL_{name} = {number}{',' if number + 1 < len(CODES) else ' '} /* {words} */"
            for number, (name, words) in enumerate(CODES)
        )
        weights = ""
        if self.apart:
            weights = f"""
#define MODEL_FILE_BYTES {self._file_bytes}
/* Takes the bytes of model.bin, which must stay where they are and begin at a multiple of 4; before the first
 * init. Little-endian machines only. Wrong, torn or altered bytes are refused. */
int model_use(const void *bytes, size_t size);
"""
        text = f"""/* {about}
 * Written by unrolled; README.md says how it is used and how it was checked. */
#ifndef MODEL_H
#define MODEL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

#define MODEL_FLASH_BYTES {self.weight_bytes} /* of weights; {code} */
#define MODEL_RAM_BYTES {self.ram_bytes} /* of one model_state, which is all that a stream needs */
#define MODEL_SAVED_BYTES {self.saved_bytes} /* of a saved state */
#define MODEL_ANSWERS {self.reader.answers} /* numbers of an answer */
{self.reader.header().rstrip()}

/* What the functions return. */
enum {{
{codes}
}};

/* One stream. Its members are for model.c alone. */
typedef struct model_state {{
{members}
}} model_state;
{weights}{self.reader.functions()}
/* Makes a state out of any memory: before the first step. */
int model_init(model_state *s);
/* Advances by one step. answer [MODEL_ANSWERS] may be null: then it is not worked out. */
int model_step(model_state *s, {self.reader.parameters}, {self.reader.answer_type} *answer);
/* Returns to before the first step. */
int model_reset(model_state *s);
/* Writes all that the stream remembers, the same on every machine. */
void model_save(const model_state *s, unsigned char bytes[MODEL_SAVED_BYTES]);
/* Takes what model_save has written. Bytes that are torn, altered or another model's are refused. */
int model_load(model_state *s, const unsigned char *bytes, size_t size);

#ifdef __cplusplus
}}
#endif
#endif
"""
        return prefixed(text, self.prefix)

    # ---- model.c

    def code(self) -> str:
        """Return model.c."""
        own = [
            self._fingerprint(),
            self._use() if self.apart else "",
            self.reader.tables(),
            self.reader.finish(),
            self._forward(),
            self._functions(),
        ]
        parts = [BEGIN, self._weights_from_file() if self.apart else '#include "model_weights.h"\n']
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
        if self._counts:
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
        zeros = []
        for field in self.fields:
            if not field.saved:
                continue
            name = f"s->{field.name}"
            one = not field.count
            value = "-1" if field.name == "series" else "0"
            if field.type == "float":
                zeros.append(f"    model_zero({name}, {field.count});\n")
            elif one:
                zeros.append(f"    {name} = {value};\n")
            else:
                zeros.append(f"    for (c = 0; c < {field.count}; c++) {name}[c] = 0.0;\n")
        code = "".join(zeros)
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

{self._saving()}"""

    def _saving(self) -> str:
        put, get = [], []
        checks, at = [], HEAD
        for field in self.saved:
            name = f"s->{field.name}"
            place, count = (name, field.count) if field.count else (f"&{name}", 1)
            if field.type in ("float", "double"):
                suffix = "64" if field.type == "double" else ""
                put.append(f"    at = model_put{suffix}(at, {place}, {count});\n")
                get.append(f"    at = model_get{suffix}({place}, at, {count});\n")
            else:
                put.append(f"    model_put32(at, (uint32_t){name}), at += 4;\n")
                get.append(f"    {name} = ({field.type})model_get32(at), at += 4;\n")
            step = {"float": 4, "double": 8}.get(field.type)
            if step:
                word = at + (4 if step == 8 else 0)
                mask = "0x7ff00000u" if step == 8 else "0x7f800000u"
                checks.append(
                    f"    for (i = 0; i < {count}; i++)\n"
                    f"        if ((model_get32(bytes + {word} + {step} * i) & {mask}) == {mask})\n"
                    "            return MODEL_DAMAGED;\n"
                )
            if field.name == "series":
                checks.append(
                    f"    if (model_get32(bytes + {at}) + 1u > (uint32_t)MODEL_SERIES)\n"
                    "        return MODEL_NO_SERIES;\n"
                )
            at += field.nbytes
        magic = ", ".join(map(str, STATE_MAGIC))
        return f"""static const unsigned char model_state_magic[4] = {{{magic}}};

void model_save(const model_state *s, unsigned char bytes[MODEL_SAVED_BYTES])
{{
    unsigned char *at = bytes + {HEAD};
    int32_t i;
    for (i = 0; i < 4; i++) bytes[i] = model_state_magic[i];
    for (i = 0; i < {FINGERPRINT}; i++) bytes[4 + i] = model_fingerprint[i];
    model_put32(bytes + {4 + FINGERPRINT}, MODEL_SAVED_BYTES - {HEAD + 4});
{"".join(put)}    model_put32(at, model_check_sum(bytes, MODEL_SAVED_BYTES - 4));
}}

int model_load(model_state *s, const unsigned char *bytes, size_t size)
{{
    const unsigned char *at = bytes + {HEAD};
    int32_t i;
    if (size < {HEAD}) return MODEL_WRONG_SIZE;
    for (i = 0; i < 4; i++)
        if (bytes[i] != model_state_magic[i]) return MODEL_WRONG_MODEL;
    for (i = 0; i < {FINGERPRINT}; i++)
        if (bytes[4 + i] != model_fingerprint[i]) return MODEL_WRONG_MODEL;
    if (size != MODEL_SAVED_BYTES) return MODEL_WRONG_SIZE;
    if (model_get32(bytes + size - 4) != model_check_sum(bytes, size - 4)) return MODEL_DAMAGED;
{"".join(checks)}{"".join(get)}    (void)at;
    return MODEL_OK;
}}
"""

    # ---- model.bin

    @property
    def _file_bytes(self) -> int:
        return self._places()[1]

    def _places(self) -> tuple[dict[str, int], int]:
        """Return where each array lies in the file, and its size; the check sum ends it."""
        at, places = 32, {}
        for name, values in self.constants.items():
            places[name] = at
            at += -(-values.nbytes // 16) * 16
        return places, at + 4

    def weights_file(self) -> bytes:
        """Return model.bin: magic, fingerprint, size, 1 as a 32-bit number, the arrays, a check sum."""
        places, size = self._places()
        raw = bytearray(size)
        raw[:4], raw[4 : 4 + FINGERPRINT] = FILE_MAGIC, self.network.fingerprint[:FINGERPRINT]
        raw[20:24], raw[24:28] = size.to_bytes(4, "little"), (1).to_bytes(4, "little")
        for name, values in self.constants.items():
            data = values.astype(values.dtype.newbyteorder("<")).tobytes()
            raw[places[name] : places[name] + len(data)] = data
        raw[-4:] = zlib.crc32(raw[:-4]).to_bytes(4, "little")
        return bytes(raw)

    def _weights_from_file(self) -> str:
        places, _ = self._places()
        lines = []
        for name, values in self.constants.items():
            kind = "int8_t" if values.dtype == np.int8 else "float"
            lines.append(f"#define {name} ((const {kind} *)(const void *)(model_weights + {places[name]}))")
        return (
            "static const unsigned char *model_weights = 0; /* the file's bytes */\n"
            + "\n".join(lines)
            + "\n"
        )

    def _use(self) -> str:
        magic = ", ".join(map(str, FILE_MAGIC))
        return f"""static const unsigned char model_file_magic[4] = {{{magic}}};

int model_use(const void *bytes, size_t size)
{{
    const unsigned char *const from = (const unsigned char *)bytes;
    int32_t i;
    if (size != MODEL_FILE_BYTES) return MODEL_WRONG_SIZE;
    for (i = 0; i < 4; i++)
        if (from[i] != model_file_magic[i]) return MODEL_WRONG_MODEL;
    for (i = 0; i < {FINGERPRINT}; i++)
        if (from[4 + i] != model_fingerprint[i]) return MODEL_WRONG_MODEL;
    if ((uintptr_t)from % 4 != 0) return MODEL_BAD_INPUT;
    if (*(const uint32_t *)(const void *)(from + 24) != 1u) return MODEL_DAMAGED; /* another order of bytes */
    if (model_get32(from + size - 4) != model_check_sum(from, size - 4)) return MODEL_DAMAGED;
    model_weights = from;
    return MODEL_OK;
}}
"""


def _product(to: str, name: str, matrix: Matrix, x: str) -> str:
    sizes = f"{matrix.rows}, {matrix.columns}"
    if matrix.scales is None:
        return f"    model_product({to}, model_{name}, {x}, {sizes});\n"
    return (
        f"    scale = model_quantise(s->whole, {x}, {matrix.columns});\n"
        f"    model_product8({to}, model_{name}, model_{name}_scales, s->whole, scale, {sizes});\n"
    )
