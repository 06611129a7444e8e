"""model.h: what a program is told of the model."""

from __future__ import annotations

from typing import Protocol

from unrolled.export.c.fields import Field, Reader
from unrolled.export.c.text import prefixed

__all__ = ["header"]

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


class Described(Protocol):
    """What the header says of a model; see `source.Model`."""

    @property
    def prefix(self) -> str: ...
    @property
    def apart(self) -> bool: ...
    @property
    def reader(self) -> Reader: ...
    @property
    def fields(self) -> list[Field]: ...
    @property
    def weight_bytes(self) -> int: ...
    @property
    def file_bytes(self) -> int: ...
    @property
    def ram_bytes(self) -> int: ...
    @property
    def saved_bytes(self) -> int: ...


def header(model: Described, about: str, code_bytes: int | None = None) -> str:
    """Return model.h.

    Args:
        about: one line for people, without anything that could end a comment.
        code_bytes: of what is in flash beside the weights, where it was measured.
    """
    code = "the code is not in it" if code_bytes is None else f"code and tables take about {code_bytes} more"
    members = "\n".join(
        f"    {field.type} {field.name}{f'[{field.count}]' if field.count else ''}; /* {field.words} */"
        for field in model.fields
    )
    codes = "\n".join(
        f"    MODEL_{name} = {number}{',' if number + 1 < len(CODES) else ' '} /* {words} */"
        for number, (name, words) in enumerate(CODES)
    )
    weights = ""
    if model.apart:
        weights = f"""
#define MODEL_FILE_BYTES {model.file_bytes}
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

#define MODEL_FLASH_BYTES {model.weight_bytes} /* of weights; {code} */
#define MODEL_RAM_BYTES {model.ram_bytes} /* of one model_state, which is all that a stream needs */
#define MODEL_SAVED_BYTES {model.saved_bytes} /* of a saved state */
#define MODEL_ANSWERS {model.reader.answers} /* numbers of an answer */
{model.reader.header().rstrip()}

/* What the functions return. */
enum {{
{codes}
}};

/* One stream. Its members are for model.c alone. */
typedef struct model_state {{
{members}
}} model_state;
{weights}{model.reader.functions()}
/* Makes a state out of any memory: before the first step. */
int model_init(model_state *s);
/* Advances by one step. answer [MODEL_ANSWERS] may be null: then it is not worked out. */
int model_step(model_state *s, {model.reader.parameters}, {model.reader.answer_type} *answer);
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
    return prefixed(text, model.prefix)
