"""What a task's answers depend on, where the truth is known: answers that are written down, not trained."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from unrolled import probe
from unrolled.errors import ConfigError, ShapeError
from unrolled.probe.answer_findings import answer_findings
from unrolled.probe.measurements import Measurements
from unrolled.tasks import Answers, Figure, Step

ROWS, STEPS = 200, 30
Array = np.ndarray[Any, Any]
Formula = Callable[[Mapping[str, Tensor]], Tensor]


def rmse(truth: Array) -> tuple[Figure, Callable[[Array], Array]]:
    def of(answers: Array, rows: Array) -> float:
        return float(np.sqrt(np.square(answers[rows] - truth[rows]).mean()))

    return Figure("RMSE", of, higher=False, best=0.0, unit="kg"), lambda a: np.square(a - truth[: len(a)])


def known(
    formula: Formula, *, truth: Formula | None = None, names: str = "abc", noise: float = 0.1, **more: Any
) -> probe.Exchange:
    """Samples of independent numbers, and answers that are a formula of them."""
    generator = torch.Generator().manual_seed(0)
    columns = {name: torch.randn(STEPS, ROWS, 1, generator=generator) for name in names}
    right = (truth or formula)(columns) + noise * torch.randn(ROWS, generator=generator)
    figure, loss = rmse(right.double().numpy())
    given = Answers(
        columns=columns,
        lengths=None,
        answer=lambda columns, _: formula(columns).numpy(),
        figure=figure,
        loss=loss,
        **{"step": Step(1.0, "h"), "choose": lambda kept: "--columns " + ",".join(kept), **more},
    )
    return probe.Exchange.of(given, 100)


def back(name: str, lag: int) -> Formula:
    return lambda columns: columns[name][-1 - lag, :, 0]


def measured(exchange: probe.Exchange, **more: Any) -> Measurements:
    try:
        columns = probe.columns(exchange)
    except ConfigError:
        columns = None
    return Measurements(
        "", {}, None, reach=probe.reach(exchange), columns=columns, lag_map=probe.lag_map(exchange), **more
    )


def names(report: Measurements) -> list[str]:
    return [each.name for each in answer_findings(report)]


def test_an_answer_that_hangs_on_one_column_twelve_steps_back_is_seen_to():
    exchange = known(back("a", 12))
    found = probe.reach(exchange)
    end, start = found.sides
    assert (end.name, end.half, end.most) == ("end", 13, 13)  # with the last 13 steps, lag 12 is seen
    assert (start.name, start.half, start.most) == ("start", 18, 18)
    assert end.most_interval.low == end.most_interval.high == 13
    assert np.allclose(end.share[end.steps <= 12], 1)
    assert np.allclose(end.share[end.steps >= 13], 0)
    assert found.text(end.most) == "13 h"
    lags = probe.lag_map(exchange)
    assert [(lags.columns[c], lags.lag(k)) for c, k in lags.top] == [("a", "12")]
    wide = dataclasses.replace(lags, width=2, step=1.0, unit="h")
    assert wide.span(int(lags.top[0][1])) == "12 h to 13 h"
    assert lags.share.sum() == pytest.approx(1)


def test_shares_are_total_effects_of_independent_inputs():
    """y = 3·a_2 + 1·b_9: by Sobol's indices, 0.9 of the variance is a's, 0.1 b's."""
    exchange = known(lambda c: 3 * c["a"][-3, :, 0] + c["b"][-10, :, 0])
    end = probe.reach(exchange).sides[0]
    between = end.share[(end.steps > 2) & (end.steps < 10)]
    assert np.allclose(between, 0.1, atol=0.04)
    assert (end.low <= end.share).all()
    assert (end.share <= end.high).all()
    found = probe.columns(exchange)
    assert [each.name for each in found.columns] == ["a", "b", "c"]
    assert found.columns[0].share == pytest.approx(0.9, abs=0.04)
    assert found.columns[1].share == pytest.approx(0.1, abs=0.03)
    assert found.columns[2].share == 0
    assert [found.helps(each) for each in found.columns] == [True, True, False]


