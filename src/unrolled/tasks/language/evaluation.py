"""How well a model predicts a text, with the state carried through it and from cold windows."""

from __future__ import annotations

import itertools
import math
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unrolled.data import LineBatches, Split, carried_windows, cold_windows, encode_source
from unrolled.errors import CheckpointError, ConfigError, DataError, counted, expected
from unrolled.files import for_json
from unrolled.spec import DataConfig, from_json
from unrolled.tasks.group import Group
from unrolled.tasks.loading import Loaded
from unrolled.tasks.protocol import SequenceModel

__all__ = ["COLD_STEPS", "Evaluation", "Score", "evaluate_split", "evaluate_text"]

COLD_STEPS = 256  # nanoGPT's window
ROWS = 64  # lines side by side, fewer where they are long
LONG_LINE = 4096


@dataclass(frozen=True)
class Score:
    """A summed loss over a text. `characters` is the length of the text, whatever the symbols are."""

    nats: float
    tokens: int
    characters: int

    @property
    def nats_per_token(self) -> float:
        return self.nats / self.tokens

    @property
    def bits_per_char(self) -> float:
        return self.nats / math.log(2) / self.characters

    @property
    def perplexity(self) -> float:
        return math.exp(min(self.nats_per_token, 700.0))

    def to_dict(self) -> dict[str, float | None]:
        """Return the three rates; None where one is not finite, which JSON cannot hold."""
        names = ("nats_per_token", "bits_per_char", "perplexity")
        return {name: for_json(getattr(self, name)) for name in names}


@dataclass(frozen=True)
class Evaluation:
    """Scores of one text. A line corpus has one score: every line starts cold by itself."""

    shape: str  # "lines" | "stream"
    carried: Score  # the state is carried through the whole text (lines: through each line)
    cold: Score | None  # windows of `cold_steps`, each from the zero state
    cold_steps: int | None
    tokens: int
    characters: int
    unknown: int  # symbols outside the vocabulary, scored as <unk>
    characters_estimated: bool = False  # of the beginning of a long text of words; so is bits_per_char

    def to_dict(self) -> dict[str, object]:
        named = {
            **self.carried.to_dict(),
            **{k: v for k, v in asdict(self).items() if k not in ("carried", "cold")},
        }
        if self.cold is not None:
            named["cold"] = self.cold.to_dict()
        return named

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Evaluation:
        """Return the evaluation that `to_dict` described, its sums from the rates; other keys are ignored.

        Raises:
            DataError: a key is missing or of another type.
        """
        try:
            tokens, characters = int(stored["tokens"]), int(stored["characters"])
            cold = stored.get("cold")
            return cls(
                shape=str(stored["shape"]),
                carried=_score(stored["nats_per_token"], tokens, characters),
                cold=None if cold is None else _score(cold["nats_per_token"], tokens, characters),
                cold_steps=stored["cold_steps"],
                tokens=tokens,
                characters=characters,
                unknown=int(stored["unknown"]),
                characters_estimated=stored.get("characters_estimated") is True,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(expected("evaluation", "what to_dict gives", repr(error))) from error

    def __str__(self) -> str:
        about = "about " if self.characters_estimated else ""
        characters = counted(self.characters, "character")
        lines = [f"{counted(self.tokens, 'token')}, {about}{characters}, {self.unknown:,} unknown"]
        lines.append(_row("each line" if self.shape == "lines" else "carried", self.carried))
        if self.cold is not None:
            lines.append(_row(f"cold:{self.cold_steps}", self.cold))
        return "\n".join(lines)


def _score(nats_per_token: float | None, tokens: int, characters: int) -> Score:
    rate = math.nan if nats_per_token is None else float(nats_per_token)
    return Score(rate * tokens, tokens, characters)


def evaluate_split(
    model: SequenceModel,
    split: Split,
    *,
    shape: str,
    unknown: int,
    cold_steps: int | None = None,
    group: Group | None = None,
) -> Evaluation:
    """Score every target of a split, dropping none.

    Args:
        model: any model of the protocol.
        split: ids and the starts of documents or lines.
        shape: "stream" or "lines".
        unknown: symbols that were outside the vocabulary; reported.
        cold_steps: also score non-overlapping windows of this many tokens, each from the zero state.
        group: the processes that share the work, which all call this; None: one does it.
    Raises:
        DataError: the split has no target.
    """
    if split.num_targets < 1:
        raise DataError(expected("text", "at least one character", "none"))
    group, estimated = Group() if group is None else group, split.estimated
    if shape == "lines":
        rows = ROWS if split.longest <= LONG_LINE else 1
        batches = LineBatches(split, batch_size=rows, seed=0).epoch(0)
        dealt = itertools.islice(batches, group.rank, None, group.world_size)
        nats, tokens = group.summed(model.evaluate(dealt, carry=False))
        each = Score(nats, int(tokens), split.characters)
        return Evaluation(shape, each, None, None, each.tokens, split.characters, unknown, estimated)
    sums = [0.0] * 4
    if group.rank == 0:  # one state goes through all of it
        sums[:2] = model.evaluate(carried_windows(split), carry=True)
    helpers = max(1, group.world_size - 1)  # meanwhile the others score the cold windows
    if cold_steps is not None and (group.rank or group.world_size == 1):
        windows = cold_windows(split, size=min(cold_steps, split.num_targets))
        dealt = itertools.islice(windows, max(0, group.rank - 1), None, helpers)
        sums[2:] = model.evaluate(dealt, carry=False)
    nats, tokens, cold_nats, cold_tokens = group.summed(sums)
    carried = Score(nats, int(tokens), split.characters)
    cold = None if cold_steps is None else Score(cold_nats, int(cold_tokens), split.characters)
    return Evaluation(shape, carried, cold, cold_steps, carried.tokens, split.characters, unknown, estimated)


def evaluate_text(loaded: Loaded, source: str, *, cold_steps: int | None = None) -> Evaluation:
    """Score a text with a trained network, cut as the network's own corpus was.

    Args:
        loaded: what `unrolled.load` returns.
        source: a file, .gz, directory, builtin corpus or - for standard input.
        cold_steps: tokens of the windows that are also scored from the zero state; default 256. A model of
            lines has none: each line starts cold by itself.
    Raises:
        DataError: the source is missing, empty or not text. ConfigError: `cold_steps` is below 1, or given
            for a model of lines.
    """
    if cold_steps is not None and cold_steps < 1:
        raise ConfigError(expected("cold_steps", "at least 1", cold_steps))
    data = from_json(DataConfig, loaded.config.get("data"), where="config.json data")
    if data.shape == "auto":
        raise CheckpointError(expected("config.json data.shape", "lines or stream", "auto"))
    if data.shape == "lines" and cold_steps is not None:
        raise ConfigError(
            expected("cold_steps", "a model of a stream", "one of lines, each of which starts cold")
        )
    with tempfile.TemporaryDirectory() as folder:  # of the ids, which are mapped
        split = encode_source(source, loaded.tokens, data.shape, Path(folder))
        unknown = loaded.tokens.count_unknown(split.ids)
        return evaluate_split(
            loaded.model, split, shape=data.shape, unknown=unknown, cold_steps=cold_steps or COLD_STEPS
        )


def _row(name: str, score: Score) -> str:
    return (
        f"{name:>10}: {score.nats_per_token:.4f} nats/token   {score.bits_per_char:.4f} bits/char   "
        f"perplexity {score.perplexity:,.2f}"
    )
