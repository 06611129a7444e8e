"""What classifiers, regressors, taggers and forecasters take and give; raw values where a graph scales."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from unrolled.data import read_sentences
from unrolled.errors import ConfigError, expected
from unrolled.export.interface import (
    Feeds,
    Interface,
    LanguageInterface,
    LayerInterface,
    Port,
    batches_of,
    tensor,
)
from unrolled.export.subject import Subject
from unrolled.schema import CLIP
from unrolled.spec import AFFIXES, STEP
from unrolled.tasks import Forms, SentenceBatch, SentenceBatches

__all__ = ["SegmentInterface", "SequenceInterface", "StepsInterface", "TagInterface", "interface_of"]

Array = npt.NDArray[Any]
WORD_PARTS = ("words", "shapes", "affixes", "characters", "character_lengths")  # the fields of `Forms`


class SequenceInterface(Interface):
    """Of a classifier or a regressor: raw numbers, NaN where one is missing, or ids; to what is answered."""

    @property
    def scaler(self) -> Any:
        """What standardises channels; None of texts."""
        return self.subject.schema.scaler

    @property
    def per_step(self) -> bool:
        """Whether there is an answer at each step."""
        return bool(self.subject.config.pooling == STEP)

    @property
    def own_inputs(self) -> Mapping[str, Port]:
        if self.scaler is None:
            return {"ids": Port("int64", ("T", "B"))}
        times = {"times": Port("float64", ("T", "B"))} if self.scaler.gaps else {}
        return {"x": Port("float32", ("T", "B", len(self.scaler.channels))), **times}

    @property
    def own_outputs(self) -> Mapping[str, Port]:
        axes = (*(("T", "B") if self.per_step else ("B",)), self.subject.config.outputs)
        if not self.subject.schema.classes:
            return {"values": Port("float64", axes)}
        return {"logits": Port("float32", axes), "probabilities": Port("float32", axes)}

    def own_example(self, draw: np.random.Generator, lengths: Array) -> Feeds:
        steps, rows = int(lengths.max()), len(lengths)
        if self.scaler is None:
            return {"ids": draw.integers(0, self.subject.config.vocab_size, (steps, rows))}
        scaler = self.scaler
        x = draw.normal(size=(steps, rows, len(scaler.channels))) * scaler.scale + scaler.mean
        masked = np.array([name in scaler.masked for name in scaler.channels])
        x[(draw.random(x.shape) < 0.3) & masked] = np.nan
        found = {"x": x.astype(np.float32)}
        if scaler.gaps:
            found["times"] = np.cumsum(draw.uniform(0.2, 3, (steps, rows)) * scaler.step, axis=0)
        return found

    @torch.no_grad()
    def ours(self, feeds: Feeds) -> dict[str, Array]:
        lengths, state = tensor(feeds["lengths"]), self.given_state(feeds)
        y, after = self.network.hidden(tensor(self.read(feeds)), lengths, state)
        outputs = self.network._answer(y, lengths, after).numpy()
        return {**self.answers(outputs), **self.after(after)}

    def answers(self, outputs: Array) -> dict[str, Array]:
        """Return what is made of the network's outputs […, K]."""
        schema = self.subject.schema
        flat = schema.answers(outputs.reshape(-1, outputs.shape[-1]))
        if not schema.classes:
            return {"values": flat.reshape(outputs.shape)}
        return {"logits": outputs, "probabilities": flat.reshape(outputs.shape)}

    def compared(self, name: str, values: Array) -> Array:
        schema = self.subject.schema
        return (values - np.array(schema.mean)) / np.array(schema.scale) if name == "values" else values

    def read(self, feeds: Feeds) -> Array:
        """Return what the network reads: ids [T, B], or [T, B, C'] of standardised channels."""
        if self.scaler is None:
            return feeds["ids"]
        x, lengths = feeds["x"], feeds["lengths"]
        found = np.zeros((*x.shape[:2], len(self.scaler.outputs)), np.float32)
        for row, length in enumerate(lengths.tolist()):
            if length:
                times = feeds["times"][:length, row] if self.scaler.gaps else None
                made = self.scaler.transform(x[:length, row], times)
                found[:length, row] = np.clip(made, -CLIP, CLIP)
        return found

    def on_file(self, source: str) -> Iterator[Feeds]:
        if self.scaler is None:
            for ids, lengths in batches_of(self.subject.sequences(source)):
                yield {"ids": ids, "lengths": lengths, **self.state(len(lengths))}
            return
        samples = self.subject.samples(source)
        self.subject.schema.inputs(samples, None)  # says what is wrong with the columns
        arrays: Any = samples.inputs
        times: Any = samples.times or []
        if self.scaler.missing == "drop":  # steps that training left out are no steps
            kept = [~np.isnan(each).any(axis=1) for each in arrays]
            arrays = [each[one] for each, one in zip(arrays, kept, strict=True)]
            times = [each[one] for each, one in zip(times, kept, strict=True)]
        clocks = (batch for batch, _ in batches_of(list(times)))
        for x, lengths in batches_of([each.astype(np.float32) for each in arrays]):
            found = {"x": x, "lengths": lengths, **self.state(len(lengths))}
            if self.scaler.gaps:
                found["times"] = next(clocks)
            yield found


