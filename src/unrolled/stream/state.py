"""A stream's state: where each layer's h and c lie in it, and the bytes in which it is saved."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from unrolled.errors import DtypeError, NonFiniteError, ShapeError, StateError, expected
from unrolled.stream.weights import Floats, as_array

__all__ = ["Layout", "State", "pack_blob", "pack_parts", "unpack_blob", "unpack_parts"]

Array = npt.NDArray[Any]

State = bytes | Mapping[str, npt.ArrayLike] | None  # of `Session.save`, {"h": [L, P], "c": [L, H]}, or zeros

MAGIC = b"unrolled-state\x00\x01"  # the last byte is the version of the format
PARTS_MAGIC = b"unrolled-state\x00\x02"
CHECK = 16  # bytes of the check sum at the end


@dataclass(frozen=True)
class Layout:
    """Sizes of the states of a network: `num_layers` layers of `states` ("h", "c"), each of its width."""

    num_layers: int
    widths: Mapping[str, int]  # {"h": P, "c": H}, in the order in which a layer's lie

    @property
    def size(self) -> int:
        """Floats of a stream's state."""
        return self.num_layers * sum(self.widths.values())

    def split(self, flat: Floats) -> dict[str, Floats]:
        """Return {"h": [L, P], "c": [L, H]} of a flat state, each a copy."""
        rows = flat.reshape(self.num_layers, -1)
        cuts = np.cumsum([0, *self.widths.values()])
        return {name: rows[:, cuts[i] : cuts[i + 1]].copy() for i, name in enumerate(self.widths)}

    def join(self, state: Mapping[str, npt.ArrayLike]) -> Floats:
        """Return the flat state of {"h": [L, P], "c": [L, H]}.

        Raises:
            StateError: other names. ShapeError, DtypeError: another shape, or no real numbers.
            NonFiniteError: a value is NaN or infinite.
        """
        if set(state) != set(self.widths):
            raise StateError(
                expected("state", " and ".join(self.widths), " and ".join(map(str, state)) or "none")
            )
        parts = []
        for name, width in self.widths.items():
            part = as_array(f"state {name}", state[name])
            if part.dtype.kind not in "fiu":
                raise DtypeError(expected(f"state {name}", "real numbers", part.dtype))
            if part.shape != (self.num_layers, width):
                raise ShapeError(expected(f"state {name}", [self.num_layers, width], list(part.shape)))
            with np.errstate(over="ignore"):
                single = part.astype(np.float32)
            if not np.isfinite(single).all():
                raise NonFiniteError(expected(f"state {name}", "finite float32 numbers", "NaN or infinity"))
            parts.append(single)
        return np.ascontiguousarray(np.concatenate(parts, axis=1).reshape(-1))


def pack_blob(flat: Floats, fingerprint: bytes) -> bytes:
    """Return a state as bytes that name their model and can be verified.

    16 bytes of magic and version, 32 of the model's fingerprint, 8 of the number of floats, the floats
    (little-endian float32), and the first 16 of the sha256 of all before.
    """
    return _signed(MAGIC, fingerprint, len(flat), flat.astype("<f4").tobytes())


def unpack_blob(blob: bytes, fingerprint: bytes, size: int) -> Floats:
    """Return the state that `pack_blob` stored.

    Raises:
        StateError: these are other bytes, torn or altered ones, or the state of another model. DtypeError: no
            bytes at all.
    """
    count, numbers = _opened(blob, MAGIC, fingerprint)
    if len(numbers) != 4 * size or count != size:
        raise StateError(expected("state", f"{size} numbers", f"{len(numbers)} bytes"))
    flat = np.frombuffer(numbers, dtype="<f4").astype(np.float32)
    if not np.isfinite(flat).all():
        raise StateError(expected("state", "finite numbers", "NaN or infinity"))
    return flat


def pack_parts(parts: Sequence[Array], fingerprint: bytes) -> bytes:
    """Return arrays as bytes that name their model and can be verified: version 2, of tasks.

    As `pack_blob`, with the number of bytes in place of floats, and the arrays one after the other,
    little-endian; their types and shapes follow from the model.
    """
    raw = b"".join(part.astype(part.dtype.newbyteorder("<")).tobytes() for part in parts)
    return _signed(PARTS_MAGIC, fingerprint, len(raw), raw)


def unpack_parts(blob: bytes, fingerprint: bytes, like: Sequence[Array]) -> list[Array]:
    """Return the arrays that `pack_parts` stored, shaped as `like`. Raises as `unpack_blob`."""
    size, raw = _opened(blob, PARTS_MAGIC, fingerprint)
    if not size == len(raw) == sum(part.nbytes for part in like):
        raise StateError(expected("state", f"{sum(part.nbytes for part in like)} bytes", f"{len(raw)} bytes"))
    found, at = [], 0
    for part in like:
        read = np.frombuffer(raw, part.dtype.newbyteorder("<"), part.size, at)
        found.append(read.astype(part.dtype).reshape(part.shape))
        at += part.nbytes
    return found


def _signed(magic: bytes, fingerprint: bytes, count: int, raw: bytes) -> bytes:
    body = magic + fingerprint + count.to_bytes(8, "little") + raw
    return body + hashlib.sha256(body).digest()[:CHECK]


def _opened(blob: object, magic: bytes, fingerprint: bytes) -> tuple[int, bytes]:
    """Return the count and the bytes of a state, which was verified. Raises as `unpack_blob`."""
    if not isinstance(blob, (bytes, bytearray, memoryview)):
        raise DtypeError(expected("state", "bytes that `save` returned", type(blob).__name__))
    blob = bytes(blob)
    if blob[: len(magic) - 1] != magic[:-1]:
        raise StateError(expected("state", "bytes that `save` returned", "other bytes"))
    if blob[len(magic) - 1 : len(magic)] != magic[-1:]:
        got = f"another one: {blob[len(magic) - 1 :][:1]!r}"
        raise StateError(expected("state", f"version {magic[-1]}", got))
    if hashlib.sha256(blob[:-CHECK]).digest()[:CHECK] != blob[-CHECK:]:
        raise StateError(expected("state", "bytes as `save` returned them", "torn or altered ones"))
    start = len(magic) + len(fingerprint)
    if blob[len(magic) : start] != fingerprint:
        raise StateError(expected("state", "one of this model and these weights", "one of another model"))
    return int.from_bytes(blob[start : start + 8], "little"), blob[start + 8 : -CHECK]
