"""What a session or pool runs on: a network's weights, packed, with its sizes and its fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unrolled import kernels
from unrolled.errors import ConfigError, expected
from unrolled.spec import CELLS, Cell, Steps, check_streams
from unrolled.stream.plain import as_plain
from unrolled.stream.state import Layout, State, unpack_blob
from unrolled.stream.weights import Floats, Weight, convert

__all__ = ["Packed"]


class Packed:
    """A packed network; `Model` is one that knows its vocabulary and where it came from.

    Attributes:
        cell: its kind of cell: "lstm".
        num_layers, hidden_size: of the recurrent layers.
        input_size: I of the first layer.
        vocab_size: V, for a network that takes ids; None where its input is [I] numbers.
        output_size: O: V for a language model, the size of h for recurrent layers alone and behind which a
            pooling stands.
        weights: type of the weights: "float32", "bfloat16" or "int8".
        isa: instruction set that it runs on.
        nbytes: bytes of the packed weights; the ones that they were packed from are not kept.
        digest: 32 bytes that tell this network and its weights from any other; see `fingerprint`.
        known_states: what the states were like in training, for `Session.health`; None where not known.
    """

    known_states: Mapping[str, Mapping[str, float]] | None = None

    def __init__(self, tensors: Mapping[str, Weight], steps: Steps, weights: str) -> None:
        cell = CELLS[steps.cell]
        check_streams(cell.name)
        own, (tensors, plain) = tensors, as_plain(tensors, steps, weights)
        of_layers = [_layer(tensors, plain, CELLS[plain.cell], index) for index in range(plain.num_layers)]
        nonlinearity = steps.nonlinearity if cell.nonlinearities else ""
        told = f"{cell.name} {nonlinearity} {steps.num_layers} {weights}"
        if steps.pooling is not None or steps.neighbours:
            told += f" {steps.pooling} {steps.neighbours}"
        self.digest = _digest(told, own)
        self.cell = cell.name
        self.num_layers = steps.num_layers
        self.hidden_size, self.input_size = of_layers[0].hidden_size, of_layers[0].input_size
        width = of_layers[-1].proj_size
        self.layout = Layout(
            steps.num_layers, {name: width if name == "h" else self.hidden_size for name in cell.states}
        )
        looked_up = steps.embedding is not None and not steps.neighbours  # else the caller does it
        embedding = tensors[steps.embedding].data if looked_up and steps.embedding is not None else None
        head = None
        if steps.head is not None and steps.pooling is None:
            head = (
                tensors[steps.head]
                if steps.head != steps.embedding
                else convert(tensors[steps.head].data, weights)
            )
        bias = None if head is None or steps.head_bias is None else tensors[steps.head_bias].data
        self.vocab_size = None if embedding is None else len(embedding)
        self.output_size = width if head is None else len(head.data)
        self.network = _packed(
            of_layers,
            storage=weights,
            vocabulary=self.vocab_size or 0,
            embedding=0 if embedding is None else embedding.ctypes.data,
            output_size=self.output_size,
            head=(0, 0) if head is None else head.addresses,
            head_bias=0 if bias is None else bias.ctypes.data,
        )
        self.weights, self.isa = weights, kernels.ISAS[self.network.isa]
        self.nbytes = self.network.bytes

    @property
    def fingerprint(self) -> str:
        """64 hexadecimal digits that tell this model and its weights from any other."""
        return self.digest.hex()

    def flat_state(self, state: State) -> Floats | None:
        """Return a state as the engine holds it, None for zeros. Raises as `Model.open`."""
        if state is None:
            return None
        if isinstance(state, Mapping):
            return self.layout.join(state)
        return unpack_blob(state, self.digest, self.layout.size)


def _packed(layers: Sequence[kernels.LayerWeights], **options: Any) -> kernels.Network:
    """Return a packed network. Raises ConfigError: the engine takes no network of these sizes."""
    try:
        return kernels.pack_network(layers, **options)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _digest(kind: str, tensors: Mapping[str, Weight]) -> bytes:
    """Return a sum over a network's kind and weights, in whatever order these come."""
    digest = hashlib.sha256(kind.encode())
    for name in sorted(tensors):
        for part in (tensors[name].data, tensors[name].scales):
            if part is not None:
                digest.update(f"{name} {part.dtype} {part.shape} ".encode())
                digest.update(np.ascontiguousarray(part).data)
    return digest.digest()


def _layer(tensors: Mapping[str, Weight], steps: Steps, cell: Cell, index: int) -> kernels.LayerWeights:
    """Return the addresses of a layer's tensors."""

    def weight(name: str) -> Weight | None:
        return tensors.get(f"{steps.recurrent}{name}_l{index}")

    ih, hh, hr = weight("weight_ih"), weight("weight_hh"), weight("weight_hr")
    assert ih is not None
    assert hh is not None
    name = f"{cell.name}_{steps.nonlinearity}" if cell.nonlinearities else cell.name
    if name not in kernels.CELLS:
        raise ConfigError(expected("cell", f"one with a kernel: {', '.join(kernels.CELLS)}", name))
    biases = [0 if each is None else each.data.ctypes.data for each in (weight("bias_ih"), weight("bias_hh"))]
    return kernels.LayerWeights(
        name, ih.data.shape[1], len(ih.data) // len(cell.gates), hh.data.shape[1],
        ih.addresses, hh.addresses, (0, 0) if hr is None else hr.addresses, biases[0], biases[1],
    )  # fmt: skip
