"""What a call of an op would do, without doing it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from unrolled.errors import ConfigError, expected
from unrolled.ops.choice import Explanation, explanation
from unrolled.ops.gru import gru
from unrolled.ops.gru import prepare as prepare_gru
from unrolled.ops.lstm import lstm
from unrolled.ops.lstm import prepare as prepare_lstm
from unrolled.ops.rnn import prepare as prepare_rnn
from unrolled.ops.rnn import rnn

_OPS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "gru": (gru, prepare_gru),
    "lstm": (lstm, prepare_lstm),
    "rnn": (rnn, prepare_rnn),
}


def explain(op: str | Callable[..., Any], *args: Any, **kwargs: Any) -> Explanation:
    """Say which backend `op(*args, **kwargs)` takes and why; the rule is `unrolled.ops.choice.choose`.

    Args:
        op: `unrolled.ops.lstm`, `gru` or `rnn`, or its name.
        args, kwargs: what the op takes, checked as the op checks it.
    Returns:
        An `Explanation`; printed, it is one readable sentence.
    Raises:
        ConfigError: no such op. And whatever the call itself would raise at its door.
    """
    for name, (function, prepare) in _OPS.items():
        if op == name or op is function:
            bound = inspect.signature(function).bind(*args, **kwargs)
            bound.apply_defaults()
            asked = bound.arguments.pop("backend")
            return explanation(prepare(**bound.arguments), asked)
    raise ConfigError(expected("op", "one of 'gru', 'lstm', 'rnn'", repr(op)))
