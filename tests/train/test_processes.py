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
from typing import Any

import pytest
from ranks import Ranks, evaluation, far, losses, numbers

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


def test_equal_runs_give_equal_bits_and_so_does_one_that_is_killed_ten_times(ranks: Ranks):
    words = (*STREAM, "--dropout", "0.2", "--seed", "3", "--save-every", "5", "--steps", "120")
    whole, _ = train(ranks, "whole", *words)
    again, undisturbed = train(ranks, "run", *words)
    assert bits(again) == bits(whole)
    timeout, longest, random, kills, resume = 3, max(undisturbed.seconds), Random(18), 0, False
    while kills < 10:
        victim, moment = random.randrange(2), random.uniform(0.1, longest)
        told: dict[str, Any] = {"signals": [[moment, signal.SIGKILL, victim]], "from_start": True}
        if kills < 2:  # these come in the middle, to be named
            victim, told = kills, {"signals": [[0.15, signal.SIGKILL, kills]]}
        run, ended = train(ranks, "run", *words, "--timeout", str(timeout), resume=resume, **told)
        if ended.codes == [0, 0]:  # it was faster
            assert bits(run) == bits(whole)
            longest, resume = min(longest, max(ended.seconds)), False
            continue
        code, last = ended.codes[1 - victim], ended.seconds[1 - victim]
        assert ended.codes[victim] == -signal.SIGKILL, ended.stderr
        assert code in (0, 2), ended.stderr  # 0: it was about to leave
        assert len(ended.lines) == (code != 0), ended.stderr
        assert last - ended.seconds[victim] < timeout + 10, (moment, ended.lines)
        if kills < 2:  # without torchrun, rank 0 keeps the store
            assert f"rank {victim}" in ended.lines[0] or "the launcher's store" in ended.lines[0]
        kills, resume = kills + 1, True
    _, done = train(ranks, "run", *words, resume=True)
    assert done.codes == [0, 0], done.stderr
    assert bits(run) == bits(whole)


def test_another_number_of_processes_goes_on_with_a_run(ranks: Ranks):
    words = (*STREAM, "--save-every", "4", "--steps", "60")
    whole, _ = train(ranks, "whole", *words)
    run, killed = train(ranks, "run", *words, signals=[[0.1, signal.SIGKILL, 1]])
    assert killed.codes[1] == -signal.SIGKILL
    shutil.rmtree(ranks.folder / "run3", ignore_errors=True)
    shutil.copytree(run, ranks.folder / "run3")
    for name, size in (("run", 1), ("run3", 3)):
        run, done = train(ranks, name, *words, resume=True, size=size)
        assert done.codes == [0] * size, done.stderr
        assert "where the run had 2: rows are dealt anew" in done.stderr[0]
        assert far(run, whole) < 2e-4, "without dropout only the order of sums differs"


# what a rank does to itself at a moment of the start
AT = """
import os, signal
from unrolled.train.peers import Peers
from unrolled.train.processes import Processes
def at(owner, name):
    plain = getattr(owner, name)
    def struck(self, *given):
        os.kill(os.getpid(), signal.{signal})
        return plain(self, *given)
    setattr(owner, name, struck)
if rank == {rank}:
    {what}
"""
TIMEOUT = 6
# said by one that has reached the store, or is still about to
STORE_IS_GONE = ("an answer of the launcher's store", f"expected a store that answers within {TIMEOUT} s")
FATES: dict[str, tuple[dict[str, Any], list[int | None], str | tuple[str, ...]]] = {
    "stands still": (
        {"signals": [[0.5, signal.SIGSTOP, 1]], "stopped": [1]},
        [2, -signal.SIGKILL],  # the launcher's kill, once the other one has ended
        f"rank 1: expected a sign of life within {TIMEOUT} s",
    ),
    "never comes": ({"only": [0]}, [2, None], f"2 to start within {TIMEOUT} s, got no sign of rank 1"),
    "dies before its store": (
        {"patch": AT.format(rank=0, signal="SIGKILL", what="os.kill(os.getpid(), signal.SIGKILL)")},
        [-signal.SIGKILL, 2],
        f"expected a store that answers within {TIMEOUT} s, got Connection refused",
    ),
    "dies while others join": (
        {"patch": AT.format(rank=0, signal="SIGKILL", what="at(Peers, 'meet')")},
        [-signal.SIGKILL, 2],
        STORE_IS_GONE,
    ),
    "dies while it connects": (
        {"patch": AT.format(rank=1, signal="SIGKILL", what="at(Processes, 'connect')")},
        [2, -signal.SIGKILL],
        f"rank 1: expected a sign of life within {TIMEOUT} s",
    ),
    "stops while others join": (
        {"patch": AT.format(rank=0, signal="SIGSTOP", what="at(Peers, 'meet')"), "stopped": [0]},
        [-signal.SIGKILL, 2],
        STORE_IS_GONE,
    ),
    "stops while it connects": (
        {"patch": AT.format(rank=1, signal="SIGSTOP", what="at(Processes, 'connect')"), "stopped": [1]},
        [2, -signal.SIGKILL],
        f"rank 1: expected a sign of life within {TIMEOUT} s",
    ),
}


