"""A recurrent network in plain torch, written by `unrolled export --to torch`; it needs torch alone.

    from model import load

    model = load()                                   # of the folder that this file lies in
    outputs, *states = model(x)                      # x [T, B, I] of numbers, or ids [T, B]
    outputs, *states = model(x, *states)             # goes on from the states
    outputs, *states = model(x, lengths=lengths)     # [B] valid steps of each row, at least 1
    model.answer(outputs)                            # probabilities, or numbers in their unit

Numbers of a task are standardised first, as "schema" in export.json says. Past a row's length outputs are
zeros where there is no read-out.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


def load(folder: str | Path | None = None) -> Model:
    """Return the model of a folder, in evaluation mode."""
    folder = Path(__file__).parent if folder is None else Path(folder)
    model = Model(json.loads((folder / "model.json").read_text(encoding="utf-8")))
    model.load_state_dict(model.with_modules(read_safetensors(folder / "model.safetensors")))
    return model.eval()


def read_safetensors(path: str | Path) -> dict[str, Tensor]:
    """Return the float32 tensors of a file by name."""
    raw = Path(path).read_bytes()
    (size,) = struct.unpack("<Q", raw[:8])
    found = {}
    for name, about in json.loads(raw[8 : 8 + size]).items():
        if name != "__metadata__":
            begin, end = (8 + size + place for place in about["data_offsets"])
            data = torch.frombuffer(bytearray(raw[begin:end]), dtype=torch.float32)
            found[name] = data.reshape(about["shape"])
    return found


class Model(nn.Module):
    """An embedding or numbers, torch's recurrent layers, a pooling, a read-out."""

    def __init__(self, about: Mapping[str, Any]) -> None:
        super().__init__()
        self.about = about
        options: dict[str, Any] = {name: about[name] for name in ("bias", "bidirectional")}
        if about["nonlinearity"]:
            options["nonlinearity"] = about["nonlinearity"]
        if about["proj_size"]:
            options["proj_size"] = about["proj_size"]
        self.recurrent: Any = getattr(nn, about["kind"])(*about["sizes"], **options)
        self.embedding: Any = None
        self.attention: Any = None
        self.readout: Any = None

    def with_modules(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Add the modules that the weights name, and return the weights."""
        kinds: dict[str, Any] = {"embedding": nn.Embedding, "attention": nn.Linear, "readout": nn.Linear}
        for name, kind in kinds.items():
            weight = state.get(f"{name}.weight")
            if name == "readout" and weight is None and "readout.bias" in state:  # that of the embedding
                weight = state["readout.weight"] = state["embedding.weight"]
            if weight is not None:
                bias = {} if kind is nn.Embedding else {"bias": f"{name}.bias" in state}
                sizes = weight.shape if kind is nn.Embedding else reversed(weight.shape)
                setattr(self, name, kind(*sizes, **bias))
        return state

    def forward(self, x: Tensor, *states: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, ...]:
        """Return the outputs, and h_n (and c_n of an LSTM) [L·D, B, H]."""
        if self.embedding is not None:
            x = self.embedding(x)
        steps = x.shape[0]
        valid = None
        if lengths is not None:
            valid = (torch.arange(steps).unsqueeze(1) < lengths).unsqueeze(-1)  # [T, B, 1]
        if self.about["neighbours"]:
            x = self.beside(x if valid is None else x * valid)
        given = None if not states else states if len(states) > 1 else states[0]
        packed: Any = x if lengths is None else pack_padded_sequence(x, lengths, enforce_sorted=False)
        y, after = self.recurrent(packed, given)
        if lengths is not None:
            y, _ = pad_packed_sequence(y, total_length=steps)
        after = after if isinstance(after, tuple) else (after,)
        if self.readout is not None:
            y = self.readout(
                self.pooled(y, after[0], valid, steps if lengths is None else lengths.unsqueeze(-1))
            )
        return (y, *after)

    def beside(self, x: Tensor) -> Tensor:
        """Put the steps around each beside it, zeros beyond an end."""
        reach = self.about["neighbours"]
        padded = nn.functional.pad(x, (0, 0, 0, 0, reach, reach))
        shifts = range(-reach, reach + 1 if self.about["neighbours_after"] else 1)
        return torch.cat([padded[reach + k : reach + k + x.shape[0]] for k in shifts], -1)

    def pooled(self, y: Tensor, h: Tensor, valid: Tensor | None, steps: Any) -> Tensor:
        """Return what the read-out reads, of valid steps alone."""
        pooling = self.about["pooling"]
        if pooling == "step":
            return y
        if pooling == "last":
            ways = 2 if self.about["bidirectional"] else 1
            return torch.cat(tuple(h[-ways:]), -1)
        if pooling == "attention":
            scores = self.attention(y)
            scores = scores if valid is None else scores.masked_fill(~valid, -torch.inf)
            attended: Tensor = (y * scores.softmax(0)).sum(0)
            return attended
        most = y if valid is None else y.masked_fill(~valid, -torch.inf)
        return torch.cat([y.sum(0) / steps, most.amax(0)], -1)

    def answer(self, outputs: Tensor) -> Tensor:
        """Return calibrated probabilities of `about["classes"]`, or numbers in their unit."""
        if self.about["classes"]:
            logits = outputs / self.about["temperature"]
            found: Tensor = logits.sigmoid() if self.about["several"] else logits.softmax(-1)
            return found
        mean, scale = (torch.tensor(self.about[name], dtype=torch.float64) for name in ("mean", "scale"))
        return outputs * scale + mean
