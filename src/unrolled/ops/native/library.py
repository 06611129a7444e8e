"""The ops `unrolled::layer` and `unrolled::layer_backward` in torch's registry.

One pair serves every cell. Beside the CPU implementation, which calls the engine, each has a fake one
(sizes only: for torch.compile and torch.export); autograd.py registers the derivative of `layer`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from unrolled import kernels
from unrolled.errors import DtypeError, ShapeError, expected
from unrolled.ops.native.memory import room
from unrolled.spec import cell_of_mode

_Strided = tuple[int, int, int]
TYPES = {getattr(torch, name): name for name in kernels.DTYPES}
_CELLS = {name: cell_of_mode(name.upper())[0] for name in kernels.CELLS}
_INPUTS = (
    "Tensor x, Tensor h_0, Tensor? c_0, Tensor weight_ih, Tensor weight_hh, "
    "Tensor? bias_ih, Tensor? bias_hh, Tensor? lengths, Tensor? resets, bool reverse"
)
library: Any = torch.library.Library("unrolled", "DEF")  # type: ignore[no-untyped-call]
# No layout is asked of the arguments: the implementation takes any.
_tags = (torch.Tag.pt2_compliant_tag, torch.Tag.flexible_layout)
# `kept` is what backward needs, in a layout that names its instruction set; empty where `keep` is false.
# Backward needs y too, and computes it again where it is not given. `operand`, one of kernels.OPERANDS, is
# the type in which float32 tensors are multiplied; `kept` names it too.
library.define(
    f"layer(str cell, {_INPUTS}, bool keep, bool trajectories, str? operand=None, Tensor? weight_hr=None, "
    "Tensor? ids=None, Tensor? batch_sizes=None) "
    "-> (Tensor y, Tensor h_n, Tensor c_n, Tensor kept, Tensor traces)",
    tags=_tags,
)
library.define(
    f"layer_backward(str cell, {_INPUTS}, Tensor? y, Tensor kept, "
    "Tensor? dy, Tensor? dh_n, Tensor? dc_n, bool[] wanted, Tensor? weight_hr=None, Tensor? ids=None, "
    "Tensor? batch_sizes=None) "
    "-> (Tensor dx, Tensor dh_0, Tensor dc_0, Tensor dweight_ih, Tensor dweight_hh, "
    "Tensor dbias_ih, Tensor dbias_hh, Tensor dweight_hr)",
    tags=_tags,
)
layer = torch.ops.unrolled.layer.default
layer_backward = torch.ops.unrolled.layer_backward.default


class Inputs(NamedTuple):
    """What the forward and the backward pass both read, in the order of the ops' schemas."""

    x: Tensor  # [T, B, I]; where there are ids, [V, I]; where rows are packed, [n, I]
    h_0: Tensor  # [B, P], P = H unless there is a projection
    c_0: Tensor | None  # [B, H]; LSTM only
    weight_ih: Tensor  # [G·H, I]
    weight_hh: Tensor  # [G·H, P]
    bias_ih: Tensor | None  # [G·H]
    bias_hh: Tensor | None  # [G·H]
    lengths: Tensor | None  # [B] int64
    resets: Tensor | None  # [T, B] bool
    weight_hr: Tensor | None = None  # [P, H]; LSTM only
    ids: Tensor | None = None  # [T, B] int64
    batch_sizes: Tensor | None = None  # [T] int64

    @classmethod
    def of_forward(cls, arguments: Sequence[Any]) -> Inputs:
        """Return those among the arguments of `layer` after its cell; torch leaves out defaults."""
        return cls(*arguments[:9], *arguments[13:16])

    @classmethod
    def of_backward(cls, arguments: Sequence[Any]) -> Inputs:
        """Return those among the arguments of `layer_backward` after its cell."""
        return cls(*arguments[:9], *arguments[16:19])

    @property
    def sizes(self) -> tuple[int, int]:
        """T and B."""
        if self.batch_sizes is not None:
            return self.batch_sizes.shape[0], self.h_0.shape[0]
        steps, rows = self.places
        return steps, rows

    @property
    def places(self) -> tuple[int, ...]:
        """The sizes of y and of what is kept, without the last: T and B, or n where rows are packed."""
        return tuple(self.ids.shape if self.ids is not None else self.x.shape[:-1])

    def kept_size(self, cell: str) -> int:
        """Return how many numbers a forward pass keeps."""
        steps, rows = (*self.places, 1)[:2]
        return kernels.kept_size(cell, steps, rows, self.hidden)

    @property
    def hidden(self) -> int:
        """H."""
        return (self.weight_hh if self.weight_hr is None else self.weight_hr).shape[1]

    def wanting(self) -> tuple[Tensor | None, ...]:
        """Return those that a gradient can flow to, in the order of `wanted`."""
        return (*self[:7], self.weight_hr)


