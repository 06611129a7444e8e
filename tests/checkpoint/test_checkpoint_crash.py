"""A save that is cut off anywhere leaves a loadable checkpoint, and no error but RunError."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from unrolled import checkpoint, files, spec
from unrolled.checkpoint import Contents, Tensor
from unrolled.errors import RunError

MODEL = spec.ModelConfig(vocab_size=2, embedding_size=1, hidden_size=1, cell="rnn")
CALLS = ("open", "mkdir", "fsync", "rename", "replace", "unlink", "rmdir")  # what changes a disk
POINTS = 30  # more than any action below makes


def sample(step: int) -> Contents:
    weights = {name: Tensor("float32", shape, bytes([step]) * 4 * (shape[0] if len(shape) == 1 else
               shape[0] * shape[1])) for name, (_, shape) in spec.tensors(MODEL).items()}  # fmt: skip
    return Contents({"model": spec.to_json(MODEL)}, weights, {"kind": "byte"}, {}, {"step": step})


def save(run: Path, step: int) -> None:
    checkpoint.write_step(run, step, sample(step))
    checkpoint.mark(run, "LATEST", step)
    checkpoint.mark(run, "BEST", step)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    save(tmp_path / "run", 1)
    return tmp_path / "run"


class Killed(BaseException):
    """The process is gone."""


class Disk:
    """Counts the calls that change the disk; from the chosen one on, every one of them fails."""

    def __init__(
        self, patch: pytest.MonkeyPatch, at: int, error: Callable[[], BaseException], last: int
    ) -> None:
        self.made = 0
        self.at, self.last, self.error = at, last, error
        for name in CALLS:
            patch.setattr(os, name, self.counted(getattr(os, name)))
        patch.setattr(files, "write", self.counted(files.write, torn=True))

    def counted(self, call: Callable[..., object], *, torn: bool = False) -> Callable[..., object]:
        def counting(*args: object, **kwargs: object) -> object:
            if call.__name__ == "open" and args[1] & os.O_ACCMODE == os.O_RDONLY:
                return call(*args, **kwargs)  # a reader
            self.made += 1
            if not self.at <= self.made < self.last:
                return call(*args, **kwargs)
            if torn:
                args[0].write(bytes(args[1])[: len(args[1]) // 2])  # half of it reaches the disk
            raise self.error()

        return counting


def replace_model(run: Path) -> None:
    checkpoint.write_model(run, sample(2))


def save_and_prune(run: Path) -> None:
    save(run, 2)
    checkpoint.prune(run, 1)


ACTIONS = {"a step": lambda run: save(run, 2), "a model": replace_model, "a step and pruning": save_and_prune}


def attempt(action: Callable[[Path], None], run: Path, at: int, error: Callable[[], BaseException],
            last: int = 10**9) -> tuple[BaseException | None, int]:  # fmt: skip
    """Run an action on a failing disk; return how it ended and how many calls it made."""
    with pytest.MonkeyPatch.context() as patch:
        failing = Disk(patch, at, error, last)
        try:
            action(run)
        except BaseException as caught:
            return caught, failing.made
        return None, failing.made


@pytest.mark.parametrize("action", ACTIONS)
def test_a_kill_at_any_call_leaves_a_loadable_checkpoint_and_the_next_save_works(tmp_path, action):
    points = 0
    for at in range(1, 10 * POINTS):
        run = tmp_path / f"run{at}"
        save(run, 1)
        if "model" in action:
            checkpoint.write_model(run, sample(1))
        ended, _ = attempt(ACTIONS[action], run, at, Killed)
        for prefer in (("model", "BEST", "LATEST"), ("LATEST",), ("BEST",)):
            found = checkpoint.read(checkpoint.locate(run, prefer=prefer))
            assert found.model in (sample(1).model, sample(2).model)
        for step in (run / "checkpoints").glob("step-*"):
            checkpoint.read(step)  # whatever bears a step's name is whole
        save(run, 3)
        checkpoint.prune(run, 1)
        checkpoint.write_model(run, sample(3))
        assert sorted(os.listdir(run)) == ["BEST", "LATEST", "checkpoints", "model"]
        assert os.listdir(run / "checkpoints") == ["step-00000003"]
        if ended is None:
            break
        points += 1
    assert ended is None
    assert points > 15


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_failing_call_is_one_run_error_and_leaves_nothing_behind(tmp_path, action, code):
    for at in range(1, 10 * POINTS):
        run = tmp_path / f"run{at}"
        save(run, 1)
        ended, _ = attempt(ACTIONS[action], run, at, lambda: OSError(code, os.strerror(code)), last=at + 1)
        left = [*run.glob(".*"), *(run / "checkpoints").glob(".writing*")]
        assert not left, at
        checkpoint.read(checkpoint.locate(run))
        if ended is None:
            break
        assert type(ended) is RunError
        assert os.strerror(code) in str(ended)
        assert str(run) in str(ended)
        assert str(ended).isprintable()
    assert ended is None


def test_a_full_disk_keeps_the_last_checkpoint_and_removes_the_torn_one(run, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "write", full)
    with pytest.raises(RunError, match=r"step-00000002.*No space left on device"):
        checkpoint.write_step(run, 2, sample(2))
    assert os.listdir(run / "checkpoints") == ["step-00000001"]
    assert checkpoint.read(checkpoint.locate(run)).model == sample(1).model


def test_a_file_in_the_place_of_the_run_is_a_run_error(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunError, match="file"):
        checkpoint.write_step(tmp_path / "file", 0, sample(0))
    assert (tmp_path / "file").read_text() == "mine"


def recorded(action: Callable[[Path], None], run: Path) -> list[str]:
    """Return what an action does to the disk, in order, by the names of the files that it touches."""
    done: list[str] = []
    names: dict[int, str] = {}
    with pytest.MonkeyPatch.context() as patch:
        plain = {name: getattr(os, name) for name in CALLS}

        def opening(path, flags, mode=0o777):
            descriptor = plain["open"](path, flags, mode)
            names[descriptor] = Path(path).name
            return descriptor

        def syncing(descriptor):
            done.append(f"fsync {names[descriptor]}")
            plain["fsync"](descriptor)

        def naming(verb):
            def call(old, new):
                done.append(f"{verb} {Path(new).name}")
                plain[verb](old, new)

            return call

        patch.setattr(os, "open", opening)
        patch.setattr(os, "fsync", syncing)
        patch.setattr(os, "rename", naming("rename"))
        patch.setattr(os, "replace", naming("replace"))
        action(run)
    return done


def test_files_reach_the_disk_before_their_names_and_the_manifest_last(run):
    done = recorded(lambda run: save(run, 2), run)
    named = [line.split(".writing-")[0] + "…" if ".writing-" in line else line for line in done]
    assert named == [
        "fsync config.json", "fsync model.safetensors", "fsync tokens.json", "fsync optimizer.safetensors",
        "fsync progress.json", "fsync manifest.json", "fsync …", "rename step-00000002", "fsync checkpoints",
        "fsync …", "replace LATEST", "fsync run", "fsync …", "replace BEST", "fsync run",
    ]  # fmt: skip
