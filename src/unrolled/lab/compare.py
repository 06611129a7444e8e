"""Whether two groups of runs differ: an exact rank test, and one over several settings at once."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence

from unrolled.errors import ConfigError, expected
from unrolled.lab.experiment import Json

__all__ = ["SIGNIFICANT", "differ"]

SIGNIFICANT = 0.05  # a difference that chance makes more rarely than this is one


def differ(pairs: Sequence[tuple[Sequence[float], Sequence[float]]]) -> Json:
    """Return {ahead, p}: whether the first group's values are smaller than the second's, setting by setting.

    The sum of ranks of the first group is added up over the settings and compared with what every assignment
    of the same values to the groups gives, within each setting: exact, two-sided, for ties too (middle
    ranks). With five runs on either side, one setting gives p = 2/252 at the least.

    Args:
        pairs: (first group, second group) of each setting; smaller is better, infinity is a run that did not
            get there, and two of these are equal.
    Returns:
        ahead: 1 where the first group has the smaller values, -1 the larger, 0 neither. p: how often chance
        gives a difference at least as large.
    Raises:
        ConfigError: a group is empty, or a value is NaN.
    Source: the rank sum of Wilcoxon 1945; its stratified form is van Elteren's of 1960, with equal weights.
    """
    total, counts = 0, Counter({0: 1})
    for mine, other in pairs:
        if not mine or not other or any(map(math.isnan, (*mine, *other))):
            raise ConfigError(expected("pairs", "groups of at least one number", (list(mine), list(other))))
        ranks = _twice_ranks([*mine, *other])
        centre = len(mine) * (len(ranks) + 1)  # twice the expected sum of ranks
        total += sum(ranks[: len(mine)]) - centre
        sums = Counter(sum(chosen) - centre for chosen in itertools.combinations(ranks, len(mine)))
        joined: Counter[int] = Counter()
        for (one, many), (two, times) in itertools.product(counts.items(), sums.items()):
            joined[one + two] += many * times
        counts = joined
    as_far = sum(count for value, count in counts.items() if abs(value) >= abs(total))
    return {"ahead": (total < 0) - (total > 0), "p": as_far / sum(counts.values())}


def _twice_ranks(values: Sequence[float]) -> list[int]:
    """Return twice the rank of each value, 1 the smallest, equal ones the middle of theirs."""
    ordered = sorted(values)
    first = {value: place for place, value in reversed(list(enumerate(ordered)))}
    many = Counter(ordered)
    return [2 * first[value] + many[value] + 1 for value in values]
