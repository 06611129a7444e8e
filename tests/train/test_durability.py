"""Kills, full disks, closed directories and signals, for real."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from killing import Torture

from unrolled import kernels
from unrolled.checkpoint.format import FILES

pytestmark = pytest.mark.slow

BACKENDS = ["torch", *(["native"] if kernels.available() else [])]
TIMES = 20


@pytest.fixture(scope="module", params=BACKENDS)
def torture(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Torture]:
    made = Torture(tmp_path_factory.mktemp(request.param), request.param)
    yield made
    made.zygote.close()


def test_a_kill_at_any_moment_costs_nothing_but_time(torture: Torture):
    random = Random(str(torture.words))
    kills = 0
    while kills < TIMES:
        kills += torture.killed_at(random)


def task_source(task: str, folder: Path) -> list[str]:
    """Write a source of a task, and return the words of the command that name it."""
    random, path = Random(0), folder / f"{task}.csv"
    if task == "tag":
        rows = [f"{n // 5},{random.choice('abcd')},{random.choice(['O', 'B-X'])}" for n in range(200)]
        path.write_text("id,word,tag\n" + "\n".join(rows))
        return [str(path), "--tags", "tag", "--no-controls"]
    rows = [f"{n // 5},{random.random():.3f},{'ab'[n // 5 % 2]}" for n in range(200)]
    path.write_text("id,x,kind\n" + "\n".join(rows))
    return [str(path), "--label", "kind", "--id", "id", "--no-controls"]


@pytest.mark.parametrize("task", ["classify", "tag"])
def test_a_kill_of_a_task_s_run_costs_nothing_but_time(tmp_path: Path, task: str):
    torture = Torture(tmp_path, "auto", source=task_source(task, tmp_path))
    random, kills = Random(task), 0
    while kills < 3:
        kills += torture.killed_at(random)
    torture.zygote.close()


# The points are those of checkpoint/, whatever the backend; bench/torture.py runs them on both.
@pytest.mark.parametrize("torture", BACKENDS[-1:], indirect=True)
def test_a_kill_at_each_point_of_saving_and_pruning_costs_nothing_but_time(torture: Torture):
    points: list[str] = []
    while True:
        torture.fresh()
        point = torture.killed_before(
            5, len(points) + 1
        )  # the fifth save is the first one with a step to prune
        torture.finish()
        if point is None:
            break
        points.append(point)
    names = " ".join(points)
    for wanted in ("mkdir .writing-step", "fsync", "rename .writing-step", "replace .writing-LATEST", "rename step-",
                   "unlink model.safetensors", "rmdir .removing-step"):  # fmt: skip
        assert wanted in names, points


@pytest.mark.parametrize("torture", BACKENDS[-1:], indirect=True)
def test_a_kill_while_a_run_takes_itself_up_costs_nothing_but_time(torture: Torture):
    points: list[str] = []
    while True:
        torture.fresh()
        torture.killed_before(6, 12)  # leaves half a step behind
        point = torture.killed_before(0, len(points) + 1, resume=True)
        torture.finish()
        if point is None or "LATEST" in point:  # the next save has begun
            break
        points.append(point)
    names = " ".join(points)
    for wanted in ("open .lock", "unlink", "replace .writing-BEST", "replace .writing-metrics.jsonl",
                   "replace .writing-config.json"):  # fmt: skip
        assert wanted in names, points


# ------------------------------------------------------------------- full disks, closed directories, signals


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Torture]:
    """Runs that closed directories stop, root's too."""
    drop = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    if drop and shutil.which("setpriv") is None:
        pytest.skip("root passes every closed door, and there is no setpriv here")
    made = Torture(tmp_path_factory.mktemp("guarded"), "torch", before=drop)
    yield made
    made.zygote.close()


def test_a_directory_that_turns_read_only_ends_a_run_in_one_line_and_keeps_its_last_checkpoint(
    guarded: Torture,
):
    random = Random(1)
    stopped = 0
    for time in range(TIMES):
        guarded.fresh()
        closed = guarded.run_path / random.choice([".", "checkpoints"])
        answer = guarded.train(close=[str(closed), random.uniform(0.0, 0.5 * guarded.seconds)])
        for path in (guarded.run_path, guarded.run_path / "checkpoints"):
            if path.is_dir():
                path.chmod(0o755)
        if answer.code != 0:
            assert answer.code == 2, answer
            assert re.fullmatch(
                r"(?s).*unrolled: [^\n]*([Pp]ermission denied|[Ww]ritable)[^\n]*\n", answer.stderr
            ), answer
            assert "Traceback" not in answer.stderr
            stopped += 1
        guarded.check_loadable()
        if time % 5 == 0:  # that a resume ends well is shown above
            guarded.finish()
    assert stopped > TIMES // 2


@pytest.mark.parametrize("signals", [[signal.SIGINT], [signal.SIGINT] * 2, [signal.SIGTERM]],
                         ids=["once", "twice", "term"])  # fmt: skip
