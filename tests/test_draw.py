"""Drawing from logits: laws, frequencies and bad arguments."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from unrolled.draw import continuation, draw
from unrolled.errors import ConfigError, DtypeError, NonFiniteError, ShapeError

LAW = settings(deadline=None, max_examples=80)
finite = st.floats(-50, 50)
logits_of = st.lists(finite | st.just(-math.inf), min_size=1, max_size=12)
seeds = st.integers(0, 2**32)


def fresh(seed=0):
    return np.random.default_rng(seed)


def softmax(logits):
    weights = np.exp(np.asarray(logits, float) - max(logits))
    return weights / weights.sum()


@LAW
@given(logits_of, seeds)
def test_top_k_of_one_and_temperature_zero_take_the_first_of_the_largest(logits, seed):
    assume(max(logits) > -math.inf)
    best = logits.index(max(logits))
    assert draw(logits, top_k=1, generator=fresh(seed)) == best
    assert draw(logits, temperature=0, generator=fresh(seed)) == best
    assert draw(logits, top_p=1e-9, generator=fresh(seed)) == best


@LAW
@given(logits_of, seeds, st.floats(0.01, 3))
def test_a_banned_id_is_never_drawn_and_the_same_seed_draws_the_same(logits, seed, temperature):
    assume(max(logits) > -math.inf)
    one, two = fresh(seed), fresh(seed)
    drawn = [draw(logits, temperature=temperature, generator=one) for _ in range(5)]
    assert all(logits[i] > -math.inf for i in drawn)
    assert drawn == [draw(logits, temperature=temperature, generator=two) for _ in range(5)]


@LAW
@given(st.lists(finite, min_size=1, max_size=12, unique=True), st.floats(0.01, 1, exclude_max=True))
def test_top_p_keeps_the_smallest_set_that_reaches_p(logits, top_p):
    order = np.argsort(logits)[::-1]
    total = np.cumsum(softmax(logits)[order])
    assume(np.abs(total - top_p).min() > 1e-9)
    size = next(n for n in range(1, len(logits) + 1) if total[n - 1] >= top_p or n == len(logits))
    drawn = {draw(logits, top_p=top_p, generator=Fixed(u)) for u in np.linspace(0, 1, 400, endpoint=False)}
    assert drawn <= set(order[:size].tolist())
    assert draw(logits, top_p=top_p, generator=Fixed(np.nextafter(1, 0))) in _last(logits, order[:size])


class Fixed(np.random.Generator):
    """A generator whose uniform number is known."""

    def __init__(self, uniform):
        super().__init__(np.random.PCG64(0))
        self.uniform = uniform

    def random(self):
        return self.uniform


def _last(logits, kept):
    """Return the ids that a uniform number just below 1 may draw: those whose share rounds away, and one."""
    share = np.cumsum(softmax(logits)[kept])
    return set(kept[int(np.searchsorted(share, share[-1] * (1 - 1e-12))) :].tolist())


@LAW
@given(st.lists(finite, min_size=1, max_size=12), st.integers(1, 15), seeds)
def test_top_k_draws_among_the_k_largest(logits, top_k, seed):
    kept = np.argsort(-np.array(logits), kind="stable")[:top_k]
    generator = fresh(seed)
    assert all(draw(logits, top_k=top_k, generator=generator) in kept for _ in range(10))


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"temperature": 0.5}, [0, 1, 2, 3, 4]),
        ({"temperature": 2.0, "top_k": 3}, [0, 2, 4]),
        ({"top_p": 0.9}, [0, 2, 4]),
        ({"top_p": 1.0, "top_k": 5}, [0, 1, 2, 3, 4]),
        ({"top_k": 4, "top_p": 0.7}, [0, 4]),
    ],
)
def test_frequencies_agree_with_softmax(settings, kept):
    logits = np.array([1.0, -1.0, 0.5, -0.5, 1.5])
    generator = fresh(1)
    draws = 4000
    seen = np.bincount([draw(logits, **settings, generator=generator) for _ in range(draws)], minlength=5)
    assert set(np.flatnonzero(seen)) == set(kept)
    share = softmax(logits[kept] / settings.get("temperature", 1.0)) * draws
    chi_square = float(((seen[kept] - share) ** 2 / share).sum())
    assert chi_square < {1: 10.83, 2: 13.82, 4: 18.47}[len(kept) - 1]  # the 0.1 % point


def test_a_uniform_number_at_either_end_draws_a_possible_id():
    logits = [-math.inf, 0.0, 0.0, -math.inf]
    assert draw(logits, generator=Fixed(0.0)) == 1
    assert draw(logits, generator=Fixed(1.0)) == 2


def test_extreme_logits_and_temperatures_draw_the_largest():
    assert draw([-1.7e308, 1.7e308], generator=fresh()) == 1
    assert draw([1.0, 2.0], temperature=1e-308, generator=fresh()) == 1
    assert draw(np.array([1, 2, 900]), generator=fresh()) == 2
    assert draw(np.array([1, 2, 900], np.float32), temperature=0.5, top_k=99, generator=fresh()) == 2


BAD = [
    ({"temperature": -1}, ConfigError, "temperature: expected a finite number of at least 0, got -1"),
    ({"temperature": math.nan}, ConfigError, "temperature: expected a finite number of at least 0, got nan"),
    ({"temperature": math.inf}, ConfigError, "temperature: expected a finite number of at least 0, got inf"),
    ({"temperature": True}, ConfigError, "temperature: expected a finite number of at least 0, got True"),
    ({"top_k": 0}, ConfigError, "top_k: expected a whole number of at least 1, got 0"),
    ({"top_k": 1.5}, ConfigError, "top_k: expected a whole number of at least 1, got 1.5"),
    ({"top_p": 0}, ConfigError, "top_p: expected more than 0 and at most 1, got 0"),
    ({"top_p": 1.1}, ConfigError, "top_p: expected more than 0 and at most 1, got 1.1"),
    ({"top_p": math.nan}, ConfigError, "top_p: expected more than 0 and at most 1, got nan"),
    ({"logits": []}, ShapeError, "logits: expected [V] with V of at least 1, got [0]"),
    ({"logits": [[1.0]]}, ShapeError, "logits: expected [V] with V of at least 1, got [1, 1]"),
    ({"logits": ["a"]}, DtypeError, "logits: expected real numbers, got <U1"),
    ({"logits": [True]}, DtypeError, "logits: expected real numbers, got bool"),
    ({"logits": [0, math.nan]}, NonFiniteError, "logits[1]: expected a finite number, or -inf, got nan"),
    ({"logits": [math.inf]}, NonFiniteError, "logits[0]: expected a finite number, or -inf, got inf"),
    (
        {"logits": [-math.inf] * 2},
        NonFiniteError,
        "logits: expected at least one finite number, got -inf everywhere",
    ),
]


@pytest.mark.parametrize(("arguments", "error", "message"), BAD)
def test_bad_arguments_are_named(arguments, error, message):
    with pytest.raises(error) as caught:
        draw(**{"logits": [0.0, 1.0], "generator": fresh(), **arguments})
    assert str(caught.value) == message


def reached(logits, **settings):
    """Return every id that some uniform number draws."""
    return {draw(logits, generator=Fixed(u), **settings) for u in np.linspace(0, 1, 200, endpoint=False)}


def test_top_p_that_is_met_exactly_keeps_no_id_more():
    assert reached([0.0, 0.0, 0.0, 0.0], top_p=0.5) == {0, 1}
    assert reached([0.0] * 8, top_p=0.125) == {0}


def test_top_p_is_of_what_top_k_left():
    logits = np.log([0.5, 0.3, 0.2])  # of the two largest the first has 0.625
    assert reached(logits, top_k=2, top_p=0.6) == {0}
    assert reached(logits, top_p=0.6) == {0, 1}


@pytest.mark.parametrize("temperature", [0.5, 2.0])
@pytest.mark.parametrize("cut", [{"top_p": 0.6}, {"top_p": 0.9}, {"top_k": 3, "top_p": 0.8}])
def test_a_temperature_divides_the_logits_before_anything_is_cut(temperature, cut):
    logits = np.array([1.5, 1.0, 0.5, -0.5, -1.0])
    assert reached(logits, temperature=temperature, **cut) == reached(logits / temperature, **cut)


def test_each_line_of_a_prompt_starts_from_the_zero_state():
    """A network whose state is the number of its steps, and whose likeliest next id is always 0."""
    states = [9]

    def step(_):
        states.append(states[-1] + 1)
        return [1.0, 0.0, 0.0]

    def restart():
        states.append(0)

    list(continuation(step, restart, [1, 2, 1, 1], length=2, generator=fresh(), temperature=0, restart_at=2))
    assert states == [9, 0, 1, 0, 1, 2, 3, 4]
