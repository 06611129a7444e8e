"""Two hosts, which are network namespaces with a cable between them: as root, where `ip` may make them."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ranks import Ranks, losses

from unrolled import checkpoint

pytestmark = pytest.mark.slow
TIMEOUT = 4
HOSTS = ("unrolled-a", "unrolled-b")
ENTERED = """
import ctypes, os
host = open("/run/netns/unrolled-" + "ab"[rank])
assert ctypes.CDLL(None).setns(host.fileno(), 0x40000000) == 0
os.environ |= {"MASTER_ADDR": "10.213.77.1", "GLOO_SOCKET_IFNAME": "unr" + "ab"[rank], "LOCAL_WORLD_SIZE": "1"}
"""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def cable() -> Iterator[None]:
    """Make both hosts, with the addresses 10.213.77.1 and 2."""
    if os.getuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs root, and `ip` of iproute2")
    try:
        for host in HOSTS:
            ip("netns", "add", host)
        ip(
            "link",
            "add",
            "unra",
            "netns",
            HOSTS[0],
            "type",
            "veth",
            "peer",
            "name",
            "unrb",
            "netns",
            HOSTS[1],
        )
        for number, host in enumerate(HOSTS, 1):
            device = f"unr{'ab'[number - 1]}"
            ip("-n", host, "address", "add", f"10.213.77.{number}/24", "dev", device)
            for each in ("lo", device):
                ip("-n", host, "link", "set", each, "up")
        yield
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr}")
    finally:
        for host in HOSTS:
            subprocess.run(["ip", "netns", "delete", host], check=False, capture_output=True)


def outcome(run: Path):
    last = checkpoint.read(checkpoint.locate(run, prefer=("LATEST",)))
    return losses(run), last.model, last.optimizer


@pytest.mark.usefixtures("cable")
def test_both_ends_of_a_cable_that_is_pulled_end_in_time_and_go_on(tmp_path: Path):
    text = tmp_path / "book.txt"
    text.write_text("the quick brown fox jumps over the lazy dog\n" * 80)
    sizes = ["--as", "stream", "--bptt", "16", "--batch", "4", "--hidden", "12", "--layers", "1"]
    words = ["train", str(text), *sizes, "--steps", "600", "--save-every", "100", "--timeout", str(TIMEOUT)]
    run, whole, pulled = tmp_path / "run", tmp_path / "whole", []

    def pull() -> None:
        while not (run / "LATEST").exists() or "100" not in (run / "LATEST").read_text():
            time.sleep(0.001)
        ip("-n", HOSTS[1], "link", "set", "unrb", "down")
        pulled.append(time.perf_counter())

    ranks = Ranks(tmp_path)
    try:
        assert ranks(*words, "--run", str(whole), patch=ENTERED).codes == [0, 0]
        thread = threading.Thread(target=pull)
        begin = time.perf_counter()
        thread.start()
        ended = ranks(*words, "--run", str(run), patch=ENTERED)
        thread.join()
        assert ended.codes == [2, 2], ended.stderr
        assert len(ended.lines) == 2, "neither can know what the other says"
        assert all(begin + seconds - pulled[0] < TIMEOUT + 10 for seconds in ended.seconds)
        ip("-n", HOSTS[1], "link", "set", "unrb", "up")
        done = ranks(*words, "--run", str(run), "--resume", patch=ENTERED)
        assert done.codes == [0, 0], done.stderr
    finally:
        ranks.close()
    assert outcome(run) == outcome(whole)
