"""A split never leaks, and is the same for the same seed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unrolled.data import Overlap, Samples, Scaler, overlap, partition
from unrolled.errors import ConfigError, DataError

LAW = settings(deadline=None, max_examples=80)
shares = {"validation": st.floats(0, 0.45), "test": st.floats(0, 0.45), "seed": st.integers(0, 9)}


def samples_of(number, labels=None, **given):
    inputs = [[float(index), 1.0] for index in range(number)]
    return Samples.from_arrays(inputs, labels, **given)


def parts_of(found):
    return found.train.tolist(), found.validation.tolist(), found.test.tolist()


def all_of(found):
    return [index for part in parts_of(found) for index in part]


@LAW
@given(labels=st.lists(st.sampled_from("abc"), min_size=10, max_size=60), **shares)
def test_every_sample_is_in_one_part_and_every_class_in_training(labels, validation, test, seed):
    samples = samples_of(len(labels), labels)
    found = partition(samples, validation=validation, test=test, seed=seed)
    assert sorted(all_of(found)) == list(range(len(labels)))
    assert set(samples.labels[found.train]) == set(labels)
    assert (len(found.validation) > 0, len(found.test) > 0) == (validation > 0, test > 0)
    assert found.duplicates == 0
    again = partition(samples, validation=validation, test=test, seed=seed)
    assert parts_of(again) == parts_of(found)


@LAW
@given(labels=st.lists(st.sampled_from("abcd"), min_size=40, max_size=80), seed=st.integers(0, 9))
def test_each_class_has_its_share_in_each_part_give_or_take_one(labels, seed):
    samples = samples_of(len(labels), labels)
    found = partition(samples, validation=0.25, test=0.25, seed=seed)
    for name in set(labels):
        for part in (found.validation, found.test):
            assert abs((samples.labels[part] == name).sum() - labels.count(name) / 4) <= 2


def test_a_large_group_counts_with_all_its_samples():
    samples = samples_of(100, groups=[0] * 50 + list(range(1, 51)))
    found = partition(samples, validation=0.25, test=0.25)
    assert found.train.tolist() == list(range(50))
    assert (len(found.validation), len(found.test)) == (25, 25)


@LAW
@given(groups=st.lists(st.integers(0, 9), min_size=12, max_size=60), **shares)
def test_a_group_is_in_one_part(groups, validation, test, seed):
    samples = samples_of(len(groups), groups=groups)
    needed = 1 + (validation > 0) + (test > 0)
    if len(set(groups)) < needed:
        with pytest.raises(DataError, match=f"group: expected at least {needed} groups"):
            partition(samples, validation=validation, test=test, seed=seed)
        return
    found = partition(samples, validation=validation, test=test, seed=seed)
    assert found.split == "group"
    assert sorted(all_of(found)) == list(range(len(groups)))
    sides = [set(samples.groups[part]) for part in (found.train, found.validation, found.test)]
    assert len(set.union(*sides)) == sum(map(len, sides))
    assert [bool(side) for side in sides] == [True, validation > 0, test > 0]


@LAW
@given(starts=st.lists(st.integers(0, 99), min_size=6, max_size=30, unique=True), lasts=st.integers(1, 12))
def test_in_time_nothing_that_trains_lasts_into_what_is_held_out(starts, lasts):
    times = [[float(start), float(start + lasts)] for start in starts]
    samples = samples_of(len(starts), times=times)
    try:
        found = partition(samples, split="time", validation=0.2, test=0.2)
    except DataError as error:
        assert "time: expected samples that end before the next part starts" in str(error)  # noqa: PT017
        return
    ends = max(times[index][1] for index in found.train)
    assert ends < min(times[index][0] for index in found.validation)
    assert max(times[index][1] for index in found.validation) < min(times[index][0] for index in found.test)
    left_out = len(starts) - len(all_of(found))
    assert bool(left_out) == bool(found.notes)


@LAW
@given(seed=st.integers(0, 9), by_group=st.booleans())
def test_what_is_held_out_changes_nothing_in_training(seed, by_group):
    generator = np.random.default_rng(seed)
    inputs = list(generator.normal(size=(30, 5, 2)))
    groups = generator.integers(0, 6, 30) if by_group else None
    labels = list("ab" * 15)
    found = partition(Samples.from_arrays(inputs, labels, groups), validation=0.2, test=0.2, seed=seed)
    others = [
        generator.normal(9, 9, (7, 2)) if index not in found.train else each
        for index, each in enumerate(inputs)
    ]
    again = partition(Samples.from_arrays(others, labels, groups), validation=0.2, test=0.2, seed=seed)
    assert parts_of(again) == parts_of(found)
    scalers = [Scaler.fit(Samples.from_arrays(each).take(found.train).inputs) for each in (inputs, others)]
    assert scalers[0] == scalers[1]


def test_in_time_without_times_the_order_of_the_source_decides():
    found = partition(samples_of(10), split="time", validation=0.2, test=0.1)
    assert parts_of(found) == (list(range(7)), [7, 8], [9])
    assert found.notes == ("split in the order of the source, as no times are known",)


def test_another_seed_holds_others_out():
    samples = samples_of(100, ["a", "b"] * 50)
    held = {tuple(partition(samples, seed=seed).validation) for seed in range(5)}
    assert len(held) == 5


def test_a_class_of_one_stays_in_training_and_is_noted():
    samples = samples_of(41, ["a"] * 20 + ["b"] * 20 + ["rare"])
    for seed in range(20):
        found = partition(samples, validation=0.3, test=0.3, seed=seed)
        assert 40 in found.train
        assert found.notes == ("1 class has one sample, which stays in training: 'rare'",)


def test_classes_that_only_held_out_groups_have_are_noted():
    samples = samples_of(6, list("aaabbc"), groups=list("111223"))
    notes = [partition(samples, validation=0.2, seed=seed).notes for seed in range(3)]
    assert all("1 class never occurs in the training part: 'c'" in each for each in notes)
    assert all("groups: 2 training, 1 validation" in each for each in notes)


@LAW
@given(inputs=st.lists(st.sampled_from("abcdefgh"), min_size=8, max_size=30), seed=st.integers(0, 9))
def test_what_an_earlier_part_holds_too_is_counted(inputs, seed):
    found = partition(Samples.from_arrays(inputs), validation=0.2, test=0.2, seed=seed)
    train, held, test = ([inputs[index] for index in part] for part in parts_of(found))
    assert found.duplicates == sum(each in train for each in held) + sum(
        each in train + held for each in test
    )


def test_equal_inputs_on_both_sides_are_counted():
    samples = Samples.from_arrays([[1.0, 2.0]] * 10)
    found = partition(samples, validation=0.2, test=0.1)
    assert found.duplicates == 3
    assert found.notes == ("3 of 3 samples held out have the same input as one in an earlier part",)


def test_what_two_sources_share_is_counted():
    one = Samples.from_arrays(["a", "b", "b"], groups=["x", "y", "y"])
    two = Samples.from_arrays(["b", "c", "b"], groups=["y", "z", "y"])
    assert overlap(one, two) == Overlap(2, ("y",))


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"split": "half"}, ConfigError, "split: expected one of auto, group, time, random, got 'half'"),
        (
            {"split": "group"},
            ConfigError,
            "split: expected auto, time or random, as the samples have no groups, got 'group'",
        ),
        ({"validation": 1.0}, ConfigError, "validation: expected a share from 0 to below 1, got 1.0"),
        ({"test": True}, ConfigError, "test: expected a share from 0 to below 1, got True"),
        ({"validation": 0.5, "test": 0.5}, ConfigError, "validation + test: expected below 1, got 1.0"),
        ({"seed": -1}, ConfigError, "seed: expected a whole number of at least 0, got -1"),
        ({"test": 0.1}, DataError, "samples: expected at least 3, one for each part, got 2"),
    ],
)
def test_what_cannot_be_split_is_refused(given, error, message):
    with pytest.raises(error) as caught:
        partition(samples_of(2), **given)
    assert str(caught.value) == message


def test_classes_of_one_cannot_be_held_out():
    with pytest.raises(
        DataError, match=r"labels: expected a class with at least 2 samples, .* got 3 classes of 1"
    ):
        partition(samples_of(3, list("abc")))


def test_samples_that_all_start_together_have_no_order_in_time():
    samples = samples_of(4, times=[[0, 1]] * 4)
    with pytest.raises(
        ConfigError, match="split: expected group or random, as all samples start at the same time"
    ):
        partition(samples, split="time")
    assert np.array_equal(partition(samples).train, partition(samples_of(4)).train)