class TagInterface(Interface):
    """Of a tagger: what is read of each different word, and where it stands; to the scores of tags."""

    @property
    def own_inputs(self) -> Mapping[str, Port]:
        config = self.subject.config
        columns = {"columns": Port("int64", ("T", "B", config.columns))} if config.columns else {}
        return {
            "words": Port("int64", ("U",)),
            "shapes": Port("int64", ("U",)),
            "affixes": Port("int64", ("U", AFFIXES)),
            "characters": Port("int64", ("U", "W")),
            "character_lengths": Port("int64", ("U",)),
            "places": Port("int64", ("T", "B")),
            **columns,
        }

    @property
    def own_outputs(self) -> Mapping[str, Port]:
        tags = self.subject.config.tags
        return {
            "emissions": Port("float32", ("T", "B", tags)),
            "transitions": Port("float32", (tags + 2, tags + 2)),
        }

    def own_example(self, draw: np.random.Generator, lengths: Array) -> Feeds:
        config, steps, rows = self.subject.config, int(lengths.max()), len(lengths)
        unique, longest = steps + 2, 5
        found = {
            "words": draw.integers(0, config.words, unique),
            "shapes": draw.integers(0, len(self.network.shape.weight), unique),
            "affixes": draw.integers(0, config.affixes, (unique, AFFIXES)),
            "characters": draw.integers(0, config.characters, (unique, longest)),
            "character_lengths": draw.integers(1, longest + 1, unique),
            "places": draw.integers(0, unique, (steps, rows)),
        }
        if config.columns:
            found["columns"] = draw.integers(0, config.column_values, (steps, rows, config.columns))
        return found

    @torch.no_grad()
    def ours(self, feeds: Feeds) -> dict[str, Array]:
        emissions, after = self.network.emissions(self._batch(feeds), self.given_state(feeds))
        return {
            "emissions": emissions.numpy(),
            "transitions": self.network.moves().numpy(),
            **self.after(after),
        }

    def _batch(self, feeds: Feeds) -> Any:
        forms = Forms(*(feeds[name] for name in WORD_PARTS))
        places = tensor(feeds["places"])
        columns = feeds.get("columns", np.zeros((*feeds["places"].shape, 0), np.int64))
        lengths = tensor(feeds["lengths"])
        return SentenceBatch(places, torch.zeros_like(places), lengths, forms=forms, columns=tensor(columns))

    def on_file(self, source: str) -> Iterator[Feeds]:
        schema = self.subject.schema
        sentences = read_sentences(source, **schema.read_as, read_tags=False)
        batches = SentenceBatches(schema.encode(sentences), batch_size=64)
        for batch in batches.epoch(0):
            forms, rows = batch.forms, batch.inputs.shape[1]
            assert batch.lengths is not None  # by `SentenceBatches`
            yield {
                "words": forms.words, "shapes": forms.shapes, "affixes": forms.affixes,
                "characters": forms.characters, "character_lengths": forms.lengths,
                "places": batch.inputs.numpy(), "lengths": batch.lengths.numpy(),
                **({"columns": batch.columns.numpy()} if self.subject.config.columns else {}),
                **self.state(rows),
            }  # fmt: skip


