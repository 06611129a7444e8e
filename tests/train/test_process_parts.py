"""What a process of several knows before it meets the others, and one small run of two."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import far, free_port

from unrolled import train
from unrolled.errors import ConfigError, ProcessError
from unrolled.spec import DataConfig, Launch, TrainConfig
from unrolled.train import resources
from unrolled.train.processes import Processes
from unrolled.train.reduction import Reduction
from unrolled.train.saving import Progress, Since

STATE = """
import os, signal, sys, threading
import torch, torch.distributed
def state():
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    hooks, threads = [sys.excepthook, sys.unraisablehook], [each.name for each in threading.enumerate()]
    told = [torch.get_num_threads(), torch.distributed.is_initialized(), torch.initial_seed(), os.getcwd()]
    words = {name: value for name, value in os.environ.items() if not name.startswith("TORCHINDUCTOR_")}
    return [*handlers, *hooks, *told, words, [name for name in threads if name != "unrolled-leave"]]
"""
# Both train, and come to the same. Then rank 1 stands still in the middle of another run: rank 0 trains alone.
TWO = (
    STATE
    + """
from pathlib import Path
from unrolled.errors import ProcessError
from unrolled.spec import DataConfig, TrainConfig
from unrolled.train import run
from unrolled.train.processes import Processes
child = os.fork()  # what is imported above is imported once
rank = "0" if child else "1"
os.environ |= {"RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": sys.argv[3]}
signal.signal(signal.SIGTERM, lambda *_: None)
def trained(path, timeout_s):
    data = DataConfig(sys.argv[1], shape="stream")
    return run(TrainConfig(data, run=path, timeout_s=timeout_s, **SIZES), observers=[], pictures=False)
before, found = state(), trained(sys.argv[2], 60)
assert state() == before
tasks = Path("/proc/self/task")  # a thread of gloo that is left may abort the process while Python shuts down
names = [(each / "comm").read_text() for each in tasks.iterdir()] if tasks.exists() else []
assert not any("gloo" in name for name in names), names
os.write(1, f"{rank} {found.evaluation.carried.nats_per_token}\\n".encode())  # at once, beside the other
plain, calls = Processes.all_reduce, []
def stopped(self, tensor):
    calls.append(1)
    if len(calls) == 12:
        os.kill(os.getpid(), signal.SIGSTOP)
    plain(self, tensor)
if rank == "1":
    Processes.all_reduce = stopped
try:
    trained(sys.argv[2] + " stopped", 1)
except ProcessError as error:
    os.write(1, f"said {error}\\n".encode())