def test_signals_end_a_run_with_their_code_and_keep_its_last_checkpoint(guarded: Torture, signals: list[int]):
    random = Random(len(signals))
    code = 128 + signals[0]
    ended = 0
    for time in range(TIMES):
        guarded.fresh()
        moment = random.uniform(0.0, 0.6 * guarded.seconds)
        answer = guarded.train(signals=[[moment + 0.003 * k, signum] for k, signum in enumerate(signals)])
        assert answer.code in (0, code), answer
        if answer.code:
            said = answer.stderr.splitlines()[-1]
            assert re.fullmatch(r"unrolled: stopped (at step \d+ of 40, which is saved|at once by SIG\w+|in the report, "
                                r"which a resume writes again); go on with: "
                                r"(\S+ -m )?unrolled train \S+ --run \S+ --resume", said), answer  # fmt: skip
            assert "Traceback" not in answer.stderr
            ended += 1
        guarded.check_loadable()
        if time % 5 == 0:  # that a resume ends well is shown above
            guarded.finish()
    assert ended > TIMES // 2


FULL = """
import sys; sys.path[:0] = [{here!r}]
from pathlib import Path
from random import Random
from test_durability import fill
fill(Path({folder!r}), times={times})
"""


def fill(disk: Path, *, times: int) -> None:
    """Leave a run some of the room that it needs, and when it has ended for lack of it, all; then resume."""
    torture = Torture(disk, "torch", extra=["--keep", "100"])
    random = Random(2)
    with_it = shutil.disk_usage(disk).free
    shutil.rmtree(disk / "whole")
    needed = shutil.disk_usage(disk).free - with_it
    try:
        for time in range(times):
            torture.fresh()
            room = shutil.disk_usage(disk).free
            ballast = disk / "ballast"
            ballast.write_bytes(bytes(room - int(random.uniform(0.02, 0.9) * needed)))
            answer = torture.train()
            assert answer.code == 2, answer
            assert re.fullmatch(r"(?s).*unrolled: [^\n]*[Nn]o space left on device[^\n]*\n", answer.stderr), (
                answer
            )
            torture.check_loadable()
            ballast.unlink()
            if time % 5 == 0:  # that a resume ends well is shown above
                torture.finish()
    finally:
        torture.zygote.close()


def test_a_file_system_of_four_mebibytes_that_fills_up_costs_nothing_but_the_step(tmp_path: Path):
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here, so no file system of our own")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=4m none {disk} && exec {sys.executable} -"
    enter = ["unshare", "--mount", "--map-root-user", "sh", "-c"]
    if subprocess.run([*enter, f"mount -t tmpfs -o size=4m none {disk}"], capture_output=True).returncode:
        pytest.skip("no file system may be mounted here")
    code = FULL.format(here=str(Path(__file__).parent), folder=str(disk), times=TIMES)
    done = subprocess.run([*enter, mount], input=code, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# ------------------------------------------------------------------------------------------ system calls


def test_data_reaches_the_disk_before_its_name_does(tmp_path: Path):
    """A system-call trace: every file is fsynced before the rename that shows it, the directory after it."""
    if shutil.which("strace") is None:
        pytest.skip("no strace here")
    trace, text = tmp_path / "trace.txt", tmp_path / "text.txt"
    text.write_text("the quick brown fox\n\n" * 100)
    calls = "openat,open,fsync,rename,renameat,renameat2,close,mkdir"
    words = [sys.executable, "-m", "unrolled", "train", str(text), "--run", str(tmp_path / "run"), "--steps", "2",
             "--save-every", "1", "--hidden", "4", "--as", "stream"]  # fmt: skip
    done = subprocess.run(
        ["strace", "-f", "-y", "-e", f"trace={calls}", "-o", str(trace), *words], capture_output=True
    )
    if b"ptrace" in done.stderr and done.returncode:
        pytest.skip("no process may be traced here")
    assert done.returncode == 0, done.stderr
    lines = trace.read_text().splitlines()
    shown = [(at, match[1], match[2]) for at, line in enumerate(lines)
             if (match := re.search(rf'rename(?:at2?)?\(.*?"({tmp_path}/run/\S*?)", .*?"({tmp_path}/run/\S*?)"', line))]  # fmt: skip
    steps = [(at, old, new) for at, old, new in shown if re.search(r"/step-\d{8}$", new)]
    assert len(steps) == 3
    for at, old, new in steps:
        synced = {
            Path(m[1]).name for line in lines[:at] if (m := re.search(rf"fsync\(\d+<({old}/[^>]+)>", line))
        }
        assert synced == set(FILES["step"]) | {"manifest.json"}, "every file, before it has its name"
        assert any(f"<{old}>" in line and "fsync(" in line for line in lines[:at]), "their names, before"
        assert f"fsync({Path(new).parent}" in re.sub(r"\d+<", "", lines_after(lines, at)), (
            "its own name, after"
        )
        rows = [n for n, line in enumerate(lines[:at]) if "fsync(" in line and "/metrics.jsonl>" in line]
        assert len(rows) >= steps.index((at, old, new)) + 1, "a step's row is on the disk before it"
    marks = [(at, old, new) for at, old, new in shown if new.endswith(("/LATEST", "/BEST"))]
    assert len(marks) >= 4
    for at, old, new in marks:
        assert any("fsync(" in line and f"<{old}>" in line for line in lines[:at])
        assert f"fsync({Path(new).parent}" in re.sub(r"\d+<", "", lines_after(lines, at))


def lines_after(lines: list[str], at: int) -> str:
    """Return the first fsync after a line."""
    return next(line for line in lines[at:] if "fsync(" in line)
