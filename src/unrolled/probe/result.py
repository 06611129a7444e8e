"""What every measurement returns: a frozen dataclass with numpy arrays, that JSON can hold."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

__all__ = ["Result", "plain_number"]


class Result:
    """The base of the results: `to_dict`."""

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON can hold it: lists for arrays, None for what is not finite."""
        assert dataclasses.is_dataclass(self)
        return {field.name: _json(getattr(self, field.name)) for field in dataclasses.fields(self)}


def _json(value: Any) -> Any:
    if isinstance(value, Result):
        return value.to_dict()
    if isinstance(value, np.ndarray):
        return _json(value.tolist())
    if isinstance(value, dict):
        return {str(key): _json(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json(each) for each in value]
    if isinstance(value, complex):
        return [_json(value.real), _json(value.imag)]
    return plain_number(value.item() if isinstance(value, np.generic) else value)


def plain_number(value: Any) -> Any:
    """Return None for a float that is not finite, and anything else as it is."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
