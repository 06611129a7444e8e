"""What every recurrent layer is: torch.nn's base class, run by `unrolled.ops`, and more."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Unpack

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from unrolled import ops
from unrolled.errors import ConfigError, DtypeError, counted, expected
from unrolled.nn import compiling, direct, few_steps, inference, tracing
from unrolled.nn.init import start_own_weights
from unrolled.nn.options import Options, beside_torch, check_options, options_of, takes_compact
from unrolled.nn.stack import run_stack
from unrolled.nn.validate import Lengths, Resets, resets_of, validate_layer
from unrolled.spec import Cell, cell_of_mode

# What torch.nn has.
TORCH_MODES = {"RNN_TANH": torch.nn.RNN, "RNN_RELU": torch.nn.RNN, "LSTM": torch.nn.LSTM, "GRU": torch.nn.GRU}
# What the forward of torch's layers calls, and ours does not.
NOT_CALLED = (
    "check_forward_args",
    "check_hidden_size",
    "check_input",
    "get_expected_cell_size",
    "get_expected_hidden_size",
    "permute_hidden",
)


class Recurrent(torch.nn.RNNBase):
    """What the layers share: torch's own base class, so that weights and names are torch's.

    `RNN`, `LSTM` and `GRU` are subclasses of torch.nn's as well. What the constructors refuse, they refuse in
    torch's words. `layer` builds one for any registered cell.

    Beside torch's arguments every layer takes these:

    Args:
        backend: "auto", or a backend's name; see `unrolled.explain`.
        recompute: k, a number of steps: keep a state every k steps and run them again in the backward pass.
        zoneout: chance that a unit keeps its state at a step, of h and c alike or (of h, of c); in evaluation
            mode that share of the state is kept (Krueger et al. 2017). Runs on the reference.
        input_dropout: share of each layer's input that is dropped while training, the same at every step of a
            row (Gal & Ghahramani 2016).
        recurrent_dropout: the same of h on its way to weight_hh. While training it runs on the reference.
        reverse: run each row from its last valid step to its first: the second half of a bidirectional layer.
    """

    backend: str = "auto"  # what the ops are asked for; see unrolled.explain
    recompute: int | None = None  # steps between the states that a forward pass keeps; see unrolled.ops.lstm
    zoneout: float | tuple[float, ...] = 0.0  # a share for each state; 0.0 for none
    input_dropout: float = 0.0
    recurrent_dropout: float = 0.0
    reverse: bool = False
    between_layers: Callable[[Tensor], Tensor] | None  # in the place of torch's dropout; may be a module
    _packs: tuple[inference.Pack, ...] = ()  # of each `packed` that is entered, the inner one last

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        backend: str = "auto",
        recompute: int | None = None,
        **options: Unpack[Options],
    ) -> None:
        ops.check_backend(backend)
        ops.check_recompute(recompute, trajectories=False)
        cell, _ = cell_of_mode(mode)
        checked = check_options(cell, options, bidirectional=bidirectional)
        if proj_size and not cell.projects:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        sizes = (input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size)
        known = mode in TORCH_MODES
        # By name: next in line are torch.nn's own constructors, which take no mode.
        torch.nn.RNNBase.__init__(self, mode if known else "RNN_TANH", *sizes, device, dtype)
        self.backend, self.recompute, self.between_layers = backend, recompute, None
        for name, value in checked.items():
            if value:
                setattr(self, name, value)
        if not known:
            self._become(mode, cell)

    def _become(self, mode: str, cell: Cell) -> None:
        """Give a layer the mode and parameters of a cell that torch does not know, in place of an RNN's."""
        like: Tensor = getattr(self, "weight_ih_l0")  # noqa: B009
        for name in self._flat_weights_names:
            delattr(self, name)
        self.mode, self._flat_weights_names, self._all_weights = mode, [], []
        directions = ("", "_reverse") if self.bidirectional else ("",)
        for level in range(self.num_layers):
            width = (self.proj_size or self.hidden_size) * len(directions) if level else self.input_size
            shapes = cell.weights(width, self.hidden_size, proj_size=self.proj_size, bias=self.bias)
            for way in directions:
                for name, shape in shapes.items():
                    setattr(self, f"{name}_l{level}{way}", torch.nn.Parameter(like.new_empty(shape)))
                self._all_weights.append([f"{name}_l{level}{way}" for name in shapes])
        self._flat_weights_names = [name for names in self._all_weights for name in names]
        self._init_flat_weights()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Fill the weights as torch.nn does, and those that a cell has beside torch's by its spec."""
        super().reset_parameters()
        start_own_weights(self, self.cell)

    @property
    def cell(self) -> Cell:
        """What the layer consists of."""
        return cell_of_mode(self.mode)[0]

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "qconfig":
            plain = not options_of(self) and not {Recurrent, LikeLSTM}.isdisjoint(type(self).__bases__)
            kind = TORCH_MODES.get(self.mode) if plain else None
            tracing.quantise(self, kind, value)
            return
        if name == "ft_compute_sample_grad":
            tracing.refuse_opacus(self)
        if name in NOT_CALLED:
            what = f"{type(self).__name__} of unrolled.nn, which does not call it"
            raise ConfigError(expected(name, "a layer of torch.nn (unrolled.to_torch(model) first)", what))
        super().__setattr__(name, value)

    def __prepare_scriptable__(self) -> Any:
        """Refuse torch.jit.script: it compiles torch.nn's layers alone, and would replace ours in place."""
        kind = f"{type(self).__name__} of unrolled.nn"
        raise ConfigError(expected("module", "torch.nn's layers (unrolled.to_torch(model) first)", kind))

    def flatten_parameters(self) -> None:
        """Do what torch's layers do for cuDNN, where it knows the cell."""
        if self.mode in TORCH_MODES:
            super().flatten_parameters()

    def forward(
        self,
        input: Tensor | PackedSequence | ops.Embedded,
        hx: Any = None,
        *others: Any,
        lengths: Lengths | None = None,
        resets: Resets | None = None,
    ) -> tuple[Any, Any]:
        """Run the layer, as torch.nn's does, on rows of unequal length and with resets inside.

        Args:
            input: [T, B, I], or [B, T, I] with batch_first, or unbatched [T, I], or a PackedSequence; or
                `ops.Embedded` symbols, whose ids have those sizes without I.
            hx: h_0 [L·D, B, P], for the LSTM the pair (h_0, c_0 [L·D, B, H]); without B where the
                input is unbatched; zeros where None. Rows in the order of the input before packing.
            lengths: [B] whole numbers on the CPU (a tensor, a list, an array): valid steps of each row,
                0 to T. Not with a PackedSequence, which has its own, nor with an unbatched input.
            resets: bool, or numbers that are 0 or 1 (a tensor, a list, an array); true zeroes the row's
                state before that step (between that step and the one before it in time, in the reverse
                direction), in every layer. [T, B], or [B, T] with batch_first, or [T] where the input is
                unbatched; [T, B] for a PackedSequence, rows in the order before packing.
        Returns:
            output, in the form of the input and zero past a row's length, and h_n or (h_n, c_n), in
            the form and dtype of hx. Under autocast, output has autocast's dtype.
        Raises:
            ShapeError, DtypeError, DeviceError: an argument does not fit the layer.
            BackendError: the backend asked for by name cannot run this call.
        """
        if type(others) is tuple and others:  # torch.fx hands in something else
            got = counted(2 + len(others), "argument")
            raise DtypeError(
                expected("forward", "input, hx, and the rest by name (lengths=…, resets=…)", got)
            )
        if resets is not None:
            resets = resets_of(resets, input)
        if lengths is None and not torch.compiler.is_compiling():
            done = inference.run_layer(self, self._packs[-1], input, hx, resets) if self._packs else None
            if done is None and resets is None:
                done = few_steps.run_layer(self, input, hx)
            done = direct.run_layer(self, input, hx, resets) if done is None else done
            if done is not None:
                return done
        if isinstance(input, ops.Embedded) and (tracing.is_traced() or tracing.is_proxy(input.ids)):
            input = input.look_up()
        if tracing.is_traced():
            kind = None if beside_torch(self) else TORCH_MODES.get(self.mode)
            if tracing.is_exported(input) and not beside_torch(self):
                with tracing.sizes_stay_free():
                    return self._run(input, hx, lengths, resets)
            traced: tuple[Any, Any] = tracing.run_as_torch(
                self, kind, input, hx, lengths=lengths, resets=resets
            )
            return traced
        if tracing.is_proxy(input):
            whole: Any = Recurrent.forward
            recorded: Any = tracing.leaf(self, whole, input, hx, lengths=lengths, resets=resets)
            return recorded  # type: ignore[no-any-return]
        return self._run(input, hx, lengths, resets)

    def _run(self, input: Any, hx: Any, lengths: Any, resets: Any) -> tuple[Any, Any]:
        given = validate_layer(self, input, hx, lengths, resets, compact=takes_compact(self))
        y, states, _ = run_stack(self, given, backend=self.backend)
        swaps = self.batch_first and given.batched and not isinstance(input, PackedSequence)
        output = ops.rows_first(y) if swaps else given.output_as_given(y)
        return output, given.states_as_given(states)

    def trajectories(
        self,
        input: Tensor | PackedSequence | ops.Embedded,
        hx: Any = None,
        *,
        lengths: Lengths | None = None,
        resets: Resets | None = None,
        backend: str | None = None,
    ) -> tuple[Any, Any, list[Any]]:
        """Run the layer and keep every gate and state.

        Args:
            input, hx, lengths, resets: as `forward` takes them.
            backend: default the layer's own; "torch" cannot record and raises BackendError.
        Returns:
            output and state, as `forward`, and a list with one trajectory of `unrolled.ops` per layer
            and direction (l0, l0_reverse, l1, …), always [T, B, H] inside, B = 1 where unbatched.
        """
        given = validate_layer(self, input, hx, lengths, resets_of(resets, input))
        y, states, layers = run_stack(self, given, backend=backend or self.backend, trajectories=True)
        trajectories = [each.output.trajectory for each in layers]
        return given.output_as_given(y), given.states_as_given(states), trajectories

    def packed(self, *, weights: str = "float32") -> AbstractContextManager[inference.PackingReport]:
        """Pack the weights for calls of few steps without gradients: `unrolled.nn.packed` of this layer."""
        return inference.packed(self, weights=weights)

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()  # type: ignore[no-untyped-call]  # torch's
        return {name: value for name, value in state.items() if name != "_packs"}

    def extra_repr(self) -> str:
        """Add to torch's line the cell that its class does not say, and a backend other than the default."""
        line = super().extra_repr()
        line = line if self.mode in TORCH_MODES or type(self) is not Recurrent else f"{self.mode!r}, {line}"
        line = line if self.backend == "auto" else f"{line}, backend={self.backend!r}"
        line += "".join(f", {name}={value}" for name, value in options_of(self).items())
        return line if self.recompute is None else f"{line}, recompute={self.recompute}"


class LikeLSTM(Recurrent):
    """A layer with torch.nn.LSTM's arguments, whose class says the mode."""

    _mode_of_class: str

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        backend: str = "auto",
        recompute: int | None = None,
        **options: Unpack[Options],
    ) -> None:
        sizes = (input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size)
        super().__init__(
            self._mode_of_class, *sizes, device, dtype, backend=backend, recompute=recompute, **options
        )


def mode_with(nonlinearity: str, kind: str = "RNN") -> str:
    """Return the mode of a kind of cell with this nonlinearity. Raises ValueError, in torch's words."""
    if nonlinearity not in ("tanh", "relu"):
        raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
    return f"{kind}_{nonlinearity.upper()}"


compiling.admit(Recurrent)