assert state() == before
assert rank == "0", "rank 1 stands still"
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
del os.environ["RANK"]
trained(sys.argv[2] + " alone", 1)
"""
)
SIZES: dict[str, Any] = {
    "hidden_size": 8,
    "num_layers": 1,
    "batch_size": 3,
    "bptt_steps": 8,
    "dropout": 0.0,
    "steps": 5,
    "dtype": "float32",
}


def test_a_process_without_a_launcher_is_alone():
    assert Launch.found({}) == Launch()
    assert Launch.found({"RANK": "1"}).alone
    found = Launch.found({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"})
    assert (found.rank, found.world_size, found.local_world_size) == (3, 4, 2)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK"),
        ({"RANK": "-1", "WORLD_SIZE": "2"}, "RANK"),
        ({"RANK": "0", "WORLD_SIZE": "two"}, "WORLD_SIZE"),
        ({"RANK": "0", "WORLD_SIZE": "1" * 5000}, "WORLD_SIZE"),
        ({"RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "3"}, "LOCAL_WORLD_SIZE"),
    ],
)
def test_a_place_that_cannot_be_is_refused(given: dict[str, str], name: str):
    with pytest.raises(ConfigError, match=f"^{name}: expected"):
        Launch.found(given)


def test_a_process_that_is_alone_gets_what_it_gives():
    alone, state = Processes(), torch.randn(2, 3, 4)
    assert alone.first
    assert list(alone.summed((1.0, 2))) == [1.0, 2]
    assert alone.whole(state, 1, 3) is state
    assert alone.once("nothing", lambda: "found") == "found"
    assert not alone.differ([state])


@pytest.mark.parametrize(("rows", "size"), [(5, 2), (4, 4), (7, 3)])
def test_rows_are_dealt_and_put_together_again(rows: int, size: int, monkeypatch: pytest.MonkeyPatch):
    whole = torch.arange(2 * rows * 3, dtype=torch.bfloat16).reshape(2, rows, 3)
    parts = [Processes(Launch(rank, size)).mine(whole, 1) for rank in range(size)]
    padded = [torch.cat([p, p.new_zeros(2, -(-rows // size) - p.shape[1], 3)], 1) for p in parts]

    def allgather(lists: list[list[Any]], tensors: list[Any]) -> Any:
        (every,), (mine,) = lists, tensors
        assert every[0].shape == mine.shape
        for rank, each in enumerate(every):
            each.copy_(padded[rank].movedim(1, 0).contiguous().view(torch.uint8))
        return types.SimpleNamespace(wait=lambda _: None)

    first = Processes(Launch(0, size))
    monkeypatch.setattr(first, "_exchange", lambda start: start())
    monkeypatch.setattr(first, "_group", [types.SimpleNamespace(allgather=allgather)])
    assert first.whole(parts[0], 1, rows).equal(whole)


def test_what_no_process_has_a_gradient_of_gets_none():
    used, unused = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    used.grad = torch.tensor([1.0, 2.0])
    reduction = Reduction(Processes(), [used, unused], flags=1)
    assert reduction.add(0.5, 5000, [3.0]) == (pytest.approx(0.5), 5000, [3.0])
    reduction.hand_out()
    assert unused.grad is None
    assert used.grad.tolist() == [1.0, 2.0]


def test_the_memory_of_a_host_holds_the_rows_of_its_own_processes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(resources, "memory_limit", lambda: 5)
    task: Any = types.SimpleNamespace(
        model_config=lambda *_: None, bytes_needed=lambda _, config, __: config.batch_size
    )
    config = TrainConfig(DataConfig("sentences"), batch_size=10)
    assert resources.within_memory(task, config, None, Processes(Launch(0, 4, 2))) == (config, None)


def test_the_progress_of_one_process_is_what_earlier_versions_read():
    one = Progress(1, 2, 1, 0.1, 0, 1, None, 0, None, Since(), "", 1, "", "")
    assert "world_size" not in one.to_json("nats_per_token")
    stored = Progress(**{**vars(one), "world_size": 3}).to_json("nats_per_token")
    assert Progress.from_json(stored, "p", unit="nats_per_token").world_size == 3


def test_a_run_whose_others_never_come_leaves_the_process_as_it_was(
    small: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch
):
    place = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    known: dict[str, Any] = {}
    exec(STATE, known)
    before = known["state"]()
    with pytest.raises(
        ProcessError, match=r"^processes: expected 2 to start within 1 s, got no sign of rank 1"
    ):
        train.run(small(timeout_s=1), observers=[])
    assert known["state"]() == before


def test_two_processes_come_to_what_one_comes_to_and_an_error_changes_nothing_else(
    book: Path, tmp_path: Path
):
    quiet = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "FATAL"}
    one, two, code = tmp_path / "one", tmp_path / "two", TWO.replace("SIZES", repr(SIZES))
    words = [sys.executable, "-c", code, str(book), str(two), str(free_port())]
    both = subprocess.run(words, env=quiet, text=True, capture_output=True, check=False)
    assert (both.returncode, both.stderr) == (0, "")
    data = DataConfig(str(book), shape="stream")
    alone = train.run(TrainConfig(data, run=str(one), **SIZES), observers=[], pictures=False)
    results = dict(line.split(maxsplit=1) for line in both.stdout.splitlines())
    assert results["said"].startswith("rank 1: expected a sign of life within 1 s, got none")
    assert results["0"] == results["1"], "every rank gets the same result"
    assert float(results["0"]) == pytest.approx(alone.evaluation.carried.nats_per_token, abs=1e-5)
    assert 0 < far(one, two) < 2e-5
