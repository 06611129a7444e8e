"""Examine: a trained network from its files and a text, reported."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from unrolled.data import Batch, Split, StreamBatches, encode_source, gather, reopen
from unrolled.errors import CheckpointError, ConfigError, DataError, ShapeError, expected
from unrolled.probe.batch import LARGEST, at_least_one
from unrolled.probe.page import check_place
from unrolled.probe.report import Report, Watch, report
from unrolled.spec import DataConfig, RunDirectory, from_json
from unrolled.tasks import Loaded, load

__all__ = ["examine"]

LAGS = 64  # by default, where the text is long enough
ROWS, LINES = 16, 64  # side by side: of a stream, and lines
STEPS = 1024  # a row of a stream has at most


def examine(
    run: str | Path,
    source: str | None = None,
    *,
    lags: int | None = None,
    known_lag: int | None = None,
    html: str | Path | None = None,
    progress: Watch | None = None,
) -> Report:
    """Measure a trained network on a text, and say what is wrong with it.

    Args:
        run: a run, a checkpoint or a model directory.
        source: a text, as `unrolled train` takes it; default the part that the run held out.
        lags: how far back; default 64, and less where the text is short (the report says so).
        known_lag: steps between an input and the prediction that needs it, where the task's are known.
        html: also write the report there, as one page.
        progress: called with (measurement, done, of how many).
    Returns:
        A report; `str` is a summary.
    Raises:
        RunError, CheckpointError, TokenError: as `unrolled.load`; or the page cannot be written, which is
        seen before anything is measured. DataError: there is no text, or it cannot be read. ShapeError: the
        text is shorter than the lags. ConfigError: a setting is out of range.
    """
    at_least_one(lags=lags, known_lag=known_lag)
    if html is not None:
        check_place(Path(html))
    loaded = load(run)
    config = from_json(DataConfig, loaded.config.get("data"), where="config.json data")
    wanted = lags or max(LAGS, known_lag or 0)
    with _text(Path(run), source, loaded, config) as (split, name):
        batch = _lines(split, wanted, loaded) if config.shape == "lines" else _stream(split, wanted, loaded)
        unknown = loaded.tokens.count_unknown(split.ids)
    used = lags or _fitting(batch, wanted)
    model = loaded.model.config
    kind = f"{model.cell.upper()} {model.num_layers} x {model.hidden_size}"
    bptt_steps = _window(_settings(loaded)) if config.shape == "stream" else None
    steps, rows = batch.inputs.shape
    facts = {
        "model": f"{kind}, {sum(p.numel() for p in loaded.model.parameters()):,} parameters"
        + ("" if loaded.step is None else f", step {loaded.step}"),
        "text": f"{name}: {batch.count:,} of {split.num_targets:,} {loaded.tokens.kind} tokens"
        + (f", {unknown:,} of all unknown" if unknown else ""),
        "measured": f"{rows} rows of {'up to ' if batch.lengths is not None else ''}{steps} steps, "
        f"{used} lags" + (f" (fewer than {wanted}, as the rows are short)" if used < wanted else ""),
    }
    if bptt_steps is not None:
        facts["trained"] = f"with windows of {bptt_steps} steps"
    found = report(
        loaded.model, batch, lags=used, bptt_steps=bptt_steps, known_lag=known_lag,
        title=f"{run}: {kind}", facts=facts, trained=_settings(loaded), run=str(run), progress=progress,
    )  # fmt: skip
    if html is not None:
        found.plot(html)
    return found


@contextmanager
def _text(run: Path, source: str | None, loaded: Loaded, config: DataConfig) -> Iterator[tuple[Split, str]]:
    """Give the text, and what it is called; one encoded for this lies in a folder until the end."""
    if config.shape == "auto":
        raise CheckpointError(expected("config.json data.shape", "lines or stream", "auto"))
    if source is not None:
        with tempfile.TemporaryDirectory() as folder:
            split = encode_source(source, loaded.tokens, config.shape, Path(folder))
            yield _not_empty(split), source
        return
    homes = (RunDirectory(run), RunDirectory.around(run.resolve()))
    home = next((each for each in homes if each.corpus.is_file()), None)
    if home is None:
        raise DataError(expected("FILE", f"a text, as {run} has no data beside it", "none"))
    corpus = reopen(home.data, loaded.tokens)
    part = "the training text" if corpus.validation_is_train else "held out"
    yield _not_empty(corpus.validation), f"{corpus.name}, {part}"


def _not_empty(split: Split) -> Split:
    if split.num_targets < 2:
        raise DataError(expected("text", "at least two tokens", split.num_targets))
    return split


def _stream(split: Split, lags: int, loaded: Loaded) -> Batch:
    """Return the first steps of the rows that the text is cut into; fewer rows, where it is short."""
    symbols = loaded.model.config.vocab_size
    rows = max(2, min(ROWS, split.num_targets // (2 * lags), LARGEST // (2 * lags * symbols)))
    steps = max(2 * lags, min(STEPS, LARGEST // (rows * symbols)))
    batch = next(iter(StreamBatches(split, batch_size=rows, bptt_steps=steps, seed=0).epoch(0)))
    resets = batch.resets
    if resets is not None:
        resets[0] = False  # the state is zero there anyway
        resets = resets if bool(resets.any()) else None
    return Batch(batch.inputs, batch.targets, None, resets)


def _lines(split: Split, lags: int, loaded: Loaded) -> Batch:
    """Return the beginnings of lines of the text, drawn by a fixed seed."""
    count, most = len(split.starts), max(STEPS, 2 * lags)
    drawn = np.random.default_rng(0).choice(count, min(LINES, count), replace=False)
    longest = min(int(split.lengths(drawn).max()), most)
    drawn = np.sort(drawn[: max(2, LARGEST // (longest * loaded.model.config.vocab_size))])
    return gather(split, split.starts[drawn], np.minimum(split.lengths(drawn), most))


def _fitting(batch: Batch, lags: int) -> int:
    """Return as many lags as half of a row holds, at most those wanted."""
    longest = len(batch.inputs)
    typical = longest if batch.lengths is None else int(np.median(batch.lengths.numpy()))
    if longest < 2:
        raise ShapeError(expected("text", "rows of at least two tokens", longest))
    return max(1, min(lags, typical // 2))


def _settings(loaded: Loaded) -> Mapping[str, Any]:
    """Return how a network was trained; empty where its config.json does not say."""
    stored = loaded.config.get("training")
    return stored if isinstance(stored, Mapping) else {}


def _window(training: Mapping[str, Any]) -> int | None:
    """Return the window of truncated back-propagation that a config.json names; None where it names none."""
    stored = training.get("bptt_steps")
    if stored is not None and (isinstance(stored, bool) or not isinstance(stored, int) or stored < 1):
        raise ConfigError(expected("config.json training.bptt_steps", "a whole number of at least 1", stored))
    return stored