def test_a_rank_that_dies_or_stands_still_at_any_moment_ends_the_others_in_time(ranks: Ranks):
    words = ["train", str(ranks.folder / "book.txt"), *SIZES, *STREAM, "--steps", "20000"]
    commands = [
        {"argv": [*words, "--timeout", str(TIMEOUT), "--run", str(ranks.folder / f"fate {n}")], **fate}
        for n, (fate, _, _) in enumerate(FATES.values())
    ]
    for (name, (_, codes, said)), ended in zip(FATES.items(), ranks.side_by_side(commands), strict=True):
        assert ended.codes == codes, (name, ended.stderr)
        (line,) = ended.lines
        assert any(text in line for text in ([said] if isinstance(said, str) else said)), (name, line)
        one = codes.index(2)
        assert ended.seconds[one] - (ended.struck[1 - one] or 0.0) < TIMEOUT + 10, name


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


MET = {
    NAN: "loss at step 5 on rank 1: expected a finite number, got nan; first in the parameter readout.bias",
    NAN_GRADIENT: "gradient norm at step 5 on rank 1: expected a finite number, got nan; first in the grad",
    FULL: "step-00000012",
}


def test_what_one_rank_meets_ends_all_with_one_line(ranks: Ranks):
    words = ["train", str(ranks.folder / "book.txt"), *SIZES, *STREAM, "--save-every", "12", "--overwrite"]
    runs = [ranks.folder / f"met {n}" for n in range(len(MET))]
    commands = [
        {"argv": [*words, "--run", str(run)], "patch": patch} for run, patch in zip(runs, MET, strict=True)
    ]
    for said, run, ended in zip(MET.values(), runs, ranks.side_by_side(commands), strict=True):
        assert ended.codes == [2, 2], ended.stderr
        (line,) = ended.lines
        assert said in line
        assert (run / "LATEST").read_text() == "step-00000000\n"


REFUSED: dict[str, tuple[list[str], list[str]]] = {
    "--lr: expected 0.003 on every rank, as rank 0 has, got 0.001 on": (["--lr", "0.003"], ["--lr", "0.001"]),
    "--epochs: expected nothing on every rank, as rank 0 has, got 1 on": (
        ["--steps", "9"],
        ["--epochs", "1"],
    ),
    "other.txt' on rank 1": ([], []),
    "--hidden: expected at least 1, got 0": (["--hidden", "0"], ["--hidden", "0"]),
    "--batch: expected a row for each of 2 processes, got 1 row": (["--batch", "1"], ["--batch", "1"]),
    "--bpe": (["--bpe", "5"], ["--bpe", "5"]),
    "--hiden: expected a flag of unrolled train, got an unknown one": (["--hiden", "8"], ["--hiden", "8"]),
}