def test_interactions_count_for_both_columns():
    found = probe.columns(known(lambda c: c["a"][-1, :, 0] * c["b"][-1, :, 0], names="ab"))
    assert all(each.share > 0.9 for each in found.columns)
    assert found.unused == ()


def test_a_column_without_use_is_found_and_the_flag_names_the_others():
    report = measured(known(lambda c: c["a"][-1, :, 0] + c["b"][-5, :, 0]))
    assert report.columns is not None
    assert report.columns.unused == ("c",)
    (finding,) = answer_findings(report)
    assert (finding.name, finding.flag) == ("unused", "--columns a,b")


def test_two_columns_that_say_the_same_are_not_both_called_useless():
    def either(columns: Mapping[str, Tensor]) -> Tensor:
        a, b = columns["a"][-1, :, 0], columns["b"][-1, :, 0]
        return torch.where(a.abs() > b.abs(), a, b)

    exchange = known(either, names="abc")
    twin = dict(exchange.answers.columns) | {"b": exchange.answers.columns["a"]}
    figure, loss = rmse(twin["a"][-1, :, 0].double().numpy())
    given = dataclasses.replace(exchange.answers, columns=twin, figure=figure, loss=loss)
    found = probe.columns(probe.Exchange.of(given, 100))
    assert "c" in found.unused
    assert not {"a", "b"} <= set(found.unused)


