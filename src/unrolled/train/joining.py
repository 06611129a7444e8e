"""How the processes of a run, as PyTorch's launcher starts them, come together and part."""

from __future__ import annotations

import contextlib
import os
import platform
import socket
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from unrolled.errors import BackendError, ProcessError, expected
from unrolled.spec import Launch
from unrolled.train.peers import Peers
from unrolled.train.processes import Processes
from unrolled.train.signals import handlers_kept
from unrolled.train.watch import Call, Watch

__all__ = ["joined"]

AT_LAST = 60.0  # seconds beside twice the timeout, after which an exchange ends in any case
SHORT, LONG = 0.5, 30.0  # seconds that leaving the group may take: after an error, and when nobody waits
MARGIN = 1.0  # seconds more than the timeout that the store's own error has to come
AGAIN = 0.1  # seconds between two looks for a store
_C10D: Any = dist  # names that it exports without saying so


@contextlib.contextmanager
def joined(about: Mapping[str, Any], *, timeout_s: float) -> Iterator[Processes]:
    """Join the other processes of the run that the launcher started this one for, if it did.

    However it ends, the process has its handlers of signals again, and no group.

    Args:
        about: what must be the same on every rank, as JSON can hold it. timeout_s: to wait for another.
    Raises:
        ProcessError: another process is missing, ends or does not answer. ConfigError: it was started
            otherwise.
    """
    launch = Launch.found()
    if launch.alone:
        yield Processes()
        return
    if not dist.is_available() or not dist.is_gloo_available():
        raise BackendError(expected("processes", "a build of torch with gloo for several of them", "none"))
    with handlers_kept():
        store = _Store(launch, timeout_s)
        watch = Watch(store.of_run(), launch.rank)
        peers = Peers(launch, watch, timeout_s=timeout_s, launched=not store.own)
        processes = Processes(launch, peers)
        try:
            peers.meet({"torch": torch.__version__, "python": platform.python_version(), **about})
            processes.connect(store.group)
            yield processes
            processes.summed([0.0])  # nobody takes the store away while another one waits for it
            if store.own and launch.rank:
                peers.await_end_of_store()
        except BaseException as error:
            try:
                peers.part(error)
            finally:
                left = not processes.close(patience=SHORT)
                error.waits = left or getattr(error, "waits", False)  # type: ignore[attr-defined]
            raise
        processes.close(patience=LONG)


class _Store:
    """The key-value store at MASTER_ADDR:MASTER_PORT, in which every run of these processes has its own keys.

    Raises:
        ProcessError: it does not answer within the timeout, or its port is in use.
    """

    def __init__(self, launch: Launch, timeout_s: float) -> None:
        self._launch, self._timeout_s = launch, timeout_s
        # torchrun keeps one, beside the processes; else rank 0 does
        self.own = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
        self._host, port = (os.environ.get(name, "") for name in ("MASTER_ADDR", "MASTER_PORT"))
        if not self._host or not (port.isascii() and port.isdecimal() and len(port) < 6):
            want = "an address and a port in the environment, as torchrun sets them"
            raise ProcessError(expected("MASTER_ADDR and MASTER_PORT", want, f"{self._host!r} and {port!r}"))
        self._port = int(port)
        opening = Call(self._open)  # torch tries for up to three times its timeout
        try:
            opening.wait(timedelta(seconds=timeout_s + MARGIN))
        except RuntimeError as error:
            raise self._refused(str(error), opening) from None
        self._store, self._number = opening.take()

    def of_run(self) -> Any:
        """Return the keys of this run."""
        return _C10D.PrefixStore(f"unrolled/{self._number}", self._store)

    def group(self) -> Any:
        """Return torch's group of the processes, once every rank has called this."""
        launch = self._launch
        client = self._client(first=False)  # of its own: while it waits for a key, the other one answers
        limit = timedelta(seconds=2 * self._timeout_s + AT_LAST)
        keys = _C10D.PrefixStore(f"unrolled/{self._number}/gloo", client)
        return _C10D.ProcessGroupGloo(keys, launch.rank, launch.world_size, limit)

    def _open(self) -> tuple[Any, int]:
        """Return the store, and which run of these processes this is."""
        first = self.own and self._launch.rank == 0
        if not first:
            self._await_listener()
        store = self._client(first=first)
        return store, store.add(f"runs/{self._launch.rank}", 1)

    def _await_listener(self) -> None:
        """Return when somebody listens there. Raises RuntimeError: nobody does within the timeout."""
        deadline = time.monotonic() + self._timeout_s
        while True:
            left = deadline - time.monotonic()
            try:
                socket.create_connection((self._host, self._port), timeout=max(AGAIN, left)).close()
                return
            except OSError as error:
                if left < AGAIN:
                    raise RuntimeError(error.strerror or str(error)) from error
                time.sleep(AGAIN)

    def _client(self, *, first: bool) -> Any:
        return _C10D.TCPStore(
            self._host,
            self._port,
            is_master=first,
            timeout=timedelta(seconds=self._timeout_s),
            wait_for_workers=False,
        )

    def _refused(self, text: str, opening: Call[Any]) -> ProcessError:
        in_use = "EADDRINUSE" in text or "address already in use" in text
        want = "a free port" if in_use else f"a store that answers within {self._timeout_s:g} s"
        got = "one in use" if in_use else " ".join(text.split()).partition(" (")[0][:160]
        got = got if opening.is_completed() else "none"
        error = ProcessError(expected(f"MASTER_ADDR:MASTER_PORT {self._host}:{self._port}", want, got))
        error.waits = not opening.is_completed()
        return error