def forward(cell: str, *arguments: Any, known: bool = False) -> tuple[Tensor, ...]:
    """Run the layer in the engine; with `known` the arguments agree, and what is not there is None."""
    reverse, keep, trajectories, operand = (*arguments[9:13], None)[:4]
    inputs = Inputs.of_forward(arguments)
    if not known or not _lie_dense(inputs):
        inputs = _readable(cell, inputs)
    outputs: tuple[Tensor, ...] = _outputs(cell, inputs, keep, trajectories, known=known)
    try:
        _run(_handle(cell, inputs, kernels.isa(), operand), inputs, reverse, outputs)
    except ValueError as error:  # of lengths, where torch.compile kept validation from looking
        raise ShapeError(str(error)) from None
    return outputs


def _run(handle: kernels.Handle, inputs: Inputs, reverse: bool, outputs: tuple[Any, ...]) -> None:
    y, h_n, c_n, kept, traces = outputs
    kernels.forward(
        handle,
        *_sequences(inputs, reverse),
        _rows_of(y),
        h_n.data_ptr(),
        _address(c_n),
        _address(kept),
        [trace.data_ptr() for trace in traces] if traces is not None and traces.numel() else (),
        *_further(inputs),
    )


def backward(cell: str, *arguments: Any, known: bool = False) -> tuple[Tensor, ...]:
    """Run its backward pass; with `known` the arguments agree, and what is not there is None."""
    reverse, y, kept, dy, dh_n, dc_n, wanted = arguments[9:16]
    inputs = Inputs.of_backward(arguments)
    if not known or not _lie_dense(inputs):
        inputs = _readable(cell, inputs)
    x = inputs.x
    shape = (*inputs.places, inputs.h_0.shape[1])
    kept = _dense("kept", kept, (inputs.kept_size(cell),), x)
    wrote = kernels.kept_format(kept.data_ptr(), TYPES[x.dtype])
    if wrote is None:
        raise DtypeError(expected("kept", f"what a forward pass kept in {TYPES[x.dtype]}", "other numbers"))
    dy = None if dy is None else _rows("dy", dy, shape, x)
    dh_n = None if dh_n is None else _dense("dh_n", dh_n, tuple(inputs.h_0.shape), x)
    dc_n = None if dc_n is None else _dense("dc_n", dc_n, (len(inputs.h_0), inputs.hidden), x)
    handle = _handle(cell, inputs, *wrote)
    if y is None:
        outputs = _outputs(cell, inputs, keep=False, trajectories=False, known=True)
        _run(handle, inputs, reverse, outputs)
        y = outputs[0]
    y = _rows("y", y, shape, x)
    gradients = _gradients(inputs, wanted, known=known)
    dx, dh_0, dc_0, dweight_ih, dweight_hh, dbias_ih, dbias_hh, dweight_hr = gradients
    kernels.backward(
        handle,
        *_sequences(inputs, reverse),
        _rows_of(y),
        kept.data_ptr(),
        _rows_of(dy),
        _address(dh_n),
        _address(dc_n),
        _rows_of(dx if wanted[0] else None),
        _address(dh_0),
        _address(dc_0),
        _address(dweight_ih),
        _address(dweight_hh),
        _address(dbias_ih),
        _address(dbias_hh),
        _address(dweight_hr),
        *_further(inputs),
    )
    return gradients


def _outputs(cell: str, inputs: Inputs, keep: bool, trajectories: bool, *, known: bool = False) -> Any:
    """Return y [T, B, P] or [n, P], h_n [B, P], c_n [B, H], kept, traces [K, T, B, H]; empty: none of it."""
    x, _, c_0 = inputs[:3]
    steps, rows = inputs.sizes
    hidden, projected = inputs.hidden, inputs.weight_hh.shape[1]

    def given(is_there: bool, *shape: int) -> Tensor | None:
        return x.new_empty(shape) if is_there else None if known else x.new_empty(0)

    return (
        room((*inputs.places, projected), like=x),
        x.new_empty((rows, projected)),
        given(c_0 is not None, rows, hidden),
        room((inputs.kept_size(cell),), like=x) if keep else given(False),
        given(trajectories, len(_CELLS[cell].traces), steps, rows, hidden),
    )


