"""Text from a trained network, streamed as it is drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from unrolled.data import normalised
from unrolled.errors import TokenError, expected
from unrolled.spec import SampleConfig
from unrolled.tasks import Loaded, continuation
from unrolled.tokens import Tokens

__all__ = ["sample"]


def sample(
    loaded: Loaded,
    prompt: str = "",
    *,
    length: int = 400,
    temperature: float = 0.8,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
) -> Iterator[str]:
    """Return pieces of text that continue `prompt`; the prompt warms the state and is not repeated.

    Args:
        loaded: what `unrolled.load` returns.
        prompt: text that comes before; empty for the start of a document or line. It is read as a corpus
            is: without a byte-order mark, "\\n" for line ends.
        length: symbols to draw.
        temperature: 0 takes the likeliest symbol each time, 1 draws as the model says.
        top_k, top_p: draw among the k likeliest, or the smallest set with probability top_p.
        seed: the same seed gives the same text; None draws one.
    Raises:
        ConfigError: a setting is out of range. TokenError: the prompt holds symbols that the model
            does not know.
    """
    SampleConfig(str(loaded.path), prompt, length, temperature, top_k, top_p, seed)
    prompt = normalised(prompt)
    ids = loaded.tokens.encode(prompt)
    _check_known(loaded.tokens, prompt)
    data = loaded.config.get("data")
    drawn = continuation(
        loaded.model,
        loaded.tokens,
        ids.tolist(),
        lines=isinstance(data, Mapping) and data.get("shape") == "lines",
        length=length,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        generator=np.random.default_rng(seed),
    )
    return _texts(loaded.tokens, ids.tolist(), drawn)


def _check_known(tokens: Tokens, prompt: str) -> None:
    unknown = tokens.unknown_symbols(prompt)
    if unknown:
        named = " ".join(map(repr, unknown[:5])) + (" …" if len(unknown) > 5 else "")
        raise TokenError(expected("prompt", "symbols of the model's vocabulary", f"unknown ones: {named}"))


def _texts(tokens: Tokens, prompt: Sequence[int], drawn: Iterator[int]) -> Iterator[str]:
    decoder = tokens.decoder()
    for token in prompt:
        decoder.feed(token)  # a word after the prompt starts with a blank
    for token in drawn:
        yield decoder.feed(token)
    yield decoder.finish()
