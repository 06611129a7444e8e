"""Text from a trained network, streamed as it is drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from unrolled.errors import ConfigError, TokenError, expected
from unrolled.models import Loaded, generate

__all__ = ["sample"]


def sample(
    loaded: Loaded,
    prompt: str = "",
    *,
    length: int = 400,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
) -> Iterator[str]:
    """Yield pieces of text that continue `prompt`; the prompt warms the state and is not repeated.

    Args:
        loaded: what `unrolled.load` returns.
        prompt: text that comes before; empty for the start of a document or line.
        length: symbols to draw.
        temperature: 0 takes the likeliest symbol each time.
        top_k, top_p: draw among the k likeliest, or the smallest set with probability top_p.
        seed: the same seed gives the same text; None draws one.
    Raises:
        ConfigError: a setting is out of range. TokenError: the prompt holds symbols that the model
            does not know.
    """
    if length < 1:
        raise ConfigError(expected("length", "at least 1", length))
    if seed is not None and seed < 0:
        raise ConfigError(expected("seed", "0 or more", seed))
    tokens = loaded.tokens
    ids = tokens.encode(prompt)
    unknown = tokens.count_unknown(ids)
    if unknown:
        kinds = "".join(sorted({c for c in prompt if tokens.count_unknown(tokens.encode(c))}))
        raise TokenError(
            expected("prompt", "symbols of the model's vocabulary", f"{unknown} unknown: {kinds!r}")
        )
    data = loaded.config.get("data")
    lines = isinstance(data, Mapping) and data.get("shape") == "lines"
    drawn = generate(
        loaded.model,
        [tokens.boundary, *ids.tolist()],
        length=length,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        generator=np.random.default_rng(seed),
        banned=() if tokens.unknown is None else (tokens.unknown,),
        restart_at=tokens.boundary if lines else None,
    )
    decoder = tokens.decoder()
    for token in ids:
        decoder.feed(int(token))  # a word after the prompt starts with a blank
    for token in drawn:
        yield decoder.feed(token)
    yield decoder.finish()
