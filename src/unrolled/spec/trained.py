"""What is done with a trained network: it writes, scores, answers lines, is made smaller, is examined."""

from __future__ import annotations

from dataclasses import MISSING, dataclass

from unrolled.spec.fields import check, setting
from unrolled.spec.tasks import STORAGES

__all__ = ["EXPORTS", "EvalConfig", "ExportConfig", "PredictConfig", "ProbeConfig", "QuantizeConfig",
           "SampleConfig", "StreamConfig"]  # fmt: skip

RUN = "a run directory, a checkpoint or a model directory"
EXPORTS = ("onnx", "onnx-step", "c", "torch", "keras")


@dataclass(frozen=True)
class SampleConfig:
    """What `unrolled sample` does; `sample.sample(load(run), prompt, length=…)` in Python."""

    run: str = setting(MISSING, RUN, flag="RUN")
    prompt: str = setting("", "text to continue; it is printed first", flag="--prompt")
    length: int = setting(400, "number of symbols to draw after the prompt", flag="--length", minimum=1)
    temperature: float = setting(
        0.8,
        "0 always takes the likeliest symbol, 1 draws from the model's own distribution",
        flag="--temperature",
        minimum=0,
    )
    top_k: int | None = setting(
        None, "draw among the N likeliest symbols only; default: all", flag="--top-k", minimum=1
    )
    top_p: float | None = setting(
        None,
        "draw among the fewest likeliest symbols whose probabilities sum to X; default: all",
        flag="--top-p",
        above=0,
        maximum=1,
    )
    seed: int | None = setting(
        None, "the same seed gives the same text; default: another text each time", flag="--seed", minimum=0
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class EvalConfig:
    """What `unrolled eval` does; `predict.evaluate(run, source)` in Python."""

    run: str = setting(MISSING, RUN, flag="RUN")
    source: str | None = setting(
        None,
        "what to score: a text, or a file with labels in the format of the training data; default: print the "
        "scores that the run wrote at its end",
        flag="SOURCE",
    )
    cold_steps: int | None = setting(
        None,
        "also score a text in windows of N tokens, each from the zero state; default: 256; not for a "
        "model of "
        "lines",
        flag="--cold",
        minimum=1,
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class PredictConfig:
    """What `unrolled predict` does; `predict.predict(run, source, out=…)` in Python."""

    run: str = setting(MISSING, RUN, flag="RUN")
    source: str = setting(
        MISSING, "new samples in the format of the training data, without labels or with them", flag="SOURCE"
    )
    out: str | None = setting(
        None,
        "file for the predictions: .csv, .jsonl or .parquet; default: standard output, as CSV",
        flag="--out",
        metavar="FILE",
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class ProbeConfig:
    """What `unrolled probe` does; `probe.examine(run, source, lags=…)` in Python."""

    run: str = setting(MISSING, RUN, flag="RUN")
    source: str | None = setting(
        None,
        "what to measure on: a text, or a file of samples, as `unrolled train` takes it; default: the part "
        "that the run held out",
        flag="SOURCE",
    )
    lags: int | None = setting(
        None, "number of steps to look back; default: 64, or fewer where samples are short", flag="--lags",
        minimum=1,
    )  # fmt: skip
    known_lag: int | None = setting(
        None,
        "steps between an input and the prediction that needs it, where you know them; a network that does "
        "not reach that far back is reported as a finding",
        flag="--known-lag",
        minimum=1,
    )
    html: str | None = setting(
        None,
        "also write everything as one HTML page with all figures, which opens offline",
        flag="--html",
        metavar="FILE",
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class StreamConfig:
    """What `unrolled stream` does; `stream.load(run).open()` in Python."""

    run: str = setting(MISSING, RUN, flag="RUN")
    weights: str | None = setting(
        None, "type of the weights; default: as they are stored", flag="--weights", choices=STORAGES
    )
    top: int = setting(
        5, "how many of the likeliest next symbols or classes to show", flag="--top", minimum=0
    )
    state: str | None = setting(
        None,
        "file that holds the state: read at the start where it exists, written at the end",
        flag="--state",
        metavar="FILE",
    )
    health: bool = setting(False, "at the end, compare the state with those of training", flag="--health")

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class QuantizeConfig:
    """What `unrolled quantize` does; `quantize.quantize(run, weights=…)` in Python."""

    run: str = setting(MISSING, RUN, flag="RUN")
    weights: str = setting("int8", "type of the weights", flag="--weights", choices=STORAGES[1:])
    source: str | None = setting(
        None,
        "text to score before and after: what `unrolled train` takes; default: what the run held out",
        flag="--eval",
        metavar="FILE",
    )
    most_loss: float = setting(
        0.005, "warn where the loss grows by more than this share", flag="--most-loss", minimum=0
    )
    overwrite: bool = setting(False, "replace an earlier result", flag="--overwrite")

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class ExportConfig:
    """What `unrolled export` does; `export.export(run, to=…, out=…)` in Python."""

    run: str = setting(MISSING, RUN, flag="RUN")
    to: str = setting(
        MISSING,
        "format: onnx reads whole sequences, onnx-step takes one step with the state as input and output, "
        "c is C99, torch a script with weights, keras a model of Keras",
        flag="--to",
        choices=EXPORTS,
    )
    out: str = setting(MISSING, "file to write; with c and torch, a folder", flag="--out", metavar="PATH")
    weights: str | None = setting(
        None, "type of the weights; default: float32", flag="--weights", choices=("float32", "int8")
    )
    check: str | None = setting(
        None,
        "a file like that of training: the exported network and ours are run on it, and where they differ "
        "the exit code is 1",
        flag="--check",
        metavar="FILE",
    )
    opset: int | None = setting(
        None, "version of ONNX's operators, from 13 on; default: 17", flag="--opset", minimum=1
    )
    prefix: str | None = setting(
        None,
        "with c: prefix of its names and files, so that two models fit into one program; default: model",
        flag="--prefix",
        metavar="NAME",
    )
    weights_file: bool = setting(
        False,
        "of c: leave the weights out of the code, in a file that the program loads",
        flag="--weights-file",
    )
    overwrite: bool = setting(False, "replace an earlier result", flag="--overwrite")

    def __post_init__(self) -> None:
        check(self)
