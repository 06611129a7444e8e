"""Tagging of words in sentences, as a task."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from unrolled.data import Batch, Batches, Sentences
from unrolled.errors import CheckpointError, DataError, counted, expected
from unrolled.spec import CELLS, TAG, TagData, TagModel, TrainConfig, from_json
from unrolled.tasks import controls
from unrolled.tasks.group import Group
from unrolled.tasks.loading import assemble
from unrolled.tasks.protocol import Examined, Overview, Predictions, Summed, Task, register
from unrolled.tasks.run_report import parts_line
from unrolled.tasks.stack import recurrent_settings
from unrolled.tasks.stored_arrays import PARTS
from unrolled.tasks.tag import sizing
from unrolled.tasks.tag.dataset import TaggedSentences, described, prepare, read_like, reopen
from unrolled.tasks.tag.evaluation import Evaluation, evaluate, evaluate_sentences, tag_together, tagged
from unrolled.tasks.tag.examined import examined
from unrolled.tasks.tag.forms import AFFIX_BUCKETS
from unrolled.tasks.tag.network import TagNetwork
from unrolled.tasks.tag.report import prediction_columns, write_report
from unrolled.tasks.tag.schema import Schema

__all__ = ["TagTask"]

VALIDATION_ROWS = 64


class TagTask(Task):
    """A tag for each word; a dataset is a `TaggedSentences`."""

    kind = TAG

    def prepare(self, data: TagData, directory: Path, *, seed: int) -> TaggedSentences:
        return prepare(data, directory, seed=seed)

    def reopen(
        self, data: TagData, directory: Path, *, seed: int, tokens: Mapping[str, Any] | None
    ) -> TaggedSentences:
        return reopen(data, directory)

    def source(self, data: TagData) -> str:
        return data.source

    def run_name(self, data: TagData) -> str:
        return Path(data.source).name.partition(".")[0] or self.kind.name

    def resolve(self, config: TrainConfig, dataset: TaggedSentences) -> TrainConfig:
        return sizing.resolve(config, dataset)

    def open_sizes(self, config: TrainConfig) -> list[str]:
        return [name for name in sizing.SIZES if getattr(config, name) is None]

    def model_config(self, config: TrainConfig, dataset: TaggedSentences) -> TagModel:
        schema = dataset.schema
        return TagModel(
            words=len(schema.words) + 1,
            word_size=config.embedding_size or 1,
            characters=len(schema.characters) + 2,
            affixes=AFFIX_BUCKETS,
            columns=len(schema.features),
            column_values=schema.column_values,
            tags=len(schema.inside),
            **recurrent_settings(config),
            **sizing.fixed_sizes(len(schema.features)),
        )

    def bytes_needed(self, model: TagModel, config: TrainConfig, dataset: TaggedSentences) -> int:
        rows, words = config.batch_size or 1, dataset.sentences.tokens
        return sizing.bytes_needed(model, rows=rows, steps=dataset.longest, words=words)

    def describe(self, model: TagModel) -> str:
        return f"{CELLS[model.cell].label} {model.num_layers} x {model.hidden_size}, both ways, and a CRF"

    def notes(self, config: TrainConfig, dataset: TaggedSentences, network: Any) -> list[str]:
        parameters = counted(sum(p.numel() for p in network.parameters()), "parameter")
        schema = dataset.schema
        parts = parts_line({name: len(dataset.part(name)) for name in PARTS}, "sentence")
        scheme = "no chunks" if schema.scheme is None else f"chunks in {schema.scheme}"
        columns = f"; further inputs: column {', '.join(schema.features)}" if schema.features else ""
        lines = [
            f"data      {dataset.name}: {parts}; {counted(len(schema.tags), 'tag')}, {scheme}{columns}",
            f"model     {self.describe(network.config)}, vocabulary of {counted(len(schema.words), 'word')}, "
            f"{parameters}, dropout {config.dropout}",
        ]
        return lines + [f"note      {note}" for note in dataset.stored.notes]

    def overview(self, dataset: TaggedSentences) -> Overview:
        sizes = {name: len(dataset.part(name)) for name in PARTS}
        names = tuple(controls.suited_tags(dataset.part("train"))) if dataset.data.controls else ()
        return Overview(described(dataset.sentences), sizes, unit="sentence", controls=names)

    def network(
        self, model: TagModel, *, seed: int | None, backend: str, dataset: TaggedSentences | None = None
    ) -> TagNetwork:
        schema = None if dataset is None else dataset.schema
        if schema is not None:
            _check_schema(schema, model, "the run's sentences")
        return TagNetwork(model, seed=seed, backend=backend, schema=schema)

    def around(
        self, contents: Any, weights: Mapping[str, Tensor], *, backend: str
    ) -> tuple[TagNetwork, None]:
        config: Any = from_json(TagModel, contents.config["model"], where="config.json model")
        schema = Schema.from_json(contents.config.get("schema"))
        _check_schema(schema, config, "config.json schema")
        network = self.network(config, seed=None, backend=backend)
        network.load_state_dict(weights)
        network.take(schema)
        return network, None

    def batches(self, config: TrainConfig, dataset: TaggedSentences) -> Batches:
        return dataset.batches("train", rows=config.batch_size or 1, seed=config.seed, shuffle=True)

    def validation(self, dataset: TaggedSentences) -> Batches:
        return dataset.batches("validation", rows=VALIDATION_ROWS)

    def validate(
        self, network: TagNetwork, batches: Iterable[Batch], *, carry: bool, summed: Summed = list
    ) -> float:
        _, total, words = network.fitted(batches, summed)
        return total / max(words, 1)

    def schema(self, dataset: TaggedSentences) -> dict[str, Any]:
        return dataset.schema.to_json()

    def known_schema(self, contents: Any, dataset: TaggedSentences) -> dict[str, Any] | None:
        return self.known_schema_together(contents, dataset, Group())

    def known_schema_together(
        self, contents: Any, dataset: TaggedSentences, group: Group
    ) -> dict[str, Any] | None:
        network: TagNetwork = assemble(contents).model
        dealt = self.validation(dataset).epoch(0, rank=group.rank, world_size=group.world_size)
        own = (batch for batch in dealt if batch.inputs.shape[1])  # else fewer sentences than processes
        temperature, _, _ = network.fitted(own, group.summed)
        return None if group.rank else dataset.schema.calibrated(temperature).to_json()

    def evaluate(self, network: TagNetwork, dataset: TaggedSentences) -> Evaluation:
        return evaluate(network, dataset)

    def evaluate_together(
        self, network: TagNetwork, dataset: TaggedSentences, group: Group
    ) -> Evaluation | None:
        tag_together(network, dataset, group)
        return None if group.rank else evaluate(network, dataset)

    def evaluation_of(self, stored: Mapping[str, Any]) -> Evaluation:
        return Evaluation.from_dict(stored)

    def report(
        self, network: TagNetwork, dataset: TaggedSentences, directory: Path, *, seed: int
    ) -> Iterator[Path]:
        return write_report(network, dataset, directory)

    def predict(self, loaded: Any, source: str) -> Predictions:
        """Return a row for each word: sentence, position, word, tag, and how probable that tag is."""
        sentences = self._read(loaded, source, read_tags=False)
        found = tagged(loaded.model, sentences)
        return Predictions(prediction_columns(sentences, found.tags, found.confidence), sentences.notes)

    def evaluate_source(self, loaded: Any, source: str) -> Evaluation:
        return evaluate_sentences(loaded.model, self._read(loaded, source))

    def _read(self, loaded: Any, source: str, *, read_tags: bool = True) -> Sentences:
        return read_like(source, loaded.model.schema.read_as, read_tags=read_tags)

    def examined(
        self, loaded: Any, source: str | None, directory: Path | None, *, lags: int, largest: int
    ) -> Examined:
        """Return validation sentences, or those of a source, as the numbers that the stack reads."""
        network: TagNetwork = loaded.model
        if source is not None:
            name, encoded = source, network.schema.encode(self._read(loaded, source))  # type: ignore[union-attr]
        elif directory is not None:
            data: Any = from_json(TagData, loaded.config.get("data"), where="config.json data")
            dataset = reopen(data, directory)
            name, encoded = f"{dataset.name}, validation part", dataset.encoded("validation")
        else:
            raise DataError(expected("RUN", "a run with its sentences, RUN/data", "a model alone"))
        return examined(network, encoded, name, directory)


def _check_schema(schema: Schema, config: TagModel, where: str) -> None:
    """Refuse a schema, of a file or of a run's sentences, that does not fit the network."""
    want = (config.words, config.characters, config.columns, config.column_values, config.tags)
    columns = len(schema.features)
    values = schema.column_values if columns else 0
    got = (len(schema.words) + 1, len(schema.characters) + 2, columns, values, len(schema.inside))
    if want != got:
        raise CheckpointError(expected(where, f"sizes {want}, as in model", got))


register(TagTask())
