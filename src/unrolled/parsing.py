"""The old place of `unrolled.files.parsed_bytes`, found here with a DeprecationWarning. It goes in 0.3."""

from __future__ import annotations

from unrolled import files
from unrolled.errors import older_names

__all__: list[str] = []

__getattr__ = older_names("unrolled.parsing", {"parsed_bytes": ("files.parsed_bytes", files.parsed_bytes)})
