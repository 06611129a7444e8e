"""The processes of one run, as PyTorch's launcher starts them: what they add up, agree on and wait for.

Everything goes through `torch.distributed` with gloo. A process that is alone has the same object, whose
methods return what they are given. Rank 0 says what there is to say; docs/decisions/0038 has the reasons.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NoReturn, TypeVar

import numpy as np
import torch
from torch import Tensor

from unrolled.data import Batch, Batches
from unrolled.errors import NonFiniteError, RunError, expected
from unrolled.spec import Launch
from unrolled.tasks import Group
from unrolled.train.peers import Peers
from unrolled.train.watch import Call

__all__ = ["Processes"]

T = TypeVar("T")


class Processes(Group):
    """The processes of a run, seen from one of them; by default it is alone.

    Args:
        launch: its place. peers: the other ones, where there are some.
    """

    def __init__(self, launch: Launch | None = None, peers: Peers | None = None) -> None:
        launch = Launch() if launch is None else launch
        self.rank, self.world_size = launch.rank, launch.world_size
        self.local_world_size = launch.local_world_size
        self._peers = peers
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

    @property
    def _others(self) -> Peers:
        assert self._peers is not None  # of one that is alone nobody asks
        return self._peers

    def _exchange(self, start: Callable[[], Any]) -> None:
        self._others.exchange(start)

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
        self._others.ask(lambda store: store.set(key, str(len(raw))))
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
        size = int(self._others.await_key(key, what))
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

        self._others.exchange(lambda: call, unreachable)
        self._group.append(call.take())

    def close(self, *, patience: float) -> bool:
        """Leave the group; return whether nothing is left, such as an exchange that others do not answer.

        Args:
            patience: seconds to wait for such an exchange.
        """
        left = False
        if self._group:
            leaving = threading.Thread(target=self._group.clear, name="unrolled-leave", daemon=True)
            leaving.start()
            leaving.join(patience)
            left = leaving.is_alive()
        return (self._peers is None or self._peers.close()) and not left
