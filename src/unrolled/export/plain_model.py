"""A recurrent network in plain torch, written by `unrolled export --to torch`; it needs torch alone.

    from model import load

    model = load()                                   # of the folder that this file lies in
    outputs, *states = model(x)                      # x [T, B, I] of numbers, or ids [T, B]
    outputs, *states = model(x, *states)             # goes on from the states
    outputs, *states = model(x, lengths=lengths)     # [B] valid steps of each row, at least 1
    model.answer(outputs)                            # probabilities, or numbers in their unit

Numbers of a task are standardised first, as "schema" in export.json says. Past a row's length outputs are
zeros where there is no read-out. A tagger and a forecaster take, by name, what their ONNX files take:

    emissions, moves, *states = model(words, …, places, lengths=lengths)     # see `Tagger`
    paths = model.best_paths(emissions, moves, lengths)                      # numbers of about["tags"]
    given, *states = model(inputs, lengths=lengths)                          # see `StepForecaster`
    given, *states = model(inputs, series=series)                            # see `SegmentForecaster`
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
    about = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    model = FORMS[about["form"]](about)
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


EMBEDDINGS = ("embedding", "word", "shape", "affix", "character", "column", "position", "series")
LINEAR = ("attention", "readout", "convolution", "segment", "known", "static")


class Model(nn.Module):
    """An embedding or numbers, torch's recurrent layers, a pooling, a read-out."""

    embedding: Any
    attention: Any
    readout: Any
    word: Any
    shape: Any
    affix: Any
    character: Any
    convolution: Any
    column: Any
    transitions: Any
    segment: Any
    position: Any
    series: Any
    known: Any
    static: Any

    def __init__(self, about: Mapping[str, Any]) -> None:
        super().__init__()
        self.about = about
        options: dict[str, Any] = {name: about[name] for name in ("bias", "bidirectional")}
        if about["nonlinearity"]:
            options["nonlinearity"] = about["nonlinearity"]
        if about["proj_size"]:
            options["proj_size"] = about["proj_size"]
        self.recurrent: Any = getattr(nn, about["kind"])(*about["sizes"], **options)
        for name in (*EMBEDDINGS, *LINEAR):
            self.register_module(name, None)
        self.register_parameter("transitions", None)

    def with_modules(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Add the modules that the weights name, and return the weights."""
        if "readout.weight" not in state and "readout.bias" in state:  # that of the embedding
            state["readout.weight"] = state["embedding.weight"]
        for name in (*EMBEDDINGS, *LINEAR):
            weight = state.get(f"{name}.weight")
            if weight is not None:
                made: nn.Module
                if name in EMBEDDINGS:
                    made = nn.Embedding(*weight.shape)
                else:
                    made = nn.Linear(weight.shape[1], weight.shape[0], bias=f"{name}.bias" in state)
                setattr(self, name, made)
        if "transitions" in state:
            self.transitions = nn.Parameter(state["transitions"])
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
        y, after = self.stack(x, states, lengths)
        if self.readout is not None:
            y = self.readout(
                self.pooled(y, after[0], valid, steps if lengths is None else lengths.unsqueeze(-1))
            )
        return (y, *after)

    def stack(
        self, x: Tensor, states: tuple[Tensor, ...], lengths: Tensor | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run the recurrent layers: y [T, B, D·H], zero past a row's length, and the states after."""
        given = None if not states else states if len(states) > 1 else states[0]
        packed: Any = x if lengths is None else pack_padded_sequence(x, lengths, enforce_sorted=False)
        y, after = self.recurrent(packed, given)
        if lengths is not None:
            y, _ = pad_packed_sequence(y, total_length=x.shape[0])
        return y, after if isinstance(after, tuple) else (after,)

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


class Tagger(Model):
    """What each different word becomes, a stack over the words of sentences, scores of tags."""

    def forward(  # type: ignore[override]
        self,
        words: Tensor,
        shapes: Tensor,
        affixes: Tensor,
        characters: Tensor,
        character_lengths: Tensor,
        places: Tensor,
        *states: Tensor,
        columns: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Return emissions [T, B, K], moves [K + 2, K + 2], and the states.

        Args:
            words, shapes, character_lengths: [U], of U different words. affixes: [U, A].
            characters: [U, W]. places: [T, B], which word stands where. columns: [T, B, C].
        """
        spelled = self.spelled(characters, character_lengths)
        parts = [self.word(words), self.shape(shapes), self.affix(affixes).flatten(1), spelled]
        x = torch.cat(parts, -1)[places]
        if columns is not None:
            x = torch.cat([x, self.column(columns).flatten(2)], -1)
        y, after = self.stack(x, states, lengths)
        return (self.readout(y), self.transitions, *after)

    def spelled(self, characters: Tensor, lengths: Tensor) -> Tensor:
        """Return the largest answer of each filter over a word's characters [U, ·]."""
        letters = self.character(nn.functional.pad(characters, (1, 1)))
        windows = torch.cat([letters[:, :-2], letters[:, 1:-1], letters[:, 2:]], -1)
        outside = torch.arange(characters.shape[1]) >= lengths.unsqueeze(1)
        found: Tensor = self.convolution(windows).masked_fill(outside.unsqueeze(-1), -torch.inf)
        return found.amax(1).relu()

    @staticmethod
    def best_paths(emissions: Tensor, moves: Tensor, lengths: Tensor) -> list[list[int]]:
        """Return the most probable tags of each sentence (Viterbi), as numbers of `about["tags"]`."""
        count, paths = emissions.shape[2], []
        for row, length in enumerate(lengths.tolist()):
            best, back = moves[count, :count] + emissions[0, row], []
            for scores in emissions[1:length, row]:
                most, before = (best.unsqueeze(1) + moves[:count, :count]).max(0)
                best = most + scores
                back.append(before)
            path = [int((best + moves[:count, count + 1]).argmax())]
            for before in reversed(back):
                path.append(int(before[path[-1]]))
            paths.append(path[::-1])
        return paths


class Forecaster(Model):
    """What both kinds of forecasters share: forecasts […, H, O], standardised."""

    def moved(self, given: Tensor, offset: Tensor | None, factor: Tensor | None = None) -> Tensor:
        """Return forecasts with the level put back that was taken off; quantiles rise."""
        kind = self.about["distribution"]
        if kind == "quantiles":
            given = rising(given)
        if offset is None:
            return given
        scaled = given if factor is None else given * factor
        if kind in ("point", "quantiles"):
            return scaled + offset
        rest = given[..., 1:]
        if factor is not None:  # softplus of it is the deviation
            spread = nn.functional.softplus(rest[..., :1]) * factor
            raw = spread + torch.log(-torch.expm1(-spread.clamp(min=1e-6)))
            rest = torch.cat([raw, rest[..., 1:]], -1)
        return torch.cat([scaled[..., :1] + offset, rest], -1)


def rising(given: Tensor) -> Tensor:
    """Return quantiles that do not cross: the median, and a distance above 0 to each next one."""
    middle = given.shape[-1] // 2
    steps = nn.functional.softplus(given)
    above = steps[..., middle + 1 :].cumsum(-1)
    below = steps[..., :middle].flip(-1).cumsum(-1).flip(-1)
    median = given[..., middle : middle + 1]
    return torch.cat([median - below, median, median + above], -1)


class StepForecaster(Forecaster):
    """A series step by step; the next H values after each."""

    def forward(self, inputs: Tensor, *states: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, ...]:
        """Return forecasts [T, B, H, O] of standardised channels [T, B, I], the value first; states."""
        y, after = self.stack(inputs, states, lengths)
        given = self.readout(y).view(*y.shape[:2], self.about["horizon"], -1)
        offset = inputs[..., :1].unsqueeze(-1) if self.about["normalise"] == "last" else None
        return (self.moved(given, offset), *after)


class SegmentForecaster(Forecaster):
    """A window in segments; each segment of the horizon from the state after it."""

    def forward(  # type: ignore[override]
        self,
        inputs: Tensor,
        *states: Tensor,
        future: Tensor | None = None,
        static: Tensor | None = None,
        series: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Return forecasts [B, H, O], and the states after the window.

        Args:
            inputs: [W, B, C] of standardised channels, the value first. future: [H, B, K]. static: [B, S].
            series: [B], the number of each; default: none that training had.
        """
        taken, offset, factor = self.normalised(inputs)
        rows, size = inputs.shape[1], self.about["segment"]
        level = self.about_series(rows, static, series)
        pieces = taken.view(-1, size, rows, taken.shape[2]).transpose(1, 2)
        _, after = self.stack(torch.relu(self.segment(pieces.reshape(len(pieces), rows, -1)) + level), states)
        asked = self.position.weight.unsqueeze(1) + level
        count = len(self.position.weight)
        if self.known is not None and future is not None:
            written = self.about["written"]
            padded = nn.functional.pad(future, (0, 0, 0, 0, 0, count * written - len(future)))
            known = padded.view(count, written, rows, -1).transpose(1, 2)
            asked = asked + self.known(known.reshape(count, rows, -1))
        each = tuple(state.repeat(1, count, 1) for state in after)
        out, _ = self.stack(asked.expand(count, rows, -1).reshape(1, count * rows, -1), each)
        given = self.readout(out[0]).view(count, rows, -1, self.about["outputs"]).transpose(0, 1)
        given = given.reshape(rows, -1, self.about["outputs"])[:, : self.about["horizon"]]
        return (self.moved(given, offset, factor), *after)

    def normalised(self, inputs: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return inputs without their level, and what it was: offset and factor [B, 1, 1]."""
        value, kind = inputs[..., :1], self.about["normalise"]
        if kind == "none":
            return inputs, None, None
        if kind == "last":
            taken = torch.cat([value - value[-1:], inputs[..., 1:]], -1)
            return taken, value[-1].unsqueeze(1), None
        mean = value.mean(0, keepdim=True)
        factor = value.std(0, keepdim=True, correction=0) + 1e-5
        taken = torch.cat([(value - mean) / factor, inputs[..., 1:]], -1)
        return taken, mean[0].unsqueeze(1), factor[0].unsqueeze(1)

    def about_series(self, rows: int, static: Tensor | None, series: Tensor | None) -> Tensor:
        """Return what is known of each row's series [B, hidden], or zeros."""
        found: Tensor = self.readout.weight.new_zeros(rows, self.position.weight.shape[1])
        if self.series is not None:
            unknown = len(self.series.weight) - 1
            found = found + self.series(torch.full((rows,), unknown) if series is None else series)
        if self.static is not None and static is not None:
            found = found + self.static(static)
        return found


FORMS: dict[str, type[Model]] = {
    "sequences": Model,
    "tags": Tagger,
    "steps": StepForecaster,
    "segments": SegmentForecaster,
}
