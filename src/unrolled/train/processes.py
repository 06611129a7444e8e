"""The processes of one run, as PyTorch's launcher starts them: what they add up, agree on and wait for.

Everything goes through `torch.distributed` with gloo. A process that is alone has the same object, whose
methods return what they are given. Rank 0 says what there is to say; docs/decisions/0038 has the reasons.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import itertools
import json
import os
import platform
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, NoReturn, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from unrolled.data import Batch, Batches
from unrolled.errors import BackendError, ConfigError, NonFiniteError, ProcessError, expected
from unrolled.spec import Launch
from unrolled.tasks import Group
from unrolled.train.signals import Stopped
from unrolled.train.watch import PULSE, NoAnswerError, Watch

__all__ = ["Processes", "joined"]

ANSWER = 5.0  # seconds that the store has for an answer, once something went wrong
AT_LAST = 60.0  # seconds beside twice the timeout, after which an exchange ends in any case
SETTLE = 2.3 * PULSE  # in which a living process shows one
LATE = 5.0  # seconds more than the timeout that the others wait for rank 0, which says what is missing
SHORT, LONG = 0.002, 0.1  # seconds between two looks at the store
GO_ON = "; the same command with --resume (resume=True) goes on from the last checkpoint"
T = TypeVar("T")
_C10D: Any = dist  # names that it exports without saying so


class Processes(Group):
    """The processes of a run, seen from one of them; without a group, that one is alone."""

    def __init__(
        self, launch: Launch | None = None, watch: Watch | None = None, *, timeout_s: float = 300.0
    ) -> None:
        launch = Launch() if launch is None else launch
        self.rank, self.world_size, self.local_world_size = (
            launch.rank,
            launch.world_size,
            launch.local_world_size,
        )
        self.timeout_s = timeout_s
        self._watch = watch
        self._told = 0  # how often rank 0 has told something

    @property
    def alone(self) -> bool:
        """Whether there is one process."""
        return self.world_size == 1

    @property
    def first(self) -> bool:
        """Whether this process writes the run directory and speaks."""
        return self.rank == 0

    # ------------------------------------------------------------------------------------------- numbers

    def all_reduce(self, tensor: Tensor) -> None:
        """Put the sum of every rank's tensor in its place; the same bits on every rank, and in every run."""
        if not self.alone:
            self._exchange(lambda: dist.all_reduce(tensor, async_op=True))

    def summed(self, values: Sequence[float]) -> Sequence[float]:
        """Return the sum over the ranks of each value."""
        if self.alone:
            return values
        sums = torch.tensor(values, dtype=torch.float64)
        self.all_reduce(sums)
        found: list[float] = sums.tolist()
        return found

    def of_first(self, *values: float) -> Sequence[float]:
        """Return the values of rank 0."""
        return self.summed(values if self.first else [0.0] * len(values))

    def most(self, value: float) -> float:
        """Return the largest value of any rank."""
        if self.alone:
            return value
        one_hot = [0.0] * self.world_size
        one_hot[self.rank] = value
        return max(self.summed(one_hot))

    def spread(self, tensors: Iterable[Tensor]) -> None:
        """Give every rank the values of rank 0, in place."""
        for tensor in () if self.alone else tensors:
            self._exchange(partial(dist.broadcast, tensor.detach(), 0, async_op=True))

    def differ(self, tensors: Iterable[Tensor]) -> bool:
        """Say whether a rank has other bits in these tensors than another one."""
        if self.alone:
            return False
        digest = hashlib.blake2b(digest_size=6)  # fits into a float64 exactly
        for tensor in tensors:
            digest.update(np.ascontiguousarray(tensor.detach().numpy()).data)
        number = float(int.from_bytes(digest.digest(), "big"))
        return self.most(number) != -self.most(-number)

    # ---------------------------------------------------------------------------------------------- rows

    def mine(self, whole: Tensor, axis: int) -> Tensor:
        """Return this rank's rows, rank::world_size, of a tensor that holds those of all ranks."""
        rows = whole.movedim(axis, 0)[self.rank :: self.world_size]
        return rows.movedim(0, axis).contiguous()

    def whole(self, part: Tensor, axis: int, rows: int) -> Tensor:
        """Return the rows of all ranks in their order, of which each has rank::world_size.

        Args:
            part: this rank's; rows along `axis`. rows: of all ranks together.
        """
        if self.alone:
            return part
        own = part.movedim(axis, 0)
        padded = own.new_zeros((-(-rows // self.world_size), *own.shape[1:]))
        padded[: len(own)] = own
        every = [torch.empty_like(padded) for _ in range(self.world_size)]
        # as bytes: gloo has no bfloat16
        parts, mine = [each.view(torch.uint8) for each in every], padded.view(torch.uint8)
        self._exchange(lambda: dist.all_gather(parts, mine, async_op=True))
        return torch.stack(every, 1).flatten(0, 1)[:rows].movedim(0, axis).contiguous()

    def rows_of(self, batches: Batches, stop: int | None = None) -> Iterator[Batch]:
        """Yield this rank's rows of the first `stop` batches of epoch 0, where it has any."""
        if self.alone:
            yield from itertools.islice(batches.epoch(0), stop)
            return
        own = batches.epoch(0, rank=self.rank, world_size=self.world_size)
        yield from (batch for batch in itertools.islice(own, stop) if batch.inputs.shape[1])

    # --------------------------------------------------------------------------------------------- words

    def tell(self, value: Any) -> None:
        """Send a value that JSON can hold to the others, which wait in `hear`; only rank 0 calls this."""
        if self.alone:
            return
        self._told += 1
        raw, key = json.dumps(value).encode(), f"told/{self._told}"
        sent = torch.frombuffer(bytearray(raw), dtype=torch.uint8)
        self._ask(lambda store: store.set(key, str(len(raw))))
        self._exchange(lambda: dist.broadcast(sent, 0, async_op=True))

    def hear(self, what: str) -> Any:
        """Wait until rank 0 tells something, however long it works for it, and return that.

        Args:
            what: it does meanwhile: "it reads the source".
        Raises:
            ProcessError: it gave up, or no sign of life for longer than the timeout.
        """
        self._told += 1
        key = f"told/{self._told}"
        self._wait(key, what, self.timeout_s)
        size = int(self._ask(partial(_get, key)))
        raw = torch.empty(size, dtype=torch.uint8)
        self._exchange(lambda: dist.broadcast(raw, 0, async_op=True))
        return json.loads(raw.numpy().tobytes())

    def once(self, what: str, work: Callable[[], T]) -> T | Any:
        """Return what rank 0 gets from `work`, as JSON on the other ranks, which wait for it.

        Args:
            what: the work is: "it writes a checkpoint".
        """
        if not self.first:
            return self.hear(what)
        found = work()
        self.tell(found)
        return found

    def texts(self, own: str) -> list[str]:
        """Return the text of every rank."""
        raw = own.encode()
        size = int(self.most(len(raw)))
        mine = torch.zeros(size, dtype=torch.uint8)
        mine[: len(raw)] = torch.frombuffer(bytearray(raw), dtype=torch.uint8) if raw else mine[:0]
        every = [torch.empty_like(mine) for _ in range(self.world_size)]
        self._exchange(lambda: dist.all_gather(every, mine, async_op=True))
        return [each.numpy().tobytes().rstrip(b"\0").decode() for each in every]

    def refuse(self, check: Callable[[str], None], what: str) -> NoReturn:
        """Raise what `check` raises on the first rank where it does, on every rank.

        Args:
            check: called with " on rank 1", to be said after the step; raises NonFiniteError.
            what: to say where it finds nothing on any rank.
        """
        own = ""
        try:
            check(f" on rank {self.rank}")
        except NonFiniteError as error:
            own = str(error)
        found = NonFiniteError(next(filter(None, self.texts(own)), what))
        raise self.alike(found)

    def alike(self, error: Any) -> Any:
        """Mark an error that every rank raises: rank 0 says it."""
        if not self.alone:
            error.elsewhere = not self.first
        return error

    # --------------------------------------------------------------------------------------------- faults

    def _exchange(self, start: Callable[[], Any]) -> None:
        """Begin an exchange and wait for it, as long as everybody gives signs of life."""
        silent, before = [0.0] * self.world_size, [b""] * self.world_size
        try:
            work = start()
        except RuntimeError:
            raise self._lost() from None
        while True:
            try:
                work.wait(timedelta(seconds=PULSE))
                return
            except RuntimeError:
                if work.is_completed():  # a connection broke
                    raise self._lost() from None
            try:
                now = self._ask(self._pulses)
                # counted, not by the clock: it goes on while this process itself stands still
                silent = [0.0 if a != b else s + PULSE for a, b, s in zip(now, before, silent, strict=True)]
                before = now
                self._raise_failure()
                if max(silent) > self.timeout_s:
                    self._ignore_the_launcher()
                    raise self._silent([r for r, s in enumerate(silent) if s > self.timeout_s])
            except ProcessError as error:
                error.waits = True
                raise

    def _ask(self, call: Callable[[Any], T]) -> T:
        assert self._watch is not None
        try:
            return self._watch.ask(call, self.timeout_s)
        except NoAnswerError:
            raise self._cut_off() from None

    def _raise_failure(self) -> None:
        """Raise the error that a rank has met, if one has."""
        if self._ask(partial(_has, "failed")):
            self._ignore_the_launcher()
            raise self._second_hand()

    def _ignore_the_launcher(self) -> None:
        """Let the launcher not end this process, which has a line to say before it does so itself."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def _cut_off(self) -> ProcessError:
        place = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        got = f"none, its host or the network is down{GO_ON}"
        return ProcessError(expected(place, "an answer of the launcher's store", got))

    def _silent(self, ranks: Sequence[int]) -> ProcessError:
        names = " and ".join(f"rank {rank}" for rank in ranks[:4])
        got = f"none: it has ended or stands still{GO_ON}"
        return self._lost_one(expected(names, f"a sign of life within {self.timeout_s:g} s", got))

    def _wait(self, key: str, what: str, seconds: float) -> None:
        """Return when a key is set; rank 0 may take any time while it shows that it lives."""
        pause, last, silent = SHORT, b"", 0.0

        def look(store: Any) -> tuple[bool, bytes]:
            return _has(key, store), store.get("pulse/0") if _has("pulse/0", store) else b""

        while True:
            there, pulse = self._ask(look)
            if there:
                return
            self._raise_failure()
            silent = silent + pause if pulse == last else 0.0
            last = pulse
            if silent > seconds:
                want = f"a sign of life within {seconds:g} s, while {what}"
                raise self._lost_one(expected("rank 0", want, f"none{GO_ON}"))
            time.sleep(pause)
            pause = min(LONG, 1.2 * pause)

    def _lost(self) -> ProcessError:
        """Return what to say where a connection broke: what a rank has met, or who gives no sign of life."""
        self._ignore_the_launcher()
        try:
            self._raise_failure()
            before = self._ask(self._pulses)
            time.sleep(SETTLE)
            self._raise_failure()
            after = self._ask(self._pulses)
        except ProcessError as error:
            return error
        gone = [rank for rank in range(self.world_size) if before[rank] == after[rank] and rank != self.rank]
        names = " and ".join(f"rank {rank}" for rank in gone[:4]) or "the other ranks"
        why = "it has ended" if gone else "a connection between the processes broke"
        return self._lost_one(expected(names, "an answer", f"none: {why}{GO_ON}"))

    def _pulses(self, store: Any) -> list[bytes]:
        keys = [f"pulse/{rank}" for rank in range(self.world_size)]
        return [store.get(key) if store.check([key]) else b"" for key in keys]

    def _lost_one(self, text: str) -> ProcessError:
        """Return an error that one of those who meet it says, if they can settle who."""
        error = ProcessError(text)
        error.elsewhere = not self._claims()
        return error

    def _second_hand(self) -> ProcessError:
        """Return the error for the others, where a rank has said what went wrong."""
        found = json.loads(self._ask(partial(_get, "failed")))
        error = ProcessError(f"rank {found['rank']}: {found['text']}")
        error.elsewhere = found["said"] or not self._claims()
        self._ask(lambda store: store.set(f"heard/{self.rank}", "1"))
        error.exit_code = found["code"]
        return error

    def _claims(self) -> bool:
        """Whether this rank is the one that says what several meet; where nobody can be asked, it is."""
        assert self._watch is not None
        try:
            won = self._watch.ask(lambda s: s.compare_set("said", "", str(self.rank)), ANSWER)
        except NoAnswerError:
            return True
        return bool(won == str(self.rank).encode())

    def part(self, error: BaseException) -> None:
        """Let the others know why this rank leaves, and settle who says it."""
        if self.alone or self._watch is None:
            return
        stopped = isinstance(error, Stopped)
        known = getattr(error, "elsewhere", None)
        if known is None:
            error.elsewhere = stopped and not self.first  # type: ignore[attr-defined]
        said = error.elsewhere is False or known is not None  # type: ignore[attr-defined]
        record = {
            "rank": self.rank,
            "text": str(error) or type(error).__name__,
            "said": said,
            "code": getattr(error, "exit_code", 2),
        }
        with contextlib.suppress(NoAnswerError):
            self._watch.ask(lambda s: s.compare_set("failed", "", json.dumps(record)), ANSWER)
            if known is None and self.first and not _of_launcher():
                self._wait_until_heard()

    def _wait_until_heard(self) -> None:
        """Keep the store, which ends with this process, until the others have read why."""
        assert self._watch is not None
        deadline = time.monotonic() + SETTLE
        others = [f"heard/{rank}" for rank in range(1, self.world_size)]
        while time.monotonic() < deadline and not self._watch.ask(lambda s: s.check(others), ANSWER):
            time.sleep(SHORT)

    # -------------------------------------------------------------------------------------------- joining

    def join(self, about: Mapping[str, Any]) -> None:
        """Wait for every rank, and check that all were started alike.

        Args:
            about: what must be the same: names and values.
        Raises:
            ProcessError: a rank is missing. ConfigError: one was started otherwise; names the difference.
        """
        assert self._watch is not None
        self._ask(lambda store: store.set(f"hello/{self.rank}", json.dumps(about)))
        if self.first:
            self._await_all()
            for rank in range(1, self.world_size):
                _compare(about, json.loads(self._ask(partial(_get, f"hello/{rank}"))), rank)
            self._ask(lambda store: store.set("go", "1"))
        else:
            self._wait("go", "it waits for every rank", self.timeout_s + LATE)

    def _await_all(self) -> None:
        deadline, pause = time.monotonic() + self.timeout_s, SHORT
        missing = [self.rank]  # something to begin with
        while missing:
            missing = self._ask(self._missing)
            failed = self._ask(partial(_has, "failed"))
            if missing and failed:
                raise self._second_hand()
            if missing and time.monotonic() > deadline:
                want = f"{self.world_size} to start within {self.timeout_s:g} s"
                names = " and ".join(f"rank {rank}" for rank in missing[:4])
                raise ProcessError(expected("processes", want, f"no sign of {names}"))
            time.sleep(pause)
            pause = min(LONG, 1.2 * pause)

    def _missing(self, store: Any) -> list[int]:
        return [rank for rank in range(self.world_size) if not _has(f"hello/{rank}", store)]

    def close(self) -> None:
        """Leave the group."""
        if self._watch is not None:
            self._watch.close()


def _has(key: str, store: Any) -> bool:
    return bool(store.check([key]))


def _get(key: str, store: Any) -> bytes:
    found: bytes = store.get(key)
    return found


def _compare(ours: Mapping[str, Any], theirs: Mapping[str, Any], rank: int) -> None:
    for name in dict.fromkeys([*ours, *theirs]):
        here, there = ours.get(name), theirs.get(name)
        if here != there:
            here, there = ("nothing" if each is None else repr(each) for each in (here, there))
            want = f"{here} on every rank, as rank 0 has"
            raise ConfigError(expected(name, want, f"{there} on rank {rank}"))


@contextlib.contextmanager
def joined(about: Mapping[str, Any], *, timeout_s: float) -> Iterator[Processes]:
    """Join the other processes of the run that the launcher started this one for, if it did.

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
    store = _store(launch, timeout_s)
    processes = Processes(launch, Watch(store, launch.rank), timeout_s=timeout_s)
    own = not dist.is_initialized()
    try:
        processes.join({"torch": torch.__version__, "python": platform.python_version(), **about})
        if own:
            _initialise(processes, store, launch)
        yield processes
        processes.summed([0.0])  # nobody takes the store away while another one waits for it
        if own:
            dist.destroy_process_group()
    except BaseException as error:
        processes.part(error)
        raise
    finally:
        processes.close()


def _initialise(processes: Processes, store: Any, launch: Launch) -> None:
    # Imported by torch's optimizers otherwise: its functions have the group of that moment as a default, and
    # keep it and gloo's threads to the end of Python; one that lets go of a tensor then aborts the process.
    importlib.import_module("torch.distributed.nn.functional")
    try:
        dist.init_process_group(
            "gloo",
            store=_C10D.PrefixStore("gloo", store),
            rank=launch.rank,
            world_size=launch.world_size,
            timeout=timedelta(seconds=2 * processes.timeout_s + AT_LAST),
        )
    except RuntimeError as error:
        device = os.environ.get("GLOO_SOCKET_IFNAME", "the device of the host's name")
        got = " ".join(str(error).split())[:160]
        raise ProcessError(expected("processes", f"to reach one another by {device}", got)) from None


def _of_launcher() -> bool:
    """Whether the launcher keeps the store, and not rank 0."""
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def _store(launch: Launch, timeout_s: float) -> Any:
    """Return the launcher's store, in which every run of these processes has keys of its own."""
    host, port = (os.environ.get(name, "") for name in ("MASTER_ADDR", "MASTER_PORT"))
    if not host or not (port.isascii() and port.isdecimal() and len(port) < 6):
        want = "an address and a port in the environment, as torchrun sets them"
        raise ProcessError(expected("MASTER_ADDR and MASTER_PORT", want, f"{host!r} and {port!r}"))
    try:
        store = _C10D.TCPStore(
            host,
            int(port),
            is_master=launch.rank == 0 and not _of_launcher(),
            timeout=timedelta(seconds=timeout_s),
            wait_for_workers=False,
        )
        number = store.add(f"runs/{launch.rank}", 1)
    except (RuntimeError, ValueError) as error:  # ValueError: no port has such a number
        text = " ".join(str(error).split())
        in_use = "EADDRINUSE" in text or "address already in use" in text
        want = "a free port" if in_use else f"a store that answers within {timeout_s:g} s"
        got = "one in use" if in_use else text.partition(" (")[0][:160]
        raise ProcessError(expected(f"MASTER_ADDR:MASTER_PORT {host}:{port}", want, got)) from None
    return _C10D.PrefixStore(f"unrolled/{number}", store)
