"""How a network stands among its controls: one rule for every task."""

from __future__ import annotations

import math
from typing import Any

import pytest

from unrolled.tasks.classify import evaluation as classify
from unrolled.tasks.forecast import evaluation as forecast
from unrolled.tasks.standing import beats, control_wins, standing
from unrolled.tasks.tag import evaluation as tag

CASES: list[tuple[Any, str, dict[str, Any], int]] = [
    (classify, "accuracy", {"task": "classify"}, 1),
    (classify, "rmse", {"task": "regress"}, -1),
    (tag, "f1", {}, 1),
    (forecast, "mse", {"levels": ()}, -1),
]


def evaluation(room: Any, figure: str, more: dict[str, Any], own: float, others: list[float]) -> Any:
    """An evaluation of a network with this figure, beside controls "a", "b", …."""
    made = object.__new__(room.Evaluation)  # the fields that differ between tasks do not matter here
    scores = object.__new__(room.Scores)
    object.__setattr__(scores, "values", {figure: own})
    controls = []
    for name, value in zip("abc", others, strict=False):
        control = object.__new__(room.Control)
        control.__dict__.update(name=name, values={figure: value})
        controls.append(control)
    made.__dict__.update(validation=None, test=scores, controls=tuple(controls), **more)
    return made


@pytest.mark.parametrize(("room", "figure", "more", "sign"), CASES)
def test_a_control_wins_ties_or_is_beaten_by_the_figures_that_are_shown(room, figure, more, sign):
    worse, better = 0.9 - sign * 0.1, 0.9 + sign * 0.1

    def stands(*others: float) -> str | None:
        return standing(evaluation(room, figure, more, 0.9, list(others)))

    assert stands(worse, worse) == "The network beats every control on the test part."
    assert stands(worse, 0.9) == "The network is as good as b, and beats the other controls on the test part."
    assert stands(0.9 + sign * 1e-6) == "The network is as good as a on the test part."
    assert stands(better, 0.9) is None
    assert [c.name for c in evaluation(room, figure, more, 0.9, [better, 0.9, worse]).better] == ["a"]
    assert standing(evaluation(room, figure, more, 0.9, [])) is None
    assert control_wins(evaluation(room, figure, more, 0.9, [worse, 0.9]), "score", sign=sign) is None
    said = control_wins(evaluation(room, figure, more, 0.9, [worse, better]), "score", sign=sign)
    assert said is not None
    assert said.startswith(f'A control wins: the score of "b" is {better:.4g}, that of the network 0.9.')


def test_what_is_not_known_beats_nothing():
    assert not beats(None, 0.5)
    assert not beats(math.nan, 0.5)
    assert not beats(0.50001, 0.5)
    assert beats(0.5, 0.50001 + 1e-3, sign=-1)
