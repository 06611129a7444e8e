"""The old name of `unrolled.tasks`: its names are found there, with a DeprecationWarning. It goes in 0.3."""

from __future__ import annotations

from unrolled import tasks
from unrolled.errors import older_names

__all__: list[str] = []

_MOVED = {name: (f"tasks.{name}", thing) for name, thing in vars(tasks).items() if not name.startswith("__")}
__getattr__ = older_names("unrolled.models", _MOVED)
