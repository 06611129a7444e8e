"""Samples of what Python holds: axes, labels, groups, times."""

import numpy as np
import pytest

from unrolled.data import Samples
from unrolled.errors import DataError, DtypeError, ShapeError


def ragged(*lengths, channels=2):
    return [np.arange(n * channels, dtype=float).reshape(n, channels) for n in lengths]


def test_sequences_of_unlike_length_become_float32_with_numbered_channels_and_ids():
    samples = Samples.from_arrays(ragged(3, 5), labels=["b", "a"])
    assert [each.shape for each in samples.inputs] == [(3, 2), (5, 2)]
    assert {each.dtype for each in samples.inputs} == {np.dtype(np.float32)}
    assert (samples.channels, samples.ids, samples.classes) == (("0", "1"), ("0", "1"), ("a", "b"))
    assert samples.steps.tolist() == [3, 5]
    assert not samples.is_text


def test_one_array_of_three_axes_is_as_a_list_of_its_samples_and_one_axis_is_one_channel():
    whole = np.random.default_rng(0).normal(size=(4, 6, 3))
    assert Samples.from_arrays(whole).sha256 == Samples.from_arrays(list(whole)).sha256
    assert Samples.from_arrays([[1.0, 2.0], [3.0]]).inputs[0].tolist() == [[1.0], [2.0]]


def test_texts_have_no_channels():
    samples = Samples.from_arrays(["Khoury", "Bai"], ["Arabic", "Chinese"])
    assert samples.is_text
    assert samples.steps.tolist() == [6, 3]
    assert samples.missing == 0


@pytest.mark.parametrize(
    ("labels", "found", "classes"),
    [
        (["x", "y"], ["x", "y"], ("x", "y")),
        ([3, 10], ["3", "10"], ("10", "3")),
        (np.array([True, False]), ["True", "False"], ("False", "True")),
        ([0.5, 2], [0.5, 2.0], ()),
    ],
)
def test_texts_and_whole_numbers_are_classes_and_other_numbers_are_numbers(labels, found, classes):
    samples = Samples.from_arrays(ragged(2, 2), labels)
    assert samples.labels.tolist() == found
    assert samples.classes == classes


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0.5, np.nan], "labels[1]: expected a finite number, got nan"),
        ([np.inf, 1], "labels[0]: expected a finite number, got inf"),
        (["a", None], "labels[1]: expected a text or a number, got None"),
        (["a", 2], "labels[1]: expected a text, as other labels are, got 2"),
        (["a"], "labels: expected [2], one for each sample, got [1]"),
        (np.zeros((2, 1)), "labels: expected [2], got [2, 1]"),
    ],
)
def test_a_label_that_is_missing_is_named(labels, message):
    with pytest.raises((DataError, ShapeError)) as caught:
        Samples.from_arrays(ragged(2, 2), labels)
    assert str(caught.value) == message


def test_exchanged_axes_are_named():
    with pytest.raises(ShapeError) as caught:
        Samples.from_arrays(np.zeros((8, 3, 100)))
    assert str(caught.value) == (
        "sequences: expected axes (N, T, C), time before channels, got [N, 3, 100], which looks like [N, C, T] with "
        "3 channels: transpose the last two axes, or name the columns with channels="
    )
    with pytest.raises(
        ShapeError, match=r"got \[N, 2, 5 to 9\], which looks like \[N, C, T\] with 2 channels"
    ):
        Samples.from_arrays([np.zeros((2, 9)), np.zeros((2, 5))])
    with pytest.raises(ShapeError, match=r"looks like \[N, C, T\]"):
        Samples.from_arrays(np.zeros((8, 3, 5)), channels=["x", "y", "z"])


def test_many_columns_are_taken_where_they_are_named():
    samples = Samples.from_arrays(np.zeros((2, 3, 100)), channels=[f"c{n}" for n in range(100)])
    assert samples.inputs[0].shape == (3, 100)


