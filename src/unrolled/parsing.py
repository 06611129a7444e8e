"""The old place of `unrolled.files.parsed_bytes`, found here with a DeprecationWarning. It goes in 0.3."""

from __future__ import annotations

import warnings
from typing import Any

from unrolled import files

__all__: list[str] = []


def __getattr__(name: str) -> Any:
    if name != "parsed_bytes":
        raise AttributeError(f"module 'unrolled.parsing' has no attribute {name!r}")
    warnings.warn(
        "unrolled.parsing.parsed_bytes is now unrolled.files.parsed_bytes", DeprecationWarning, stacklevel=2
    )
    return files.parsed_bytes