def test_of_columns_that_stand_in_for_each_other_one_is_kept_and_what_is_of_no_use_is_not():
    """The middle one of three equal columns stays what it is as long as two of them do."""

    def middle(columns: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([columns[name][-1, :, 0] for name in "abc"]).median(0).values

    exchange = known(middle, names="abcd")
    alike = dict(exchange.answers.columns) | dict.fromkeys("bc", exchange.answers.columns["a"])
    figure, loss = rmse(alike["a"][-1, :, 0].double().numpy())
    given = dataclasses.replace(exchange.answers, columns=alike, figure=figure, loss=loss)
    unused = set(probe.columns(probe.Exchange.of(given, 100)).unused)
    assert "d" in unused
    assert len(unused & set("abc")) == 1


def test_every_sample_has_a_partner_which_is_never_itself_and_another_in_each_draw():
    exchange = known(back("a", 1))
    drawn = [exchange.partners(n) for n in range(20)]
    for each in drawn:
        assert sorted(each) == list(range(ROWS))
        assert (each != np.arange(ROWS)).all()
    assert len({each.tobytes() for each in drawn}) == 20


def test_a_column_that_gives_the_answer_alone_is_called_a_possible_leak():
    report = measured(known(lambda c: c["b"][-1, :, 0] + 0.01 * c["a"][-3, :, 0], noise=0.01))
    found = list(answer_findings(report))
    assert [each.name for each in found] == ["leak"]
    assert found[0].flag == "--columns a,c"
    assert "b alone" in found[0].problem


def test_an_answer_that_hangs_on_nothing_is_found_and_nothing_else_is():
    silent = known(lambda c: torch.zeros(c["a"].shape[1]), truth=back("a", 3))
    report = measured(silent)
    assert names(report) == ["blind"]
    assert report.reach is not None
    assert report.reach.moved == 0
    assert report.reach.sides[0].most == 0
    wrong = known(back("b", 2), truth=back("a", 3))
    assert names(measured(wrong)) == ["blind"]


def test_healthy_answers_have_no_finding():
    whole = known(lambda c: sum(c[name].mean((0, 2)) * 5 for name in "abc"), season=24, seasonal=True)  # type: ignore[arg-type]
    assert names(measured(whole)) == []


def test_a_season_beyond_the_reach_is_found():
    report = measured(
        known(
            back("a", 4), names="a", season=24, seasonal=True, longer=("take a longer window", "--window 48")
        )
    )
    (finding,) = answer_findings(report)
    assert (finding.name, finding.value, finding.limit, finding.flag) == ("short", 5, 24, "--window 48")
    assert "within 5 h, and the season is 24 h" in finding.problem
    assert names(measured(known(back("a", 25), names="a", season=24, seasonal=True))) == []
    assert names(measured(known(back("a", 4), names="a", season=24))) == []  # nobody knows that it helps


def running(columns: Mapping[str, Tensor]) -> Tensor:
    """The answer after each step: the sum of "a" so far, up to ten steps."""
    return columns["a"][:10, :, 0].sum(0)


def test_the_key_numbers_of_a_printed_report_line_up():
    rows = [
        row
        for row in str(probe.Report(**vars(measured(known(back("a", 25), names="a"))))).splitlines()
        if "half of it" in row
    ]
    assert len(rows) == 2
    assert len({row.index("half of it") for row in rows}) == 1


def test_a_score_stands_from_the_step_on_that_tells():
    def after(columns: Mapping[str, Tensor], _: Tensor | None) -> Array:
        x = columns["a"][..., 0].clone()
        x[10:] = 0
        return np.asarray(x.cumsum(0))

    asked = probe.steps_seen(known(running, names="a", one_way=True, after=after))
    cut = probe.steps_seen(known(running, names="a"))
    for found in (asked, cut):
        assert found.stands == 10
        assert found.lost == pytest.approx(0)
        assert found.score[found.steps == 10] == pytest.approx(found.score[-1])
    assert np.allclose(asked.score[np.isin(asked.steps, cut.steps)], cut.score)
    assert asked.one_way
    assert not cut.one_way


def test_a_score_that_falls_at_the_end_is_found():
    def after(columns: Mapping[str, Tensor], _: Tensor | None) -> Array:
        x = columns["a"][..., 0].clone()
        x[10:] = 0
        found = x.cumsum(0)
        found[20:] *= 0.3
        return np.asarray(found)

    exchange = known(
        lambda c: 0.3 * running(c),
        truth=running,
        names="a",
        one_way=True,
        after=after,
        controls={"ridge": 1.0},
    )
    seen = probe.steps_seen(exchange)
    assert 10 <= seen.peak < 20
    assert seen.control == ("ridge", 1.0)
    report = Measurements("", {}, None, reach=probe.reach(exchange), steps_seen=seen)
    assert [each.name for each in answer_findings(report)] == ["late"]


def ragged(formula: Callable[[Tensor, Tensor], Tensor], edges: tuple[int, int] = (0, 0)) -> probe.Exchange:
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(6, STEPS, (ROWS,), generator=generator)
    ids = torch.randint(1, 9, (STEPS, ROWS), generator=generator)
    at = torch.arange(STEPS)[:, None]
    if edges == (1, 1):
        ids = torch.where((at == 0) | (at == lengths - 1), 0, ids)
    ids[at >= lengths] = -7  # padding must never be read
    truth = formula(ids, lengths).double().numpy()
    figure, loss = rmse(truth)

    def answer(columns: Mapping[str, Tensor], given: Tensor | None) -> Array:
        assert given is not None
        x = columns["text"]
        inside = torch.arange(len(x))[:, None] < given
        assert (x[inside] >= 0).all()
        if edges == (1, 1):
            ends = x.gather(0, given[None] - 1)[0]
            assert (x[0] == 0).all()
            assert (ends == 0).all()
        return formula(x, given).numpy()

    given = Answers(columns={"text": ids}, lengths=lengths, answer=answer, figure=figure, loss=loss,
                    edges=edges, step=Step(1.0, "character"))  # fmt: skip
    return probe.Exchange.of(given, 100)


@pytest.mark.parametrize("edges", [(0, 0), (1, 1)])
def test_ragged_samples_are_exchanged_by_their_distance_from_the_end(edges: tuple[int, int]):
    def third_last(ids: Tensor, lengths: Tensor) -> Tensor:
        return ids.gather(0, (lengths - 3 - edges[1]).clamp(min=0)[None])[0].float()

    exchange = ragged(third_last, edges)
    found = probe.reach(exchange)
    assert found.sides[0].most == 3
    lags = probe.lag_map(exchange)
    assert [lags.lag(k) for _, k in lags.top] == ["2"]
    assert probe.steps_seen(exchange).longest == exchange.longest == int(exchange.lengths.max()) - sum(edges)
    with pytest.raises(ConfigError, match="at least two columns"):
        probe.columns(exchange)


def test_a_text_that_is_read_one_way_is_scored_after_as_many_characters_as_when_it_is_cut_there():
    """The boundary before the characters is none of them."""

    def summed(ids: Tensor, lengths: Tensor) -> Tensor:
        return torch.where(torch.arange(len(ids))[:, None] < lengths, ids, 0).sum(0).float()

    def after(columns: Mapping[str, Tensor], _: Tensor | None) -> Array:
        return np.asarray(columns["text"].cumsum(0), np.float64)

    cut = ragged(summed, (1, 1))
    asked = dataclasses.replace(cut.answers, after=after, one_way=True)
    whole, parts = probe.steps_seen(probe.Exchange.of(asked, 100)), probe.steps_seen(cut)
    scores = dict(zip(whole.steps.tolist(), whole.score, strict=True))
    both = {
        steps: score
        for steps, score in zip(parts.steps.tolist(), parts.score, strict=True)
        if steps in scores
    }
    assert len(both) > 9
    assert {steps: scores[steps] for steps in both} == pytest.approx(both)


def test_an_answer_at_each_step_is_looked_at_from_its_own_step():
    generator = torch.Generator().manual_seed(0)
    columns = {name: torch.randn(STEPS, ROWS, 1, generator=generator) for name in "ab"}

    def answer(given: Mapping[str, Tensor], _: Tensor | None) -> Array:
        a = given["a"][..., 0]
        return (torch.roll(a, 2, 0) + 2 * torch.roll(a, -1, 0)).unsqueeze(-1).numpy()  # 2 before, 1 after

    def of(answers: Array, rows: Array) -> float:
        return float(answers[:, rows].mean())

    given = Answers(columns=columns, lengths=None, answer=answer, figure=Figure("F1", of, True, 1.0),
                    loss=lambda a: np.square(a).mean((0, 2)), per_step=True)  # fmt: skip
    exchange = probe.Exchange.of(given, 100)
    before, after = probe.reach(exchange).sides
    assert (before.name, after.name) == ("before", "after")
    assert (before.half, before.most) == (0, 3)
    assert after.most == 2
    lags = probe.lag_map(exchange)
    assert {(lags.columns[c], lags.lag(k)) for c, k in lags.top[:2]} == {("a", "2"), ("a", "1 ahead")}
    found = probe.columns(exchange)
    assert [each.share > 0 for each in found.columns] == [True, False]
    with pytest.raises(ConfigError, match="one for each sample"):
        probe.steps_seen(exchange)


def test_the_same_samples_give_the_same_numbers_and_json_holds_them():
    first, second = (measured(known(back("a", 12))).to_dict() for _ in range(2))
    assert first == second
    json.dumps(first, allow_nan=False)


def test_one_sample_has_no_partner():
    exchange = known(back("a", 1))
    with pytest.raises(ShapeError, match="at least 2, to exchange"):
        probe.Exchange.of(exchange.first(1).answers, 100)


@pytest.mark.parametrize(
    ("seconds", "steps", "text"),
    [
        (3600, 31, "31 h"),
        (900, 3, "45 min"),
        (86400, 2, "2 d"),
        (0.02, 31, "0.62 s"),
        (0.5, 1, "0.5 s"),
        (90, 2, "180 s"),
    ],
)
def test_steps_are_said_in_their_unit(seconds: float, steps: int, text: str):
    assert Step.of_seconds(seconds).text(steps) == text
