"""Several processes on one run: what one process would come to, bits that repeat, and no end without a line."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from ranks import Ranks, evaluation, far, losses, tensors

from unrolled import checkpoint

TEXT = "the quick brown fox jumps over the lazy dog\n\npack my box with five dozen liquor jugs\n" * 40
NEAR = 2e-5  # of losses, weights and moments after some steps in float32, in another order of sums
FIGURES = 1e-4  # of an evaluation, by weights that are so near
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
    assert evaluation(two) == pytest.approx(evaluation(one), rel=FIGURES, abs=FIGURES)


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


def test_ten_kills_of_a_random_rank_at_random_moments_change_no_bit(ranks: Ranks):
    # One that is killed before it has come is missed after the timeout; torch's store waits up to three times as
    # long for rank 0's.
    words = (*STREAM, "--dropout", "0.2", "--save-every", "5", "--steps", "150", "--timeout", "6")
    whole, undisturbed = train(ranks, "whole", *words)
    longest, random, kills, resume = max(undisturbed.seconds), Random(18), 0, False
    while kills < 10:
        victim, moment = random.randrange(2), random.uniform(0.1, longest)
        signals = [[moment, signal.SIGKILL, victim]]
        run, ended = train(ranks, "run", *words, resume=resume, signals=signals, from_start=True)
        if ended.codes == [0, 0]:  # it was faster
            assert bits(run) == bits(whole)
            longest, resume = min(longest, max(ended.seconds)), False
            continue
        kills, resume = kills + 1, True
        assert ended.codes[victim] == -signal.SIGKILL, ended.stderr
        assert ended.codes[1 - victim] in (0, 2), ended.stderr  # 0: it was about to leave
        assert len(ended.lines) == (ended.codes[1 - victim] != 0), ended.stderr
        assert ended.seconds[1 - victim] < longest + 20, (moment, ended.lines)
    _, done = train(ranks, "run", *words, resume=True)
    assert done.codes == [0, 0], done.stderr
    assert bits(run) == bits(whole)


@pytest.mark.parametrize("size", [1, 3])
def test_another_number_of_processes_goes_on_with_a_run(ranks: Ranks, size: int):
    words = (*STREAM, "--save-every", "4", "--steps", "60")
    whole, _ = train(ranks, "whole", *words)
    run, killed = train(ranks, "run", *words, signals=[[0.1, signal.SIGKILL, 1]])
    assert killed.codes[1] == -signal.SIGKILL
    _, done = train(ranks, "run", *words, resume=True, size=size)
    assert done.codes == [0] * size, done.stderr
    assert "where the run had 2: rows are dealt anew" in done.stderr[0]
    assert far(run, whole) < 2e-4, "without dropout only the order of sums differs"


def test_a_rank_that_stands_still_ends_the_run_after_the_timeout(ranks: Ranks):
    words = (*STREAM, "--steps", "20000", "--timeout", "3")
    _, ended = train(ranks, "run", *words, signals=[[0.5, signal.SIGSTOP, 1]], stopped=[1])
    assert ended.codes == [2, -signal.SIGKILL]  # the launcher's kill, once the other one has ended
    assert len(ended.lines) == 1
    assert "rank 1: expected a sign of life within 3 s" in ended.lines[0]


def test_sigterm_to_one_rank_stops_all_after_the_same_step(ranks: Ranks):
    words = (*STREAM, "--dropout", "0.2", "--steps", "3000", "--save-every", "1000")
    _, ended = train(ranks, "run", *words, signals=[[0.5, signal.SIGTERM, 1]])
    assert ended.codes == [143, 143], ended.stderr
    (line,) = ended.lines
    assert line.startswith("unrolled: stopped at step")
    assert "torchrun --standalone --nproc-per-node 2 -m -- unrolled train" in line


NAN = """
if rank == 1:
    from unrolled.tasks import LanguageModel
    plain, calls = LanguageModel.loss, []
    def loss(self, batch, state):
        calls.append(self.training)
        if calls.count(True) == 5:
            self.readout.bias.data[0] = float("nan")
        return plain(self, batch, state)
    LanguageModel.loss = loss
