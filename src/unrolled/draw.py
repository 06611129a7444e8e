"""Drawing ids from logits: temperature, top-k, top-p; and a whole continuation, id after id. numpy only."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from unrolled.errors import ConfigError, DtypeError, NonFiniteError, ShapeError, expected

__all__ = ["check_settings", "continuation", "draw"]

Floats = npt.NDArray[np.float64]


def draw(
    logits: npt.ArrayLike,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: np.random.Generator,
) -> int:
    """Draw one id from softmax(logits / temperature), cut to its top k, then to its top p.

    Args:
        logits: [V] real numbers; −inf bans an id.
        temperature: 0 takes the largest logit, of equal ones the first.
        top_k: keep the k largest logits; of equal ones the first. More than V is all.
        top_p: of what is left, keep the fewest most likely ids whose probabilities sum to p or more.
        generator: gives one uniform number per draw, none with temperature 0 or top_k 1 (the largest).
    Returns:
        An id, 0 … V − 1.
    Raises:
        ConfigError: temperature is negative or not finite, top_k below 1, top_p outside (0, 1].
        ShapeError, DtypeError: logits are not [V] real numbers, V ≥ 1.
        NonFiniteError: a logit is NaN or +inf, or all are −inf.
    Source: top-p, Holtzman et al. 2020.
    """
    check_settings(temperature=temperature, top_k=top_k, top_p=top_p)
    values = _checked(logits)
    if temperature == 0 or top_k == 1:
        return int(values.argmax())
    with np.errstate(over="ignore", under="ignore"):  # far below the largest: a weight of 0 is right
        weights = np.exp((values - values.max()) / temperature)
    kept = _kept(values, weights, top_k, top_p)
    cumulative = np.cumsum(weights if kept is None else weights[kept])
    drawn = int(np.searchsorted(cumulative, generator.random() * cumulative[-1], side="right"))
    # a product that is rounded up to the sum would be past the end: take the first id that reaches the sum
    drawn = min(drawn, int(np.searchsorted(cumulative, cumulative[-1])))
    return drawn if kept is None else int(kept[drawn])


def continuation(
    step: Callable[[int], npt.ArrayLike],
    restart: Callable[[], object],
    prompt: Sequence[int],
    *,
    length: int,
    generator: np.random.Generator,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    banned: Sequence[int] = (),
    restart_at: int | None = None,
) -> Iterator[int]:
    """Yield `length` ids that follow `prompt`.

    Args:
        step: advances a network by one id and returns the logits [V].
        restart: sets its state to zero; it starts from there.
        prompt: at least one id; it warms the state.
        length: how many ids to draw.
        generator: the source of randomness.
        temperature, top_k, top_p: see `draw`.
        banned: ids that are never drawn (<unk>).
        restart_at: before this id the state is set to zero: sequences of a line corpus are independent.
    """
    restart()
    for token in prompt:
        if token == restart_at:
            restart()
        logits = step(token)
    for drawn in range(length):
        scores = np.array(logits, dtype=np.float64)
        scores[list(banned)] = -np.inf
        token = draw(scores, temperature=temperature, top_k=top_k, top_p=top_p, generator=generator)
        yield token
        if drawn + 1 == length:
            return
        if token == restart_at:
            restart()
        logits = step(token)


def _kept(
    values: Floats, weights: Floats, top_k: int | None, top_p: float | None
) -> npt.NDArray[np.intp] | None:
    """Return the ids that may be drawn, most likely first; None for all of them."""
    if top_k is None and (top_p is None or top_p == 1):
        return None
    order = np.argsort(-values, kind="stable")[:top_k]
    if top_p is None or top_p == 1:
        return order
    cumulative = np.cumsum(weights[order])
    return order[: int(np.searchsorted(cumulative, top_p * cumulative[-1])) + 1]


def _checked(logits: npt.ArrayLike) -> Floats:
    array = np.asarray(logits)
    if array.ndim != 1 or array.size == 0:
        raise ShapeError(expected("logits", "[V] with V of at least 1", list(array.shape)))
    if array.dtype.kind not in "fiu":
        raise DtypeError(expected("logits", "real numbers", array.dtype))
    values = array.astype(np.float64)
    wrong = np.isnan(values) | (values == np.inf)
    if wrong.any():
        where = int(wrong.argmax())
        raise NonFiniteError(expected(f"logits[{where}]", "a finite number, or -inf", values[where]))
    if not np.isfinite(values).any():
        raise NonFiniteError(expected("logits", "at least one finite number", "-inf everywhere"))
    return values


def check_settings(*, temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Raise ConfigError where `draw` would, before there are logits."""
    if not _is_number(temperature) or not math.isfinite(temperature) or temperature < 0:
        raise ConfigError(expected("temperature", "a finite number of at least 0", repr(temperature)))
    if top_k is not None and (isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1):
        raise ConfigError(expected("top_k", "a whole number of at least 1", repr(top_k)))
    if top_p is not None and (not _is_number(top_p) or not 0 < top_p <= 1):
        raise ConfigError(expected("top_p", "more than 0 and at most 1", repr(top_p)))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