def _gradients(inputs: Inputs, wanted: list[bool], *, known: bool = False) -> tuple[Any, ...]:
    """Return room for the gradient of each of `inputs.wanting()`; empty, or None, where it is not wanted."""
    x = inputs.x
    wanted = [*wanted, False][:8]  # without a projection seven are enough
    return tuple(
        room(tensor.shape, like=x) if want and tensor is not None else None if known else x.new_empty(0)
        for tensor, want in zip(inputs.wanting(), wanted, strict=True)
    )


def _handle(cell: str, inputs: Inputs, isa: str, operand: str | None) -> kernels.Handle:
    """Return a handle that refers to the weights, for one call. They must be readable, and outlive it."""
    weight_ih, weight_hh = inputs.weight_ih.data_ptr(), inputs.weight_hh.data_ptr()
    return kernels.pack(
        cell,
        (weight_ih, weight_hh, _address(inputs.bias_ih), _address(inputs.bias_hh)),
        input_size=inputs.weight_ih.shape[1],
        hidden_size=inputs.hidden,
        projection=(0, 0)
        if inputs.weight_hr is None
        else (inputs.weight_hr.data_ptr(), inputs.weight_hr.shape[0]),
        storage=TYPES[inputs.x.dtype],
        operand=operand,
        isa=isa,
        copy=False,
    )


def _sequences(
    inputs: Inputs, reverse: bool
) -> tuple[int, bool, int, int, int, _Strided, _Strided, int, int]:
    """Return the fields of the struct `Sequences` of engine.h."""
    x, h_0, c_0 = inputs[:3]
    steps, rows = inputs.sizes
    return (
        torch.get_num_threads(),
        reverse,
        steps,
        rows,
        _address(inputs.lengths),
        _strided(inputs.resets),
        _rows_of(x),
        h_0.data_ptr(),
        _address(c_0),
    )


def _further(inputs: Inputs) -> tuple[_Strided, int, int]:
    """Return the last fields of `Sequences`: where ids are, V, and where batch_sizes are."""
    symbols = 0 if inputs.ids is None else inputs.x.shape[0]
    return _strided(inputs.ids), symbols, _address(inputs.batch_sizes)


def _rows_of(tensor: Tensor | None) -> _Strided:
    """Return x, y or a gradient of theirs: [T, B, ·], or [n, ·] or [V, ·], whose rows have stride b."""
    if tensor is None or tensor.dim() == 3:
        return _strided(tensor)
    return tensor.data_ptr(), 0, tensor.stride(0)


def _address(tensor: Tensor | None) -> int:
    """Return where the tensor's first element lies, or 0 for none. Keep the tensor while it is used."""
    return 0 if tensor is None else tensor.data_ptr()


def _strided(tensor: Tensor | None) -> _Strided:
    """Return the address of a tensor [T, B, ·] and its strides over T and B; zeros for none."""
    return (0, 0, 0) if tensor is None else (tensor.data_ptr(), tensor.stride(0), tensor.stride(1))


def _lie_dense(inputs: Inputs) -> bool:
    """Whether the engine can read every tensor where it lies."""
    return all(t is None or (t.is_contiguous() and not t.data_ptr() % t.itemsize) for t in inputs)


def _readable(cell: str, inputs: Inputs) -> Inputs:
    """Return the tensors as the engine can read them, copied only where it could not.

    The ops are public names of torch's registry and the engine sees addresses alone, so this is where
    sizes and dtypes are validated for whoever calls them.
    """
    x, h_0, c_0, weight_ih, weight_hh, bias_ih, bias_hh, lengths, resets, weight_hr, ids, sizes = inputs
    for name, tensor, dims in (
        ("ids", ids, 2),
        ("batch_sizes", sizes, 1),
        ("h_0", h_0, 2),
        ("x", x, 3 if ids is None and sizes is None else 2),
        ("weight_hh", weight_hh, 2),
        ("weight_hr", weight_hr, 2),
    ):
        if tensor is not None and tensor.dim() != dims:
            raise ShapeError(expected(name, f"{dims} dimensions", list(tensor.shape)))
    if x.dtype not in TYPES:
        raise DtypeError(expected("x", " or ".join(TYPES.values()), str(x.dtype).removeprefix("torch.")))
    if sizes is not None:
        sizes = _of(torch.int64, "batch_sizes", sizes, sizes.shape).contiguous()
        if int(sizes.sum()) != x.shape[0]:
            raise ShapeError(expected("x", f"{int(sizes.sum())} rows, as batch_sizes add up to", x.shape[0]))
    steps, rows = inputs.sizes
    width, hidden, projected = x.shape[-1], inputs.hidden, weight_hh.shape[1]
    blocks, state = (len(_CELLS[cell].gates) * hidden,), (rows, hidden)
    return Inputs(
        _rows("x", x, x.shape, x),
        _dense("h_0", h_0, (rows, projected), x),
        None if c_0 is None else _dense("c_0", c_0, state, x),
        _dense("weight_ih", weight_ih, (*blocks, width), x),
        _dense("weight_hh", weight_hh, (*blocks, projected), x),
        None if bias_ih is None else _dense("bias_ih", bias_ih, blocks, x),
        None if bias_hh is None else _dense("bias_hh", bias_hh, blocks, x),
        None if lengths is None else _of(torch.int64, "lengths", lengths, (rows,)).contiguous(),
        None if resets is None else _of(torch.bool, "resets", resets, (steps, rows)),
        None if weight_hr is None else _dense("weight_hr", weight_hr, (projected, hidden), x),
        None if ids is None else _of(torch.int64, "ids", ids, (steps, rows)),
        sizes,
    )