class SegmentInterface(Interface):
    """Of a forecaster of windows: standardised channels, to what it gives for each value of the horizon."""

    has_lengths = False

    @property
    def own_inputs(self) -> Mapping[str, Port]:
        config = self.subject.config
        found = {"inputs": Port("float32", (config.window, "B", config.input_size))}
        if config.known_size:
            found["future"] = Port("float32", (config.horizon, "B", config.known_size))
        if config.static_size:
            found["static"] = Port("float32", ("B", config.static_size))
        if config.series:
            found["series"] = Port("int64", ("B",))
        return found

    @property
    def own_outputs(self) -> Mapping[str, Port]:
        config = self.subject.config
        return {"given": Port("float32", ("B", config.horizon, config.outputs))}

    def own_example(self, draw: np.random.Generator, lengths: Array) -> Feeds:
        rows = len(lengths)
        found: Feeds = {}
        for name, port in self.own_inputs.items():
            shape = [rows if axis == "B" else int(axis) for axis in port.axes]
            found[name] = draw.normal(size=shape).astype(np.float32)
        if "series" in found:
            found["series"] = draw.integers(0, self.subject.config.series + 1, rows)
        return found

    @torch.no_grad()
    def ours(self, feeds: Feeds) -> dict[str, Array]:
        further = {name: tensor(feeds[name]) for name in ("future", "static", "series") if name in feeds}
        seen: list[Any] = []
        handle = self.network.recurrent.register_forward_hook(lambda *call: seen.append(call[2][1]))
        try:
            given = self.network(tensor(feeds["inputs"]), **further, state=self.given_state(feeds))
        finally:
            handle.remove()
        return {"given": given.numpy(), **self.after(seen[0])}

    def on_file(self, source: str) -> Iterator[Feeds]:
        for (inputs, *further), _ in self.subject.calls_on(source, lambda network: network):
            found = {"inputs": inputs.numpy(), **self.state(inputs.shape[1])}
            for name, value in zip(("future", "static", "series"), further, strict=False):
                if name in self.own_inputs and value is not None:
                    found[name] = value.numpy()
            yield found


class StepsInterface(Interface):
    """Of a forecaster that reads step by step: standardised channels, to a forecast after each step."""

    @property
    def own_inputs(self) -> Mapping[str, Port]:
        return {"inputs": Port("float32", ("T", "B", self.subject.config.seen))}

    @property
    def own_outputs(self) -> Mapping[str, Port]:
        config = self.subject.config
        return {"given": Port("float32", ("T", "B", config.horizon, config.outputs))}

    def own_example(self, draw: np.random.Generator, lengths: Array) -> Feeds:
        shape = (int(lengths.max()), len(lengths), self.subject.config.seen)
        return {"inputs": draw.normal(size=shape).astype(np.float32)}

    @torch.no_grad()
    def ours(self, feeds: Feeds) -> dict[str, Array]:
        network, config = self.network, self.subject.config
        x = tensor(feeds["inputs"])
        y, after = network.recurrent(x, self.given_state(feeds), lengths=tensor(feeds["lengths"]))
        given = network.readout(y).view(*y.shape[:2], config.horizon, config.outputs)
        offset = x[..., :1].unsqueeze(-1) if config.normalise == "last" else None
        return {"given": network._shifted(given, offset).numpy(), **self.after(after)}

    def on_file(self, source: str) -> Iterator[Feeds]:
        for inputs, lengths in batches_of(self.subject.sequences(source)):
            yield {"inputs": inputs, "lengths": lengths, **self.state(len(lengths))}


def interface_of(subject: Subject) -> Interface:
    """Return how a network is called that reads whole sequences.

    Raises:
        ConfigError: one of another task, or without the schema that says what its inputs are.
    """
    if subject.task in ("classify", "regress", "tag") and subject.schema is None:
        want = "a network with its schema, as `unrolled.load` gives it"
        raise ConfigError(expected("source", want, "one without"))
    if subject.task == "forecast":
        return (StepsInterface if subject.config.causal else SegmentInterface)(subject)
    known: dict[str, type[Interface]] = {
        "layer": LayerInterface,
        "language": LanguageInterface,
        "classify": SequenceInterface,
        "regress": SequenceInterface,
        "tag": TagInterface,
    }
    if subject.task not in known:
        raise ConfigError(expected("source", f"one of the tasks {', '.join(known)}", subject.task))
    return known[subject.task](subject)
