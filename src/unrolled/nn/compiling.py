"""torch.compile takes our layers, although it refuses torch.nn's RNN, LSTM and GRU and all their subclasses.

It refuses them so as not to unroll torch's kernels, unless its setting `allow_rnn` is on. Our layers are
one op of the registry, and subclasses of torch's, so that `isinstance(layer, torch.nn.LSTM)` holds. So the
setting is on while the compiler looks at one of ours, and at no other time: torch's own layers are treated
as ever. Where a later torch looks elsewhere, it refuses ours too, and names its setting. See
docs/decisions/0033.
"""

from __future__ import annotations

import functools
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

_PLACE = "torch._dynamo.variables.builder"  # whose VariableBuilder.wrap_module refuses


def admit(kind: type) -> None:
    """Let torch.compile take modules of this type: now, or as soon as somebody imports the compiler."""
    place = sys.modules.get(_PLACE)
    if place is not None and hasattr(place, "VariableBuilder"):
        _admit(place, kind)
    else:
        sys.meta_path.insert(0, _Awaited(kind))


class _Awaited:
    """Finds the compiler's module for whoever imports it, and changes it once it is loaded."""

    def __init__(self, kind: type) -> None:
        self._kind = kind

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        del path, target
        if name != _PLACE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader
            load = loader.exec_module

            def exec_module(module: ModuleType) -> None:
                load(module)
                _admit(module, self._kind)

            loader.exec_module = exec_module
        return spec


def _admit(place: Any, kind: type) -> None:
    builder = getattr(place, "VariableBuilder", None)
    wrap = getattr(builder, "wrap_module", None)
    if wrap is None or not hasattr(place.config, "allow_rnn"):
        return

    @functools.wraps(wrap)
    def wrap_module(self: Any, value: Any) -> Any:
        if not isinstance(value, kind):
            return wrap(self, value)
        with place.config.patch(allow_rnn=True):
            return wrap(self, value)

    builder.wrap_module = wrap_module  # type: ignore[union-attr]  # found above