def test_bad_input_is_one_line_of_rank_0_and_nothing_is_written(ranks: Ranks):
    (ranks.folder / "other.txt").write_text(TEXT[::-1])
    commands = []
    for number, (said, each) in enumerate(REFUSED.items()):
        run = str(ranks.folder / f"bad {number}")
        sources = ("book.txt", "other.txt" if "other.txt" in said else "book.txt")
        argv = [
            ["train", str(ranks.folder / source), "--run", run, "--as", "stream", *words]
            for source, words in zip(sources, each, strict=True)
        ]
        commands.append({"argv": argv, "stopped": [1], "from_start": True})
    for said, ended in zip(REFUSED, ranks.side_by_side(commands), strict=True):
        assert ended.codes[0] == 2, said
        assert ended.codes[1] in (2, -signal.SIGKILL), said  # or ended by the launcher
        (line,) = ended.stderr[0].splitlines()
        assert said in line
        assert ended.stderr[1] == ""
    assert not list(ranks.folder.glob("bad *"))


def test_a_port_in_use_is_named(ranks: Ranks):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        _, ended = train(ranks, "run", *STREAM, "--timeout", "2", only=[0], port=port)
    assert ended.codes == [2, None]
    assert f"127.0.0.1:{port}: expected a free port, got one in use" in ended.lines[0]


def test_a_directory_that_is_not_shared_is_refused_in_one_line_of_rank_0(ranks: Ranks):
    first, second = ranks.folder / "host a", ranks.folder / "host b"  # each has its own "run"
    for folder in (first, second):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    patch = f"import os\nos.chdir([{str(first)!r}, {str(second)!r}][rank])"
    words = ["train", str(ranks.folder / "book.txt"), "--run", "run", *SIZES, *STREAM, "--save-every", "8"]

    def refused(*more: str) -> None:
        before = sorted(second.rglob("*"))
        ended = ranks(*words, *more, patch=patch)
        assert ended.codes == [2, 2]
        (line,) = ended.lines
        assert ended.stderr[1] == ""
        assert "--run: expected run on a file system that all processes share, got a directory" in line
        assert sorted(second.rglob("*")) == before, "it writes nothing"
        assert not list(first.rglob(".witness*"))

    refused()
    assert ranks(*words, "--resume", patch=f"import os\nos.chdir({str(first)!r})").codes == [0, 0]
    refused("--resume")  # a finished run, which the other one does not have
    shutil.copytree(first / "run", second / "run")
    refused("--resume", "--steps", "32")  # copies are not the same directory, even of the same bits


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


TASKS = {
    "classify": (TABLE, ("--label", "label", "--id", "id")),
    "regress": (TABLE, ("--target", "size", "--id", "id", "--causal")),
    "tag": (WORDS, ("--tags", "1")),
    "forecast": (SERIES, ("--horizon", "4")),
    "causal": (SERIES, ("--horizon", "4", "--causal")),
}


@pytest.mark.parametrize("task", TASKS)
def test_every_task_comes_to_the_same_in_two_processes(ranks: Ranks, task: str):
    text, words = TASKS[task]
    source = ranks.folder / f"source.{'conll' if text is WORDS else 'csv'}"
    source.write_text(text)
    sizes = ("--batch", "5", "--layers", "1", "--steps", "12", "--save-every", "6", "--overwrite")
    one, two = (ranks.folder / name for name in ("one", "two"))
    commands = [
        {"argv": ["train", str(source), *words, "--run", str(run), *SIZES, *sizes], "ranks": size}
        for run, size in ((one, 1), (two, 2))
    ]
    for ended in ranks.side_by_side([{**command, "patch": NOTHING_DROPPED} for command in commands]):
        assert set(ended.codes) == {0}, ended.stderr
    assert 0 < far(one, two) < NEAR
    assert evaluation(two) == pytest.approx(evaluation(one), rel=FIGURES, abs=FIGURES)
    known, alone = (numbers(run / "model" / "config.json") for run in (two, one))
    assert known == pytest.approx(alone, rel=FIGURES, abs=FIGURES), "calibration and states"


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


def children(parent: int) -> Iterator[tuple[int, Path]]:
    """Yield the processes that one has started, with the files of their environments."""
    for each in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int((each / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                yield int(each.name), each / "environ"
