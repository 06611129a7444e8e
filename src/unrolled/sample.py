"""Text from a trained network, streamed as it is drawn; without torch, by `unrolled.stream`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from unrolled import checkpoint, draw, files, stream
from unrolled.errors import CheckpointError, ConfigError, TokenError, expected
from unrolled.spec import CELLS, LANGUAGE, SampleConfig, kind_of_stored
from unrolled.tokens import Tokens, normalised

if TYPE_CHECKING:
    from unrolled.tasks import Loaded

__all__ = ["sample"]

LARGEST = 2**26  # bytes of a config.json: a task's schema may hold a vocabulary


def sample(
    loaded: Loaded | stream.Model,
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
        loaded: what `unrolled.stream.load` returns, which needs no torch, or `unrolled.load`.
        prompt: text that comes before; empty for the start of a document or line. It is read as a corpus
            is: without a byte-order mark, "\\n" for line ends.
        length: symbols to draw.
        temperature: 0 takes the likeliest symbol each time, 1 draws as the model says.
        top_k, top_p: draw among the k likeliest, or the smallest set with probability top_p.
        seed: the same seed gives the same text; None draws one.
    Raises:
        ConfigError: a setting is out of range, or the model is none of text. TokenError: the prompt holds
            symbols that the model does not know.
    """
    SampleConfig(str(loaded.path or "a model"), prompt, length, temperature, top_k, top_p, seed)
    tokens = loaded.tokens
    if tokens is None:
        raise ConfigError(expected("run", "a model of text", "one without a vocabulary"))
    prompt = normalised(prompt)
    ids = tokens.encode(prompt).tolist()
    _check_known(tokens, prompt)
    data = loaded.config.get("data")
    settings: dict[str, Any] = {
        "length": length,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "generator": np.random.default_rng(seed),
    }
    lines = isinstance(data, Mapping) and data.get("shape") == "lines"
    if isinstance(loaded, stream.Model):
        return _texts(tokens, ids, _streamed(loaded, tokens, ids, lines, settings))
    from unrolled.tasks import continuation  # loads torch

    return _texts(tokens, ids, continuation(loaded.model, tokens, ids, lines=lines, **settings))


def check_text(run: str | Path) -> bool:
    """Return whether `unrolled.stream` runs a trained network: whether the engine has kernels of it.

    Raises:
        ConfigError: a run, a checkpoint or a model directory is of another task than text.
    """
    place = checkpoint.locate(run) / "config.json"
    raw = files.read_regular(place, LARGEST, CheckpointError)
    stored = files.parse_json(raw, place, CheckpointError, most=16 * LARGEST)
    kind = kind_of_stored(stored)
    if kind is not LANGUAGE:
        got = f"one of the task {kind.name}, with which `unrolled predict` answers"
        raise ConfigError(expected("run", "a model of text", got))
    model = stored.get("model")
    if not isinstance(model, Mapping) or model.get("cell") not in CELLS:
        return True  # what is wrong with it, loading says
    return CELLS[model["cell"]].has_kernels and not model.get("zoneout")


def _streamed(
    model: stream.Model, tokens: Tokens, ids: Sequence[int], lines: bool, settings: dict[str, Any]
) -> Iterator[int]:
    session = model.open()
    return draw.continuation(
        session.step,
        session.reset,
        [tokens.boundary, *ids],
        banned=() if tokens.unknown is None else (tokens.unknown,),
        restart_at=tokens.boundary if lines else None,
        **settings,
    )


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
