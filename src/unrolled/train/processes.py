"""The processes of one run, as PyTorch's launcher starts them: what they add up, agree on and wait for.

Everything goes through `torch.distributed` with gloo. A process that is alone has the same object, whose
methods return what they are given. Rank 0 says what there is to say; docs/decisions/0038 has the reasons.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, NoReturn, TypeVar

import numpy as np
import torch
from torch import Tensor

from unrolled.data import Batch, Batches
from unrolled.errors import ConfigError, NonFiniteError, ProcessError, RunError, expected
from unrolled.spec import Launch
from unrolled.tasks import Group
from unrolled.train.signals import Stopped
from unrolled.train.watch import PULSE, Call, NoAnswerError, Watch

__all__ = ["Processes"]

ANSWER = 5.0  # seconds that the store has for an answer, once something went wrong
SETTLE = 2.3 * PULSE  # in which a living process shows one
LATE = 5.0  # seconds more than the timeout that the others wait for rank 0, which says what is missing
SHORT, LONG = 0.002, 0.1  # seconds between two looks at the store
GO_ON = "; the same command with --resume (resume=True) goes on from the last checkpoint"
T = TypeVar("T")


class Processes(Group):
    """The processes of a run, seen from one of them; by default it is alone.

    Args:
        launch: its place. watch: of the store that all have. timeout_s: to wait for another one.
        launched: whether a launcher keeps the store, and not rank 0.
    """

    def __init__(
        self,
        launch: Launch | None = None,
        watch: Watch | None = None,
        *,
        timeout_s: float = 300.0,
        launched: bool = False,
    ) -> None:
        launch = Launch() if launch is None else launch
        self.rank, self.world_size, self.local_world_size = (
            launch.rank,
            launch.world_size,
            launch.local_world_size,
        )
        self.timeout_s, self.launched = timeout_s, launched
        self._watch = watch
        self._group: list[Any] = []  # torch's; empty until `connect`
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
            self._exchange(lambda: self._group[0].allreduce([tensor]))

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
            self._broadcast(tensor.detach())

    def _broadcast(self, tensor: Tensor) -> None:
        self._exchange(lambda: self._group[0].broadcast([tensor]))

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
        self._exchange(lambda: self._group[0].allgather([parts], [mine]))
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
        self._broadcast(sent)

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
        self._broadcast(raw)
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
        size = max(1, int(self.most(len(raw))))
        mine = torch.zeros(size, dtype=torch.uint8)
        mine[: len(raw)] = torch.frombuffer(bytearray(raw), dtype=torch.uint8) if raw else mine[:0]
        every = [torch.empty_like(mine) for _ in range(self.world_size)]
        self._exchange(lambda: self._group[0].allgather([every], [mine]))
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

    def agree(self, problem: str = "") -> None:
        """Raise RunError on every rank where one of them has found a problem with the run's directory."""
        found = "" if self.alone else next(filter(None, self.texts(problem)), "")
        if found:
            raise self.alike(RunError(found))

    def alike(self, error: Any) -> Any:
        """Mark an error that every rank raises: rank 0 says it."""
        if not self.alone:
            error.elsewhere = not self.first
        return error

    # --------------------------------------------------------------------------------------------- faults

    def _exchange(
        self, start: Callable[[], Any], failed: Callable[[RuntimeError], str] | None = None
    ) -> None:
        """Begin an exchange and wait for it, as long as everybody gives signs of life.

        Args:
            failed: returns what to say where it fails although every rank lives.
        """
        silent, before = [0.0] * self.world_size, [b""] * self.world_size
        failed = _connection_broke if failed is None else failed
        try:
            work = start()
        except RuntimeError as error:
            raise self._lost(failed(error)) from None
        while True:
            try:
                work.wait(timedelta(seconds=PULSE))
                return
            except RuntimeError as error:
                if work.is_completed():  # a connection broke
                    raise self._lost(failed(error)) from None
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
        error = ProcessError(expected(place, "an answer of the launcher's store", got))
        error.waits = True
        return error

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

    def _lost(self, text: str) -> ProcessError:
        """Return what to say where an exchange failed: what a rank has met, who is gone, or else the text."""
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
        if gone:
            names = " and ".join(f"rank {rank}" for rank in gone[:4])
            text = expected(names, "an answer", f"none: it has ended{GO_ON}")
        return self._lost_one(text)

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
            if known is None and self.first and not self.launched:
                self._wait_until_heard()

    def _wait_until_heard(self) -> None:
        """Keep the store, which ends with this process, until the others have read why."""
        assert self._watch is not None
        deadline = time.monotonic() + SETTLE
        others = [f"heard/{rank}" for rank in range(1, self.world_size)]
        while time.monotonic() < deadline and not self._watch.ask(lambda s: s.check(others), ANSWER):
            time.sleep(SHORT)

    def await_end_of_store(self) -> None:
        """Wait until the store is gone, which rank 0 keeps: else the next run could take it for its own."""
        assert self._watch is not None
        deadline = time.monotonic() + ANSWER
        with contextlib.suppress(NoAnswerError):
            while time.monotonic() < deadline:
                self._watch.ask(partial(_has, "go"), ANSWER)
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
                self._compare(about, json.loads(self._ask(partial(_get, f"hello/{rank}"))), rank)
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

    @staticmethod
    def _compare(ours: Mapping[str, Any], theirs: Mapping[str, Any], rank: int) -> None:
        for name in dict.fromkeys([*ours, *theirs]):
            here, there = ours.get(name), theirs.get(name)
            if here != there:
                here, there = ("nothing" if each is None else repr(each) for each in (here, there))
                want = f"{here} on every rank, as rank 0 has"
                raise ConfigError(expected(name, want, f"{there} on rank {rank}"))

    def connect(self, make: Callable[[], Any]) -> None:
        """Connect to every other rank.

        Args:
            make: returns torch's group, once every rank has called it.
        Raises:
            ProcessError: a rank ends, stands still or cannot be reached.
        """
        call = Call(make)

        def unreachable(error: RuntimeError) -> str:
            device = os.environ.get("GLOO_SOCKET_IFNAME", "the device of the host's name")
            got = " ".join(str(error).split())[:160]
            return expected("processes", f"to reach one another by {device}", got)

        self._exchange(lambda: call, unreachable)
        self._group.append(call.take())

    def close(self) -> bool:
        """Leave the group; return whether nothing is left, such as an exchange that others do not answer."""
        left = False
        if self._group:
            leaving = threading.Thread(target=self._group.clear, name="unrolled-leave", daemon=True)
            leaving.start()
            leaving.join(0.5)
            left = leaving.is_alive()
        if self._watch is not None:
            left |= not self._watch.close()
        return not left


def _connection_broke(_: RuntimeError) -> str:
    got = f"none: a connection between the processes broke{GO_ON}"
    return expected("the other ranks", "an answer", got)


def _has(key: str, store: Any) -> bool:
    return bool(store.check([key]))


def _get(key: str, store: Any) -> bytes:
    found: bytes = store.get(key)
    return found
