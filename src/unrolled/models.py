"""The old name of `unrolled.tasks`: its names are found there, with a DeprecationWarning. It goes in 0.3."""

from __future__ import annotations

import warnings
from typing import Any

from unrolled import tasks

__all__: list[str] = []


def __getattr__(name: str) -> Any:
    if name.startswith("__") or not hasattr(tasks, name):
        raise AttributeError(f"module 'unrolled.models' has no attribute {name!r}")
    warnings.warn(f"unrolled.models.{name} is now unrolled.tasks.{name}", DeprecationWarning, stacklevel=2)
    return getattr(tasks, name)
