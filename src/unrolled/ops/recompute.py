"""A layer whose forward pass keeps a state every k steps, and whose backward pass computes the rest again.

What a backward pass needs of every step, gates and cell states, is several times the size of x and y. Here a
call is cut in time into segments of k steps. Forward, only the state at the start of each is kept; backward,
the last segment is run again, this time for its gradients, then the one before it. So memory grows with x and
y alone, and time by one forward pass: a third.

Source: Chen et al. 2016, "Training deep nets with sublinear memory cost".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from unrolled.errors import ConfigError, expected
from unrolled.ops.call import Call, Result, States
from unrolled.ops.native.autograd import is_batched

Run = Callable[[Call], Result]
_LEAVES = ("x", "weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")  # and the cell's further weights


def check_recompute(recompute: object, *, trajectories: bool) -> None:
    """Raise ConfigError where this is no number of steps, or where every step is to be kept anyway."""
    if recompute is None:
        return
    if isinstance(recompute, bool) or not isinstance(recompute, int) or recompute < 1:
        raise ConfigError(expected("recompute", "a number of steps from 1 on, or None", repr(recompute)))
    if trajectories:
        raise ConfigError(expected("recompute", "None with trajectories, which keep every step", recompute))


def run(function: Run, call: Call) -> Result:
    """Run the call by a backend's function, in segments of `call.recompute` steps where a gradient is wanted.

    The results are those of the whole call: on the native backend to the bit. Gradients of weights are summed
    segment by segment, so they agree to rounding. To differentiate them again is a ConfigError. Has no effect
    while torch.compile traces, in torch.func and in forward-mode differentiation.
    """
    if call.recompute is None or torch.compiler.is_compiling():
        return function(call)
    check_recompute(call.recompute, trajectories=call.trajectories)
    wanted = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in call.tensors())
    if call.x.shape[0] <= call.recompute or not wanted:
        return function(call)
    y, *states = _Recomputed.apply(function, call, *_leaves_of(call), *call.states)  # type: ignore[no-untyped-call]
    return Result(y, tuple(states), ())


class _Recomputed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, function: Run, call: Call, *tensors: Tensor | None) -> tuple[Tensor, ...]:
        starts: list[States] = []  # of each segment, in the order in which they run
        y, states = call.x.new_empty(0), call.states
        for begin, end in _segments(call):
            states = _cut(call, states, end)
            starts.append(states)
            part = function(_part(call, begin, end, states))
            if len(starts) == 1:
                y = part.y.new_empty((call.x.shape[0], *part.y.shape[1:]))
            y[begin:end] = part.y
            states = part.states
        ctx.function, ctx.call, ctx.leaves = function, _without_tensors(call), len(_leaves_of(call))
        later = [state for start in starts[1:] for state in start]
        ctx.save_for_backward(*tensors, call.lengths, call.resets, *later)
        ctx.set_materialize_grads(False)
        return (y, *(state.clone() for state in states))

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, *dstates: Tensor | None) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # torch would say nothing, and leave out what comes through here
            want = "None where gradients are differentiated again (create_graph=True)"
            raise ConfigError(expected("recompute", want, ctx.call.recompute))
        count, leaves = len(dstates), ctx.leaves
        saved = ctx.saved_tensors
        given, states, rest = saved[:leaves], saved[leaves:][:count], saved[leaves + count :]
        call = _with_leaves(ctx.call, given)._replace(states=states, lengths=rest[0], resets=rest[1])
        starts = [states, *zip(*[iter(rest[2:])] * count, strict=True)]
        needs = ctx.needs_input_grad[2:]
        sums = _Sums(given, needs)
        carried: Sequence[Tensor | None] = dstates
        for (begin, end), start in reversed(list(zip(_segments(call), starts, strict=True))):
            found, carried = _differentiate(ctx.function, call, (begin, end), start, dy, carried, needs)
            sums.add(begin, end, found)
            carried = [None if each is None else each.masked_fill(_zeroed(call, end), 0) for each in carried]
        initial = [grad if need else None for grad, need in zip(carried, needs[leaves:], strict=True)]
        return (None, None, *sums.gradients(), *initial)


def _differentiate(
    function: Run,
    call: Call,
    span: tuple[int, int],
    start: States,
    dy: Tensor | None,
    dstates: Sequence[Tensor | None],
    needs: Sequence[bool],
) -> tuple[list[Tensor | None], list[Tensor | None]]:
    """Run a segment again; return the gradients of `_leaves_of` it, and of the state it starts from."""
    begin, end = span
    device = call.x.device.type
    known = torch.amp.is_autocast_available(device)
    with torch.enable_grad(), torch.autocast(device, enabled=False) if known else nullcontext():
        part = _part(call, begin, end, tuple(state.detach().requires_grad_() for state in start))
        given = _leaves_of(part)
        wanted = [n for n, leaf in enumerate(given) if needs[n] and leaf is not None]
        leaves = [leaf if leaf is None else leaf.detach() for leaf in given]
        asked = [leaf.requires_grad_() for n in wanted if (leaf := leaves[n]) is not None]
        result = function(_with_leaves(part, leaves))
        outputs = [
            (result.y, None if dy is None else dy[begin:end]),
            *zip(result.states, dstates, strict=True),
        ]
        pairs = [(output, grad) for output, grad in outputs if grad is not None]
        if not pairs:
            return [None] * len(leaves), [None] * len(start)
        inputs = [*asked, *part.states]
        found = torch.autograd.grad(
            [output for output, _ in pairs], inputs, [grad for _, grad in pairs], allow_unused=True
        )
    of_leaves = dict(zip(wanted, found, strict=False))
    return [of_leaves.get(n) for n in range(len(leaves))], list(found[len(wanted) :])


class _Sums:
    """The gradients of x, segment beside segment, and of the weights, summed in float32 at least."""

    def __init__(self, given: Sequence[Tensor | None], needs: Sequence[bool]) -> None:
        self.given = given
        self.pieces: dict[int, Tensor] = {}  # of x, by their first step, where gradients come batched
        wanted = zip(given, needs, strict=False)
        self.sums = [
            None if t is None or not need else self._start(t, n == 0) for n, (t, need) in enumerate(wanted)
        ]

    @staticmethod
    def _start(tensor: Tensor, is_x: bool) -> Tensor:
        narrow = tensor.dtype in (torch.bfloat16, torch.float16) and not is_x
        return torch.zeros_like(tensor, dtype=torch.float32 if narrow else tensor.dtype)

    def add(self, begin: int, end: int, gradients: Sequence[Tensor | None]) -> None:
        for n, (total, gradient) in enumerate(zip(self.sums, gradients, strict=True)):
            if total is None or gradient is None:
                continue
            if n > 0:
                self.sums[n] = total + gradient
            elif is_batched(gradient):  # is_grads_batched=True: no slice of a plain tensor takes it
                self.pieces[begin] = gradient
            else:
                total[begin:end] = gradient

    def gradients(self) -> list[Tensor | None]:
        if self.pieces:
            self.sums[0] = torch.cat([self.pieces[begin] for begin in sorted(self.pieces)])
        return [
            None if total is None or tensor is None else total.to(tensor.dtype)
            for total, tensor in zip(self.sums, self.given, strict=True)
        ]


def _segments(call: Call) -> Iterator[tuple[int, int]]:
    """Yield (begin, end) of each segment, in the order in which they run."""
    assert call.recompute is not None
    steps, size = call.x.shape[0], call.recompute
    begins = range(0, steps, size)
    for begin in reversed(begins) if call.reverse else begins:
        yield begin, min(begin + size, steps)


def _part(call: Call, begin: int, end: int, states: States) -> Call:
    """Return the call over some of its steps, from the states that they start from."""
    lengths = None if call.lengths is None else (call.lengths - begin).clamp(0, end - begin)
    resets = None if call.resets is None else call.resets[begin:end]
    kept = tuple(share[begin:end] if isinstance(share, Tensor) else share for share in call.zoneout)
    return call._replace(x=call.x[begin:end], states=states, lengths=lengths, resets=resets, zoneout=kept)


def _zeroed(call: Call, end: int) -> Tensor:
    """Return [B, 1]: for which rows, in reverse, a reset at step `end` cuts it from the step before."""
    rows = call.x.shape[1]
    if not call.reverse or call.resets is None or end == call.x.shape[0]:
        return torch.zeros(rows, 1, dtype=torch.bool, device=call.x.device)
    cut = call.resets[end]
    if call.lengths is not None:
        cut = cut & (call.lengths > end).to(cut.device)
    return cut[:, None]


def _cut(call: Call, states: States, end: int) -> States:
    if not call.reverse or call.resets is None or end == call.x.shape[0]:
        return states
    return tuple(state.masked_fill(_zeroed(call, end), 0) for state in states)


def _leaves_of(call: Call) -> list[Tensor | None]:
    """Return what a gradient can flow to beside the states."""
    return [*(getattr(call, name) for name in _LEAVES), *call.further]


def _with_leaves(call: Call, leaves: Sequence[Tensor | None]) -> Call:
    """Return the call with others in their place."""
    named: dict[str, Any] = dict(zip(_LEAVES, leaves, strict=False))
    return call._replace(**named, further=tuple(leaves[len(_LEAVES) :]))  # type: ignore[arg-type]  # never None


def _without_tensors(call: Call) -> Any:
    """Return the call's options: its tensors are saved where autograd can see them."""
    nothing: dict[str, Any] = dict.fromkeys((*_LEAVES, "states", "lengths", "resets"))
    return call._replace(**nothing, further=())
