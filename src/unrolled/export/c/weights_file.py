"""model.bin: the weights as a file, and the C code that takes it."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from unrolled.export.c.state import FINGERPRINT

__all__ = ["file_bytes", "pointers", "use", "weights_file"]

Constants = Mapping[str, npt.NDArray[np.generic]]
FILE_MAGIC = b"uCw\x01"
FIRST, ALIGNED = 32, 16  # where the arrays begin, and to a multiple of what each begins


def _places(constants: Constants) -> tuple[dict[str, int], int]:
    """Return where each array lies in the file, and its size; the check sum ends it."""
    at, places = FIRST, {}
    for name, values in constants.items():
        places[name] = at
        at += -(-values.nbytes // ALIGNED) * ALIGNED
    return places, at + 4


def file_bytes(constants: Constants) -> int:
    """Return the size of the file."""
    return _places(constants)[1]


def weights_file(constants: Constants, fingerprint: bytes) -> bytes:
    """Return model.bin: magic, fingerprint, size, 1 as a 32-bit number, the arrays, a check sum."""
    places, size = _places(constants)
    raw = bytearray(size)
    raw[:4], raw[4 : 4 + FINGERPRINT] = FILE_MAGIC, fingerprint[:FINGERPRINT]
    raw[20:24], raw[24:28] = size.to_bytes(4, "little"), (1).to_bytes(4, "little")
    for name, values in constants.items():
        data = values.astype(values.dtype.newbyteorder("<")).tobytes()
        raw[places[name] : places[name] + len(data)] = data
    raw[-4:] = zlib.crc32(raw[:-4]).to_bytes(4, "little")
    return bytes(raw)


def pointers(constants: Constants) -> str:
    """Return the names of the arrays as places in the file's bytes."""
    places, _ = _places(constants)
    lines = []
    for name, values in constants.items():
        kind = "int8_t" if values.dtype == np.int8 else "float"
        lines.append(f"#define {name} ((const {kind} *)(const void *)(model_weights + {places[name]}))")
    return "static const unsigned char *model_weights = 0; /* the file's bytes */\n" + "\n".join(lines) + "\n"


def use() -> str:
    """Return model_use, which verifies the file's bytes."""
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