def _dense(name: str, tensor: Tensor, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Return the tensor, or a copy where it is not contiguous or not aligned to its own elements."""
    _of(like.dtype, name, tensor, shape)
    if tensor.is_contiguous() and not tensor.data_ptr() % tensor.itemsize:
        return tensor
    return tensor.clone(memory_format=torch.contiguous_format)


def _rows(name: str, tensor: Tensor, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Return x or y, or a copy where the last axis is not dense. The other axes may have any strides."""
    _of(like.dtype, name, tensor, shape)
    dense = tensor.stride(-1) == 1 or shape[-1] == 1
    if dense and not tensor.data_ptr() % tensor.itemsize:
        return tensor
    return tensor.clone(memory_format=torch.contiguous_format)


def _of(dtype: torch.dtype, name: str, tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    if tensor.dtype != dtype:
        want, got = (str(each).removeprefix("torch.") for each in (dtype, tensor.dtype))
        raise DtypeError(expected(name, want, got))
    if tensor.shape != shape:
        raise ShapeError(expected(name, list(shape), list(tensor.shape)))
    return tensor


def _valid_steps(inputs: Inputs) -> int:
    """Return how many steps are computed over all rows; all of them where lengths have no values yet."""
    lengths, (steps, rows) = inputs.lengths, inputs.sizes
    if inputs.batch_sizes is not None:
        return inputs.x.shape[0]
    if lengths is None or type(lengths) is not Tensor or lengths.is_meta:
        return steps * rows
    return int(lengths.sum())


def _multiply_adds(inputs: Inputs, of_x: int, of_h: int, of_m: int) -> int:
    """Return those of so many products with x, per step or per symbol; with h; with what is projected."""
    steps = _valid_steps(inputs)
    times = steps if inputs.ids is None else inputs.x.shape[0]
    projection = 0 if inputs.weight_hr is None else inputs.weight_hr.numel()
    of_state = of_h * inputs.weight_hh.numel() + of_m * projection
    return of_x * inputs.weight_ih.numel() * times + of_state * steps


def _forward_flops(_cell: str, *arguments: Any, **_: Any) -> int:
    """Return 2·G·H·(I + H) for each valid row and step; pointwise work is not counted."""
    return 2 * _multiply_adds(Inputs.of_forward(arguments), 1, 1, 1)


def _backward_flops(_cell: str, *arguments: Any, **_: Any) -> int:
    """Return what the wanted gradients take: twice the forward pass for all of them."""
    wanted = [*arguments[15], False][:8]
    products = wanted[0] + wanted[3], 1 + wanted[4], 1 + wanted[7]
    return 2 * _multiply_adds(Inputs.of_backward(arguments), *products)


def _fake_forward(cell: str, *arguments: Any) -> tuple[Tensor, ...]:
    outputs: tuple[Tensor, ...] = _outputs(cell, Inputs.of_forward(arguments), *arguments[10:12])
    return outputs


def _fake_backward(_cell: str, *arguments: Any) -> tuple[Tensor, ...]:
    return _gradients(Inputs.of_backward(arguments), arguments[15])


library.impl("layer", forward, "CPU")
library.impl("layer_backward", backward, "CPU")
register_flop_formula(torch.ops.unrolled.layer, get_raw=True)(_forward_flops)
register_flop_formula(torch.ops.unrolled.layer_backward, get_raw=True)(_backward_flops)
torch.library.register_fake(layer, _fake_forward, lib=library)
torch.library.register_fake(layer_backward, _fake_backward, lib=library)
