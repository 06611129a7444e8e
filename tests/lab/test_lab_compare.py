"""The rank test, beside an independent one and by its laws."""

from __future__ import annotations

import itertools
import math

import pytest

from unrolled.errors import ConfigError
from unrolled.lab.compare import differ

INF = math.inf


def wins(mine: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Count the pairs in which the first is smaller, equals half: Mann and Whitney's U."""
    return sum((a < b) + 0.5 * (a == b) for a in mine for b in other)


def counted(mine: list[float], other: list[float]) -> float:
    """Return p by pairs instead of ranks: how often a split of the same values is as uneven as this one."""
    values, half = [*mine, *other], len(mine) * len(other) / 2
    seen = abs(wins(tuple(mine), tuple(other)) - half)
    places = set(range(len(values)))
    splits = list(itertools.combinations(range(len(values)), len(mine)))
    uneven = [
        abs(wins(tuple(values[i] for i in s), tuple(values[i] for i in places - set(s))) - half)
        for s in splits
    ]
    return sum(one >= seen - 1e-9 for one in uneven) / len(splits)


@pytest.mark.parametrize(
    ("mine", "other"),
    [
        ([1.0, 2.0, 3.0, 4.0, 5.0], [6.0, 7.0, 8.0, 9.0, 10.0]),
        ([1.0, 2.0, 2.0, 9.0], [2.0, 3.0, 8.0, 8.0, 8.0]),
        ([3.0, INF, INF, 4.0, 5.0], [INF, INF, INF, INF, 6.0]),
        ([7.0], [1.0, 2.0]),
    ],
)
def test_the_chance_is_that_of_counting_pairs_over_every_split(mine: list[float], other: list[float]):
    found = differ([(mine, other)])
    assert found["p"] == pytest.approx(counted(mine, other))
    side = wins(tuple(mine), tuple(other)) - len(mine) * len(other) / 2
    assert found["ahead"] == (side > 0) - (side < 0)
    turned = differ([(other, mine)])
    assert (turned["ahead"], turned["p"]) == (-found["ahead"], pytest.approx(found["p"]))


def test_five_runs_that_are_all_smaller_are_as_rare_as_can_be():
    five = [1.0, 2.0, 3.0, 4.0, 5.0], [6.0, 7.0, 8.0, INF, INF]
    assert differ([five]) == {"ahead": 1, "p": pytest.approx(2 / math.comb(10, 5))}
    assert differ([five] * 3) == {"ahead": 1, "p": pytest.approx(2 / math.comb(10, 5) ** 3)}


def test_settings_that_point_opposite_ways_cancel_and_equal_ones_say_nothing():
    ahead = [1.0, 2.0, 3.0], [4.0, 5.0, 6.0]
    assert differ([ahead, ahead[::-1]]) == {"ahead": 0, "p": 1.0}
    assert differ([([INF, INF], [INF, INF])]) == {"ahead": 0, "p": 1.0}
    assert differ([]) == {"ahead": 0, "p": 1.0}
    assert differ([ahead, ([INF] * 3, [INF] * 3)])["p"] == pytest.approx(differ([ahead])["p"])


def test_what_cannot_be_ranked_is_refused():
    for pair in (([], [1.0]), ([1.0], []), ([math.nan], [1.0])):
        with pytest.raises(ConfigError, match=r"^pairs: expected groups of at least one number"):
            differ([pair])
