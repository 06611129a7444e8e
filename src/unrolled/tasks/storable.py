"""Whether a checkpoint would be read again with what a schema was fitted to: asked before training."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from unrolled.errors import CheckpointError, DataError

__all__ = ["check_storable"]


class Storable(Protocol):
    """A schema."""

    def to_json(self) -> dict[str, Any]:
        """Return what is stored."""
        ...


def check_storable(schema: Storable, read: Callable[..., object], arguments: Mapping[str, str]) -> None:
    """Refuse a schema that would not be read again; whether it fits into config.json, `train` checks.

    Args:
        read: the schema's `from_json`. arguments: field of the schema → the argument that a message blames.
    Raises:
        DataError: a name is too long, there are too many of them, a number is not finite, ….
    """
    try:
        read(json.loads(json.dumps(schema.to_json())), where="schema")
    except CheckpointError as error:
        field, _, rest = str(error).removeprefix("schema.").partition(":")
        name = arguments.get(field.partition(".")[0], field)
        raise DataError(f"{name}:{rest}") from None
