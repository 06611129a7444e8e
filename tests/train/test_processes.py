"""Several processes on one run: what one process would come to, bits that repeat, and no end without a line."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from ranks import Ranks, far, losses, tensors

from unrolled import checkpoint

TEXT = "the quick brown fox jumps over the lazy dog\n\npack my box with five dozen liquor jugs\n" * 40
NEAR = 2e-5  # of losses, weights and moments after some steps in float32, in another order of sums
SIZES = ("--hidden", "12", "--dropout", "0", "--dtype", "float32")
STREAM = ("--as", "stream", "--bptt", "16", "--batch", "5", "--layers", "2", "--steps", "24")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranks]:
    folder = tmp_path_factory.mktemp("ranks")
    found = Ranks(folder)
    (folder / "book.txt").write_text(TEXT)
    yield found
    found.close()


def train(ranks: Ranks, name: str, *words: str, resume: bool = False, size: int = 2, **command):
    """Train the text, in a directory of this name."""
    run = ranks.folder / name
    if not resume:
        shutil.rmtree(run, ignore_errors=True)
    argv = ["train", str(ranks.folder / "book.txt"), "--run", str(run), *SIZES, *words]
    ended = ranks(*argv, *(["--resume"] if resume else []), ranks=size, **command)
    return run, ended


@pytest.mark.parametrize(
    "words",
    [
        STREAM,
        ("--as", "lines", "--batch", "5", "--layers", "1", "--steps", "24"),
        (*STREAM, "--recompute", "5"),
    ],
    ids=["stream", "lines", "recompute"],
)
def test_two_processes_come_to_what_one_does(ranks: Ranks, words: tuple[str, ...]):
    one, alone = train(ranks, "one", *words, size=1)
    two, both = train(ranks, "two", *words)
    assert alone.codes == [0], alone.stderr
    assert both.codes == [0, 0], both.stderr
    assert both.stderr[1] == "", "rank 1 is silent"
    assert 0 < far(one, two) < NEAR


def test_equal_runs_give_equal_bits(ranks: Ranks):
    words = (*STREAM, "--dropout", "0.2", "--seed", "3")
    runs = [train(ranks, name, *words)[0] for name in ("two", "again")]
    first, second = map(tensors, runs)
    assert losses(runs[0]) == losses(runs[1])
    assert all((array == second[name]).all() for name, array in first.items())


def bits(run: Path):
    """Return what must be the same after a resume: losses, weights, moments, state, report."""
    last = checkpoint.read(checkpoint.locate(run, prefer=("LATEST",)))
    written = [(run / name).read_bytes() for name in ("samples.txt", "evaluation.json", "BEST")]
    return (
        losses(run),
        last.model,
        last.optimizer,
        (run / "model" / "model.safetensors").read_bytes(),
        written,
    )


@pytest.mark.parametrize("victim", [0, 1])
def test_a_run_whose_rank_is_killed_resumes_to_the_same_bits(ranks: Ranks, victim: int):
    words = (*STREAM, "--dropout", "0.2", "--save-every", "4", "--steps", "60")
    whole, _ = train(ranks, "whole", *words)
    run, killed = train(ranks, "run", *words, signals=[[0.15, signal.SIGKILL, victim]])
    assert killed.codes[victim] == -signal.SIGKILL
    assert killed.codes[1 - victim] == 2
    (line,) = killed.lines
    assert f"rank {victim}" in line or "the launcher's store" in line  # which rank 0 keeps, without torchrun
    assert killed.seconds[1 - victim] - killed.seconds[victim] < 15
    _, done = train(ranks, "run", *words, resume=True)
    assert done.codes == [0, 0], done.stderr
    assert bits(run) == bits(whole)
