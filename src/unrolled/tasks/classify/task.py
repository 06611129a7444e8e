"""Classification and regression of whole sequences, as tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from unrolled import stream
from unrolled import tokens as vocabularies
from unrolled.data import Batches
from unrolled.errors import CheckpointError, counted, expected
from unrolled.spec import CELLS, CLASSIFY, REGRESS, STEP, TrainConfig, from_json
from unrolled.tasks import controls
from unrolled.tasks.calibration import fit_temperature
from unrolled.tasks.classify import sizing
from unrolled.tasks.classify.answering import evaluate_file, predict_file
from unrolled.tasks.classify.dataset import Data, Sequences, prepare, reopen
from unrolled.tasks.classify.evaluation import Evaluation, answered_together, evaluate, predict_together
from unrolled.tasks.classify.examined import examined
from unrolled.tasks.classify.network import SequenceNetwork
from unrolled.tasks.classify.report import write_report
from unrolled.tasks.classify.schema import Schema
from unrolled.tasks.group import Group
from unrolled.tasks.loading import assemble
from unrolled.tasks.protocol import Examined, Overview, Predictions, Task, register
from unrolled.tasks.run_report import parts_line
from unrolled.tasks.stack import recurrent_settings
from unrolled.tasks.stored_arrays import PARTS

__all__ = ["ClassifyTask", "RegressTask"]

VALIDATION_ROWS = 64


class SequenceTask(Task):
    """One answer for each sequence; a dataset is a `Sequences`."""

    def prepare(self, data: Data, directory: Path, *, seed: int) -> Sequences:
        return prepare(data, directory, seed=seed)

    def reopen(
        self, data: Data, directory: Path, *, seed: int, tokens: Mapping[str, Any] | None
    ) -> Sequences:
        return reopen(data, directory)

    def source(self, data: Data) -> str:
        return data.source

    def run_name(self, data: Data) -> str:
        return Path(data.source).name.partition(".")[0] or self.kind.name

    def resolve(self, config: TrainConfig, dataset: Sequences) -> TrainConfig:
        return sizing.resolve(config, dataset)

    def open_sizes(self, config: TrainConfig) -> list[str]:
        return [name for name in sizing.SIZES if getattr(config, name) is None]

    def model_config(self, config: TrainConfig, dataset: Sequences) -> Any:
        symbols = 0 if dataset.tokens is None else dataset.tokens.size
        return self.kind.model(
            input_size=len(dataset.channels),
            vocab_size=symbols,
            embedding_size=(config.embedding_size or 0) if symbols else 0,
            outputs=dataset.schema.outputs,
            causal=dataset.data.causal,
            neighbours=sizing.neighbours(dataset),
            pooling=STEP if dataset.schema.per_step else dataset.data.pooling,
            symbol_dropout=sizing.symbol_dropout(config, dataset),
            **recurrent_settings(config),
        )

    def bytes_needed(self, model: Any, config: TrainConfig, dataset: Sequences) -> int:
        stored = sum(each.nbytes for each in dataset.inputs("train"))
        return sizing.bytes_needed(model, rows=config.batch_size or 1, steps=dataset.longest, stored=stored)

    def describe(self, model: Any) -> str:
        ways = "one way" if model.causal else "both ways"
        read = "an answer at each step" if model.pooling == STEP else model.pooling
        return f"{CELLS[model.cell].label} {model.num_layers} x {model.hidden_size}, {ways}, {read}"

    def notes(self, config: TrainConfig, dataset: Sequences, network: Any) -> list[str]:
        parameters = counted(sum(p.numel() for p in network.parameters()), "parameter")
        parts = parts_line({name: len(dataset.part(name)) for name in PARTS}, "sample")
        if dataset.tokens is not None:
            read = f"{dataset.tokens.kind} symbols, {dataset.tokens.size} kinds"
        else:
            read = counted(len(dataset.channels), "channel")
        answer = _answer(dataset.schema)
        lines = [
            f"data      {dataset.name}: {parts}; {read}; {answer}",
            f"model     {self.describe(network.config)}, {parameters}, {_dropout(network.config)}",
        ]
        scaler = dataset.schema.scaler
        constant = () if scaler is None else scaler.constant
        notes = list(dataset.stored.notes)
        if constant and not any("constant column" in note for note in notes):
            notes.append(f"{counted(len(constant), 'constant channel')}: {', '.join(constant[:5])}")
        return lines + [f"note      {note}" for note in notes]

    def overview(self, dataset: Sequences) -> Overview:
        classes = len(dataset.schema.classes)
        if dataset.schema.per_step:
            suited = controls.suited_steps(classes, causal=dataset.data.causal)
        else:
            suited = controls.suited(dataset.part("train"), classes)
        sizes = {name: len(dataset.part(name)) for name in PARTS}
        names = tuple(suited) if dataset.data.controls else ()
        return Overview(dataset.samples.described(), sizes, controls=names)

    def network(
        self, model: Any, *, seed: int | None, backend: str, dataset: Sequences | None = None
    ) -> SequenceNetwork:
        if dataset is not None:
            _check_schema(dataset.schema, model, SAMPLES)
            _check_tokens(dataset.tokens, model, SAMPLES)
        weights = None if dataset is None else dataset.class_weights
        network = SequenceNetwork(model, seed=seed, backend=backend, class_weights=weights)
        if dataset is not None:
            network.schema, network.tokens = dataset.schema, dataset.tokens
        return network

    def around(
        self, contents: Any, weights: Mapping[str, Tensor], *, backend: str
    ) -> tuple[SequenceNetwork, vocabularies.Tokens | None]:
        config: Any = from_json(self.kind.model, contents.config["model"], where="config.json model")
        schema = Schema.from_json(contents.config.get("schema"))
        _check_schema(schema, config, "config.json schema")
        vocabulary = None
        if contents.tokens is not None:
            vocabulary = vocabularies.from_json(contents.tokens, where="tokens.json")
        _check_tokens(vocabulary, config, "tokens.json")
        network = self.network(config, seed=None, backend=backend)
        network.load_state_dict(weights)
        network.schema, network.tokens = schema, vocabulary
        return network, vocabulary

    def batches(self, config: TrainConfig, dataset: Sequences) -> Batches:
        return dataset.batches("train", rows=config.batch_size or 1, seed=config.seed, shuffle=True)

    def validation(self, dataset: Sequences) -> Batches:
        return dataset.batches("validation", rows=VALIDATION_ROWS)

    def schema(self, dataset: Sequences) -> dict[str, Any]:
        return dataset.schema.to_json()

    def known_states(self, contents: Any, dataset: Sequences) -> Mapping[str, Mapping[str, float]] | None:
        model: SequenceNetwork = assemble(contents).model
        streamed = model.streamed()
        return None if streamed is None else stream.states_in(streamed, dataset.inputs("validation"))

    def known_schema(self, contents: Any, dataset: Sequences) -> dict[str, Any] | None:
        return self.known_schema_together(contents, dataset, Group())

    def known_schema_together(self, contents: Any, dataset: Sequences, group: Group) -> dict[str, Any] | None:
        if not dataset.schema.classes:
            return None if group.rank else dataset.schema.to_json()
        network: SequenceNetwork = assemble(contents).model
        logits = answered_together(network, dataset, "validation", group)
        if group.rank:
            return None
        truth = dataset.truth("validation")
        if dataset.schema.several:  # each label is a question of two answers, the logits 0 and its own
            logits, truth = np.stack([0 * logits, logits], -1).reshape(-1, 2), truth.ravel().astype(int)
        temperature = fit_temperature(logits, truth)
        return dataset.schema.calibrated(temperature).to_json()

    def evaluate(self, network: SequenceNetwork, dataset: Sequences) -> Evaluation:
        return evaluate(network, dataset)

    def evaluate_together(
        self, network: SequenceNetwork, dataset: Sequences, group: Group
    ) -> Evaluation | None:
        predict_together(network, dataset, group)
        return None if group.rank else evaluate(network, dataset)

    def predict(self, loaded: Any, source: str) -> Predictions:
        return predict_file(loaded.model, source)

    def evaluate_source(self, loaded: Any, source: str) -> Evaluation:
        return evaluate_file(loaded.model, source)

    def evaluation_of(self, stored: Mapping[str, Any]) -> Evaluation:
        return Evaluation.from_dict(stored)

    def report(
        self, network: SequenceNetwork, dataset: Sequences, directory: Path, *, seed: int
    ) -> Iterator[Path]:
        return write_report(network, dataset, directory)

    def examined(
        self, loaded: Any, source: str | None, directory: Path | None, *, lags: int, largest: int
    ) -> Examined:
        dataset = None
        if source is None and directory is not None:
            data: Any = from_json(self.kind.data, loaded.config.get("data"), where="config.json data")
            dataset = reopen(data, directory)
        return examined(loaded.model, dataset, source, directory, largest)


class ClassifyTask(SequenceTask):
    """Tell which class a sequence is of."""

    kind = CLASSIFY


class RegressTask(SequenceTask):
    """Predict a number from a sequence."""

    kind = REGRESS


SAMPLES = "the run's samples"  # what messages call them


def _check_schema(schema: Schema, config: Any, where: str) -> None:
    """Refuse a schema, of a file or of a run's samples, that does not fit the network."""
    want = (config.outputs, config.input_size, config.pooling == STEP)
    got = (schema.outputs, 0 if schema.scaler is None else len(schema.scaler.outputs), schema.per_step)
    if want != got:
        sizes = f"{config.outputs} outputs and {config.input_size} channels, pooling {config.pooling}"
        given = f"{got[0]} and {got[1]}{', an answer at each step' if schema.per_step else ''}"
        raise CheckpointError(expected(where, sizes, given))


def _check_tokens(tokens: vocabularies.Tokens | None, config: Any, where: str) -> None:
    size = 0 if tokens is None else tokens.size
    if size != config.vocab_size:
        raise CheckpointError(expected(where, counted(config.vocab_size, "symbol"), size))


def _dropout(model: Any) -> str:
    """Return in words what is dropped in training."""
    whole = f", and of symbols {model.symbol_dropout}" if model.symbol_dropout else ""
    return f"dropout {model.dropout}{whole}"


def _answer(schema: Schema) -> str:
    """Return in words what is answered."""
    if schema.several:
        found = f"{counted(len(schema.classes), 'label')}, any number of which may apply"
    elif schema.classes:
        found = counted(len(schema.classes), "class", "classes")
    else:
        found = "a number" if not schema.numbers else f"{len(schema.numbers)} numbers"
    return found + (" at each step" if schema.per_step else "")


register(ClassifyTask())
register(RegressTask())
