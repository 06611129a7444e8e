"""What is wrong with samples is said in one line, by the estimators and by what prepares a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unrolled import spec
from unrolled.data import Samples, read_samples
from unrolled.errors import UnrolledError
from unrolled.tasks import SequenceClassifier, SequenceRegressor, stored_arrays
from unrolled.tasks.classify import storing
from unrolled.tasks.classify.dataset import prepare

QUICK: dict[str, Any] = {"steps": 2, "hidden_size": 3, "num_layers": 1, "threads": 1}
X = [np.arange(4.0) + k for k in range(12)]
STEPS = [each / 2 for each in X]


@pytest.mark.parametrize(
    ("kind", "x", "y", "message"),
    [
        (SequenceRegressor, X, [np.nan, *range(11)], "labels[0]: expected a finite number, got nan"),
        (SequenceRegressor, X, [*range(11), np.inf], "labels[11]: expected a finite number, got inf"),
        (SequenceRegressor, X, [*range(11), 1e150], "labels[11]: expected a number within ±1e+100, got 1e+150"),
        (SequenceRegressor, X, [*range(11), 10**400], "labels: expected numbers that float64 holds, got a larger int"),
        (SequenceRegressor, X, np.full((12, 2), -1e150), "labels[0, 0]: expected a number within ±1e+100, got -1e+150"),
        (SequenceRegressor, X, [3.0] * 12, "target: expected numbers that differ, got 3 throughout"),
        (SequenceRegressor, X, np.full((12, 2), np.nan), "labels[0, 0]: expected a finite number, got nan"),
        (SequenceRegressor, X, [np.full(4, np.nan)] * 12, "step_labels: expected a label of at least 1 step, got none"),
        (SequenceRegressor, X, [np.full(4, np.inf)] * 12, "step_labels[0]: expected a finite number, got inf"),
        (SequenceRegressor, X, [1.0], "labels: expected [12], one for each sample, got [1]"),
        (SequenceClassifier, X, ["a"] * 12, "label: expected 2 to 10,000 classes to train on, got 1"),
        (SequenceClassifier, X, [0.0, np.nan] * 6, "labels: expected finite numbers or texts, got nan"),
        (SequenceClassifier, X, np.full((12, 2), 3), "labels: expected 0 and 1 in [N, K], of several labels, got others"),
        (SequenceClassifier, X, None, "labels: expected one for each sample, got none"),
        (SequenceClassifier, [], [], "sequences: expected at least 1 sample, got none"),
        (SequenceClassifier, [[1.0], [np.inf]], [0, 1], "sequences[1]: expected finite float32 numbers, or NaN for a missing one, got inf at step 0, channel 0"),
        (SequenceClassifier, np.zeros((4, 3, 50)), [0, 1, 0, 1], "sequences: expected axes (N, T, C), time before channels, got [N, 3, 50], which looks like [N, C, T] with 3 channels: transpose the last two axes, or name the columns with channels="),
        (SequenceClassifier, [[1.0], "a"], [0, 1], "sequences[1]: expected numbers, as in the other samples, got <U1 of 'a'"),
        (SequenceClassifier, [[1.0], []], [0, 1], "sequences[1]: expected at least 1 step and 1 channel, got [0]"),
        (SequenceClassifier, ["a", "b"], [["x"], ["y"]], "step_labels: expected series, as a text has no steps with labels, got texts"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(kind: Any, x: Any, y: Any, message: str):
    with pytest.raises(UnrolledError) as caught:
        kind(**QUICK).fit(x, y)
    assert str(caught.value) == message


def test_a_class_of_one_sample_stays_in_training_and_is_counted(tmp_path: Path):
    samples = Samples.from_arrays(X, ["rare", *"ababababab", "a"])
    storing.write(tmp_path / "s", samples, np.zeros(12), ())
    found = prepare(spec.ClassifyData(str(tmp_path / "s"), test_share=0.2), tmp_path / "run", seed=0)
    assert "1 class has one sample, which stays in training: 'rare'" in found.stored.notes
    assert "rare" in found.schema.classes


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (spec.RegressData, "target: expected a column of numbers, got texts"),
        (
            spec.ClassifyData,
            "label: expected classes, got numbers with fractions, which RegressData predicts",
        ),
    ],
)
def test_labels_of_another_task_are_refused(data: Any, message: str, tmp_path: Path):
    labels: Any = ["a", "b"] * 6 if data is spec.RegressData else np.arange(12.0)
    for number, given in enumerate(({"labels": labels}, {"step_labels": [[v] * 4 for v in labels]})):
        samples = Samples.from_arrays(X, **given)
        place = tmp_path / str(number)
        storing.write(place, samples, np.zeros(12), ())
        with pytest.raises(UnrolledError) as caught:
            prepare(data(str(place)), tmp_path / "run", seed=0)
        assert str(caught.value) == message


def test_a_step_of_missing_values_is_not_left_out_beside_labels_of_steps(tmp_path: Path):
    samples = Samples.from_arrays(X, step_labels=STEPS)
    storing.write(tmp_path / "s", samples, np.zeros(12), ())
    with pytest.raises(UnrolledError, match="missing: expected mask or refuse, with a label of every step"):
        prepare(spec.RegressData(str(tmp_path / "s"), missing="drop"), tmp_path / "run", seed=0)


def test_a_pooling_that_would_do_nothing_is_refused():
    with pytest.raises(
        UnrolledError, match=r"pooling: expected mean\+max, the default, as an answer at each"
    ):
        SequenceRegressor(**QUICK, pooling="last").fit(X, STEPS)


def test_large_samples_stay_in_their_file_and_every_byte_of_them_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    x = np.random.default_rng(0).normal(size=(3, 2000, 2))
    monkeypatch.setattr(stored_arrays, "MAPPED", 1000)
    storing.write(tmp_path, Samples.from_arrays(x, [0, 1, 0]), np.zeros(3), ())
    found = storing.read(tmp_path).samples
    np.testing.assert_array_equal(np.stack(found.inputs), x.astype(np.float32))
    base: Any = found.inputs[0]
    while base.base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)
    data = bytearray((tmp_path / stored_arrays.ARRAYS).read_bytes())
    for place in range(40, len(data), 997):
        spoilt = bytearray(data)
        spoilt[place] ^= 0x40
        (tmp_path / stored_arrays.ARRAYS).write_bytes(spoilt)
        try:
            same = storing.read(tmp_path).samples  # a byte that says nothing, as the time of an entry
        except UnrolledError:
            continue
        np.testing.assert_array_equal(np.stack(same.inputs), x.astype(np.float32))


def test_samples_with_more_notes_than_a_run_keeps_are_read_again(tmp_path: Path):
    written = storing.write(tmp_path, Samples.from_arrays(X, [0, 1] * 6), np.zeros(12), ["a note"] * 1001)
    assert storing.read(tmp_path).notes == written.notes == ("a note",) * 1000


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_data_frame_is_not_read_as_the_texts_of_its_names(library: str):
    module = pytest.importorskip(library)
    df = module.DataFrame({"a": [1.0, 2.0, 3.0], "b": [1.0, 2.0, 3.0]})
    with pytest.raises(UnrolledError, match="of a data frame data"):
        SequenceClassifier(**QUICK).fit(df, [0, 1])
    rows = {"id": list("aabbccdd"), "v": [float(k) for k in range(8)], "kind": list("xxyyxxyy")}
    samples = read_samples(module.DataFrame(rows), label="kind", id="id")
    fitted = SequenceClassifier(**QUICK).fit(samples)
    assert fitted.classes_.tolist() == ["x", "y"]
    assert fitted.predict_proba(samples.take(np.arange(2))).shape == (2, 2)
    assert 0 <= fitted.score(samples) <= 1
