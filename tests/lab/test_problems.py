"""The problems against their definitions: every answer is recomputed row by row, from the inputs alone."""

from __future__ import annotations

import io
import itertools
import math
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from unrolled.data import Batch
from unrolled.errors import ConfigError, DataError
from unrolled.lab.mnist1d import Mnist1d
from unrolled.lab.problems import Adding, Copying, Majority, Problem, Recall, forward_ceiling

ROWS = 500
DRAWN: list[Problem] = [
    Adding(40),
    Adding(41),
    Copying(1),
    Copying(30),
    Copying(6, 2),
    Recall(10),
    Recall(57),
]
IGNORED = -100


def named(problem: Problem) -> str:
    return f"{problem.name}-{problem.steps}"


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(problem: Problem, rows: int = ROWS) -> tuple[Tensor, Tensor]:
    batch = problem.draw(rows, seeded())
    return batch.inputs, batch.targets


def curves(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    return draw.normal(size=(rows, 40)).astype(np.float32), draw.integers(0, 10, rows)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (x, y), (x_test, y_test) = curves(300, 1), curves(50, 2)
    np.savez_compressed(tmp_path / "data.npz", x=x, y=y, x_test=x_test, y_test=y_test)
    return tmp_path / "data.npz"


def altered(file: Path, **arrays: object) -> Path:
    """Write the file again with arrays exchanged, or left out where None."""
    with np.load(file) as whole:
        kept = {**whole, **arrays}
    np.savez(file, **{name: array for name, array in kept.items() if array is not None})
    return file


@pytest.mark.parametrize("steps", [2, 7, 40])
def test_the_answer_of_adding_is_the_sum_of_the_two_marked_numbers(steps: int):
    inputs, targets = drawn(Adding(steps))
    assert inputs.shape == (steps, ROWS, 2)
    assert inputs.dtype == torch.float32
    places: set[int] = set()
    for row in range(ROWS):
        marked = [t for t in range(steps) if inputs[t, row, 1] == 1]
        first, second = marked
        assert first < steps // 2 <= second
        assert targets[row] == inputs[first, row, 0] + inputs[second, row, 0]
        places |= {first, second}
    assert places == set(range(steps))
    assert ((inputs[..., 0] >= 0) & (inputs[..., 0] < 1)).all()
    assert set(inputs[..., 1].unique().tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize(("lag", "count"), [(1, 10), (2, 10), (30, 10), (7, 2), (1, 1)])
def test_the_answer_of_copying_is_blanks_and_then_the_symbols(lag: int, count: int):
    inputs, targets = drawn(Copying(lag, count))
    assert inputs.shape == (lag + 2 * count, ROWS, 10)
    assert inputs.dtype == torch.float32
    seen: set[int] = set()
    for row in range(ROWS):
        read = [step.tolist().index(1.0) for step in inputs[:, row]]
        word = read[:count]
        assert read[count:] == [8] * (lag - 1) + [9] + [8] * count
        assert targets[:, row].tolist() == [8] * (lag + count) + word
        seen |= set(word)
    assert seen == set(range(8))
    assert (inputs.sum(-1) == 1).all()


@pytest.mark.parametrize("steps", [10, 39, 100])
def test_the_answer_of_recall_is_the_marked_symbol(steps: int):
    inputs, targets = drawn(Recall(steps))
    assert inputs.shape == (steps, ROWS, 9)
    places: set[int] = set()
    for row in range(ROWS):
        symbols = [step[:8].tolist().index(1.0) for step in inputs[:, row]]
        (place,) = [t for t in range(steps) if inputs[t, row, 8] == 1]
        assert targets[row] == symbols[place]
        places.add(place)
    assert places == set(range(steps // 10))
    assert (inputs[..., :8].sum(-1) == 1).all()


def trivial(problem: Problem, targets: Tensor) -> Tensor:
    """Return the outputs of the best predictor that remembers nothing."""
    if problem.name == "adding":
        return torch.ones(len(targets), 1)
    if problem.name == "recall":
        return torch.eye(8)[:1].expand(len(targets), 8)
    word = (targets[:, 0] != 8).sum()
    outputs = torch.zeros(*targets.shape, 9)
    outputs[:-word, :, 8], outputs[-word:, :, 8] = 100.0, -100.0
    return outputs


@pytest.mark.parametrize("problem", DRAWN, ids=named)
def test_the_trivial_predictor_reaches_the_control_and_solves_nothing(problem: Problem):
    _, targets = drawn(problem, 20_000)
    score = problem.score(trivial(problem, targets), targets)
    assert score == pytest.approx(problem.control, rel=0.04)
    assert not problem.solved_by(score)


def test_the_controls_are_those_of_the_sources():
    assert Adding().control == pytest.approx(0.167, abs=5e-4)
    assert Copying(100).control == pytest.approx(10 * math.log(8) / 120)
    assert Copying(100, 2).control == pytest.approx(2 * math.log(8) / 104)
    assert Recall().control == 1 / 8


@pytest.mark.parametrize("problem", [*DRAWN, Majority(30)], ids=named)
def test_the_right_answers_solve_a_problem(problem: Problem):
    _, targets = drawn(problem, 8)
    outputs = (
        targets[:, None] if problem.name == "adding" else torch.zeros(*targets.shape, problem.output_size)
    )
    if problem.name != "adding":
        outputs.scatter_(-1, targets.clamp(min=0)[..., None], 50.0)
    assert problem.solved_by(problem.score(outputs, targets))
    assert problem.loss(outputs, targets)[0].item() == pytest.approx(0, abs=1e-6)
    assert not problem.solved_by(math.nan)


@pytest.mark.parametrize("problem", DRAWN, ids=named)
def test_the_loss_is_the_sum_over_the_answers_that_are_asked_for(problem: Problem):
    _, targets = drawn(problem, 8)
    outputs = torch.randn(*targets.shape, problem.output_size, generator=seeded())
    total, count = problem.loss(outputs, targets)
    assert count == targets.numel()
    if problem.score_name != "accuracy":
        assert total.item() / count == pytest.approx(problem.score(outputs, targets), rel=1e-5)
    else:
        nats = -outputs.log_softmax(-1).gather(-1, targets[..., None]).sum()
        assert total.item() == pytest.approx(nats.item(), rel=1e-5)


@pytest.mark.parametrize("problem", DRAWN, ids=named)
def test_a_seed_gives_the_same_examples_and_another_seed_others(problem: Problem):
    once, again, other = (problem.draw(5, seeded(seed)) for seed in (3, 3, 4))
    assert torch.equal(once.inputs, again.inputs)
    assert torch.equal(once.targets, again.targets)
    assert not torch.equal(once.inputs, other.inputs)


def test_recall_can_be_asked_for_its_first_symbol():
    inputs, targets = drawn(Recall(10, within=1))
    assert inputs[0, :, 8].eq(1).all()
    assert inputs[1:, :, 8].eq(0).all()
    assert targets.tolist() == [row[:8].tolist().index(1.0) for row in inputs[0]]


@pytest.mark.parametrize("delay", [0, 2])
def test_majority_asks_for_what_most_signs_around_a_step_are(delay: int):
    inputs, targets = drawn(Majority(12, 2, delay), 5)
    signs = inputs[..., 0].long().T.tolist()
    for row, asked in zip(signs, targets.T.tolist(), strict=True):
        expected = [IGNORED] * 12
        for t in range(2, 10):
            if t + delay < 12:
                expected[t + delay] = int(sum(row[t - 2 : t + 3]) > 0)
        assert asked == expected
    wrong = torch.zeros(12, 5, 2).scatter_(-1, 1 - targets.clamp(min=0)[..., None], 50.0)
    assert Majority(12, 2, delay).score(wrong, targets) == 0
    assert Majority(12, 2, delay).loss(wrong, targets)[1] == (targets != IGNORED).sum()


def test_no_guess_without_the_future_beats_the_ceiling():
    for reach in (1, 2, 3):
        ones = {}
        for bits in itertools.product((0, 1), repeat=2 * reach + 1):
            ones.setdefault(bits[: reach + 1], []).append(sum(bits) > reach)
        best = [max(sum(answers), len(answers) - sum(answers)) for answers in ones.values()]
        assert forward_ceiling(reach) == pytest.approx(sum(best) / 2 ** (2 * reach + 1))


def test_the_parts_of_mnist1d_are_the_files_rows_each_once(file: Path):
    task = Mnist1d.read(file, development=60)
    with np.load(file) as whole:
        rows = [(*x.tolist(), int(y)) for x, y in zip(whole["x"], whole["y"], strict=True)]
        assert torch.equal(task.testing.inputs[..., 0].T, torch.from_numpy(whole["x_test"]))
        assert task.testing.targets.tolist() == whole["y_test"].tolist()
    aside, kept = rows_of(task.development), rows_of(task.training)
    assert (len(aside), len(kept)) == (60, 240)
    assert sorted(aside + kept) == sorted(rows)


def rows_of(examples: Batch) -> list[tuple[float, ...]]:
    inputs, targets = examples.inputs, examples.targets
    assert inputs.shape == (40, len(targets), 1)
    return [(*inputs[:, row, 0].tolist(), int(targets[row])) for row in range(len(targets))]


def test_mnist1d_trains_on_nothing_that_it_is_judged_by(file: Path):
    task = Mnist1d.read(file, development=60)
    drawn = set(rows_of(task.draw(2000, seeded())))
    assert drawn == set(rows_of(task.training))
    assert task.held_out(1, seeded()) is task.development
    assert task.final(1, seeded()) is task.testing


def test_the_development_part_of_mnist1d_follows_its_seed(file: Path):
    once, again, other = (Mnist1d.read(file, development=60, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(once.development.inputs, again.development.inputs)
    assert not torch.equal(once.development.inputs, other.development.inputs)


def test_the_control_of_mnist1d_is_the_commonest_class(file: Path):
    task = Mnist1d.read(file, development=60)
    answers = task.training.targets.tolist()
    commonest = max(answers.count(k) for k in range(10)) / len(answers)
    assert task.control == pytest.approx(commonest)


def test_a_missing_file_is_one_line(tmp_path: Path):
    path = tmp_path / "none.npz"
    with pytest.raises(DataError) as error:
        Mnist1d.read(path)
    assert str(error.value) == f"{path}: expected a file that can be read, got no such file or directory"


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04" + bytes(100)])
def test_a_file_that_is_no_npz_is_one_line(tmp_path: Path, content: bytes):
    path = tmp_path / "data.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"data\.npz: expected an \.npz file, got [^\n]+$"):
        Mnist1d.read(path)


def test_a_torn_npz_is_one_line(file: Path):
    whole = file.read_bytes()
    file.write_bytes(whole[:400] + bytes(200) + whole[600:])
    with pytest.raises(DataError, match=r"data\.npz: expected an \.npz file, got [^\n]+$"):
        Mnist1d.read(file)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"y_test": None}, "expected the arrays x, y, x_test, y_test, got no y_test"),
        ({"x": curves(300, 1)[0][:, :39]}, "expected x [N, 40], N in 1 … 1000000, got [300, 39]"),
        ({"x": curves(300, 1)[0][:0]}, "expected x [N, 40], N in 1 … 1000000, got [0, 40]"),
        ({"x_test": np.float32(1)}, "expected x_test [N, 40], N in 1 … 1000000, got []"),
        ({"y": curves(300, 1)[1][:, None]}, "expected y [N], N in 1 … 1000000, got [300, 1]"),
        ({"y": curves(299, 1)[1]}, "expected y as long as x, 300, got 299"),
        ({"y": curves(300, 1)[1] * 1.5}, "expected y of whole numbers, got float64"),
        ({"x": curves(300, 1)[0] > 0}, "expected x of floating-point numbers, got bool"),
        ({"y": curves(300, 1)[1] + 1}, "expected classes 0 to 9 in y, got 1 to 10"),
        ({"x_test": curves(50, 2)[0] * np.inf}, "expected finite numbers in x_test, got others"),
    ],
)
def test_arrays_of_another_kind_are_one_line(file: Path, arrays: dict[str, object], said: str):
    with pytest.raises(DataError) as error:
        Mnist1d.read(altered(file, **arrays))
    assert str(error.value) == f"{file}: {said}"


class Trap:
    """Whose pickle leaves a trace when it is read."""

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.touch, (Path("sprung"),))


def test_a_pickle_in_the_file_is_never_run(file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(file.parent)
    trap = np.empty(300, dtype=object)
    trap[:] = [Trap() for _ in range(300)]
    with pytest.raises(DataError, match="expected y of whole numbers, got object"):
        Mnist1d.read(altered(file, y=trap))
    assert not Path("sprung").exists()


def test_a_header_that_declares_a_huge_array_is_refused_before_it_is_allocated(tmp_path: Path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (10**12, 40)}
    )
    with zipfile.ZipFile(tmp_path / "data.npz", "w") as archive:
        for name in ("x", "y", "x_test", "y_test"):
            archive.writestr(f"{name}.npy", header.getvalue())
    with pytest.raises(DataError, match=r"expected x \[N, 40\], N in 1 … 1000000, got \[1000000000000, 40\]"):
        Mnist1d.read(tmp_path / "data.npz")


@pytest.mark.parametrize("development", [0, -1, 300])
def test_a_development_part_of_nothing_or_everything_is_refused(file: Path, development: int):
    with pytest.raises(ConfigError, match=f"^development: expected 1 to 299, got {development}$"):
        Mnist1d.read(file, development=development)