"""
NAN_GRADIENT = """
if rank == 1:
    from unrolled.train import segments
    from unrolled.train.fit import Stepper
    plain, calls = Stepper._forward, []
    def forward(self, batch):
        calls.append(1)
        found = plain(self, batch)
        def backward():
            found.backward()
            if len(calls) == 5:
                self.network.readout.bias.grad[0] = float("nan")
        return found._replace(backward=backward)
    Stepper._forward = forward
"""
FULL = """
if rank == 0:
    import resource
    from unrolled.train.saving import Saver
    plain, calls = Saver.save, []
    def save(self, now):
        calls.append(now)
        if len(calls) == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
        try:
            plain(self, now)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    Saver.save = save
"""


@pytest.mark.parametrize(
    ("patch", "said"),
    [
        (
            NAN,
            "loss at step 5 on rank 1: expected a finite number, got nan; first in the parameter readout.bias",
        ),
        (
            NAN_GRADIENT,
            "gradient norm at step 5 on rank 1: expected a finite number, got nan; first in the grad",
        ),
        (FULL, "step-00000012"),
    ],
    ids=["loss", "gradient", "disk"],
)
def test_what_one_rank_meets_ends_all_with_one_line(ranks: Ranks, patch: str, said: str):
    run, ended = train(ranks, "run", *STREAM, "--save-every", "12", patch=patch)
    assert ended.codes == [2, 2], ended.stderr
    assert len(ended.lines) == 1
    assert said in ended.lines[0]
    assert (run / "LATEST").read_text() == "step-00000000\n"


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (
            ["--lr", "0.003"],
            ["--lr", "0.001"],
            "--lr: expected 0.003 on every rank, as rank 0 has, got 0.001 on",
        ),
        (
            ["--steps", "9"],
            ["--epochs", "1"],
            "--epochs: expected nothing on every rank, as rank 0 has, got 1 on",
        ),
        (["--hidden", "0"], ["--hidden", "0"], "--hidden: expected at least 1, got 0"),
        (["--batch", "1"], ["--batch", "1"], "--batch: expected a row for each of 2 processes, got 1 row"),
        (["--bpe", "5"], ["--bpe", "5"], "--bpe"),
        (
            ["--hiden", "8"],
            ["--hiden", "8"],
            "--hiden: expected a flag of unrolled train, got an unknown one",
        ),
    ],
    ids=["lr", "budget", "hidden", "rows", "parser", "mistyped"],
)
def test_bad_input_is_one_line_and_nothing_is_written(ranks: Ranks, first, second, said: str):
    common = ["train", str(ranks.folder / "book.txt"), "--run", str(ranks.folder / "bad"), "--as", "stream"]
    each = [[*common, *first], [*common, *second]]
    ended = ranks(each=each, stopped=[1], from_start=True)
    assert ended.codes[0] == 2
    assert ended.codes[1] in (2, -signal.SIGKILL)  # or ended by the launcher
    assert said in ended.stderr[0]
    assert ended.stderr[1] == ""
    assert not (ranks.folder / "bad").exists()


def test_a_source_that_differs_is_named(ranks: Ranks):
    other = ranks.folder / "other.txt"
    other.write_text(TEXT[::-1])
    each = [
        ["train", str(ranks.folder / n), "--run", str(ranks.folder / "bad")]
        for n in ("book.txt", "other.txt")
    ]
    ended = ranks(each=each)
    assert ended.codes == [2, 2]
    assert "other.txt" in ended.lines[0]
    assert len(ended.lines) == 1


def test_a_rank_that_never_comes_is_named(ranks: Ranks):
    _, ended = train(ranks, "run", *STREAM, "--timeout", "2", only=[0])
    assert ended.codes == [2, None]
    assert "processes: expected 2 to start within 2 s, got no sign of rank 1" in ended.lines[0]


def test_a_port_in_use_is_named(ranks: Ranks):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        _, ended = train(ranks, "run", *STREAM, "--timeout", "2", only=[0], port=port)
    assert ended.codes == [2, None]
    assert f"127.0.0.1:{port}: expected a free port, got one in use" in ended.lines[0]


# rows whose label, group and numbers are known; tagged words; a series
TABLE = "id,x,y,label,size\n" + "".join(
    f"{row},{step * 0.1:.1f},{row % 3 - step * 0.2:.1f},{'abc'[row % 3]},{row % 7}\n"
    for row in range(50)
    for step in range(3 + row % 5)
)
WORDS = "".join(
    "".join(
        f"{'Anna' if (row + k) % 4 == 0 else 'runs'} {'B' if (row + k) % 4 == 0 else 'O'}-PER\n".replace(
            "O-PER", "O"
        )
        for k in range(2 + row % 6)
    )
    + "\n"
    for row in range(50)
)
SERIES = "time,value\n" + "".join(
    f"2024-01-{1 + hour // 24:02d}T{hour % 24:02d}:00,{hour % 24 + hour % 5 * 0.1:.1f}\n"
    for hour in range(480)
)
NOTHING_DROPPED = "import torch; torch.rand = lambda *shape, **_: torch.ones(*shape)"  # words, series, masks


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (TABLE, ("--label", "label", "--id", "id")),
        (TABLE, ("--target", "size", "--id", "id", "--causal")),
        (WORDS, ("--tags", "1")),
        (SERIES, ("--horizon", "4")),
        (SERIES, ("--horizon", "4", "--causal")),
    ],
    ids=["classify", "regress", "tag", "forecast", "causal"],
)
def test_every_task_comes_to_the_same_in_two_processes(ranks: Ranks, text: str, words: tuple[str, ...]):
    source = ranks.folder / f"source.{'conll' if text is WORDS else 'csv'}"
    source.write_text(text)
    sizes = ("--batch", "5", "--layers", "1", "--steps", "12", "--save-every", "6", "--overwrite")
    for size, run in ((1, "one"), (2, "two")):
        argv = ["train", str(source), *words, "--run", str(ranks.folder / run), *SIZES, *sizes]
        ended = ranks(*argv, ranks=size, patch=NOTHING_DROPPED)
        assert ended.codes == [0] * size, ended.stderr
    assert 0 < far(ranks.folder / "one", ranks.folder / "two") < NEAR
    found, alone = (evaluation(ranks.folder / run) for run in ("two", "one"))
    assert found == pytest.approx(alone, rel=FIGURES, abs=FIGURES)


def test_under_torchrun_a_killed_rank_is_named_and_no_process_stays(tmp_path: Path):
    run, text = tmp_path / "run", tmp_path / "book.txt"
    text.write_text(TEXT)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    train = [
        "-m",
        "--",
        "unrolled",
        "train",
        str(text),
        "--run",
        str(run),
        *SIZES,
        *STREAM,
        "--steps",
        "100000",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [*torchrun, *train], env=environment, stderr=subprocess.PIPE, text=True
    ) as launcher:
        while not (run / "LATEST").exists() and launcher.poll() is None:
            time.sleep(0.05)
        ours = {pid: environ.read_bytes() for pid, environ in children(launcher.pid)}
        assert len(ours) == 2
        (second,) = [pid for pid, environ in ours.items() if b"\0RANK=1\0" in environ]
        os.kill(second, signal.SIGKILL)
        said = launcher.communicate()[1]
    assert launcher.returncode == 1, "torchrun's own"
    (line,) = [line for line in said.splitlines() if line.startswith("unrolled: ")]
    assert "rank 1: expected an answer, got none: it has ended" in line
    assert not [pid for pid in ours if Path(f"/proc/{pid}").exists()]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are listed in /proc on Linux alone")
def test_no_thread_of_gloo_is_left_when_python_ends(tmp_path: Path):
    """One that lets go of a tensor while the interpreter shuts down aborts the process."""
    script = tmp_path / "script.py"
    script.write_text(
        "import os, torch\n"
        "from pathlib import Path\n"
        "from unrolled.train.processes import joined\n"
        "with joined({}, timeout_s=60) as processes:\n"
        "    torch.optim.AdamW(torch.nn.Linear(2, 2).parameters())\n"
        "    processes.summed([1.0])\n"
        "names = [Path(f'/proc/self/task/{t}/comm').read_text() for t in os.listdir('/proc/self/task')]\n"
        "assert not any('gloo' in name for name in names), names\n"
    )
    words = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        str(script),
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def children(parent: int) -> Iterator[tuple[int, Path]]:
    """Yield the processes that one has started, with the files of their environments."""
    for each in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int((each / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                yield int(each.name), each / "environ"