@pytest.mark.parametrize(
    ("sequences", "error", "message"),
    [
        ([], DataError, "sequences: expected at least 1 sample, got none"),
        ("text", DtypeError, "sequences: expected a list of sequences, got str"),
        (["a", ""], DataError, "sequences[1]: expected at least 1 character, got an empty text"),
        ([np.zeros((3, 2)), np.zeros((0, 2))], DataError, "sequences[1]: expected at least 1 step and 1 channel, got [0, 2]"),
        ([np.zeros((3, 2)), np.zeros((4, 1))], ShapeError, "sequences[1]: expected [T, 2] as sequences[0] has, got [4, 1]"),
        ([np.array([[1.0], [np.inf]])], DataError, "sequences[0]: expected finite float32 numbers, or NaN for a missing one, got inf at step 1, channel 0"),
        ([np.array([[1e300]])], DataError, "sequences[0]: expected finite float32 numbers, within ±3.4e+38, or NaN for a missing one, got 1e+300 at step 0, channel 0"),
        ([[1.0], "a"], DtypeError, "sequences[1]: expected numbers, as in the other samples, got <U1 of 'a'"),
        ([[[1.0], [2.0, 3.0]]], ShapeError, "sequences[0]: expected an array [T, C] or [T], got rows of unlike length"),
    ],
)  # fmt: skip
def test_what_is_no_sequence_is_named(sequences, error, message):
    with pytest.raises(error) as caught:
        Samples.from_arrays(sequences)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([[0, 1], [0, 0]], "times[1]: expected rising times, got 0 after 0 at step 1"),
        ([[0, 1], [3, 2]], "times[1]: expected rising times, got 2 after 3 at step 1"),
        ([[0, 1], [0, np.nan]], "times[1]: expected finite numbers, got NaN or infinity"),
        ([[0, 1], [0, 1e300]], "times[1]: expected numbers within ±4.6e+18, got 1e+300 at step 1"),
        ([[0, 1], [0]], "times[1]: expected [2], got [1]"),
        ([[0, 1]], "times: expected [2], one for each sample, got [1]"),
    ],
)
def test_times_rise(times, message):
    with pytest.raises((DataError, ShapeError)) as caught:
        Samples.from_arrays(ragged(2, 2), times=times)
    assert str(caught.value) == message


def test_groups_and_ids_are_texts_and_ids_differ():
    samples = Samples.from_arrays(ragged(2, 2), groups=[7, 7], ids=["a", "b"])
    assert samples.groups.tolist() == ["7", "7"]
    with pytest.raises(DataError, match="ids: expected no duplicates, got 1 duplicate"):
        Samples.from_arrays(ragged(2, 2), ids=["a", "a"])
    with pytest.raises(DataError, match=r"groups\[1\]: expected a name or a number, got None"):
        Samples.from_arrays(ragged(2, 2), groups=["a", None])


def test_some_samples_are_taken_in_order():
    samples = Samples.from_arrays(
        ragged(2, 3, 4), ["a", "b", "c"], groups=[1, 2, 3], times=[range(n) for n in (2, 3, 4)]
    )
    some = samples.take(np.array([2, 0]))
    assert (some.ids, some.labels.tolist(), some.groups.tolist()) == (("2", "0"), ["c", "a"], ["3", "1"])
    assert [len(each) for each in some.inputs] == [len(each) for each in some.times] == [4, 2]


def test_the_sha256_is_of_inputs_and_labels():
    base = Samples.from_arrays(ragged(2, 3), ["a", "b"]).sha256
    assert base == Samples.from_arrays(ragged(2, 3), ["a", "b"]).sha256
    assert base != Samples.from_arrays(ragged(2, 3), ["a", "c"]).sha256
    assert base != Samples.from_arrays(ragged(3, 2), ["a", "b"]).sha256
    steps = [[["a", "b"], ["a", "b", last]] for last in "ab"]
    assert len({Samples.from_arrays(ragged(2, 3), step_labels=each).sha256 for each in steps}) == 2


def test_equal_inputs_have_equal_digests_missing_values_too():
    one, two, three = Samples.from_arrays([[1.0, np.nan], [1.0, np.nan], [1.0, 2.0]]).digests()
    assert one == two != three
