"""Many runs of one command: which settings vary, between which values, and within which budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unrolled.errors import ConfigError, expected
from unrolled.spec.fields import Setting, check, setting, settings

__all__ = [
    "MOST_TRIALS",
    "OF_THE_SWEEP",
    "Range",
    "SweepCall",
    "SweepConfig",
    "command_words",
    "read_words",
    "word_of",
]

MOST_TRIALS = 10_000
OF_THE_SWEEP = ("run", "resume", "overwrite")  # settings of a trial that only the sweep sets
DECADE = 10.0  # times its low end, from which on a range is drawn by its logarithm
TRUTH = {"yes": True, "true": True, "no": False, "false": False}


@dataclass(frozen=True)
class Range:
    """Every number between two: `Range(1e-4, 1e-2)`. Whole ends give whole numbers."""

    low: float
    high: float

    def __post_init__(self) -> None:
        numbers = all(isinstance(end, (int, float)) and not isinstance(end, bool) for end in self._ends)
        if not (numbers and -1e300 < self.low < self.high < 1e300):
            raise ConfigError(
                expected("range", "two numbers, the lower one first", f"{self.low}..{self.high}")
            )

    @property
    def _ends(self) -> tuple[float, float]:
        return self.low, self.high

    @property
    def whole(self) -> bool:
        """Whether it is drawn as whole numbers."""
        return all(isinstance(end, int) for end in self._ends)

    @property
    def logarithmic(self) -> bool:
        """Whether it is drawn by its logarithm: where it spans a factor of ten or more."""
        return self.low > 0 and self.high >= DECADE * self.low

    def __str__(self) -> str:
        return f"{self.low:g}..{self.high:g}"


@dataclass(frozen=True)
class SweepConfig:
    """How many runs `unrolled sweep` makes, and where; `sweep.run(config, axes, SweepConfig(trials=20))`."""

    study: str | None = setting(
        None,
        "directory of the study, in which every trial is a run; the same command continues it, and "
        "several commands may work on it at once; default: runs/<name of the source>-sweep",
        flag="--study",
        metavar="DIR",
    )
    trials: int | None = setting(
        None,
        "number of trials in the study; default: every combination where each setting has a list of values; "
        "a range needs this flag or --total-minutes. A larger number adds trials to a finished study",
        flag="--trials",
        minimum=1,
        maximum=MOST_TRIALS,
    )
    total_minutes: float | None = setting(
        None,
        "time budget of this command; trials that are not finished by then are stopped and saved, and the "
        "same command continues them (--minutes is the budget of one trial)",
        flag="--total-minutes",
        above=0,
        maximum=100_000,
    )
    workers: int = setting(
        1,
        "trials that run at a time, each in a process of its own; without --threads they share the "
        "processors",
        flag="--workers",
        minimum=1,
        maximum=256,
    )
    sweep_seed: int = setting(
        0,
        "seed of the order of combinations and of the random draws; --seed is that of a trial's training",
        flag="--sweep-seed",
        minimum=0,
        maximum=2**32 - 1,
    )
    prune: bool = setting(
        True,
        "stop a trial whose lowest validation loss is above the median of those that finished trials had at "
        "the same share of the run; begins once five are finished, and spares the first third of each run",
        flag="--prune",
        negative=True,
    )

    def __post_init__(self) -> None:
        check(self)
        if self.study is not None and (not self.study or "\0" in self.study):
            raise ConfigError(expected("study", "a directory or a new path", repr(self.study)))


@dataclass(frozen=True)
class SweepCall:
    """What `unrolled sweep` takes beside a `SweepConfig`: another thing to do with it than to train."""

    dry_run: bool = setting(
        False,
        "list the trials and their settings; train nothing and write nothing",
        flag="--dry-run",
    )


def read_words(s: Setting, words: Sequence[Any]) -> Any:
    """Return what a flag was given: one value, a tuple of several, or a Range.

    Several values are separated by commas, or the flag is repeated; a text of any form (a column, a file) may
    hold commas of its own, so it is repeated. `LOW..HIGH` is a range of numbers.

    Args:
        words: a word for each time that the flag was given; None: it had none, True: it is on, False: off.
    Raises:
        ConfigError: an empty value, one of another type, one value twice, or a range among other values.
    """
    found: list[Any] = []
    for word in words:
        if isinstance(word, str) and (s.type is not str or s.choices):
            found += [_value(s, part, word) for part in word.split(",")]
        else:
            found.append(word if word is not None or s.bare is None else s.bare)
    if len(found) == 1:
        return found[0]
    for place, value in enumerate(found):
        if isinstance(value, Range):
            raise ConfigError(expected(s.name, "one range alone", f"{value} beside other values"))
        if value in found[:place]:
            raise ConfigError(expected(s.name, "values that differ", f"{word_of(value)} twice"))
    return tuple(found)


def _value(s: Setting, part: str, word: str) -> Any:
    part = part.strip()
    if not part:
        raise ConfigError(expected(s.name, "values separated by commas", f"an empty one in {word!r}"))
    if s.type is bool:
        if part not in TRUTH:
            hint = f"; write SOURCE before {s.flag}"
            raise ConfigError(expected(s.name, "yes, no or yes,no", repr(part) + hint))
        return TRUTH[part]
    if ".." in part and s.type in (int, float):
        low, _, high = part.partition("..")
        try:
            return Range(s.type(low), s.type(high))
        except ValueError:
            such = "64..512" if s.type is int else "1e-4..1e-2"
            want = f"a range such as {such}, its lower end first"
            raise ConfigError(expected(s.name, want, repr(part))) from None
    try:
        return s.type(part)
    except ValueError:
        want = "a whole number" if s.type is int else "a number"
        raise ConfigError(expected(s.name, want, repr(part))) from None


def command_words(cls: type, given: Mapping[str, Any], *, skip: Sequence[str] = ()) -> list[str]:
    """Return the words of a command line that give settings of a config class: `["--lr", "0.003"]`.

    Words without a flag, such as SOURCE, come first.
    """
    words: list[str] = []
    flags: list[str] = []
    for s in settings(cls):
        if s.flag is None or s.name not in given or s.name in skip:
            continue
        value = given[s.name]
        if not s.flag.startswith("-"):
            words.append(str(value))
        elif isinstance(value, bool):
            on = [s.flag] if value else []
            flags += on or ([s.flag.replace("--", "--no-", 1)] if s.negative else [])
        elif value is None:
            flags.append(s.flag)
        else:
            text = word_of(value)
            flags += [f"{s.flag}={text}"] if text.startswith("-") else [s.flag, text]
    return [*words, *flags]


def word_of(value: Any) -> str:
    """Return a value as the command line takes it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.12g}" if isinstance(value, float) else str(value)
