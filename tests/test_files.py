"""Files and limits: what a crash, a stranger and a container may do to them."""

from __future__ import annotations

import json
import os
import resource
import stat
import subprocess
import sys
import tracemalloc
import types
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled import files
from unrolled.errors import CheckpointError, DataError, RunError, TokenError

GIB = 2**30
MOST = 2**20


def tree(root: Path, **written: str) -> Path:
    """Make a /proc and /sys of files; "__" in a name stands for "/"."""
    for name, text in written.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


@pytest.fixture
def roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 64 GiB and 16 processors."""
    monkeypatch.setattr(files, "_machine_memory", lambda: 64 * GIB)
    monkeypatch.setattr(files, "_address_space", lambda: None)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)


V1 = "3:cpu,cpuacct:/docker/abc\n2:memory:/docker/abc\n1:name=systemd:/docker/abc\n0::/"
TREES = {
    "v2, a container that sees its own group as the root": {
        "proc__self__cgroup": "0::/",
        "sys__fs__cgroup__memory.max": str(2 * GIB),
        "sys__fs__cgroup__cpu.max": "150000 100000",
    },
    "v2, a limit of a group further up": {
        "proc__self__cgroup": "0::/user.slice/session",
        "sys__fs__cgroup__user.slice__session__memory.max": "max",
        "sys__fs__cgroup__user.slice__session__cpu.max": "max 100000",
        "sys__fs__cgroup__user.slice__memory.max": str(2 * GIB),
        "sys__fs__cgroup__user.slice__cpu.max": "150000 100000",
    },
    "v1, under the path of the host": {
        "proc__self__cgroup": V1,
        "sys__fs__cgroup__memory__docker__abc__memory.limit_in_bytes": str(2 * GIB),
        "sys__fs__cgroup__cpu,cpuacct__docker__abc__cpu.cfs_quota_us": "75000",
        "sys__fs__cgroup__cpu,cpuacct__docker__abc__cpu.cfs_period_us": "50000",
    },
    "v1, where only the container's own part is mounted": {
        "proc__self__cgroup": V1,
        "sys__fs__cgroup__memory__memory.limit_in_bytes": str(2 * GIB),
        "sys__fs__cgroup__cpu__cpu.cfs_quota_us": "150000",
        "sys__fs__cgroup__cpu__cpu.cfs_period_us": "100000",
    },
}


@pytest.mark.usefixtures("roomy")
@pytest.mark.parametrize("name", TREES)
def test_a_containers_quota_is_the_limit(name: str, tmp_path: Path):
    root = tree(tmp_path, **TREES[name])
    assert files.memory_limit(root) == 2 * GIB
    assert files.cpu_limit(root) == 1.5


UNLIMITED = {
    "no cgroups": {},
    "v2 without limits": {"proc__self__cgroup": "0::/", "sys__fs__cgroup__memory.max": "max", "sys__fs__cgroup__cpu.max": "max 100000"},
    "v1 without limits": {
        "proc__self__cgroup": V1,
        "sys__fs__cgroup__memory__memory.limit_in_bytes": "9223372036854771712",
        "sys__fs__cgroup__cpu__cpu.cfs_quota_us": "-1",
        "sys__fs__cgroup__cpu__cpu.cfs_period_us": "100000",
    },
    "more than the machine has": {"proc__self__cgroup": "0::/", "sys__fs__cgroup__memory.max": str(2**50), "sys__fs__cgroup__cpu.max": "6400000 100000"},
    "damaged": {"proc__self__cgroup": "0::/..\nx\n::\n0::/\xb2", "sys__fs__cgroup__memory.max": "²", "sys__fs__cgroup__cpu.max": "10"},
    "a group above the root": {"proc__self__cgroup": "0::/../..", "memory.max": "1", "sys__memory.max": "1"},
}  # fmt: skip


@pytest.mark.usefixtures("roomy")
@pytest.mark.parametrize("name", UNLIMITED)
def test_without_a_quota_the_machine_is_the_limit(name: str, tmp_path: Path):
    root = tree(tmp_path, **UNLIMITED[name])
    assert files.memory_limit(root) == 64 * GIB
    assert files.cpu_limit(root) == 16.0


def test_a_limit_of_the_address_space_is_one_of_memory():
    code = "from unrolled import files; print(files.memory_limit())"

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (GIB, GIB))

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, preexec_fn=limited)
    assert done.stdout.strip() == str(GIB), done.stderr


@pytest.mark.usefixtures("roomy")
def test_a_limit_that_changes_is_read_again_after_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    now = [100.0]
    monkeypatch.setattr(files, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    root = tree(tmp_path, **{"proc__self__cgroup": "0::/", "sys__fs__cgroup__memory.max": str(2 * GIB)})
    assert files.memory_limit(root) == 2 * GIB
    (root / "sys/fs/cgroup/memory.max").write_text(str(GIB))
    assert files.memory_limit(root) == 2 * GIB
    now[0] += 1.5
    assert files.memory_limit(root) == GIB


def test_the_time_on_and_for_processors_is_that_of_all_threads(tmp_path: Path):
    for thread, text in {
        "7": "1500000000 500000000 3",
        "8": "500000000 1000000000 9",
        "9": "damaged",
    }.items():
        (tmp_path / "proc/self/task" / thread).mkdir(parents=True)
        (tmp_path / "proc/self/task" / thread / "schedstat").write_text(text)
    assert files.processor_seconds(tmp_path) == (2.0, 1.5)
    assert files.processor_seconds(tmp_path / "none") is None


def test_where_the_system_does_not_say_there_is_no_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(files, "_machine_memory", lambda: None)
    monkeypatch.setattr(files, "_address_space", lambda: None)
    assert files.memory_limit(tmp_path) is None
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert files.cpu_limit(tmp_path) == 1.0


# Writing.


def test_a_file_is_replaced_by_a_whole_one_that_others_may_read(tmp_path: Path):
    path = tmp_path / "file"
    files.replace(path, b"old")
    files.replace(path, "né\n")
    assert path.read_bytes() == "né\n".encode()
    assert os.listdir(tmp_path) == ["file"]
    before = os.umask(0)
    os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~before


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_after_a_failed_write_the_old_file_is_there_and_nothing_else(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "file"
    files.replace(path, "old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(RunError, match=r"file: expected to write there, got: No space left on device$"):
        files.replace(path, "new")
    assert os.listdir(tmp_path) == ["file"]
    assert path.read_text() == "old"


def test_a_file_is_on_the_disk_before_it_has_its_name_and_its_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    calls: list[str] = []
    fsync, rename = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        calls.append("directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def renamed(old: Path, new: Path) -> None:
        calls.append("rename")
        rename(old, new)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    files.replace(tmp_path / "file", "text")
    assert calls == ["file", "rename", "directory"]


def test_what_is_a_link_is_replaced_itself(tmp_path: Path):
    (tmp_path / "target").write_text("mine")
    (tmp_path / "link").symlink_to("target")
    files.replace(tmp_path / "link", "new")
    assert (tmp_path / "target").read_text() == "mine"
    assert not (tmp_path / "link").is_symlink()


# Reading.


@pytest.mark.parametrize("kind", ["link", "directory", "pipe", "nothing", "below a file"])
def test_only_a_regular_file_is_read(kind: str, tmp_path: Path):
    path = tmp_path / "file"
    (tmp_path / "target").write_text("{}")
    if kind == "link":
        path.symlink_to("target")
    elif kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "below a file":
        path = tmp_path / "target" / "file"
    got = "something else" if path.is_symlink() or path.exists() else "nothing there"
    with pytest.raises(DataError) as caught:
        files.read_regular(path, 100, DataError)
    assert str(caught.value) == f"{path}: expected a regular file, got {got}"


def test_a_file_is_read_to_its_bound(tmp_path: Path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert files.read_regular(path, 5, TokenError) == b"12345"
    with pytest.raises(TokenError, match=r"expected at most 4 bytes, got a longer file$"):
        files.read_regular(path, 4, TokenError)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**40), 10**40) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=20,
)  # fmt: skip


@pytest.mark.parametrize("item", [[], {}, 0.5, 2**40, "a", "é", "😀", {"a": 1}, [7, 8], "word" * 9])
def test_the_estimate_is_not_below_what_parsing_takes(item: object):
    raw = json.dumps([item] * 5000).encode()
    tracemalloc.start()
    found = json.loads(raw.decode(), object_pairs_hook=files._unique)
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == 5000
    assert taken <= files.parsed_bytes(raw) + 4096


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), json_values))
def test_what_json_writes_is_parsed_back(value: dict[str, object]):
    raw = json.dumps(value).encode()
    assert files.parse_json(raw, "file", CheckpointError, most=2**30, ascii_only=True) == value
    assert (
        files.parse_json(json.dumps(value, ensure_ascii=False).encode(), "f", CheckpointError, most=2**30)
        == value
    )


@pytest.mark.parametrize(
    ("raw", "got"),
    [
        (b'{"a": 1, "a": 2}', "duplicate key 'a'"),
        (b'{"a": NaN}', "NaN, which is no JSON"),
        (b'{"a": 1e999}', "a number beyond the range of a double"),
        (b'{"a": ' + b"1" * 65 + b"}", "a number of 65 digits"),
        (b"[]", "list"),
        (b"{} {}", "Extra data"),
        (b'{"a": "\xff"}', "can't decode byte 0xff"),
        (b'{"a": ' + b"[" * 32 + b"]" * 32 + b"}", "one that is nested too deeply"),
        (b"[" * 90_000 + b"]" * 90_000, "too deeply|once parsed"),
    ],
)  # fmt: skip
def test_what_is_no_plain_json_object_is_refused_in_one_line(raw: bytes, got: str):
    with pytest.raises(TokenError, match=f"^a file: expected .*({got})") as caught:
        files.parse_json(raw, "a\tfile".replace("\t", " "), TokenError, most=2**30)
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


def test_the_older_place_of_a_documented_name_still_gives_it():
    from unrolled import parsing

    with pytest.warns(DeprecationWarning, match="is now unrolled.files.parsed_bytes"):
        assert parsing.parsed_bytes is files.parsed_bytes
