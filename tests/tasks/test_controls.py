"""Controls against formulas: ridge by leaving each row out, least squares in closed form, kernels one by one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from unrolled.data import Samples
from unrolled.tasks import controls
from unrolled.tasks.controls.ridge import PENALTIES, fit_ridge
from unrolled.tasks.controls.series import PATTERNS, Standard, fit_kernels, statistics
from unrolled.tasks.controls.texts import LONGEST, PENALTY, NGrams, fit_linear, minimise


def explicit_ridge(x, y, penalty):
    """Weights and intercept by the normal equations, the intercept free."""
    centre, middle = x.mean(0), y.mean(0)
    weights = np.linalg.solve(
        (x - centre).T @ (x - centre) + penalty * np.eye(x.shape[1]), (x - centre).T @ (y - middle)
    )
    return weights, middle - centre @ weights


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("shape", [(8, 3), (6, 9)])  # more rows than features, and fewer
def test_ridge_takes_the_penalty_that_leaving_each_row_out_prefers(shape: tuple[int, int], seed: int):
    draws = np.random.default_rng(seed)
    x = draws.normal(size=shape)
    y = x[:, :2] @ draws.normal(size=(2, 3)) + draws.normal(0, 0.8, (len(x), 3)) + 5
    fitted = fit_ridge(x, y)
    standard = (x - x.mean(0)) / x.std(0)
    errors = []
    for penalty in PENALTIES:
        squares = []
        for row in range(len(x)):
            kept = np.arange(len(x)) != row
            weights, intercept = explicit_ridge(standard[kept], y[kept], penalty)
            squares.append(((standard[row] @ weights + intercept - y[row]) ** 2).mean())
        errors.append(np.mean(squares))
    assert fitted.penalty == PENALTIES[int(np.argmin(errors))]
    weights, intercept = explicit_ridge(standard, y, fitted.penalty)
    np.testing.assert_allclose(fitted(x), standard @ weights + intercept, rtol=1e-6)


def test_ridge_agrees_with_scikit_learn_where_it_is_installed():
    linear = pytest.importorskip("sklearn.linear_model")
    draws = np.random.default_rng(1)
    x = draws.normal(size=(60, 5))
    y = x @ draws.normal(size=(5, 2)) + draws.normal(size=(60, 2))
    fitted = fit_ridge(x, y)
    theirs = linear.Ridge(alpha=fitted.penalty).fit((x - x.mean(0)) / x.std(0), y)
    np.testing.assert_allclose(fitted.weights.T, theirs.coef_, rtol=1e-6)


def test_a_constant_feature_changes_nothing():
    x = np.random.default_rng(0).normal(size=(20, 3))
    y = x[:, :1]
    with_one = np.hstack([x, np.full((20, 1), 7.0)])
    np.testing.assert_allclose(fit_ridge(with_one, y)(with_one), fit_ridge(x, y)(x), rtol=1e-6)


def test_the_linear_model_of_texts_is_least_squares_in_closed_form():
    texts = ["abba", "baab", "cab", "acb", "bca", "aaa", "bc"]
    y = np.array([1.0, 2, 3, 1, 0, 2, 5], np.float32)
    grams = NGrams.fit(texts)
    weights, intercept = fit_linear(grams(texts), y, 0)
    dense = grams(texts).times(np.eye(len(grams.known), dtype=np.float32)).astype(np.float64)
    want, free = explicit_ridge(dense, y[:, None].astype(np.float64), PENALTY)
    np.testing.assert_allclose(dense @ weights + intercept, dense @ want + free, atol=0.1)
    np.testing.assert_allclose(np.linalg.norm(dense, axis=1), 1.0, rtol=1e-5)


def test_n_grams_are_those_of_a_text_between_its_edges():
    text, others = "abc", ["xyz", "ab"]
    grams = NGrams.fit([text, *others])
    edged = f"\n{text}\n"
    wanted = {edged[i : i + n] for n in range(1, LONGEST + 1) for i in range(len(edged) - n + 1)}
    assert len(grams([text]).columns) == len(wanted)
    unknown = grams(["ÄÖÜ"])  # shares its edges alone
    assert len(unknown.columns) == 1


def test_minimise_finds_the_least_of_a_quadratic():
    draws = np.random.default_rng(2)
    root = draws.normal(size=(12, 12))
    matrix, linear = root @ root.T + 0.5 * np.eye(12), draws.normal(size=12)
    found = minimise(lambda x: (float(x @ matrix @ x / 2 - linear @ x), matrix @ x - linear), np.zeros(12))
    np.testing.assert_allclose(found, np.linalg.solve(matrix, linear), atol=0.05)


def test_kernels_are_shares_of_a_convolution_above_thresholds():
    draws = np.random.default_rng(3)
    series = [draws.normal(size=(steps, 2)).astype(np.float32) for steps in (30, 30, 25, 33)]
    kernels = fit_kernels(series, seed=1)
    found = kernels(series)
    assert found.shape == (4, kernels.count)
    standard = Standard.fit(series)
    place = 0
    for group in kernels.groups[:3]:
        for kernel, levels in zip(group.kernels, group.thresholds, strict=True):
            weights = np.where(np.isin(np.arange(9), PATTERNS[kernel]), 2.0, -1.0)
            for row, each in enumerate(series):
                x = np.zeros(33)  # continued by the mean up to the longest series
                x[: len(each)] = ((each - standard.mean) / standard.scale)[:, group.channels].sum(1)
                reach = 4 * group.dilation if group.inside else 0
                output = np.array(
                    [
                        sum(
                            w * x[t + (k - 4) * group.dilation]
                            for k, w in enumerate(weights)
                            if 0 <= t + (k - 4) * group.dilation < len(x)
                        )
                        for t in range(reach, len(x) - reach)
                    ]
                )
                for number, level in enumerate(levels[:3]):
                    share = (output > level).mean()
                    assert abs(found[row, place + number] - share) <= 1.01 / len(output)  # a tie in float32
            place += len(levels)
    assert len({tuple(p) for p in PATTERNS}) == len(list(itertools.combinations(range(9), 3)))
    assert {group.inside for group in kernels.groups[:3]} == {True, False}


def test_kernels_tell_lengths_apart_and_take_longer_series_than_training_had():
    constant = [np.ones((steps, 1), np.float32) for steps in (12, 20)]
    kernels = fit_kernels([*constant, np.arange(20, dtype=np.float32)[:, None] / 10], seed=0)
    short, long = kernels(constant)
    assert not np.array_equal(short, long)
    assert np.isfinite(kernels([np.ones((50, 1), np.float32)])).all()


def test_statistics_are_those_of_valid_steps():
    draws = np.random.default_rng(4)
    series = [draws.normal(size=(steps, 2)).astype(np.float32) for steps in (5, 9, 7)]
    standard = Standard.fit(series)
    found = statistics(standard)(series)
    for row, each in zip(found, series, strict=True):
        x = (each - standard.mean) / standard.scale
        slope = [np.polyfit(np.arange(len(x)), x[:, channel], 1)[0] for channel in (0, 1)]
        moves, third = np.abs(np.diff(x, axis=0)).sum(0) / len(x), ((x - x.mean(0)) ** 3).mean(0)
        want = [x.mean(0), x.std(0), x.min(0), x.max(0), x[0], x[-1], slope, moves, third, [np.log(len(x))]]
        np.testing.assert_allclose(row, np.concatenate(want), rtol=1e-3, atol=1e-4)


def test_missing_values_take_no_control_down():
    draws = np.random.default_rng(5)
    series = [draws.normal(size=(12, 1)).astype(np.float32) + k % 2 for k in range(30)]
    for each in series[::3]:
        each[4:6] = np.nan
    samples = Samples.from_arrays(series, [k % 2 for k in range(30)])
    targets = np.array([k % 2 for k in range(30)])
    for name, fit in controls.suited(samples, 2).items():
        fitted = fit(samples.inputs, targets)
        right = (fitted.predict(samples.inputs).argmax(-1) == targets).mean()
        assert right > (0.9 if name != "most frequent class" else 0.4), name


@pytest.mark.parametrize("several", [False, True])
def test_the_linear_model_of_texts_is_scikit_learns_logistic_regression(several: bool):
    linear = pytest.importorskip("sklearn.linear_model")
    draws = np.random.default_rng(0)
    texts = ["".join(draws.choice(list("abcd"), draws.integers(3, 8))) for _ in range(120)]
    counts = np.array([[text.count(letter) for letter in "abc"] for text in texts])
    rows = NGrams.fit(texts)(texts)
    dense = np.zeros((len(texts), rows.width))
    for k, (begin, end) in enumerate(zip(rows.begins, [*rows.begins[1:], len(rows.columns)], strict=True)):
        dense[k, rows.columns[begin:end]] = rows.values[begin:end]
    targets = counts > 1 if several else counts.argmax(1)
    weights, intercept = fit_linear(rows, targets, 3)
    given = rows.times(weights) + intercept
    for k in range(3) if several else [0]:
        model = linear.LogisticRegression(C=1 / PENALTY, max_iter=2000)
        model.fit(dense, targets[:, k] if several else targets)
        want = model.predict_proba(dense)
        if several:
            np.testing.assert_allclose(1 / (1 + np.exp(-given[:, k])), want[:, 1], atol=0.02)
        else:
            exponents = np.exp(given)
            np.testing.assert_allclose(exponents / exponents.sum(1, keepdims=True), want, atol=0.02)
