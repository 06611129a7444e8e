"""What the footer of a Parquet file says of its size, before anything of it is unpacked.

A few bytes of run lengths may stand for billions of values in columns of lists, which the number of rows does
not tell. The footer is a struct in Thrift's compact protocol; only counts are read of it.
"""

from __future__ import annotations

from typing import Any, TypeAlias

__all__ = ["leaf_values"]

Struct: TypeAlias = dict[int, Any]
MAGIC, TAIL = b"PAR1", 8  # the last bytes: the length of the footer, and the magic
DEEPEST = 32
ROW_GROUPS, COLUMNS, METADATA, VALUES = 4, 1, 3, 5  # numbers of fields in parquet.thrift
TRUE, FALSE, BYTE, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = 1, 2, 3, 7, 8, 9, 10, 11, 12


def leaf_values(data: bytes) -> int:
    """Return how many values all columns hold together, those within lists counted one by one.

    Raises ValueError: no footer, or one that is torn.
    """
    length = int.from_bytes(data[-TAIL:-4], "little")
    if data[-4:] != MAGIC or not 0 < length <= len(data) - TAIL:
        raise ValueError("no footer of a Parquet file")
    try:
        footer = _Compact(data[-TAIL - length : -TAIL]).struct(0)
        chunks = [chunk for group in footer[ROW_GROUPS] for chunk in group[COLUMNS]]
        return sum(max(0, int(chunk[METADATA][VALUES])) for chunk in chunks)
    except (IndexError, KeyError, TypeError) as error:
        raise ValueError("a torn footer") from error


class _Compact:
    """Reads Thrift's compact protocol: numbers, lists and structs; the bytes of texts are passed over."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0

    def _byte(self) -> int:
        self.place += 1
        return self.data[self.place - 1]

    def _varint(self) -> int:
        found, shift = 0, 0
        while shift < 70:
            byte = self._byte()
            found |= (byte & 0x7F) << shift
            if byte < 0x80:
                return found
            shift += 7
        raise ValueError("a number of too many bytes")

    def _number(self) -> int:
        found = self._varint()
        return (found >> 1) ^ -(found & 1)

    def _skip(self, count: int) -> None:
        self.place += count
        if self.place > len(self.data):
            raise IndexError(self.place)

    def struct(self, depth: int) -> Struct:
        """Return a struct as {number of a field: value}."""
        if depth > DEEPEST:
            raise ValueError("structs within structs")
        found: Struct = {}
        field = 0
        while (header := self._byte()) != 0:
            field = field + (header >> 4) if header >> 4 else self._number()
            kind = header & 15
            found[field] = kind == TRUE if kind in (TRUE, FALSE) else self._value(kind, depth)
        return found

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (TRUE, FALSE, BYTE):  # in a list a truth value is a byte
            return self._byte()
        if kind in (4, 5, 6):
            return self._number()
        if kind == DOUBLE:
            return self._skip(8)
        if kind == BINARY:
            return self._skip(self._varint())
        if kind in (LIST, SET):
            header = self._byte()
            size = header >> 4 if header >> 4 < 15 else self._varint()
            if size > len(self.data) - self.place:
                raise ValueError("a list longer than the footer")
            return [self._value(header & 15, depth + 1) for _ in range(size)]
        if kind == STRUCT:
            return self.struct(depth + 1)
        if kind == MAP and self._byte() == 0:
            return None
        raise ValueError(f"a value of type {kind}")
