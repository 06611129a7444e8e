"""The language model as a task."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from unrolled import data as corpora
from unrolled import kernels, stream, tokens
from unrolled.data import Batch, Batches, Corpus, LineBatches, Split, StreamBatches, gather
from unrolled.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    NonFiniteError,
    ShapeError,
    counted,
    expected,
)
from unrolled.spec import (
    CELLS,
    LANGUAGE,
    TASKS,
    DataConfig,
    ModelConfig,
    RunDirectory,
    TrainConfig,
    from_json,
)
from unrolled.tasks.group import Group
from unrolled.tasks.language.evaluation import COLD_STEPS, Evaluation, evaluate_split, evaluate_text
from unrolled.tasks.language.network import LanguageModel
from unrolled.tasks.language.report import draw_gates, first_sample, write_samples
from unrolled.tasks.language.sizing import Sizes, bytes_needed, resolve, rows_and_steps
from unrolled.tasks.loading import Loaded
from unrolled.tasks.protocol import Examined, Overview, Task, register
from unrolled.tasks.stack import recurrent_settings

__all__ = ["LanguageTask"]

VALIDATION_ROWS = 16  # parallel streams of a validation while training
VALIDATION_TOKENS = 131_072  # of it at most; the report at the end scores twice as many
REPORT_TOKENS = 262_144  # that the report scores at most; `unrolled eval` scores all
EMBEDDING_RANGE = 1.0  # as what a layer gives; at a tenth of it an LSTM learns late: docs/decisions/0032
TIED_RANGE = 0.1  # of an embedding that is the read-out too
PREDICTED_BY = {  # what a source looks like, and what names the tasks that may be meant
    "a table": ("label COLUMN", "target COLUMN", "horizon N"),
    "tagged words": ("tags COLUMN",),
    "labelled files": ("label folder",),
}
EXAMINED_ROWS, EXAMINED_LINES, EXAMINED_STEPS = 16, 64, 1024  # side by side: of a stream, and lines; long


class LanguageTask(Task):
    """Predict the next symbol of a text; a dataset is a `Corpus`."""

    kind = LANGUAGE
    sums_over_steps = True

    def prepare(self, data: DataConfig, directory: Path, *, seed: int) -> Corpus:
        if not data.as_text:
            _check_prose(data.source)
        return corpora.prepare(data, directory, seed=seed)

    def reopen(
        self, data: DataConfig, directory: Path, *, seed: int, tokens: Mapping[str, Any] | None
    ) -> Corpus:
        return corpora.reopen(directory, _vocabulary(tokens))

    def check_source(self, data: DataConfig, sha256: str) -> DataConfig:
        found = corpora.fingerprint(data)
        if found == sha256:
            return replace(data, as_text=True)  # the run is of this text, whatever it looks like
        if data.tokens == "byte" and data.source != "-":  # chosen by auto, which leaves other files out
            before = replace(data, tokens="auto")
            with contextlib.suppress(DataError):
                if corpora.fingerprint(before) == sha256:
                    return replace(before, as_text=True)
        got = f"{found} of {data.source}"
        raise DataError(expected("source", f"the text of the run, sha256 {sha256}", got))

    def source(self, data: DataConfig) -> str:
        return data.source

    def run_name(self, data: DataConfig) -> str:
        return corpora.name_of(data.source)

    def resolve(self, config: TrainConfig, dataset: Corpus) -> TrainConfig:
        return resolve(config, dataset)

    def open_sizes(self, config: TrainConfig) -> list[str]:
        lines = config.data.shape == "lines"  # a line is one window
        names = [name for name in Sizes.__dataclass_fields__ if not (lines and name == "bptt_steps")]
        found = [name for name in names if getattr(config, name) is None]
        return found + (["data.shape"] if config.data.shape == "auto" else [])

    def model_config(self, config: TrainConfig, dataset: Corpus) -> ModelConfig:
        settings = recurrent_settings(config)
        return ModelConfig(
            vocab_size=dataset.tokens.size,
            embedding_size=config.embedding_size or settings["hidden_size"],
            tie_weights=config.tie_weights,
            **settings,
        )

    def bytes_needed(self, model: ModelConfig, config: TrainConfig, dataset: Corpus) -> int:
        rows, steps = rows_and_steps(config, dataset)
        return bytes_needed(model, rows=rows, steps=steps, recompute=config.recompute)

    def describe(self, model: ModelConfig) -> str:
        return f"{CELLS[model.cell].label} {model.num_layers} x {model.hidden_size}"

    def notes(self, config: TrainConfig, dataset: Corpus, network: LanguageModel) -> list[str]:
        parameters = counted(sum(p.numel() for p in network.parameters()), "parameter")
        held = f"{dataset.validation.characters:,} held out"
        if dataset.validation_is_train:
            held = "nothing is held out: validation is the training text"
        lines = [
            f"corpus    {dataset.name}: {counted(dataset.characters, 'character')} as {dataset.shape}, "
            f"{dataset.tokens_setting} tokens, {counted(dataset.tokens.size, 'symbol')}; {held}",
            f"model     {self.describe(network.config)}, {parameters}, dropout {config.dropout}",
        ]
        looks = corpora.looks_like(config.data.source)
        if looks is not None:
            lines.append(f"note      the source looks like {looks}; it is trained on as plain text")
        if dataset.left_out:
            entries = counted(dataset.left_out, "entry", "entries")
            lines.append(f"left out  {entries} that are hidden, not text or runs")
        return lines

    def overview(self, dataset: Corpus) -> Overview:
        held = 0 if dataset.validation_is_train else dataset.validation.characters
        sizes = {"train": dataset.characters - held, "validation": held}
        return Overview(parts=sizes, unit="character")

    def network(
        self, model: ModelConfig, *, seed: int | None, backend: str, dataset: Corpus | None = None
    ) -> LanguageModel:
        vocabulary = None if dataset is None else dataset.tokens
        if vocabulary is not None and vocabulary.size != model.vocab_size:
            got = counted(model.vocab_size, "symbol")
            raise CheckpointError(expected("model", f"{vocabulary.size}, as the run's vocabulary has", got))
        reach = TIED_RANGE if model.tie_weights else EMBEDDING_RANGE
        return LanguageModel(model, seed=seed, backend=backend, embedding_range=reach, tokens=vocabulary)

    def around(
        self, contents: Any, weights: Mapping[str, Tensor], *, backend: str
    ) -> tuple[LanguageModel, tokens.Tokens]:
        config = from_json(ModelConfig, contents.config["model"], where="config.json model")
        vocabulary = _vocabulary(contents.tokens)
        if vocabulary.size != config.vocab_size:
            raise CheckpointError(expected("tokens.json", f"{config.vocab_size} symbols", vocabulary.size))
        model = LanguageModel.around(config, weights, backend=backend)
        model.tokens, model.data_config = vocabulary, contents.config.get("data")
        return model, vocabulary

    def batches(self, config: TrainConfig, dataset: Corpus) -> Batches:
        rows = config.batch_size or 1
        if dataset.shape == "lines":
            return LineBatches(dataset.train, batch_size=rows, seed=config.seed)
        return StreamBatches(
            dataset.train,
            batch_size=rows,
            bptt_steps=config.bptt_steps or 1,
            seed=config.seed,
            restart_share=config.restart_share,
        )

    def validation(self, dataset: Corpus) -> Batches:
        part = dataset.validation.head(VALIDATION_TOKENS)
        if dataset.shape == "lines":
            return LineBatches(part, batch_size=64, seed=0)
        return StreamBatches(part, batch_size=VALIDATION_ROWS, bptt_steps=256, seed=0)

    def evaluate(self, network: LanguageModel, dataset: Corpus) -> Evaluation:
        """Score the validation part, or the beginning of a very long one, carried and cold."""
        return self._evaluated(network, dataset, Group())

    def evaluate_together(self, network: LanguageModel, dataset: Corpus, group: Group) -> Evaluation | None:
        found = self._evaluated(network, dataset, group)
        return None if group.rank else found

    def _evaluated(self, network: LanguageModel, dataset: Corpus, group: Group) -> Evaluation:
        cold = COLD_STEPS if dataset.shape == "stream" else None
        part = dataset.validation.head(REPORT_TOKENS, dataset.tokens)
        unknown = dataset.tokens.count_unknown(part.ids)
        return evaluate_split(
            network, part, shape=dataset.shape, unknown=unknown, cold_steps=cold, group=group
        )

    def evaluate_source(self, loaded: Loaded, source: str) -> Evaluation:
        """Score a whole text, carried and cold."""
        return evaluate_text(loaded, source)

    def evaluation_of(self, stored: Mapping[str, Any]) -> Evaluation:
        return Evaluation.from_dict(dict(stored))

    def report(
        self, network: LanguageModel, dataset: Corpus, directory: Path, *, seed: int
    ) -> Iterator[Path]:
        place = RunDirectory(directory)
        draw_gates(network, dataset, place.picture("gates.png"))
        yield place.picture("gates.png")
        write_samples(network, dataset, place.samples, seed=seed)
        yield place.samples

    def sample(self, directory: Path) -> str:
        return first_sample(RunDirectory(directory).samples)

    def known_states(self, contents: Any, dataset: Corpus) -> Mapping[str, Mapping[str, float]] | None:
        split = dataset.validation
        if not kernels.available() or len(split.ids) == 0:
            return None
        try:
            model = stream.assemble(contents)
            return stream.states_on(model, split.ids, starts=split.starts.tolist())
        except (ConfigError, NonFiniteError):  # a cell without a kernel; a network that runs to infinity
            return None

    def examined(
        self, loaded: Loaded, source: str | None, directory: Path | None, *, lags: int, largest: int
    ) -> Examined:
        config = from_json(DataConfig, loaded.config.get("data"), where="config.json data")
        if config.shape == "auto":
            raise CheckpointError(expected("config.json data.shape", "lines or stream", "auto"))
        with tempfile.TemporaryDirectory() as folder:  # of the ids, which are mapped
            if source is not None:
                split, name = corpora.encode_source(source, loaded.tokens, config.shape, Path(folder)), source
            elif directory is None:
                raise DataError(expected("FILE", "a text, as there is no data beside the model", "none"))
            else:
                corpus = corpora.reopen(directory, loaded.tokens)
                split = corpus.validation
                part = "the training text" if corpus.validation_is_train else "held out"
                name = f"{corpus.name}, {part}"
            if split.num_targets < 2:
                raise DataError(expected("text", "at least two tokens", split.num_targets))
            lines = config.shape == "lines"
            symbols = loaded.model.config.vocab_size
            batch = (_lines if lines else _stream)(split, lags, symbols, largest)
            unknown = loaded.tokens.count_unknown(split.ids)
            text = f"{name}: {batch.count:,} of {split.num_targets:,} {loaded.tokens.kind} tokens"
        if unknown:
            text += f", {unknown:,} of all unknown"
        return Examined(batch, {"text": text}, None if lines else _window(loaded.config.get("training")))


def _check_prose(source: str) -> None:
    """Raise ConfigError for a source that is clearly a table, tagged words or labelled files."""
    looks = corpora.looks_like(source)
    if looks is None:
        return
    asked = {kind.asked_by for kind in TASKS.values()}
    names = [name for name in PREDICTED_BY[looks.partition(":")[0]] if name.split()[0] in asked]
    predicting = f"{_either(names)} predicts something of it, " if names else ""
    raise ConfigError(expected("source", "a text", f"{looks}; {predicting}`as_text` reads it as text"))


def _either(names: Sequence[str]) -> str:
    quoted = ["`{}` {}".format(*name.split()) for name in names]
    return ", ".join(quoted[:-1]) + " or " * (len(quoted) > 1) + quoted[-1]


def _vocabulary(stored: Mapping[str, Any] | None) -> tokens.Tokens:
    return tokens.from_json(stored, where="tokens.json")


def _stream(split: Split, lags: int, symbols: int, largest: int) -> Batch:
    """Return the first steps of the rows that the text is cut into; fewer rows, where it is short."""
    rows = max(2, min(EXAMINED_ROWS, split.num_targets // (2 * lags), largest // (2 * lags * symbols)))
    steps = max(2 * lags, min(EXAMINED_STEPS, largest // (rows * symbols)))
    batch = next(iter(StreamBatches(split, batch_size=rows, bptt_steps=steps, seed=0).epoch(0)))
    resets = batch.resets
    if resets is not None:
        resets[0] = False  # the state is zero there anyway
        resets = resets if bool(resets.any()) else None
    return Batch(batch.inputs, batch.targets, None, resets)


def _lines(split: Split, lags: int, symbols: int, largest: int) -> Batch:
    """Return the beginnings of lines of the text, drawn by a fixed seed."""
    count, most = len(split.starts), max(EXAMINED_STEPS, 2 * lags)
    drawn = np.random.default_rng(0).choice(count, min(EXAMINED_LINES, count), replace=False)
    longest = min(int(split.lengths(drawn).max()), most)
    drawn = np.sort(drawn[: max(2, largest // (longest * symbols))])
    batch = gather(split, split.starts[drawn], np.minimum(split.lengths(drawn), most))
    if len(batch.inputs) < 2:
        raise ShapeError(expected("text", "rows of at least two tokens", len(batch.inputs)))
    return batch


def _window(training: object) -> int | None:
    """Return the window of truncated back-propagation that a config.json names; None where it names none."""
    stored = training.get("bptt_steps") if isinstance(training, Mapping) else None
    if stored is not None and (isinstance(stored, bool) or not isinstance(stored, int) or stored < 1):
        raise ConfigError(expected("config.json training.bptt_steps", "a whole number of at least 1", stored))
    return stored


register(LanguageTask())
